#include "daemon/netstack/stack_state.h"

#include <stdlib.h>
#include <string.h>

#include <lwip/inet_chksum.h>
#include <lwip/init.h>
#include <lwip/ip.h>
#include <lwip/timeouts.h>

enum {
        IP4_HEADER = 20,
        IP6_HEADER = 40,
        TCP_HEADER = 20,
        P_ICMP = 1,
        P_TCP = 6,
        P_UDP = 17,
        P_ICMP6 = 58,
        TICK_MAX_MS = 1000,
        IP6_SLOT = 1,            /* of the interface's addresses; 0 is for the link-local one, which starts discovery */
};

struct stack stack;

/* ---- addresses ---- */

void stack_to_lwip(const struct stack_end *e, ip_addr_t *out)
{
        memset(out, 0, sizeof(*out));
        if (e->family == 4) {
                IP_SET_TYPE_VAL(*out, IPADDR_TYPE_V4);
                memcpy(&ip_2_ip4(out)->addr, e->ip, 4);
        } else {
                IP_SET_TYPE_VAL(*out, IPADDR_TYPE_V6);
                memcpy(ip_2_ip6(out)->addr, e->ip, 16);
        }
}

void stack_from_lwip(const ip_addr_t *a, uint16_t port, struct stack_end *out)
{
        *out = (struct stack_end){.family = IP_IS_V6(a) ? 6 : 4, .port = port};
        if (IP_IS_V6(a))
                memcpy(out->ip, ip_2_ip6(a)->addr, 16);
        else
                memcpy(out->ip, &ip_2_ip4(a)->addr, 4);
}

