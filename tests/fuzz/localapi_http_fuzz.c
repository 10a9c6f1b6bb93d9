/* Any bytes on the local API's socket: answered or hung up on, and afterwards the loop is at rest and the next
 * client is served.  The first byte says in pieces of how many bytes they arrive. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/localapi/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
        struct loop *loop;
        struct lapi_server *server;
        char path[64];
} t;

static void must(bool held)
{
        if (!held)
                abort();
}

static void echo(void *arg, struct lapi_req *r)
{
        (void)arg;
        size_t len;
        const char *body = lapi_body(r, &len), *k = lapi_param(r, "k");
        must(strlen(body) <= len && len <= LAPI_BODY_MAX);
        lapi_reply_text(r, 200, "%s %s %zu", k != NULL ? k : "-", lapi_path(r), len);
}

static const char *nobody(void *arg)
{
        (void)arg;
        return NULL;
}

static const struct lapi_endpoint endpoints[] = {
        {"echo", LAPI_GET | LAPI_POST, 400, LAPI_OPEN, 0, echo},
        {"files/", 0, 0, LAPI_WRITE, 0, echo},
        {NULL, 0, 0, LAPI_OPEN, 0, NULL},
};

static void start(void)
{
        static const struct lapi_ops ops = {endpoints, nobody, "0", 0};
        const char *why = NULL;
        if (t.server != NULL)
                return;
        t.loop = loop_new();
        snprintf(t.path, sizeof(t.path), "/tmp/lapi-fuzz-%d", (int)getpid());
        must(t.loop != NULL && lapi_server_new(t.loop, t.path, &ops, &t, &t.server, &why) == ERR_NONE);
}

static void stop(void)
{
        lapi_server_free(t.server);
        loop_free(t.loop);
        t.server = NULL;
}

static int dial(void)
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        memcpy(sa.sun_path, t.path, sizeof(t.path));
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        must(fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
        return fd;
}

/* Until an answer's bytes came or the server hung up; false: neither within the rounds. */
static bool heard(int fd, int rounds)
{
        char sink[65536];
        for (; rounds > 0; rounds--) {
                loop_once(t.loop, 0);
                ssize_t n = recv(fd, sink, sizeof(sink), 0);
                if (n >= 0 || errno != EAGAIN)
                        return true;
        }
        return false;
}

static void speak(int fd, const uint8_t *data, size_t size, size_t piece)
{
        for (size_t at = 0; at < size; at += piece) {
                if (send(fd, data + at, size - at < piece ? size - at : piece, MSG_NOSIGNAL) < 0)
                        return;
                loop_once(t.loop, 0);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char next[] = "GET /localapi/v0/echo HTTP/1.1\r\nHost: local-tailscaled.sock\r\n\r\n";
        if (size == 0)
                return 0;
        start();
        int fd = dial();
        speak(fd, data + 1, size - 1, (size_t)data[0] * 8 + 1);
        (void)heard(fd, 20);
        close(fd);
        fd = dial();
        speak(fd, (const uint8_t *)next, sizeof(next) - 1, sizeof(next));
        must(heard(fd, 200));
        close(fd);
        for (int i = 0; i < 5; i++)
                loop_once(t.loop, 0);
        stop();   /* a leak is then this input's, and no answer of it can come later */
        return 0;
}
