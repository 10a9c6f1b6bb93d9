/* A socket beside the one that all use, with a mapping of its own in the NAT: for netcheck it is another host of our network. */
#include "magicsock/internal.h"

enum { SECOND_BUFFER = 1 << 14 };   /* bytes; a few STUN messages come */

/* Only STUN is for it.  A report may end meanwhile, which closes it. */
static void on_readable(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        struct ms_udp *u = container_of(w, struct ms_udp, watch);
        struct pkt *got[SOCK_VIEWS_MAX];
        struct ms *ms = u->ms;
        if (!sock_recv(&u->sock, ms->rx, false))
                return;
        for (size_t n; (n = sock_rx_next(ms->rx, got)) > 0;)
                for (size_t i = 0; i < n; i++)
                        if (stun_is_binding(pkt_cdata(got[i]), got[i]->len))
                                netrun_on_second(ms->netrun, got[i]->src, pkt_cdata(got[i]), got[i]->len, now);
}

void ms_second_init(struct ms *ms)
{
        ms->second.ms = ms;
        sock_init(&ms->second.sock, IP_V4);
        ms->second.sock.buffer_bytes = SECOND_BUFFER;
        watch_init(&ms->second.watch, on_readable);
}

bool ms_second_send(struct ms *ms, struct addr to, const void *data, size_t len)
{
        struct ms_udp *u = &ms->second;
        if (!sock_is_open(&u->sock) && (sock_open(&u->sock, 0, ms->mark) != ERR_NONE ||
                                        loop_watch(ms->loop, &u->watch, u->sock.fd, LOOP_READ) != ERR_NONE)) {
                ms_second_close(ms);
                return false;
        }
        return sock_send_bytes(&u->sock, to, data, len);
}

void ms_second_close(struct ms *ms)
{
        loop_unwatch(&ms->second.watch);
        sock_close(&ms->second.sock);
}
