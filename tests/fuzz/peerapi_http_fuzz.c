/* Any bytes at the PeerAPI's port: answered or hung up on, a query within its bounds, and afterwards the next client is
 * served.  The first byte says in pieces of how many bytes they arrive. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/peerapi/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
        struct loop *loop;
        struct peerapi *p;
        struct addr at;
} t;

static void must(bool held)
{
        if (!held)
                abort();
}

static bool yes(void *arg, struct ip src)
{
        (void)arg;
        (void)src;
        return true;
}

static void *resolve(void *arg, struct peerapi_req *r, const uint8_t *msg, size_t len)
{
        (void)arg;
        must(len <= PEERAPI_QUERY_MAX);
        peerapi_answer(r, msg, len);
        return NULL;
}

static void cancel(void *arg, void *query)
{
        (void)arg;
        (void)query;
        abort();   /* nothing was left open */
}

static void start(void)
{
        static const struct peerapi_ops ops = {yes, yes, resolve, cancel};
        t.loop = loop_new();
        t.p = t.loop != NULL ? peerapi_new(t.loop, &ops, &t) : NULL;
        t.at.ip = ip_v4(127, 80, (uint8_t)(getpid() >> 8), (uint8_t)(getpid() | 1));
        must(t.p != NULL && peerapi_listen(t.p, t.at.ip, NULL, &t.at.port) == ERR_NONE);
}

static int dial(void)
{
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr(t.at, &sa);
        int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        must(fd >= 0 && connect(fd, (struct sockaddr *)&sa, len) == 0);
        return fd;
}

/* Until an answer's bytes came or the server hung up; false: neither within the rounds. */
static bool heard(int fd, int rounds)
{
        char sink[65536];
        for (; rounds > 0; rounds--) {
                loop_once(t.loop, 0);
                ssize_t n = recv(fd, sink, sizeof(sink), MSG_DONTWAIT);
                if (n >= 0 || errno != EAGAIN)
                        return true;
        }
        return false;
}

static void speak(int fd, const uint8_t *data, size_t size, size_t piece)
{
        for (size_t at = 0; at < size; at += piece) {
                if (send(fd, data + at, size - at < piece ? size - at : piece, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
                        return;
                loop_once(t.loop, 0);
        }
}

/* The address is another in each process: where the input has "@HOST", it is put in. */
static size_t with_host(const uint8_t *data, size_t size, uint8_t *out, size_t cap)
{
        char host[ADDR_STR_MAX];
        size_t n = 0, len = strlen(addr_str(t.at, host));
        for (size_t i = 0; i < size && n + len < cap;) {
                if (size - i >= 5 && memcmp(data + i, "@HOST", 5) == 0) {
                        memcpy(out + n, host, len);
                        n += len;
                        i += 5;
                } else {
                        out[n++] = data[i++];
                }
        }
        return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static uint8_t text[1 << 17];
        static const char next[] = "GET / HTTP/1.1\r\nHost: @HOST\r\n\r\n";
        if (size == 0)
                return 0;
        start();
        int fd = dial();
        size_t len = with_host(data + 1, size - 1, text, sizeof(text));
        speak(fd, text, len, (size_t)data[0] * 8 + 1);
        (void)heard(fd, 20);
        close(fd);
        fd = dial();
        len = with_host((const uint8_t *)next, sizeof(next) - 1, text, sizeof(text));
        speak(fd, text, len, len);
        must(heard(fd, 200));
        close(fd);
        for (int i = 0; i < 5; i++)
                loop_once(t.loop, 0);
        peerapi_free(t.p);   /* a leak is then this input's, and no answer of it can come later */
        loop_free(t.loop);
        return 0;
}
