/* The answer of a UPnP router, and the URLs it writes. */
#include "tests/unit/check.h"

#include <stdlib.h>

#include "portmap/ssdp.h"

static const char router[] =
        "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:2\r\n"
        "USN: uuid:1::urn:schemas-upnp-org:device:InternetGatewayDevice:2\r\nEXT:\r\nSERVER: Debian UPnP/1.1 MiniUPnPd/2.3.1\r\n"
        "LOCATION: http://192.168.1.1:37483/rootDesc.xml\r\nOPT: \"http://schemas.upnp.org/upnp/1/0/\"; ns=01\r\n"
        "01-NLS: 1700000000\r\nBOOTID.UPNP.ORG: 1700000000\r\nCONFIGID.UPNP.ORG: 1337\r\n\r\n";

static void test_answer(void **state)
{
        (void)state;
        struct ssdp_reply r;
        assert_int_equal(ssdp_parse(router, sizeof(router) - 1, &r), ERR_NONE);
        assert_int_equal(r.location.port, 37483);
        assert_string_equal(r.location.path, "/rootDesc.xml");
        assert_int_equal(r.boot, 1700000000);
        assert_int_equal(r.version, 2);
        static const char small[] = "http/1.0 200\nlocation:http://10.0.0.1\nst:x:InternetGatewayDevice:1";
        assert_int_equal(ssdp_parse(small, sizeof(small) - 1, &r), ERR_NONE);
        assert_int_equal(r.location.port, 80);
        assert_string_equal(r.location.path, "/");
        assert_int_equal(r.version, 1);
        assert_int_equal(r.boot, 0);
}

/* Cut anywhere it is read whole, or not at all, and never past its end. */
static void test_cut_short(void **state)
{
        (void)state;
        for (size_t n = 0; n < sizeof(router) - 1; n++) {
                char *exact = malloc(n + 1);
                struct ssdp_reply r;
                memcpy(exact, router, n);
                enum err e = ssdp_parse(exact, n, &r);
                assert_true(e == ERR_FORMAT || (r.location.port != 0 && r.location.path[0] == '/' && r.version == 2));
                free(exact);
        }
}

static void test_not_a_router(void **state)
{
        (void)state;
        static const char *const bad[] = {
                "",
                "M-SEARCH * HTTP/1.1\r\nST: urn:x:InternetGatewayDevice:1\r\nLOCATION: http://1.2.3.4/\r\n\r\n",
                "HTTP/1.1 200 OK\r\nST: urn:x:MediaServer:1\r\nLOCATION: http://1.2.3.4/\r\n\r\n",
                "HTTP/1.1 200 OK\r\nST: urn:x:InternetGatewayDevice:1\r\n\r\n",
                "HTTP/1.1 200 OK\r\nST: urn:x:InternetGatewayDevice:1\r\nLOCATION: https://1.2.3.4/\r\n\r\n",
                "HTTP/1.1 200 OK\r\nST: urn:x:InternetGatewayDevice:1\r\nLOCATION: http://router.example/\r\n\r\n",
                "HTTP/1.1 200 OK\r\nST: urn:x:InternetGatewayDevice:1\r\nLOCATION: /rootDesc.xml\r\n\r\n",
        };
        struct ssdp_reply r;
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(ssdp_parse(bad[i], strlen(bad[i]), &r), ERR_FORMAT);
}

static void test_urls(void **state)
{
        (void)state;
        static const struct {
                const char *text, *want;   /* want NULL: refused */
        } rows[] = {
                {"http://192.168.1.1:5000/ctl/IPConn", "http://192.168.1.1:5000/ctl/IPConn"},
                {"HTTP://192.168.1.1/x?y=z", "http://192.168.1.1:80/x?y=z"},
                {"http://192.168.1.1:5000", "http://192.168.1.1:5000/"},
                {"/ctl/IPConn", "http://192.168.1.1:49152/ctl/IPConn"},
                {"ctl/IPConn", "http://192.168.1.1:49152/ctl/IPConn"},
                {"http://192.168.1.2:5000/ctl", NULL},
                {"http://user@192.168.1.1:5000/ctl", NULL},
                {"http://192.168.1.1:0/", NULL},
                {"http://192.168.1.1:/", NULL},
                {"http://192.168.1.1:65536/", NULL},
                {"http://192.168.1.1:80a/", NULL},
                {"http://[::1]:80/", NULL},
                {"http://127.0.0.1/", NULL},
                {"http://", NULL},
                {"http:///", NULL},
                {"file:///etc/passwd", NULL},
                {"gopher://192.168.1.1/", NULL},
                {"/a b", NULL},
                {"/a\r\nX: y", NULL},
                {"/\xc3\xa4", NULL},
                {"/a#b", NULL},
                {"", NULL},
        };
        struct ip host = ip_v4(192, 168, 1, 1);
        struct upnp_url base = {.port = 49152, .path = "/desc.xml"};
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct upnp_url u;
                char text[UPNP_URL_MAX];
                enum err e = upnp_url_parse(rows[i].text, strlen(rows[i].text), host, &base, &u);
                if (e != (rows[i].want != NULL ? ERR_NONE : ERR_FORMAT))
                        fail_msg("%s: %s", rows[i].text, err_str(e));
                if (rows[i].want != NULL)
                        assert_string_equal(upnp_url_str(&u, host, text), rows[i].want);
        }
}

static void test_long_paths(void **state)
{
        (void)state;
        struct upnp_url base = {.port = 1, .path = "/"}, u;
        char text[UPNP_URL_MAX], path[UPNP_PATH_MAX + 1];
        memset(path, 'a', sizeof(path));
        path[0] = '/';
        assert_int_equal(upnp_url_parse(path, UPNP_PATH_MAX - 1, ip_v4(10, 0, 0, 1), &base, &u), ERR_NONE);
        assert_int_equal(strlen(upnp_url_str(&u, ip_v4(255, 255, 255, 255), text)), strlen("http://255.255.255.255:1") + UPNP_PATH_MAX - 1);
        assert_int_equal(upnp_url_parse(path, UPNP_PATH_MAX, ip_v4(10, 0, 0, 1), &base, &u), ERR_FORMAT);
        assert_int_equal(upnp_url_parse(path + 1, UPNP_PATH_MAX - 1, ip_v4(10, 0, 0, 1), &base, &u), ERR_FORMAT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_answer),
                cmocka_unit_test(test_cut_short),
                cmocka_unit_test(test_not_a_router),
                cmocka_unit_test(test_urls),
                cmocka_unit_test(test_long_paths),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
