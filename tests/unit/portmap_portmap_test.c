/* The life of a mapping against a router that answers as the test says, on a clock that the test moves. */
#include "tests/unit/check.h"

#include <unistd.h>

#include "base/reader.h"
#include "base/writer.h"
#include "portmap/portmap.h"

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

static void count_up(void *out, size_t n)
{
        static uint8_t next;
        check_count_up(out, n, next++);
}

static const struct portmap_net home = {
        .router = {.family = IP_V4, .b = {192, 168, 1, 1}}, .self = {.family = IP_V4, .b = {192, 168, 1, 50}}, .port = PORT};
static const struct ip outside = {.family = IP_V4, .b = {203, 0, 113, 9}};

static void pump(void)
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
static void step(void)
{
        mono_t at = portmap_deadline(&t.p);
        assert_true(at.ns > t.now.ns && at.ns != MONO_NEVER.ns);
        t.now = at;
        pump();
}

static void wait_s(int64_t s)
{
        t.now = mono_add_ms(t.now, s * 1000);
        t.epoch += (uint32_t)s;
}

static void setup(void)
{
        memset(&t, 0, sizeof(t));
        t.now = (mono_t){NS_PER_SEC};
        t.epoch = 1000;
        portmap_init(&t.p, count_up);
        portmap_set_net(&t.p, &home, t.now);
        pump();
        assert_int_equal(t.sent_count, 0);
}

/* ---- what the router says ---- */

static void say_from(struct ip ip, uint16_t port, const void *data, size_t len)
{
        portmap_on_packet(&t.p, (struct addr){ip, port}, data, len, t.now);
        pump();
}

static size_t pmp_address(uint8_t *b, struct ip ip)
{
        struct wr w = wr_init(b, 16);
        wr_be32(&w, 0x00800000);
        wr_be32(&w, t.epoch);
        wr_copy(&w, ip.b, 4);
        return w.len;
}

static size_t pmp_map(uint8_t *b, uint16_t inner, uint16_t outer, uint32_t lifetime)
{
        struct wr w = wr_init(b, 16);
        wr_be32(&w, 0x00810000);
        wr_be32(&w, t.epoch);
        wr_be16(&w, inner);
        wr_be16(&w, outer);
        wr_be32(&w, lifetime);
        return w.len;
}

static size_t pcp_map(uint8_t *b, const struct pcp_nonce *nonce, uint16_t inner, uint16_t outer, struct ip ip,
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

static void say(const uint8_t *b, size_t len)
{
        say_from(home.router, PXP_PORT, b, len);
}

static void say_pmp_address(struct ip ip)
{
        uint8_t b[16];
        say(b, pmp_address(b, ip));
}

static void say_pmp_map(uint16_t outer, uint32_t lifetime)
{
        uint8_t b[16];
        say(b, pmp_map(b, PORT, outer, lifetime));
}

static void say_hex(const char *hex)
{
        uint8_t b[64];
        say(b, check_unhex(hex, b, sizeof(b)));
}

static void say_pcp_there(unsigned result)
{
        uint8_t b[24] = {2, 0x80, 0, (uint8_t)result};
        store_be32(b + 8, t.epoch);
        say(b, sizeof(b));
}

static void say_ssdp(uint32_t boot)
{
        char text[300];
        int n = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
                "LOCATION: http://192.168.1.1:5000/desc.xml\r\nBOOTID.UPNP.ORG: %u\r\n\r\n", boot);
        say_from(home.router, 1900, text, (size_t)n);
}

static bool did_send(uint8_t version, uint8_t op, size_t len)
{
        for (size_t i = 0; i < t.sent_count; i++)
                if (t.sent[i].len == len && t.sent[i].data[0] == version && t.sent[i].data[1] == op &&
                        t.sent[i].to.port == PXP_PORT && ip_eq(t.sent[i].to.ip, home.router))
                        return true;
        return false;
}

static size_t searches(void)
{
        size_t n = 0;
        for (size_t i = 0; i < t.sent_count; i++)
                n += t.sent[i].to.port == SSDP_PORT;
        return n;
}

static const struct portmap_action *only_sent(void)
{
        assert_int_equal(t.sent_count, 1);
        return &t.sent[0];
}

