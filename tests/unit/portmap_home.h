/* A home network in memory: a router that answers as the test says, on a clock that the test moves. */
#pragma once

#include "base/reader.h"
#include "base/writer.h"
#include "portmap/portmap.h"
#include "tests/unit/check.h"

enum { SENT_MAX = 64, PORT = 41641 };

static struct {
        struct portmap p;
        mono_t now;
        struct portmap_action sent[SENT_MAX];   /* since the last pump() */
        size_t sent_count;
        unsigned found, changed, fetches;
        struct upnp_request fetch;
        uint32_t epoch;
} t;

static inline void count_up(void *out, size_t n)
{
        static uint8_t next;
        check_count_up(out, n, next++);
}

static const struct portmap_net home = {
        .router = {.family = IP_V4, .b = {192, 168, 1, 1}}, .self = {.family = IP_V4, .b = {192, 168, 1, 50}}, .port = PORT};
static const struct ip outside = {.family = IP_V4, .b = {203, 0, 113, 9}};

static inline void pump(void)
{
        struct portmap_action a;
        t.sent_count = 0;
        t.found = t.changed = t.fetches = 0;
        for (enum portmap_kind k; (k = portmap_next(&t.p, t.now, &a)) != PORTMAP_IDLE;) {
                assert_int_equal(a.kind, k);
                assert_true(t.sent_count < SENT_MAX);
                if (k == PORTMAP_SEND)
                        t.sent[t.sent_count++] = a;
                t.found += k == PORTMAP_FOUND;
                t.changed += k == PORTMAP_CHANGED;
                if (k == PORTMAP_FETCH) {
                        t.fetch = a.fetch;
                        t.fetches++;
                }
        }
}

/* To the next deadline, which has to come. */
static inline void step(void)
{
        mono_t at = portmap_deadline(&t.p);
        assert_true(at.ns > t.now.ns && at.ns != MONO_NEVER.ns);
        t.now = at;
        pump();
}

static inline void wait_s(int64_t s)
{
        t.now = mono_add_ms(t.now, s * 1000);
        t.epoch += (uint32_t)s;
}

static inline void setup(void)
{
        memset(&t, 0, sizeof(t));
        t.now = (mono_t){NS_PER_SEC};
        t.epoch = 1000;
        portmap_init(&t.p, count_up);
        portmap_set_net(&t.p, &home, t.now);
        pump();
        assert_int_equal(t.sent_count, 0);
}

/* Begins to look for a router, from nothing. */
static inline void look(void)
{
        setup();
        assert_true(portmap_look(&t.p, false, t.now));
        pump();
}

/* ---- what the router says ---- */

static inline void say_from(struct ip ip, uint16_t port, const void *data, size_t len)
{
        portmap_on_packet(&t.p, (struct addr){ip, port}, data, len, t.now);
        pump();
}

static inline size_t pmp_address(uint8_t *b, struct ip ip)
{
        struct wr w = wr_init(b, 16);
        wr_be32(&w, 0x00800000);
        wr_be32(&w, t.epoch);
        wr_copy(&w, ip.b, 4);
        return w.len;
}

static inline size_t pmp_map(uint8_t *b, uint16_t inner, uint16_t outer, uint32_t lifetime)
{
        struct wr w = wr_init(b, 16);
        wr_be32(&w, 0x00810000);
        wr_be32(&w, t.epoch);
        wr_be16(&w, inner);
        wr_be16(&w, outer);
        wr_be32(&w, lifetime);
        return w.len;
}

static inline size_t pcp_map(uint8_t *b, const struct pcp_nonce *nonce, uint16_t inner, uint16_t outer, struct ip ip,
        uint32_t lifetime)
{
        uint8_t wide[16];
        struct wr w = wr_init(b, 60);
        ip_to_bytes16(ip, wide);
        wr_be32(&w, 0x02810000);
        wr_be32(&w, lifetime);
        wr_be32(&w, t.epoch);
        wr_zero(&w, 12);
        wr_copy(&w, nonce->b, sizeof(nonce->b));
        wr_be32(&w, 17u << 24);
        wr_be16(&w, inner);
        wr_be16(&w, outer);
        wr_copy(&w, wide, 16);
        return w.len;
}

static inline void say(const uint8_t *b, size_t len)
{
        say_from(home.router, PXP_PORT, b, len);
}

static inline void say_pmp_address(struct ip ip)
{
        uint8_t b[16];
        say(b, pmp_address(b, ip));
}

static inline void say_pmp_map(uint16_t outer, uint32_t lifetime)
{
        uint8_t b[16];
        say(b, pmp_map(b, PORT, outer, lifetime));
}

static inline void say_hex(const char *hex)
{
        uint8_t b[64];
        say(b, check_unhex(hex, b, sizeof(b)));
}

static inline void say_pcp_there(unsigned result)
{
        uint8_t b[24] = {2, 0x80, 0, (uint8_t)result};
        store_be32(b + 8, t.epoch);
        say(b, sizeof(b));
}

static inline void say_ssdp(uint32_t boot)
{
        char text[300];
        int n = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
                "LOCATION: http://192.168.1.1:5000/desc.xml\r\nBOOTID.UPNP.ORG: %u\r\n\r\n", boot);
        say_from(home.router, 1900, text, (size_t)n);
}

static inline bool did_send(uint8_t version, uint8_t op, size_t len)
{
        for (size_t i = 0; i < t.sent_count; i++)
                if (t.sent[i].len == len && t.sent[i].data[0] == version && t.sent[i].data[1] == op &&
                        t.sent[i].to.port == PXP_PORT && ip_eq(t.sent[i].to.ip, home.router))
                        return true;
        return false;
}

static inline size_t searches(void)
{
        size_t n = 0;
        for (size_t i = 0; i < t.sent_count; i++)
                n += t.sent[i].to.port == SSDP_PORT;
        return n;
}

static inline const struct portmap_action *only_sent(void)
{
        assert_int_equal(t.sent_count, 1);
        return &t.sent[0];
}

static inline void assert_mapping(const char *want)
{
        char text[ADDR_STR_MAX];
        const struct addr *a = portmap_mapping(&t.p);
        if (want == NULL)
                assert_null(a);
        else
                assert_string_equal(a != NULL ? addr_str(*a, text) : "none", want);
}

/* By NAT-PMP, at 203.0.113.9:4242. */
static inline void map(void)
{
        look();
        say_pmp_address(outside);
        say_pmp_map(4242, 7200);
        assert_mapping("203.0.113.9:4242");
        assert_int_equal(t.changed, 1);
        while (t.p.looking)
                step();
        assert_int_equal(t.found, 1);
        assert_true(portmap_is_quiet(&t.p));
}
