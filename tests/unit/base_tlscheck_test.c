/* Which certificate of a server is good: names, chains, pins, validity. */
#include "base/tlscheck.h"
#include "tests/unit/base_dial_client.h"

struct trust_case {
        const char *what;
        const char *san;
        long from, until;
        const char *host;        /* NULL: 127.0.0.1, else connected to by connect_ip4 */
        const char *cert_name;   /* "PIN" and "pin": the server's, as is and in capitals */
        bool trusted, insecure;
        enum err err;
        const char *says;        /* part of the error */
};

static void check_trust(const struct trust_case *t)
{
        struct client *c;
        struct server s = {0};
        char ca[64] = "";
        char pin[80];
        assert_int_equal(setup((void **)&c), 0);
        c->manual = true;
        server_use_tls(&s, t->san, t->from, t->until, true);
        if (t->trusted)
                cert_trust(s.cert, ca);
        server_pin(&s, pin);
        struct dial_opts opts = {.host = t->host != NULL ? t->host : "127.0.0.1", .tls = DIAL_TLS,
                .cert_name = t->cert_name, .insecure = t->insecure, .timeout_ms = 30000};
        if (t->host != NULL) {
                opts.connect_ip4 = "127.0.0.1";
                opts.connect_ip6 = "none";
        }
        if (t->cert_name != NULL && strcasecmp(t->cert_name, "pin") == 0) {
                for (char *p = pin + 11; t->cert_name[0] == 'p' && *p != '\0'; p++)
                        *p = *p >= 'a' ? (char)(*p - 'a' + 'A') : *p;
                opts.cert_name = pin;
        }
        server_start(&s, 1, serve_until_close);
        opts.port = s.port;
        dial(c, &opts);
        run_while(c, connecting);
        if (stream_error_code(c->stream) != t->err)
                print_error("%s: %s\n", t->what, stream_error(c->stream));
        assert_int_equal(stream_error_code(c->stream), t->err);
        assert_int_equal(c->connected, t->err == ERR_NONE);
        if (t->says != NULL && strstr(stream_error(c->stream), t->says) == NULL)
                fail_msg("%s: %s", t->what, stream_error(c->stream));
        teardown((void **)&c);
        server_stop(&s);
        if (t->err == ERR_NONE)
                assert_string_equal(last_sni, t->host != NULL ? t->host : "");   /* never another name */
        if (t->trusted)
                unlink(ca);
        unsetenv("SSL_CERT_FILE");
}

