#include "portmap/portmap.h"

#include <string.h>

#define TRUST_NS (600 * NS_PER_SEC)   /* who was there is, for that long */
#define ENDLESS  UINT32_MAX           /* a lease of PCP that never ends: nobody would ever take it back */
#define QUIET_NS (300 * NS_PER_SEC)   /* and who was not is not */

enum {
        LOOK_MS = 250,
        HEAR_MS = 4000,               /* UPnP answers when it likes: we allow a second, and routers are slow */
        LOAD_MS = 200,
        AGAIN_MS = 100,               /* a datagram is lost now and then */
        UPNP_MS = 10000,
        LEASE_S = UPNP_LEASE_S,       /* wanted, and no more is believed */
        LEASE_MIN_S = 120,            /* less would have us ask all the time */
        RETRY_MS = 15000,             /* doubled with each failure */
        RETRY_DOUBLINGS = 6,
        EPOCH_SLACK_S = 2,
};

/* In this order: what is given back comes before what is asked for. */
enum {
        DUE_RELEASE = 1,
        DUE_PMP_ADDRESS = 2,
        DUE_PCP_ANNOUNCE = 4,
        DUE_SSDP_ROUTER = 8,          /* opens the host's firewall for the answers to the next two */
        DUE_SSDP_ALL = 16,
        DUE_SSDP_GROUP = 32,
        DUE_MAP = 64,
        DUE_UPNP = 128,
        DUE_FOUND = 256,
        DUE_CHANGED = 512,
        DUE_SSDP = DUE_SSDP_ROUTER | DUE_SSDP_ALL | DUE_SSDP_GROUP,
};

const char *portmap_way_str(enum portmap_way way)
{
        static const char *const names[PORTMAP_WAYS] = {"none", "NAT-PMP", "PCP", "UPnP"};
        return names[way];
}

void portmap_init(struct portmap *p, void (*random)(void *out, size_t n))
{
        *p = (struct portmap){.random = random, .upnp.random = random};
}

static bool is_allowed(const struct portmap *p, enum portmap_way way)
{
        return (p->off & PORTMAP_BIT(way)) == 0;
}

static bool was_seen(const struct portmap *p, enum portmap_way way, mono_t now)
{
        return is_allowed(p, way) && mono_is_set(p->seen[way]) && mono_diff_ns(now, p->seen[way]) < TRUST_NS;
}

/* ---- giving back ---- */

static void drop_lease(struct portmap *p)
{
        if (p->lease.way == PORTMAP_NONE)
                return;
        p->lease = (struct portmap_lease){0};
        p->due |= DUE_CHANGED;
}

static void give_back(struct portmap *p, const struct portmap_lease *l)
{
        if (l->way != PORTMAP_PMP && l->way != PORTMAP_PCP)
                return;
        p->old = *l;
        p->due |= DUE_RELEASE;
}

/* What a question that is still open may have made is given back too.  With UPnP a port is named and not its owner, so
 * that to another network, whose router may have the same address, we do not say it. */
static void let_go(struct portmap *p, bool same_network)
{
        struct portmap_lease l = p->lease;
        if (p->asking == PORTMAP_UPNP && p->upnp.step == UPNP_MAP) {
                l.way = PORTMAP_UPNP;
                l.service = p->upnp.services[p->upnp.at];
                l.outside.port = p->upnp.outer;
        } else if (p->asking == PORTMAP_PMP || p->asking == PORTMAP_PCP) {
                l.way = p->asking;
                l.net = p->net;
                l.nonce = p->nonce;
        }
        if (p->asking == PORTMAP_UPNP || !same_network) {
                p->upnp.step = UPNP_QUIET;
                p->due &= ~(unsigned)DUE_UPNP;
        }
        p->asking = PORTMAP_NONE;
        p->due &= DUE_RELEASE | DUE_UPNP | DUE_FOUND | DUE_CHANGED;
        if (l.way == PORTMAP_UPNP && same_network) {
                upnp_release(&p->upnp, &l.service, l.outside.port);
                p->due |= DUE_UPNP;
        }
        give_back(p, &l);
        drop_lease(p);
}

/* ---- asking ---- */

