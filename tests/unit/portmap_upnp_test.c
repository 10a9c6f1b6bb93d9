/* Conversations with UPnP routers of several kinds, and with what only pretends to be one. */
#include "tests/unit/check.h"

#include <stdlib.h>

#include "tests/unit/upnp_loaded.h"

#define SERVICE(type, control) "<service><serviceType>" type "</serviceType><serviceId>urn:upnp-org:serviceId:x</serviceId>" \
        "<SCPDURL>/x.xml</SCPDURL><controlURL>" control "</controlURL><eventSubURL>/evt</eventSubURL></service>"
#define DEVICE(base, services) "<?xml version=\"1.0\"?>\r\n<root xmlns=\"urn:schemas-upnp-org:device-1-0\">" base \
        "<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><deviceList><device>" \
        "<deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType><deviceList><device>" \
        "<deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType><serviceList>" services \
        "</serviceList></device></deviceList></device></deviceList></device></root>"
#define ANSWER(action, inner) "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>" \
        "<u:" action "Response xmlns:u=\"x\">" inner "</u:" action "Response></s:Body></s:Envelope>"
#define FAULT(code) "<s:Envelope><s:Body><s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>" \
        "<UPnPError><errorCode>" code "</errorCode></UPnPError></detail></s:Fault></s:Body></s:Envelope>"
#define IP1  "urn:schemas-upnp-org:service:WANIPConnection:1"
#define IP2  "urn:schemas-upnp-org:service:WANIPConnection:2"
#define PPP1 "urn:schemas-upnp-org:service:WANPPPConnection:1"
#define ADDRESS(ip) ANSWER("GetExternalIPAddress", "<NewExternalIPAddress>" ip "</NewExternalIPAddress>")

static void fixed(void *out, size_t n)
{
        memset(out, 0x11, n);
}

static const struct upnp_url location = {.port = 5000, .path = "/desc.xml"};
static struct upnp u;
static struct upnp_request req;

static void begin(uint16_t outer)
{
        u = (struct upnp){.router = ip_v4(192, 168, 1, 1), .self = ip_v4(192, 168, 1, 50), .inner = 41641, .random = fixed};
        upnp_ask(&u, &location, NULL, outer);
        assert_true(upnp_request(&u, &req));
}

static enum upnp_news answer(long status, const char *body)
{
        enum upnp_news news = upnp_answer(&u, status, body, strlen(body));
        assert_int_equal(upnp_request(&u, &req), news == UPNP_MORE);
        return news;
}

static void assert_asks(const char *url, const char *action)
{
        assert_string_equal(req.url, url);
        assert_string_equal(req.action, action);
        assert_true(req.max == UPNP_REPLY_MAX);
}

static void test_mapping(void **state)
{
        (void)state;
        begin(4242);
        assert_string_equal(req.url, "http://192.168.1.1:5000/desc.xml");
        assert_string_equal(req.action, "");
        assert_int_equal(req.max, UPNP_DESCRIPTION_MAX);
        assert_int_equal(answer(200, DEVICE("", SERVICE(IP1, "/ctl/IPConn"))), UPNP_MORE);
        assert_asks("http://192.168.1.1:5000/ctl/IPConn", "\"" IP1 "#GetExternalIPAddress\"");
        assert_non_null(strstr(req.body, "<u:GetExternalIPAddress xmlns:u=\"" IP1 "\"></u:GetExternalIPAddress>"));
        assert_int_equal(answer(200, ADDRESS("203.0.113.9")), UPNP_MORE);
        assert_asks("http://192.168.1.1:5000/ctl/IPConn", "\"" IP1 "#AddPortMapping\"");
        assert_non_null(strstr(req.body,
                "<NewRemoteHost></NewRemoteHost><NewExternalPort>4242</NewExternalPort><NewProtocol>UDP</NewProtocol>"
                "<NewInternalPort>41641</NewInternalPort><NewInternalClient>192.168.1.50</NewInternalClient>"
                "<NewEnabled>1</NewEnabled><NewPortMappingDescription>tailscale-portmap</NewPortMappingDescription>"
                "<NewLeaseDuration>7200</NewLeaseDuration></u:AddPortMapping>"));
        assert_int_equal(answer(200, ANSWER("AddPortMapping", "")), UPNP_MAPPED);
        assert_int_equal(u.outer, 4242);
        assert_true(ip_eq(u.outside, ip_v4(203, 0, 113, 9)));
        struct upnp_service s = u.services[u.at];
        /* Renewed without asking for the description again. */
        upnp_ask(&u, &location, &s, 4242);
        assert_true(upnp_request(&u, &req));
        assert_asks("http://192.168.1.1:5000/ctl/IPConn", "\"" IP1 "#GetExternalIPAddress\"");
        /* The service went away: what does the router say now? */
        assert_int_equal(answer(0, ""), UPNP_MORE);
        assert_string_equal(req.url, "http://192.168.1.1:5000/desc.xml");
        assert_int_equal(answer(0, ""), UPNP_FAILED);
        upnp_release(&u, &s, 4242);
        assert_true(upnp_request(&u, &req));
        assert_asks("http://192.168.1.1:5000/ctl/IPConn", "\"" IP1 "#DeletePortMapping\"");
        assert_non_null(strstr(req.body, "<NewRemoteHost></NewRemoteHost><NewExternalPort>4242</NewExternalPort>"
                "<NewProtocol>UDP</NewProtocol></u:DeletePortMapping>"));
        assert_int_equal(answer(200, ANSWER("DeletePortMapping", "")), UPNP_RELEASED);
        assert_int_equal(answer(200, ""), UPNP_FAILED);   /* nobody asked */
}

