#include "daemon/inside.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/crypto.h"
#include "daemon/netstack/relay.h"

enum { ROUNDS = 32, PATIENCE_MS = 10000 };

struct pipe {
        struct inside *owner;
        struct ip local;
        struct addr to;
        int fd;                     /* our end, until a relay has it; first a listener's */
        struct stack_conn *conn;    /* that opens */
        struct relay *relay;
        struct udp_port *port;
        struct watch watch;         /* of a datagram's, or a listener */
        struct timer patience;      /* of a listener */
        struct pipe *next, **prev;
};

struct inside {
        struct loop *loop;
        struct udp *udp;
        struct pipe *pipes;
        size_t count;
};

static void pipe_free(struct pipe *p)
{
        loop_unwatch(&p->watch);
        loop_timer_stop(&p->patience);
        if (p->fd >= 0)
                close(p->fd);
        if (p->conn != NULL)
                stack_abort(p->conn);
        relay_free(p->relay);
        if (p->port != NULL)
                udp_port_close(p->port);
        *p->prev = p->next;
        if (p->next != NULL)
                p->next->prev = p->prev;
        p->owner->count--;
        free(p);
}

/* ---- streams ---- */

static void on_over(void *arg)
{
        struct pipe *p = arg;
        p->relay = NULL;
        pipe_free(p);
}

static void on_stack(void *user)
{
        struct pipe *p = user;
        if (stack_state(p->conn) == STACK_OPENING)
                return;
        if (stack_state(p->conn) == STACK_OPEN) {
                struct relay_end near = {.fd = p->fd}, far = {.fd = -1, .conn = p->conn};
                p->fd = -1;
                p->conn = NULL;
                p->relay = relay_new(p->owner->loop, near, far, NULL, 0, on_over, p);
        }
        if (p->relay == NULL)
                pipe_free(p);
}

/* ---- datagrams ---- */

static void on_answer(void *arg, struct addr from, const uint8_t *data, size_t len)
{
        struct pipe *p = arg;
        if (addr_eq(from, p->to))
                (void)send(p->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void on_datagram(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        static uint8_t data[UINT16_MAX];
        struct pipe *p = container_of(w, struct pipe, watch);
        for (int i = 0; i < ROUNDS; i++) {
                ssize_t n = recv(w->fd, data, sizeof(data), MSG_DONTWAIT);
                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        return;
                if (n <= 0) {   /* whoever had the other end has closed it */
                        pipe_free(p);
                        return;
                }
                udp_port_send(p->port, p->to, data, (size_t)n);
        }
}

/* ---- both ---- */

static bool start(struct pipe *p, int type)
{
        if (type == SOCK_STREAM)
                return (p->conn = netstack_connect(p->local, p->to, on_stack, p)) != NULL;
        p->port = udp_port_open(p->owner->udp, p->local, on_answer, p);
        return p->port != NULL && loop_watch(p->owner->loop, &p->watch, p->fd, LOOP_READ) == ERR_NONE;
}

static struct pipe *pipe_new(struct inside *i, struct ip local, struct addr to)
{
        struct pipe *p = i->count < INSIDE_MAX ? calloc(1, sizeof(*p)) : NULL;
        if (p == NULL) {
                errno = ENOBUFS;
                return NULL;
        }
        p->owner = i;
        p->local = local;
        p->to = to;
        p->fd = -1;
        watch_init(&p->watch, on_datagram);
        p->next = i->pipes;
        p->prev = &i->pipes;
        if (p->next != NULL)
                p->next->prev = &p->next;
        i->pipes = p;
        i->count++;
        return p;
}

int inside_open(struct inside *i, struct ip local, struct addr to, int type)
{
        int fd[2];
        /* Datagrams over one that knows when its other end is closed. */
        int kind = (type == SOCK_STREAM ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_NONBLOCK | SOCK_CLOEXEC;
        struct pipe *p = pipe_new(i, local, to);
        if (p == NULL)
                return -1;
        if (socketpair(AF_UNIX, kind, 0, fd) != 0) {
                pipe_free(p);
                return -1;
        }
        p->fd = fd[0];
        if (start(p, type))
                return fd[1];
        pipe_free(p);
        close(fd[1]);
        errno = ENOBUFS;
        return -1;
}

/* ---- for those who insist on connecting ---- */

static bool is_ours(int fd)
{
        struct ucred who;
        socklen_t len = sizeof(who);
        return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.pid == getpid();
}

static void on_knock(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct pipe *p = container_of(w, struct pipe, watch);
        int fd = accept4(p->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 && !is_ours(fd)) {
                close(fd);
                return;
        }
        loop_unwatch(w);
        loop_timer_stop(&p->patience);
        close(p->fd);
        p->fd = fd;
        if (fd < 0 || !start(p, SOCK_STREAM))
                pipe_free(p);
}

/* Whoever asked for it has no descriptor left to connect with, or was called off. */
static void on_nobody(struct timer *timer, mono_t now)
{
        (void)now;
        pipe_free(container_of(timer, struct pipe, patience));
}

static int listen_at(const uint8_t name[DIALER_NAME_LEN])
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        memcpy(sa.sun_path + 1, name, DIALER_NAME_LEN);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0 && (bind(fd, (struct sockaddr *)&sa, offsetof(struct sockaddr_un, sun_path) + 1 + DIALER_NAME_LEN) != 0 ||
                               listen(fd, 1) != 0)) {
                close(fd);
                fd = -1;
        }
        return fd;
}

int inside_listen(struct inside *i, struct ip local, struct addr to, uint8_t ret_name[DIALER_NAME_LEN])
{
        struct pipe *p = pipe_new(i, local, to);
        if (p == NULL)
                return -1;
        crypto_random(ret_name, DIALER_NAME_LEN);
        watch_init(&p->watch, on_knock);
        timer_init(&p->patience, on_nobody);
        p->fd = listen_at(ret_name);
        if (p->fd >= 0 && loop_watch(i->loop, &p->watch, p->fd, LOOP_READ) == ERR_NONE) {
                loop_timer_in(i->loop, &p->patience, PATIENCE_MS);
                return 0;
        }
        pipe_free(p);
        errno = ENOBUFS;
        return -1;
}

struct inside *inside_new(struct loop *l, struct udp *u)
{
        struct inside *i = calloc(1, sizeof(*i));
        if (i == NULL)
                return NULL;
        i->loop = l;
        i->udp = u;
        return i;
}

void inside_free(struct inside *i)
{
        if (i == NULL)
                return;
        while (i->pipes != NULL)
                pipe_free(i->pipes);
        free(i);
}
