#include "netcheck/internal.h"

#include <stdlib.h>
#include <string.h>

enum { ENOUGH_REGIONS = 3 };

static const int64_t STUN_NS = 3 * NS_PER_SEC;
static const int64_t FULL_EVERY_NS = 300 * NS_PER_SEC;
/* When every region has answered in one family, this much longer for the other one. */
static const int64_t OTHER_FAMILY_NS = 250 * NS_PER_MS;

/* And this much longer for the home relay: unmeasured it would stay home for as long as it is heard, however slow. */
static const int64_t HOME_NS = NS_PER_SEC;

/* ids: 8 bits of epoch above 24 bits of index, so that an answer that comes too late is told apart. */
uint32_t nc_make_id(const struct netcheck *nc, size_t index)
{
        return (nc->epoch & 0xff) << 24 | (uint32_t)index;
}

bool nc_take_id(const struct netcheck *nc, uint32_t id, size_t count, size_t *ret)
{
        size_t index = id & 0xffffff;
        if (nc->phase == PHASE_NONE || id >> 24 != (nc->epoch & 0xff) || index >= count)
                return false;
        *ret = index;
        return true;
}

struct netcheck *nc_new(void (*random)(void *out, size_t n))
{
        struct netcheck *nc = calloc(1, sizeof(*nc));
        if (nc == NULL)
                return NULL;
        nc->random = random;
        nc->sent = calloc(PROBES_MAX, sizeof(nc->sent[0]));
        nc->lookups = calloc(PROBES_MAX, sizeof(nc->lookups[0]));
        if (nc->sent == NULL || nc->lookups == NULL) {
                nc_free(nc);
                return NULL;
        }
        return nc;
}

void nc_free(struct netcheck *nc)
{
        if (nc == NULL)
                return;
        nc_home_done(&nc->home);
        free(nc->sent);
        free(nc->lookups);
        free(nc);
}

static enum nc_tri is_translated(const struct netcheck *nc)
{
        if (!addr_is_set(nc->now_report.global_v4) || nc->local_count == 0)
                return NC_UNKNOWN;
        for (size_t i = 0; i < nc->local_count; i++)
                if (ip_eq(nc->local[i], nc->now_report.global_v4.ip))
                        return NC_FALSE;
        return NC_TRUE;
}

/* Once for each network, and when all is asked for.  Of no use behind a hard NAT, where an address that a relay sees says
 * nothing of the next one. */
static void look_for_hairpin(struct netcheck *nc, struct addr relay, int64_t rtt_ns, mono_t now)
{
        struct nc_hairpin *h = &nc->hairpin;
        const struct netcheck_report *r = &nc->now_report;
        if (r->mapping_varies == NC_TRUE) {
                nc_hairpin_stop(h);
                return;
        }
        bool is_known = h->works != NC_UNKNOWN && ip_eq(h->outside.ip, r->global_v4.ip) && !nc->args.full;
        if (nc->full && !is_known && r->v4_count == 1 && r->v4[0].seen == 1 && is_translated(nc) == NC_TRUE)
                nc_hairpin_start(h, nc->random, relay, rtt_ns, r->global_v4, now);
}

static bool run_hairpin(struct netcheck *nc, mono_t now, struct nc_action *ret)
{
        struct nc_hairpin_send s;
        if (!nc_hairpin_next(&nc->hairpin, now, &s))
                return false;
        ret->kind = NC_SEND;
        ret->id = nc_make_id(nc, 0xffffff);
        ret->family = IP_V4;
        ret->second = s.second;
        ret->addr = s.to;
        memcpy(ret->data, s.data, sizeof(ret->data));
        return true;
}

static bool hairpin_ended(const struct netcheck *nc)
{
        return nc->hairpin.step == NC_HAIRPIN_OFF;
}

static bool want_full(const struct netcheck *nc, const struct nc_start_args *args, mono_t now)
{
        bool was_captive = !nc->last_report.udp && nc->last_report.captive == NC_TRUE;
        return args->full || !nc->have_last || was_captive || !mono_is_set(nc->last_full)
                || mono_diff_ns(now, nc->last_full) > FULL_EVERY_NS;
}