static void test_second_version(void **state)
{
        (void)state;
        begin(0);
        assert_int_equal(answer(200, DEVICE("", SERVICE(IP2, "ctl/IPConn"))), UPNP_MORE);
        assert_int_equal(answer(200, ADDRESS("203.0.113.9")), UPNP_MORE);
        assert_asks("http://192.168.1.1:5000/ctl/IPConn", "\"" IP2 "#AddAnyPortMapping\"");
        assert_non_null(strstr(req.body, "<NewExternalPort>5393</NewExternalPort>"));   /* not 0, which would be all */
        assert_int_equal(answer(200, ANSWER("AddAnyPortMapping", "<NewReservedPort>4711</NewReservedPort>")), UPNP_MAPPED);
        assert_int_equal(u.outer, 4711);
        static const char *const bad[] = {"0", "-1", "65536", "x", ""};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                char text[300];
                begin(0);
                assert_int_equal(answer(200, DEVICE("", SERVICE(IP2, "/c"))), UPNP_MORE);
                assert_int_equal(answer(200, ADDRESS("203.0.113.9")), UPNP_MORE);
                snprintf(text, sizeof(text), ANSWER("AddAnyPortMapping", "<NewReservedPort>%s</NewReservedPort>"), bad[i]);
                assert_int_equal(answer(200, text), UPNP_FAILED);
        }
}

/* The service that is connected is the one with a public address. */
static void test_two_services(void **state)
{
        (void)state;
        static const char *const useless[] = {ADDRESS("0.0.0.0"), ADDRESS("10.1.2.3"), ADDRESS("x"), ADDRESS(""), FAULT("501")};
        for (size_t i = 0; i < sizeof(useless) / sizeof(useless[0]); i++) {
                begin(4242);
                assert_int_equal(answer(200, DEVICE("", SERVICE(IP1, "/ip") SERVICE(PPP1, "/ppp"))), UPNP_MORE);
                assert_string_equal(req.url, "http://192.168.1.1:5000/ip");
                assert_int_equal(answer(i == 4 ? 500 : 200, useless[i]), UPNP_MORE);
                assert_asks("http://192.168.1.1:5000/ppp", "\"" PPP1 "#GetExternalIPAddress\"");
                assert_int_equal(answer(200, ADDRESS("203.0.113.9")), UPNP_MORE);
                assert_int_equal(answer(200, ANSWER("AddPortMapping", "")), UPNP_MAPPED);
                assert_int_equal(u.at, 1);
        }
}

static void to_map(void)
{
        begin(4242);
        assert_int_equal(answer(200, DEVICE("", SERVICE(IP1, "/ip"))), UPNP_MORE);
        assert_int_equal(answer(200, ADDRESS("203.0.113.9")), UPNP_MORE);
}

static void test_faults(void **state)
{
        (void)state;
        static const char *const permanent[] = {FAULT("725"), FAULT("402")};
        for (size_t i = 0; i < 2; i++) {
                to_map();
                assert_int_equal(answer(500, permanent[i]), UPNP_MORE);
                assert_non_null(strstr(req.body, "<NewLeaseDuration>0<"));
                assert_int_equal(answer(500, permanent[i]), UPNP_FAILED);
        }
        to_map();
        for (int i = 0; i < UPNP_PORT_TRIES - 1; i++) {
                assert_int_equal(answer(500, FAULT("718")), UPNP_MORE);
                assert_non_null(strstr(req.body, "<NewExternalPort>5393<"));
        }
        assert_int_equal(answer(500, FAULT("718")), UPNP_FAILED);
        to_map();
        assert_int_equal(answer(500, FAULT("606")), UPNP_FAILED);
        to_map();
        assert_int_equal(answer(0, ""), UPNP_FAILED);
}

