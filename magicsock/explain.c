#include "magicsock/explain.h"

#include <stdio.h>

#define SEARCH_TAKES_NS (2 * NS_PER_SEC)   /* a path that there is has been found by then, most times */

static size_t tried(const struct ms_explain *x)
{
        size_t n = 0;
        for (size_t i = 0; i < x->path_count; i++)
                n += x->paths[i].tried > 0;
        return n;
}

static size_t answered(const struct ms_explain *x)
{
        size_t n = 0;
        for (size_t i = 0; i < x->path_count; i++)
                n += x->paths[i].latency_ns > 0;
        return n;
}

static bool can_send_to(const struct ms_explain *x, struct ip ip)
{
        return ip.family == IP_V4 ? x->udp4 : x->udp6 && (x->ipv6 || ip_is_private(ip) || ip_is_link_local(ip));
}

static bool any_can_be_sent_to(const struct ms_explain *x)
{
        for (size_t i = 0; i < x->path_count; i++)
                if (can_send_to(x, x->paths[i].addr.ip))
                        return true;
        return false;
}

/* A NAT with one mapping for all has one port of one address to tell. */
static bool looks_hard(const struct ms_explain *x)
{
        for (size_t i = 0; i < x->path_count; i++) {
                struct addr a = x->paths[i].addr;
                if (a.ip.family != IP_V4 || ip_is_private(a.ip))
                        continue;
                for (size_t k = 0; k < i; k++)
                        if (ip_eq(x->paths[k].addr.ip, a.ip) && x->paths[k].addr.port != a.port)
                                return true;
        }
        return false;
}

struct list {
        enum ms_why *why;
        size_t n;
};

static void add(struct list *l, enum ms_why w)
{
        if (l->n < MS_WHY_MAX)
                l->why[l->n++] = w;
}

/* What the addresses of both sides say. */
static void add_addresses(struct list *l, const struct ms_explain *x)
{
        if (x->path_count == 0)
                add(l, MS_WHY_NO_ADDRESS);
        else if (!any_can_be_sent_to(x))
                add(l, MS_WHY_FAMILY);
        if (x->own_endpoints == 0)
                add(l, MS_WHY_NO_OWN_ADDRESS);
}

/* The first ping since the last change is not old. */
static bool has_just_begun(const struct ms_explain *x)
{
        for (size_t i = x->history.count; i-- > 0;) {
                const struct history_entry *e = history_at(&x->history, i);
                if (e->kind == HISTORY_PINGED)
                        return mono_diff_ns(x->now, e->at) < SEARCH_TAKES_NS;
        }
        return false;
}

static void add_search(struct list *l, const struct ms_explain *x)
{
        if (addr_is_set(x->route.addr) || answered(x) > 0)
                add(l, MS_WHY_SILENT);
        else if (has_just_begun(x))
                add(l, MS_WHY_SEARCHING);
        else if (mono_is_set(x->heard_ping))
                add(l, MS_WHY_ONE_WAY);
        else if (tried(x) > 0)
                add(l, MS_WHY_NO_PONG);
}

static void add_nats(struct list *l, const struct ms_explain *x)
{
        bool here = x->nat == NC_NAT_HARD, there = looks_hard(x);
        if (here && there)
                add(l, MS_WHY_BOTH_HARD);
        else if (here)
                add(l, MS_WHY_HARD_HERE);
        else if (there)
                add(l, MS_WHY_HARD_THERE);
}

size_t ms_why(const struct ms_explain *x, enum ms_why ret[MS_WHY_MAX])
{
        struct list l = {.why = ret};
        if (x->expired)
                add(&l, MS_WHY_EXPIRED);
        else if (!x->has_disco && !x->plain)
                add(&l, MS_WHY_NO_DISCO);
        if (l.n > 0 || x->route.kind == MS_ROUTE_DIRECT)
                return l.n;
        if (x->home_down)
                add(&l, MS_WHY_HOME_DOWN);
        if (x->absent)
                add(&l, MS_WHY_ABSENT);
        size_t so_far = l.n;
        if (!x->udp4 && !x->udp6)
                add(&l, MS_WHY_NO_SOCKET);
        else if (x->nat == NC_NAT_BLOCKED)
                add(&l, MS_WHY_BLOCKED);
        add_addresses(&l, x);
        if (!x->active) {
                add(&l, MS_WHY_IDLE);
                return l.n;
        }
        if (!x->knows_us)
                add(&l, MS_WHY_UNHEARD);
        if (l.n == so_far)
                add_search(&l, x);
        add_nats(&l, x);
        return l.n;
}