static void test_trust(void **state)
{
        (void)state;
#define OK_IP "IP:127.0.0.1", -60, 3600
        static const struct trust_case cases[] = {
                {"trusted, by address", OK_IP, NULL, NULL, true, false, ERR_NONE, NULL},
                {"trusted, by name", "DNS:relay.example", -60, 3600, "relay.example", NULL, true, false, ERR_NONE, NULL},
                {"trusted, its own name again", OK_IP, NULL, "127.0.0.1", true, false, ERR_NONE, NULL},
                {"untrusted", OK_IP, NULL, NULL, false, false, ERR_AUTH, "certificate is not trusted: self"},
                {"trusted, another host", "DNS:relay.example", -60, 3600, "other.example", NULL, true, false, ERR_AUTH,
                        "certificate is not trusted: no alternative"},
                {"trusted, expired", "IP:127.0.0.1", -7200, -3600, NULL, NULL, true, false, ERR_AUTH, "expired"},
                {"other name, held", "DNS:front.example", -60, 3600, "relay.example", "front.example", true, false,
                        ERR_NONE, NULL},
                {"other name, not held", "DNS:relay.example", -60, 3600, "relay.example", "front.example", true, false,
                        ERR_AUTH, "ostname mismatch"},
                {"other name, an address", OK_IP, "relay.example", "127.0.0.1", true, false, ERR_NONE, NULL},
                {"other name, untrusted", "DNS:front.example", -60, 3600, "relay.example", "front.example", false, false,
                        ERR_AUTH, "not trusted"},
                {"insecure", "DNS:whatever", -7200, -3600, NULL, NULL, false, true, ERR_NONE, NULL},
                {"insecure, other name still held to", "DNS:front.example", -60, 3600, "relay.example", "front.example",
                        false, true, ERR_AUTH, "not trusted"},
                {"pin", OK_IP, NULL, "PIN", false, false, ERR_NONE, NULL},
                {"pin, by name", "DNS:relay.example", -60, 3600, "relay.example", "PIN", false, false, ERR_NONE, NULL},
                {"pin in capitals", OK_IP, NULL, "pin", false, false, ERR_FORMAT, "malformed"},
                {"pin cut short", OK_IP, NULL, "sha256-raw:00", false, false, ERR_FORMAT, "malformed"},
                {"pin of another", OK_IP, NULL,
                        "sha256-raw:0000000000000000000000000000000000000000000000000000000000000000", false, false,
                        ERR_AUTH, "not the pinned one"},
                {"pin of another, insecure", OK_IP, NULL,
                        "sha256-raw:0000000000000000000000000000000000000000000000000000000000000000", false, true,
                        ERR_AUTH, "not the pinned one"},
                {"pin of another, trusted", OK_IP, NULL,
                        "sha256-raw:0000000000000000000000000000000000000000000000000000000000000000", true, false,
                        ERR_AUTH, "not the pinned one"},
                {"pin, another host", "IP:127.0.0.2", -60, 3600, NULL, "PIN", false, false, ERR_AUTH, "name the host"},
                {"pin, expired", "IP:127.0.0.1", -7200, -3600, NULL, "PIN", false, false, ERR_AUTH, "expired"},
                {"pin, too early", "IP:127.0.0.1", 3600, 7200, NULL, "PIN", false, false, ERR_AUTH, "not yet"},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                check_trust(&cases[i]);
}

/* A pin is about the key that the other side proves to have, not about what else it sends. */
static void test_pin_impersonated(void **state)
{
        struct client *c = *state;
        static const char *const names[] = {"derpkey", "label"};
        for (size_t i = 0; i < 2; i++) {
                struct server s = {0};
                char pin[80];
                server_use_tls(&s, "IP:127.0.0.1", -60, 3600, false);
                server_pin(&s, pin);
                server_impersonate(&s, names[i]);
                server_start(&s, 1, serve_until_close);
                struct dial_opts opts = loopback(s.port, DIAL_TLS);
                opts.cert_name = pin;
                c->connected = c->failed = 0;
                c->manual = true;
                dial(c, &opts);
                run_while(c, connecting);
                assert_int_equal(c->connected, 0);
                assert_int_equal(stream_error_code(c->stream), ERR_AUTH);
                assert_non_null(strstr(stream_error(c->stream), "not trusted"));
                stream_close(c->stream);
                c->stream = NULL;
                server_stop(&s);
        }
}

/* A certificate that the hashed folder has, and one that only the file has. */
static void test_hashed_folder(void **state)
{
        (void)state;
        for (int found = 0; found < 3; found++) {
                struct client *c;
                struct server s = {0};
                char ca[64] = "", dir[] = "/tmp/base_tlscheck_test.XXXXXX", link[96];
                assert_int_equal(setup((void **)&c), 0);
                c->manual = true;
                server_use_tls(&s, "IP:127.0.0.1", -60, 3600, true);
                assert_non_null(mkdtemp(dir));
                assert_false(tls_folder_is_hashed(dir));
                cert_trust(s.cert, ca);
                snprintf(link, sizeof(link), "%s/%08lx.0", dir, X509_NAME_hash_ex(X509_get_subject_name(s.cert), NULL, NULL, NULL));
                assert_int_equal(symlink(found == 1 ? ca : "/dev/null", link), 0);
                assert_true(tls_folder_is_hashed(dir));
                setenv("SSL_CERT_DIR", dir, 1);
                if (found != 2)
                        setenv("SSL_CERT_FILE", found == 1 ? "/dev/null" : "/nowhere", 1);
                server_start(&s, 1, serve_until_close);
                struct dial_opts opts = loopback(s.port, DIAL_TLS);
                dial(c, &opts);
                run_while(c, connecting);
                assert_int_equal(c->connected, found > 0);
                if (found == 0)
                        assert_non_null(strstr(stream_error(c->stream), "file of trusted certificates cannot be read"));
                teardown((void **)&c);
                server_stop(&s);
                unlink(ca);
                unlink(link);
                rmdir(dir);
                assert_false(tls_folder_is_hashed(dir));
                unsetenv("SSL_CERT_FILE");
                unsetenv("SSL_CERT_DIR");
        }
}

static void test_peer_certificates(void **state)
{
        struct client *c = *state;
        struct server s = {0};
        server_use_tls(&s, NULL, -60, 3600, true);
        server_start(&s, 1, serve_until_close);
        struct dial_opts opts = loopback(s.port, DIAL_TLS);
        opts.insecure = true;
        dial(c, &opts);
        run_while(c, connecting);
        assert_int_equal(c->connected, 1);
        unsigned char *der = NULL;
        int n = i2d_X509(s.cert, &der);
        const uint8_t *got = NULL;
        assert_int_equal(stream_peer_cert(c->stream, 0, &got), n);
        assert_memory_equal(got, der, (size_t)n);
        OPENSSL_free(der);
        size_t meta = stream_peer_cert(c->stream, 1, &got);
        assert_true(meta > 0);
        assert_non_null(memmem(got, meta, "derpkey0000", 11));
        assert_int_equal(stream_peer_cert(c->stream, 2, &got), 0);
        stream_close(c->stream);
        c->stream = NULL;
        server_stop(&s);
}

int main(void)
{
        forget_environment();
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_trust),
                cmocka_unit_test(test_hashed_folder),
                cmocka_unit_test_setup_teardown(test_pin_impersonated, setup, teardown),
                cmocka_unit_test_setup_teardown(test_peer_certificates, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