static void begin_pxp(struct portmap *p, enum portmap_way way, mono_t now)
{
        p->ask_again = mono_add_ms(now, AGAIN_MS);
        p->ask_end = mono_add_ms(now, LOOK_MS);
        p->due |= DUE_MAP;
        p->pmp_port = 0;
        if (way == PORTMAP_PMP && (!ip_is_set(p->pmp_outside) || p->lease.way == PORTMAP_PMP))
                p->due |= DUE_PMP_ADDRESS;
}

static void begin_ask(struct portmap *p, enum portmap_way way, mono_t now)
{
        p->asking = way;
        if (way != PORTMAP_UPNP) {
                begin_pxp(p, way, now);
                return;
        }
        bool has_one = p->lease.way == PORTMAP_UPNP;
        p->ask_again = MONO_NEVER;
        p->ask_end = mono_add_ms(now, UPNP_MS);
        p->due |= DUE_UPNP;
        p->upnp.router = p->net.router;
        p->upnp.self = p->net.self;
        p->upnp.inner = p->net.port;
        upnp_ask(&p->upnp, &p->location, has_one ? &p->lease.service : NULL, p->wish);
}

static enum portmap_way choose(const struct portmap *p, mono_t now)
{
        if (p->lease.way != PORTMAP_NONE)
                return p->lease.way;
        if (was_seen(p, PORTMAP_PMP, now) && ip_is_public(p->pmp_outside))
                return PORTMAP_PMP;
        if (p->looking)
                return PORTMAP_NONE;   /* a better one may yet answer */
        if (was_seen(p, PORTMAP_PCP, now))
                return PORTMAP_PCP;
        return was_seen(p, PORTMAP_UPNP, now) && upnp_xml_ready() ? PORTMAP_UPNP : PORTMAP_NONE;
}

/* Is there something to ask for, and somebody to ask? */
static void consider(struct portmap *p, mono_t now)
{
        bool is_wanted = p->lease.way == PORTMAP_NONE || mono_reached(now, p->lease.renew);
        if (p->asking != PORTMAP_NONE || p->upnp.step != UPNP_QUIET || !ip_is_set(p->net.router) || !is_wanted ||
                !mono_reached(now, p->not_before))
                return;
        enum portmap_way way = choose(p, now);
        if (way != PORTMAP_NONE)
                begin_ask(p, way, now);
}

/* is_final: the router will not have it; else it may just not have heard us, and what we have is good until it ends. */
static void fail(struct portmap *p, bool is_final, mono_t now)
{
        unsigned doublings = p->failures < RETRY_DOUBLINGS ? p->failures : RETRY_DOUBLINGS;
        p->failures++;
        p->counts.failed++;
        p->asking = PORTMAP_NONE;
        p->upnp.step = UPNP_QUIET;
        p->due &= ~(unsigned)(DUE_MAP | DUE_UPNP);
        p->not_before = p->retry = mono_add_ms(now, (int64_t)RETRY_MS << doublings);
        if (is_final || p->lease.is_lost)
                drop_lease(p);
}

static void complete(struct portmap *p, struct addr outside, uint32_t lifetime, mono_t now)
{
        if (outside.port == 0 || outside.ip.family != IP_V4 || !ip_is_public(outside.ip) || lifetime < LEASE_MIN_S ||
                lifetime == ENDLESS) {
                give_back(p, &(struct portmap_lease){.way = p->asking, .net = p->net, .nonce = p->nonce});
                fail(p, true, now);
                return;
        }
        int64_t ms = (lifetime < LEASE_S ? lifetime : LEASE_S) * INT64_C(1000);
        bool is_same = p->lease.way != PORTMAP_NONE && addr_eq(p->lease.outside, outside);
        if (is_same)
                p->counts.renewed++;
        else
                p->counts.made++;
        p->lease = (struct portmap_lease){
                .way = p->asking,
                .net = p->net,
                .outside = outside,
                .renew = mono_add_ms(now, ms / 2),
                .end = mono_add_ms(now, ms),
                .nonce = p->nonce,
        };
        if (p->asking == PORTMAP_UPNP)
                p->lease.service = p->upnp.services[p->upnp.at];
        p->asking = PORTMAP_NONE;
        p->wish = outside.port;
        p->failures = 0;
        p->not_before = p->retry = (mono_t){0};
        if (!is_same)
                p->due |= DUE_CHANGED;
}

