#include "magicsock/sock.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

enum { ANY_PORT_TRIES = 8 };

void sock_init(struct sock *s, enum ip_family f)
{
        *s = (struct sock){.fd = -1, .family = f};
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
static void set_buffers(int fd)
{
        int want = SOCK_BUFFER_BYTES;
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &want, sizeof(want)) != 0)
                (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &want, sizeof(want));
        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &want, sizeof(want)) != 0)
                (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &want, sizeof(want));
}

static bool set_options(int fd, enum ip_family f, uint32_t mark)
{
        int on = 1;
        if (f == IP_V6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0)
                return false;
        /* Without the right to set it there is no policy routing to get past either. */
        if (mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) != 0 && errno != EPERM)
                return false;
        set_buffers(fd);
        return true;
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
        if (!set_options(fd, s->family, mark) || bind_wildcard(fd, s->family, port) != 0) {
                int error = errno;
                close(fd);
                errno = error;
                return ERR_IO;
        }
        sock_close(s);
        s->fd = fd;
        s->port = bound_port(fd);
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

/* ---- batches ---- */

size_t sock_recv(struct sock *s, struct pkt *const *pkts, size_t n)
{
        struct mmsghdr msgs[SOCK_BATCH];
        struct iovec iov[SOCK_BATCH];
        struct sockaddr_storage from[SOCK_BATCH];
        if (n > SOCK_BATCH)
                n = SOCK_BATCH;
        for (size_t i = 0; i < n; i++) {
                iov[i] = (struct iovec){pkts[i]->storage + PKT_HEADROOM, PKT_DATA_MAX};
                msgs[i].msg_hdr = (struct msghdr){
                        .msg_name = &from[i],
                        .msg_namelen = sizeof(from[i]),
                        .msg_iov = &iov[i],
                        .msg_iovlen = 1,
                };
        }
        int got = recvmmsg(s->fd, msgs, (unsigned)n, MSG_DONTWAIT, NULL);
        for (int i = 0; i < got; i++) {
                struct pkt *p = pkts[i];
                bool cut = msgs[i].msg_hdr.msg_flags & MSG_TRUNC;
                p->off = PKT_HEADROOM;
                p->len = cut ? 0 : (uint16_t)msgs[i].msg_len;
                p->src = addr_from_sockaddr((const struct sockaddr *)&from[i]);
        }
        return got > 0 ? (size_t)got : 0;
}

void sock_discard(struct sock *s)
{
        uint8_t byte;
        for (int i = 0; i < SOCK_BATCH; i++)
                if (recv(s->fd, &byte, sizeof(byte), MSG_DONTWAIT) < 0)
                        return;
}

size_t sock_send(struct sock *s, struct addr to, struct pkt *const *pkts, size_t n)
{
        struct mmsghdr msgs[SOCK_BATCH];
        struct iovec iov[SOCK_BATCH];
        struct sockaddr_storage ss;
        socklen_t len = addr_to_sockaddr(to, &ss);
        size_t sent = 0;
        while (sent < n) {
                size_t m = n - sent < SOCK_BATCH ? n - sent : SOCK_BATCH;
                for (size_t i = 0; i < m; i++) {
                        struct pkt *p = pkts[sent + i];
                        iov[i] = (struct iovec){pkt_data(p), p->len};
                        msgs[i].msg_hdr = (struct msghdr){
                                .msg_name = &ss,
                                .msg_namelen = len,
                                .msg_iov = &iov[i],
                                .msg_iovlen = 1,
                        };
                }
                int took = sendmmsg(s->fd, msgs, (unsigned)m, MSG_DONTWAIT);
                if (took < 0 && errno == EINTR)
                        continue;
                if (took <= 0)
                        break;
                sent += (size_t)took;
        }
        return sent;
}

bool sock_send_bytes(struct sock *s, struct addr to, const void *data, size_t len)
{
        struct sockaddr_storage ss;
        socklen_t sa_len = addr_to_sockaddr(to, &ss);
        return sendto(s->fd, data, len, MSG_DONTWAIT, (const struct sockaddr *)&ss, sa_len) >= 0;
}
