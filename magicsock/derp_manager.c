#include "magicsock/derp_manager.h"

#include <stdlib.h>
#include <string.h>

#include "magicsock/derp_conn.h"

enum { SWEEP_MS = 15000, IDLE_MS = 60000 };

static struct derp_conn *find(const struct derp_mgr *m, int region)
{
        for (struct derp_conn *c = m->conns; c != NULL; c = c->next)
                if (c->region == region)
                        return c;
        return NULL;
}

/* Out of the list first: what follows may call back in. */
static void close_conn(struct derp_mgr *m, struct derp_conn *c, mono_t now)
{
        int region = c->region;
        for (struct derp_conn **at = &m->conns; *at != NULL; at = &(*at)->next) {
                if (*at != c)
                        continue;
                *at = c->next;
                m->conn_count--;
                break;
        }
        derp_conn_free(c);
        if (m->cb.on_state != NULL)
                m->cb.on_state(m->arg, region, DERP_STATE_DOWN, "", false, now);
}

/* The regions of the moment: a walk over these survives callbacks that open and close connections. */
static size_t snapshot(const struct derp_mgr *m, int regions[DERP_MGR_CONNS_MAX + 1])
{
        size_t n = 0;
        for (struct derp_conn *c = m->conns; c != NULL; c = c->next)
                regions[n++] = c->region;
        return n;
}

static void close_all(struct derp_mgr *m, mono_t now)
{
        int regions[DERP_MGR_CONNS_MAX + 1];
        size_t n = snapshot(m, regions);
        for (size_t i = 0; i < n; i++) {
                struct derp_conn *c = find(m, regions[i]);
                if (c != NULL)
                        close_conn(m, c, now);
        }
}

static bool may_connect(const struct derp_mgr *m)
{
        return m->map != NULL && !key_private_is_zero(&m->key);
}

/* NULL: no such region, or no room or memory for another. */
static struct derp_conn *open_conn(struct derp_mgr *m, int region, mono_t now)
{
        size_t room = DERP_MGR_CONNS_MAX + (region == m->home ? 1 : 0);
        if (m->conn_count >= room || derpmap_region(m->map, region) == NULL)
                return NULL;
        struct derp_conn *c = derp_conn_new(m, region, now);
        if (c == NULL)
                return NULL;
        c->next = m->conns;
        m->conns = c;
        m->conn_count++;
        if (!timer_is_armed(&m->sweep))
                loop_timer_in(m->loop, &m->sweep, SWEEP_MS);
        if (m->cb.on_state != NULL)
                m->cb.on_state(m->arg, region, DERP_STATE_CONNECTING, "", false, now);
        c = find(m, region);   /* the callback may have closed it */
        if (c != NULL && c->stream == NULL)
                derp_conn_redial(c, now);
        return find(m, region);
}

/* Where all places are taken the one that was sent to least lately gives its own. */
static void make_room(struct derp_mgr *m, mono_t now)
{
        struct derp_conn *oldest = NULL;
        for (struct derp_conn *c = m->conns; c != NULL; c = c->next)
                if (c->region != m->told && (oldest == NULL || c->last_send.ns < oldest->last_send.ns))
                        oldest = c;
        if (oldest != NULL)
                close_conn(m, oldest, now);
}

static void dial_home(struct derp_mgr *m, mono_t now)
{
        if (m->home == 0 || !may_connect(m) || find(m, m->home) != NULL)
                return;
        if (m->conn_count > DERP_MGR_CONNS_MAX)
                make_room(m, now);
        if (open_conn(m, m->home, now) == NULL && !timer_is_armed(&m->sweep))
                loop_timer_in(m->loop, &m->sweep, SWEEP_MS);
}

/* Closes one idle connection a round of the list, as the callback may change it. */
static bool close_one_idle(struct derp_mgr *m, mono_t now)
{
        for (struct derp_conn *c = m->conns; c != NULL; c = c->next) {
                if (c->region != m->home && c->region != m->told && mono_diff_ms(now, c->last_send) >= IDLE_MS) {
                        close_conn(m, c, now);
                        return true;
                }
        }
        return false;
}

static void on_sweep(struct timer *t, mono_t now)
{
        struct derp_mgr *m = container_of(t, struct derp_mgr, sweep);
        while (close_one_idle(m, now))
                continue;
        dial_home(m, now);   /* if there was no memory for it */
        if (m->conn_count > 1 || (m->conns != NULL && m->conns->region != m->home))
                loop_timer_in(m->loop, &m->sweep, SWEEP_MS);
}

struct derp_mgr *derp_mgr_new(struct loop *l, struct dialer *d, struct pkt_pool *pool,
        const struct derp_mgr_opts *opts)
{
        struct derp_mgr *m = calloc(1, sizeof(*m));
        if (m == NULL)
                return NULL;
        m->loop = l;
        m->dialer = d;
        m->pool = pool;
        if (opts->cb != NULL)
                m->cb = *opts->cb;
        m->arg = opts->arg;
        m->plain = opts->plain;
        m->queue_limit = pkt_pool_free_count(pool) / 4;
        if (m->queue_limit < DERP_MGR_QUEUE_MAX)
                m->queue_limit = DERP_MGR_QUEUE_MAX;
        timer_init(&m->sweep, on_sweep);
        return m;
}

void derp_mgr_free(struct derp_mgr *m)
{
        if (m == NULL)
                return;
        memset(&m->cb, 0, sizeof(m->cb));
        close_all(m, (mono_t){0});
        loop_timer_stop(&m->sweep);
        key_wipe(&m->key);
        free(m);
}