/* ---- answers ---- */

static void note_restart(struct portmap *p, mono_t now)
{
        p->counts.lost++;
        p->lease.is_lost = true;
        p->lease.renew = now;
        p->not_before = (mono_t){0};
}

/* The router's clock of its own memory, which may run slow but never back: RFC 6886 3.6. */
static void check_epoch(struct portmap *p, uint32_t epoch, mono_t now)
{
        int64_t passed = p->has_epoch ? mono_diff_ms(now, p->epoch_at) / 1000 : 0;
        bool is_behind = p->has_epoch && (int64_t)epoch + EPOCH_SLACK_S < (int64_t)p->epoch + passed * 7 / 8;
        p->has_epoch = true;
        p->epoch = epoch;
        p->epoch_at = now;
        if (is_behind && (p->lease.way == PORTMAP_PMP || p->lease.way == PORTMAP_PCP))
                note_restart(p, now);
}

static void on_pmp_address(struct portmap *p, const struct pxp_reply *r, mono_t now)
{
        p->seen[PORTMAP_PMP] = now;
        p->pmp_outside = ip_is_unspecified(r->outside) ? (struct ip){0} : r->outside;
        if (p->lease.way != PORTMAP_PMP || ip_eq(p->lease.outside.ip, p->pmp_outside))
                return;
        if (!ip_is_public(p->pmp_outside)) {
                drop_lease(p);
                return;
        }
        p->lease.outside.ip = p->pmp_outside;
        p->due |= DUE_CHANGED;
}

static void on_pmp(struct portmap *p, const struct pxp_reply *r, mono_t now)
{
        if (r->result != PXP_OK) {
                /* One that knows no PCP answers our PCP question that way, as if it were about the address. */
                if (p->asking == PORTMAP_PMP && r->kind == PXP_PMP_MAP)
                        fail(p, true, now);
                return;
        }
        if (r->kind == PXP_PMP_ADDRESS) {
                on_pmp_address(p, r, now);
        } else if (p->asking == PORTMAP_PMP && r->inner == p->net.port && r->lifetime > 0) {
                p->pmp_port = r->outer;    /* without a lifetime it is the answer to what was given back */
                p->pmp_lifetime = r->lifetime;
        }
        if (p->asking == PORTMAP_PMP && p->pmp_port != 0 && ip_is_set(p->pmp_outside))
                complete(p, (struct addr){p->pmp_outside, p->pmp_port}, p->pmp_lifetime, now);
}

static void on_pcp(struct portmap *p, const struct pxp_reply *r, mono_t now)
{
        if (r->kind == PXP_PCP_ANNOUNCE) {
                if (r->result == PXP_OK)
                        p->seen[PORTMAP_PCP] = now;
                else if (r->result == PCP_NOT_AUTHORIZED || r->result == PCP_ADDRESS_MISMATCH)
                        p->seen[PORTMAP_PCP] = (mono_t){0};   /* it is there, and of no use */
                return;
        }
        if (p->asking != PORTMAP_PCP)
                return;
        if (r->result != PXP_OK)
                fail(p, true, now);
        else if (memcmp(&r->nonce, &p->nonce, sizeof(r->nonce)) == 0 && r->inner == p->net.port && r->lifetime > 0)
                complete(p, (struct addr){r->outside, r->outer}, r->lifetime, now);
}

/* Enough: somebody answered.  UPnP waits until its parser is loaded, which began with the answer. */
static void heard(struct portmap *p, mono_t now)
{
        p->hear_end = upnp_xml_ready() ? (mono_t){0} : mono_add_ms(now, LOAD_MS);
}

static void on_ssdp(struct portmap *p, const struct ssdp_reply *r, mono_t now)
{
        bool has_restarted = p->boot != 0 && r->boot != 0 && r->boot != p->boot;
        bool is_better = r->version >= p->igd_version || has_restarted || !was_seen(p, PORTMAP_UPNP, now);
        p->seen[PORTMAP_UPNP] = now;
        if (!p->looking)
                heard(p, now);
        if (has_restarted && p->lease.way == PORTMAP_UPNP)
                note_restart(p, now);
        if (!is_better)
                return;
        p->location = r->location;
        p->igd_version = r->version;
        p->boot = r->boot;
}

