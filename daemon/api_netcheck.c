#include "daemon/api_netcheck.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/derpmap.h"
#include "daemon/api.h"
#include "daemon/view.h"
#include "magicsock/localaddr.h"
#include "magicsock/netrun.h"
#include "netcheck/stun.h"

enum { V4, V6, SECOND, SOCKETS, READS_A_ROUND = 32, DATAGRAM_MAX = 1500 };

/* Each has some twenty descriptors, and whoever may read can ask for it. */
enum { LOOKS_MAX = 4 };

struct look {
        struct timer end;        /* nothing is freed from within a callback of what it holds */
        struct api *api;
        struct lapi_req *req;
        struct netrun *netrun;
        struct derpmap *map;
        json_t *report;
        struct socket {
                struct watch watch;
                struct look *look;
                int fd;
                uint16_t port;
        } sockets[SOCKETS];
};

static void look_free(struct look *x)
{
        loop_timer_stop(&x->end);
        netrun_free(x->netrun);
        for (int i = 0; i < SOCKETS; i++) {
                loop_unwatch(&x->sockets[i].watch);
                if (x->sockets[i].fd >= 0)
                        close(x->sockets[i].fd);
        }
        derpmap_free(x->map);
        json_decref(x->report);
        x->api->looks--;
        free(x);
}

static void on_gone(void *arg)
{
        look_free(arg);
}

/* ---- sockets ---- */

static void on_readable(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        struct socket *s = container_of(w, struct socket, watch);
        struct look *x = s->look;
        uint8_t data[DATAGRAM_MAX];
        struct sockaddr_storage from;
        for (int i = 0; i < READS_A_ROUND; i++) {
                socklen_t len = sizeof(from);
                ssize_t n = recvfrom(s->fd, data, sizeof(data), 0, (struct sockaddr *)&from, &len);
                if (n < 0)
                        return;
                if (!stun_is_binding(data, (size_t)n))
                        continue;
                if (s == &x->sockets[SECOND])
                        netrun_on_second(x->netrun, addr_from_sockaddr((const struct sockaddr *)&from), data, (size_t)n, now);
                else
                        netrun_on_stun(x->netrun, data, (size_t)n, now);
        }
}

static bool set_up(struct socket *s, struct addr at, uint32_t mark)
{
        const int on = 1;
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr(at, &sa);
        if (mark != 0 && setsockopt(s->fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) != 0 && errno != EPERM)
                return false;
        if (at.ip.family == IP_V6 && setsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0)
                return false;
        if (bind(s->fd, (const struct sockaddr *)&sa, len) != 0)
                return false;
        len = sizeof(sa);
        if (getsockname(s->fd, (struct sockaddr *)&sa, &len) != 0)
                return false;
        s->port = addr_from_sockaddr((const struct sockaddr *)&sa).port;
        return true;
}

