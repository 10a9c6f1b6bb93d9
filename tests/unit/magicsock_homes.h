/* tests/unit/magicsock_homes.h - our end with three relays on loopback, any of which may be home. */
#pragma once

#include "tests/unit/check.h"

#include "base/crypto.h"
#include "base/dial.h"
#include "magicsock/derp_conn.h"
#include "magicsock/internal.h"
#include "tests/unit/derp_server.h"

enum { REGIONS = 3, POOL = 256 };

static struct {
        struct loop *loop;
        struct dialer *dialer;
        struct pkt_pool *pool;
        struct ms *ms;
        struct srv servers[REGIONS];
        struct derp_node nodes[REGIONS];
        struct derp_region regions[REGIONS];
        struct derpmap map;
        unsigned reports;
        int told, preferred;
} t;

static uint8_t room[SOCK_ROOM];

static inline void on_report(void *arg, const struct netcheck_report *r, int announce, mono_t now)
{
        (void)now;
        assert_ptr_equal(arg, &t);
        t.told = announce;
        t.preferred = r->preferred;
        t.reports++;
}

static inline mono_t now(void)
{
        return loop_now(t.loop);
}

static inline int set_up(void **state)
{
        static const struct ms_callbacks cb = {.on_report = on_report};
        struct key_private us;
        (void)state;
        memset(&t, 0, sizeof(t));
        t.told = -1;
        t.loop = loop_new();
        t.dialer = dialer_new(t.loop);
        t.pool = pkt_pool_new(POOL);
        t.ms = ms_new(t.loop, t.pool, t.dialer, &(struct ms_opts){.no_udp = true, .room = room, .cb = &cb, .arg = &t});
        assert_non_null(t.ms);
        t.ms->derp->plain = true;
        t.ms->home_seed = 0;   /* where nobody is measured: the first */
        key_generate(&us);
        ms_set_keys(t.ms, &us);
        for (int i = 0; i < REGIONS; i++) {
                srv_listen(&t.servers[i], t.loop, 0);
                t.nodes[i] = (struct derp_node){.hostname = "127.0.0.1", .ipv4 = "127.0.0.1", .ipv6 = "none", .stun_port = 1,
                        .derp_port = t.servers[i].port};
                t.regions[i] = (struct derp_region){.id = i + 1, .code = "x", .score = 1, .node_count = 1, .nodes = &t.nodes[i]};
        }
        return 0;
}

static inline int tear_down(void **state)
{
        (void)state;
        ms_free(t.ms);
        for (int i = 0; i < REGIONS; i++)
                srv_stop(&t.servers[i]);
        bool whole = pkt_pool_free_count(t.pool) == POOL;
        pkt_pool_free(t.pool);
        dialer_free(t.dialer);
        loop_free(t.loop);
        return whole ? 0 : -1;
}

#define UNTIL(cond) SRV_UNTIL(t.loop, cond)

static inline void start(size_t regions)
{
        t.map = (struct derpmap){.region_count = regions, .regions = t.regions};
        ms_set_derp_map(t.ms, &t.map, now());
        ms_set_active(t.ms, true, now());
        ms_set_map_polling(t.ms, true, now());
}

static inline void prefer(int region)
{
        struct netcheck_report r = {.udp = true, .preferred = region};
        ms_home_on_report(t.ms, &r, now());
        ms_home_tell(t.ms, now());
}

/* Home is region 1, up, and told. */
static inline void settle(void)
{
        start(REGIONS);
        UNTIL(t.reports > 0);
        prefer(1);
        UNTIL(derp_mgr_is_up(t.ms->derp, 1) && t.told == 1);
}

/* Then it is to be region 2, which does not let us in yet: others still find us at the old one. */
static inline void settle_and_move(void)
{
        settle();
        t.servers[1].refuse = true;
        prefer(2);
        assert_int_equal(ms_home(t.ms), 2);
        assert_int_equal(t.told, 1);
}

static inline void is_let_in_and_told(void)
{
        t.servers[1].refuse = false;
        UNTIL(derp_mgr_is_up(t.ms->derp, 2));
        assert_int_equal(t.told, 2);
}
