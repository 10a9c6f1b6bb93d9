#include "magicsock/sock.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/unset.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
        ANY_PORT_TRIES = 8,
        DATAGRAM_MAX = 65507,     /* payload of IPv4; of IPv6 it is 20 more */
        SINGLE_BYTES = 4096,      /* without trains, a datagram's share of the same room */
        SINGLES = SOCK_ROOM / SINGLE_BYTES,
};
_Static_assert((int)SINGLES <= (int)SOCK_VIEWS_MAX && (int)PKT_DATA_MAX < (int)SINGLE_BYTES, "the room is shared out");

void sock_init(struct sock *s, enum ip_family f)
{
        *s = (struct sock){.fd = -1, .family = f, .buffer_bytes = SOCK_BUFFER_BYTES, .wanted = SOCK_OFFLOADS};
}

bool sock_is_open(const struct sock *s)
{
        return s->fd >= 0;
}

void sock_close(struct sock *s)
{
        if (s->fd >= 0)
                close(s->fd);
        s->fd = -1;
        s->port = 0;
}

/* Large buffers ride out bursts; without privilege the kernel's cap applies, which is no error. */
static void set_buffers(int fd, int want)
{
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &want, sizeof(want)) != 0)
                (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &want, sizeof(want));
        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &want, sizeof(want)) != 0)
                (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &want, sizeof(want));
}

/* Of sockets with one port and no address, the one bound last receives. */
static void set_sharing(int fd, bool on)
{
        int value = on;
        if (fd >= 0)
                (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, sizeof(value));
}

static bool set_options(int fd, enum ip_family f, uint32_t mark)
{
        int on = 1;
        if (f == IP_V6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0)
                return false;
        /* Without the right to set it there is no policy routing to get past either. */
        if (mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) != 0 && errno != EPERM)
                return false;
        return true;
}

static void set_offloads(struct sock *s)
{
        int gro = (s->wanted & SOCK_GRO) != 0, segment = 0;
        socklen_t len = sizeof(segment);
        s->offloads = 0;
        if (setsockopt(s->fd, SOL_UDP, UDP_GRO, &gro, sizeof(gro)) == 0 && gro)
                s->offloads |= SOCK_GRO;
        if (s->wanted & SOCK_GSO && getsockopt(s->fd, SOL_UDP, UDP_SEGMENT, &segment, &len) == 0)
                s->offloads |= SOCK_GSO;
}

void sock_want_offloads(struct sock *s, unsigned wanted)
{
        s->wanted = wanted;
        if (sock_is_open(s))
                set_offloads(s);
}

void sock_want_buffers(struct sock *s, int bytes)
{
        s->buffer_bytes = bytes;
        if (sock_is_open(s))
                set_buffers(s->fd, bytes);
}

static uint16_t bound_port(int fd)
{
        struct sockaddr_storage ss;
        socklen_t len = sizeof(ss);
        if (getsockname(fd, (struct sockaddr *)&ss, &len) != 0)
                return 0;
        if (ss.ss_family == AF_INET6)
                return ntohs(((struct sockaddr_in6 *)&ss)->sin6_port);
        return ntohs(((struct sockaddr_in *)&ss)->sin_port);
}

static int bind_wildcard(int fd, enum ip_family f, uint16_t port)
{
        if (f == IP_V6) {
                struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
                return bind(fd, (const struct sockaddr *)&sa, sizeof(sa));
        }
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
        return bind(fd, (const struct sockaddr *)&sa, sizeof(sa));
}

