/* One connection to a relay over TLS: who is trusted, and what goes out before the relay has said a word. */
#include "tests/unit/magicsock_oneconn.h"
#include "tests/unit/tls_server.h"

static struct {
        struct key_private key;
        char head[2048];
        bool unasked;   /* ClientInfo came without a word from us */
} tls;

static bool read_full(int fd, SSL *ssl, uint8_t *out, size_t n)
{
        for (ssize_t got; n > 0; out += got, n -= (size_t)got)
                if ((got = server_read(fd, ssl, out, n)) <= 0)
                        return false;
        return true;
}

static bool read_head(int fd, SSL *ssl)
{
        memset(tls.head, 0, sizeof(tls.head));
        for (size_t n = 0; strstr(tls.head, "\r\n\r\n") == NULL; n++)
                if (n == sizeof(tls.head) - 1 || !read_full(fd, ssl, (uint8_t *)tls.head + n, 1))
                        return false;
        return true;
}

static size_t read_client_info(int fd, SSL *ssl, uint8_t body[256])
{
        uint8_t b[DERP_HEAD_LEN];
        struct derp_head h;
        if (!read_full(fd, ssl, b, sizeof(b)) || derp_head_parse(b, sizeof(b), &h) != ERR_NONE
                || h.type != DERP_CLIENT_INFO || h.len > 256 || !read_full(fd, ssl, body, h.len))
                return 0;
        return h.len;
}

static void serve_login(struct server *s, int fd, SSL *ssl)
{
        uint8_t head[DERP_HEAD_LEN] = {DERP_SERVER_KEY}, body[256], info[SRV_INFO_LEN];
        static const char OK[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n\r\n";
        struct node_public pub = key_node_public(&tls.key);
        (void)s;
        if (!read_head(fd, ssl))
                return;
        store_be32(head + 1, 8 + KEY_LEN);
        server_write(fd, ssl, OK, sizeof(OK) - 1);
        server_write(fd, ssl, head, sizeof(head));
        server_write(fd, ssl, "DERP\xf0\x9f\x94\x91", 8);
        server_write(fd, ssl, pub.b, KEY_LEN);
        size_t n = read_client_info(fd, ssl, body);
        srv_info(&tls.key, body, n, info);
        head[0] = DERP_SERVER_INFO;
        store_be32(head + 1, sizeof(info));
        server_write(fd, ssl, head, sizeof(head));
        server_write(fd, ssl, info, sizeof(info));
        while (server_read(fd, ssl, body, sizeof(body)) > 0)
                continue;
}

static void serve_unasked(struct server *s, int fd, SSL *ssl)
{
        uint8_t body[256];
        (void)s;
        tls.unasked = read_head(fd, ssl) && read_client_info(fd, ssl, body) > 0;
}

static void by_tls(struct server *s, bool meta, void (*serve)(struct server *, int, SSL *))
{
        memset(&tls, 0, sizeof(tls));
        key_generate(&tls.key);
        server_use_tls(s, NULL, -60, 3600, meta);
        server_start(s, 1, serve);
        t.m.plain = false;
        t.nodes[0].derp_port = s->port;
        t.nodes[0].insecure = true;
}

static void end_tls(struct server *s)
{
        derp_conn_free(t.c);
        t.c = NULL;
        server_stop(s);
}

static void test_tls(void **state)
{
        (void)state;
        struct server s = {0};
        by_tls(&s, false, serve_login);
        derp_conn_redial(t.c, now());
        UNTIL(t.ups == 1);
        end_tls(&s);
        assert_non_null(strstr(tls.head, "Upgrade: DERP\r\n"));
        assert_null(strstr(tls.head, "Derp-Fast-Start"));
}

/* The certificates name the relay's key: the login goes out with the request. */
static void test_fast_start(void **state)
{
        (void)state;
        struct server s = {0};
        by_tls(&s, true, serve_unasked);
        derp_conn_redial(t.c, now());
        down_with("the relay refused this node");   /* it hangs up then */
        end_tls(&s);
        assert_true(tls.unasked);
        assert_non_null(strstr(tls.head, "Derp-Fast-Start: 1\r\n"));
}

/* Somebody else's certificate is the end of the attempt: the next node is not asked. */
static void test_untrusted(void **state)
{
        (void)state;
        struct server s = {0};
        char path[64];
        EVP_PKEY *other = EVP_EC_gen("P-256");
        X509 *cert = cert_make(other, "other", NULL, -60, 3600);
        cert_trust(cert, path);
        by_tls(&s, false, serve_login);
        t.nodes[0].insecure = false;
        t.nodes[1] = t.nodes[0];
        t.nodes[1].derp_port = t.relay.port;
        t.region.node_count = 2;
        derp_conn_redial(t.c, now());
        UNTIL(t.downs == 1);
        assert_non_null(strstr(t.detail, "certificate is not trusted: self"));
        assert_int_equal(t.relay.accepted, 0);
        assert_int_equal(t.c->first, 1);   /* by the next attempt it is */
        end_tls(&s);
        unsetenv("SSL_CERT_FILE");
        unlink(path);
        X509_free(cert);
        EVP_PKEY_free(other);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
        const struct CMUnitTest tests[] = {
                T(test_tls), T(test_fast_start), T(test_untrusted),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
