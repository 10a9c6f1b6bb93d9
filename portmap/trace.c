#include "portmap/trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/reader.h"

enum { SHOWN_BYTES = 16 };

struct line {
        char *out;
        size_t at;
};

__attribute__((format(printf, 2, 3)))
static void say(struct line *l, const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(l->out + l->at, PORTMAP_TRACE_MAX - l->at, fmt, ap);
        va_end(ap);
        l->at += n > 0 ? (size_t)n : 0;
        if (l->at >= PORTMAP_TRACE_MAX)
                l->at = PORTMAP_TRACE_MAX - 1;
}

static void say_lease(struct line *l, uint16_t inner, uint16_t outer, uint32_t lifetime)
{
        if (lifetime == 0)
                say(l, "give back what leads to UDP port %u", inner);
        else if (outer == 0)
                say(l, "lead any outside port to UDP port %u, for %u s", inner, lifetime);
        else
                say(l, "lead outside port %u to UDP port %u, for %u s", outer, inner, lifetime);
}

/* One of ours: pxp_encode() wrote it. */
static void say_request(struct line *l, const uint8_t *data, size_t len)
{
        struct rd r = rd_init(data, len);
        bool is_pcp = rd_u8(&r) == 2, is_map = rd_u8(&r) == 1;
        say(l, is_pcp ? "PCP: " : "NAT-PMP: ");
        if (!is_map) {
                say(l, is_pcp ? "are you there?" : "which address do you have outside?");
                return;
        }
        rd_skip(&r, 2);
        uint32_t lifetime = is_pcp ? rd_be32(&r) : 0;
        rd_skip(&r, is_pcp ? 16 + PCP_NONCE_LEN + 4 : 0);
        uint16_t inner = rd_be16(&r), outer = rd_be16(&r);
        if (!is_pcp)
                lifetime = rd_be32(&r);
        say_lease(l, inner, outer, lifetime);
}

const char *portmap_trace_action(const struct portmap_action *a, char out[PORTMAP_TRACE_MAX])
{
        struct line l = {.out = out};
        char to[ADDR_STR_MAX];
        if (a->kind == PORTMAP_FETCH) {
                say(&l, "-> UPnP: %s %s %s", a->fetch.action[0] != '\0' ? "POST" : "GET", a->fetch.url, a->fetch.action);
                return out;
        }
        say(&l, "-> %s ", addr_str(a->to, to));
        if (a->to.port == SSDP_PORT)
                say(&l, "UPnP: search for %s", strstr((const char *)a->data, "ST: ssdp:all") != NULL ? "all devices" : "a router");
        else
                say_request(&l, a->data, a->len);
        return out;
}

static const char *result_words(bool is_pcp, unsigned result)
{
        static const char *const pmp[] = {"", "it speaks another version", "not authorised: mapping is switched off in the router",
                "the router has no network", "out of resources", "it does not know that question"};
        static const char *const pcp[] = {"", "it speaks another version", "not authorised: mapping is switched off in the router",
                "malformed", "it does not know that question", "unknown option", "malformed option", "the router has no network",
                "out of resources", "unknown protocol", "too many mappings of this host", "cannot provide that port",
                "it sees this host at another address: there is a NAT between", "too many peers"};
        if (is_pcp)
                return result < sizeof(pcp) / sizeof(pcp[0]) ? pcp[result] : "unknown";
        return result < sizeof(pmp) / sizeof(pmp[0]) ? pmp[result] : "unknown";
}

static void say_reply(struct line *l, const struct pxp_reply *r)
{
        char ip[IP_STR_MAX];
        bool is_pcp = r->kind == PXP_PCP_ANNOUNCE || r->kind == PXP_PCP_MAP;
        say(l, is_pcp ? "PCP: " : "NAT-PMP: ");
        if (r->result != PXP_OK)
                say(l, "refused with result %u (%s)", r->result, result_words(is_pcp, r->result));
        else if (r->kind == PXP_PMP_ADDRESS)
                say(l, "outside I have %s", ip_str(r->outside, ip));
        else if (r->kind == PXP_PCP_ANNOUNCE)
                say(l, "I am here");
        else if (r->lifetime == 0)
                say(l, "UDP port %u is given back", r->inner);
        else
                say(l, "outside port %u leads to UDP port %u, for %u s", r->outer, r->inner, r->lifetime);
        if (r->kind == PXP_PCP_MAP && r->result == PXP_OK && r->lifetime != 0)
                say(l, ", at %s", ip_str(r->outside, ip));
        say(l, "; up for %u s", r->epoch);
        if (r->result == PXP_OK && ip_is_set(r->outside) && !ip_is_public(r->outside))
                say(l, " (that address is not public: another NAT stands before this router)");
}

static void say_bytes(struct line *l, const uint8_t *data, size_t len)
{
        say(l, "%zu bytes that are no answer:", len);
        for (size_t i = 0; i < len && i < SHOWN_BYTES; i++)
                say(l, " %02x", data[i]);
        say(l, len > SHOWN_BYTES ? " ..." : "");
}

const char *portmap_trace_packet(struct ip router, struct addr from, const void *data, size_t len, char out[PORTMAP_TRACE_MAX])
{
        struct line l = {.out = out};
        struct pxp_reply pxp;
        struct ssdp_reply ssdp;
        char text[ADDR_STR_MAX], url[UPNP_URL_MAX];
        say(&l, "<- %s ", addr_str(from, text));
        if (!ip_eq(from.ip, router))
                say(&l, "not the router: not listened to");
        else if (from.port == PXP_PORT && pxp_parse(data, len, &pxp) == ERR_NONE)
                say_reply(&l, &pxp);
        else if (from.port != PXP_PORT && ssdp_parse(data, len, &ssdp) == ERR_NONE)
                say(&l, "UPnP: a router of version %u, described at %s", ssdp.version, upnp_url_str(&ssdp.location, router, url));
        else
                say_bytes(&l, data, len);
        return out;
}
