/* tests/unit/daemon_fakes.h - a control client and an engine that only remember what they were told.
 *
 * Defines the functions of daemon/control/client.h and daemon/engine.h, so that backend, views and endpoints can be
 * tested without a server and without threads.  What the server or the network would do, a test does with the
 * callbacks that the backend gave.
 */
#pragma once

#include <stdlib.h>

#include "base/json.h"
#include "base/loop.h"
#include "daemon/backend_state.h"
#include "daemon/control/client.h"
#include "daemon/counters.h"
#include "daemon/engine.h"
#include "tests/unit/check.h"
#include "tun/filter.h"

struct control {
        int unused;
};

static struct {
        const struct control_callbacks *cb;   /* of the newest client */
        void *arg;
        int clients, logins, key_logins, stops, logouts;
        bool active, poll, forced;
        char auth_key[128], server[256];
        struct key_private node;
        struct hostinfo_service services[4];  /* as announced last */
        size_t service_count;
        int netinfos, home;                   /* how often one was said, and the home in the last one */
        struct netmap nm;
} fc;

static struct {
        bool up, polling;
        enum hn_pref hardnat;
        int clears, filters, peers, restuns, links, service_packets;
        int64_t slept_ms;                     /* as told with the last change of network */
        uint8_t service_packet[2048];         /* the last one for the host */
        size_t service_len;
        struct key_private node;
        struct engine_status status;          /* what engine_status() answers */
        struct netcheck_report report;
        engine_ping_fn ping_fn;               /* a ping that waits for its answer */
        void *ping_arg;
        int64_t ping_node;
        size_t ping_size;
        struct meshping inside;
        const struct ms_explain *paths;       /* of every peer; NULL: there is none */
        int64_t paths_node;
} fe;

struct control *control_new(struct loop *l, struct dialer *d, const struct control_callbacks *cb, void *arg)
{
        (void)l;
        (void)d;
        fc.cb = cb;
        fc.arg = arg;
        fc.clients++;
        fc.active = fc.poll = false;
        netmap_done(&fc.nm);
        netmap_init(&fc.nm);
        return calloc(1, sizeof(struct control));
}

void control_free(struct control *c)
{
        free(c);
}

enum err control_set_server(struct control *c, const char *url)
{
        (void)c;
        snprintf(fc.server, sizeof(fc.server), "%s", url);
        return strncmp(url, "http", 4) == 0 ? ERR_NONE : ERR_FORMAT;
}

void control_set_keys(struct control *c, const struct key_private *machine, const struct key_private *node,
        const struct key_private *old_node, const struct disco_public *disco)
{
        (void)c;
        (void)machine;
        (void)old_node;
        (void)disco;
        fc.node = *node;
}

void control_set_hostinfo(struct control *c, const struct hostinfo *h)
{
        (void)c;
        assert_true(h->service_count <= sizeof(fc.services) / sizeof(fc.services[0]));
        memcpy(fc.services, h->services, h->service_count * sizeof(fc.services[0]));
        fc.service_count = h->service_count;
}

void control_set_netinfo(struct control *c, const struct netinfo *ni)
{
        (void)c;
        fc.netinfos++;
        fc.home = ni->preferred_derp;
}

void control_set_endpoints(struct control *c, const struct control_endpoint *eps, size_t n)
{
        (void)c;
        (void)eps;
        (void)n;
}

void control_login(struct control *c, const struct control_login *opts)
{
        (void)c;
        fc.logins++;
        fc.key_logins += opts->auth_key != NULL;
        fc.active = true;
        fc.forced = opts->force;
        snprintf(fc.auth_key, sizeof(fc.auth_key), "%s", opts->auth_key != NULL ? opts->auth_key : "");
}

void control_set_poll(struct control *c, bool on)
{
        (void)c;
        fc.poll = on;
}

void control_logout(struct control *c, int64_t timeout_ms)
{
        (void)c;
        assert_true(timeout_ms > 0);
        fc.logouts++;
}