static bool same_end(const struct stack_end *a, const struct stack_end *b)
{
        return a->family == b->family && a->port == b->port && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

static bool is_between(const struct tcp_pcb *p, const struct stack_end *local, const struct stack_end *remote)
{
        struct stack_end l, r;
        if (p->local_port != local->port || p->remote_port != remote->port)
                return false;
        stack_from_lwip(&p->local_ip, p->local_port, &l);
        stack_from_lwip(&p->remote_ip, p->remote_port, &r);
        return same_end(&l, local) && same_end(&r, remote);
}

static const struct stack_end rest4 = {.family = 4, .ip = {192, 0, 0, 8}};
static const struct stack_end rest6 = {.family = 6, .ip = {0x01, [15] = 1}};

/* Could it be the other side's?  Not what means this host to lwIP, which would send to itself and needs its thread for
 * that, nor what has more than one meaning: groups, links, IPv4 in the clothes of IPv6. */
bool stack_is_remote(const struct stack_end *e)
{
        static const uint8_t zero[16], mapped[12] = {[10] = 0xff, 0xff};
        const uint8_t *b = e->ip;
        if (e->family == 4)
                return b[0] != 0 && b[0] != 127 && b[0] < 224 && memcmp(b, rest4.ip, 4) != 0;
        return memcmp(b, zero, 15) != 0 && b[0] != 0xff && !(b[0] == 0xfe && (b[1] & 0xc0) == 0x80) &&
                memcmp(b, mapped, sizeof(mapped)) != 0 && memcmp(b, rest6.ip, 16) != 0;
}

/* The interface answers to one address a family.  It is the packet's own destination while lwIP looks at it, and else
 * one that nobody sends to; set behind lwIP's back, as it would reset the connections of the address before. */
static void answer_to(const struct stack_end *e)
{
        ip_addr_t a;
        stack_to_lwip(e != NULL && e->family == 4 ? e : &rest4, &a);
        ip_addr_copy(stack.netif.ip_addr, a);
        stack_to_lwip(e != NULL && e->family == 6 ? e : &rest6, &a);
        ip_addr_copy(stack.netif.ip6_addr[IP6_SLOT], a);
}

static bool parse_ends(const uint8_t *p, size_t len, struct stack_end *from, struct stack_end *to, uint8_t *proto, size_t *at)
{
        *from = *to = (struct stack_end){0};
        if (len >= IP4_HEADER && p[0] >> 4 == 4) {
                from->family = to->family = 4;
                memcpy(from->ip, p + 12, 4);
                memcpy(to->ip, p + 16, 4);
                *proto = (p[6] & 0x1f) != 0 || p[7] != 0 ? 0 : p[9];   /* a later fragment has no ports */
                *at = 4u * (p[0] & 15);
                return true;
        }
        if (len >= IP6_HEADER && p[0] >> 4 == 6) {
                from->family = to->family = 6;
                memcpy(from->ip, p + 8, 16);
                memcpy(to->ip, p + 24, 16);
                *proto = p[6];
                *at = IP6_HEADER;
                return true;
        }
        return false;
}

/* ---- packets out ---- */

/* The library was built for a window of 64 KiB.  Where it offers to scale its windows, the offer is made larger, and
 * with it later the window (stack_conn_opened()). */
static void offer_window(uint8_t *pkt, size_t len)
{
        struct stack_end from, to;
        uint8_t proto;
        size_t at;
        if (!parse_ends(pkt, len, &from, &to, &proto, &at) || proto != P_TCP || len < at + TCP_HEADER ||
                (pkt[at + 13] & TCP_SYN) == 0)
                return;
        for (size_t i = at + TCP_HEADER; i + 4 <= len; i += 4) {
                static const uint8_t scale[] = {1, 3, 3, TCP_RCV_SCALE};   /* in whole words, as it writes all of them */
                if (memcmp(pkt + i, scale, sizeof(scale)) != 0)
                        continue;
                pkt[i + 3] = WINDOW_SHIFT;
                uint32_t sum = (uint32_t)(pkt[at + 16] << 8 | pkt[at + 17]);
                sum = (uint16_t)~sum + (uint32_t)(WINDOW_SHIFT - TCP_RCV_SCALE);   /* RFC 1624 */
                sum = ~((sum & 0xffff) + (sum >> 16));
                pkt[at + 16] = (uint8_t)(sum >> 8);
                pkt[at + 17] = (uint8_t)sum;
                return;
        }
}

static err_t out(struct pbuf *p)
{
        uint8_t pkt[STACK_MTU];
        if (p->tot_len > sizeof(pkt))
                return ERR_BUF;
        u16_t len = pbuf_copy_partial(p, pkt, p->tot_len, 0);
        offer_window(pkt, len);
        if (stack.ops->send(stack.arg, pkt, len))
                return ERR_OK;
        stack.blocked = true;
        return ERR_MEM;   /* TCP offers it again */
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
        n->name[0] = 't';
        n->name[1] = 's';
        n->mtu = STACK_MTU;
        n->output = out4;
        n->output_ip6 = out6;
        return ERR_OK;
}

void stack_send(uint8_t proto, const struct stack_end *from, const struct stack_end *to, const uint8_t *data, size_t len,
        size_t sum_at)
{
        ip_addr_t src, dst;
        if (!stack.started || len > STACK_DATAGRAM_MAX || !stack_is_remote(to))
                return;
        struct pbuf *p = pbuf_alloc(PBUF_IP, (u16_t)len, PBUF_RAM);
        if (p == NULL)
                return;
        (void)pbuf_take(p, data, (u16_t)len);
        stack_to_lwip(from, &src);
        stack_to_lwip(to, &dst);
        if (sum_at != SIZE_MAX && sum_at + 2 <= len) {
                u16_t sum = proto == P_ICMP ? inet_chksum_pbuf(p) : ip_chksum_pseudo(p, proto, p->tot_len, &src, &dst);
                if (sum == 0 && proto == P_UDP)
                        sum = 0xffff;   /* zero means none */
                (void)pbuf_take_at(p, &sum, sizeof(sum), (u16_t)sum_at);
        }
        (void)ip_output_if_src(p, &src, &dst, 64, 0, proto, &stack.netif);
        pbuf_free(p);
}

/* ---- packets in ---- */

static void feed(const uint8_t *pkt, size_t len, const struct stack_end *to)
{
        struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16_t)len, PBUF_RAM);
        if (p == NULL)
                return;
        (void)pbuf_take(p, pkt, (u16_t)len);
        answer_to(to);
        if (ip_input(p, &stack.netif) != ERR_OK)
                pbuf_free(p);
        answer_to(NULL);
}

static struct stack_syn **find_held(const struct stack_end *from, const struct stack_end *to)
{
        struct stack_syn **at = &stack.held;
        while (*at != NULL && !(same_end(&(*at)->from, from) && same_end(&(*at)->to, to)))
                at = &(*at)->next;
        return at;
}