static void assert_mapping(const char *want)
{
        char text[ADDR_STR_MAX];
        const struct addr *a = portmap_mapping(&t.p);
        if (want == NULL)
                assert_null(a);
        else
                assert_string_equal(a != NULL ? addr_str(*a, text) : "none", want);
}

/* By NAT-PMP, at 203.0.113.9:4242. */
static void map(void)
{
        setup();
        assert_true(portmap_look(&t.p, false, t.now));
        pump();
        say_pmp_address(outside);
        say_pmp_map(4242, 7200);
        assert_mapping("203.0.113.9:4242");
        assert_int_equal(t.changed, 1);
        while (t.p.looking)
                step();
        assert_int_equal(t.found, 1);
        assert_true(portmap_is_quiet(&t.p));
}

/* ---- looking ---- */

static void test_nobody_there(void **state)
{
        (void)state;
        setup();
        assert_true(portmap_look(&t.p, false, t.now));
        pump();
        assert_int_equal(t.sent_count, 5);
        assert_true(did_send(0, 0, 2) && did_send(2, 0, 24));
        assert_int_equal(searches(), 3);
        step();
        assert_int_equal(t.sent_count, 5);   /* once more */
        step();
        assert_int_equal(t.found, 1);
        assert_int_equal(t.sent_count, 0);
        assert_true(mono_diff_ms(t.now, (mono_t){NS_PER_SEC}) == 250);
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
        step();                              /* UPnP may take its time */
        assert_true(mono_diff_ms(t.now, (mono_t){NS_PER_SEC}) == 4000);
        assert_true(portmap_is_quiet(&t.p));
        assert_int_equal(portmap_deadline(&t.p).ns, MONO_NEVER.ns);
        /* For five minutes it stays so, unless somebody wants to know. */
        for (int i = 0; i < 12; i++) {
                wait_s(24);
                assert_false(portmap_look(&t.p, false, t.now));
                pump();
                assert_int_equal(t.sent_count, 0);
        }
        assert_true(portmap_look(&t.p, true, t.now));
        pump();
        assert_int_equal(t.sent_count, 5);
        step();
        step();
        step();
        wait_s(301);
        assert_true(portmap_look(&t.p, false, t.now));
}

static void test_nowhere(void **state)
{
        (void)state;
        struct portmap_net none = home;
        setup();
        none.port = 0;
        portmap_set_net(&t.p, &none, t.now);
        assert_false(portmap_look(&t.p, true, t.now));
        none = (struct portmap_net){.port = PORT};
        portmap_set_net(&t.p, &none, t.now);
        assert_false(portmap_look(&t.p, true, t.now));
        pump();
        assert_int_equal(t.sent_count, 0);
        portmap_on_packet(&t.p, (struct addr){.port = PXP_PORT}, "\0\200\0\0\0\0\0\0\1\2\3\4", 12, t.now);
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
}

static void test_switched_off(void **state)
{
        (void)state;
        setup();
        portmap_set_off(&t.p, PORTMAP_BIT(PORTMAP_UPNP), t.now);
        assert_true(portmap_look(&t.p, false, t.now));
        pump();
        assert_int_equal(t.sent_count, 2);
        say_ssdp(1);
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
        setup();
        portmap_set_off(&t.p, PORTMAP_ALL, t.now);
        assert_false(portmap_look(&t.p, true, t.now));
        pump();
        assert_int_equal(t.sent_count, 0);
        map();
        portmap_set_off(&t.p, PORTMAP_ALL, t.now);
        pump();
        assert_mapping(NULL);
        assert_int_equal(t.changed, 1);
        check_hex(only_sent()->data, only_sent()->len, "00010000a2a9000000000000");
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
}

/* ---- NAT-PMP ---- */

