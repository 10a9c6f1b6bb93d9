#include "daemon/proxy/httphead.h"

#include <stdlib.h>

#include "tests/unit/check.h"

static enum httphead_parsed parse_copy(const char *in, size_t n, struct httphead *h)
{
        char *p = malloc(n ? n : 1);
        assert_non_null(p);
        memcpy(p, in, n);
        enum httphead_parsed got = httphead_parse(p, n, h);
        free(p);
        return got;
}

#define CRLF "\r\n"

static const struct {
        const char *in, *host, *out;
        uint16_t port;
        bool connect, chunked;
        uint64_t body;
} good[] = {
        {"CONNECT beta:22 HTTP/1.1" CRLF "Host: beta:22" CRLF CRLF, "beta", NULL, 22, true, false, 0},
        {"CONNECT [fd7a::1]:443 HTTP/1.0" CRLF CRLF, "fd7a::1", NULL, 443, true, false, 0},
        {"GET http://beta HTTP/1.1\n\n", "beta", "GET / HTTP/1.1" CRLF "Host: beta" CRLF "Connection: close" CRLF CRLF, 80,
                false, false, 0},
        {"GET HTTP://beta:8080/a?b#c HTTP/1.1" CRLF "Host: else" CRLF "Accept: */*" CRLF "Proxy-Connection: keep-alive" CRLF
         "Connection: x-hop, Keep-Alive" CRLF "X-Hop: 1" CRLF "Proxy-Authorization: Basic eA==" CRLF CRLF, "beta",
                "GET /a?b HTTP/1.1" CRLF "Host: beta:8080" CRLF "Connection: close" CRLF "Accept: */*" CRLF CRLF, 8080, false,
                false, 0},
        {"OPTIONS http://[::1]:1?x HTTP/1.1" CRLF CRLF, "::1",
                "OPTIONS /?x HTTP/1.1" CRLF "Host: [::1]:1" CRLF "Connection: close" CRLF CRLF, 1, false, false, 0},
        {"POST http://a/ HTTP/1.1" CRLF "Content-Length: 12" CRLF "Connection: content-length" CRLF CRLF, "a",
                "POST / HTTP/1.1" CRLF "Host: a" CRLF "Connection: close" CRLF "Content-Length: 12" CRLF CRLF, 80, false, false,
                12},
        {"PUT http://a/ HTTP/1.1" CRLF "transfer-encoding:\tchunked " CRLF CRLF, "a",
                "PUT / HTTP/1.1" CRLF "Host: a" CRLF "Connection: close" CRLF "transfer-encoding:\tchunked " CRLF CRLF, 80, false,
                true, 0},
};

static void heads_and_each_of_their_beginnings(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                struct httphead h;
                size_t n = strlen(good[i].in);
                for (size_t cut = 0; cut < n; cut++)
                        assert_int_equal(parse_copy(good[i].in, cut, &h), HTTPHEAD_MORE);
                assert_int_equal(parse_copy(good[i].in, n, &h), HTTPHEAD_DONE);
                assert_int_equal(h.len, n);
                assert_string_equal(h.host, good[i].host);
                assert_int_equal(h.port, good[i].port);
                assert_int_equal(h.connect, good[i].connect);
                assert_int_equal(h.chunked, good[i].chunked);
                assert_int_equal(h.body, good[i].body);
                struct buf b;
                buf_init(&b, 4096);
                httphead_rewrite(good[i].in, &h, &b);
                if (good[i].out != NULL)
                        assert_string_equal(b.data, good[i].out);
                buf_done(&b);
        }
}

