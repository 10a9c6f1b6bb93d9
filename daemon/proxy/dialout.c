#include "daemon/proxy/dialout.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/dial.h"
#include "base/lookup.h"
#include "daemon/dns/name.h"
#include "daemon/dns/wire.h"

enum { SECOND_FAMILY_MS = 200 };   /* how long the first family's addresses wait for the other's */

struct question {
        struct dialout_call *call;
        struct dns_forward *forward;   /* NULL: not asked, or answered */
};

struct dialout_call {
        struct dialout *d;
        uint32_t id;
        char host[DIALOUT_HOST_MAX];
        uint16_t port;
        dialout_fn fn;
        dialout_resolved_fn resolved;
        void *arg;
        struct question questions[2];    /* A, AAAA */
        struct ip ips[2 * DIALOUT_ADDRESSES_MAX];
        size_t ip_count, next_ip;
        bool resolving, ours;            /* the name lies below our suffix: nobody else is asked */
        bool inside_only;
        int host_left;                   /* answers of the host's resolver to come */
        struct timer timer;
        struct addr remote;
        struct watch watch;              /* a socket that connects */
        struct stack_conn *conn;
        enum dialout_error error;
        char why[256];
        struct dialout_call *next, **prev;
};

struct dialout {
        struct loop *loop;
        const struct dialout_ops *ops;
        void *arg;
        struct lookup *lookup;
        struct dialout_call *calls;
        size_t count;
        uint32_t next_id;
};

/* ---- its end ---- */

static void drop_attempt(struct dialout_call *c)
{
        int fd = c->watch.fd;
        loop_unwatch(&c->watch);
        if (fd >= 0)
                close(fd);
        if (c->conn != NULL)
                stack_abort(c->conn);
        c->conn = NULL;
}

static void drop_questions(struct dialout_call *c)
{
        for (size_t i = 0; i < 2; i++) {
                if (c->questions[i].forward != NULL)
                        dns_forward_cancel(c->questions[i].forward);
                c->questions[i].forward = NULL;
        }
}

void dialout_cancel(struct dialout_call *c)
{
        if (c == NULL)
                return;
        drop_attempt(c);
        drop_questions(c);
        loop_timer_stop(&c->timer);
        *c->prev = c->next;
        if (c->next != NULL)
                c->next->prev = c->prev;
        c->d->count--;
        free(c);
}

static void finish(struct dialout_call *c, struct relay_end end, struct addr local)
{
        struct dialout_result r = {.error = c->error, .end = end, .local = local, .remote = c->remote};
        char why[sizeof(c->why)];
        dialout_fn fn = c->fn;
        void *arg = c->arg;
        memcpy(why, c->why, sizeof(why));
        r.why = why;
        dialout_cancel(c);
        fn(arg, &r);
}

static void fail(struct dialout_call *c, enum dialout_error e, const char *why)
{
        c->error = e;
        if (c->resolved != NULL) {
                dialout_resolved_fn fn = c->resolved;
                void *arg = c->arg;
                dialout_cancel(c);
                fn(arg, e, NULL, 0);
                return;
        }
        if (why != c->why)
                (void)str_copy(c->why, sizeof(c->why), why);
        finish(c, (struct relay_end){.fd = -1}, (struct addr){0});
}

/* ---- addresses, one after the other ---- */

static void try_next(struct dialout_call *c);

static void attempt_failed(struct dialout_call *c, enum dialout_error e, const char *why)
{
        char text[ADDR_STR_MAX];
        drop_attempt(c);
        c->error = e;
        snprintf(c->why, sizeof(c->why), "%s: %s", addr_str(c->remote, text), why);
        try_next(c);
}

static enum dialout_error error_of(int e)
{
        switch (e) {
        case ECONNREFUSED:
                return DIALOUT_REFUSED;
        case ENETUNREACH:
        case EHOSTUNREACH:
        case EADDRNOTAVAIL:
        case EAFNOSUPPORT:
                return DIALOUT_NO_ROUTE;
        case ETIMEDOUT:
                return DIALOUT_TIMED_OUT;
        default:
                return DIALOUT_FAILED;
        }
}