enum err nc_start(struct netcheck *nc, const struct nc_start_args *args, mono_t now)
{
        if (nc->phase != PHASE_NONE)
                return ERR_STATE;
        if (args->map == NULL)
                return ERR_NOT_FOUND;
        nc->args = *args;
        nc->started = now;
        nc->stun_until = mono_add_ns(now, STUN_NS);
        nc->full = want_full(nc, args, now);
        nc->enough = false;
        nc->epoch++;
        nc->set_count = nc->sent_count = nc->lookup_count = nc->https_count = nc->https_asked = nc->https_begun = 0;
        memset(&nc->now_report, 0, sizeof(nc->now_report));
        nc->now_report.began = now;
        nc->now_report.os_has_ipv6 = args->os_has_ipv6;
        nc->now_report.port4 = args->port4;
        nc->now_report.unasked_in = nc->unasked_in;
        nc->local_count = 0;
        for (size_t i = 0; i < args->local_count && nc->local_count < LOCAL_MAX; i++)
                nc->local[nc->local_count++] = args->local[i];
        nc->now_report.full = nc->full || nc->last_report.latency_count == 0;
        nc->plan.count = 0;
        if (!args->no_udp)
                nc_plan_make(&nc->plan, &(struct nc_plan_args){
                        .map = args->map,
                        .last = nc->full ? NULL : &nc->last_report,
                        .have_v4 = args->have_v4,
                        .have_v6 = args->have_v6,
                        .home = args->home,
                });
        for (; nc->set_count < nc->plan.count; nc->set_count++)
                nc->sets[nc->set_count] = (struct set){.plan = nc->plan.sets[nc->set_count]};
        nc_arm_captive(nc);
        nc->phase = PHASE_STUN;
        return ERR_NONE;
}

bool nc_running(const struct netcheck *nc)
{
        return nc->phase != PHASE_NONE;
}

void nc_cancel(struct netcheck *nc)
{
        nc->phase = PHASE_NONE;
        nc->args.map = NULL;
        nc_hairpin_stop(&nc->hairpin);
}

void nc_forget(struct netcheck *nc)
{
        nc->have_last = false;
        nc->unasked_in = false;
        nc->hairpin = (struct nc_hairpin){0};
        nc_home_done(&nc->home);
}

void nc_on_unasked(struct netcheck *nc, struct ip from)
{
        for (size_t i = 0; i < nc->sent_count; i++)
                if (from.family == IP_V4 && memcmp(nc->sent[i].v4, from.b, sizeof(nc->sent[i].v4)) == 0)
                        return;
        nc->unasked_in = nc->now_report.unasked_in = nc->last_report.unasked_in = true;
}

static const struct derp_region *set_region(const struct netcheck *nc, const struct set *s)
{
        return &nc->args.map->regions[s->plan.region_index];
}

/* Later probes of a set only run while they could still tell something new. */
static bool would_help(const struct netcheck *nc, const struct set *s)
{
        const struct netcheck_report *r = &nc->now_report;
        if (nc_report_latency(r, set_region(nc, s)->id) == NULL)
                return true;
        return s->plan.family == IP_V6 ? !r->ipv6 : r->mapping_varies == NC_UNKNOWN;
}

/* Where to ask this node in this family.  False: nowhere.  *ret_ip none: look *ret_host up first. */
static bool target(const struct derp_node *n, enum ip_family f, struct ip *ret_ip, const char **ret_host)
{
        const char *field = f == IP_V4 ? n->ipv4 : n->ipv6;
        struct ip ip;
        if (n->stun_test_ip[0] != '\0' && ip_parse(n->stun_test_ip, &ip) == ERR_NONE && ip.family == f) {
                *ret_ip = ip;
                return true;
        }
        if (n->stun_port == 0)
                return false;
        if (field[0] == '\0')
                field = n->hostname;
        if (ip_parse(field, &ip) == ERR_NONE) {
                *ret_ip = ip;
                return ip.family == f;
        }
        *ret_ip = (struct ip){0};
        *ret_host = n->hostname;
        return field == n->hostname;
}

