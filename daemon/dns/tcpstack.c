#include "daemon/dns/tcpstack.h"

#include <stdlib.h>
#include <string.h>

#include <lwip/init.h>
#include <lwip/ip.h>
#include <lwip/netif.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>
#include <lwip/timeouts.h>

struct tcpstack_conn {
        struct tcp_pcb *pcb;
        void *user;
        struct tcpstack_conn *next, **prev;
        struct fate *fate; /* watched while its owner is called */
};

/* What became of a connection while its owner was called: lwIP has to be told of an abort. */
struct fate {
        bool gone, aborted;
};

static struct {
        bool initialised;
        struct netif netif;
        struct tcp_pcb *listener;
        struct tcpstack_conn *conns;
        const struct tcpstack_ops *ops;
        void *arg;
} stack;

/* ---- packets ---- */

static err_t out(struct pbuf *p)
{
        uint8_t pkt[TCPSTACK_MTU];
        if (p->tot_len > sizeof(pkt))
                return ERR_BUF;
        stack.ops->send(stack.arg, pkt, pbuf_copy_partial(p, pkt, p->tot_len, 0));
        return ERR_OK;
}

static err_t out4(struct netif *n, struct pbuf *p, const ip4_addr_t *to)
{
        (void)n;
        (void)to;
        return out(p);
}

static err_t out6(struct netif *n, struct pbuf *p, const ip6_addr_t *to)
{
        (void)n;
        (void)to;
        return out(p);
}

static err_t netif_ready(struct netif *n)
{
        n->name[0] = 'd';
        n->name[1] = 'n';
        n->mtu = TCPSTACK_MTU;
        n->output = out4;
        n->output_ip6 = out6;
        return ERR_OK;
}

void tcpstack_in(const uint8_t *pkt, size_t len)
{
        if (stack.listener == NULL || len > TCPSTACK_MTU)
                return;
        struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16_t)len, PBUF_RAM);
        if (p == NULL)
                return;
        (void)pbuf_take(p, pkt, (u16_t)len);
        if (stack.netif.input(p, &stack.netif) != ERR_OK)
                pbuf_free(p);
}

int tcpstack_tick(void)
{
        sys_check_timeouts();
        if (tcp_active_pcbs == NULL && tcp_tw_pcbs == NULL)
                return -1;
        u32_t ms = sys_timeouts_sleeptime();
        return ms < 1000 ? (int)ms : 1000;
}

/* ---- connections ---- */

static void forget(struct tcpstack_conn *c)
{
        *c->prev = c->next;
        if (c->next != NULL)
                c->next->prev = c->prev;
        if (c->fate != NULL)
                c->fate->gone = true;
        free(c);
}

static void detach(struct tcpstack_conn *c)
{
        tcp_arg(c->pcb, NULL);
        tcp_recv(c->pcb, NULL);
        tcp_sent(c->pcb, NULL);
        tcp_err(c->pcb, NULL);
}

void tcpstack_abort(struct tcpstack_conn *c)
{
        detach(c);
        tcp_abort(c->pcb);
        if (c->fate != NULL)
                c->fate->aborted = true;
        forget(c);
}

void tcpstack_close(struct tcpstack_conn *c)
{
        struct tcp_pcb *pcb = c->pcb;
        detach(c);
        if (tcp_close(pcb) != ERR_OK) {
                tcp_arg(pcb, c);
                tcpstack_abort(c);
                return;
        }
        forget(c);
}

/* lwIP has freed the pcb already. */
static void on_err(void *arg, err_t err)
{
        (void)err;
        struct tcpstack_conn *c = arg;
        if (c == NULL)
                return;
        void *user = c->user;
        forget(c);
        stack.ops->closed(user);
}

