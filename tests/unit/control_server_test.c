/* Login server URLs, the published key, the upgrade, and what is said when any of it fails. */
#include "daemon/control/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/control/c2n.h"
#include "daemon/control/fault.h"

static void test_urls(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                bool ok, tls;
                uint16_t port;
                const char *host, *authority, *base;
        } ROWS[] = {
                {"", true, true, 443, "controlplane.tailscale.com", "controlplane.tailscale.com:443",
                 "https://controlplane.tailscale.com"},
                {"https://hs.example.org", true, true, 443, "hs.example.org", "hs.example.org:443",
                 "https://hs.example.org"},
                {"https://hs.example.org:8443///", true, true, 8443, "hs.example.org", "hs.example.org:8443",
                 "https://hs.example.org:8443"},
                {"HTTP://10.0.0.1:8090/", true, false, 8090, "10.0.0.1", "10.0.0.1:8090",
                 "HTTP://10.0.0.1:8090"},
                {"http://[2001:db8::1]:8090", true, false, 8090, "2001:db8::1", "[2001:db8::1]:8090",
                 "http://[2001:db8::1]:8090"},
                {"http://host/prefix/", true, false, 80, "host", "host:80", "http://host/prefix"},
                {"http://host:", true, false, 80, "host", "host:80", "http://host:"},
                {"hs.example.org", false, false, 0, NULL, NULL, NULL},
                {"ftp://host", false, false, 0, NULL, NULL, NULL},
                {"https://", false, false, 0, NULL, NULL, NULL},
                {"https:///path", false, false, 0, NULL, NULL, NULL},
                {"https://user@host", false, false, 0, NULL, NULL, NULL},
                {"https://host:0", false, false, 0, NULL, NULL, NULL},
                {"https://host:65536", false, false, 0, NULL, NULL, NULL},
                {"https://host:8o", false, false, 0, NULL, NULL, NULL},
                {"https://[::1", false, false, 0, NULL, NULL, NULL},
                {"https://[::1]x", false, false, 0, NULL, NULL, NULL},
                {"https://[host]", false, false, 0, NULL, NULL, NULL},
                {"https://ho st", false, false, 0, NULL, NULL, NULL},
                {"https://host\r\nX: y", false, false, 0, NULL, NULL, NULL},
                {"https://host?x", false, false, 0, NULL, NULL, NULL},
        };
        for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
                struct server_url u;
                enum err e = server_url_parse(ROWS[i].text, &u);
                assert_int_equal(e, ROWS[i].ok ? ERR_NONE : ERR_FORMAT);
                if (!ROWS[i].ok)
                        continue;
                assert_int_equal(u.tls, ROWS[i].tls);
                assert_int_equal(u.port, ROWS[i].port);
                assert_string_equal(u.host, ROWS[i].host);
                assert_string_equal(u.authority, ROWS[i].authority);
                assert_string_equal(u.base, ROWS[i].base);
        }
        char *longest = malloc(2000);
        memset(longest, 'a', 1999);
        longest[1999] = '\0';
        memcpy(longest, "http://", 7);
        struct server_url u;
        assert_int_equal(server_url_parse(longest, &u), ERR_FORMAT);
        free(longest);
}

#define PUB  "5050505050505050505050505050505050505050505050505050505050505050"
#define ZERO "0000000000000000000000000000000000000000000000000000000000000000"

static void test_key(void **state)
{
        (void)state;
        static const char good[] = "{\"legacyPublicKey\":\"mkey:" ZERO "\",\"publicKey\":\"mkey:" PUB "\"}\n";
        struct machine_public k;
        assert_int_equal(server_key_parse(good, sizeof(good) - 1, &k), ERR_NONE);
        assert_int_equal(k.b[0], 0x50);
        for (size_t n = 1; n < sizeof(good) - 2; n++)
                assert_int_equal(server_key_parse(good, n, &k), ERR_FORMAT);
        assert_int_equal(server_key_parse("", 0, &k), ERR_UNSUPPORTED);
        assert_int_equal(server_key_parse(PUB, 64, &k), ERR_UNSUPPORTED);
        static const char zero[] = "{\"publicKey\":\"mkey:" ZERO "\"}";
        assert_int_equal(server_key_parse(zero, sizeof(zero) - 1, &k), ERR_UNSUPPORTED);
        assert_int_equal(server_key_parse("[]", 2, &k), ERR_FORMAT);
        assert_int_equal(server_key_parse("{\"publicKey\":3}", 15, &k), ERR_FORMAT);
}