static void end_if_hopeless(struct set *s)
{
        if (s->next >= s->plan.count && s->flying == 0 && s->resolving == 0)
                s->ended = true;
}

static void make_send(struct netcheck *nc, size_t set, struct addr to, mono_t now, struct nc_action *ret)
{
        struct set *s = &nc->sets[set];
        struct sent *t = &nc->sent[nc->sent_count];
        nc->random(t->txid.b, sizeof(t->txid.b));
        t->set = (uint16_t)set;
        t->at = now;
        memcpy(t->v4, to.ip.family == IP_V4 ? to.ip.b : (const uint8_t[4]){0}, sizeof(t->v4));
        t->port = to.port;
        s->flying++;
        ret->kind = NC_SEND;
        ret->id = nc_make_id(nc, nc->sent_count++);
        ret->region = set_region(nc, s)->id;
        ret->family = (enum ip_family)s->plan.family;
        ret->addr = to;
        stun_request(&t->txid, ret->data);
}

static void make_resolve(struct netcheck *nc, size_t set, uint8_t node, const char *host, struct nc_action *ret)
{
        struct set *s = &nc->sets[set];
        uint16_t port = set_region(nc, s)->nodes[node].stun_port;
        nc->lookups[nc->lookup_count] = (struct lookup){.set = (uint16_t)set, .node = node, .port = port};
        s->resolving++;
        ret->kind = NC_RESOLVE;
        ret->id = nc_make_id(nc, nc->lookup_count++);
        ret->region = set_region(nc, s)->id;
        ret->family = (enum ip_family)s->plan.family;
        ret->host = host;
        ret->timeout_ms = (unsigned)(STUN_NS / NS_PER_MS);
}

/* The set's next probe, if it is due: an action, or the end of the set. */
static bool run_set(struct netcheck *nc, size_t i, mono_t now, struct nc_action *ret)
{
        struct set *s = &nc->sets[i];
        while (!s->ended && s->next < s->plan.count) {
                const struct nc_probe *p = &s->plan.probes[s->next];
                if (!mono_reached(now, mono_add_ns(nc->started, p->delay_ns)))
                        return false;
                if (!would_help(nc, s)) {
                        s->ended = true;
                        return false;
                }
                const struct derp_node *n = &set_region(nc, s)->nodes[p->node];
                enum ip_family f = (enum ip_family)s->plan.family;
                const char *host = NULL;
                struct ip ip;
                s->next++;
                if (!target(n, f, &ip, &host))
                        continue;
                if (ip_is_set(ip))
                        make_send(nc, i, (struct addr){ip, n->stun_port}, now, ret);
                else
                        make_resolve(nc, i, p->node, host, ret);
                return true;
        }
        end_if_hopeless(s);
        return false;
}

/* An address that came back from the owner becomes a probe. */
static bool run_lookups(struct netcheck *nc, mono_t now, struct nc_action *ret)
{
        for (size_t i = 0; i < nc->lookup_count; i++) {
                struct lookup *l = &nc->lookups[i];
                if (!l->answered || !ip_is_set(l->ip))
                        continue;
                struct addr to = {l->ip, l->port};
                l->ip = (struct ip){0};
                if (nc->sets[l->set].ended)
                        continue;
                make_send(nc, l->set, to, now, ret);
                return true;
        }
        return false;
}

static bool all_ended(const struct netcheck *nc)
{
        for (size_t i = 0; i < nc->set_count; i++)
                if (!nc->sets[i].ended)
                        return false;
        return true;
}

