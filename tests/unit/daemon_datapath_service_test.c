/* What leaves the TUN: packets for the service addresses turn off before the filter, all others go on. */
#include "daemon/datapath.h"

#include "base/crypto.h"
#include "tests/unit/check.h"
#include "tests/unit/tun_host.h"

struct fixture {
        struct datapath dp;
        struct tun *host;
        struct pkt *p;
};

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        assert_int_equal(crypto_init(), ERR_NONE);
        assert_int_equal(tun_pair(64, &f->dp.tun, &f->host), ERR_NONE);
        f->dp.pool = pkt_pool_new(128);
        f->dp.wg = wg_new(f->dp.pool, 4);
        f->dp.flows = filter_state_new();
        f->dp.service = pktring_new(4096);
        f->dp.room = malloc(sizeof(*f->dp.room));
        f->p = pkt_get(f->dp.pool);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        pkt_release(f->dp.pool, f->p);
        assert_int_equal(pkt_pool_free_count(f->dp.pool), 128);
        wg_free(f->dp.wg);
        filter_state_free(f->dp.flows);
        pktring_free(f->dp.service);
        free(f->dp.room);
        tun_close(f->dp.tun);
        tun_close(f->host);
        pkt_pool_free(f->dp.pool);
        free(f);
        return 0;
}

static void send_to(struct fixture *f, const char *dst, size_t len)
{
        struct ip ip;
        assert_int_equal(ip_parse(dst, &ip), ERR_NONE);
        pkt_reset(f->p);
        uint8_t *b = pkt_put(f->p, len);
        memset(b, 0, len);
        b[0] = ip.family == IP_V4 ? 0x45 : 0x60;
        if (ip.family == IP_V4)
                memcpy(b + 16, ip.b, 4);
        else
                memcpy(b + 24, ip.b, 16);
        assert_int_equal(host_write(f->host, &f->p, 1), 1);
}

static void only_the_service_turns_off(void **state)
{
        struct fixture *f = *state;
        static const struct {
                const char *dst;
                bool service;
        } rows[] = {
                {"100.100.100.100", true}, {"100.100.100.101", false}, {"100.64.0.2", false},
                {"fd7a:115c:a1e0::53", true}, {"fd7a:115c:a1e0::54", false}, {"fd7a:115c:a1e1::53", false},
        };
        uint8_t pkt[PKTRING_PACKET_MAX];
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                send_to(f, rows[i].dst, 60);
                datapath_out(&f->dp, mono_now());
                size_t n = pktring_pop(f->dp.service, pkt);
                assert_int_equal(n, rows[i].service ? 60 : 0);
        }
        uint64_t seen = 0;
        for (int v = 0; v < FILTER_VERDICTS; v++)
                seen += f->dp.out_verdicts[v];
        assert_int_equal(seen, 4);   /* the filter never saw the others */
        send_to(f, "100.100.100.100", 28);
        pkt_trim(f->p, 19);          /* too short to have an address */
        assert_int_equal(host_write(f->host, &f->p, 1), 1);
        datapath_out(&f->dp, mono_now());
        assert_int_equal(pktring_pop(f->dp.service, pkt), 28);
        assert_int_equal(pktring_pop(f->dp.service, pkt), 0);
}

static void a_full_queue_drops_and_counts(void **state)
{
        struct fixture *f = *state;
        uint8_t pkt[PKTRING_PACKET_MAX];
        for (int i = 0; i < 20; i++)
                send_to(f, "100.100.100.100", 398);   /* ten of them fit */
        datapath_out(&f->dp, mono_now());
        assert_int_equal(f->dp.service_dropped, 10);
        for (int i = 0; i < 10; i++)
                assert_int_equal(pktring_pop(f->dp.service, pkt), 398);
        assert_int_equal(pktring_pop(f->dp.service, pkt), 0);
}

static void answers_reach_the_host(void **state)
{
        struct fixture *f = *state;
        struct pktring *from = pktring_new(65536);
        struct pkt *got[64];
        uint8_t pkt[100] = {0x45};
        for (int i = 0; i < 300; i++)
                assert_true(pktring_push(from, pkt, 28 + (size_t)i % 50));
        assert_false(datapath_from_service(&f->dp, from, mono_now()));   /* a bounded number at once */
        assert_true(datapath_from_service(&f->dp, from, mono_now()));
        assert_int_equal(tun_counters(f->dp.tun).written, 300);
        size_t n = host_read(f->host, f->dp.pool, got, 64);
        assert_int_equal(n, 64);
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(got[i]->len, 28 + (236 + i) % 50);
                pkt_release(f->dp.pool, got[i]);
        }
        pktring_free(from);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(only_the_service_turns_off),
                TEST(a_full_queue_drops_and_counts),
                TEST(answers_reach_the_host),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
