#include "daemon/netstack/netstack.h"

#include <stdlib.h>
#include <string.h>

struct netstack {
        struct loop *loop;
        const struct netstack_ops *ops;
        void *arg;
        struct timer tick;
        bool inside;      /* the stack runs, and must not be entered again */
};

static struct stack_end end_of(struct addr a)
{
        struct stack_end e = {.family = a.ip.family, .port = a.port};
        memcpy(e.ip, a.ip.b, sizeof(e.ip));
        return e;
}

static struct addr addr_of(const struct stack_end *e)
{
        return (struct addr){e->family == 4 ? ip_from_bytes4(e->ip) : ip_from_bytes16(e->ip), e->port};
}

void netstack_run(struct netstack *n)
{
        if (n->inside)
                return;
        n->inside = true;
        int ms = stack_run();
        n->inside = false;
        if (ms >= 0)
                loop_timer_in(n->loop, &n->tick, ms > 0 ? ms : 1);
        else
                loop_timer_stop(&n->tick);
}

static void on_tick(struct timer *timer, mono_t now)
{
        (void)now;
        netstack_run(container_of(timer, struct netstack, tick));
}

static bool on_send(void *arg, const uint8_t *pkt, size_t len)
{
        struct netstack *n = arg;
        return n->ops->send(n->arg, pkt, len);
}

static void on_syn(void *arg, struct stack_syn *s)
{
        struct netstack *n = arg;
        n->ops->syn(n->arg, s);
}

static void on_datagram(void *arg, uint8_t proto, const struct stack_end *from, const struct stack_end *to,
        const uint8_t *data, size_t len)
{
        struct netstack *n = arg;
        if (n->ops->datagram != NULL)
                n->ops->datagram(n->arg, proto, addr_of(from), addr_of(to), data, len);
}

static void on_wake(void *arg)
{
        struct netstack *n = arg;
        if (!n->inside)
                loop_timer_in(n->loop, &n->tick, 0);
}

static const struct stack_ops ops = {on_send, on_syn, on_datagram, on_wake};

struct netstack *netstack_new(struct loop *l, const struct netstack_ops *o, void *arg)
{
        struct netstack *n = calloc(1, sizeof(*n));
        if (n == NULL)
                return NULL;
        n->loop = l;
        n->ops = o;
        n->arg = arg;
        timer_init(&n->tick, on_tick);
        if (stack_start(&ops, n))
                return n;
        free(n);
        return NULL;
}

void netstack_free(struct netstack *n)
{
        if (n == NULL)
                return;
        stack_stop();
        loop_timer_stop(&n->tick);
        free(n);
}

void netstack_in(struct netstack *n, const uint8_t *pkt, size_t len)
{
        stack_in(pkt, len);
        on_wake(n);
}

void netstack_send(uint8_t proto, struct addr from, struct addr to, const uint8_t *data, size_t len, size_t sum_at)
{
        struct stack_end f = end_of(from), t = end_of(to);
        stack_send(proto, &f, &t, data, len, sum_at);
}

void netstack_syn_ends(const struct stack_syn *s, struct addr *from, struct addr *to)
{
        struct stack_end f, t;
        stack_syn_ends(s, &f, &t);
        *from = addr_of(&f);
        *to = addr_of(&t);
}

struct stack_conn *netstack_connect(struct ip local, struct addr remote, stack_fn fn, void *user)
{
        struct stack_end l = end_of((struct addr){local, 0}), r = end_of(remote);
        return stack_connect(&l, &r, fn, user);
}

struct addr netstack_local(const struct stack_conn *c)
{
        struct stack_end e;
        stack_local(c, &e);
        return addr_of(&e);
}