enum nc_action_kind nc_next(struct netcheck *nc, mono_t now, struct nc_action *ret)
{
        memset(ret, 0, sizeof(*ret));
        bool is_asking = nc->phase == PHASE_STUN || nc->phase == PHASE_HTTPS;
        if (is_asking && (nc_run_captive(nc, now, ret) || run_hairpin(nc, now, ret)))
                return ret->kind;
        if (nc->phase == PHASE_STUN) {
                if (run_lookups(nc, now, ret))
                        return ret->kind;
                for (size_t i = 0; i < nc->set_count; i++)
                        if (run_set(nc, i, now, ret))
                                return ret->kind;
                if (mono_reached(now, nc->stun_until) || all_ended(nc))
                        nc_enter_https(nc, now);
        }
        if (nc->phase == PHASE_HTTPS) {
                for (size_t i = 0; i < nc->https_count; i++)
                        if (nc_run_https(nc, i, now, ret) || nc_run_ping(nc, i, ret))
                                return ret->kind;
                if (mono_reached(now, nc->pings_until))
                        nc->pings_until = (mono_t){0};
                bool is_known = nc_https_ended(nc) && !mono_is_set(nc_pings_until(nc)) && nc_captive_ended(nc) && hairpin_ended(nc);
                if (is_known || mono_reached(now, mono_add_ns(nc->started, NC_REPORT_NS)))
                        nc->phase = PHASE_DONE;
        }
        ret->kind = nc->phase == PHASE_DONE ? NC_DONE : NC_IDLE;
        return ret->kind;
}

static mono_t https_deadline(const struct netcheck *nc)
{
        mono_t at = mono_min(mono_add_ns(nc->started, NC_REPORT_NS), nc_hairpin_deadline(&nc->hairpin));
        if (mono_is_set(nc_pings_until(nc)))
                at = mono_min(at, nc_pings_until(nc));
        return nc->captive == CAPTIVE_ARMED ? mono_min(at, nc_captive_at(nc)) : at;
}

mono_t nc_deadline(const struct netcheck *nc)
{
        switch (nc->phase) {
        case PHASE_NONE:
                return MONO_NEVER;
        case PHASE_HTTPS:
                return https_deadline(nc);
        case PHASE_DONE:
                return nc->started;
        case PHASE_STUN:
                break;
        }
        mono_t at = nc->captive == CAPTIVE_ARMED ? mono_min(nc->stun_until, nc_captive_at(nc)) : nc->stun_until;
        at = mono_min(at, nc_hairpin_deadline(&nc->hairpin));
        for (size_t i = 0; i < nc->set_count; i++) {
                const struct set *s = &nc->sets[i];
                if (!s->ended && s->next < s->plan.count)
                        at = mono_min(at, mono_add_ns(nc->started, s->plan.probes[s->next].delay_ns));
        }
        return at;
}

void nc_on_sent(struct netcheck *nc, uint32_t id, bool ok, mono_t now)
{
        size_t i;
        if (!nc_take_id(nc, id, nc->sent_count, &i))
                return;
        struct sent *t = &nc->sent[i];
        struct set *s = &nc->sets[t->set];
        if (!ok) {
                if (s->flying > 0)
                        s->flying--;
                end_if_hopeless(s);
                return;
        }
        t->at = now;
        if (s->plan.family == IP_V4)
                nc->now_report.ipv4_can_send = true;
        else
                nc->now_report.ipv6_can_send = true;
}

/* Regions of the plan that have not answered in any family. */
static bool every_region_answered(const struct netcheck *nc)
{
        for (size_t i = 0; i < nc->set_count; i++)
                if (nc_report_latency(&nc->now_report, set_region(nc, &nc->sets[i])->id) == NULL)
                        return false;
        return true;
}

static bool home_is_awaited(const struct netcheck *nc)
{
        for (size_t i = 0; i < nc->set_count; i++)
                if (!nc->sets[i].ended && set_region(nc, &nc->sets[i])->id == nc->args.home)
                        return nc_report_latency(&nc->now_report, nc->args.home) == NULL;
        return false;
}

/* Enough is known: the rest gets as long as the slowest answer took, twice that on a full report. */
static void check_enough(struct netcheck *nc, mono_t now)
{
        const struct netcheck_report *r = &nc->now_report;
        int64_t slowest = 0, grace;
        for (size_t i = 0; i < r->latency_count; i++)
                if (r->latency[i].any_ns > slowest)
                        slowest = r->latency[i].any_ns;
        grace = nc->full ? 2 * slowest : slowest;
        if (every_region_answered(nc))
                grace += OTHER_FAMILY_NS;
        else if (r->latency_count < ENOUGH_REGIONS)
                return;
        if (!nc->enough)
                nc->enough_at = mono_add_ns(now, grace);
        nc->enough = true;
        mono_t end = home_is_awaited(nc) ? mono_add_ns(nc->enough_at, HOME_NS) : nc->enough_at;
        nc->stun_until = mono_min(nc->stun_until, end);
}