static void wrong_heads_have_their_answer(void **state)
{
        (void)state;
        static const struct {
                const char *in;
                int status;
                const char *why;
        } rows[] = {
                {"GET / HTTP/1.1\r\n\r\n", 400, "http://"},
                {"GET https://a/ HTTP/1.1\r\n\r\n", 400, "http://"},
                {"OPTIONS * HTTP/1.1\r\n\r\n", 400, "http://"},
                {"GET http://a/\r\n\r\n", 400, "no HTTP"},
                {"\r\n\r\n", 400, "no HTTP"},
                {"hello\n\n", 400, "no HTTP"},
                {"GET http://a/ HTTP/2.0\r\n\r\n", 505, "HTTP/1.1"},
                {"G(T http://a/ HTTP/1.1\r\n\r\n", 400, "no HTTP"},
                {"GET http://a/\x01 HTTP/1.1\r\n\r\n", 400, "characters"},
                {"GET http://u@a/ HTTP/1.1\r\n\r\n", 400, "user"},
                {"GET http:/// HTTP/1.1\r\n\r\n", 400, "host"},
                {"GET http://a:0/ HTTP/1.1\r\n\r\n", 400, "65535"},
                {"GET http://a:65536/ HTTP/1.1\r\n\r\n", 400, "65535"},
                {"GET http://a:x/ HTTP/1.1\r\n\r\n", 400, "number"},
                {"GET http://a:/ HTTP/1.1\r\n\r\n", 400, "number"},
                {"GET http://[::1/ HTTP/1.1\r\n\r\n", 400, "]"},
                {"GET http://[::1]x/ HTTP/1.1\r\n\r\n", 400, "number"},
                {"CONNECT a HTTP/1.1\r\n\r\n", 400, "missing"},
                {"CONNECT :22 HTTP/1.1\r\n\r\n", 400, "host"},
                {"GET http://a/ HTTP/1.1\r\nA : b\r\n\r\n", 400, "malformed"},
                {"GET http://a/ HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400, "malformed"},
                {"GET http://a/ HTTP/1.1\r\nA: b\rC: d\r\n\r\n", 400, "middle"},
                {"GET http://a/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, "twice"},
                {"GET http://a/ HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", 400, "number"},
                {"GET http://a/ HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400, "number"},
                {"GET http://a/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "both"},
                {"GET http://a/ HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, "chunked"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct httphead h;
                assert_int_equal(parse_copy(rows[i].in, strlen(rows[i].in), &h), HTTPHEAD_BAD);
                assert_int_equal(h.status, rows[i].status);
                assert_non_null(strstr(h.why, rows[i].why));
        }
}

static void what_is_too_long(void **state)
{
        (void)state;
        struct httphead h;
        char *in = malloc(HTTPHEAD_MAX);
        assert_non_null(in);
        memset(in, 'a', HTTPHEAD_MAX);
        assert_int_equal(httphead_parse(in, HTTPHEAD_MAX - 1, &h), HTTPHEAD_MORE);
        assert_int_equal(httphead_parse(in, HTTPHEAD_MAX, &h), HTTPHEAD_BAD);
        assert_int_equal(h.status, 431);
        size_t n = (size_t)snprintf(in, HTTPHEAD_MAX, "GET http://a/ HTTP/1.1\r\n");
        for (int i = 0; i <= HTTPHEAD_LINES_MAX; i++)
                n += (size_t)snprintf(in + n, HTTPHEAD_MAX - n, "a: b\r\n");
        n += (size_t)snprintf(in + n, HTTPHEAD_MAX - n, "\r\n");
        assert_int_equal(httphead_parse(in, n, &h), HTTPHEAD_BAD);
        assert_int_equal(h.status, 431);
        free(in);
}

/* In pieces of every size the same bytes are the body. */
static void bodies_end_where_they_end(void **state)
{
        (void)state;
        static const struct {
                bool chunked;
                uint64_t length;
                const char *in;
                size_t take;
                int end;
        } rows[] = {
                {false, 0, "next", 0, BODY_END},
                {false, 4, "bodynext", 4, BODY_END},
                {false, 9, "body", 4, BODY_BYTES},
                {true, 0, "4\r\nbody\r\n0\r\n\r\nnext", 14, BODY_END},
                {true, 0, "a;x=y\r\n0123456789\r\n0\r\nT: 1\r\n\r\nnext", 30, BODY_END},
                {true, 0, "4\nbody\n0\n\nnext", 1, BODY_BAD},
                {true, 0, "4\r\nbo", 5, BODY_DATA},
                {true, 0, "x\r\n", 0, BODY_BAD},
                {true, 0, "4\r\nbodyx", 7, BODY_BAD},
                {true, 0, "0123456789abcdef0\r\n", 15, BODY_BAD},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                size_t n = strlen(rows[i].in);
                for (size_t piece = 1; piece <= n; piece++) {
                        struct httphead h = {.chunked = rows[i].chunked, .body = rows[i].length};
                        struct httpbody b;
                        size_t took = 0;
                        httpbody_init(&b, &h);
                        for (size_t at = 0; at < n; at += piece)
                                took += httpbody_take(&b, (const uint8_t *)rows[i].in + at, n - at < piece ? n - at : piece);
                        assert_int_equal(took, rows[i].take);
                        assert_int_equal(b.state, rows[i].end);
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(heads_and_each_of_their_beginnings),
                cmocka_unit_test(wrong_heads_have_their_answer),
                cmocka_unit_test(what_is_too_long),
                cmocka_unit_test(bodies_end_where_they_end),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
