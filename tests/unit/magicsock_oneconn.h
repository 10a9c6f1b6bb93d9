/* tests/unit/magicsock_oneconn.h - one connection to a relay, without the manager: its own timers are run by hand where time
 * has to pass. */
#pragma once

#include "tests/unit/check.h"

#include "magicsock/derp_conn.h"
#include "tests/unit/derp_server.h"

enum { POOL = 64, REGION = 4 };

static struct {
        struct loop *loop;
        struct dialer *dialer;
        struct derp_mgr m;
        struct derp_conn *c;
        struct srv relay;
        struct derp_node nodes[3];
        struct derp_region region;
        struct derpmap map;
        struct node_public us;
        unsigned ups, downs, redials, lost, unhealthy, received;
        char detail[DERP_DETAIL_MAX];
        bool free_on_state;
} t;

#define UNTIL(cond) SRV_UNTIL(t.loop, cond)

static inline mono_t now(void)
{
        return loop_now(t.loop);
}

static inline void on_state(void *arg, int region, enum derp_state st, const char *detail, bool lost, mono_t at)
{
        (void)at;
        assert_ptr_equal(arg, &t);
        assert_int_equal(region, REGION);
        t.ups += st == DERP_STATE_UP;
        t.downs += st == DERP_STATE_DOWN;
        t.redials += st == DERP_STATE_CONNECTING;
        t.unhealthy += st == DERP_STATE_UNHEALTHY;
        t.lost += lost;
        (void)snprintf(t.detail, sizeof(t.detail), "%s", detail);
        if (t.free_on_state) {
                derp_conn_free(t.c);
                t.c = NULL;
        }
}

static inline void on_recv(void *arg, int region, uint32_t conn, const struct node_public *src, struct pkt *pkt, mono_t at)
{
        (void)src;
        (void)at;
        assert_ptr_equal(arg, &t);
        assert_int_equal(region, REGION);
        assert_true(conn != 0 && conn == t.c->id);
        t.received++;
        assert_true(pkt->view);
}

static inline int set_up(void **state)
{
        (void)state;
        memset(&t, 0, sizeof(t));
        t.loop = loop_new();
        t.dialer = dialer_new(t.loop);
        srv_listen(&t.relay, t.loop, 0);
        t.nodes[0] = (struct derp_node){.name = "4a", .hostname = "127.0.0.1", .derp_port = t.relay.port};
        t.region = (struct derp_region){.id = REGION, .score = 1, .node_count = 1, .nodes = t.nodes};
        t.map = (struct derpmap){.region_count = 1, .regions = &t.region};
        t.m = (struct derp_mgr){.loop = t.loop, .dialer = t.dialer, .pool = pkt_pool_new(POOL),
                .cb = {.on_state = on_state, .on_recv = on_recv}, .arg = &t, .plain = true, .map = &t.map,
                .queue_limit = POOL / 4};
        key_generate(&t.m.key);
        t.us = key_node_public(&t.m.key);
        t.c = derp_conn_new(&t.m, REGION, now());
        assert_non_null(t.c);
        t.m.conns = t.c;
        return 0;
}

static inline int tear_down(void **state)
{
        (void)state;
        if (t.c != NULL)
                derp_conn_free(t.c);
        srv_stop(&t.relay);
        bool whole = pkt_pool_free_count(t.m.pool) == POOL && t.m.queued == 0;
        pkt_pool_free(t.m.pool);
        dialer_free(t.dialer);
        loop_free(t.loop);
        return whole ? 0 : -1;
}

static inline void pass(mono_t at)
{
        struct timer *timer = &t.c->timer;
        assert_true(timer_is_armed(timer));
        loop_timer_stop(timer);
        timer->on_expire(timer, at);
}

static inline struct srv_conn *log_in(void)
{
        derp_conn_redial(t.c, now());
        UNTIL(t.ups == 1 && srv_find(&t.relay, &t.us) != NULL);
        return srv_find(&t.relay, &t.us);
}

static inline void send_one(const struct node_public *dst)
{
        struct pkt *p = pkt_get(t.m.pool);
        assert_non_null(p);
        memset(pkt_put(p, 10), 7, 10);
        assert_int_equal(derp_conn_send(t.c, dst, p, now()), ERR_NONE);
}

static inline void down_with(const char *detail)
{
        UNTIL(t.downs > 0);
        assert_string_equal(t.detail, detail);
        assert_int_equal(t.c->state, CONN_BACKOFF);
        assert_null(t.c->stream);
        assert_int_equal(t.c->id, 0);
        assert_true(timer_is_armed(&t.c->timer));
}