static void on_socket(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct dialout_call *c = container_of(w, struct dialout_call, watch);
        struct sockaddr_storage sa;
        socklen_t len = sizeof(int);
        int e = 0, fd = w->fd;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) != 0)
                e = errno;
        if (e != 0) {
                attempt_failed(c, error_of(e), strerror(e));
                return;
        }
        loop_unwatch(w);
        len = sizeof(sa);
        struct addr local = {0};
        if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
                local = addr_from_sockaddr((struct sockaddr *)&sa);
        c->error = DIALOUT_OK;
        finish(c, (struct relay_end){.fd = fd}, local);
}

static void on_stack(void *user)
{
        struct dialout_call *c = user;
        struct stack_conn *conn = c->conn;
        switch (stack_state(conn)) {
        case STACK_OPENING:
                return;
        case STACK_OPEN:
                c->conn = NULL;
                c->error = DIALOUT_OK;
                finish(c, (struct relay_end){.fd = -1, .conn = conn}, netstack_local(conn));
                return;
        case STACK_REFUSED:
                attempt_failed(c, DIALOUT_REFUSED, "the connection was refused");
                return;
        case STACK_TIMED_OUT:
                attempt_failed(c, DIALOUT_TIMED_OUT, "no answer");
                return;
        case STACK_BROKEN:
                attempt_failed(c, DIALOUT_FAILED, "the connection broke");
                return;
        }
}

static void try_one(struct dialout_call *c, struct ip ip)
{
        struct ip local = {0};
        const char *why = "there is no way to it";
        c->remote = (struct addr){ip, c->port};
        if (c->inside_only && dialout_is_outside(c->d, ip)) {
                attempt_failed(c, DIALOUT_NO_ROUTE, "it is not reached through the tailnet");
                return;
        }
        loop_timer_in(c->d->loop, &c->timer, c->next_ip < c->ip_count ? DIALOUT_TRY_MS / 3 : DIALOUT_TRY_MS);
        switch (c->d->ops->way(c->d->arg, &c->remote.ip, &local, &why)) {
        case DIALOUT_NOWHERE:
                attempt_failed(c, DIALOUT_NO_ROUTE, why);
                return;
        case DIALOUT_STACK:
                c->conn = netstack_connect(local, c->remote, on_stack, c);
                if (c->conn == NULL)
                        attempt_failed(c, DIALOUT_FAILED, "out of memory or ports");
                return;
        case DIALOUT_KERNEL:;
                int fd = dial_socket(c->remote, SOCK_STREAM, NULL);
                if (fd < 0)
                        attempt_failed(c, error_of(errno), strerror(errno));
                else if (loop_watch(c->d->loop, &c->watch, fd, LOOP_WRITE) != ERR_NONE) {
                        close(fd);
                        attempt_failed(c, DIALOUT_FAILED, "out of memory");
                }
        }
}

static void try_next(struct dialout_call *c)
{
        if (c->next_ip < c->ip_count)
                try_one(c, c->ips[c->next_ip++]);
        else
                fail(c, c->error, c->why);
}

static void connect_now(struct dialout_call *c)
{
        c->resolving = false;
        drop_questions(c);
        if (c->resolved == NULL) {
                try_next(c);
                return;
        }
        struct ip ips[2 * DIALOUT_ADDRESSES_MAX];
        size_t n = c->ip_count;
        dialout_resolved_fn fn = c->resolved;
        void *arg = c->arg;
        memcpy(ips, c->ips, sizeof(ips));
        dialout_cancel(c);
        fn(arg, DIALOUT_OK, ips, n);
}

/* ---- names ---- */

static void add_ip(struct dialout_call *c, struct ip ip)
{
        if (ip_is_set(ip) && c->ip_count < sizeof(c->ips) / sizeof(c->ips[0]))
                c->ips[c->ip_count++] = ip;
}