void portmap_on_packet(struct portmap *p, struct addr from, const void *data, size_t len, mono_t now)
{
        bool is_asked = p->looking || p->asking != PORTMAP_NONE;
        if (!ip_is_set(p->net.router) || (!is_asked && !mono_is_set(p->hear_end)))
                return;
        if (!ip_eq(from.ip, p->net.router)) {
                p->counts.strangers++;
                return;
        }
        struct pxp_reply pxp;
        struct ssdp_reply ssdp;
        if (from.port == PXP_PORT && is_asked && pxp_parse(data, len, &pxp) == ERR_NONE) {
                check_epoch(p, pxp.epoch, now);
                if (pxp.kind == PXP_PMP_ADDRESS || pxp.kind == PXP_PMP_MAP)
                        on_pmp(p, &pxp, now);
                else
                        on_pcp(p, &pxp, now);
        } else if (from.port != PXP_PORT && is_allowed(p, PORTMAP_UPNP) && ssdp_parse(data, len, &ssdp) == ERR_NONE) {
                on_ssdp(p, &ssdp, now);
        } else {
                p->counts.garbage++;
                return;
        }
        p->counts.answers++;
        consider(p, now);
}

void portmap_on_answer(struct portmap *p, long status, const char *body, size_t len, mono_t now)
{
        if (p->upnp.step == UPNP_QUIET)
                return;
        switch (upnp_answer(&p->upnp, status, body, len)) {
        case UPNP_MORE:
                p->due |= DUE_UPNP;
                return;
        case UPNP_MAPPED:
                complete(p, (struct addr){p->upnp.outside, p->upnp.outer}, UPNP_LEASE_S, now);
                return;
        case UPNP_FAILED:
                if (p->asking == PORTMAP_UPNP)
                        fail(p, false, now);
                break;
        case UPNP_RELEASED:
                break;
        }
        consider(p, now);
}

/* ---- where we are ---- */

/* A router knows the owner of what it mapped by the nonce, so that one network has one: who asks again after an answer that
 * was lost is given the same. */
static void enter(struct portmap *p, const struct portmap_net *net, bool is_same)
{
        if (!is_same) {
                struct portmap fresh = {
                        .random = p->random, .upnp = p->upnp, .off = p->off, .old = p->old, .counts = p->counts,
                        .due = p->due | (p->looking ? DUE_FOUND : 0u)};
                *p = fresh;
                p->random(&p->nonce, sizeof(p->nonce));
        }
        p->net = *net;
        if (net->port == 0)
                p->net = (struct portmap_net){0};
        p->failures = 0;
        p->not_before = p->retry = (mono_t){0};
}

void portmap_set_net(struct portmap *p, const struct portmap_net *net, mono_t now)
{
        bool is_same = ip_eq(net->router, p->net.router) && ip_eq(net->self, p->net.self);
        (void)now;
        if (is_same && net->port == p->net.port)
                return;
        let_go(p, is_same);
        enter(p, net, is_same);
}

void portmap_set_off(struct portmap *p, unsigned ways, mono_t now)
{
        p->off = ways;
        if (!is_allowed(p, p->asking) || !is_allowed(p, p->lease.way))
                let_go(p, true);
        consider(p, now);
}

void portmap_stop(struct portmap *p, mono_t now)
{
        static const struct portmap_net nowhere;
        (void)now;
        if (!ip_is_set(p->net.router))
                return;
        let_go(p, true);
        enter(p, &nowhere, false);
}

/* ---- looking ---- */

