#include "daemon/netstack/stack_state.h"

#include <stdlib.h>
#include <string.h>

enum {
        RECEIVE_FIRST = 16 * 1024,
        OUT_OF_ORDER_MAX = 512,  /* buffers of one connection: tiny segments cost far more than their bytes */
        WINDOW_FIRST = 32 * 1024,   /* fits into the short queue that a sender has before its relay */
        WIDEN_SLOWLY = 256,      /* after a loss: bytes that come in order for each by which it widens */
};

/* ---- whom to call ---- */

static void call_later(struct stack_conn *c)
{
        if (c->queued)
                return;
        c->queued = true;
        c->queue_next = stack.queue;
        c->queue_prev = &stack.queue;
        if (c->queue_next != NULL)
                c->queue_next->queue_prev = &c->queue_next;
        stack.queue = c;
}

static void call_not(struct stack_conn *c)
{
        if (!c->queued)
                return;
        c->queued = false;
        *c->queue_prev = c->queue_next;
        if (c->queue_next != NULL)
                c->queue_next->queue_prev = c->queue_prev;
}

static void conn_free(struct stack_conn *c)
{
        call_not(c);
        *c->prev = c->next;
        if (c->next != NULL)
                c->next->prev = c->prev;
        free(c->rx);
        free(c);
}

/* ---- bytes in ---- */

static bool grow(struct stack_conn *c, size_t want)
{
        size_t cap = c->rx_cap ? c->rx_cap : RECEIVE_FIRST;
        while (cap < want)
                cap *= 2;
        if (cap == c->rx_cap)
                return true;
        uint8_t *rx = malloc(cap);
        if (rx == NULL)
                return false;
        struct iovec v[2];
        size_t at = 0;
        for (int i = 0, n = stack_peek(c, v); i < n; at += v[i++].iov_len)
                memcpy(rx + at, v[i].iov_base, v[i].iov_len);
        free(c->rx);
        c->rx = rx;
        c->rx_at = 0;
        c->rx_cap = cap;
        return true;
}

/* The window is how far a sender runs ahead.  A queue on the way that overflows costs more than it gains: there are no
 * selective acknowledgements here, so each lost segment of a window takes a round trip.  It widens while all comes in
 * order, and begins anew when something was missing: then a segment comes together with what had to wait for it. */
static void adapt_window(struct stack_conn *c, size_t got)
{
        bool missed = got > STACK_MTU || c->pcb->ooseq != NULL;
        if (missed && !c->missing) {
                c->lossy = true;
                c->window = WINDOW_FIRST;
        } else if (!missed) {
                size_t wider = c->window + (c->lossy ? got / WIDEN_SLOWLY : got);
                c->window = (tcpwnd_size_t)(wider < c->window_max ? wider : c->window_max);
        }
        c->missing = missed;
}

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
        (void)pcb;
        struct stack_conn *c = arg;
        if (err != ERR_OK)
                return err;
        if (p == NULL) {
                c->eof = true;
                call_later(c);
                return ERR_OK;
        }
        if (!grow(c, c->rx_len + p->tot_len))
                return ERR_MEM;   /* it is offered again */
        size_t end = (c->rx_at + c->rx_len) % c->rx_cap, first = c->rx_cap - end;
        u16_t n = p->tot_len < first ? p->tot_len : (u16_t)first;
        (void)pbuf_copy_partial(p, c->rx + end, n, 0);
        (void)pbuf_copy_partial(p, c->rx, (u16_t)(p->tot_len - n), n);
        c->rx_len += p->tot_len;
        adapt_window(c, p->tot_len);
        pbuf_free(p);
        call_later(c);
        return ERR_OK;
}

int stack_peek(const struct stack_conn *c, struct iovec out[2])
{
        size_t first = c->rx_cap - c->rx_at;
        if (c->rx_len == 0)
                return 0;
        if (first > c->rx_len)
                first = c->rx_len;
        out[0] = (struct iovec){c->rx + c->rx_at, first};
        out[1] = (struct iovec){c->rx, c->rx_len - first};
        return first < c->rx_len ? 2 : 1;
}

void stack_consume(struct stack_conn *c, size_t n)
{
        c->rx_len -= n;
        c->rx_at = c->rx_len > 0 ? (c->rx_at + n) % c->rx_cap : 0;
        if (c->pcb == NULL || n == 0)
                return;
        /* As tcp_recved() does, but for its limit; what was offered is never taken back. */
        size_t taken = c->rx_len, open = c->window > taken ? c->window - taken : 0;
        if (c->pcb->rcv_wnd < open)
                c->pcb->rcv_wnd = (tcpwnd_size_t)open;
        if (tcp_update_rcv_ann_wnd(c->pcb) < TCP_WND_UPDATE_THRESHOLD)
                return;
        tcp_ack_now(c->pcb);
        (void)tcp_output(c->pcb);
}

bool stack_eof(const struct stack_conn *c)
{
        return c->eof && c->rx_len == 0;
}

/* ---- life of a connection ---- */

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
        (void)pcb;
        (void)len;
        call_later(arg);
        return ERR_OK;
}

/* lwIP has freed the pcb already. */
static void on_err(void *arg, err_t err)
{
        struct stack_conn *c = arg;
        if (c == NULL)
                return;
        c->pcb = NULL;
        if (err == ERR_CLSD)
                c->eof = true;
        else if (err == ERR_RST)
                c->state = c->state == STACK_OPENING ? STACK_REFUSED : STACK_BROKEN;
        else
                c->state = c->state == STACK_OPENING ? STACK_TIMED_OUT : STACK_BROKEN;
        call_later(c);
}

