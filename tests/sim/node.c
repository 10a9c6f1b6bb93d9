#include "tests/sim/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/derpmap.h"
#include "daemon/dpmsg.h"
#include "daemon/offload.h"
#include "daemon/sizes.h"
#include "tests/sim/relay.h"
#include "tests/sim/trace.h"
#include "tun/filter.h"
#include "tun/packet.h"

enum { OFFLINE_RETRY_MS = 300 };

static struct node *nodes[NODES_MAX];
static int count;
static bool control_down;

/* As the daemon has them for a small router; few packets, so that running out of them is met with. */
static const struct sizes sizes = {.word = "sim", .packets = 256, .socket_bytes = 1 << 20, .service_bytes = 4096,
        .stack_bytes = 4096};

void nodes_reset(void)
{
        count = 0;
        control_down = false;
}

struct node *node_at(int index)
{
        return nodes[index];
}

int node_count(void)
{
        return count;
}

struct node *node_of(const struct host *h)
{
        return h->owner;
}

/* ---- to the data side ---- */

static void post(struct node *n, struct dp_msg m)
{
        (void)ring_push(n->in, &m);
}

static void post_peer(struct node *n, const struct node *peer)
{
        const struct record *r = &peer->known;
        size_t eps = r->ep_count * sizeof(struct addr);
        struct dp_peer *d = malloc(sizeof(*d) + eps + sizeof(struct prefix));
        if (d == NULL)
                abort();
        *d = (struct dp_peer){
                .key = peer->pub,
                .disco = r->disco,
                .home_region = r->home,
                .endpoint_count = r->ep_count,
                .allowed_count = 1,
                .endpoints = (struct addr *)(void *)(d + 1),
        };
        d->allowed = (struct prefix *)(void *)(d->endpoints + r->ep_count);
        memcpy(d->endpoints, r->eps, eps);
        d->allowed[0] = prefix_of(peer->ip);
        post(n, (struct dp_msg){.kind = DP_PEER_SET, .slot = (uint32_t)peer->index, .gen = 1, .ptr = d});
}

static struct filter *allow_all(struct ip us)
{
        static const uint8_t protos[] = {PROTO_UDP};
        struct filter_range all = {ip_v4(0, 0, 0, 0), ip_v4(255, 255, 255, 255)};
        struct filter_ports to = {all, 0, 65535};
        struct filter_allow allow = {&all, 1, &to, 1, protos, 1};
        struct prefix local = prefix_of(us);
        return filter_new(&allow, 1, &local, 1, false);
}

/* ---- the server ---- */

static void set_polling(struct node *n, bool on)
{
        loop_timer_stop(&n->poll);
        post(n, (struct dp_msg){.kind = DP_POLLING, .num = on});
}

static void on_poll(struct timer *t, mono_t now)
{
        struct node *n = container_of(t, struct node, poll);
        if (control_down || !net_host_online(n->host))
                loop_timer_at(clock_world(), t, mono_add_ms(now, OFFLINE_RETRY_MS));
        else
                set_polling(n, true);
}

/* The connection to the server is one of the network that was. */
void node_link_changed(struct node *n, int64_t slept_ms)
{
        if (n->data == NULL)
                return;
        post(n, (struct dp_msg){.kind = DP_LINK_CHANGED, .num = slept_ms});
        set_polling(n, false);
        loop_timer_in(clock_world(), &n->poll, n->tell_ms + n->hear_ms);
}

static void arm_hear(struct node *n)
{
        if (n->data != NULL && !timer_is_armed(&n->hear))
                loop_timer_in(clock_world(), &n->hear, n->hear_ms);
}

