/* The local API over a real unix socket: what is answered, who may, late answers, streams, and hostile clients.
 * Server and client share one thread: reading an answer turns the loop. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "daemon/localapi/server.h"
#include "daemon/localapi/socket.h"
#include "tests/unit/check.h"

#define HOST "Host: local-tailscaled.sock\r\n"

static struct {
        char dir[64];
        char path[108];
        struct loop *loop;
        struct lapi_server *server;
        const char *operator;
        int calls;                  /* endpoint functions called */
        struct lapi_req *held;      /* of "late", not answered */
        int gone;
        struct lapi_stream *stream;
        size_t body_len;
} t;

/* ---- endpoints ---- */

static void on_gone(void *arg)
{
        assert_ptr_equal(arg, &t);
        t.gone++;
        t.held = NULL;
        t.stream = NULL;
}

static void ep_plain(void *arg, struct lapi_req *r)
{
        assert_ptr_equal(arg, &t);
        t.calls++;
        (void)lapi_body(r, &t.body_len);
        lapi_reply_json(r, 200, json_pack("{s:i, s:s, s:[i]}", "n", 7, "s", " \n  x", "a", 1), LAPI_TABS);
}

static void ep_echo(void *arg, struct lapi_req *r)
{
        (void)arg;
        t.calls++;
        size_t len;
        const char *q = lapi_query(r, "k"), *body = lapi_body(r, &len);
        char copy[256];
        (void)str_copy(copy, sizeof(copy), q != NULL ? q : "-");
        const char *p = lapi_param(r, "k");
        lapi_reply_text(r, 200, "query=%s param=%s body=%s path=%s", copy, p != NULL ? p : "-", body, lapi_path(r));
}

static void ep_empty(void *arg, struct lapi_req *r)
{
        (void)arg;
        t.calls++;
        lapi_reply_empty(r, 204);
}

static void ep_late(void *arg, struct lapi_req *r)
{
        (void)arg;
        t.calls++;
        t.held = r;
        lapi_on_gone(r, on_gone, &t);
}

static void ep_who(void *arg, struct lapi_req *r)
{
        (void)arg;
        t.calls++;
        lapi_reply_text(r, 200, "uid=%d pid=%d write=%d", (int)lapi_uid(r), (int)lapi_pid(r) == (int)getpid(),
                lapi_may_write(r));
}

static void ep_stream(void *arg, struct lapi_req *r)
{
        (void)arg;
        t.calls++;
        t.stream = lapi_stream_start(r, on_gone, &t);
        assert_non_null(t.stream);
}

static void ep_fault(void *arg, struct lapi_req *r)
{
        (void)arg;
        t.calls++;
        lapi_reply_error(r, "why \"so\"");
}

static void ep_float(void *arg, struct lapi_req *r)
{
        (void)arg;
        lapi_reply_json(r, 200, json_pack("[f,f,i]", 0.000601045, 0.1, 0), LAPI_COMPACT);
}

static const struct lapi_endpoint endpoints[] = {
        {"plain", LAPI_GET | LAPI_HEAD | LAPI_PUT, 405, LAPI_READ, LAPI_PUT, ep_plain},
        {"echo", LAPI_GET | LAPI_POST, 400, LAPI_OPEN, 0, ep_echo},
        {"empty", LAPI_POST, 400, LAPI_WRITE, 0, ep_empty},
        {"late", 0, 0, LAPI_OPEN, 0, ep_late},
        {"who", 0, 0, LAPI_OPEN, 0, ep_who},
        {"bus", LAPI_GET, 405, LAPI_READ, 0, ep_stream},
        {"fault", 0, 0, LAPI_OPEN, 0, ep_fault},
        {"float", 0, 0, LAPI_OPEN, 0, ep_float},
        {"files/", LAPI_GET, 405, LAPI_WRITE, 0, ep_echo},
        {NULL, 0, 0, LAPI_OPEN, 0, NULL},
};

static const char *operator_user(void *arg)
{
        assert_ptr_equal(arg, &t);
        return t.operator;
}

static const struct lapi_ops ops = {endpoints, operator_user, "1.2.3-test", 142};

