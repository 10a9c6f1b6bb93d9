/* The local API: what is answered, who may, late answers, clients that leave. */
#include <pwd.h>

#include "tests/unit/localapi_client.h"

/* ---- what is answered ---- */

static void test_answers(void **state)
{
        (void)state;
        struct answer a = ask("GET /localapi/v0/plain HTTP/1.1\r\n" HOST "\r\n");
        assert_int_equal(a.status, 200);
        assert_string_equal(a.body, "{\n\t\"n\": 7,\n\t\"s\": \" \\n  x\",\n\t\"a\": [\n\t\t1\n\t]\n}\n");
        assert_string_equal(head_value(&a, "Content-Type"), "application/json");
        assert_string_equal(head_value(&a, "Tailscale-Version"), "1.2.3-test");
        assert_string_equal(head_value(&a, "Tailscale-Cap"), "142");
        assert_string_equal(head_value(&a, "X-Frame-Options"), "DENY");
        assert_string_equal(head_value(&a, "X-Content-Type-Options"), "nosniff");
        assert_non_null(strstr(head_value(&a, "Content-Security-Policy"), "default-src 'none'"));
        forget(&a);
        a = ask("HEAD /localapi/v0/plain HTTP/1.1\r\n" HOST "\r\n");
        assert_int_equal(a.status, 200);
        assert_string_equal(a.body, "");
        forget(&a);
        a = ask("POST /localapi/v0/empty HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}");
        assert_int_equal(a.status, 204);
        assert_string_equal(head_value(&a, "Content-Type"), "");
        forget(&a);
        a = ask("GET /localapi/v0/fault HTTP/1.1\r\n" HOST "\r\n");
        assert_int_equal(a.status, 500);
        assert_string_equal(a.body, "{\"error\":\"why \\\"so\\\"\"}\n");
        forget(&a);
        a = ask("GET /localapi/v0/nosuch HTTP/1.1\r\n" HOST "\r\n");
        assert_int_equal(a.status, 404);
        assert_string_equal(head_value(&a, "Content-Type"), "text/plain; charset=utf-8");
        forget(&a);
        expect("GET /localapi/v0/float HTTP/1.1\r\n" HOST "\r\n", 200, "[0.000601045,0.1,0]\n");
}

static void test_keep_alive(void **state)
{
        (void)state;
        int fd = dial();
        for (int i = 0; i < 3; i++) {
                say(fd, "GET /localapi/v0/echo?k=1 HTTP/1.1\r\n" HOST "\r\n");
                struct answer a = hear(fd, false);
                assert_int_equal(a.status, 200);
                assert_false(a.closed);
                forget(&a);
        }
        close(fd);
}

static void test_parameters(void **state)
{
        (void)state;
        expect("GET /localapi/v0/echo?k=a%20b HTTP/1.1\r\n" HOST "\r\n", 200,
                "query=a b param=a b body= path=\n");
        struct answer a = ask("POST /localapi/v0/echo HTTP/1.1\r\n" HOST "Content-Type: "
                              "application/x-www-form-urlencoded\r\nContent-Length: 13\r\n\r\nj=1&k=x%2By+z");
        assert_non_null(strstr(a.body, "query=- param=x+y z body="));
        forget(&a);
        /* The query goes before the body, and a body that is no form is none. */
        a = ask("POST /localapi/v0/echo?k=q HTTP/1.1\r\n" HOST "Content-Type: application/x-www-form-urlencoded\r\n"
                "Content-Length: 3\r\n\r\nk=b");
        assert_non_null(strstr(a.body, "query=q param=q "));
        forget(&a);
        a = ask("POST /localapi/v0/echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nk=b");
        assert_non_null(strstr(a.body, "query=- param=- body=k=b "));
        forget(&a);
        expect("GET /localapi/v0/files/a/b%20c HTTP/1.1\r\n" HOST "\r\n", 200,
                "query=- param=- body= path=a/b c\n");
        expect("GET /localapi/v0/files/ HTTP/1.1\r\n" HOST "\r\n", 200, NULL);
}

