#include "daemon/netstack/ping.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/reader.h"

enum {
        ECHO4 = 8, ECHO4_REPLY = 0, ECHO6 = 128, ECHO6_REPLY = 129,
        HEADER = 8,
        SUM_AT = 2,
        P_ICMP = 1, P_ICMP6 = 58,
        RECEIVES = 32,
};

/* One that was passed on under a number of ours, which is its sequence number there. */
struct waiting {
        struct ip from, to;     /* none: free */
        struct ip asked;        /* what `to` is for the kernel */
        uint8_t id_and_number[4];
        uint8_t *data;          /* what it carried, where the answer will not bring it */
        size_t len;
        mono_t until;
};

struct door {
        struct ping *p;
        bool tried;
        struct watch watch;
};

struct ping {
        struct loop *loop;
        const struct ping_ops *ops;
        void *arg;
        struct door doors[2];   /* IPv4, IPv6 */
        uint16_t next;
        struct waiting waiting[PING_WAITING];
};

/* ---- answers ---- */

static void answer(struct ip from, struct ip to, const uint8_t id_and_number[4], const uint8_t *data, size_t len)
{
        static uint8_t packet[UINT16_MAX];
        bool v4 = from.family == IP_V4;
        if (len > STACK_DATAGRAM_MAX - HEADER)
                return;
        memset(packet, 0, HEADER);
        packet[0] = v4 ? ECHO4_REPLY : ECHO6_REPLY;
        memcpy(packet + 4, id_and_number, 4);
        memcpy(packet + HEADER, data, len);
        netstack_send(v4 ? P_ICMP : P_ICMP6, (struct addr){from, 0}, (struct addr){to, 0}, packet, HEADER + len, SUM_AT);
}

static void done(struct waiting *w)
{
        free(w->data);
        *w = (struct waiting){0};
}

static struct waiting *waiting_at(struct ping *p, uint16_t number)
{
        struct waiting *w = &p->waiting[number % PING_WAITING];
        return ip_is_set(w->from) && !mono_reached(loop_now(p->loop), w->until) ? w : NULL;
}

void ping_answered(struct ping *p, uint16_t number)
{
        struct waiting *w = waiting_at(p, number);
        if (w == NULL || w->data == NULL)
                return;
        answer(w->to, w->from, w->id_and_number, w->data, w->len);
        done(w);
}

static void on_socket(struct watch *watch, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        static uint8_t packet[UINT16_MAX];
        struct door *d = container_of(watch, struct door, watch);
        for (int i = 0; i < RECEIVES; i++) {
                struct sockaddr_storage sa;
                socklen_t sa_len = sizeof(sa);
                ssize_t n = recvfrom(watch->fd, packet, sizeof(packet), MSG_DONTWAIT, (struct sockaddr *)&sa, &sa_len);
                if (n < 0)
                        return;
                if (n < HEADER || (packet[0] != ECHO4_REPLY && packet[0] != ECHO6_REPLY))
                        continue;
                struct waiting *w = waiting_at(d->p, load_be16(packet + 6));
                if (w == NULL || !ip_eq(addr_from_sockaddr((struct sockaddr *)&sa).ip, w->asked))
                        continue;
                answer(w->to, w->from, w->id_and_number, packet + HEADER, (size_t)n - HEADER);
                done(w);
        }
}

/* ---- requests ---- */

/* The kernel's socket for echo requests, if this user may have one. */
static int door_to(struct ping *p, enum ip_family family)
{
        struct door *d = &p->doors[family == IP_V6];
        if (d->tried)
                return d->watch.fd;
        d->tried = true;
        int fd = family == IP_V4 ? socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMP)
                                 : socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMPV6);
        if (fd >= 0 && loop_watch(p->loop, &d->watch, fd, LOOP_READ) == ERR_NONE)
                return fd;
        log_debug(1, "no sockets for ping (sysctl net.ipv4.ping_group_range): the program is run instead");
        if (fd >= 0)
                close(fd);
        return -1;
}

static void ask(struct ping *p, struct ip to, uint16_t number, const uint8_t *data, size_t len)
{
        static uint8_t packet[UINT16_MAX];
        struct waiting *w = &p->waiting[number % PING_WAITING];
        int fd = door_to(p, to.family);
        if (fd < 0) {
                w->data = malloc(len ? len : 1);
                if (w->data == NULL)
                        return;
                memcpy(w->data, data, len);
                w->len = len;
                p->ops->ask(p->arg, number, to);
                return;
        }
        struct sockaddr_storage sa;
        socklen_t sa_len = addr_to_sockaddr((struct addr){to, 0}, &sa);
        memset(packet, 0, HEADER);   /* the kernel fills in its number and the checksum */
        packet[0] = to.family == IP_V4 ? ECHO4 : ECHO6;
        store_be16(packet + 6, number);
        memcpy(packet + HEADER, data, len);
        (void)sendto(fd, packet, HEADER + len, MSG_DONTWAIT, (struct sockaddr *)&sa, sa_len);
}

void ping_datagram(struct ping *p, struct ip from, struct ip to, const uint8_t *data, size_t len)
{
        if (len < HEADER || data[0] != (to.family == IP_V4 ? ECHO4 : ECHO6) || data[1] != 0)
                return;
        struct ip asked = to;
        switch (p->ops->where(p->arg, &asked)) {
        case PING_NOWHERE:
                return;
        case PING_HERE:
                answer(to, from, data + 4, data + HEADER, len - HEADER);
                return;
        case PING_KERNEL:
                break;
        }
        uint16_t number = p->next++;
        struct waiting *w = &p->waiting[number % PING_WAITING];
        done(w);   /* one that waits in vain for the longest time makes room */
        *w = (struct waiting){.from = from, .to = to, .asked = asked, .until = mono_add_ms(loop_now(p->loop), PING_PATIENCE_MS)};
        memcpy(w->id_and_number, data + 4, 4);
        ask(p, asked, number, data + HEADER, len - HEADER);
}

struct ping *ping_new(struct loop *l, const struct ping_ops *ops, void *arg)
{
        struct ping *p = calloc(1, sizeof(*p));
        if (p == NULL)
                return NULL;
        p->loop = l;
        p->ops = ops;
        p->arg = arg;
        for (size_t i = 0; i < 2; i++) {
                p->doors[i].p = p;
                watch_init(&p->doors[i].watch, on_socket);
        }
        return p;
}

void ping_free(struct ping *p)
{
        if (p == NULL)
                return;
        for (size_t i = 0; i < 2; i++) {
                int fd = p->doors[i].watch.fd;
                loop_unwatch(&p->doors[i].watch);
                if (fd >= 0)
                        close(fd);
        }
        for (size_t i = 0; i < PING_WAITING; i++)
                done(&p->waiting[i]);
        free(p);
}