static void test_early(void **state)
{
        (void)state;
        static const char early[] = "\xff\xff\xffTS\0\0\0\x02{}\0\0\0\x04";
        static const char settings[] = "\0\0\0\x04\0\0\0\0\0";
        size_t n = 99;
        for (size_t len = 0; len < 11; len++)
                assert_int_equal(server_early_parse(early, len, &n), ERR_SHORT);
        assert_int_equal(server_early_parse(early, sizeof(early) - 1, &n), ERR_NONE);
        assert_int_equal(n, 11);
        assert_int_equal(server_early_parse(early, 11, &n), ERR_NONE);
        assert_int_equal(n, 11);
        for (size_t len = 1; len < sizeof(settings); len++) {
                n = 99;
                assert_int_equal(server_early_parse(settings, len, &n), ERR_NONE);
                assert_int_equal(n, 0);
        }
        assert_int_equal(server_early_parse("\xff\xff\xffTX\0\0\0\0", 9, &n), ERR_NONE);
        assert_int_equal(n, 0);
        /* A length that nobody may make us wait for. */
        assert_int_equal(server_early_parse("\xff\xff\xffTS\0\1\0\0", 9, &n), ERR_SHORT);
        assert_int_equal(server_early_parse("\xff\xff\xffTS\0\1\0\1", 9, &n), ERR_FULL);
        assert_int_equal(server_early_parse("\xff\xff\xffTS\xff\xff\xff\xff", 9, &n), ERR_FULL);
}

static void test_upgrade(void **state)
{
        (void)state;
        struct server_url u;
        struct buf b;
        uint8_t init[CNOISE_INITIATION_LEN] = {0, 113};
        assert_int_equal(server_url_parse("http://h:8090", &u), ERR_NONE);
        buf_init(&b, 4096);
        server_upgrade_request(&u, init, &b);
        assert_non_null(strstr(b.data, "POST /ts2021 HTTP/1.1\r\nHost: h:8090\r\n"));
        assert_non_null(strstr(b.data, "\r\nX-Tailscale-Handshake: AHEA"));
        assert_string_equal(b.data + b.len - 4, "\r\n\r\n");
        buf_done(&b);

        static const char good[] =
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: tailscale-control-protocol\r\n"
                "Connection: upgrade\r\n\r\n";
        char noise[256];
        struct upgrade_answer a;
        memcpy(noise, good, sizeof(good) - 1);
        memcpy(noise + sizeof(good) - 1, "\x02\0\x30", 3);
        assert_int_equal(server_upgrade_parse(noise, sizeof(good) + 2, &a), ERR_NONE);
        assert_true(a.upgraded);
        assert_int_equal(a.head_len, sizeof(good) - 1);
        for (size_t n = 0; n < sizeof(good) - 1; n++)
                assert_int_equal(server_upgrade_parse(good, n, &a), ERR_SHORT);

        static const struct {
                const char *text;
                enum err err;
                int status;
                bool upgraded;
        } ROWS[] = {
                {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n", ERR_NONE, 101, false},
                {"HTTP/1.1 101 X\r\nX-Upgrade: tailscale-control-protocol\r\n\r\n", ERR_NONE, 101, false},
                {"HTTP/1.1 200 OK\r\nUpgrade: tailscale-control-protocol\r\n\r\n", ERR_NONE, 200, false},
                {"HTTP/1.0 301 Moved\r\nLocation: https://h/\r\n\r\n", ERR_NONE, 301, false},
                {"HTTP/1.1 500\r\n\r\n", ERR_NONE, 500, false},
                {"HTTP/1.1 5x0\r\n\r\n", ERR_FORMAT, 0, false},
                {"HTTP/2 200\r\n\r\n", ERR_FORMAT, 0, false},
                {"SSH-2.0-x\r\n", ERR_FORMAT, 0, false},
                {"HTTP/1.1\r\n\r\n", ERR_FORMAT, 0, false},
        };
        for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
                assert_int_equal(server_upgrade_parse(ROWS[i].text, strlen(ROWS[i].text), &a), ROWS[i].err);
                if (ROWS[i].err != ERR_NONE)
                        continue;
                assert_int_equal(a.status, ROWS[i].status);
                assert_int_equal(a.upgraded, ROWS[i].upgraded);
        }
        char *endless = calloc(1, SERVER_HEAD_MAX);
        memcpy(endless, "HTTP/1.1 200 OK\r\n", 17);
        assert_int_equal(server_upgrade_parse(endless, SERVER_HEAD_MAX, &a), ERR_FULL);
        free(endless);
}

