/* The talk with a router as a person reads it. */
#include "portmap/trace.h"

#include "base/writer.h"
#include "tests/unit/check.h"

#define ROUTER (ip_v4(192, 168, 1, 1))
#define PXP    ((struct addr){ROUTER, PXP_PORT})

static void sent(const struct pxp_ask *ask, const char *want)
{
        char out[PORTMAP_TRACE_MAX];
        struct portmap_action a = {.kind = PORTMAP_SEND, .to = PXP};
        a.len = pxp_encode(ask, a.data);
        assert_string_equal(portmap_trace_action(&a, out), want);
}

static void test_what_is_asked(void **state)
{
        (void)state;
        char out[PORTMAP_TRACE_MAX];
        const struct ip self = ip_v4(192, 168, 1, 2);
        sent(&(struct pxp_ask){.kind = PXP_PMP_ADDRESS}, "-> 192.168.1.1:5351 NAT-PMP: which address do you have outside?");
        sent(&(struct pxp_ask){.kind = PXP_PCP_ANNOUNCE, .self = self}, "-> 192.168.1.1:5351 PCP: are you there?");
        static const enum pxp_kind kinds[] = {PXP_PMP_MAP, PXP_PCP_MAP};
        static const char *const names[] = {"NAT-PMP", "PCP"};
        for (size_t i = 0; i < 2; i++) {
                char want[128];
                struct pxp_ask ask = {.kind = kinds[i], .self = self, .inner = 41641, .lifetime = 7200};
                snprintf(want, sizeof(want), "-> 192.168.1.1:5351 %s: lead any outside port to UDP port 41641, for 7200 s", names[i]);
                sent(&ask, want);
                ask.outer = 5000;
                snprintf(want, sizeof(want), "-> 192.168.1.1:5351 %s: lead outside port 5000 to UDP port 41641, for 7200 s", names[i]);
                sent(&ask, want);
                ask.lifetime = 0;
                snprintf(want, sizeof(want), "-> 192.168.1.1:5351 %s: give back what leads to UDP port 41641", names[i]);
                sent(&ask, want);
        }
        struct portmap_action a = {.kind = PORTMAP_SEND, .to = {ssdp_group, SSDP_PORT}, .len = strlen(ssdp_search_all)};
        memcpy(a.data, ssdp_search_all, a.len);
        assert_string_equal(portmap_trace_action(&a, out), "-> 239.255.255.250:1900 UPnP: search for all devices");
        memset(a.data, 0, sizeof(a.data));
        memcpy(a.data, ssdp_search_router, strlen(ssdp_search_router));
        assert_string_equal(portmap_trace_action(&a, out), "-> 239.255.255.250:1900 UPnP: search for a router");
        struct portmap_action f = {.kind = PORTMAP_FETCH, .fetch = {.url = "http://192.168.1.1:80/d.xml"}};
        assert_string_equal(portmap_trace_action(&f, out), "-> UPnP: GET http://192.168.1.1:80/d.xml ");
        snprintf(f.fetch.action, sizeof(f.fetch.action), "\"urn:x#AddPortMapping\"");
        assert_string_equal(portmap_trace_action(&f, out), "-> UPnP: POST http://192.168.1.1:80/d.xml \"urn:x#AddPortMapping\"");
}

static const char *got(struct addr from, const void *data, size_t len)
{
        static char out[PORTMAP_TRACE_MAX];
        return portmap_trace_packet(ROUTER, from, data, len, out);
}

static size_t pcp_map(uint8_t *out, uint8_t result)
{
        static const uint8_t outside[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 9};
        struct wr w = wr_init(out, 60);
        wr_be32(&w, 0x02810000U | result);
        wr_be32(&w, 3600);
        wr_be32(&w, 100);
        wr_zero(&w, 12);
        wr_zero(&w, PCP_NONCE_LEN);
        wr_be32(&w, 17U << 24);
        wr_be16(&w, 41641);
        wr_be16(&w, 5000);
        wr_copy(&w, outside, sizeof(outside));
        assert_true(wr_ok(&w));
        return w.len;
}