static int setup(void **state)
{
        (void)state;
        const char *why = "";
        memset(&t, 0, sizeof(t));
        (void)str_copy(t.dir, sizeof(t.dir), "/tmp/lapi-test.XXXXXX");
        if (mkdtemp(t.dir) == NULL || chmod(t.dir, 0755) != 0)
                return -1;
        snprintf(t.path, sizeof(t.path), "%s/sock", t.dir);
        t.loop = loop_new();
        return t.loop == NULL || lapi_server_new(t.loop, t.path, &ops, &t, &t.server, &why) != ERR_NONE ? -1 : 0;
}

static int teardown(void **state)
{
        (void)state;
        lapi_server_free(t.server);
        loop_free(t.loop);
        return access(t.path, F_OK) == 0 ? -1 : rmdir(t.dir);
}

/* ---- a client ---- */

static int dial(void)
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        (void)str_copy(sa.sun_path, sizeof(sa.sun_path), t.path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(fd >= 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        return fd;
}

static void turn(int rounds)
{
        while (rounds-- > 0)
                loop_once(t.loop, 1);
}

/* All of it, however slowly the server reads; false: it hung up. */
static bool say_bytes(int fd, const char *data, size_t len)
{
        for (int idle = 0; len > 0 && idle < 500;) {
                ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
                if (n < 0 && errno != EAGAIN)
                        return false;
                if (n > 0) {
                        data += n;
                        len -= (size_t)n;
                        idle = 0;
                } else {
                        idle++;
                }
                turn(1);
        }
        return len == 0;
}

static void say(int fd, const char *text)
{
        (void)say_bytes(fd, text, strlen(text));
}

struct answer {
        int status;       /* 0: none came */
        bool closed;      /* the server hung up */
        char *head, *body;
        size_t len;
        char *text;
};

static void forget(struct answer *a)
{
        free(a->text);
        *a = (struct answer){0};
}

static const char *head_value(const struct answer *a, const char *name)
{
        static char value[256];
        char start[64];
        snprintf(start, sizeof(start), "\r\n%s: ", name);
        const char *at = strcasestr(a->head, start);
        if (at == NULL)
                return "";
        at += strlen(start);
        snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\r"), at);
        return value;
}

static bool whole(struct answer *a, bool head_only)
{
        char *end = strstr(a->text, "\r\n\r\n");
        if (end == NULL)
                return false;
        a->head = a->text;
        a->body = end + 4;
        a->status = atoi(a->text + strlen("HTTP/1.1 "));
        if (head_only)
                return true;
        const char *len = strcasestr(a->text, "\r\nContent-Length: ");
        if (len == NULL || len > end)
                return a->status == 204;
        return a->len - (size_t)(a->body - a->text) >= (size_t)atol(len + strlen("\r\nContent-Length: "));
}

/* Turns the loop until an answer is whole, the server hangs up, or nothing came for a good while. */
static struct answer hear(int fd, bool head_only)
{
        enum { ROOM = 1 << 20 };
        struct answer a = {.text = calloc(1, ROOM)};
        assert_non_null(a.text);
        for (int idle = 0; idle < 300;) {
                turn(1);
                ssize_t n = recv(fd, a.text + a.len, ROOM - 1 - a.len, 0);
                if (n > 0) {
                        a.len += (size_t)n;
                        idle = 0;
                } else if (n == 0 || errno != EAGAIN) {
                        a.closed = true;
                } else {
                        idle++;
                }
                if (whole(&a, head_only) || a.closed)
                        break;
        }
        return a;
}

static struct answer ask(const char *request)
{
        int fd = dial();
        say(fd, request);
        struct answer a = hear(fd, strncmp(request, "HEAD", 4) == 0);
        close(fd);
        turn(3);
        return a;
}

static void expect(const char *request, int status, const char *body)
{
        struct answer a = ask(request);
        if (a.status != status)
                print_error("%s\n%s\n", request, a.text);
        assert_int_equal(a.status, status);
        if (body != NULL)
                assert_string_equal(a.body, body);
        forget(&a);
}

static void still_alive(void)
{
        expect("GET /localapi/v0/echo?k=v HTTP/1.1\r\n" HOST "\r\n", 200, "query=v param=v body= path=\n");
}

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
                skip();   /* needs another user to be */
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

/* ---- streams ---- */

static bool send_line(const char *text)
{
        json_t *v = json_pack("{s:s}", "Text", text);
        bool ok = lapi_stream_send(t.stream, v);
        json_decref(v);
        return ok;
}

static void test_stream(void **state)
{
        (void)state;
        int fd = dial();
        say(fd, "GET /localapi/v0/bus HTTP/1.1\r\n" HOST "\r\n");
        struct answer a = hear(fd, true);   /* before anything was sent on it */
        assert_int_equal(a.status, 200);
        assert_string_equal(head_value(&a, "Transfer-Encoding"), "chunked");
        assert_string_equal(head_value(&a, "Content-Type"), "application/json");
        assert_string_equal(a.body, "");
        forget(&a);
        static const char *const words[] = {"one", "two", "three"};
        for (size_t i = 0; i < 3; i++) {
                char want[64], got[256] = "";
                assert_true(send_line(words[i]));
                turn(20);
                assert_true(recv(fd, got, sizeof(got) - 1, 0) > 0);
                int len = snprintf(want, sizeof(want), "{\"Text\":\"%s\"}\n", words[i]);
                char chunk[96];
                snprintf(chunk, sizeof(chunk), "%X\r\n%s\r\n", (unsigned)len, want);
                assert_string_equal(got, chunk);
        }
        still_alive();
        assert_int_equal(t.gone, 0);
        close(fd);
        turn(20);
        assert_int_equal(t.gone, 1);
        still_alive();
}

/* What is sent before the headers are out comes too, and in order. */
static void test_stream_burst(void **state)
{
        (void)state;
        int fd = dial();
        say(fd, "GET /localapi/v0/bus HTTP/1.1\r\n" HOST "\r\n");
        for (int i = 0; i < 50 && t.stream == NULL; i++)
                turn(1);
        assert_non_null(t.stream);
        for (int i = 0; i < 100; i++) {
                char n[16];
                snprintf(n, sizeof(n), "%d", i);
                assert_true(send_line(n));
        }
        char *got = calloc(1, 65536);
        assert_non_null(got);
        size_t len = 0;
        for (int idle = 0; idle < 50; idle++) {
                turn(1);
                ssize_t n = recv(fd, got + len, 65535 - len, 0);
                if (n > 0)
                        len += (size_t)n;
        }
        const char *at = got;
        for (int i = 0; i < 100; i++) {
                char n[32];
                snprintf(n, sizeof(n), "{\"Text\":\"%d\"}\n", i);
                at = strstr(at, n);
                assert_non_null(at);
        }
        free(got);
        close(fd);
        turn(10);
        assert_int_equal(t.gone, 1);
}

static void test_slow_watcher(void **state)
{
        (void)state;
        char *big = calloc(1, 8193), *got = calloc(1, 8 << 20);
        assert_true(big != NULL && got != NULL);
        memset(big, 'x', 8192);
        int fd = dial();
        say(fd, "GET /localapi/v0/bus HTTP/1.1\r\n" HOST "\r\n");
        turn(20);
        assert_non_null(t.stream);
        unsigned sent = 0;
        while (t.stream != NULL && send_line(big)) {
                assert_true(++sent < 4 * LAPI_STREAM_QUEUE);
                turn(1);
        }
        assert_true(sent >= LAPI_STREAM_QUEUE);
        assert_non_null(t.stream);
        assert_false(send_line("more"));   /* and it stays refused */
        size_t len = 0;
        bool closed = false;
        for (int idle = 0; idle < 300 && !closed; idle++) {
                turn(1);
                ssize_t n = recv(fd, got + len, (8u << 20) - 1 - len, 0);
                if (n > 0) {
                        len += (size_t)n;
                        idle = 0;
                }
                closed = n == 0 || (n >= 5 && memcmp(got + len - 5, "0\r\n\r\n", 5) == 0);
        }
        assert_true(closed);
        const char *last = strstr(got, "{\"ErrMessage\":");
        assert_non_null(last);
        assert_null(strstr(last, "{\"Text\""));
        assert_null(strstr(last + 1, "{\"ErrMessage\""));
        turn(20);
        assert_int_equal(t.gone, 1);
        close(fd);
        free(big);
        free(got);
        still_alive();
}

/* ---- hostile clients ---- */

/* Anybody may watch: what is kept for one who does not read is bounded in bytes, too. */
static void test_slow_watcher_of_much(void **state)
{
        (void)state;
        int fd = dial();
        say(fd, "GET /localapi/v0/bus HTTP/1.1\r\n" HOST "\r\n");
        turn(20);
        assert_non_null(t.stream);
        static char big[1 << 20];
        memset(big, 'x', sizeof(big) - 1);
        json_t *v = json_pack("{s:s}", "NetMap", big);
        size_t taken = 0;
        while (taken < LAPI_STREAM_QUEUE && lapi_stream_send(t.stream, v))
                taken++;
        json_decref(v);
        assert_int_equal(taken, LAPI_STREAM_BYTES >> 20);
        close(fd);
}

static void test_body_limit(void **state)
{
        (void)state;
        enum { BIG = LAPI_BODY_MAX + 1 };
        char *big = malloc(BIG);
        assert_non_null(big);
        memset(big, 'x', BIG);
        char head[128];
        int fd = dial();
        snprintf(head, sizeof(head), "PUT /localapi/v0/plain HTTP/1.1\r\n" HOST "Content-Length: %d\r\n\r\n", BIG - 1);
        say(fd, head);
        assert_true(say_bytes(fd, big, BIG - 1));
        struct answer a = hear(fd, false);
        assert_int_equal(a.status, 200);
        assert_int_equal(t.body_len, LAPI_BODY_MAX);
        assert_int_equal(t.calls, 1);
        forget(&a);
        close(fd);
        /* One more: by announcement, and in chunks that do not say. */
        for (int chunked = 0; chunked < 2; chunked++) {
                fd = dial();
                if (chunked)
                        snprintf(head, sizeof(head), "PUT /localapi/v0/plain HTTP/1.1\r\n" HOST
                                "Transfer-Encoding: chunked\r\n\r\n%x\r\n", BIG);
                else
                        snprintf(head, sizeof(head), "PUT /localapi/v0/plain HTTP/1.1\r\n" HOST
                                "Content-Length: %d\r\n\r\n", BIG);
                say(fd, head);
                (void)say_bytes(fd, big, BIG);
                if (chunked)
                        say(fd, "\r\n0\r\n\r\n");
                a = hear(fd, false);
                assert_int_equal(a.status, 413);
                forget(&a);
                close(fd);
        }
        assert_int_equal(t.calls, 1);
        free(big);
        still_alive();
}

static void test_garbage(void **state)
{
        (void)state;
        static const char *const junk[] = {
                "\r\n\r\n\r\n", "GET\r\n\r\n", "GET \r\n\r\n", "GET * HTTP/1.1\r\n" HOST "\r\n",
                "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                "GET /localapi/v0/echo HTTP/9.9\r\n" HOST "\r\n", "GET /localapi/v0/echo\r\n\r\n",
                "GET /localapi/v0/echo?k=%zz%0 HTTP/1.1\r\n" HOST "\r\n",
                "GET /localapi/v0/echo?k=%00x HTTP/1.1\r\n" HOST "\r\n",
                "GET /localapi/v0/echo?&&=&=k&k HTTP/1.1\r\n" HOST "\r\n",
                "GET http://evil.example/localapi/v0/echo HTTP/1.1\r\n" HOST "\r\n",
                "GET /localapi/v0/echo HTTP/1.1\r\n" HOST ": x\r\n nothing\r\n\r\n",
                "POST /localapi/v0/echo HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n",
                "POST /localapi/v0/echo HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n",
                "POST /localapi/v0/echo HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                "POST /localapi/v0/echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
                "POST /localapi/v0/echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n",
                "POST /localapi/v0/echo HTTP/1.1\r\n" HOST "Content-Type: application/x-www-form-urlencoded\r\n"
                "Content-Length: 9\r\n\r\nk&=&k=%&%",
        };
        for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
                int fd = dial();
                say(fd, junk[i]);
                turn(5);
                close(fd);
                turn(5);
        }
        still_alive();
        /* A head that never ends, and a path longer than any. */
        char *big = malloc(200001);
        assert_non_null(big);
        memset(big, 'a', 200000);
        big[200000] = '\0';
        for (int i = 0; i < 2; i++) {
                int fd = dial();
                say(fd, i == 0 ? "GET /localapi/v0/echo HTTP/1.1\r\nX: " : "GET /localapi/v0/");
                (void)say_bytes(fd, big, 200000);
                struct answer a = hear(fd, false);
                assert_true(a.closed || a.status >= 400);
                forget(&a);
                close(fd);
        }
        free(big);
        still_alive();
        assert_int_equal(t.gone, 0);
}