enum err sock_open(struct sock *s, uint16_t port, uint32_t mark)
{
        int fd =
                socket(s->family == IP_V6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return ERR_IO;
        set_buffers(fd, s->buffer_bytes);
        set_sharing(fd, port != 0 && port == s->shares);
        if (!set_options(fd, s->family, mark) || bind_wildcard(fd, s->family, port) != 0) {
                int error = errno;
                close(fd);
                errno = error;
                return ERR_IO;
        }
        sock_close(s);
        s->fd = fd;
        s->port = bound_port(fd);
        set_offloads(s);
        return ERR_NONE;
}

/* IPv6 first; IPv4 then has to get the same number. */
static enum err open_pair(struct sock *v4, struct sock *v6, uint16_t port, uint32_t mark)
{
        bool have6 = sock_open(v6, port, mark) == ERR_NONE;
        if (!have6 && errno == EADDRINUSE)
                return ERR_IO;
        enum err e = sock_open(v4, have6 ? v6->port : port, mark);
        if (e) {
                int error = errno;
                sock_close(v6);
                errno = error;
        }
        return e;
}

enum err sock_open_both(struct sock *v4, struct sock *v6, const uint16_t *ports, size_t n, uint32_t mark)
{
        sock_close(v4);
        sock_close(v6);
        for (size_t i = 0; i < n; i++) {
                int tries = ports[i] == 0 ? ANY_PORT_TRIES : 1;
                while (tries-- > 0)
                        if (open_pair(v4, v6, ports[i], mark) == ERR_NONE)
                                return ERR_NONE;
                if (i + 1 < n)
                        log_warn("UDP port %u: %s; trying another", ports[i], strerror(errno));
        }
        return ERR_IO;
}

void sock_begin_renewal(struct sock *fresh, struct sock *old)
{
        *fresh = (struct sock){
                .fd = -1, .family = old->family, .buffer_bytes = old->buffer_bytes, .wanted = old->wanted, .shares = old->port};
        set_sharing(old->fd, true);
}

void sock_end_renewal(struct sock *fresh, struct sock *old)
{
        fresh->shares = 0;
        set_sharing(fresh->fd, false);
        set_sharing(old->fd, false);
}

/* ---- in ---- */

struct sock_rx {
        uint8_t *room;
        size_t count, at;            /* messages received, and handed out */
        size_t offset;               /* bytes of the present one handed out */
        unsigned touched;            /* by the last sock_rx_next(): trains of the room, a bit each */
        unsigned turn;               /* whose views are next */
        struct rx_message {
                uint8_t *data;
                size_t len, size;    /* size: of each datagram but the last */
                struct addr src;
                bool cut;
        } message[SINGLES];
        struct pkt view[2][SOCK_VIEWS_MAX];
};

struct sock_rx *sock_rx_new(uint8_t *room)
{
        struct sock_rx *rx = calloc(1, sizeof(*rx));
        if (rx != NULL)
                rx->room = room;
        return rx;
}

void sock_rx_free(struct sock_rx *rx)
{
        free(rx);
}

static unsigned train_bit(const struct sock_rx *rx, const uint8_t *data)
{
        return 1U << (size_t)(data - rx->room) / SOCK_TRAIN_BYTES;
}

bool sock_rx_may_keep(const struct sock_rx *rx)
{
        return rx->touched != (1U << SOCK_ROOM_TRAINS) - 1;
}

/* Of each datagram in a message; 0: it is one. */
static size_t train_size(struct msghdr *h)
{
        for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c)) {
                int size;
                if (c->cmsg_level != SOL_UDP || c->cmsg_type != UDP_GRO || c->cmsg_len < CMSG_LEN(sizeof(size)))
                        continue;
                memcpy(&size, CMSG_DATA(c), sizeof(size));
                return size > 0 ? (size_t)size : 0;
        }
        return 0;
}

bool sock_recv(struct sock *s, struct sock_rx *rx, bool keep)
{
        bool trains = s->offloads & SOCK_GRO;
        size_t each = trains ? SOCK_TRAIN_BYTES : SINGLE_BYTES, n = 0;
        UNSET struct mmsghdr msgs[SINGLES];
        UNSET struct iovec iov[SINGLES];
        UNSET struct sockaddr_storage from[SINGLES];
        UNSET struct {
                _Alignas(struct cmsghdr) uint8_t b[CMSG_SPACE(sizeof(int))];
        } control[SOCK_ROOM_TRAINS];
        for (uint8_t *at = rx->room; at < rx->room + SOCK_ROOM; at += each) {
                if (keep && rx->touched & train_bit(rx, at))
                        continue;
                iov[n] = (struct iovec){at, each};
                msgs[n].msg_hdr = (struct msghdr){
                        .msg_name = &from[n],
                        .msg_namelen = sizeof(from[n]),
                        .msg_iov = &iov[n],
                        .msg_iovlen = 1,
                        .msg_control = trains ? &control[n] : NULL,
                        .msg_controllen = trains ? sizeof(control[n]) : 0,
                };
                n++;
        }
        int got = recvmmsg(s->fd, msgs, (unsigned)n, MSG_DONTWAIT, NULL);
        rx->count = got > 0 ? (size_t)got : 0;
        rx->at = rx->offset = 0;
        for (size_t i = 0; i < rx->count; i++) {
                size_t len = msgs[i].msg_len, size = train_size(&msgs[i].msg_hdr);
                rx->message[i] = (struct rx_message){
                        .data = iov[i].iov_base,
                        .len = len,
                        .size = size != 0 ? size : len,
                        .src = addr_from_sockaddr((const struct sockaddr *)&from[i]),
                        .cut = msgs[i].msg_hdr.msg_flags & MSG_TRUNC,
                };
        }
        return rx->count > 0;
}

/* Datagrams in it. */
static size_t message_count(const struct rx_message *m)
{
        return m->len == 0 ? 1 : (m->len + m->size - 1) / m->size;
}

size_t sock_rx_next(struct sock_rx *rx, struct pkt *ret[SOCK_VIEWS_MAX])
{
        if (rx->at == rx->count)
                return 0;   /* and what the last call returned is still the last */
        struct pkt *view = rx->view[rx->turn ^= 1];
        size_t n = 0;
        rx->touched = 0;
        while (n < SOCK_VIEWS_MAX && rx->at < rx->count) {
                const struct rx_message *m = &rx->message[rx->at];
                if (rx->offset == 0 && n > 0 && n + message_count(m) > SOCK_VIEWS_MAX)
                        break;
                size_t left = m->len - rx->offset, len = left < m->size ? left : m->size;
                struct pkt *p = &view[n];
                bool fits = !m->cut && len <= PKT_DATA_MAX;
                pkt_view(p, m->data + rx->offset, len, 0, fits ? len : 0);
                p->src = m->src;
                ret[n++] = p;
                rx->touched |= train_bit(rx, m->data);
                rx->offset += len;
                if (rx->offset >= m->len) {
                        rx->at++;
                        rx->offset = 0;
                }
        }
        return n;
}

