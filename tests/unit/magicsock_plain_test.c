/* The path to a peer of plain WireGuard: chosen by who answers, without disco and without a relay. */
#include <sys/socket.h>
#include <unistd.h>

#include "base/dial.h"
#include "magicsock/explain.h"
#include "magicsock/internal.h"
#include "magicsock/plain.h"
#include "tests/unit/magicsock_onepeer.h"

#define E3 addr("[2001:db8::7]:1000")

static int set_up_plain(void **state)
{
        set_up(state);
        struct addr eps[] = {E1, E2, E3};
        p.plain = true;
        ms_peer_on_config(&p, false, false, 0, eps, 3, now);
        return 0;
}

static struct addr send_one(void)
{
        struct ms_route r = ms_peer_on_send(&p, now, &out);
        assert_int_equal(r.kind, MS_ROUTE_DIRECT);
        assert_int_equal(r.region, 0);
        assert_int_equal(out.count, 0);              /* never a ping, never a call */
        assert_int_equal(ms_peer_deadline(&p).ns, MONO_NEVER.ns);
        return r.addr;
}

static void wait_ms(int64_t ms)
{
        now = mono_add_ms(now, ms);
}

/* Handshakes go round until one is answered. */
static void test_each_address_has_its_turn(void **state)
{
        (void)state;
        const struct addr want[] = {E1, E2, E3, E1, E2};
        for (size_t i = 0; i < 5; i++) {
                assert_true(addr_eq(send_one(), want[i]));
                wait_ms(900);
                assert_true(addr_eq(send_one(), want[i]));   /* cut short by nothing */
                wait_ms(100);
                assert_false(ms_peer_is_direct(&p, now));
        }
}

static void test_who_answers_is_used(void **state)
{
        (void)state;
        (void)send_one();
        wait_ms(1000);
        (void)send_one();
        wait_ms(30);
        ms_peer_on_proof(&p, E2, now);
        assert_true(ms_peer_is_direct(&p, now));
        for (int i = 0; i < 100; i++) {                      /* as long as it answers now and then */
                wait_ms(14000);
                assert_true(addr_eq(send_one(), E2));
                wait_ms(500);
                ms_peer_on_proof(&p, E2, now);
        }
        wait_ms(3600 * 1000);                                /* silence that nobody asked to break is none */
        assert_false(ms_peer_is_direct(&p, now));
        assert_true(addr_eq(send_one(), E2));
}

static void test_it_roams(void **state)
{
        (void)state;
        (void)send_one();
        ms_peer_on_proof(&p, E1, now);
        ms_peer_on_proof(&p, X, now);
        assert_true(addr_eq(send_one(), X));
        ms_peer_on_proof(&p, (struct addr){.port = 0}, now); /* came otherwise: says nothing of an address */
        assert_true(addr_eq(send_one(), X));
}

static void test_silence_begins_the_round_again(void **state)
{
        (void)state;
        (void)send_one();
        ms_peer_on_proof(&p, X, now);
        (void)send_one();
        wait_ms(14999);
        assert_true(addr_eq(send_one(), X));
        wait_ms(1);
        struct addr seen[4];
        for (int i = 0; i < 4; i++) {
                seen[i] = send_one();
                for (int k = 0; k < i; k++)
                        assert_false(addr_eq(seen[i], seen[k]));
                wait_ms(1000);
        }
        assert_true(addr_eq(seen[3], X));                    /* the last one that worked is not forgotten */
}

/* What answered before our network became another one most likely does so from there, and need not for long if it does not. */
static void test_a_rebind_forgets_no_address(void **state)
{
        (void)state;
        (void)send_one();
        ms_peer_on_proof(&p, X, now);
        (void)send_one();
        wait_ms(3000);
        ms_peer_on_rebind(&p, now, &out);
        assert_false(ms_peer_is_direct(&p, now));
        assert_true(addr_eq(send_one(), X));
        wait_ms(999);
        assert_true(addr_eq(send_one(), X));
        wait_ms(1);
        assert_false(addr_eq(send_one(), X));
}

static void test_nowhere_to_go(void **state)
{
        (void)state;
        ms_peer_on_config(&p, false, false, 0, NULL, 0, now);
        assert_int_equal(ms_peer_on_send(&p, now, &out).kind, MS_ROUTE_NONE);
        struct addr one[] = {E1};
        ms_peer_on_config(&p, false, false, 0, one, 1, now);
        assert_true(addr_eq(send_one(), E1));
        wait_ms(60000);
        assert_true(addr_eq(send_one(), E1));                /* the only one keeps its turn */
        assert_false(plain_next(&p, now));
        p.expired = true;
        assert_int_equal(ms_peer_on_send(&p, now, &out).kind, MS_ROUTE_NONE);
}