/* "GET *" once spun another program's CPU: the loop must come to rest. */
static void test_rest_after_star(void **state)
{
        (void)state;
        int fd = dial();
        say(fd, "GET * HTTP/1.1\r\n" HOST "\r\n");
        struct answer a = hear(fd, false);
        assert_int_equal(a.status, 404);
        forget(&a);
        turn(20);
        mono_t before = mono_now();
        for (int i = 0; i < 5; i++)
                loop_once(t.loop, 20);   /* each sleeps its full time */
        assert_true(mono_diff_ms(mono_now(), before) >= 80);
        close(fd);
}

static void test_every_cut(void **state)
{
        (void)state;
        static const char req[] = "POST /localapi/v0/echo?k=v HTTP/1.1\r\n" HOST
                                  "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\nk=b";
        for (size_t n = 0; n < strlen(req); n++) {
                int fd = dial();
                (void)say_bytes(fd, req, n);
                turn(1);
                assert_int_equal(t.calls, 0);
                close(fd);
                turn(1);
        }
        still_alive();
        assert_int_equal(t.calls, 1);
}

static void test_slow_client(void **state)
{
        (void)state;
        static const char req[] = "GET /localapi/v0/echo?k=v HTTP/1.1\r\n" HOST "\r\n";
        int fd = dial();
        for (size_t n = 0; n < strlen(req); n++) {
                (void)say_bytes(fd, req + n, 1);
                if (n % 16 == 0)
                        still_alive();
        }
        struct answer a = hear(fd, false);
        assert_int_equal(a.status, 200);
        forget(&a);
        close(fd);
}