static void test_pmp(void **state)
{
        (void)state;
        map();
        assert_int_equal(portmap_ways(&t.p, t.now), PORTMAP_BIT(PORTMAP_PMP));
        assert_int_equal(t.p.counts.made, 1);
        /* Renewed at half its life, with the port it has; nothing changes by it. */
        mono_t start = t.now;
        step();
        assert_true(mono_diff_ms(t.now, start) / 1000 - 3600 <= 0 && mono_diff_ms(t.now, start) / 1000 >= 3599);
        assert_true(did_send(0, 1, 12) && did_send(0, 0, 2));
        for (size_t i = 0; i < t.sent_count; i++)
                if (t.sent[i].len == 12)
                        check_hex(t.sent[i].data, 12, "00010000a2a9109200001c20");
        t.epoch += 3600;
        say_pmp_map(4242, 7200);
        assert_int_equal(t.changed, 0);
        assert_int_equal(t.p.counts.renewed, 1);
        assert_mapping("203.0.113.9:4242");
        /* And given back. */
        portmap_stop(&t.p, t.now);
        pump();
        check_hex(only_sent()->data, only_sent()->len, "00010000a2a9000000000000");
        assert_true(ip_eq(only_sent()->to.ip, home.router));
        assert_int_equal(t.changed, 1);
        assert_mapping(NULL);
        assert_true(portmap_is_quiet(&t.p));
        assert_int_equal(portmap_deadline(&t.p).ns, MONO_NEVER.ns);
        portmap_stop(&t.p, t.now);
        pump();
        assert_int_equal(t.sent_count, 0);
}

static void test_lost_datagrams_are_sent_again(void **state)
{
        (void)state;
        setup();
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_pmp_address(outside);
        assert_true(did_send(0, 1, 12));
        step();
        assert_true(did_send(0, 1, 12));
        assert_true(did_send(2, 0, 24));     /* PCP has not answered either, */
        assert_false(did_send(0, 0, 2));     /* NAT-PMP has */
        say_pmp_map(4242, 7200);
        assert_mapping("203.0.113.9:4242");
}

static void test_silent_renewal(void **state)
{
        (void)state;
        map();
        mono_t end = t.p.lease.end;
        unsigned asked = 0;
        while (t.now.ns < end.ns) {
                assert_mapping("203.0.113.9:4242");
                step();
                asked += t.sent_count > 0;
        }
        assert_mapping(NULL);
        assert_int_equal(t.changed, 1);
        assert_true(asked > 6 && asked < 26);
        step();                              /* there is nobody left to ask */
        assert_int_equal(t.sent_count, 0);
        assert_int_equal(portmap_deadline(&t.p).ns, MONO_NEVER.ns);
}

/* It answers our question by PCP as one about its address, whose version it does not know. */
static void test_pmp_alone(void **state)
{
        (void)state;
        setup();
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_pmp_address(outside);
        say_hex("0080000100000400");
        assert_int_equal(t.p.counts.failed, 0);
        say_pmp_map(4242, 7200);
        assert_mapping("203.0.113.9:4242");
        say_hex("0080000100000400");
        assert_mapping("203.0.113.9:4242");
}

static void test_refused(void **state)
{
        (void)state;
        setup();
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_ssdp(1);
        say_pmp_address(outside);
        say_hex("0081000200000400");        /* not authorised */
        assert_mapping(NULL);
        step();
        step();
        assert_int_equal(t.fetches, 0);     /* a refusal is not asked around */
        /* Asked again, but less and less. */
        unsigned asked = 0;
        for (int s = 0; s < 3600; s += 23) {
                wait_s(23);
                (void)portmap_look(&t.p, false, t.now);
                pump();
                if (t.p.looking)
                        say_pmp_address(outside);
                if (t.p.asking == PORTMAP_PMP) {
                        asked++;
                        say_hex("0081000200000400");
                }
                while (t.p.looking)
                        step();
        }
        assert_true(asked >= 4 && asked <= 8);
        assert_true(mono_is_set(t.p.retry));  /* also without a look */
        /* In another network all is new. */
        struct portmap_net other = home;
        other.self.b[3]++;
        portmap_set_net(&t.p, &other, t.now);
        assert_true(portmap_look(&t.p, false, t.now));
        pump();
        say_pmp_address(outside);
        assert_true(did_send(0, 1, 12));
}

static void test_restart_of_the_router(void **state)
{
        (void)state;
        map();
        /* While we have a mapping each look asks whether it is still known. */
        wait_s(60);
        assert_false(portmap_look(&t.p, false, t.now));
        pump();
        assert_true(did_send(0, 0, 2));
        assert_int_equal(t.sent_count, 1);
        say_pmp_address(outside);
        assert_int_equal(t.sent_count, 0);
        while (t.p.looking)
                step();
        wait_s(60);
        t.epoch = 5;
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_pmp_address(outside);
        assert_true(did_send(0, 1, 12));
        assert_int_equal(t.p.counts.lost, 1);
        assert_mapping("203.0.113.9:4242");
        say_pmp_map(4243, 7200);
        assert_mapping("203.0.113.9:4243");
        assert_int_equal(t.changed, 1);
        /* After a restart silence means that it is gone. */
        while (t.p.looking)
                step();
        wait_s(60);
        t.epoch = 5;
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_pmp_address(outside);
        while (t.p.asking != PORTMAP_NONE)
                step();
        assert_mapping(NULL);
}

