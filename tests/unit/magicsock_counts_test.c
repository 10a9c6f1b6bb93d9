/* What is counted, and for which reason alone.  The relay and the socket are real ones on the loopback, all else is done
 * by hand. */
#include "tests/unit/check.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/dial.h"
#include "magicsock/internal.h"
#include "tests/unit/derp_server.h"

enum { PEER = 3, OTHER = 900, POOL = 256, PINGS = 1000, PINGS_TAKEN = 50, WG_LEN = 148 };

static struct {
        struct loop *loop;
        struct dialer *dialer;
        struct pkt_pool *pool;
        struct ms *ms;
        struct srv relay;
        struct derp_node node;
        struct derp_region region;
        struct derpmap map;
        struct key_private us, peer, other, peer_disco, other_disco;
        unsigned handed;                /* to WireGuard */
        bool keeps;                     /* it wants the next packets until the call after */
        const struct pkt *kept;
        unsigned ended;                 /* calls without packets, which end that */
        uint64_t want[MS_DROP_COUNT];   /* dropped so far, by reason */
} t;

static const struct addr SRC = {{IP_V4, {203, 0, 113, 9}}, 4000};

static mono_t now(void)
{
        return loop_now(t.loop);
}

static uint8_t room[SOCK_ROOM];

static bool on_wg(void *arg, struct pkt **pkts, const struct ms_source *srcs, size_t n, bool may_keep, mono_t at)
{
        (void)srcs;
        (void)at;
        assert_ptr_equal(arg, &t);
        t.handed += (unsigned)n;
        if (t.kept != NULL) {
                assert_int_equal(pkt_cdata(t.kept)[WG_LEN - 1], 77);
                t.kept = NULL;
                t.ended += n == 0;
        }
        if (t.keeps && may_keep && n > 0) {
                t.kept = pkts[n - 1];
                return true;
        }
        for (size_t i = 0; i < n; i++)
                pkt_release(t.pool, pkts[i]);
        return false;
}

static void add_peer(uint32_t slot, const struct key_private *node, const struct key_private *disco, int home)
{
        struct ms_peer_config c = {.key = key_node_public(node), .disco = key_disco_public(disco), .home = home};
        assert_int_equal(ms_peer_set(t.ms, slot, &c, now()), ERR_NONE);
}

static int set_up(void **state)
{
        (void)state;
        static const struct ms_callbacks cb = {.on_wg = on_wg};
        memset(&t, 0, sizeof(t));
        t.loop = loop_new();
        t.dialer = dialer_new(t.loop);
        t.pool = pkt_pool_new(POOL);
        t.ms = ms_new(t.loop, t.pool, t.dialer, &(struct ms_opts){.relay_plain = true, .room = room, .cb = &cb, .arg = &t});
        assert_non_null(t.ms);
        srv_listen(&t.relay, t.loop, 0);
        t.node = (struct derp_node){.name = "1a", .hostname = "127.0.0.1", .derp_port = t.relay.port};
        t.region = (struct derp_region){.id = 1, .code = "x", .score = 1, .node_count = 1, .nodes = &t.node};
        t.map = (struct derpmap){.region_count = 1, .regions = &t.region};
        key_generate(&t.us);
        key_generate(&t.peer);
        key_generate(&t.other);
        key_generate(&t.peer_disco);
        key_generate(&t.other_disco);
        ms_set_keys(t.ms, &t.us);
        add_peer(PEER, &t.peer, &t.peer_disco, 1);
        ms_set_active(t.ms, true, now());
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        ms_free(t.ms);
        srv_stop(&t.relay);
        bool whole = pkt_pool_free_count(t.pool) == POOL;
        pkt_pool_free(t.pool);
        dialer_free(t.dialer);
        loop_free(t.loop);
        return whole ? 0 : -1;
}

/* n more for that reason, and none for any other. */
static void check_more(enum ms_drop why, uint64_t n)
{
        t.want[why] += n;
        for (unsigned i = 0; i < MS_DROP_COUNT; i++)
                assert_int_equal(ms_drops(t.ms, i), t.want[i]);
}

static struct pkt *packet(size_t len)
{
        struct pkt *p = pkt_get(t.pool);
        assert_non_null(p);
        uint8_t *d = pkt_put(p, len);
        memset(d, 0, len);
        d[0] = 1;   /* as a handshake */
        return p;
}

