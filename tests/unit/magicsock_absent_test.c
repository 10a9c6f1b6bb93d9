/* A peer that is not on its home relay is reached by the one it spoke on.  Two relays on the loopback. */
#include "tests/unit/check.h"

#include "base/crypto.h"
#include "base/dial.h"
#include "magicsock/derp_conn.h"
#include "magicsock/internal.h"
#include "tests/unit/derp_server.h"

enum { PEER = 3, HERE = 1, HOME = 2, POOL = 64 };

static struct {
        struct loop *loop;
        struct ms *ms;
        struct pkt_pool *pool;
        struct srv relay[2];
        struct key_private us, peer;
} t;

static struct srv *relay(int region)
{
        return &t.relay[region - 1];
}

/* The relay that a packet goes to. */
static int way_of_next(void)
{
        unsigned before[2] = {t.relay[0].relayed, t.relay[1].relayed};
        struct pkt *p = pkt_get(t.pool);
        memset(pkt_put(p, 32), 4, 32);
        assert_int_equal(ms_send(t.ms, PEER, &p, 1, loop_now(t.loop)), ERR_NONE);
        SRV_UNTIL(t.loop, t.relay[0].relayed + t.relay[1].relayed > before[0] + before[1]);
        return t.relay[0].relayed > before[0] ? HERE : HOME;
}

static void heard_on(int region)
{
        struct node_public us = key_node_public(&t.us), from = key_node_public(&t.peer);
        uint8_t data[32] = {4};
        struct ms_slot *s = ms_slot_find(t.ms, PEER);
        s->peer.learned = 0;
        srv_frame(srv_find(relay(region), &us), DERP_RECV_PACKET, from.b, KEY_LEN, data, sizeof(data));
        SRV_UNTIL(t.loop, s->peer.learned == region);
}

static struct derp_conn *conn_to(int region)
{
        for (struct derp_conn *c = t.ms->derp->conns; c != NULL; c = c->next)
                if (c->region == region)
                        return c;
        fail_msg("no connection to %d", region);
        return NULL;
}

/* Nothing came or went by our connection to it. */
static void idle_for(int region, int64_t ms)
{
        struct derp_conn *c = conn_to(region);
        c->heard = c->last_send = mono_add_ms(loop_now(t.loop), -ms);
}

/* As long as no relay has said that the peer is not at home. */
static int way_if_there(struct ms_slot *s)
{
        s->absent = 0;
        return ms_relay_for(t.ms, s);
}

static void test_absent(void **state)
{
        (void)state;
        static const struct ms_callbacks none;
        struct derp_node node[2] = {{.name = "1a", .hostname = "127.0.0.1"}, {.name = "2a", .hostname = "127.0.0.1"}};
        struct derp_region region[2] = {{.id = HERE, .code = "a", .score = 1, .node_count = 1, .nodes = &node[0]},
                {.id = HOME, .code = "b", .score = 1, .node_count = 1, .nodes = &node[1]}};
        struct derpmap map = {.region_count = 2, .regions = region};
        t.loop = loop_new();
        struct dialer *dialer = dialer_new(t.loop);
        t.pool = pkt_pool_new(POOL);
        t.ms = ms_new(t.loop, t.pool, dialer, &(struct ms_opts){.relay_plain = true, .no_udp = true, .cb = &none});
        assert_non_null(t.ms);
        for (int i = 0; i < 2; i++) {
                srv_listen(&t.relay[i], t.loop, 0);
                node[i].derp_port = t.relay[i].port;
        }
        key_generate(&t.us);
        key_generate(&t.peer);
        ms_set_keys(t.ms, &t.us);
        ms_set_active(t.ms, true, loop_now(t.loop));
        struct ms_peer_config c = {.key = key_node_public(&t.peer), .home = HOME};
        assert_int_equal(ms_peer_set(t.ms, PEER, &c, loop_now(t.loop)), ERR_NONE);
        ms_set_derp_map(t.ms, &map, loop_now(t.loop));
        derp_mgr_set_home(t.ms->derp, HERE, loop_now(t.loop));
        SRV_UNTIL(t.loop, derp_mgr_is_up(t.ms->derp, HERE));

        assert_int_equal(way_of_next(), HOME);
        SRV_UNTIL(t.loop, ms_slot_find(t.ms, PEER)->absent == HOME);   /* it says so; but there is no other way */
        assert_int_equal(way_of_next(), HOME);
        heard_on(HERE);
        assert_int_equal(way_of_next(), HERE);
        heard_on(HERE);
        struct ms_slot *s = ms_slot_find(t.ms, PEER);
        s->learned_at = mono_add_ms(loop_now(t.loop), -54000);
        assert_int_equal(way_of_next(), HERE);
        s->learned_at = mono_add_ms(loop_now(t.loop), -55000);   /* it will soon not be there any more */
        assert_int_equal(way_of_next(), HOME);
        heard_on(HOME);
        assert_int_equal(way_of_next(), HOME);

        /* Home may have died meanwhile without a word: it is asked while packets go on by the other. */
        heard_on(HERE);
        assert_int_equal(way_if_there(s), HOME);
        idle_for(HOME, 5000);
        unsigned pings = t.relay[1].pings;
        assert_int_equal(way_if_there(s), HERE);
        assert_int_equal(way_of_next(), HERE);
        SRV_UNTIL(t.loop, t.relay[1].pings == pings + 1);
        SRV_UNTIL(t.loop, way_if_there(s) == HOME);
        /* The other is no better known: it was not heard there lately. */
        idle_for(HOME, 5000);
        s->learned_at = mono_add_ms(loop_now(t.loop), -5000);
        assert_int_equal(way_if_there(s), HOME);
        s->learned_at = mono_add_ms(loop_now(t.loop), -4999);
        assert_int_equal(way_if_there(s), HERE);
        SRV_UNTIL(t.loop, t.relay[1].pings == pings + 2);
        /* There is no other. */
        heard_on(HOME);
        idle_for(HOME, 5000);
        assert_int_equal(way_if_there(s), HOME);
        assert_false(conn_to(HOME)->asked);

        ms_free(t.ms);
        assert_int_equal(pkt_pool_free_count(t.pool), POOL);
        pkt_pool_free(t.pool);
        srv_stop(&t.relay[0]);
        srv_stop(&t.relay[1]);
        dialer_free(dialer);
        loop_free(t.loop);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_absent)};
        return crypto_init() == ERR_NONE ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
