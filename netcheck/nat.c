#include "netcheck/nat.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

enum nc_nat_kind nc_nat_kind(const struct netcheck_report *r)
{
        if (!r->udp)
                return r->https ? NC_NAT_BLOCKED : NC_NAT_UNKNOWN;
        if (r->translated == NC_FALSE)
                return NC_NAT_NONE;
        if (r->mapping_varies == NC_UNKNOWN)
                return NC_NAT_UNKNOWN;
        return r->mapping_varies == NC_TRUE ? NC_NAT_HARD : NC_NAT_EASY;
}

const char *nc_nat_kind_str(enum nc_nat_kind k)
{
        switch (k) {
        case NC_NAT_UNKNOWN:
                break;
        case NC_NAT_BLOCKED:
                return "blocked";
        case NC_NAT_NONE:
                return "none";
        case NC_NAT_EASY:
                return "easy";
        case NC_NAT_HARD:
                return "hard";
        }
        return "unknown";
}

const char *nc_nat_mapping(const struct netcheck_report *r)
{
        if (r->translated == NC_FALSE || r->mapping_varies == NC_UNKNOWN)
                return NULL;
        return r->mapping_varies == NC_TRUE ? "varies by destination" : "endpoint-independent";
}

const char *nc_nat_filtering(const struct netcheck_report *r)
{
        return r->unasked_in ? "endpoint-independent" : r->hairpin_filtered ? "address-dependent or stricter" : NULL;
}

/* Why nothing of a NAT can be seen; NULL: something can. */
static const char *nothing_seen(const struct netcheck_report *r)
{
        if (!r->udp)
                return "UDP is blocked, or no relay answers";
        if (!addr_is_set(r->global_v4))
                return "no relay answered by IPv4";
        if (r->translated == NC_FALSE)
                return "there is no NAT";
        return r->translated == NC_UNKNOWN ? "the addresses of this host are not known" : NULL;
}

const char *nc_nat_filtering_why(const struct netcheck_report *r)
{
        const char *nothing = nothing_seen(r);
        if (r->unasked_in)
                return "a peer came in to which nothing had been sent";
        if (r->hairpin_filtered)
                return "what this host sent to its own public address came in only after it had sent back";
        return nothing != NULL ? nothing : "no peer has come in unasked yet, and a relay never does";
}

const char *nc_nat_hairpin_why(const struct netcheck_report *r)
{
        const char *nothing = nothing_seen(r);
        if (r->hairpin == NC_TRUE)
                return "others behind the same NAT are reached by its public address";
        if (r->hairpin == NC_FALSE)
                return "others behind the same NAT are reached in a common network, or by relay";
        if (nothing != NULL)
                return nothing;
        return r->mapping_varies == NC_TRUE ? "behind a hard NAT nobody knows the public port that leads to a peer" :
                                              "no relay answered a second socket of this host";
}

enum nc_tri nc_nat_port_kept(const struct netcheck_report *r)
{
        if (r->translated != NC_TRUE || r->port4 == 0)
                return NC_UNKNOWN;
        return r->global_v4.port == r->port4 ? NC_TRUE : NC_FALSE;
}

struct words {
        char *out;
        size_t at;
};

__attribute__((format(printf, 2, 3)))
static void say(struct words *w, const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(w->out + w->at, NC_NAT_WORDS_MAX - w->at, fmt, ap);
        va_end(ap);
        w->at += n > 0 ? (size_t)n : 0;
        if (w->at >= NC_NAT_WORDS_MAX)
                w->at = NC_NAT_WORDS_MAX - 1;
}

static const char *port_words(const struct netcheck_report *r)
{
        enum nc_tri kept = nc_nat_port_kept(r);
        return kept == NC_TRUE ? ", port kept" : kept == NC_FALSE ? ", port changed" : "";
}

/* A hard NAT is opened from its inside, by the router's administrator or by a protocol. */
static void say_hard(struct words *w, const struct netcheck_report *r)
{
        say(w, "hard (mapping varies by destination%s): ", port_words(r));
        if (r->pmp == NC_TRUE || r->pcp == NC_TRUE || r->upnp == NC_TRUE) {
                say(w, "the router maps ports when asked, so peers can reach this host all the same");
                return;
        }
        say(w, "most peers only by relay%s, but for those that a search finds ('tailscale set --hard-nat': on tries all peers, own "
            "those that take part, off none); turn on UPnP, NAT-PMP or PCP in the router, or forward UDP port %u to this host",
            r->ipv6 ? ", or directly by IPv6" : "", r->port4);
}

static void say_unknown(struct words *w, const struct netcheck_report *r)
{
        if (r->captive == NC_TRUE)
                say(w, "not known: a captive portal is in the way; open a web page to log in to this network");
        else if (!r->udp && r->icmp4)
                say(w, "not known: relays answer a ping, but neither UDP nor HTTPS gets through to them: let both out, or see whether they run");
        else if (!r->udp)
                say(w, "not known: no relay answers, by UDP or by HTTPS; is this host connected?");
        else if (!addr_is_set(r->global_v4))
                say(w, "not known: no relay answered by IPv4");
        else
                say(w, "not known%s: to compare mappings takes two relays, and one address answered",
                    nc_nat_port_kept(r) == NC_TRUE ? " (port kept, so probably easy)" : port_words(r)[0] ? " (port changed)" : "");
}

const char *nc_nat_words(const struct netcheck_report *r, char out[NC_NAT_WORDS_MAX])
{
        struct words w = {.out = out};
        out[0] = '\0';
        switch (nc_nat_kind(r)) {
        case NC_NAT_UNKNOWN:
                say_unknown(&w, r);
                break;
        case NC_NAT_BLOCKED:
                say(&w, r->captive == NC_TRUE ? "a captive portal is in the way: open a web page to log in to this network" :
                        "UDP is blocked: all peers only by relay; let UDP out, at least to port 3478 of the relays and the "
                        "ports of peers");
                break;
        case NC_NAT_NONE:
                say(&w, "none (the public address is this host's own): direct paths unless a firewall keeps UDP port %u shut",
                    r->port4);
                break;
        case NC_NAT_EASY:
                say(&w, "easy (mapping endpoint-independent%s): direct paths to most peers", port_words(r));
                break;
        case NC_NAT_HARD:
                say_hard(&w, r);
                break;
        }
        return out;
}