/* It is open: buffers of a size for long ways, and where the other side can scale windows as well, windows. */
void stack_conn_opened(struct stack_conn *c)
{
        struct tcp_pcb *p = c->pcb;
        c->state = STACK_OPEN;
        p->snd_buf += STACK_SEND - TCP_SND_BUF;
        p->ssthresh = STACK_SEND;
        if (p->flags & TF_WND_SCALE) {
                p->rcv_scale = WINDOW_SHIFT;
                c->window_max = STACK_RECEIVE;
        }
        call_later(c);
}

struct stack_conn *stack_conn_new(struct tcp_pcb *pcb, stack_fn fn, void *user)
{
        struct stack_conn *c = calloc(1, sizeof(*c));
        if (c == NULL)
                return NULL;
        *c = (struct stack_conn){.pcb = pcb, .window = WINDOW_FIRST, .window_max = TCP_WND, .fn = fn, .user = user, .next = stack.conns, .prev = &stack.conns};
        if (c->next != NULL)
                c->next->prev = &c->next;
        stack.conns = c;
        tcp_arg(pcb, c);
        tcp_recv(pcb, on_recv);
        tcp_sent(pcb, on_sent);
        tcp_err(pcb, on_err);
        tcp_nagle_disable(pcb);
        ip_set_option(pcb, SOF_KEEPALIVE);
        return c;
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t err)
{
        (void)pcb;
        (void)err;
        stack_conn_opened(arg);
        return ERR_OK;
}

struct stack_conn *stack_connect(const struct stack_end *local, const struct stack_end *remote, stack_fn fn, void *user)
{
        ip_addr_t l, r;
        stack_to_lwip(local, &l);
        stack_to_lwip(remote, &r);
        struct tcp_pcb *pcb = stack.started && stack_is_remote(remote) ? tcp_new_ip_type(IP_GET_TYPE(&r)) : NULL;
        if (pcb == NULL)
                return NULL;
        struct stack_conn *c = stack_conn_new(pcb, fn, user);
        if (c != NULL && tcp_bind(pcb, &l, local->port) == ERR_OK &&
                tcp_connect(pcb, &r, remote->port, on_connected) == ERR_OK) {
                stack.ops->wake(stack.arg);
                return c;
        }
        if (c != NULL)
                stack_abort(c);
        else
                tcp_abort(pcb);
        return NULL;
}

void stack_owner(struct stack_conn *c, stack_fn fn, void *user)
{
        c->fn = fn;
        c->user = user;
        call_later(c);
        stack.ops->wake(stack.arg);
}

enum stack_state stack_state(const struct stack_conn *c)
{
        return c->state;
}

void stack_local(const struct stack_conn *c, struct stack_end *ret)
{
        *ret = (struct stack_end){0};
        if (c->pcb != NULL)
                stack_from_lwip(&c->pcb->local_ip, c->pcb->local_port, ret);
}

size_t stack_room(const struct stack_conn *c)
{
        if (c->pcb == NULL || c->state != STACK_OPEN)
                return 0;
        return tcp_sndqueuelen(c->pcb) < TCP_SND_QUEUELEN ? tcp_sndbuf(c->pcb) : 0;
}

size_t stack_write(struct stack_conn *c, const void *data, size_t len)
{
        const uint8_t *p = data;
        size_t done = 0;
        while (done < len && c->pcb != NULL) {
                size_t n = stack_room(c), step = 4u * c->pcb->mss;   /* what has no room fails as a whole */
                n = n < len - done ? n : len - done;
                n = n < step ? n : step;
                if (n == 0 || tcp_write(c->pcb, p + done, (u16_t)n, TCP_WRITE_FLAG_COPY) != ERR_OK)
                        break;
                done += n;
        }
        if (done > 0)
                (void)tcp_output(c->pcb);
        return done;
}

static void detach(struct stack_conn *c)
{
        tcp_arg(c->pcb, NULL);
        tcp_recv(c->pcb, NULL);
        tcp_sent(c->pcb, NULL);
        tcp_err(c->pcb, NULL);
}

void stack_shut(struct stack_conn *c)
{
        if (c->pcb != NULL)
                (void)tcp_shutdown(c->pcb, 0, 1);
}

void stack_abort(struct stack_conn *c)
{
        if (c->pcb != NULL) {
                detach(c);
                tcp_abort(c->pcb);
        }
        conn_free(c);
}

void stack_close(struct stack_conn *c)
{
        if (c->pcb == NULL) {
                conn_free(c);
                return;
        }
        struct tcp_pcb *pcb = c->pcb;
        detach(c);
        if (c->rx_len == 0)
                pcb->rcv_wnd = TCP_WND_MAX(pcb);   /* which is how it knows that all was read */
        if (tcp_close(pcb) != ERR_OK)
                tcp_abort(pcb);
        conn_free(c);
}

/* ---- for who runs the stack ---- */

void stack_call_owners(void)
{
        for (struct stack_conn *c; (c = stack.queue) != NULL;) {
                call_not(c);
                c->fn(c->user);
        }
}

void stack_drop_excess(void)
{
        for (struct stack_conn *c = stack.conns; c != NULL; c = c->next) {
                size_t buffers = 0;
                for (struct tcp_seg *s = c->pcb != NULL ? c->pcb->ooseq : NULL; s != NULL; s = s->next)
                        buffers++;
                if (buffers > OUT_OF_ORDER_MAX)
                        tcp_free_ooseq(c->pcb);   /* it is sent again */
        }
}