void control_stop(struct control *c)
{
        (void)c;
        fc.stops++;
        fc.active = fc.poll = false;
}

void control_network_changed(struct control *c)
{
        (void)c;
}

void control_clock_stepped(struct control *c, int64_t step_ns)
{
        (void)c;
        assert_true(step_ns != 0);
}

const char *control_server_host(const struct control *c)
{
        (void)c;
        return "login.example";
}

const struct netmap *control_netmap(const struct control *c)
{
        (void)c;
        return &fc.nm;
}

/* ---- engine ---- */

struct disco_public engine_disco_public(const struct engine *e)
{
        (void)e;
        return (struct disco_public){0};
}

void engine_set_key(struct engine *e, const struct key_private *node)
{
        (void)e;
        fe.node = *node;
}

void engine_set_up(struct engine *e, bool up)
{
        (void)e;
        fe.up = up;
}

void engine_set_derpmap(struct engine *e, const struct derpmap *m)
{
        (void)e;
        (void)m;
}

void engine_set_hardnat(struct engine *e, enum hn_pref pref)
{
        (void)e;
        fe.hardnat = pref;
}

void engine_set_offloads(struct engine *e, unsigned allowed)
{
        (void)e;
        (void)allowed;
}

void engine_set_portoff(struct engine *e, unsigned ways)
{
        (void)e;
        (void)ways;
}

void engine_set_polling(struct engine *e, bool polling)
{
        (void)e;
        fe.polling = polling;
}

void engine_peer_set(struct engine *e, const struct engine_peer *p)
{
        (void)e;
        (void)p;
        fe.peers++;
}

void engine_peer_remove(struct engine *e, int64_t node_id)
{
        (void)e;
        (void)node_id;
        fe.peers--;
}

void engine_peers_clear(struct engine *e)
{
        (void)e;
        fe.clears++;
        fe.peers = 0;
}

void engine_set_filter(struct engine *e, struct filter *f)
{
        (void)e;
        fe.filters++;
        filter_free(f);
}

bool engine_service_send(struct engine *e, const uint8_t *pkt, size_t len)
{
        (void)e;
        assert_true(len <= sizeof(fe.service_packet));
        memcpy(fe.service_packet, pkt, len);
        fe.service_len = len;
        fe.service_packets++;
        return true;
}

void engine_restun(struct engine *e)
{
        (void)e;
        fe.restuns++;
}

void engine_link_changed(struct engine *e, int64_t slept_ms)
{
        (void)e;
        fe.slept_ms = slept_ms;
        fe.links++;
}

void engine_status(struct engine *e, engine_status_fn fn, void *arg)
{
        (void)e;
        fn(arg, &fe.status);
}

void engine_counters(struct engine *e, engine_counters_fn fn, void *arg)
{
        (void)e;
        struct counters c = {.home_region = 901, .no_peer = 42};
        fn(arg, &c);
}

void engine_ping(struct engine *e, int64_t node_id, size_t size, engine_ping_fn fn, void *arg)
{
        (void)e;
        fe.ping_fn = fn;
        fe.ping_arg = arg;
        fe.ping_node = node_id;
        fe.ping_size = size;
}

void engine_ping_inside(struct engine *e, int64_t node_id, enum meshping_kind kind, struct ip from, struct ip to,
        engine_ping_fn fn, void *arg)
{
        (void)e;
        fe.ping_fn = fn;
        fe.ping_arg = arg;
        fe.ping_node = node_id;
        fe.inside = (struct meshping){.kind = kind, .src = from, .dst = to};
}

void engine_paths(struct engine *e, int64_t node_id, engine_paths_fn fn, void *arg)
{
        (void)e;
        fe.paths_node = node_id;
        fn(arg, fe.paths);
}

void engine_netcheck(struct engine *e, engine_netcheck_fn fn, void *arg)
{
        (void)e;
        fn(arg, &fe.report);
}

