/* tests/unit/daemon_client.h - a backend without server and network, and a client of its LocalAPI over a real socket.  Server
 * and client share one thread. */
#pragma once

#include "daemon/api.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/crypto.h"
#include "tests/unit/daemon_fakes.h"

static struct world w;
static struct api api;
static struct lapi_server *server;
static char path[64];

static inline int setup(void **state)
{
        (void)state;
        static int number;
        static struct lapi_ops ops = {.endpoints = api_endpoints, .operator_user = api_operator_user, .version = "1.2.3",
                .cap_version = 138};
        const char *why = "";
        world_open(&w);
        api = (struct api){.backend = w.b, .notify = w.notify, .profiles = w.profiles, .loop = w.loop};
        snprintf(path, sizeof(path), "/tmp/api-test-%d-%d.sock", (int)getpid(), number++);
        return lapi_server_new(w.loop, path, &ops, &api, &server, &why) == ERR_NONE ? 0 : -1;
}

static inline int teardown(void **state)
{
        (void)state;
        lapi_server_free(server);
        world_close(&w);
        return 0;
}

/* ---- a client ---- */

struct answer {
        int status;
        char text[65536];   /* what came so far */
        const char *body;
};

static inline int say(const char *method, const char *what, const char *body)
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        char request[4096];
        snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        int n = snprintf(request, sizeof(request), "%s /localapi/v0/%s HTTP/1.1\r\nHost: local-tailscaled.sock\r\n"
                "Connection: close\r\nContent-Length: %zu\r\n\r\n%s", method, what, strlen(body), body);
        assert_int_equal(send(fd, request, (size_t)n, MSG_NOSIGNAL), n);
        return fd;
}

/* More of what comes, for some rounds of the loop or until the server hangs up. */
static inline void hear(int fd, struct answer *a, int rounds)
{
        size_t len = strlen(a->text);
        while (rounds-- > 0) {
                loop_once(w.loop, 1);
                ssize_t n = recv(fd, a->text + len, sizeof(a->text) - 1 - len, 0);
                if (n == 0 || (n < 0 && errno != EAGAIN))
                        break;
                if (n > 0)
                        len += (size_t)n;
                a->text[len] = '\0';
        }
        const char *end = strstr(a->text, "\r\n\r\n");
        a->status = strlen(a->text) > 9 ? atoi(a->text + 9) : 0;
        a->body = end != NULL ? end + 4 : "";
}

/* An answer that was made while it was sent comes in pieces. */
static inline void join_chunks(struct answer *a)
{
        char *to = (char *)(uintptr_t)a->body;
        const char *chunked = strstr(a->text, "Transfer-Encoding: chunked"), *at = to;
        unsigned long n;
        if (chunked == NULL || chunked > a->body)
                return;
        while ((n = strtoul(at, NULL, 16)) > 0 && strlen(at) > n) {
                at = strstr(at, "\r\n") + 2;
                memmove(to, at, n);
                to += n;
                at += n + 2;
        }
        *to = '\0';
}

static inline const struct answer *ask(const char *method, const char *what, const char *body)
{
        static struct answer a;
        memset(&a, 0, sizeof(a));
        int fd = say(method, what, body);
        hear(fd, &a, 200);
        join_chunks(&a);
        close(fd);
        loop_once(w.loop, 0);
        return &a;
}

static inline void expect(const char *method, const char *what, const char *body, int status, const char *part)
{
        const struct answer *a = ask(method, what, body);
        if (a->status != status || strstr(a->body, part) == NULL)
                fail_msg("%s %s: %s", method, what, a->text);
}

static inline json_t *get(const char *what)
{
        const struct answer *a = ask("GET", what, "");
        assert_int_equal(a->status, 200);
        json_t *j = json_parse(a->body, strlen(a->body));
        assert_non_null(j);
        return j;
}

#define PEERS "[" NODE(2, ",\"Online\":true,\"Hostinfo\":{\"OS\":\"linux\",\"Hostname\":\"two\",\"Services\":" \
        "[{\"Proto\":\"peerapi4\",\"Port\":99}]}") "," NODE(3, ",\"Online\":false,\"LastSeen\":\"2026-01-01T00:00:00Z\"," \
        "\"Tags\":[\"tag:x\"]") "]"

static inline void run_node(void)
{
        expect("POST", "start", "{\"AuthKey\":\"k\",\"UpdatePrefs\":{\"ControlURL\":\"http://h\",\"WantRunning\":true}}", 204, "");
        expect("POST", "login-interactive", "{}", 204, "");
        server_registers("u", 7);
        server_sends_map(NODE(1, ""), PEERS);
        assert_int_equal(backend_state(w.b), IPN_RUNNING);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