static void test_clock_of_the_router(void **state)
{
        (void)state;
        static const struct {
                int64_t wait;
                uint32_t epoch;
                bool is_restart;
        } rows[] = {
                {60, 1060, false}, {60, 1058, false},
                {800, 1700, false},                  /* an eighth slow, as it may be */
                {800, 1697, true},
                {60, 900, true}, {60, 100000, false}, {1, 999, false},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                map();
                wait_s(rows[i].wait);
                (void)portmap_look(&t.p, false, t.now);
                pump();
                t.epoch = rows[i].epoch;
                say_pmp_address(outside);
                if ((t.p.counts.lost == 1) != rows[i].is_restart)
                        fail_msg("row %zu", i);
        }
}

static void test_another_outside_address(void **state)
{
        (void)state;
        map();
        wait_s(60);
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_pmp_address(ip_v4(203, 0, 113, 77));
        assert_mapping("203.0.113.77:4242");
        assert_int_equal(t.changed, 1);
        say_pmp_address(ip_v4(0, 0, 0, 0));
        assert_mapping(NULL);
        assert_int_equal(t.changed, 1);
}

/* ---- PCP ---- */

/* Where NAT-PMP is silent. */
static void map_pcp(void)
{
        uint8_t b[60];
        setup();
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_pcp_there(0);
        assert_false(did_send(2, 1, 60));    /* NAT-PMP may yet answer */
        step();
        step();
        assert_int_equal(t.found, 1);
        assert_true(did_send(2, 1, 60));
        say(b, pcp_map(b, &t.p.nonce, PORT, 4242, outside, 7200));
        assert_mapping("203.0.113.9:4242");
}

static void test_pcp(void **state)
{
        (void)state;
        uint8_t b[60];
        map_pcp();
        assert_int_equal(portmap_ways(&t.p, t.now), PORTMAP_BIT(PORTMAP_PCP));
        struct pcp_nonce nonce = t.p.lease.nonce;
        step();
        assert_true(did_send(2, 1, 60));
        assert_memory_equal(only_sent()->data + 24, &nonce, sizeof(nonce));
        t.epoch += 3600;
        say(b, pcp_map(b, &nonce, PORT, 4242, outside, 7200));
        assert_int_equal(t.p.counts.renewed, 1);
        portmap_stop(&t.p, t.now);
        pump();
        assert_memory_equal(only_sent()->data + 24, &nonce, sizeof(nonce));
        assert_int_equal(load_be32(only_sent()->data + 4), 0);
}

static void test_pcp_that_does_not_serve_us(void **state)
{
        (void)state;
        static const unsigned results[] = {2, 12};
        for (size_t i = 0; i < 2; i++) {
                setup();
                (void)portmap_look(&t.p, false, t.now);
                pump();
                say_pcp_there(results[i]);
                step();
                step();
                assert_int_equal(portmap_ways(&t.p, t.now), 0);
                assert_false(did_send(2, 1, 60));
        }
}

static void test_pcp_answers_of_others(void **state)
{
        (void)state;
        uint8_t b[60];
        setup();
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_pcp_there(0);
        step();
        step();
        struct pcp_nonce other = t.p.nonce;
        other.b[3] ^= 1;
        say(b, pcp_map(b, &other, PORT, 4242, outside, 7200));
        assert_mapping(NULL);
        say(b, pcp_map(b, &t.p.nonce, PORT + 1, 4242, outside, 7200));
        assert_mapping(NULL);
        say(b, pcp_map(b, &t.p.nonce, PORT, 4242, outside, 7200));
        assert_mapping("203.0.113.9:4242");
}

/* ---- UPnP ---- */

static const char description[] =
        "<root><device><serviceList><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>"
        "<controlURL>/ctl</controlURL></service></serviceList></device></root>";
static const char address[] = "<u:GetExternalIPAddressResponse><NewExternalIPAddress>203.0.113.9</NewExternalIPAddress>"
                              "</u:GetExternalIPAddressResponse>";