/* ---- a backend on a store in memory ---- */

struct world {
        struct loop *loop;
        struct state_file *store;
        struct profiles *profiles;
        struct notify *notify;
        struct backend *b;
};

static inline void world_open_with(struct world *w, const char *tun_name, const char *state)
{
        const char *why = NULL;
        memset(&fc, 0, sizeof(fc));
        memset(&fe, 0, sizeof(fe));
        netmap_init(&fc.nm);
        w->loop = loop_new();
        assert_non_null(w->loop);
        assert_int_equal(state_file_open(state, &w->store, &why), ERR_NONE);
        assert_int_equal(profiles_open(w->store, &w->profiles, &why), ERR_NONE);
        w->notify = notify_new("1.2.3");
        struct backend_opts o = {.loop = w->loop, .profiles = w->profiles, .notify = w->notify, .version = "1.2.3",
                .tun_name = tun_name};
        w->b = backend_new(&o);
        assert_non_null(w->b);
        backend_run(w->b, (struct engine *)&fe);
}

static inline void world_open_on(struct world *w, const char *tun_name)
{
        world_open_with(w, tun_name, "mem:");
}

static inline void world_open(struct world *w)
{
        world_open_on(w, NULL);
}

static inline void world_close(struct world *w)
{
        backend_free(w->b);
        notify_free(w->notify);
        profiles_free(w->profiles);
        state_file_free(w->store);
        loop_free(w->loop);
        netmap_done(&fc.nm);
}

/* What the server does. */

static inline void server_registers(const char *login, uint8_t key)
{
        struct control_registered r = {.user_id = 1, .login_name = login, .display_name = login, .profile_pic_url = "",
                .machine_authorized = true};
        memset(&r.node_key, key, sizeof(r.node_key));
        fc.cb->on_registered(fc.arg, &r);
}

/* A map with this self, and the peers of the JSON array, through the real decoder. */
static inline void server_sends_map(const char *self, const char *peers)
{
        json_t *s = json_parse(self, strlen(self)), *list = json_parse(peers, strlen(peers));
        assert_non_null(s);
        assert_non_null(list);
        netmap_done(&fc.nm);
        netmap_init(&fc.nm);
        assert_int_equal(netmap_node_from_json(s, true, &fc.nm.self), ERR_NONE);
        struct netmap_peer_change changes[8];
        fc.nm.peers = calloc(json_array_size(list) + 1, sizeof(*fc.nm.peers));
        for (size_t i = 0; i < json_array_size(list) && i < 8; i++) {
                assert_int_equal(netmap_node_from_json(json_array_get(list, i), false, &fc.nm.peers[i]), ERR_NONE);
                changes[i] = (struct netmap_peer_change){.id = fc.nm.peers[i]->id, .what = NETMAP_PEER_ADDED};
                fc.nm.peer_count++;
        }
        fc.nm.domain = strdup("hs.example");
        fc.nm.magic_dns_suffix = strdup("mesh.example");
        struct netmap_delta d = {.first = true, .parts = NETMAP_SELF | NETMAP_FILTER | NETMAP_DOMAIN | NETMAP_USERS,
                .peers = changes, .peer_count = fc.nm.peer_count};
        json_decref(s);
        json_decref(list);
        fc.cb->on_online(fc.arg, true);
        fc.cb->on_netmap(fc.arg, &fc.nm, &d);
}

#define NODE(id, more) "{\"ID\":" #id ",\"StableID\":\"" #id "\",\"Name\":\"n" #id ".mesh.example.\",\"User\":1," \
        "\"Key\":\"nodekey:" "0000000000000000000000000000000000000000000000000000000000000" "00" #id "\"," \
        "\"Addresses\":[\"100.64.0." #id "/32\"],\"AllowedIPs\":[\"100.64.0." #id "/32\"]," \
        "\"MachineAuthorized\":true" more "}"
