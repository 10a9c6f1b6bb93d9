#include "magicsock/echo.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/checksum.h"
#include "base/crypto.h"
#include "base/reader.h"
#include "base/writer.h"

enum { ECHO_REQUEST = 8, ECHO_REPLY = 0, HEADER = 8, IP_HEAD_MIN = 20, SUM_AT = 2, READS_A_ROUND = 32, PACKET_MAX = 1500 };

struct asked {
        uint32_t id;
        struct ip to;            /* none: free */
        char word[ECHO_WORD_MAX];
        mono_t at;
};

struct echo {
        struct loop *loop;
        uint32_t mark;
        void (*answered)(void *arg, uint32_t id, int64_t rtt_ns, mono_t now);
        void *arg;
        struct watch watch;
        int fd;
        bool is_raw;
        uint16_t ident;          /* of a raw socket; the kernel has its own for the other */
        uint16_t base;           /* sequence number of asked[0] */
        struct asked asked[ECHO_WAITING];
};

static void close_socket(struct echo *e)
{
        loop_unwatch(&e->watch);
        if (e->fd >= 0)
                close(e->fd);
        e->fd = -1;
}

static bool open_socket(struct echo *e)
{
        if (e->fd >= 0)
                return true;
        e->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMP);
        e->is_raw = e->fd < 0;
        if (e->is_raw)
                e->fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMP);
        if (e->fd < 0)
                return false;
        bool is_marked = e->mark == 0 || setsockopt(e->fd, SOL_SOCKET, SO_MARK, &e->mark, sizeof(e->mark)) == 0 || errno == EPERM;
        if (is_marked && loop_watch(e->loop, &e->watch, e->fd, LOOP_READ) == ERR_NONE)
                return true;
        close_socket(e);
        return false;
}

enum err echo_parse(const void *data, size_t len, bool has_head, struct echo_reply *ret)
{
        const uint8_t *bytes = data;
        size_t head = has_head && len > 0 ? (bytes[0] & 0x0fU) * 4U : 0;
        struct rd r = rd_init(data, len);
        rd_skip(&r, head);
        uint8_t type = rd_u8(&r);
        rd_skip(&r, 3);
        ret->ident = rd_be16(&r);
        ret->seq = rd_be16(&r);
        if (!rd_ok(&r) || type != ECHO_REPLY || (has_head && head < IP_HEAD_MIN))
                return ERR_FORMAT;
        ret->word = bytes + head + HEADER;
        ret->word_len = len - head - HEADER;
        return ERR_NONE;
}

/* A raw socket shows everybody's. */
static struct asked *find(struct echo *e, struct ip from, const uint8_t *data, size_t len)
{
        struct echo_reply r;
        if (echo_parse(data, len, e->is_raw, &r) != ERR_NONE || (e->is_raw && r.ident != e->ident))
                return NULL;
        uint16_t i = (uint16_t)(r.seq - e->base);
        struct asked *a = i < ECHO_WAITING ? &e->asked[i] : NULL;
        bool is_ours = a != NULL && ip_is_set(a->to) && ip_eq(a->to, from) && r.word_len == strlen(a->word);
        return is_ours && memcmp(r.word, a->word, r.word_len) == 0 ? a : NULL;
}

static void on_readable(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        struct echo *e = container_of(w, struct echo, watch);
        uint8_t data[PACKET_MAX];
        struct sockaddr_storage from;
        for (int i = 0; i < READS_A_ROUND && e->fd >= 0; i++) {
                socklen_t from_len = sizeof(from);
                ssize_t n = recvfrom(e->fd, data, sizeof(data), 0, (struct sockaddr *)&from, &from_len);
                if (n < 0)
                        break;
                struct asked *a = find(e, addr_from_sockaddr((const struct sockaddr *)&from).ip, data, (size_t)n);
                if (a == NULL)
                        continue;
                uint32_t id = a->id;
                int64_t rtt = mono_diff_ns(now, a->at);
                a->to = (struct ip){0};
                e->answered(e->arg, id, rtt > 0 ? rtt : 1, now);
        }
}

struct echo *echo_new(struct loop *l, uint32_t mark, void (*answered)(void *arg, uint32_t id, int64_t rtt_ns, mono_t now), void *arg)
{
        struct echo *e = calloc(1, sizeof(*e));
        if (e == NULL)
                return NULL;
        e->loop = l;
        e->mark = mark;
        e->answered = answered;
        e->arg = arg;
        e->fd = -1;
        watch_init(&e->watch, on_readable);
        return e;
}

void echo_free(struct echo *e)
{
        if (e == NULL)
                return;
        close_socket(e);
        free(e);
}

void echo_forget(struct echo *e)
{
        close_socket(e);
        memset(e->asked, 0, sizeof(e->asked));
}

static size_t make(const struct echo *e, uint16_t seq, const char *word, uint8_t out[HEADER + ECHO_WORD_MAX])
{
        struct wr w = wr_init(out, HEADER + ECHO_WORD_MAX);
        wr_u8(&w, ECHO_REQUEST);
        wr_zero(&w, 3);
        wr_be16(&w, e->ident);
        wr_be16(&w, seq);
        wr_copy(&w, word, strlen(word));
        uint16_t sum = (uint16_t)~sum_fold(sum_add(0, out, w.len));
        memcpy(out + SUM_AT, &sum, sizeof(sum));
        return w.len;
}

bool echo_ask(struct echo *e, uint32_t id, struct ip to, const char *word, mono_t now)
{
        uint8_t data[HEADER + ECHO_WORD_MAX];
        struct sockaddr_storage sa;
        socklen_t sa_len = addr_to_sockaddr((struct addr){to, 0}, &sa);
        size_t i = 0;
        while (i < ECHO_WAITING && ip_is_set(e->asked[i].to))
                i++;
        if (i == ECHO_WAITING)
                return false;
        if (e->fd < 0) {   /* late answers to the last round find nothing */
                crypto_random(&e->ident, sizeof(e->ident));
                crypto_random(&e->base, sizeof(e->base));
        }
        struct asked *a = &e->asked[i];
        *a = (struct asked){.id = id, .to = to, .at = now};
        (void)str_copy(a->word, sizeof(a->word), word);
        size_t len = make(e, (uint16_t)(e->base + i), a->word, data);
        if (open_socket(e) && sendto(e->fd, data, len, MSG_NOSIGNAL, (const struct sockaddr *)&sa, sa_len) == (ssize_t)len)
                return true;
        a->to = (struct ip){0};
        return false;
}