/* False: errno. */
static bool open_socket(struct look *x, int which, struct addr at)
{
        struct socket *s = &x->sockets[which];
        s->fd = socket(at.ip.family == IP_V6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (s->fd >= 0 && set_up(s, at, x->api->mark) && loop_watch(x->api->loop, &s->watch, s->fd, LOOP_READ) == ERR_NONE)
                return true;
        int error = errno;
        if (s->fd >= 0)
                close(s->fd);
        s->fd = -1;
        errno = error;
        return false;
}

/* In each family that the address leaves.  False: in none, errno says why. */
static bool open_sockets(struct look *x, struct addr from)
{
        static const uint8_t any[16];
        bool is_any = !ip_is_set(from.ip), v4 = false, v6 = false;
        struct addr at = {is_any ? ip_v4(0, 0, 0, 0) : from.ip, from.port};
        if (at.ip.family == IP_V4)
                v4 = open_socket(x, V4, at);
        int error = errno;
        if (v4)
                (void)open_socket(x, SECOND, (struct addr){at.ip, 0});
        if (is_any)
                at.ip = ip_from_bytes16(any);
        if (at.ip.family == IP_V6)
                v6 = open_socket(x, V6, at);
        errno = is_any || at.ip.family == IP_V4 ? error : errno;
        return v4 || v6;
}

/* ---- what netrun asks ---- */

static bool on_send(void *arg, bool second, struct addr to, const void *data, size_t len)
{
        struct look *x = arg;
        struct sockaddr_storage sa;
        socklen_t sa_len = addr_to_sockaddr(to, &sa);
        int fd = x->sockets[second ? SECOND : to.ip.family == IP_V6 ? V6 : V4].fd;
        return fd >= 0 && (sendto(fd, data, len, MSG_NOSIGNAL, (const struct sockaddr *)&sa, sa_len) == (ssize_t)len ||
                           errno == EPERM || errno == EAGAIN);
}

static void on_answer(void *arg, const struct netcheck_report *so_far, mono_t now)
{
        (void)arg;
        (void)so_far;
        (void)now;
}

static void on_done(void *arg, const struct netcheck_report *report, mono_t now)
{
        struct look *x = arg;
        x->report = view_netcheck(report);
        loop_timer_at(x->api->loop, &x->end, now);
}

static mono_t home_heard(void *arg)
{
        (void)arg;
        return (mono_t){0};
}

static void on_end(struct timer *t, mono_t now)
{
        (void)now;
        struct look *x = container_of(t, struct look, end);
        json_t *report = json_incref(x->report);
        lapi_reply_json(x->req, 200, report, LAPI_COMPACT);
        look_free(x);
}

/* ---- the request ---- */

static struct look *look_new(struct api *a, struct lapi_req *r, const struct derpmap *map)
{
        static const struct netrun_callbacks cb = {.send = on_send, .on_answer = on_answer, .on_done = on_done, .home_heard = home_heard};
        struct look *x = calloc(1, sizeof(*x));
        if (x == NULL)
                return NULL;
        a->looks++;
        x->api = a;
        x->req = r;
        timer_init(&x->end, on_end);
        for (int i = 0; i < SOCKETS; i++) {
                x->sockets[i].look = x;
                x->sockets[i].fd = -1;
                watch_init(&x->sockets[i].watch, on_readable);
        }
        x->map = derpmap_copy(map);
        x->netrun = netrun_new(a->loop, a->dialer, a->mark, &cb, x);
        if (x->map != NULL && x->netrun != NULL)
                return x;
        look_free(x);
        return NULL;
}

void api_no_relay_map(const struct api *a, struct lapi_req *r)
{
        switch (backend_state(a->backend)) {
        case IPN_NO_STATE:
        case IPN_STARTING:
        case IPN_RUNNING:
                lapi_reply_error(r, "no relay map yet: tailscaled waits for the login server: try again in a few seconds");
                break;
        case IPN_NEEDS_MACHINE_AUTH:
                lapi_reply_error(r, "no relay map yet: this node waits for an administrator's approval");
                break;
        case IPN_NEEDS_LOGIN:
        case IPN_STOPPED:
                lapi_reply_error(r, "no relay map yet: log in with 'tailscale up' first");
                break;
        }
}

void api_netcheck_from(struct api *a, struct lapi_req *r, struct addr from)
{
        const struct netmap *nm = backend_netmap(a->backend);
        struct localaddrs local = {.count = 0};
        char text[ADDR_STR_MAX];
        if (nm->derpmap == NULL) {
                api_no_relay_map(a, r);
                return;
        }
        if (a->looks == LOOKS_MAX) {
                lapi_reply_error(r, "as many looks at the network as may be are under way: try again in a few seconds");
                return;
        }
        struct look *x = look_new(a, r, nm->derpmap);
        if (x == NULL) {
                lapi_reply_text(r, 500, "out of memory");
                return;
        }
        if (!open_sockets(x, from)) {
                lapi_reply_text(r, 400, "no UDP socket can have the address %s: %s",
                                addr_str(ip_is_set(from.ip) ? from : (struct addr){ip_v4(0, 0, 0, 0), from.port}, text), strerror(errno));
                look_free(x);
                return;
        }
        (void)localaddr_list(backend_tun_name(a->backend), &local);
        struct nc_start_args args = {
                .map = x->map,
                .have_v4 = local.have_v4 && x->sockets[V4].fd >= 0,
                .have_v6 = local.have_v6 && x->sockets[V6].fd >= 0,
                .os_has_ipv6 = localaddr_os_has_ipv6(),
                .full = true,
                .port4 = x->sockets[V4].port,
                .local = local.ip,
                .local_count = local.count,
        };
        lapi_on_gone(r, on_gone, x);
        if (netrun_start(x->netrun, &args, loop_now(a->loop)) != ERR_NONE) {
                lapi_reply_text(r, 500, "the look at the network did not start");
                look_free(x);
        }
}