const char *ms_why_word(enum ms_why w)
{
        switch (w) {
        case MS_WHY_EXPIRED:
                return "expired";
        case MS_WHY_NO_DISCO:
                return "no-disco-key";
        case MS_WHY_IDLE:
                return "idle";
        case MS_WHY_HOME_DOWN:
                return "home-relay-down";
        case MS_WHY_NO_SOCKET:
                return "no-udp-socket";
        case MS_WHY_BLOCKED:
                return "udp-blocked";
        case MS_WHY_UNHEARD:
                return "peer-unheard";
        case MS_WHY_ABSENT:
                return "peer-not-at-relay";
        case MS_WHY_NO_ADDRESS:
                return "no-address";
        case MS_WHY_FAMILY:
                return "no-common-family";
        case MS_WHY_NO_OWN_ADDRESS:
                return "no-own-address";
        case MS_WHY_SEARCHING:
                return "searching";
        case MS_WHY_SILENT:
                return "silent";
        case MS_WHY_ONE_WAY:
                return "one-way";
        case MS_WHY_NO_PONG:
                return "no-answer";
        case MS_WHY_BOTH_HARD:
                return "both-nats-hard";
        case MS_WHY_HARD_HERE:
                return "own-nat-hard";
        case MS_WHY_HARD_THERE:
                return "peer-nat-hard";
        }
        return "?";
}

static const char *text_of(enum ms_why w)
{
        switch (w) {
        case MS_WHY_EXPIRED:
                return "the peer's key has expired: nothing is sent to it until it logs in again";
        case MS_WHY_NO_DISCO:
                return "the server names no disco key of the peer, and without one no path can be looked for";
        case MS_WHY_IDLE:
                return "nothing has been sent to the peer for 45 s: a path is looked for when there is something, or when the peer calls";
        case MS_WHY_HOME_DOWN:
                return "this host's home relay does not answer either: is the host connected? (see 'tailscale netcheck')";
        case MS_WHY_NO_SOCKET:
                return "this daemon has no UDP socket: see its log";
        case MS_WHY_BLOCKED:
                return "UDP is blocked on this host's network: the relays answer by HTTPS alone (see 'tailscale netcheck')";
        case MS_WHY_UNHEARD:
                return "the peer has answered nothing yet, not even by relay: is it running, and does the policy let it know this node?";
        case MS_WHY_ABSENT:
                return "the peer's home relay says that it is not connected there: is it running, and online?";
        case MS_WHY_NO_ADDRESS:
                return "no address of the peer is known: the server names none, and it has called with none";
        case MS_WHY_FAMILY:
                return "the peer has only addresses of a family (IPv4 or IPv6) that this host cannot send to";
        case MS_WHY_NO_OWN_ADDRESS:
                return "this host has no address to tell the peer: no interface has one and no relay saw one";
        case MS_WHY_SEARCHING:
                return "a search has just begun";
        case MS_WHY_SILENT:
                return "a direct path worked, and has not answered since: it is being tried again";
        case MS_WHY_ONE_WAY:
                return "pings of the peer arrive by UDP, but none of ours is answered: something on the way, or the peer's firewall, "
                       "drops them";
        case MS_WHY_NO_PONG:
                break;
        case MS_WHY_BOTH_HARD:
                return "this host's NAT is hard and the peer's looks hard too (it names several ports of one address): only a port "
                       "mapping or a forwarded port on one side helps";
        case MS_WHY_HARD_HERE:
                return "this host's NAT is hard (another port for each destination): see 'tailscale netcheck' for what helps";
        case MS_WHY_HARD_THERE:
                return "the peer's NAT looks hard: it names several ports of one address";
        }
        return "";
}

const char *ms_why_text(enum ms_why w, const struct ms_explain *x, char out[MS_WHY_TEXT_MAX])
{
        if (w == MS_WHY_NO_PONG)
                snprintf(out, MS_WHY_TEXT_MAX, "%zu of the peer's %zu addresses were pinged, none answered, and no ping of the "
                         "peer came by UDP", tried(x), x->path_count);
        else if (w == MS_WHY_HARD_THERE && x->hard_nat.why == HN_WHY_OFF)
                snprintf(out, MS_WHY_TEXT_MAX, "%s, and this host takes no part in a search through it (--hard-nat=off)", text_of(w));
        else
                snprintf(out, MS_WHY_TEXT_MAX, "%s", text_of(w));
        return out;
}