static void test_it_leaves_relays_and_disco_alone(void **state)
{
        (void)state;
        (void)send_one();
        ms_peer_on_heard(&p, 3, now, &out);                  /* somebody with its key at a relay */
        (void)send_one();
        ms_peer_on_unreachable(&p, E1, now, &out);
        ms_peer_on_rebind(&p, now, &out);
        ms_peer_on_own_endpoints(&p, now, &out);
        (void)send_one();
        assert_int_equal(ms_peer_ping(&p, 1, 0, now, &out), ERR_NOT_FOUND);
        ms_peer_expire(&p, mono_add_ns(now, 100 * NS_PER_SEC), &out);
        assert_int_equal(out.count, 0);
}

/* ---- with sockets ---- */

static struct pkt *packet(struct pkt_pool *pool)
{
        struct pkt *k = pkt_get(pool);
        assert_non_null(k);
        memset(pkt_put(k, 100), 4, 100);
        return k;
}

/* An address that the kernel refuses costs no packet; and the map's relay and disco key are not used. */
static void test_the_next_address_takes_the_packet(void **state)
{
        (void)state;
        struct loop *l = loop_new();
        struct dialer *d = dialer_new(l);
        struct pkt_pool *pool = pkt_pool_new(64);
        struct ms *ms = ms_new(l, pool, d, &(struct ms_opts){.cb = &(struct ms_callbacks){0}});
        struct key_private us, them, disco;
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(at);
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);

        key_generate(&us);
        key_generate(&them);
        key_generate(&disco);
        ms_set_keys(ms, &us);
        ms_set_active(ms, true, loop_now(l));
        /* A broadcast address, which no socket of ours may send to. */
        struct addr eps[] = {addr("127.255.255.255:9"), {ip_v4(127, 0, 0, 1), ntohs(at.sin_port)}};
        struct ms_peer_config c = {.key = key_node_public(&them), .disco = key_disco_public(&disco), .home = 5, .plain = true,
                .endpoints = eps, .endpoint_count = 2};
        assert_int_equal(ms_peer_set(ms, 3, &c, loop_now(l)), ERR_NONE);
        struct disco_public known = ms_peer_disco(ms, 3);
        assert_true(disco_public_is_zero(&known));

        struct pkt *k = packet(pool);
        uint8_t b[200];
        assert_int_equal(ms_send(ms, 3, &k, 1, loop_now(l)), ERR_NONE);
        assert_int_equal(recv(fd, b, sizeof(b), MSG_DONTWAIT), 100);
        struct ms_explain x;
        enum ms_why why[MS_WHY_MAX];
        assert_true(ms_explain(ms, 3, &x, loop_now(l)));
        assert_true(x.plain && !x.has_disco && x.home == 0 && x.route.kind == MS_ROUTE_DIRECT);
        assert_int_equal(ms_why(&x, why), 0);

        ms_peer_remove(ms, 3, loop_now(l));
        c.endpoint_count = 1;                                /* the one that is refused, and still no relay */
        assert_int_equal(ms_peer_set(ms, 3, &c, loop_now(l)), ERR_NONE);
        uint64_t before = ms_drops(ms, MS_DROP_NO_PATH);
        k = packet(pool);
        assert_int_equal(ms_send(ms, 3, &k, 1, loop_now(l)), ERR_NOT_FOUND);
        assert_int_equal(ms_drops(ms, MS_DROP_NO_PATH), before + 1);
        struct ms_peer_status st;
        assert_true(ms_peer_status(ms, 3, &st, loop_now(l)));
        assert_int_equal(st.tx_relay, 0);
        assert_int_equal(pkt_pool_free_count(pool), 64);

        close(fd);
        ms_free(ms);
        pkt_pool_free(pool);
        dialer_free(d);
        loop_free(l);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_each_address_has_its_turn, set_up_plain, tear_down),
                cmocka_unit_test_setup_teardown(test_who_answers_is_used, set_up_plain, tear_down),
                cmocka_unit_test_setup_teardown(test_it_roams, set_up_plain, tear_down),
                cmocka_unit_test_setup_teardown(test_silence_begins_the_round_again, set_up_plain, tear_down),
                cmocka_unit_test_setup_teardown(test_a_rebind_forgets_no_address, set_up_plain, tear_down),
                cmocka_unit_test_setup_teardown(test_nowhere_to_go, set_up_plain, tear_down),
                cmocka_unit_test_setup_teardown(test_it_leaves_relays_and_disco_alone, set_up_plain, tear_down),
                cmocka_unit_test(test_the_next_address_takes_the_packet),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