/* An old connection that only waits for stragglers makes room for a new one between the same ends. */
static bool is_known(const struct stack_end *from, const struct stack_end *to)
{
        for (struct tcp_pcb *p = tcp_active_pcbs; p != NULL; p = p->next)
                if (is_between(p, to, from))
                        return true;
        for (struct tcp_pcb *p = tcp_tw_pcbs; p != NULL; p = p->next) {
                if (is_between(p, to, from)) {
                        tcp_abort(p);
                        break;
                }
        }
        return *find_held(from, to) != NULL;
}

static void hold(const uint8_t *pkt, size_t len, const struct stack_end *from, const struct stack_end *to)
{
        struct stack_syn *s = len <= SYN_MAX && stack.held_count < STACK_HELD_MAX ? calloc(1, sizeof(*s)) : NULL;
        if (s == NULL)
                return;   /* it is sent again */
        s->from = *from;
        s->to = *to;
        s->len = len;
        memcpy(s->pkt, pkt, len);
        s->next = stack.held;
        stack.held = s;
        stack.held_count++;
        stack.ops->syn(stack.arg, s);
}

static void let_go(struct stack_syn *s)
{
        struct stack_syn **at = find_held(&s->from, &s->to);
        if (*at == s) {
                *at = s->next;
                stack.held_count--;
        }
        free(s);
}

void stack_syn_ends(const struct stack_syn *s, struct stack_end *from, struct stack_end *to)
{
        *from = s->from;
        *to = s->to;
}

/* Nobody listens there: lwIP answers by itself. */
void stack_refuse(struct stack_syn *s)
{
        feed(s->pkt, s->len, &s->to);
        let_go(s);
}

void stack_ignore(struct stack_syn *s)
{
        let_go(s);
}

/* The one listener takes the port for as long as a packet needs one, and else is not there: what lwIP makes of fragments
 * and extension headers may be a first packet to any port.  0: none. */
static void listen_at(uint16_t port)
{
        stack.listener->local_port = port;
        tcp_listen_pcbs.listen_pcbs = port != 0 ? stack.listener : NULL;
}

struct stack_conn *stack_accept(struct stack_syn *s, stack_fn fn, void *user)
{
        struct stack_conn *c = NULL;
        listen_at(s->to.port);
        feed(s->pkt, s->len, &s->to);
        listen_at(0);
        struct tcp_pcb *pcb = tcp_active_pcbs;
        while (pcb != NULL && !is_between(pcb, &s->to, &s->from))
                pcb = pcb->next;
        if (pcb != NULL && (c = stack_conn_new(pcb, fn, user)) == NULL)
                tcp_abort(pcb);
        let_go(s);
        return c;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
        if (err != ERR_OK || pcb == NULL || arg == NULL)
                return ERR_VAL;
        stack_conn_opened(arg);
        return ERR_OK;
}