static void test_paths_and_methods(void **state)
{
        (void)state;
        static const char *const nowhere[] = {"/nosuch", "/localapi/", "/localapi/v0", "/localapi/v0/",
                "/localapi/v1/plain", "/localapi/v0/plain/", "/localapi/v0/Plain", "/localapi/v0/files",
                "/localapi//v0/plain", "*", "/localapi/v0/plai", "/localapi/v0/../v0/plain"};
        for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
                char req[256];
                snprintf(req, sizeof(req), "GET %s HTTP/1.1\r\n" HOST "\r\n", nowhere[i]);
                expect(req, 404, NULL);
        }
        expect("GET / HTTP/1.1\r\n" HOST "\r\n", 200, NULL);
        expect("DELETE /localapi/v0/plain HTTP/1.1\r\n" HOST "\r\n", 405, NULL);
        expect("PATCH /localapi/v0/echo HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 400, NULL);
        expect("BREW /localapi/v0/plain HTTP/1.1\r\n" HOST "\r\n", 405, NULL);
        expect("CONNECT / HTTP/1.1\r\n" HOST "\r\n", 405, NULL);
        assert_int_equal(t.calls, 0);
}

/* ---- who may ---- */

static void test_no_web_page(void **state)
{
        (void)state;
        static const char *const heads[] = {"Host: localhost\r\n", "Host: local-tailscaled.sock:80\r\n",
                "Host: LOCAL-TAILSCALED.SOCK\r\n", "Host: evil.example\r\n", HOST "Origin: null\r\n",
                HOST "Origin: https://evil.example\r\n", HOST "origin: x\r\n", HOST "Referer: http://x/\r\n",
                HOST "rEfErEr: y\r\n", HOST "Host: evil.example\r\n", ("Host: evil.example\r\n" HOST)};
        for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
                char req[256];
                /* Before routing: the page does not even learn what exists. */
                static const char *const paths[] = {"/localapi/v0/echo", "/nosuch", "/"};
                for (size_t p = 0; p < 3; p++) {
                        snprintf(req, sizeof(req), "GET %s HTTP/1.1\r\n%s\r\n", paths[p], heads[i]);
                        struct answer a = ask(req);
                        if (a.status != 403 && a.status != 400)
                                print_error("%s\n", req);
                        assert_true(a.status == 403 || a.status == 400);
                        forget(&a);
                }
        }
        expect("GET /localapi/v0/plain HTTP/1.1\r\nHost: localhost\r\n\r\n", 403, "invalid localapi request\n");
        expect("GET /localapi/v0/plain HTTP/1.1\r\n\r\n", 400, NULL);
        assert_int_equal(t.calls, 0);
        expect("GET /localapi/v0/echo HTTP/1.0\r\n\r\n", 200, NULL);
        expect("GET /localapi/v0/echo HTTP/1.1\r\n" HOST "Origin: \r\nReferer:\r\n\r\n", 200, NULL);
        expect("GET /localapi/v0/echo HTTP/1.1\r\n" HOST "Sec-Tailscale: localapi\r\n\r\n", 200, NULL);
}

static void expect_as(uid_t uid, const char *request, int status, const char *body)
{
        assert_int_equal(seteuid(uid), 0);
        int fd = dial();
        assert_int_equal(seteuid(0), 0);
        say(fd, request);
        struct answer a = hear(fd, false);
        assert_int_equal(a.status, status);
        if (body != NULL)
                assert_string_equal(a.body, body);
        forget(&a);
        close(fd);
        turn(3);
}