static void answer(long status, const char *body)
{
        portmap_on_answer(&t.p, status, body, strlen(body), t.now);
        pump();
}

static int load(void **state)
{
        (void)state;
        upnp_xml_load();
        for (int i = 0; i < 500 && !upnp_xml_ready(); i++)
                usleep(10000);
        return 0;
}

/* As soon as the router is found, and an answer to a request is asked for: to 203.0.113.9:4242. */
static void finish_upnp(void)
{
        assert_int_equal(t.fetches, 1);
        assert_string_equal(t.fetch.url, "http://192.168.1.1:5000/desc.xml");
        answer(200, description);
        assert_string_equal(t.fetch.url, "http://192.168.1.1:5000/ctl");
        answer(200, address);
        assert_non_null(strstr(t.fetch.body, "<NewInternalPort>41641<"));
        answer(200, "<u:AddPortMappingResponse></u:AddPortMappingResponse>");
        assert_non_null(portmap_mapping(&t.p));
        assert_int_equal(t.changed, 1);
        assert_int_equal(portmap_ways(&t.p, t.now), PORTMAP_BIT(PORTMAP_UPNP));
}

static void test_upnp(void **state)
{
        (void)state;
        if (!upnp_xml_ready())
                skip();
        setup();
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_ssdp(7);
        assert_int_equal(t.fetches, 0);      /* a better way may yet answer */
        step();
        assert_int_equal(searches(), 0);
        step();
        assert_int_equal(t.found, 1);
        finish_upnp();
        assert_true(portmap_is_quiet(&t.p));
        uint16_t port = portmap_mapping(&t.p)->port;
        /* Renewed at half its life at the service that gave it. */
        step();
        assert_string_equal(t.fetch.url, "http://192.168.1.1:5000/ctl");
        answer(200, address);
        answer(200, "<u:AddPortMappingResponse></u:AddPortMappingResponse>");
        assert_int_equal(t.p.counts.renewed, 1);
        assert_int_equal(portmap_mapping(&t.p)->port, port);
        portmap_stop(&t.p, t.now);
        pump();
        assert_int_equal(t.fetches, 1);
        assert_non_null(strstr(t.fetch.action, "#DeletePortMapping"));
        assert_false(portmap_is_quiet(&t.p));
        answer(200, "");
        assert_true(portmap_is_quiet(&t.p));
        assert_int_equal(t.sent_count, 0);
}

/* Its answer may come after the look; a silent NAT-PMP is given up for it. */
static void test_late_upnp(void **state)
{
        (void)state;
        if (!upnp_xml_ready())
                skip();
        setup();
        (void)portmap_look(&t.p, false, t.now);
        pump();
        step();
        step();
        assert_int_equal(t.found, 1);
        t.now = mono_add_ms(t.now, 2000);
        pump();
        say_pmp_address(outside);            /* who is next door and that slow is of no use */
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
        say_ssdp(7);
        finish_upnp();
        setup();
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_ssdp(7);
        say_pmp_address(outside);
        assert_true(t.p.asking == PORTMAP_PMP);
        while (t.p.asking == PORTMAP_PMP)
                step();
        assert_true(t.p.asking == PORTMAP_UPNP);
        assert_int_equal(t.fetches, 1);
}

static void test_upnp_router_restarts(void **state)
{
        (void)state;
        if (!upnp_xml_ready())
                skip();
        setup();
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_ssdp(7);
        while (t.p.looking)
                step();
        finish_upnp();
        wait_s(60);
        (void)portmap_look(&t.p, false, t.now);
        pump();
        assert_int_equal(searches(), 3);     /* as long as we have a mapping, each time */
        say_ssdp(7);
        assert_int_equal(t.fetches, 0);
        while (!portmap_is_quiet(&t.p))
                step();
        wait_s(60);
        (void)portmap_look(&t.p, false, t.now);
        pump();
        while (t.p.looking)
                step();
        say_ssdp(8);                         /* late, as it likes */
        assert_int_equal(t.fetches, 1);
        answer(0, "");                       /* its service listens elsewhere now */
        answer(0, "");                       /* and nowhere */
        assert_mapping(NULL);
        assert_int_equal(t.changed, 1);
}