static void test_what_is_answered(void **state)
{
        (void)state;
        const uint8_t address[] = {0, 128, 0, 0, 0, 0, 0, 100, 203, 0, 113, 9};
        const uint8_t inner[] = {0, 128, 0, 0, 0, 0, 0, 100, 10, 0, 0, 1};
        const uint8_t map[] = {0, 129, 0, 0, 0, 0, 0, 100, 0xa2, 0xa9, 0x13, 0x88, 0, 0, 0x1c, 0x20};
        const uint8_t released[] = {0, 129, 0, 0, 0, 0, 0, 100, 0xa2, 0xa9, 0, 0, 0, 0, 0, 0};
        uint8_t refused[sizeof(map)], pcp[60];
        memcpy(refused, map, sizeof(map));
        refused[3] = 2;
        assert_string_equal(got(PXP, address, sizeof(address)), "<- 192.168.1.1:5351 NAT-PMP: outside I have 203.0.113.9; up for 100 s");
        assert_string_equal(got(PXP, inner, sizeof(inner)), "<- 192.168.1.1:5351 NAT-PMP: outside I have 10.0.0.1; up for 100 s (that "
                                                            "address is not public: another NAT stands before this router)");
        assert_string_equal(got(PXP, map, sizeof(map)),
                            "<- 192.168.1.1:5351 NAT-PMP: outside port 5000 leads to UDP port 41641, for 7200 s; up for 100 s");
        assert_string_equal(got(PXP, released, sizeof(released)), "<- 192.168.1.1:5351 NAT-PMP: UDP port 41641 is given back; up for 100 s");
        assert_string_equal(got(PXP, refused, sizeof(refused)), "<- 192.168.1.1:5351 NAT-PMP: refused with result 2 (not authorised: mapping "
                                                                "is switched off in the router); up for 100 s");
        assert_string_equal(got(PXP, pcp, pcp_map(pcp, 0)),
                "<- 192.168.1.1:5351 PCP: outside port 5000 leads to UDP port 41641, for 3600 s, at 203.0.113.9; up for 100 s");
        for (unsigned result = 1; result < 256; result++) {   /* each has words, or is called unknown */
                const char *line = got(PXP, pcp, pcp_map(pcp, (uint8_t)result));
                char want[40];
                snprintf(want, sizeof(want), "refused with result %u (", result);
                assert_non_null(strstr(line, want));
                assert_true((strstr(line, "(unknown)") != NULL) == (result > 13));
        }
        static const char ssdp[] = "HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
                                   "LOCATION: http://192.168.1.1:5000/d.xml\r\n\r\n";
        assert_string_equal(got((struct addr){ROUTER, 1900}, ssdp, strlen(ssdp)),
                            "<- 192.168.1.1:1900 UPnP: a router of version 1, described at http://192.168.1.1:5000/d.xml");
}

static void test_what_is_no_answer(void **state)
{
        (void)state;
        const uint8_t junk[20] = {0, 1, 0x1b, '[', 0xff};
        assert_string_equal(got((struct addr){ip_v4(192, 168, 1, 7), PXP_PORT}, junk, 4),
                            "<- 192.168.1.7:5351 not the router: not listened to");
        assert_string_equal(got(PXP, junk, 5), "<- 192.168.1.1:5351 5 bytes that are no answer: 00 01 1b 5b ff");
        assert_string_equal(got(PXP, junk, 20),
                            "<- 192.168.1.1:5351 20 bytes that are no answer: 00 01 1b 5b ff 00 00 00 00 00 00 00 00 00 00 00 ...");
        assert_string_equal(got(PXP, junk, 0), "<- 192.168.1.1:5351 0 bytes that are no answer:");
        uint8_t pcp[60];
        size_t len = pcp_map(pcp, 0);
        for (size_t n = 0; n < len; n++)
                assert_non_null(strstr(got(PXP, pcp, n), "bytes that are no answer:"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_is_asked),
                cmocka_unit_test(test_what_is_answered),
                cmocka_unit_test(test_what_is_no_answer),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