static void no_such_name(struct dialout_call *c)
{
        snprintf(c->why, sizeof(c->why), "no address is known for the name %.200s", c->host);
        fail(c, DIALOUT_NO_NAME, c->why);
}

static void ask_host(struct dialout_call *c)
{
        static const enum ip_family families[] = {IP_V4, IP_V6};
        bool may = !c->ours && c->d->ops->may_ask_host(c->d->arg);
        for (size_t i = 0; may && i < 2; i++)
                if (lookup_start(c->d->lookup, c->id, c->host, families[i]) == ERR_NONE)
                        c->host_left++;
        if (c->host_left == 0)
                no_such_name(c);
}

static void on_lookup(void *arg, uint32_t id, struct ip ip, mono_t now)
{
        (void)now;
        struct dialout *d = arg;
        for (struct dialout_call *c = d->calls; c != NULL; c = c->next) {
                if (c->id != id || !c->resolving)
                        continue;
                add_ip(c, ip);
                if (--c->host_left > 0)
                        return;
                if (c->ip_count > 0)
                        connect_now(c);
                else
                        no_such_name(c);
                return;
        }
}

static void take_addresses(struct dialout_call *c, const uint8_t *msg, size_t len)
{
        struct dns_walk w;
        struct dns_rr rr;
        size_t before = c->ip_count;
        if (!dns_walk_start(&w, msg, len))
                return;
        while (dns_walk_next(&w, &rr) && c->ip_count - before < DIALOUT_ADDRESSES_MAX) {
                if (rr.section == 1 && rr.type == DNS_A && rr.data_len == 4)
                        add_ip(c, ip_from_bytes4(msg + rr.data_at));
                else if (rr.section == 1 && rr.type == DNS_AAAA && rr.data_len == 16)
                        add_ip(c, ip_from_bytes16(msg + rr.data_at));
        }
}

/* Both are asked before anything is concluded: an answer may come while the first is being asked. */
static void conclude(struct dialout_call *c)
{
        if (c->questions[0].forward == NULL && c->questions[1].forward == NULL) {
                loop_timer_stop(&c->timer);
                if (c->ip_count > 0)
                        connect_now(c);
                else
                        ask_host(c);
        } else if (c->ip_count > 0) {
                loop_timer_in(c->d->loop, &c->timer, SECOND_FAMILY_MS);
        }
}

static void on_answer(void *arg, const uint8_t *msg, size_t len, mono_t now)
{
        (void)now;
        struct question *q = arg;
        struct dialout_call *c = q->call;
        bool late = q->forward != NULL;
        q->forward = NULL;
        if (len > 0)
                take_addresses(c, msg, len);
        if (late)
                conclude(c);
}

/* A single label is a node of the tailnet. */
static bool full_name(const struct dialout *d, const char *host, struct dns_name *ret, bool *ret_ours)
{
        char text[2 * DIALOUT_HOST_MAX];
        struct dns_name suffix;
        const char *s = d->ops->suffix(d->arg);
        bool have = s[0] != '\0' && dns_name_parse(s, &suffix) == ERR_NONE;
        snprintf(text, sizeof(text), "%s%s%s", host, have && strchr(host, '.') == NULL ? "." : "",
                have && strchr(host, '.') == NULL ? s : "");
        if (dns_name_parse(text, ret) != ERR_NONE)
                return false;
        *ret_ours = have && dns_name_within(ret, &suffix) && strchr(host, '.') != NULL;
        return true;
}