static void test_hostile_descriptions(void **state)
{
        (void)state;
        static const char *const bad[] = {
                "", "garbage", "<", "<root>", "<?xml", "<root><device><serviceList><service>",
                DEVICE("", SERVICE(IP1, "http://192.168.1.2:5000/ctl")),          /* somebody else */
                DEVICE("", SERVICE(IP1, "http://127.0.0.1:5000/ctl")),
                DEVICE("", SERVICE(IP1, "file:///etc/passwd")),
                DEVICE("", SERVICE(IP1, "/ctl\r\nX-Evil: 1")),
                DEVICE("", SERVICE(IP1 "&quot;&#13;", "/ctl")),
                DEVICE("", SERVICE("urn:schemas-upnp-org:service:WANIPConnection:1\"\r\nEvil: x", "/ctl")),
                DEVICE("", SERVICE("urn:schemas-upnp-org:service:Layer3Forwarding:1", "/ctl")),
        };
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                begin(4242);
                if (answer(200, bad[i]) != UPNP_FAILED)
                        fail_msg("description %zu", i);
        }
        begin(4242);
        assert_int_equal(answer(404, DEVICE("", SERVICE(IP1, "/ip"))), UPNP_FAILED);
        /* A base elsewhere does not lead us there. */
        begin(4242);
        assert_int_equal(answer(200, DEVICE("<URLBase>http://192.168.1.2:80/</URLBase>", SERVICE(IP1, "/ip"))), UPNP_MORE);
        assert_string_equal(req.url, "http://192.168.1.1:5000/ip");
        begin(4242);
        assert_int_equal(answer(200, DEVICE("<URLBase>http://192.168.1.1:81/</URLBase>", SERVICE(IP1, "/ip"))), UPNP_MORE);
        assert_string_equal(req.url, "http://192.168.1.1:81/ip");
}

static void test_hostile_answers(void **state)
{
        (void)state;
        to_map();
        assert_int_equal(answer(200, "garbage"), UPNP_FAILED);   /* a mapping that nobody confirmed */
        to_map();
        assert_int_equal(answer(200, ANSWER("DeletePortMapping", "")), UPNP_FAILED);
        char *deep = malloc(UPNP_REPLY_MAX + 1);
        for (size_t i = 0; i < UPNP_REPLY_MAX; i++)
                deep[i] = "<a>"[i % 3];
        deep[UPNP_REPLY_MAX] = '\0';
        begin(4242);
        assert_int_equal(answer(200, DEVICE("", SERVICE(IP1, "/ip"))), UPNP_MORE);
        assert_int_equal(answer(200, deep), UPNP_FAILED);
        free(deep);
}

static void test_cut_short(void **state)
{
        (void)state;
        static const char description[] = DEVICE("", SERVICE(IP1, "/ip")), address[] = ADDRESS("203.0.113.9");
        for (size_t n = 0; n < sizeof(description); n++) {
                begin(4242);
                char *exact = malloc(n + 1);
                memcpy(exact, description, n);
                enum upnp_news news = upnp_answer(&u, 200, exact, n);
                assert_true(news == UPNP_FAILED || (news == UPNP_MORE && u.count == 1));
                free(exact);
        }
        for (size_t n = 0; n < sizeof(address) - 1; n++) {
                begin(4242);
                assert_int_equal(answer(200, description), UPNP_MORE);
                char *exact = malloc(n + 1);
                memcpy(exact, address, n);
                (void)upnp_answer(&u, 200, exact, n);
                assert_true(u.step == UPNP_QUIET || ip_eq(u.outside, ip_v4(203, 0, 113, 9)));
                free(exact);
        }
}

int main(void)
{
        if (!upnp_loaded())
                return 77;
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_mapping),
                cmocka_unit_test(test_second_version),
                cmocka_unit_test(test_two_services),
                cmocka_unit_test(test_faults),
                cmocka_unit_test(test_hostile_descriptions),
                cmocka_unit_test(test_hostile_answers),
                cmocka_unit_test(test_cut_short),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
