/* What the datapath tells magicsock about where packets came from. */
#include "tests/unit/check.h"

#include <stdlib.h>

#include "base/crypto.h"
#include "base/dial.h"
#include "base/loop.h"
#include "daemon/datapath.h"

enum { SLOT = 3 };

static struct {
        struct loop *loop;
        struct dialer *dialer;
        struct pkt_pool *pool;
        struct tun *ours, *theirs;
        struct datapath dp;   /* we */
        struct wg *peer;      /* the other side, without any sockets */
        mono_t now;
} w;

static struct wg *device(const struct key_private *key, const struct node_public *other, const char *allowed)
{
        struct prefix p;
        struct wg *wg = wg_new(w.pool, 8);
        assert_non_null(wg);
        wg_set_identity(wg, key);
        assert_int_equal(prefix_parse(allowed, &p), ERR_NONE);
        assert_int_equal(wg_peer_set(wg, SLOT, other, &p, 1), ERR_NONE);
        return wg;
}

static int setup(void **state)
{
        struct key_private a, b;
        (void)state;
        assert_int_equal(crypto_init(), ERR_NONE);
        key_generate(&a);
        key_generate(&b);
        struct node_public pa = key_node_public(&a), pb = key_node_public(&b);
        w.now = mono_now();
        w.loop = loop_new();
        w.dialer = dialer_new(w.loop);
        w.pool = pkt_pool_new(64);
        assert_int_equal(tun_pair(64, &w.ours, &w.theirs), ERR_NONE);
        struct ms_callbacks cb = {0};
        struct ms_opts opts = {.cb = &cb, .no_udp = true};
        w.dp = (struct datapath){.pool = w.pool, .tun = w.ours, .wg = device(&a, &pb, "10.0.0.2/32"),
                .ms = ms_new(w.loop, w.pool, w.dialer, &opts)};
        assert_non_null(w.dp.ms);
        w.peer = device(&b, &pa, "10.0.0.1/32");
        struct ms_peer_config c = {.key = pb, .disco = {{1}}};
        ms_set_keys(w.dp.ms, &a);
        assert_int_equal(ms_peer_set(w.dp.ms, SLOT, &c, w.now), ERR_NONE);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        wg_free(w.dp.wg);
        wg_free(w.peer);
        ms_free(w.dp.ms);
        assert_int_equal(pkt_pool_free_count(w.pool), 64);
        pkt_pool_free(w.pool);
        tun_close(w.ours);
        tun_close(w.theirs);
        dialer_free(w.dialer);
        loop_free(w.loop);
        return 0;
}

/* Our initiation, as the other side would get it. */
static struct pkt *initiation(void)
{
        struct pkt *p = pkt_get(w.pool);
        struct wg_out out;
        memset(pkt_put(p, 20), 0, 20);
        assert_int_equal(wg_seal(w.dp.wg, SLOT, &p, 1, w.now), 0);
        wg_expire(w.dp.wg, w.now, wall_now_ns());
        assert_true(wg_next_out(w.dp.wg, &out));
        assert_int_equal(out.kind, WG_OUT_INITIATION);
        return out.p;
}

/* Gives the other side a message of ours and us what it answers, from that address. */
static void answer(struct pkt *p, struct addr from, enum wg_out_kind kind)
{
        struct wg_source src = {.addr = {.ip = ip_v4(192, 0, 2, 1), .port = 1}};
        struct wg_in in = {.p = p, .src = &src};
        struct ms_source back = {.addr = from, .slot = MS_SLOT_NONE};
        struct wg_out out;
        wg_open(w.peer, &in, 1, w.now);
        pkt_release(w.pool, p);
        assert_true(wg_next_out(w.peer, &out));
        assert_int_equal(out.kind, kind);
        datapath_in(&w.dp, &out.p, &back, 1, w.now);
}

static bool peer_was_heard(void)
{
        struct ms_peer_status s;
        assert_true(ms_peer_status(w.dp.ms, SLOT, &s, w.now));
        assert_false(addr_is_set(s.cur_addr));   /* only disco makes a path */
        return mono_is_set(s.last_heard);
}

/* A cookie reply proves nothing about its sender; a response does. */
static void test_cookie_reply_is_not_the_peer(void **state)
{
        struct addr stranger = {.ip = ip_v4(198, 51, 100, 66), .port = 666};
        (void)state;
        wg_note_load(w.peer, w.now);
        answer(initiation(), stranger, WG_OUT_COOKIE);
        assert_int_equal(wg_drops(w.dp.wg, WG_DROP_HANDSHAKE), 0);
        assert_int_equal(w.dp.handshakes, 0);
        assert_false(peer_was_heard());

        w.now = mono_add_ms(w.now, 300);   /* the next try, which has the cookie */
        answer(initiation(), stranger, WG_OUT_RESPONSE);
        assert_int_equal(w.dp.handshakes, 1);
        assert_true(peer_was_heard());
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_cookie_reply_is_not_the_peer, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