static enum err send_to_slot(uint32_t slot, size_t n)
{
        struct pkt *pkts[8];
        for (size_t i = 0; i < n; i++)
                pkts[i] = packet(WG_LEN);
        return ms_send(t.ms, slot, pkts, n, now());
}

static void join_relay(void)
{
        struct node_public us = key_node_public(&t.us);
        ms_set_derp_map(t.ms, &t.map, now());
        SRV_UNTIL(t.loop, derp_mgr_is_up(t.ms->derp, 1) && srv_find(&t.relay, &us) != NULL);
}

static void from_relay(const struct key_private *src, const uint8_t *data, size_t len)
{
        struct node_public us = key_node_public(&t.us), from = key_node_public(src);
        srv_frame(srv_find(&t.relay, &us), DERP_RECV_PACKET, from.b, KEY_LEN, data, len);
}

static void disco_in(const struct key_private *from, const uint8_t *inner, size_t len)
{
        struct disco_public us = ms_disco_public(t.ms), sender = key_disco_public(from);
        uint8_t nonce[BOX_NONCE_LEN], data[256];
        struct box_key k;
        assert_int_equal(box_precompute(&k, us.b, from->b), ERR_NONE);
        crypto_random(nonce, sizeof(nonce));
        size_t n = disco_seal(&k, &sender, nonce, inner, len, data, sizeof(data));
        assert_true(n > 0);
        ms_disco_udp(t.ms, SRC, data, n, now());
}

static void test_names(void **state)
{
        (void)state;
        for (unsigned i = 0; i < MS_DROP_COUNT; i++) {
                assert_non_null(ms_drop_str((enum ms_drop)i));
                assert_true(ms_drop_str((enum ms_drop)i)[0] != '\0' && strcmp(ms_drop_str((enum ms_drop)i), "?") != 0);
                for (unsigned k = 0; k < i; k++)
                        assert_string_not_equal(ms_drop_str((enum ms_drop)i), ms_drop_str((enum ms_drop)k));
        }
        assert_string_equal(ms_drop_str(MS_DROP_COUNT), "?");
        assert_string_equal(ms_drop_str(MS_DROP_COUNT + 1000), "?");
        /* They are labels of a metric: whoever watches one should not lose it. */
        assert_string_equal(ms_drop_str(MS_DROP_SHORT), "too short");
        assert_string_equal(ms_drop_str(MS_DROP_DISCO_RATE), "disco too fast");
        assert_string_equal(ms_drop_str(MS_DROP_SOCKET), "socket");
        assert_string_equal(ms_drop_str(MS_DROP_PEER_RELAY), "peer relay");
}

static void test_inactive(void **state)
{
        (void)state;
        struct ms_source back = {.addr = SRC};
        check_more(MS_DROP_INACTIVE, 0);
        ms_set_active(t.ms, false, now());
        assert_int_equal(send_to_slot(PEER, 3), ERR_STATE);
        check_more(MS_DROP_INACTIVE, 3);
        assert_int_equal(ms_send_to(t.ms, &back, packet(64), now()), ERR_STATE);
        check_more(MS_DROP_INACTIVE, 1);
}

static void test_no_path(void **state)
{
        (void)state;
        assert_int_equal(send_to_slot(PEER + 1, 2), ERR_NOT_FOUND);   /* no such peer */
        check_more(MS_DROP_NO_PATH, 2);
        assert_int_equal(send_to_slot(PEER, 4), ERR_NOT_FOUND);   /* its relay is in no map of ours */
        check_more(MS_DROP_NO_PATH, 4);
        add_peer(OTHER, &t.other, &t.other_disco, 0);
        assert_int_equal(send_to_slot(OTHER, 5), ERR_NOT_FOUND);   /* neither relay nor address */
        check_more(MS_DROP_NO_PATH, 5);
}