bool nc_on_stun(struct netcheck *nc, const void *data, size_t len, mono_t now)
{
        struct stun_txid txid;
        struct addr seen;
        if (nc->phase == PHASE_NONE || nc_hairpin_on_first(&nc->hairpin, data, len) ||
                stun_parse_response(data, len, &txid, &seen) != ERR_NONE)
                return false;
        for (size_t i = 0; i < nc->sent_count; i++) {
                struct sent *t = &nc->sent[i];
                if (t->set == UINT16_MAX || memcmp(&t->txid, &txid, sizeof(txid)) != 0)
                        continue;
                struct set *s = &nc->sets[t->set];
                t->set = UINT16_MAX;   /* a repeated answer is not a second one */
                s->ended = true;
                struct addr server = {ip_v4(t->v4[0], t->v4[1], t->v4[2], t->v4[3]), t->port};
                int64_t rtt = mono_diff_ns(now, t->at);
                nc_report_stun(&nc->now_report, set_region(nc, s)->id, server.ip, seen, rtt);
                if (seen.ip.family == IP_V4)
                        look_for_hairpin(nc, server, rtt, now);
                check_enough(nc, now);
                return true;
        }
        return false;
}

void nc_on_second(struct netcheck *nc, struct addr src, const void *data, size_t len, mono_t now)
{
        if (nc->phase != PHASE_NONE)
                (void)nc_hairpin_on_second(&nc->hairpin, src, data, len, now);
}

void nc_on_resolved(struct netcheck *nc, uint32_t id, struct ip ip, mono_t now)
{
        size_t i;
        (void)now;
        if (!nc_take_id(nc, id, nc->lookup_count, &i) || nc->lookups[i].answered)
                return;
        struct lookup *l = &nc->lookups[i];
        struct set *s = &nc->sets[l->set];
        l->answered = true;
        s->resolving--;
        if (ip.family == s->plan.family) {
                l->ip = ip;
                return;
        }
        /* Asking for the same name again would not help. */
        while (s->next < s->plan.count && s->plan.probes[s->next].node == l->node)
                s->next++;
        end_if_hopeless(s);
}

static void note_hairpin(struct netcheck *nc)
{
        const struct nc_hairpin *h = &nc->hairpin;
        struct netcheck_report *r = &nc->now_report;
        if (r->translated != NC_TRUE || r->mapping_varies == NC_TRUE || !ip_eq(h->outside.ip, r->global_v4.ip))
                return;
        r->hairpin = h->works;
        r->hairpin_filtered = h->filtered;
        if (h->same_mapping)   /* the second socket is another destination than the relay was */
                r->mapping_varies = NC_FALSE;
}

void nc_set_portmap(struct netcheck *nc, const struct nc_portmap *found)
{
        nc->now_report.upnp = found->upnp;
        nc->now_report.pmp = found->pmp;
        nc->now_report.pcp = found->pcp;
        nc->now_report.have_portmap = found->have;
}

const struct netcheck_report *nc_finish(struct netcheck *nc, mono_t home_heard, mono_t now)
{
        if (nc->phase == PHASE_NONE)
                return nc_last(nc);
        struct netcheck_report *r = &nc->now_report;
        r->at = now;
        r->translated = is_translated(nc);
        note_hairpin(nc);
        r->preferred = nc_home_choose(&nc->home, &(struct nc_home_args){
                .map = nc->args.map,
                .report = r,
                .home = nc->args.home,
                .started = nc->started,
                .home_heard = home_heard,
        }, now);
        if (nc->full)
                nc->last_full = now;
        nc->last_report = *r;
        nc->have_last = true;
        nc_cancel(nc);
        return &nc->last_report;
}

const struct netcheck_report *nc_report(const struct netcheck *nc)
{
        if (nc->phase != PHASE_NONE)
                return &nc->now_report;
        return nc_last(nc);
}

const struct netcheck_report *nc_last(const struct netcheck *nc)
{
        return nc->have_last ? &nc->last_report : NULL;
}