/* Nothing is asked of one network's router about another's. */
static void test_upnp_in_another_network(void **state)
{
        (void)state;
        if (!upnp_xml_ready())
                skip();
        setup();
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_ssdp(7);
        while (t.p.looking)
                step();
        finish_upnp();
        struct portmap_net other = home;
        other.self.b[3]++;
        portmap_set_net(&t.p, &other, t.now);
        pump();
        assert_int_equal(t.fetches + t.sent_count, 0);
        assert_mapping(NULL);
        assert_true(portmap_is_quiet(&t.p));
}

/* ---- what is not believed ---- */

static void test_strangers(void **state)
{
        (void)state;
        uint8_t b[16];
        setup();
        (void)portmap_look(&t.p, false, t.now);
        pump();
        size_t len = pmp_address(b, outside);
        say_from(ip_v4(192, 168, 1, 2), PXP_PORT, b, len);
        say_from(home.router, PXP_PORT + 1, b, len);
        say_from((struct ip){0}, PXP_PORT, b, len);
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
        assert_int_equal(t.p.counts.strangers, 2);
        assert_int_equal(t.p.counts.garbage, 1);
        static const char ssdp[] = "HTTP/1.1 200 OK\r\nST: :InternetGatewayDevice:1\r\nLOCATION: http://192.168.1.1/\r\n\r\n";
        say_from(ip_v4(192, 168, 1, 2), SSDP_PORT, ssdp, sizeof(ssdp) - 1);
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
        say_pmp_address(outside);
        say_from(ip_v4(192, 168, 1, 2), PXP_PORT, b, pmp_map(b, PORT, 4242, 7200));
        assert_mapping(NULL);
        /* Nor what comes when nobody asked. */
        while (!portmap_is_quiet(&t.p))
                step();
        say_pmp_map(4242, 7200);
        assert_mapping(NULL);
}

static void test_addresses_that_are_none(void **state)
{
        (void)state;
        static const uint8_t bad[][4] = {{0, 0, 0, 0}, {10, 1, 2, 3}, {192, 168, 1, 1}, {172, 16, 0, 1}, {100, 64, 0, 1},
                {127, 0, 0, 1}, {169, 254, 1, 1}, {224, 0, 0, 1}, {255, 255, 255, 255}, {198, 18, 0, 1}};
        uint8_t b[60];
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                setup();
                (void)portmap_look(&t.p, false, t.now);
                pump();
                say_pmp_address(ip_from_bytes4(bad[i]));
                assert_false(did_send(0, 1, 12));   /* behind another NAT: not even asked */
                say_pcp_there(0);
                step();
                step();
                assert_true(did_send(2, 1, 60));
                say(b, pcp_map(b, &t.p.nonce, PORT, 4242, ip_from_bytes4(bad[i]), 7200));
                assert_mapping(NULL);
                assert_true(portmap_is_quiet(&t.p));
        }
        /* An IPv6 address is none for an IPv4 port. */
        setup();
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_pcp_there(0);
        step();
        step();
        struct ip six;
        assert_int_equal(ip_parse("2001:db8::1", &six), ERR_NONE);
        say(b, pcp_map(b, &t.p.nonce, PORT, 4242, six, 7200));
        assert_mapping(NULL);
}

static void test_leases_that_are_none(void **state)
{
        (void)state;
        static const struct {
                uint16_t outer;
                uint32_t lifetime;
                int64_t seconds;   /* believed; 0 = refused */
        } rows[] = {
                {4242, 0, 0}, {4242, 1, 0}, {4242, 119, 0}, {4242, 120, 120}, {4242, 7200, 7200}, {4242, 7201, 7200},
                {4242, UINT32_MAX - 1, 7200}, {4242, UINT32_MAX, 0}, {0, 7200, 0},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                setup();
                (void)portmap_look(&t.p, false, t.now);
                pump();
                say_pmp_address(outside);
                say_pmp_map(rows[i].outer, rows[i].lifetime);
                assert_mapping(rows[i].seconds > 0 ? "203.0.113.9:4242" : NULL);
                if (rows[i].seconds == 0 && rows[i].lifetime != 0 && rows[i].outer != 0)    /* what is of no use to us is given back */
                        check_hex(only_sent()->data, only_sent()->len, "00010000a2a9000000000000");
                if (rows[i].seconds > 0)
                        assert_int_equal(mono_diff_ms(t.p.lease.end, t.now), rows[i].seconds * 1000);
                while (!portmap_is_quiet(&t.p))
                        step();
        }
}

