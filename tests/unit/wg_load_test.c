/* Under load: cookies in both directions, the limiter behind them, and the way back to normal. */
#include "tests/unit/wg_net.h"

static struct wg_source source(uint8_t host, uint16_t port)
{
        return (struct wg_source){.addr = {.ip = ip_v4(192, 0, 2, host), .port = port}};
}

static enum wg_verdict open_one(struct wg *wg, struct pkt *p, struct wg_source src, mono_t now)
{
        struct wg_in in = {.p = p, .src = &src};
        wg_open(wg, &in, 1, now);
        return in.verdict;
}

static struct pkt *next_initiation(struct net *n)
{
        struct wg_out out;
        handshake_initiate(n->node[0].wg, side(n, 0), n->now, net_wall(n));
        assert_true(wg_next_out(n->node[0].wg, &out));
        assert_int_equal(out.kind, WG_OUT_INITIATION);
        return out.p;
}

static bool next_cookie(struct net *n, unsigned i, struct wg_out *ret)
{
        while (wg_next_out(n->node[i].wg, ret)) {
                if (ret->kind == WG_OUT_COOKIE)
                        return true;
                pkt_release(n->pool, ret->p);
        }
        return false;
}

static void test_cookie_round_trip(void **state)
{
        struct net n;
        struct wg_out out;
        (void)state;
        net_init(&n);
        struct wg *b = n.node[1].wg;
        wg_note_load(b, n.now);

        struct pkt *p = next_initiation(&n);
        assert_int_equal(open_one(b, p, source(1, 1000), n.now), WG_DROP);
        pkt_release(n.pool, p);
        assert_int_equal(wg_drops(b, WG_DROP_COOKIE_SENT), 1);
        assert_true(next_cookie(&n, 1, &out));
        assert_int_equal(out.peer, WG_NO_PEER);
        assert_true(addr_eq(out.to.addr, source(1, 1000).addr));
        assert_int_equal(out.p->len, MSG_COOKIE_LEN);

        assert_int_equal(open_one(n.node[0].wg, out.p, source(9, 9), n.now), WG_COOKIE);
        assert_int_equal(open_one(n.node[0].wg, out.p, source(9, 9), n.now), WG_DROP);   /* believed once */
        pkt_release(n.pool, out.p);

        n.now = mono_add_ms(n.now, 100);
        p = next_initiation(&n);   /* with mac2; only from where the cookie was given to */
        struct pkt *copies[3] = {pkt_get(n.pool), pkt_get(n.pool), pkt_get(n.pool)};
        for (int i = 0; i < 3; i++)
                memcpy(pkt_put(copies[i], p->len), pkt_data(p), p->len);
        assert_int_equal(open_one(b, copies[0], source(1, 1001), n.now), WG_DROP);
        assert_int_equal(open_one(b, copies[1], source(2, 1000), n.now), WG_DROP);
        struct wg_source relayed = {.relay_region = 1};
        assert_int_equal(open_one(b, copies[2], relayed, n.now), WG_DROP);
        assert_int_equal(open_one(b, p, source(1, 1000), n.now), WG_HANDSHAKE);
        for (int i = 0; i < 3; i++)
                pkt_release(n.pool, copies[i]);
        pkt_release(n.pool, p);
        net_done(&n);
}

static void test_relay_source(void **state)
{
        struct net n;
        struct wg_out out;
        (void)state;
        net_init(&n);
        struct wg *b = n.node[1].wg;
        struct wg_source src = {.relay_region = 7, .relay_peer = n.node[0].pub};
        wg_note_load(b, n.now);
        struct pkt *p = next_initiation(&n);
        assert_int_equal(open_one(b, p, src, n.now), WG_DROP);
        pkt_release(n.pool, p);
        assert_true(next_cookie(&n, 1, &out));
        assert_int_equal(out.to.relay_region, 7);
        assert_true(node_public_eq(&out.to.relay_peer, &n.node[0].pub));
        assert_int_equal(open_one(n.node[0].wg, out.p, src, n.now), WG_COOKIE);
        pkt_release(n.pool, out.p);
        n.now = mono_add_ms(n.now, 100);
        p = next_initiation(&n);
        struct wg_source other = {.relay_region = 7, .relay_peer = n.node[1].pub};
        assert_int_equal(open_one(b, p, other, n.now), WG_DROP);
        assert_int_equal(open_one(b, p, src, n.now), WG_HANDSHAKE);
        pkt_release(n.pool, p);
        net_done(&n);
}

/* Burst 5 and 20 a second, although each one has a good cookie. */
static void test_rate(void **state)
{
        struct net n;
        struct wg_out out;
        (void)state;
        net_init(&n);
        struct wg *b = n.node[1].wg;
        wg_note_load(b, n.now);
        struct pkt *p = next_initiation(&n);
        (void)open_one(b, p, source(1, 1), n.now);
        pkt_release(n.pool, p);
        assert_true(next_cookie(&n, 1, &out));
        assert_int_equal(open_one(n.node[0].wg, out.p, source(9, 9), n.now), WG_COOKIE);
        pkt_release(n.pool, out.p);
        int answered = 0;
        for (int i = 0; i < 30; i++) {
                n.now = mono_add_ms(n.now, 25);
                wg_note_load(b, n.now);
                p = next_initiation(&n);
                answered += open_one(b, p, source(1, 1), n.now) == WG_HANDSHAKE;
                pkt_release(n.pool, p);
                while (wg_next_out(b, &out))
                        pkt_release(n.pool, out.p);
        }
        assert_true(answered >= 17 && answered <= 20);   /* 5 + 30 * 25 ms * 20/s */
        assert_int_equal(wg_drops(b, WG_DROP_RATE), 30 - answered);
        net_done(&n);
}