/* Port 0 is nowhere: the kernel refuses it. */
static void test_socket(void **state)
{
        (void)state;
        struct ms_source nowhere = {.addr = {ip_v4(127, 0, 0, 1), 0}}, none = {.addr = {.port = 0}};
        assert_int_equal(ms_send_to(t.ms, &nowhere, packet(64), now()), ERR_NOT_FOUND);
        check_more(MS_DROP_SOCKET, 1);
        assert_int_equal(ms_send_to(t.ms, &none, packet(64), now()), ERR_NOT_FOUND);
        check_more(MS_DROP_SOCKET, 1);
        struct ms_source v6 = {.addr = {.port = 9}};
        assert_int_equal(ip_parse("::1", &v6.addr.ip), ERR_NONE);
        t.ms->via = &t.ms->udp[0];   /* an answer to what came before, in the other family */
        assert_int_equal(ms_send_to(t.ms, &v6, packet(64), now()), ERR_NONE);
        t.ms->via = NULL;
        check_more(MS_DROP_SOCKET, 0);
}

static void test_disco(void **state)
{
        (void)state;
        uint8_t ping[14] = {DISCO_PING}, data[256] = {0};
        struct disco_public known = key_disco_public(&t.peer_disco);
        disco_in(&t.other_disco, ping, sizeof(ping));
        check_more(MS_DROP_DISCO_STRANGER, 1);
        memcpy(data, disco_magic, DISCO_MAGIC_LEN);
        memcpy(data + DISCO_MAGIC_LEN, known.b, sizeof(known.b));
        ms_disco_udp(t.ms, SRC, data, sizeof(data), now());
        check_more(MS_DROP_DISCO_AUTH, 1);
        disco_in(&t.peer_disco, ping, 1);
        check_more(MS_DROP_DISCO_PARSE, 1);
        disco_in(&t.peer_disco, ping, sizeof(ping));
        check_more(MS_DROP_DISCO_PARSE, 0);
}

/* Each peer has an allowance of its own, and what is above it is counted for all of them together. */
static void test_disco_rate(void **state)
{
        (void)state;
        uint8_t ping[14] = {DISCO_PING};
        const struct key_private *from[] = {&t.peer_disco, &t.other_disco};
        add_peer(OTHER, &t.other, &t.other_disco, 0);
        for (int k = 0; k < 2; k++) {
                for (unsigned i = 0; i < PINGS; i++) {
                        memcpy(ping + 2, &i, sizeof(i));
                        disco_in(from[k], ping, sizeof(ping));
                        if (i + 1 == PINGS_TAKEN)
                                check_more(MS_DROP_DISCO_RATE, 0);
                }
                check_more(MS_DROP_DISCO_RATE, PINGS - PINGS_TAKEN);
        }
        ms_peer_remove(t.ms, OTHER, mono_now());
        check_more(MS_DROP_DISCO_RATE, 0);   /* what was counted stays counted */
}

static void check_way(const struct ms_traffic got[MS_WAYS], enum ms_way way, uint64_t packets, uint64_t bytes)
{
        for (int i = 0; i < MS_WAYS; i++) {
                assert_int_equal(got[i].packets, i == (int)way ? packets : 0);
                assert_int_equal(got[i].bytes, i == (int)way ? bytes : 0);
        }
}

static void check_traffic(enum ms_way way, uint64_t in, uint64_t in_bytes, uint64_t out, uint64_t out_bytes)
{
        struct ms_traffic i[MS_WAYS], o[MS_WAYS];
        ms_traffic(t.ms, i, o);
        check_way(i, way, in, in_bytes);
        check_way(o, way, out, out_bytes);
}

static void test_by_relay(void **state)
{
        (void)state;
        static const uint8_t data[WG_LEN] = {1};
        struct derp_mgr_stats st;
        join_relay();
        from_relay(&t.other, data, sizeof(data));
        SRV_UNTIL(t.loop, ms_drops(t.ms, MS_DROP_RELAY_STRANGER) > 0);
        check_more(MS_DROP_RELAY_STRANGER, 1);
        from_relay(&t.peer, data, 0);
        SRV_UNTIL(t.loop, ms_drops(t.ms, MS_DROP_SHORT) > 0);
        check_more(MS_DROP_SHORT, 1);
        check_traffic(MS_WAY_RELAY, 0, 0, 0, 0);
        from_relay(&t.peer, data, 64);
        from_relay(&t.peer, data, sizeof(data));
        SRV_UNTIL(t.loop, t.handed == 2);
        check_traffic(MS_WAY_RELAY, 2, 64 + WG_LEN, 0, 0);
        assert_int_equal(send_to_slot(PEER, 3), ERR_NONE);
        SRV_UNTIL(t.loop, t.relay.relayed >= 3);
        check_traffic(MS_WAY_RELAY, 2, 64 + WG_LEN, 3, 3 * WG_LEN);
        check_more(MS_DROP_SHORT, 0);
        ms_relay_stats(t.ms, &st);
        assert_true(st.sent >= 3);   /* disco goes with it */
        assert_int_equal(st.received, 4);
        assert_int_equal(st.dropped_queue + st.dropped_large + st.dropped_rate, 0);
}