static void test_auth_url(void **state)
{
        (void)state;
        struct server_url plain, tls;
        assert_int_equal(server_url_parse("http://h", &plain), ERR_NONE);
        assert_int_equal(server_url_parse("https://h", &tls), ERR_NONE);
        assert_true(server_auth_url_ok(&tls, "https://h/register/x?y=1"));
        assert_true(server_auth_url_ok(&plain, "http://h/register/x"));
        assert_false(server_auth_url_ok(&tls, "http://h/register/x"));
        assert_false(server_auth_url_ok(&plain, "file:///etc/passwd"));
        assert_false(server_auth_url_ok(&plain, "javascript:alert(1)"));
        assert_false(server_auth_url_ok(&plain, "http://"));
        assert_false(server_auth_url_ok(&plain, "http://h/\x1b[2J"));
        assert_false(server_auth_url_ok(&plain, ""));
}

/* Every kind of failure names the server and has a text of its own of at most two lines. */
static void test_fault_texts(void **state)
{
        (void)state;
        struct server_url u;
        char seen[CONTROL_ERROR_INTERNAL + 1][FAULT_TEXT_MAX];
        assert_int_equal(server_url_parse("http://hs.example:8090", &u), ERR_NONE);
        for (int k = 0; k <= CONTROL_ERROR_INTERNAL; k++) {
                const char *text = fault_text((enum control_error_kind)k, &u, "detail", "", seen[k]);
                assert_non_null(strstr(text, "http://hs.example:8090"));
                const char *nl = strchr(text, '\n');
                assert_true(nl == NULL || strchr(nl + 1, '\n') == NULL);
                for (int i = 0; i < k; i++)
                        assert_string_not_equal(seen[i], text);
        }
        char out[FAULT_TEXT_MAX];
        assert_non_null(strstr(fault_text(CONTROL_ERROR_AUTH_KEY, &u, "", "invalid pre auth key", out),
                               "invalid pre auth key"));
        assert_int_equal(fault_of_transport(ERR_NOT_FOUND, ""), CONTROL_ERROR_NAME);
        assert_int_equal(fault_of_transport(ERR_AUTH, ""), CONTROL_ERROR_TLS);
        assert_int_equal(fault_of_transport(ERR_TIMEOUT, ""), CONTROL_ERROR_TIMEOUT);
        assert_int_equal(fault_of_transport(ERR_IO, "connection refused"), CONTROL_ERROR_REFUSED);
        assert_int_equal(fault_of_transport(ERR_IO, "no route to host"), CONTROL_ERROR_NO_ROUTE);
        assert_int_equal(fault_of_transport(ERR_IO, "odd"), CONTROL_ERROR_SERVER);
}

static void test_c2n(void **state)
{
        (void)state;
        static const char echo[] = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
        struct buf b;
        buf_init(&b, 4096);
        assert_int_equal(c2n_answer(echo, sizeof(echo) - 1, &b), ERR_NONE);
        assert_string_equal(b.data, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
        buf_clear(&b);
        for (size_t n = 0; n < sizeof(echo) - 4; n++)
                assert_int_equal(c2n_answer(echo, n, &b), ERR_FORMAT);
        static const char other[] = "GET /debug/prefs?x HTTP/1.1\r\n\r\n";
        assert_int_equal(c2n_answer(other, sizeof(other) - 1, &b), ERR_NONE);
        assert_memory_equal(b.data, "HTTP/1.1 400 ", 13);
        buf_done(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_urls),        cmocka_unit_test(test_key),
                cmocka_unit_test(test_upgrade), cmocka_unit_test(test_early),     cmocka_unit_test(test_auth_url),
                cmocka_unit_test(test_fault_texts), cmocka_unit_test(test_c2n),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