static void test_rights(void **state)
{
        (void)state;
        const struct passwd *pw = getpwnam("nobody");
        if (geteuid() != 0 || pw == NULL)
                skip_because("needs root, and a user \"nobody\" to be");
        uid_t nobody = pw->pw_uid;
        char digits[16], text[64];
        snprintf(digits, sizeof(digits), "%d", (int)nobody);
        expect_as(0, "GET /localapi/v0/who HTTP/1.1\r\n" HOST "\r\n", 200, "uid=0 pid=1 write=1\n");
        static const char *const others[] = {NULL, "", "root", "nosuchuser", "-i", "digits"};
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
                t.operator = others[i] != NULL && strcmp(others[i], "digits") == 0 ? digits : others[i];
                snprintf(text, sizeof(text), "uid=%d pid=1 write=0\n", (int)nobody);
                expect_as(nobody, "GET /localapi/v0/who HTTP/1.1\r\n" HOST "\r\n", 200, text);
                int before = t.calls;
                expect_as(nobody, "GET /localapi/v0/plain HTTP/1.1\r\n" HOST "\r\n", 200, NULL);
                assert_int_equal(t.calls, before + 1);
                expect_as(nobody, "PUT /localapi/v0/plain HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 403, NULL);
                expect_as(nobody, "POST /localapi/v0/empty HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 403, NULL);
                expect_as(nobody, "GET /localapi/v0/files/x HTTP/1.1\r\n" HOST "\r\n", 403, NULL);
                assert_int_equal(t.calls, before + 1);
        }
        /* Who asks is the socket's word alone: no header makes anybody else of him. */
        static const char *const claims[] = {"X-Remote-User: root", "X-Forwarded-For: 127.0.0.1", "Remote-User: root",
                "Authorization: Basic cm9vdDo=", "Tailscale-User-Login: root", "X-Webauth-User: root",
                "Sec-Tailscale: localapi", "Cookie: uid=0", "X-Real-Uid: 0"};
        t.operator = "root";
        for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
                char req[256];
                snprintf(req, sizeof(req), "POST /localapi/v0/empty HTTP/1.1\r\n" HOST "%s\r\nContent-Length: 0\r\n\r\n",
                        claims[i]);
                expect_as(nobody, req, 403, NULL);
        }
        t.operator = "nobody";   /* asked anew with each request */
        expect_as(nobody, "POST /localapi/v0/empty HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 204, NULL);
        t.operator = NULL;
        expect_as(nobody, "POST /localapi/v0/empty HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 403, NULL);
}

/* ---- late answers ---- */

static void test_late(void **state)
{
        (void)state;
        int fd = dial();
        say(fd, "GET /localapi/v0/late HTTP/1.1\r\n" HOST "\r\n");
        turn(20);
        assert_non_null(t.held);
        still_alive();   /* others are not held up */
        lapi_reply_text(t.held, 200, "at last");
        t.held = NULL;
        struct answer a = hear(fd, false);
        assert_int_equal(a.status, 200);
        assert_string_equal(a.body, "at last\n");
        forget(&a);
        /* And the connection goes on. */
        say(fd, "GET /localapi/v0/echo HTTP/1.1\r\n" HOST "\r\n");
        a = hear(fd, false);
        assert_int_equal(a.status, 200);
        forget(&a);
        close(fd);
        turn(10);
        assert_int_equal(t.gone, 0);
}

static void test_client_leaves(void **state)
{
        (void)state;
        int fd = dial();
        say(fd, "GET /localapi/v0/late HTTP/1.1\r\n" HOST "\r\n");
        turn(20);
        assert_non_null(t.held);
        assert_int_equal(t.gone, 0);
        close(fd);
        turn(20);
        assert_int_equal(t.gone, 1);
        assert_null(t.held);
        still_alive();
        assert_int_equal(t.gone, 1);
}

static void test_free_with_waiting(void **state)
{
        (void)state;
        int late = dial(), bus = dial(), half = dial();
        say(late, "GET /localapi/v0/late HTTP/1.1\r\n" HOST "\r\n");
        say(bus, "GET /localapi/v0/bus HTTP/1.1\r\n" HOST "\r\n");
        say(half, "GET /localapi/v0/ech");
        turn(20);
        assert_non_null(t.held);
        assert_non_null(t.stream);
        lapi_server_free(t.server);
        t.server = NULL;
        assert_int_equal(t.gone, 2);
        struct answer a = hear(late, false);
        assert_true(a.closed);
        forget(&a);
        close(late);
        close(bus);
        close(half);
}

/* Questions that are in the sockets when the daemon stops are not taken up any more: nobody would answer them. */
static void test_free_with_unread(void **state)
{
        (void)state;
        int fds[4];
        for (size_t i = 0; i < 4; i++)
                fds[i] = dial();
        turn(10);   /* accepted */
        static const char request[] = "GET /localapi/v0/late HTTP/1.1\r\n" HOST "\r\n";
        for (size_t i = 0; i < 4; i++)
                assert_int_equal(send(fds[i], request, sizeof(request) - 1, MSG_NOSIGNAL), sizeof(request) - 1);
        int calls = t.calls;
        lapi_server_free(t.server);
        t.server = NULL;
        assert_int_equal(t.calls, calls);
        assert_null(t.held);
        for (size_t i = 0; i < 4; i++)
                close(fds[i]);
}

int main(void)
{
        quiet();
        const struct CMUnitTest tests[] = {
                CASE(test_answers), CASE(test_keep_alive), CASE(test_parameters), CASE(test_paths_and_methods),
                CASE(test_no_web_page), CASE(test_rights), CASE(test_late), CASE(test_client_leaves),
                CASE(test_free_with_waiting), CASE(test_free_with_unread),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
