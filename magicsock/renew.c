#include <errno.h>

#include "magicsock/internal.h"

enum { RETIRED_MS = 1000 };   /* sockets are read after others took over */

static enum err watch_udp(struct ms *ms, struct ms_udp *u)
{
        return sock_is_open(&u->sock) ? loop_watch(ms->loop, &u->watch, u->sock.fd, LOOP_READ) : ERR_NONE;
}

static void close_udp(struct ms_udp *u)
{
        loop_unwatch(&u->watch);
        sock_close(&u->sock);
}

static void on_retired_timer(struct timer *t, mono_t now)
{
        struct ms *ms = container_of(t, struct ms, retired_timer);
        for (int i = 0; i < 2; i++) {
                if (sock_is_open(&ms->retired[i].sock))
                        ms_on_udp(&ms->retired[i].watch, LOOP_READ, now);   /* the last of it */
                close_udp(&ms->retired[i]);
        }
}

/* If the fresh one cannot be watched, the one in use goes on: the place of its own that it had is free again. */
static enum err take_over(struct ms *ms, int i, const struct sock *fresh)
{
        struct ms_udp *u = &ms->udp[i], *old = &ms->retired[i];
        struct sock before = u->sock;
        loop_unwatch(&u->watch);
        u->sock = *fresh;
        enum err e = watch_udp(ms, u);
        if (e != ERR_NONE) {
                int error = errno;
                sock_close(&u->sock);
                u->sock = before;
                if (watch_udp(ms, u) != ERR_NONE)
                        close_udp(u);   /* neither: this family is without UDP until the next time */
                errno = error;
                return e;
        }
        old->sock = before;
        if (watch_udp(ms, old) != ERR_NONE)
                close_udp(old);
        return ERR_NONE;
}

/* Of what has come to those in use nothing is lost, and if the port is another, peers go on to send to them until they hear
 * from the new ones. */
enum err ms_open_sockets(struct ms *ms)
{
        const uint16_t ports[] = {ms->want_port, ms->udp[0].sock.port, 0};
        struct sock fresh[2];
        /* 0 = any must come last, or the port we have would never be tried. */
        size_t skip = ms->want_port == 0 ? 1 : 0;
        for (int i = 0; i < 2; i++) {
                close_udp(&ms->retired[i]);   /* one generation is kept */
                sock_begin_renewal(&fresh[i], &ms->udp[i].sock);
        }
        enum err e = sock_open_both(&fresh[0], &fresh[1], ports + skip, sizeof(ports) / sizeof(ports[0]) - skip, ms->mark);
        int error = errno;
        for (int i = 0; i < 2; i++)
                sock_end_renewal(&fresh[i], &ms->udp[i].sock);
        errno = error;
        if (e != ERR_NONE)
                return e;
        loop_timer_in(ms->loop, &ms->retired_timer, RETIRED_MS);
        for (int i = 0; i < 2; i++) {
                enum err one = take_over(ms, i, &fresh[i]);
                e = one == ERR_NONE ? e : one;
        }
        return e;
}

static void init_udp(struct ms *ms, struct ms_udp *u, enum ip_family f)
{
        u->ms = ms;
        sock_init(&u->sock, f);
        watch_init(&u->watch, ms_on_udp);
}

void ms_sockets_init(struct ms *ms, int buffer_bytes)
{
        timer_init(&ms->retired_timer, on_retired_timer);
        for (int i = 0; i < 2; i++) {
                enum ip_family f = i == 0 ? IP_V4 : IP_V6;
                init_udp(ms, &ms->udp[i], f);
                init_udp(ms, &ms->retired[i], f);
                if (buffer_bytes > 0)
                        ms->udp[i].sock.buffer_bytes = buffer_bytes;
        }
}

void ms_sockets_done(struct ms *ms)
{
        loop_timer_stop(&ms->retired_timer);
        for (int i = 0; i < 2; i++) {
                close_udp(&ms->udp[i]);
                close_udp(&ms->retired[i]);
        }
}