static void test_many_clients(void **state)
{
        (void)state;
        int fds[LAPI_CONNECTIONS_MAX + 20];
        size_t n = sizeof(fds) / sizeof(fds[0]);
        for (size_t i = 0; i < n; i++) {
                fds[i] = dial();
                turn(1);
        }
        for (size_t i = 0; i < n; i++)
                close(fds[i]);
        turn(20);
        still_alive();
}

/* One user's watchers, however many, leave room for root.  The kernel keeps who connected: seteuid() does for that. */
static void test_one_user_among_others(void **state)
{
        (void)state;
        if (geteuid() != 0)
                skip();
        int fds[LAPI_CONNECTIONS_MAX + 20];
        size_t n = sizeof(fds) / sizeof(fds[0]), watching = 0, refused = 0;
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(seteuid(65533), 0);
                fds[i] = dial();
                assert_int_equal(seteuid(0), 0);
                if (i % 2 == 0)   /* before the server has seen it, and behind */
                        turn(3);
                say(fds[i], "GET /localapi/v0/bus HTTP/1.1\r\n" HOST "\r\n");
                struct answer a = hear(fds[i], true);
                watching += a.status == 200;
                refused += a.status == 503;
                if (a.status == 503)
                        assert_string_equal(a.body, "too many connections are open\n");
                forget(&a);
        }
        assert_int_equal(watching, LAPI_USER_MAX);
        assert_int_equal(refused, n - LAPI_USER_MAX);
        assert_int_equal(t.calls, LAPI_USER_MAX);
        still_alive();
        close(fds[0]);
        turn(20);
        assert_int_equal(seteuid(65533), 0);
        fds[0] = dial();
        assert_int_equal(seteuid(0), 0);
        say(fds[0], "GET /localapi/v0/who HTTP/1.1\r\n" HOST "\r\n");
        struct answer a = hear(fds[0], false);
        assert_int_equal(a.status, 200);
        assert_non_null(strstr(a.body, "uid=65533 "));
        forget(&a);
        for (size_t i = 0; i < n; i++)
                close(fds[i]);
        turn(20);
}