/* ---- changes of network ---- */

static void test_another_port(void **state)
{
        (void)state;
        map();
        struct portmap_net other = home;
        other.port = PORT + 1;
        portmap_set_net(&t.p, &home, t.now);
        pump();
        assert_int_equal(t.sent_count + t.changed, 0);
        portmap_set_net(&t.p, &other, t.now);
        pump();
        assert_mapping(NULL);
        /* The router is known, so it is asked at once. */
        assert_int_equal(t.sent_count, 2);
        check_hex(t.sent[0].data, t.sent[0].len, "00010000a2a9000000000000");
        check_hex(t.sent[1].data, t.sent[1].len, "00010000a2aa109200001c20");
        say_pmp_map(4242, 7200);             /* an answer about the old one */
        assert_mapping(NULL);
        uint8_t b[16];
        say(b, pmp_map(b, PORT + 1, 4243, 7200));
        assert_mapping("203.0.113.9:4243");
}

static void test_another_router(void **state)
{
        (void)state;
        map();
        struct portmap_net other = home;
        other.router = ip_v4(10, 0, 0, 1);
        other.self = ip_v4(10, 0, 0, 9);
        (void)portmap_look(&t.p, true, t.now);
        pump();
        bool was_looking = t.p.looking;
        portmap_set_net(&t.p, &other, t.now);
        pump();
        assert_mapping(NULL);
        assert_int_equal(t.changed, 1);
        assert_int_equal(t.found, was_looking ? 1 : 0);   /* whoever waits for the look is told */
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
        assert_true(ip_eq(only_sent()->to.ip, home.router));
        say_pmp_address(outside);                         /* the old one's answer */
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
        assert_true(portmap_look(&t.p, false, t.now));
}

static void test_stopped_in_the_middle(void **state)
{
        (void)state;
        setup();
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_pmp_address(outside);
        assert_true(t.p.asking == PORTMAP_PMP);
        portmap_stop(&t.p, t.now);
        pump();
        check_hex(only_sent()->data, only_sent()->len, "00010000a2a9000000000000");   /* it may have been made */
        assert_int_equal(t.found, 1);
        assert_int_equal(t.changed, 0);
        assert_true(portmap_is_quiet(&t.p));
}

/* Every answer cut short, at any moment of the life of a mapping, does nothing but be counted. */
static void test_cut_short(void **state)
{
        (void)state;
        uint8_t b[60];
        setup();
        (void)portmap_look(&t.p, false, t.now);
        pump();
        size_t len = pmp_address(b, outside);
        for (size_t n = 0; n < len; n++)
                say(b, n);
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
        say_pmp_address(outside);
        len = pmp_map(b, PORT, 4242, 7200);
        for (size_t n = 0; n < len; n++)
                say(b, n);
        assert_mapping(NULL);
        assert_true(t.p.asking == PORTMAP_PMP);
        assert_int_equal(t.p.counts.garbage, 12 + 16);
        assert_int_equal(t.p.counts.answers, 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nobody_there),
                cmocka_unit_test(test_nowhere),
                cmocka_unit_test(test_switched_off),
                cmocka_unit_test(test_pmp),
                cmocka_unit_test(test_lost_datagrams_are_sent_again),
                cmocka_unit_test(test_silent_renewal),
                cmocka_unit_test(test_pmp_alone),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_restart_of_the_router),
                cmocka_unit_test(test_clock_of_the_router),
                cmocka_unit_test(test_another_outside_address),
                cmocka_unit_test(test_pcp),
                cmocka_unit_test(test_pcp_that_does_not_serve_us),
                cmocka_unit_test(test_pcp_answers_of_others),
                cmocka_unit_test(test_upnp),
                cmocka_unit_test(test_late_upnp),
                cmocka_unit_test(test_upnp_router_restarts),
                cmocka_unit_test(test_upnp_in_another_network),
                cmocka_unit_test(test_strangers),
                cmocka_unit_test(test_addresses_that_are_none),
                cmocka_unit_test(test_leases_that_are_none),
                cmocka_unit_test(test_another_port),
                cmocka_unit_test(test_another_router),
                cmocka_unit_test(test_stopped_in_the_middle),
                cmocka_unit_test(test_cut_short),
        };
        return cmocka_run_group_tests(tests, load, NULL);
}
