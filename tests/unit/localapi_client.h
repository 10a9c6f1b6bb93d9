/* tests/unit/localapi_client.h - the local API over a real unix socket, with endpoints for the tests, and a client.
 * Server and client share one thread: reading an answer turns the loop. */
#pragma once

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "daemon/localapi/server.h"
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
        void (*extra)(struct lapi_req *r);   /* what the endpoint "extra" does */
} t;

/* ---- endpoints ---- */

static inline void on_gone(void *arg)
{
        assert_ptr_equal(arg, &t);
        t.gone++;
        t.held = NULL;
        t.stream = NULL;
}

static inline void ep_plain(void *arg, struct lapi_req *r)
{
        assert_ptr_equal(arg, &t);
        t.calls++;
        (void)lapi_body(r, &t.body_len);
        lapi_reply_json(r, 200, json_pack("{s:i, s:s, s:[i]}", "n", 7, "s", " \n  x", "a", 1), LAPI_TABS);
}

static inline void ep_echo(void *arg, struct lapi_req *r)
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

static inline void ep_empty(void *arg, struct lapi_req *r)
{
        (void)arg;
        t.calls++;
        lapi_reply_empty(r, 204);
}

static inline void ep_late(void *arg, struct lapi_req *r)
{
        (void)arg;
        t.calls++;
        t.held = r;
        lapi_on_gone(r, on_gone, &t);
}

static inline void ep_who(void *arg, struct lapi_req *r)
{
        (void)arg;
        t.calls++;
        lapi_reply_text(r, 200, "uid=%d pid=%d write=%d", (int)lapi_uid(r), (int)lapi_pid(r) == (int)getpid(),
                lapi_may_write(r));
}

static inline void ep_stream(void *arg, struct lapi_req *r)
{
        (void)arg;
        t.calls++;
        t.stream = lapi_stream_start(r, on_gone, &t);
        assert_non_null(t.stream);
}

static inline void ep_fault(void *arg, struct lapi_req *r)
{
        (void)arg;
        t.calls++;
        lapi_reply_error(r, "why \"so\"");
}

static inline void ep_float(void *arg, struct lapi_req *r)
{
        (void)arg;
        lapi_reply_json(r, 200, json_pack("[f,f,i]", 0.000601045, 0.1, 0), LAPI_COMPACT);
}

static inline void ep_extra(void *arg, struct lapi_req *r)
{
        (void)arg;
        t.calls++;
        t.extra(r);
}

static const struct lapi_endpoint endpoints[] = {
        {"extra", 0, 0, LAPI_OPEN, 0, ep_extra},
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

static inline const char *operator_user(void *arg)
{
        assert_ptr_equal(arg, &t);
        return t.operator;
}

static const struct lapi_ops ops = {endpoints, operator_user, "1.2.3-test", 142};

static inline int setup(void **state)
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

static inline int teardown(void **state)
{
        (void)state;
        lapi_server_free(t.server);
        loop_free(t.loop);
        return access(t.path, F_OK) == 0 ? -1 : rmdir(t.dir);
}

/* ---- a client ---- */

static inline int dial(void)
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        (void)str_copy(sa.sun_path, sizeof(sa.sun_path), t.path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(fd >= 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        return fd;
}

static inline void turn(int rounds)
{
        while (rounds-- > 0)
                loop_once(t.loop, 1);
}

/* All of it, however slowly the server reads; false: it hung up. */
static inline bool say_bytes(int fd, const char *data, size_t len)
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

static inline void say(int fd, const char *text)
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

static inline void forget(struct answer *a)
{
        free(a->text);
        *a = (struct answer){0};
}

static inline const char *head_value(const struct answer *a, const char *name)
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

static inline bool whole(struct answer *a, bool head_only)
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
static inline struct answer hear(int fd, bool head_only)
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

static inline struct answer ask(const char *request)
{
        int fd = dial();
        say(fd, request);
        struct answer a = hear(fd, strncmp(request, "HEAD", 4) == 0);
        close(fd);
        turn(3);
        return a;
}

static inline void expect(const char *request, int status, const char *body)
{
        struct answer a = ask(request);
        if (a.status != status)
                print_error("%s\n%s\n", request, a.text);
        assert_int_equal(a.status, status);
        if (body != NULL)
                assert_string_equal(a.body, body);
        forget(&a);
}

static inline void still_alive(void)
{
        expect("GET /localapi/v0/echo?k=v HTTP/1.1\r\n" HOST "\r\n", 200, "query=v param=v body= path=\n");
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

static inline void quiet(void)
{
        signal(SIGPIPE, SIG_IGN);
        log_init(0);
}