static err_t end_call(struct tcpstack_conn *c, const struct fate *f)
{
        if (!f->gone)
                c->fate = NULL;
        return f->aborted ? ERR_ABRT : ERR_OK;
}

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
        struct tcpstack_conn *c = arg;
        struct fate fate = {0};
        if (err != ERR_OK)
                return err;
        u16_t len = p != NULL ? p->tot_len : 0;
        uint8_t *copy = p != NULL ? malloc(len ? len : 1) : NULL;
        if (p != NULL && copy == NULL)
                return ERR_MEM;   /* it is offered again */
        c->fate = &fate;
        if (p == NULL) {
                stack.ops->eof(c->user);
                return end_call(c, &fate);
        }
        (void)pbuf_copy_partial(p, copy, len, 0);
        pbuf_free(p);
        tcp_recved(pcb, len);
        stack.ops->data(c->user, copy, len);
        free(copy);
        return end_call(c, &fate);
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
        (void)pcb;
        (void)len;
        struct tcpstack_conn *c = arg;
        struct fate fate = {0};
        c->fate = &fate;
        stack.ops->room(c->user);
        return end_call(c, &fate);
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
        (void)arg;
        struct tcpstack_conn *c = err == ERR_OK && pcb != NULL ? calloc(1, sizeof(*c)) : NULL;
        if (c == NULL)
                return ERR_MEM;
        c->pcb = pcb;
        c->next = stack.conns;
        c->prev = &stack.conns;
        if (c->next != NULL)
                c->next->prev = &c->next;
        stack.conns = c;
        c->user = stack.ops->accept(stack.arg, c);
        if (c->user == NULL) {
                forget(c);
                tcp_abort(pcb);
                return ERR_ABRT;
        }
        tcp_arg(pcb, c);
        tcp_recv(pcb, on_recv);
        tcp_sent(pcb, on_sent);
        tcp_err(pcb, on_err);
        tcp_nagle_disable(pcb);
        return ERR_OK;
}

size_t tcpstack_write(struct tcpstack_conn *c, const void *data, size_t len)
{
        size_t room = tcp_sndbuf(c->pcb), n = len < room ? len : room;
        if (n > UINT16_MAX)
                n = UINT16_MAX;
        if (n == 0 || tcp_write(c->pcb, data, (u16_t)n, TCP_WRITE_FLAG_COPY) != ERR_OK)
                return 0;
        (void)tcp_output(c->pcb);
        return n;
}

/* ---- life ---- */

static bool listen_on(uint16_t port)
{
        struct tcp_pcb *pcb = tcp_new_ip_type(IPADDR_TYPE_ANY);
        if (pcb == NULL)
                return false;
        if (tcp_bind(pcb, IP_ANY_TYPE, port) == ERR_OK)
                stack.listener = tcp_listen_with_backlog(pcb, 64);
        if (stack.listener == NULL) {
                (void)tcp_close(pcb);
                return false;
        }
        tcp_accept(stack.listener, on_accept);
        return true;
}

static bool plug_in(const uint8_t ip4[4], const uint8_t ip6[16])
{
        ip4_addr_t a4, mask, gateway;
        ip6_addr_t a6;
        s8_t index = 1;
        IP4_ADDR(&a4, ip4[0], ip4[1], ip4[2], ip4[3]);
        IP4_ADDR(&mask, 255, 255, 255, 255);
        ip4_addr_set_zero(&gateway);
        if (netif_add(&stack.netif, &a4, &mask, &gateway, NULL, netif_ready, ip_input) == NULL)
                return false;
        memset(&a6, 0, sizeof(a6));
        memcpy(a6.addr, ip6, 16);
        netif_ip6_addr_set(&stack.netif, index, &a6);
        netif_ip6_addr_set_state(&stack.netif, index, IP6_ADDR_PREFERRED);
        netif_set_default(&stack.netif);
        netif_set_up(&stack.netif);
        netif_set_link_up(&stack.netif);
        return true;
}

bool tcpstack_start(const uint8_t ip4[4], const uint8_t ip6[16], uint16_t port, const struct tcpstack_ops *ops,
        void *arg)
{
        if (!stack.initialised)
                lwip_init();
        stack.initialised = true;
        stack.ops = ops;
        stack.arg = arg;
        if (!plug_in(ip4, ip6))
                return false;
        if (listen_on(port))
                return true;
        netif_remove(&stack.netif);
        return false;
}

void tcpstack_stop(void)
{
        if (stack.listener == NULL)
                return;
        while (stack.conns != NULL) {
                void *user = stack.conns->user;
                tcpstack_abort(stack.conns);
                stack.ops->closed(user);
        }
        (void)tcp_close(stack.listener);
        stack.listener = NULL;
        while (tcp_active_pcbs != NULL)   /* half closed ones, which have no owner any more */
                tcp_abort(tcp_active_pcbs);
        netif_remove(&stack.netif);
}
