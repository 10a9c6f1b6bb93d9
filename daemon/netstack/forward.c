#include "daemon/netstack/forward.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/netstack/relay.h"

/* First a socket that connects while the peer's first packet is held, then a relay. */
struct passage {
        struct forward *f;
        struct ip source;
        struct stack_syn *syn;     /* NULL: it is a relay */
        struct watch watch;
        struct timer patience;
        struct relay *relay;
        struct passage *next, **prev;
};

struct forward {
        struct loop *loop;
        forward_fn fn;
        void *arg;
        struct passage *passages;
        size_t count, max;
        struct log_limit full;
};

static void passage_free(struct passage *p)
{
        int fd = p->watch.fd;
        loop_unwatch(&p->watch);
        if (fd >= 0)
                close(fd);
        loop_timer_stop(&p->patience);
        relay_free(p->relay);
        *p->prev = p->next;
        if (p->next != NULL)
                p->next->prev = p->prev;
        p->f->count--;
        free(p);
}

static void refuse(struct passage *p)
{
        stack_refuse(p->syn);
        passage_free(p);
}

static void on_over(void *arg)
{
        struct passage *p = arg;
        p->relay = NULL;
        passage_free(p);
}

static void on_change(void *user)
{
        (void)user;   /* the relay, which takes over at once, looks for itself */
}

/* The peer's connection opens, too. */
static void join(struct passage *p, int fd)
{
        struct stack_conn *c = stack_accept(p->syn, on_change, NULL);
        p->syn = NULL;
        loop_timer_stop(&p->patience);
        if (c == NULL)
                close(fd);
        else
                p->relay = relay_new(p->f->loop, (struct relay_end){.fd = fd}, (struct relay_end){.fd = -1, .conn = c}, NULL, 0,
                        on_over, p);
        if (p->relay == NULL)
                passage_free(p);
}

static void on_socket(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct passage *p = container_of(w, struct passage, watch);
        int e = 0, fd = w->fd;
        socklen_t len = sizeof(e);
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) != 0 || e != 0) {
                refuse(p);
                return;
        }
        loop_unwatch(w);
        join(p, fd);
}

static void on_late(struct timer *t, mono_t now)
{
        (void)now;
        refuse(container_of(t, struct passage, patience));
}

static struct passage *passage_new(struct forward *f, struct stack_syn *s, struct ip source)
{
        size_t same = 0;
        for (struct passage *p = f->passages; p != NULL; p = p->next)
                same += ip_eq(p->source, source);
        struct passage *p = f->count < f->max && same < f->max / 2 ? calloc(1, sizeof(*p)) : NULL;
        if (p == NULL) {
                char text[IP_STR_MAX];
                if (!log_limited(&f->full, loop_now(f->loop)))
                        log_warn("a connection from %s is refused: %zu are open, %zu of them from there", ip_str(source, text),
                                f->count, same);
                return NULL;
        }
        p->f = f;
        p->source = source;
        p->syn = s;
        watch_init(&p->watch, on_socket);
        timer_init(&p->patience, on_late);
        p->next = f->passages;
        p->prev = &f->passages;
        if (p->next != NULL)
                p->next->prev = &p->next;
        f->passages = p;
        f->count++;
        return p;
}

static int start_connect(struct addr to)
{
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr(to, &sa);
        int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&sa, len) == 0 || errno == EINPROGRESS)
                return fd;
        close(fd);
        return -1;
}

void forward_syn(struct forward *f, struct stack_syn *s)
{
        struct addr from, to;
        netstack_syn_ends(s, &from, &to);
        switch (f->fn(f->arg, s, from, &to)) {
        case FORWARD_TAKEN:
                return;
        case FORWARD_REFUSE:
                stack_refuse(s);
                return;
        case FORWARD_KERNEL:
                break;
        }
        struct passage *p = passage_new(f, s, from.ip);
        int fd = p != NULL ? start_connect(to) : -1;
        if (p == NULL) {
                stack_refuse(s);
        } else if (fd < 0 || loop_watch(f->loop, &p->watch, fd, LOOP_WRITE) != ERR_NONE) {
                if (fd >= 0)
                        close(fd);
                refuse(p);
        } else {
                loop_timer_in(f->loop, &p->patience, FORWARD_TRY_MS);
        }
}

void forward_to_socket(struct forward *f, struct stack_syn *s, int fd)
{
        struct addr from, to;
        netstack_syn_ends(s, &from, &to);
        struct passage *p = passage_new(f, s, from.ip);
        if (p != NULL) {
                join(p, fd);
                return;
        }
        stack_refuse(s);
        close(fd);
}

struct forward *forward_new(struct loop *l, size_t max, forward_fn fn, void *arg)
{
        struct forward *f = calloc(1, sizeof(*f));
        if (f == NULL)
                return NULL;
        f->loop = l;
        f->max = max;
        f->fn = fn;
        f->arg = arg;
        return f;
}

void forward_free(struct forward *f)
{
        if (f == NULL)
                return;
        while (f->passages != NULL) {
                if (f->passages->syn != NULL)
                        stack_refuse(f->passages->syn);
                passage_free(f->passages);
        }
        free(f);
}