static void on_tell(struct timer *t, mono_t now)
{
        struct node *n = container_of(t, struct node, tell);
        if (control_down || !net_host_online(n->host)) {
                loop_timer_at(clock_world(), t, mono_add_ms(now, OFFLINE_RETRY_MS));
                return;
        }
        bool removed = n->known.removed;
        unsigned version = n->known.version;
        n->known = n->mine;
        n->known.removed = removed;
        n->known.version = version + 1;
        trace_line("%-4s told the server: home %d, %zu endpoints", n->host->name, n->known.home, n->known.ep_count);
        for (int i = 0; i < count; i++)
                if (nodes[i] != n)
                        arm_hear(nodes[i]);
}

static void on_hear(struct timer *t, mono_t now)
{
        struct node *n = container_of(t, struct node, hear);
        if (control_down || !net_host_online(n->host)) {
                loop_timer_at(clock_world(), t, mono_add_ms(now, OFFLINE_RETRY_MS));
                return;
        }
        for (int i = 0; i < count; i++) {
                const struct record *r = &nodes[i]->known;
                if (nodes[i] == n || n->heard[i] == r->version)
                        continue;
                if (!r->removed && !n->known.removed)
                        post_peer(n, nodes[i]);
                else
                        post(n, (struct dp_msg){.kind = DP_PEER_REMOVE, .slot = (uint32_t)i});
                n->heard[i] = r->version;
        }
}

void nodes_set_control(bool up)
{
        control_down = !up;
        for (int i = 0; i < count; i++)
                if (nodes[i]->data != NULL && up)
                        loop_timer_in(clock_world(), &nodes[i]->poll, 0);
                else if (nodes[i]->data != NULL)
                        set_polling(nodes[i], false);
}

void node_set_removed(struct node *n, bool removed)
{
        n->known.removed = removed;
        n->known.version++;
        memset(n->heard, 0, NODES_MAX * sizeof(n->heard[0]));
        for (int i = 0; i < count; i++)
                arm_hear(nodes[i]);
}

static void tell_soon(struct node *n)
{
        if (!timer_is_armed(&n->tell))
                loop_timer_in(clock_world(), &n->tell, n->tell_ms);
}

bool node_knows(const struct node *n, const struct node *peer)
{
        return n->data != NULL && peer->data != NULL && n->heard[peer->index] == peer->known.version &&
                disco_public_eq(&peer->known.disco, &peer->mine.disco) && !peer->known.removed && !n->known.removed;
}

/* ---- from the data side ---- */

static void on_message(struct node *n, const struct dp_msg *m)
{
        if (m->kind == DP_ENDPOINTS) {
                const struct dp_endpoints *e = m->ptr;
                n->mine.ep_count = 0;
                for (size_t i = 0; i < e->count && i < NODE_ENDPOINTS_MAX; i++)
                        n->mine.eps[n->mine.ep_count++] = e->eps[i].addr;
                tell_soon(n);
        } else if (m->kind == DP_REPORT) {
                if (m->num != 0 && m->num != n->mine.home) {
                        n->mine.home = (int)m->num;
                        tell_soon(n);
                }
        }
        free(m->ptr);
}

static void on_out(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct node *n = container_of(w, struct node, out_watch);
        struct dp_msg m;
        while (ring_pop(n->out, &m))
                on_message(n, &m);
}

/* ---- life ---- */

struct node *node_add(struct host *h, int64_t tell_ms, int64_t hear_ms)
{
        struct node *n = calloc(1, sizeof(*n));
        if (n == NULL || count == NODES_MAX || (n->heard = calloc(NODES_MAX, sizeof(n->heard[0]))) == NULL)
                abort();
        n->index = count;
        n->host = h;
        h->owner = n;
        n->tell_ms = tell_ms;
        n->hear_ms = hear_ms;
        n->ip = ip_v4(100, 64, (uint8_t)(1 + count / 200), (uint8_t)(1 + count % 200));
        key_generate(&n->key);
        n->pub = key_node_public(&n->key);
        timer_init(&n->tell, on_tell);
        timer_init(&n->hear, on_hear);
        timer_init(&n->poll, on_poll);
        watch_init(&n->out_watch, on_out);
        nodes[count++] = n;
        return n;
}