void derp_mgr_set_key(struct derp_mgr *m, const struct key_private *node, mono_t now)
{
        struct key_private zero = {0};
        if (node == NULL)
                node = &zero;
        if (crypto_eq(node->b, m->key.b, KEY_LEN))
                return;
        m->key = *node;
        m->accepted = false;
        close_all(m, now);
        dial_home(m, now);
}

static bool node_same(const struct derp_node *a, const struct derp_node *b)
{
        return strcmp(a->name, b->name) == 0 && strcmp(a->hostname, b->hostname) == 0
                && strcmp(a->cert_name, b->cert_name) == 0 && strcmp(a->ipv4, b->ipv4) == 0
                && strcmp(a->ipv6, b->ipv6) == 0 && a->derp_port == b->derp_port
                && a->stun_only == b->stun_only && a->insecure == b->insecure;
}

/* What a connection depends on. */
static bool region_same(const struct derp_region *a, const struct derp_region *b)
{
        if (a == NULL || b == NULL || a->node_count != b->node_count)
                return false;
        for (size_t i = 0; i < a->node_count; i++)
                if (!node_same(&a->nodes[i], &b->nodes[i]))
                        return false;
        return true;
}

static const struct derp_region *region_in(const struct derpmap *map, int region)
{
        return map != NULL ? derpmap_region(map, region) : NULL;
}

void derp_mgr_set_map(struct derp_mgr *m, const struct derpmap *map, mono_t now)
{
        int changed[DERP_MGR_CONNS_MAX + 1];
        size_t n = 0;
        for (struct derp_conn *c = m->conns; c != NULL; c = c->next)
                if (!region_same(region_in(m->map, c->region), region_in(map, c->region)))
                        changed[n++] = c->region;
        m->map = map;
        if (region_in(map, m->home) == NULL)
                m->home = 0;
        for (size_t i = 0; i < n; i++) {
                struct derp_conn *c = find(m, changed[i]);
                if (c != NULL)
                        close_conn(m, c, now);
        }
        dial_home(m, now);
}

void derp_mgr_set_home(struct derp_mgr *m, int region, mono_t now)
{
        if (region_in(m->map, region) == NULL)
                region = 0;
        if (region == m->home)
                return;
        struct derp_conn *old = find(m, m->home);
        if (old != NULL)
                old->last_send = now;   /* who has not heard of the other yet sends here */
        m->home = region;
        for (struct derp_conn *c = m->conns; c != NULL; c = c->next)
                derp_conn_set_home(c, c->region == region, now);
        if (m->conns != NULL && !timer_is_armed(&m->sweep))
                loop_timer_in(m->loop, &m->sweep, SWEEP_MS);
        dial_home(m, now);
}

void derp_mgr_set_told(struct derp_mgr *m, int region)
{
        m->told = region;
}

int derp_mgr_told(const struct derp_mgr *m)
{
        return m->told;
}

int derp_mgr_home(const struct derp_mgr *m)
{
        return m->home;
}

void derp_mgr_check(struct derp_mgr *m, int64_t slept_ms, mono_t now)
{
        int regions[DERP_MGR_CONNS_MAX + 1];
        size_t n = snapshot(m, regions);
        for (size_t i = 0; i < n; i++) {
                struct derp_conn *c = find(m, regions[i]);
                if (c != NULL)
                        derp_conn_check(c, slept_ms, now);
        }
}

void derp_mgr_ask(struct derp_mgr *m, mono_t now)
{
        int regions[DERP_MGR_CONNS_MAX + 1];
        size_t n = snapshot(m, regions);
        for (size_t i = 0; i < n; i++) {
                struct derp_conn *c = find(m, regions[i]);
                if (c != NULL && c->state == CONN_UP)
                        derp_conn_check(c, 0, now);
        }
}

void derp_mgr_hurry(struct derp_mgr *m, int region, mono_t now)
{
        struct derp_conn *c = find(m, region);
        if (c != NULL && c->state == CONN_BACKOFF)
                derp_conn_redial(c, now);
}

enum err derp_mgr_send(struct derp_mgr *m, int region, const struct node_public *dst, struct pkt *pkt,
        mono_t now)
{
        enum err e = ERR_NONE;
        struct derp_conn *c = NULL;
        if (m->map == NULL || derpmap_region(m->map, region) == NULL)
                e = ERR_NOT_FOUND;
        else if (!may_connect(m))
                e = ERR_STATE;
        else if ((c = find(m, region)) == NULL && (c = open_conn(m, region, now)) == NULL)
                e = ERR_FULL;
        if (e != ERR_NONE) {
                pkt_release(m->pool, pkt);
                return e;
        }
        return derp_conn_send(c, dst, pkt, now);
}

void derp_mgr_hasten(struct derp_mgr *m, int region, mono_t now)
{
        struct derp_conn *c = find(m, region);
        if (c != NULL)
                derp_conn_hasten(c, now);
}

bool derp_mgr_is_up(const struct derp_mgr *m, int region)
{
        const struct derp_conn *c = find(m, region);
        return c != NULL && c->state == CONN_UP;
}

bool derp_mgr_conn_alive(const struct derp_mgr *m, int region, uint32_t conn)
{
        const struct derp_conn *c = find(m, region);
        return c != NULL && c->state == CONN_UP && c->id == conn && conn != 0;
}

bool derp_mgr_is_ready(struct derp_mgr *m, int region, mono_t now)
{
        struct derp_conn *c = find(m, region);
        return c != NULL && derp_conn_is_ready(c, now);
}

mono_t derp_mgr_heard(const struct derp_mgr *m, int region)
{
        const struct derp_conn *c = find(m, region);
        return c != NULL ? c->heard : (mono_t){0};
}

void derp_mgr_get_stats(const struct derp_mgr *m, struct derp_mgr_stats *ret)
{
        *ret = m->stats;
}