bool portmap_look(struct portmap *p, bool fresh, mono_t now)
{
        if (!ip_is_set(p->net.router) || p->looking)
                return p->looking;
        bool is_quiet = !fresh && mono_is_set(p->looked) && mono_diff_ns(now, p->looked) < QUIET_NS;
        unsigned ask = 0;
        for (enum portmap_way w = PORTMAP_PMP; w < PORTMAP_WAYS; w++)
                if (is_allowed(p, w) && (p->lease.way == w || (!is_quiet && !was_seen(p, w, now))))
                        ask |= PORTMAP_BIT(w);
        if (ask == 0) {
                consider(p, now);
                return false;
        }
        p->counts.looks++;
        p->looking = true;
        p->look_for = ask;
        p->look_again = mono_add_ms(now, AGAIN_MS);
        p->look_end = mono_add_ms(now, LOOK_MS);
        if (ask & PORTMAP_BIT(PORTMAP_UPNP))
                p->hear_end = mono_add_ms(now, HEAR_MS);
        if (!is_quiet)
                p->looked = now;
        p->due |= (ask & PORTMAP_BIT(PORTMAP_PMP) ? DUE_PMP_ADDRESS : 0) |
                  (ask & PORTMAP_BIT(PORTMAP_PCP) ? DUE_PCP_ANNOUNCE : 0) |
                  (ask & PORTMAP_BIT(PORTMAP_UPNP) ? DUE_SSDP : 0);
        return !is_quiet;
}

/* Whoever has not answered is asked once more. */
static void look_again(struct portmap *p, mono_t now)
{
        p->look_again = MONO_NEVER;
        unsigned left = 0;
        for (enum portmap_way w = PORTMAP_PMP; w < PORTMAP_WAYS; w++)
                if ((p->look_for & PORTMAP_BIT(w)) && !(mono_is_set(p->seen[w]) && mono_diff_ms(now, p->seen[w]) <= AGAIN_MS))
                        left |= PORTMAP_BIT(w);
        p->due |= (left & PORTMAP_BIT(PORTMAP_PMP) ? DUE_PMP_ADDRESS : 0) |
                  (left & PORTMAP_BIT(PORTMAP_PCP) ? DUE_PCP_ANNOUNCE : 0) |
                  (left & PORTMAP_BIT(PORTMAP_UPNP) ? DUE_SSDP : 0);
}

/* ---- time ---- */

static void on_ask_end(struct portmap *p, mono_t now)
{
        enum portmap_way way = p->asking;
        bool may_turn = way != PORTMAP_UPNP && p->lease.way == PORTMAP_NONE && was_seen(p, PORTMAP_UPNP, now) &&
                        upnp_xml_ready() && p->upnp.step == UPNP_QUIET;
        if (may_turn) {
                give_back(p, &(struct portmap_lease){.way = way, .net = p->net, .nonce = p->nonce});
                begin_ask(p, PORTMAP_UPNP, now);
        } else {
                fail(p, false, now);
        }
}

static void tick(struct portmap *p, mono_t now)
{
        if (p->looking && mono_reached(now, p->look_end)) {
                p->looking = false;
                p->due |= DUE_FOUND;
                bool is_better = (portmap_ways(p, now) & ~PORTMAP_BIT(PORTMAP_UPNP)) != 0;
                if (is_better && p->lease.way != PORTMAP_UPNP)
                        p->hear_end = (mono_t){0};
                else if (mono_diff_ms(now, p->seen[PORTMAP_UPNP]) <= LOOK_MS)
                        heard(p, now);
        } else if (p->looking && mono_reached(now, p->look_again)) {
                look_again(p, now);
        }
        if (mono_is_set(p->hear_end) && mono_reached(now, p->hear_end))
                p->hear_end = (mono_t){0};
        if (p->asking != PORTMAP_NONE && mono_reached(now, p->ask_end)) {
                on_ask_end(p, now);
        } else if (p->asking != PORTMAP_NONE && mono_reached(now, p->ask_again)) {
                p->ask_again = MONO_NEVER;
                p->due |= DUE_MAP | (p->asking == PORTMAP_PMP && !ip_is_set(p->pmp_outside) ? DUE_PMP_ADDRESS : 0u);
        }
        if (p->lease.way != PORTMAP_NONE && mono_reached(now, p->lease.end))
                drop_lease(p);
        if (mono_is_set(p->retry) && mono_reached(now, p->retry))
                p->retry = (mono_t){0};
        consider(p, now);
}

mono_t portmap_deadline(const struct portmap *p)
{
        mono_t at = MONO_NEVER;
        if (p->looking)
                at = mono_min(at, mono_min(p->look_again, p->look_end));
        if (mono_is_set(p->hear_end))
                at = mono_min(at, p->hear_end);
        if (mono_is_set(p->retry))
                at = mono_min(at, p->retry);
        if (p->asking != PORTMAP_NONE)
                at = mono_min(at, mono_min(p->ask_again, p->ask_end));
        if (p->lease.way == PORTMAP_NONE)
                return at;
        if (p->asking == PORTMAP_NONE && p->upnp.step == UPNP_QUIET)
                at = mono_min(at, mono_reached(p->lease.renew, p->not_before) ? p->lease.renew : p->not_before);
        return mono_min(at, p->lease.end);
}