void node_start(struct node *n)
{
        if (n->data != NULL)
                abort();
        n->in = ring_new(DP_RING, sizeof(struct dp_msg));
        n->out = ring_new(DP_RING, sizeof(struct dp_msg));
        n->to_service = pktring_new(4096);
        n->from_service = pktring_new(4096);
        n->tun = vtun_new(n->host);
        n->started = clock_now();
        clock_enter(n->host);
        int64_t wall = wall_now_ns();
        struct engine_opts o = {
                .tun = n->tun,
                .tun_name = "tailscale0",
                .port = 41641,
                .sizes = &sizes,
                .stamp_floor_ns = n->stamp_ns,
        };
        n->data = data_new(&o, &(struct data_rings){n->in, n->out, n->to_service, n->from_service});
        clock_enter(NULL);
        if (n->data == NULL)
                abort();
        if (wall > n->stamp_ns)
                n->stamp_ns = wall;
        n->mine = (struct record){.disco = data_disco_public(n->data)};
        (void)!loop_watch(clock_world(), &n->out_watch, ring_fd(n->out), LOOP_READ);
        memset(n->heard, 0, NODES_MAX * sizeof(n->heard[0]));
        trace_line("%-4s starts", n->host->name);

        struct key_private *k = malloc(sizeof(*k));
        if (k == NULL)
                abort();
        *k = n->key;
        post(n, (struct dp_msg){.kind = DP_SET_KEY, .ptr = k});
        post(n, (struct dp_msg){.kind = DP_SET_FILTER, .ptr = allow_all(n->ip)});
        post(n, (struct dp_msg){.kind = DP_SET_DERPMAP, .ptr = relay_map()});
        post(n, (struct dp_msg){.kind = DP_SET_UP, .num = 1});
        loop_timer_in(clock_world(), &n->poll, 0);
        tell_soon(n);
        arm_hear(n);
}

static void drain(struct ring *r)
{
        struct dp_msg m;
        while (ring_pop(r, &m)) {
                if (m.kind == DP_SET_FILTER)
                        filter_free(m.ptr);
                else if (m.kind == DP_SET_DERPMAP)
                        derpmap_free(m.ptr);
                else
                        free(m.ptr);
        }
}

void node_stop(struct node *n)
{
        if (n->data == NULL)
                return;
        clock_enter(n->host);
        int64_t wall = wall_now_ns();
        data_free(n->data);
        clock_enter(NULL);
        n->data = NULL;
        if (wall > n->stamp_ns)
                n->stamp_ns = wall;
        loop_timer_stop(&n->tell);
        loop_timer_stop(&n->hear);
        loop_timer_stop(&n->poll);
        loop_unwatch(&n->out_watch);
        drain(n->in);
        drain(n->out);
        ring_free(n->in);
        ring_free(n->out);
        pktring_free(n->to_service);
        pktring_free(n->from_service);
        tun_close(n->tun);
        n->tun = NULL;
        trace_line("%-4s stops", n->host->name);
        if (n->host->sock_count > 0)
                trace_fail("%s ended and left a socket open", n->host->name);
}

void nodes_done(void)
{
        for (int i = 0; i < count; i++) {
                node_stop(nodes[i]);
                free(nodes[i]->heard);
                free(nodes[i]);
        }
        count = 0;
}

/* ---- what is linked in place of the daemon's ---- */

struct pkt_pool;
void pool_free_really(struct pkt_pool *p) __asm__("__real_pkt_pool_free");
void pool_free_checked(struct pkt_pool *p) __asm__("__wrap_pkt_pool_free");

/* The last that a data side does: by now every packet is back. */
void pool_free_checked(struct pkt_pool *p)
{
        if (p != NULL && pkt_pool_free_count(p) != sizes.packets)
                trace_fail("%zu packets of the pool never came back", sizes.packets - pkt_pool_free_count(p));
        pool_free_really(p);
}