/* ---- the socket ---- */

static enum err second(const char *path, const char **ret_why)
{
        struct lapi_server *s = NULL;
        *ret_why = NULL;
        enum err err = lapi_server_new(t.loop, path, &ops, &t, &s, ret_why);
        if (err == ERR_NONE)
                lapi_server_free(s);
        return err;
}

static void test_socket_file(void **state)
{
        (void)state;
        struct stat st;
        const char *why;
        char path[128], folder[108];
        assert_int_equal(stat(t.path, &st), 0);
        assert_true(S_ISSOCK(st.st_mode));
        assert_int_equal(st.st_mode & 0777, 0666);
        assert_int_not_equal(second(t.path, &why), ERR_NONE);
        assert_non_null(strstr(why, "address already in use"));
        still_alive();   /* whose socket is still there */
        /* Left behind by a crash. */
        snprintf(path, sizeof(path), "%s/stale", t.dir);
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        (void)str_copy(sa.sun_path, sizeof(sa.sun_path), path);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        close(fd);
        assert_int_equal(second(path, &why), ERR_NONE);
        assert_int_equal(access(path, F_OK), -1);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        close(fd);
        lapi_socket_remove_dead(path);
        assert_int_equal(access(path, F_OK), -1);
        lapi_socket_remove_dead(path);   /* or nothing is there */
        lapi_socket_remove_dead(t.path);
        still_alive();
        assert_int_equal(stat(t.path, &st), 0);
        /* Something else is not removed. */
        fd = open(path, O_CREAT | O_WRONLY, 0600);
        close(fd);
        lapi_socket_remove_dead(path);
        assert_int_not_equal(second(path, &why), ERR_NONE);
        assert_non_null(why);
        assert_int_equal(unlink(path), 0);
        /* A folder that is not there, under any umask. */
        mode_t mask = umask(077);
        snprintf(folder, sizeof(folder), "%s/run", t.dir);
        snprintf(path, sizeof(path), "%s/run/s", t.dir);
        assert_int_equal(second(path, &why), ERR_NONE);
        umask(mask);
        assert_int_equal(stat(folder, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0755);
        assert_int_equal(rmdir(folder), 0);
        /* Where this user may not write: a socket there or not, a folder there or not. */
        if (geteuid() == 0) {
                static const char *const tails[] = {"stale", "new", "run/new"};
                snprintf(path, sizeof(path), "%s/stale", t.dir);
                fd = socket(AF_UNIX, SOCK_STREAM, 0);
                assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
                close(fd);
                assert_int_equal(seteuid(65534), 0);
                for (size_t i = 0; i < 3; i++) {
                        snprintf(path, sizeof(path), "%s/%s", t.dir, tails[i]);
                        assert_int_not_equal(second(path, &why), ERR_NONE);
                        assert_non_null(strstr(why, "Permission denied: run as root (or give --socket and --statedir"));
                }
                assert_int_equal(seteuid(0), 0);
                assert_int_equal(unlink(sa.sun_path), 0);
        }
        memset(path, 'x', 120);
        path[0] = '/';
        path[120] = '\0';
        assert_int_not_equal(second(path, &why), ERR_NONE);
        assert_non_null(why);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
        signal(SIGPIPE, SIG_IGN);
        log_init(0);
        const struct CMUnitTest tests[] = {
                CASE(test_answers), CASE(test_keep_alive), CASE(test_parameters), CASE(test_paths_and_methods),
                CASE(test_no_web_page), CASE(test_rights), CASE(test_late), CASE(test_client_leaves),
                CASE(test_free_with_waiting), CASE(test_free_with_unread), CASE(test_stream),
                CASE(test_stream_burst), CASE(test_slow_watcher), CASE(test_slow_watcher_of_much),
                CASE(test_body_limit), CASE(test_garbage), CASE(test_rest_after_star), CASE(test_every_cut),
                CASE(test_slow_client), CASE(test_many_clients), CASE(test_one_user_among_others),
                CASE(test_socket_file),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