/* Of one family, by the socket of ours in that family. */
static void direct(enum ip_family f)
{
        enum ms_way way = f == IP_V6 ? MS_WAY_DIRECT6 : MS_WAY_DIRECT4;
        struct addr ours = {ip_v4(127, 0, 0, 1), ms_port(t.ms, f)}, sink = {.port = 0};
        static const uint8_t data[WG_LEN] = {1}, large[PKT_DATA_MAX + 1] = {1}, geneve[64] = {0, 0, 0x7a, 0x12, 0, 0, 1};
        struct sockaddr_storage sa;
        if (f == IP_V6)
                assert_int_equal(ip_parse("::1", &ours.ip), ERR_NONE);
        socklen_t len = addr_to_sockaddr(ours, &sa);
        int fd = socket(f == IP_V6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
        assert_int_equal(send(fd, data, 3, 0), 3);
        SRV_UNTIL(t.loop, ms_drops(t.ms, MS_DROP_SHORT) > 0);
        check_more(MS_DROP_SHORT, 1);
        assert_int_equal(send(fd, data, 0, 0), 0);
        SRV_UNTIL(t.loop, ms_drops(t.ms, MS_DROP_SHORT) > 1);
        check_more(MS_DROP_SHORT, 1);
        assert_int_equal(send(fd, large, sizeof(large), 0), sizeof(large));
        SRV_UNTIL(t.loop, ms_drops(t.ms, MS_DROP_LARGE) > 0);
        check_more(MS_DROP_LARGE, 1);
        assert_int_equal(send(fd, geneve, sizeof(geneve), 0), sizeof(geneve));
        SRV_UNTIL(t.loop, ms_drops(t.ms, MS_DROP_PEER_RELAY) > 0);
        check_more(MS_DROP_PEER_RELAY, 1);
        assert_int_equal(send(fd, data, sizeof(data), 0), sizeof(data));
        SRV_UNTIL(t.loop, t.handed == 1);
        check_traffic(way, 1, WG_LEN, 0, 0);
        len = sizeof(sa);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
        sink = addr_from_sockaddr((struct sockaddr *)&sa);
        struct ms_peer *p = &ms_slot_find(t.ms, PEER)->peer;
        p->best.addr = sink;
        p->trust_until = mono_add_ms(now(), 60000);
        assert_int_equal(send_to_slot(PEER, 4), ERR_NONE);
        check_traffic(way, 1, WG_LEN, 4, 4 * WG_LEN);
        check_more(MS_DROP_SHORT, 0);
        close(fd);
}

/* What WireGuard's side keeps is let go in the same round, by a call of nothing if nothing more came, and is whole until then. */
static void test_keeps(void **state)
{
        (void)state;
        uint8_t data[WG_LEN] = {1};
        struct sockaddr_storage sa;
        data[WG_LEN - 1] = 77;
        socklen_t len = addr_to_sockaddr((struct addr){ip_v4(127, 0, 0, 1), ms_port(t.ms, IP_V4)}, &sa);
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
        t.keeps = true;
        for (unsigned i = 1; i <= 3; i++) {
                assert_int_equal(send(fd, data, sizeof(data), 0), sizeof(data));
                SRV_UNTIL(t.loop, t.handed == i);
                assert_null(t.kept);
                assert_int_equal(t.ended, i);
        }
        close(fd);
}

static void test_direct4(void **state)
{
        (void)state;
        direct(IP_V4);
}

static void test_direct6(void **state)
{
        (void)state;
        if (ms_port(t.ms, IP_V6) == 0)
                skip();   /* a kernel without IPv6 */
        direct(IP_V6);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_names),
                T(test_inactive), T(test_no_path), T(test_socket), T(test_disco), T(test_disco_rate), T(test_by_relay),
                T(test_direct4), T(test_direct6), T(test_keeps),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