/* ---- out ---- */

/* What one sendmmsg() takes: packets in their order, neighbours of one size as one message. */
struct burst {
        struct mmsghdr msgs[SOCK_BATCH];
        size_t packets[SOCK_BATCH];   /* in each message */
        struct iovec iov[SOCK_BATCH];
        struct {
                _Alignas(struct cmsghdr) uint8_t b[CMSG_SPACE(sizeof(uint16_t))];
        } control[SOCK_BATCH];
        size_t count;
};

/* How many from the front can be one message: all as long as the first, but for a shorter last. */
static size_t train_length(struct pkt *const *pkts, size_t n)
{
        size_t size = pkts[0]->len, bytes = size, k = 1;
        while (k < n && k < SOCK_TRAIN_MAX && pkts[k - 1]->len == size && pkts[k]->len <= size &&
               pkts[k]->len > 0 && bytes + pkts[k]->len <= DATAGRAM_MAX)
                bytes += pkts[k++]->len;
        return k;
}

static void add_segment_size(struct burst *b, struct msghdr *h, uint16_t size)
{
        memset(&b->control[b->count], 0, sizeof(b->control[b->count]));   /* the kernel is shown the padding, too */
        h->msg_control = &b->control[b->count];
        h->msg_controllen = sizeof(b->control[b->count]);
        struct cmsghdr *c = CMSG_FIRSTHDR(h);
        c->cmsg_level = SOL_UDP;
        c->cmsg_type = UDP_SEGMENT;
        c->cmsg_len = CMSG_LEN(sizeof(size));
        memcpy(CMSG_DATA(c), &size, sizeof(size));
}

/* At most SOCK_BATCH packets, of which the first `plain` are messages of their own. */
static void burst_fill(struct burst *b, struct sockaddr_storage *to, socklen_t to_len, struct pkt *const *pkts, size_t n,
                       size_t plain)
{
        size_t iovs = 0;
        b->count = 0;
        if (n > SOCK_BATCH)
                n = SOCK_BATCH;
        for (size_t i = 0, k; i < n; i += k, b->count++) {
                struct msghdr *h = &b->msgs[b->count].msg_hdr;
                struct iovec *first = &b->iov[iovs], *v = first;
                k = i < plain ? 1 : train_length(pkts + i, n - i);
                *v = (struct iovec){pkt_data(pkts[i]), pkts[i]->len};
                for (size_t j = i + 1; j < i + k; j++) {
                        uint8_t *data = pkt_data(pkts[j]);
                        if (data == (uint8_t *)v->iov_base + v->iov_len)
                                v->iov_len += pkts[j]->len;   /* it lies right behind */
                        else
                                *++v = (struct iovec){data, pkts[j]->len};
                }
                *h = (struct msghdr){
                        .msg_name = to,
                        .msg_namelen = to_len,
                        .msg_iov = first,
                        .msg_iovlen = (size_t)(v - first) + 1,
                };
                iovs += h->msg_iovlen;
                if (k > 1)
                        add_segment_size(b, h, pkts[i]->len);
                b->packets[b->count] = k;
        }
}

/* Would the packets pass one by one?  A device without checksums (EIO) never takes trains; a path whose MTU is smaller than
 * a packet (EMSGSIZE, of older kernels EINVAL) does not take these, and says nothing about the others. */
static bool refused_as_train(struct sock *s, int error)
{
        if (error == EIO)
                s->offloads &= ~(unsigned)SOCK_GSO;
        return error == EIO || error == EINVAL || error == EMSGSIZE;
}

size_t sock_send(struct sock *s, struct addr to, struct pkt *const *pkts, size_t n)
{
        UNSET struct burst b;
        struct sockaddr_storage ss;
        socklen_t len = addr_to_sockaddr(to, &ss);
        size_t sent = 0, plain = 0;   /* packets before `plain` go one by one */
        while (sent < n) {
                if (!(s->offloads & SOCK_GSO))
                        plain = n;
                burst_fill(&b, &ss, len, pkts + sent, n - sent, plain > sent ? plain - sent : 0);
                int took = sendmmsg(s->fd, b.msgs, (unsigned)b.count, MSG_DONTWAIT);
                if (took < 0 && errno == EINTR)
                        continue;
                if (took < 0 && b.packets[0] > 1 && refused_as_train(s, errno)) {
                        plain = sent + b.packets[0];
                        continue;
                }
                if (took <= 0)
                        break;
                for (int i = 0; i < took; i++)
                        sent += b.packets[i];
        }
        return sent;
}

bool sock_send_bytes(struct sock *s, struct addr to, const void *data, size_t len)
{
        struct sockaddr_storage ss;
        socklen_t sa_len = addr_to_sockaddr(to, &ss);
        return sendto(s->fd, data, len, MSG_DONTWAIT, (const struct sockaddr *)&ss, sa_len) >= 0;
}