void stack_in(const uint8_t *pkt, size_t len)
{
        struct stack_end from, to;
        uint8_t proto;
        size_t at;
        if (!stack.started || len > STACK_MTU || !parse_ends(pkt, len, &from, &to, &proto, &at) || !stack_is_remote(&from) ||
                !stack_is_remote(&to) || memcmp(from.ip, to.ip, sizeof(from.ip)) == 0)
                return;
        if (proto == P_TCP) {
                if (len < at + TCP_HEADER)
                        return;
                from.port = (uint16_t)(pkt[at] << 8 | pkt[at + 1]);
                to.port = (uint16_t)(pkt[at + 2] << 8 | pkt[at + 3]);
                if (from.port == 0 || to.port == 0)
                        return;
                if ((pkt[at + 13] & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN && !is_known(&from, &to)) {
                        hold(pkt, len, &from, &to);
                        return;
                }
                if (*find_held(&from, &to) != NULL)
                        return;   /* sent again meanwhile */
        }
        feed(pkt, len, &to);
}

static u8_t on_raw(void *arg, struct raw_pcb *pcb, struct pbuf *p, const ip_addr_t *src)
{
        (void)arg;
        static uint8_t data[UINT16_MAX];
        struct stack_end from, to;
        size_t header = ip_current_header_tot_len();
        if (stack.ops->datagram != NULL && p->tot_len > header) {
                stack_from_lwip(src, 0, &from);
                stack_from_lwip(ip_current_dest_addr(), 0, &to);
                size_t n = pbuf_copy_partial(p, data, (u16_t)(p->tot_len - header), (u16_t)header);
                stack.ops->datagram(stack.arg, pcb->protocol, &from, &to, data, n);
        }
        pbuf_free(p);
        return 1;
}

/* ---- time ---- */

static void drop_excess(void)
{
        size_t n = 0;
        for (struct tcp_pcb *p = tcp_tw_pcbs, *next; p != NULL; p = next) {   /* newest first */
                next = p->next;
                if (++n > STACK_LINGERING_MAX)
                        tcp_abort(p);
        }
        stack_drop_excess();
}

int stack_run(void)
{
        static u32_t last;
        sys_check_timeouts();
        if (stack.blocked) {
                stack.blocked = false;
                tcp_txnow();
        }
        u32_t now = sys_now();
        if (now - last >= TICK_MAX_MS) {
                last = now;
                drop_excess();
        }
        stack_call_owners();
        if (stack.blocked)
                return 1;
        if (tcp_active_pcbs == NULL && tcp_tw_pcbs == NULL)
                return -1;
        u32_t ms = sys_timeouts_sleeptime();
        return ms < TICK_MAX_MS ? (int)ms : TICK_MAX_MS;
}

/* ---- life ---- */

static bool listen_everywhere(void)
{
        struct tcp_pcb *pcb = tcp_new_ip_type(IPADDR_TYPE_ANY);
        struct tcp_pcb *l = NULL;
        if (pcb == NULL)
                return false;
        if (tcp_bind(pcb, IP_ANY_TYPE, 0) == ERR_OK)
                l = tcp_listen_with_backlog(pcb, TCP_DEFAULT_LISTEN_BACKLOG);
        if (l == NULL) {
                (void)tcp_close(pcb);
                return false;
        }
        tcp_accept(l, on_accept);
        stack.listener = (struct tcp_pcb_listen *)(void *)l;
        listen_at(0);
        return true;
}

static bool plug_in(void)
{
        static const uint8_t protos[] = {P_UDP, P_ICMP, P_ICMP6};
        ip4_addr_t a4, mask, gateway;
        IP4_ADDR(&a4, 192, 0, 0, 8);
        IP4_ADDR(&mask, 255, 255, 255, 255);
        ip4_addr_set_zero(&gateway);
        if (netif_add(&stack.netif, &a4, &mask, &gateway, NULL, netif_ready, ip_input) == NULL)
                return false;
        answer_to(NULL);
        netif_ip6_addr_set_state(&stack.netif, IP6_SLOT, IP6_ADDR_PREFERRED);
        netif_set_default(&stack.netif);
        netif_set_up(&stack.netif);
        netif_set_link_up(&stack.netif);
        for (size_t i = 0; i < sizeof(protos); i++) {
                stack.raw[i] = raw_new_ip_type(IPADDR_TYPE_ANY, protos[i]);
                if (stack.raw[i] == NULL)
                        return false;
                raw_recv(stack.raw[i], on_raw, NULL);
        }
        return listen_everywhere();
}

static void unplug(void)
{
        for (size_t i = 0; i < sizeof(stack.raw) / sizeof(stack.raw[0]); i++)
                if (stack.raw[i] != NULL)
                        raw_remove(stack.raw[i]);
        memset(stack.raw, 0, sizeof(stack.raw));
        if (stack.listener != NULL)
                (void)tcp_close((struct tcp_pcb *)(void *)stack.listener);
        stack.listener = NULL;
        netif_remove(&stack.netif);
}

bool stack_start(const struct stack_ops *ops, void *arg)
{
        if (!stack.initialised)
                lwip_init();
        stack.initialised = true;
        stack.ops = ops;
        stack.arg = arg;
        stack.started = plug_in();
        if (!stack.started)
                unplug();
        return stack.started;
}

void stack_stop(void)
{
        if (!stack.started)
                return;
        while (stack.conns != NULL)
                stack_abort(stack.conns);
        while (stack.held != NULL)
                let_go(stack.held);
        while (tcp_active_pcbs != NULL)   /* closed ones, which have no owner any more */
                tcp_abort(tcp_active_pcbs);
        unplug();
        stack.started = false;
}
