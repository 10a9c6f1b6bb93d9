/* tests/unit/netcheck_byhand.h - a look at the network, step by step: what is asked for is handed to the test, and so is time. */
#pragma once

#include "netcheck/netcheck.h"

#include "tests/unit/check.h"
#include "tests/unit/stun_answer.h"

/* The machine is driven by hand: what it sends lands in `out`, time is `now`. */
static struct netcheck *nc;
static struct derp_node nodes[4][2];
static struct derp_region regions[4];
static struct derpmap map = {.regions = regions};
static struct nc_start_args args;
static mono_t now;
static uint8_t counter;

static inline void count_random(void *out, size_t n)
{
        memset(out, ++counter, n);
}

static inline int setup(void **state)
{
        (void)state;
        memset(nodes, 0, sizeof(nodes));
        for (int i = 0; i < 4; i++) {
                regions[i] = (struct derp_region){.id = 10 + i, .score = 1, .node_count = 1, .nodes = nodes[i]};
                struct derp_node *n = &nodes[i][0];
                snprintf(n->hostname, sizeof(n->hostname), "r%d.example", 10 + i);
                snprintf(n->ipv4, sizeof(n->ipv4), "192.0.2.%d", 10 + i);
                snprintf(n->ipv6, sizeof(n->ipv6), "2001:db8::%d", 10 + i);
                n->stun_port = 3478;
                n->derp_port = 443;
                nodes[i][1] = *n;
        }
        map.region_count = 1;
        args = (struct nc_start_args){.map = &map, .have_v4 = true, .have_v6 = true, .os_has_ipv6 = true};
        now = (mono_t){NS_PER_SEC};
        counter = 0;
        nc = nc_new(count_random);
        assert_non_null(nc);
        return 0;
}

static inline int teardown(void **state)
{
        (void)state;
        nc_free(nc);
        return 0;
}

static inline void wait_ms(int ms)
{
        now = mono_add_ms(now, ms);
}

/* Expects an action of this kind next. */
static inline struct nc_action next(enum nc_action_kind kind)
{
        struct nc_action a;
        assert_int_equal(nc_next(nc, now, &a), kind);
        assert_int_equal(a.kind, kind);
        return a;
}

static inline struct nc_action next_send(const char *to)
{
        char text[ADDR_STR_MAX];
        struct nc_action a = next(NC_SEND);
        assert_string_equal(addr_str(a.addr, text), to);
        nc_on_sent(nc, a.id, true, now);
        return a;
}

/* The server's answer to a request: we were seen at this address. */
static inline bool answer(const struct nc_action *a, const char *seen)
{
        uint8_t msg[STUN_ANSWER_MAX];
        struct addr addr;
        assert_int_equal(addr_parse(seen, &addr), ERR_NONE);
        return nc_on_stun(nc, msg, stun_answer(a->data, addr, msg), now);
}