static void begin(struct dialout_call *c)
{
        static const uint16_t types[] = {DNS_A, DNS_AAAA};
        uint8_t msg[DNS_HEADER + DNS_NAME_MAX + 4];
        struct dns_name name;
        struct ip ip;
        if (ip_parse(c->host, &ip) == ERR_NONE || strcasecmp(c->host, "localhost") == 0) {
                add_ip(c, strcasecmp(c->host, "localhost") == 0 ? ip_v4(127, 0, 0, 1) : ip);
                connect_now(c);
                return;
        }
        if (!full_name(c->d, c->host, &name, &c->ours)) {
                snprintf(c->why, sizeof(c->why), "this is neither an address nor a name");
                fail(c, DIALOUT_NO_NAME, c->why);
                return;
        }
        for (size_t i = 0; i < 2; i++) {
                struct question *q = &c->questions[i];
                q->call = c;
                q->forward = dns_service_ask(c->d->ops->resolver(c->d->arg), msg, dns_query_make(msg, sizeof(msg), &name, types[i]),
                        true, on_answer, q, loop_now(c->d->loop));
        }
        conclude(c);
}

static void on_timer(struct timer *t, mono_t now)
{
        (void)now;
        struct dialout_call *c = container_of(t, struct dialout_call, timer);
        if (!c->resolving)
                attempt_failed(c, DIALOUT_TIMED_OUT, "no answer");
        else if (c->ip_count > 0)
                connect_now(c);
        else
                begin(c);
}

/* ---- life ---- */

static struct dialout_call *call_new(struct dialout *d, const char *host, void *arg)
{
        struct dialout_call *c = d->count < DIALOUT_CALLS_MAX ? calloc(1, sizeof(*c)) : NULL;
        if (c == NULL || !str_copy(c->host, sizeof(c->host), host)) {
                free(c);
                return NULL;
        }
        c->d = d;
        c->id = ++d->next_id;
        c->arg = arg;
        c->resolving = true;
        watch_init(&c->watch, on_socket);
        timer_init(&c->timer, on_timer);
        c->next = d->calls;
        c->prev = &d->calls;
        if (c->next != NULL)
                c->next->prev = &c->next;
        d->calls = c;
        d->count++;
        loop_timer_in(d->loop, &c->timer, 0);
        return c;
}

struct dialout_call *dialout_start(struct dialout *d, const char *host, uint16_t port, dialout_fn fn, void *arg)
{
        struct dialout_call *c = call_new(d, host, arg);
        if (c != NULL) {
                c->fn = fn;
                c->port = port;
        }
        return c;
}

struct dialout_call *dialout_start_inside(struct dialout *d, const char *host, uint16_t port, dialout_fn fn, void *arg)
{
        struct dialout_call *c = dialout_start(d, host, port, fn, arg);
        if (c != NULL)
                c->inside_only = true;
        return c;
}

struct dialout_call *dialout_resolve(struct dialout *d, const char *host, dialout_resolved_fn fn, void *arg)
{
        struct dialout_call *c = call_new(d, host, arg);
        if (c != NULL)
                c->resolved = fn;
        return c;
}

int dialout_datagram(struct dialout *d, struct addr to)
{
        struct ip local;
        const char *why;
        switch (d->ops->way(d->arg, &to.ip, &local, &why)) {
        case DIALOUT_STACK:
                return d->ops->datagram(d->arg, local, to);
        case DIALOUT_KERNEL:
                return dial_socket(to, SOCK_DGRAM, NULL);
        case DIALOUT_NOWHERE:
                break;
        }
        errno = EHOSTUNREACH;
        return -1;
}

bool dialout_is_outside(struct dialout *d, struct ip dst)
{
        return d->ops->is_outside(d->arg, dst);
}

struct dialout *dialout_new(struct loop *l, const struct dialout_ops *ops, void *arg)
{
        struct dialout *d = calloc(1, sizeof(*d));
        if (d == NULL)
                return NULL;
        d->loop = l;
        d->ops = ops;
        d->arg = arg;
        d->lookup = lookup_new(l, on_lookup, d);
        if (d->lookup != NULL)
                return d;
        free(d);
        return NULL;
}

void dialout_free(struct dialout *d)
{
        if (d == NULL)
                return;
        while (d->calls != NULL)
                dialout_cancel(d->calls);
        lookup_free(d->lookup);
        free(d);
}