/* A flood with a good mac1 and junk inside: after the first few hundred only cookies, in bounded number;
 * a true peer gets in meanwhile; and a second later all is as before. */
static void test_flood(void **state)
{
        struct net n;
        struct wg_out out;
        struct cookie_jar none = {0};
        (void)state;
        net_init(&n);
        struct wg *b = n.node[1].wg;
        struct pkt *junk = pkt_get(n.pool);
        uint8_t *msg = pkt_put(junk, MSG_INITIATION_LEN);
        uint8_t nonce[24] = {0};
        unsigned cookies = 0;
        for (int i = 0; i < 2000; i++) {
                crypto_random(msg, MSG_INITIATION_LEN);
                store_le32(msg, MSG_INITIATION);
                cookie_add_macs(b->us.mac1_key, &none, msg, MSG_INITIATION_LEN, n.now);
                assert_int_equal(open_one(b, junk, source(66, 66), n.now), WG_DROP);
                if (i % 500 == 499)
                        while (next_cookie(&n, 1, &out)) {
                                const uint8_t *at = pkt_data(out.p) + MSG_COOKIE_NONCE;
                                assert_memory_not_equal(at, nonce, sizeof(nonce));   /* used once */
                                memcpy(nonce, at, sizeof(nonce));
                                cookies++;
                                pkt_release(n.pool, out.p);
                        }
        }
        pkt_release(n.pool, junk);
        assert_int_equal(wg_drops(b, WG_DROP_HANDSHAKE), LOAD_BURST_US / LOAD_COST_US);
        assert_int_equal(wg_drops(b, WG_DROP_HANDSHAKE) + wg_drops(b, WG_DROP_COOKIE_SENT), 2000);
        assert_int_equal(cookies, 4 * COOKIE_QUEUE_MAX);

        n.delay_ms = 10;
        (void)net_send(&n, 0, 1);
        net_run_ms(&n, 400);
        assert_int_equal(n.node[1].delivered, 1);
        assert_int_equal(n.node[0].sent[MSG_INITIATION], 2);   /* one more step, not five seconds */

        n.now = mono_add_ms(n.now, 1500);
        struct pkt *p = next_initiation(&n);
        memset(pkt_data(p) + msg_mac2_at(MSG_INITIATION_LEN), 0xff, MSG_MAC_LEN);   /* not looked at any more */
        assert_int_equal(open_one(b, p, source(3, 3), n.now), WG_HANDSHAKE);
        pkt_release(n.pool, p);
        net_done(&n);
}

/* The initiator is under load: it asks for a cookie on the response, and gets the same one again. */
static void test_response_under_load(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        wg_note_load(n.node[0].wg, n.now);
        (void)net_send(&n, 0, 1);
        net_run_ms(&n, 200);
        assert_int_equal(n.node[0].sent[MSG_INITIATION], 1);
        assert_int_equal(n.node[0].sent[MSG_COOKIE], 1);
        assert_int_equal(n.node[1].sent[MSG_RESPONSE], 2);
        assert_int_equal(n.node[1].delivered, 1);
        net_done(&n);
}

static void test_unasked_cookies(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        struct wg *a = n.node[0].wg;
        struct pkt *p = pkt_get(n.pool);
        uint8_t *msg = pkt_put(p, MSG_COOKIE_LEN);
        crypto_random(msg, MSG_COOKIE_LEN);
        store_le32(msg, MSG_COOKIE);
        assert_int_equal(open_one(a, p, source(1, 1), n.now), WG_DROP);
        assert_int_equal(wg_drops(a, WG_DROP_UNKNOWN_INDEX), 1);

        struct pkt *i = next_initiation(&n);   /* a good index alone changes nothing */
        memcpy(msg + MSG_RECEIVER, pkt_data(i) + MSG_SENDER, 4);
        mono_t deadline = wg_deadline(a);
        assert_int_equal(open_one(a, p, source(1, 1), n.now), WG_DROP);
        assert_int_equal(wg_drops(a, WG_DROP_HANDSHAKE), 1);
        assert_false(mono_is_set(a->slot[3]->jar.at));
        assert_true(wg_deadline(a).ns == deadline.ns);
        pkt_release(n.pool, i);
        pkt_release(n.pool, p);
        net_done(&n);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cookie_round_trip),
                cmocka_unit_test(test_relay_source),
                cmocka_unit_test(test_rate),
                cmocka_unit_test(test_flood),
                cmocka_unit_test(test_response_under_load),
                cmocka_unit_test(test_unasked_cookies),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