bool portmap_is_quiet(const struct portmap *p)
{
        return !p->looking && !mono_is_set(p->hear_end) && p->asking == PORTMAP_NONE && p->due == 0 && p->upnp.step == UPNP_QUIET;
}

/* ---- what to do ---- */

static void send_pxp(const struct portmap *p, enum pxp_kind kind, struct portmap_action *ret)
{
        struct pxp_ask ask = {.kind = kind, .self = p->net.self, .nonce = p->nonce, .inner = p->net.port,
                .outer = p->wish, .lifetime = LEASE_S};
        ret->kind = PORTMAP_SEND;
        ret->to = (struct addr){p->net.router, PXP_PORT};
        ret->len = pxp_encode(&ask, ret->data);
}

static void send_release(const struct portmap *p, struct portmap_action *ret)
{
        const struct portmap_lease *l = &p->old;
        struct pxp_ask ask = {.kind = l->way == PORTMAP_PCP ? PXP_PCP_MAP : PXP_PMP_MAP, .self = l->net.self,
                .nonce = l->nonce, .inner = l->net.port};
        ret->kind = PORTMAP_SEND;
        ret->to = (struct addr){l->net.router, PXP_PORT};
        ret->len = pxp_encode(&ask, ret->data);
}

static void send_search(struct ip to, const char *text, struct portmap_action *ret)
{
        ret->kind = PORTMAP_SEND;
        ret->to = (struct addr){to, SSDP_PORT};
        ret->len = strlen(text);
        memcpy(ret->data, text, ret->len);
}

static void perform(struct portmap *p, unsigned what, struct portmap_action *ret)
{
        switch (what) {
        case DUE_RELEASE:
                send_release(p, ret);
                break;
        case DUE_PMP_ADDRESS:
                send_pxp(p, PXP_PMP_ADDRESS, ret);
                break;
        case DUE_PCP_ANNOUNCE:
                send_pxp(p, PXP_PCP_ANNOUNCE, ret);
                break;
        case DUE_SSDP_ROUTER:
                send_search(p->net.router, ssdp_search_all, ret);
                break;
        case DUE_SSDP_ALL:
                send_search(ssdp_group, ssdp_search_all, ret);
                break;
        case DUE_SSDP_GROUP:
                send_search(ssdp_group, ssdp_search_router, ret);
                break;
        case DUE_MAP:
                send_pxp(p, p->asking == PORTMAP_PCP ? PXP_PCP_MAP : PXP_PMP_MAP, ret);
                break;
        case DUE_UPNP:
                ret->kind = upnp_request(&p->upnp, &ret->fetch) ? PORTMAP_FETCH : PORTMAP_IDLE;
                if (p->upnp.step == UPNP_MAP)
                        p->wish = p->upnp.outer;   /* it may be mapped although no answer comes */
                break;
        case DUE_FOUND:
                ret->kind = PORTMAP_FOUND;
                break;
        case DUE_CHANGED:
                ret->kind = PORTMAP_CHANGED;
                break;
        default:
                break;
        }
}

enum portmap_kind portmap_next(struct portmap *p, mono_t now, struct portmap_action *ret)
{
        *ret = (struct portmap_action){0};
        tick(p, now);
        if (p->due != 0) {
                unsigned what = p->due & -p->due;
                p->due &= ~what;
                perform(p, what, ret);
        }
        return ret->kind;
}

const struct addr *portmap_mapping(const struct portmap *p)
{
        return p->lease.way != PORTMAP_NONE ? &p->lease.outside : NULL;
}

unsigned portmap_ways(const struct portmap *p, mono_t now)
{
        unsigned ways = 0;
        for (enum portmap_way w = PORTMAP_PMP; w < PORTMAP_WAYS; w++)
                if (was_seen(p, w, now) || p->lease.way == w)
                        ways |= PORTMAP_BIT(w);
        return ways;
}
