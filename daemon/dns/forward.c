#include "daemon/dns/forward.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/fetch.h"
#include "daemon/dns/cache.h"
#include "daemon/dns/race.h"
#include "daemon/dns/tcpleg.h"

struct way {
        struct dns_forward *owner;
        struct watch udp;
        uint16_t udp_id;
        struct tcp_leg *tcp;
        struct fetch *post;
};

struct dns_forward {
        struct dns_forwarder *f;
        struct dns_forward *next, **prev;
        struct timer timer;
        struct race race;
        dns_forward_fn fn;
        void *arg;
        bool tcp_client;
        unsigned generation;       /* of the forwarder when it began */
        bool *gone;                /* set when this is freed, while it is being started */
        struct dns_query q;        /* over the copy behind the ways */
        uint8_t *msg;
        size_t way_count;
        struct dns_try *tries;
        struct way ways[];
};

struct dns_forwarder {
        struct loop *loop;
        struct dialer *dialer;
        struct dns_cache *cache;
        struct dns_forward *list;
        size_t in_flight;
        unsigned generation;
        struct dns_forward_counters counters;
};

struct dns_forwarder *dns_forwarder_new(struct loop *l, struct dialer *unmarked, size_t answers)
{
        struct dns_forwarder *f = calloc(1, sizeof(*f));
        if (f == NULL)
                return NULL;
        f->loop = l;
        f->dialer = unmarked;
        f->cache = dns_cache_new(crypto_random_u32(), answers);
        if (f->cache != NULL)
                return f;
        free(f);
        return NULL;
}

void dns_forwarder_free(struct dns_forwarder *f)
{
        if (f == NULL)
                return;
        while (f->list != NULL)
                dns_forward_cancel(f->list);
        dns_cache_free(f->cache);
        free(f);
}

void dns_forwarder_flush(struct dns_forwarder *f)
{
        f->generation++;
        dns_cache_flush(f->cache);
}

struct dns_forward_counters dns_forwarder_counters(const struct dns_forwarder *f)
{
        return f->counters;
}

/* ---- the end ---- */

static void close_udp(struct way *w)
{
        int fd = w->udp.fd;
        if (fd < 0)
                return;
        loop_unwatch(&w->udp);
        close(fd);
}

static void stop_way(struct way *w)
{
        close_udp(w);
        tcp_leg_free(w->tcp);
        w->tcp = NULL;
        fetch_cancel(w->post);
        w->post = NULL;
}

void dns_forward_cancel(struct dns_forward *w)
{
        if (w == NULL)
                return;
        for (size_t i = 0; i < w->way_count; i++)
                stop_way(&w->ways[i]);
        loop_timer_stop(&w->timer);
        *w->prev = w->next;
        if (w->next != NULL)
                w->next->prev = w->prev;
        w->f->in_flight--;
        if (w->gone != NULL)
                *w->gone = true;
        free(w);
}

/* msg may belong to a leg, so that it is told before they go. */
static void finish(struct dns_forward *w, const uint8_t *msg, size_t len, mono_t now)
{
        w->fn(w->arg, msg, len, now);
        dns_forward_cancel(w);
}

static void finish_error(struct dns_forward *w, enum dns_rcode rcode, mono_t now)
{
        uint8_t msg[DNS_HEADER + DNS_NAME_MAX + 4];
        size_t len = dns_reply_error(msg, sizeof(msg), &w->q, DNS_RA, rcode);
        finish(w, msg, len, now);
}

/* The winner's bytes are ours to change. */
static void finish_won(struct dns_forward *w, uint8_t *msg, size_t len, mono_t now)
{
        w->f->counters.answered++;
        store_be16(msg, w->q.id);
        if (load_be16(msg + 4) == 1)   /* in the case it was asked in */
                memcpy(msg + DNS_HEADER, w->q.msg + DNS_HEADER, w->q.question_len);
        if (w->generation == w->f->generation)
                dns_cache_put(w->f->cache, &w->q, msg, len, now);
        if (!w->tcp_client)
                len = dns_truncate(msg, len, w->q.udp_size);
        finish(w, msg, len, now);
}

/* ---- legs ---- */

static void go_on(struct dns_forward *w, mono_t now);

/* Takes an answer of a leg that was checked to belong to the question.  The query may be gone afterwards. */
static void take(struct dns_forward *w, size_t i, enum race_leg leg, uint8_t *msg, size_t len, mono_t now)
{
        if (race_answer(&w->race, i, leg, msg, now)) {
                finish_won(w, msg, len, now);
                return;
        }
        if (w->race.ways[i].over[RACE_UDP])
                close_udp(&w->ways[i]);
        go_on(w, now);
}

static void leg_failed(struct dns_forward *w, size_t i, enum race_leg leg, mono_t now)
{
        race_failed(&w->race, i, leg, now);
        go_on(w, now);
}

static void on_udp(struct watch *watch, unsigned events, mono_t now)
{
        (void)events;
        struct way *way = container_of(watch, struct way, udp);
        struct dns_forward *w = way->owner;
        size_t i = (size_t)(way - w->ways);
        uint8_t msg[DNS_UDP_MAX + 1];
        ssize_t n = recv(watch->fd, msg, sizeof(msg), MSG_DONTWAIT);
        if (n > DNS_UDP_MAX)   /* it was longer still */
                n = (ssize_t)dns_truncate(msg, (size_t)n, DNS_UDP_MAX);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n < 0) {   /* ICMP said that nobody is there */
                close_udp(way);
                leg_failed(w, i, RACE_UDP, now);
        } else if (dns_answers(msg, (size_t)n, &w->q, way->udp_id)) {
                take(w, i, RACE_UDP, msg, (size_t)n, now);
        }   /* else it is not for us: a guess of somebody, or late */
}

/* Without this the kernel keeps "no route" to itself, and we would wait for an answer that cannot come. */
static void hear_icmp(int fd, int family)
{
        int one = 1;
        (void)setsockopt(fd, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, family == AF_INET ? IP_RECVERR : IPV6_RECVERR,
                &one, sizeof(one));
}

static bool start_udp(struct dns_forward *w, size_t i)
{
        struct way *way = &w->ways[i];
        int fd = dialer_socket(w->f->dialer, w->tries[i].addr, SOCK_DGRAM, hear_icmp);
        if (fd < 0)
                return false;
        way->udp_id = (uint16_t)crypto_random_u32();
        store_be16(w->msg, way->udp_id);
        if (send(fd, w->msg, w->q.len, MSG_NOSIGNAL) >= 0 &&
                loop_watch(w->f->loop, &way->udp, fd, LOOP_READ) == ERR_NONE)
                return true;
        close(fd);
        return false;
}

static void on_tcp(void *arg, uint8_t *msg, size_t len, mono_t now)
{
        struct way *way = arg;
        struct dns_forward *w = way->owner;
        size_t i = (size_t)(way - w->ways);
        if (msg != NULL)
                take(w, i, RACE_TCP, msg, len, now);
        else
                leg_failed(w, i, RACE_TCP, now);
}

static bool start_tcp(struct dns_forward *w, size_t i)
{
        w->ways[i].tcp = tcp_leg_start(w->f->loop, w->f->dialer, w->tries[i].addr, &w->q, on_tcp, &w->ways[i]);
        return w->ways[i].tcp != NULL;
}

static void on_post(struct fetch *f, const struct fetch_result *res, void *arg, mono_t now)
{
        (void)f;
        struct way *way = arg;
        struct dns_forward *w = way->owner;
        size_t i = (size_t)(way - w->ways);
        way->post = NULL;   /* it frees itself */
        uint8_t *copy = res->err == ERR_NONE && res->status == 200 && res->body_len >= DNS_HEADER ?
                malloc(res->body_len) : NULL;
        if (copy != NULL)
                memcpy(copy, res->body, res->body_len);
        if (copy != NULL && dns_answers(copy, res->body_len, &w->q, 0))
                take(w, i, RACE_POST, copy, res->body_len, now);
        else
                leg_failed(w, i, RACE_POST, now);
        free(copy);
}

static bool start_post(struct dns_forward *w, size_t i, mono_t now)
{
        const struct dns_try *t = &w->tries[i];
        char ip4[IP_STR_MAX], ip6[IP_STR_MAX];
        bool fixed = ip_is_set(t->url4) || ip_is_set(t->url6);
        struct dial_opts o = {
                .connect_ip4 = !fixed ? NULL : ip_is_set(t->url4) ? ip_str(t->url4, ip4) : "none",
                .connect_ip6 = !fixed ? NULL : ip_is_set(t->url6) ? ip_str(t->url6, ip6) : "none",
                .timeout_ms = (unsigned)mono_diff_ms(w->race.end, now) + 1,
                .no_proxy = true,
        };
        store_be16(w->msg, 0);   /* the same question is the same request, for caches on the way */
        w->ways[i].post = fetch_post(w->f->dialer, t->url, &o, "application/dns-message", w->msg, w->q.len,
                DNS_MSG_MAX, on_post, &w->ways[i]);
        return w->ways[i].post != NULL;
}

/* ---- driving ---- */

static bool start_leg(struct dns_forward *w, size_t i, enum race_leg leg, mono_t now)
{
        switch (leg) {
        case RACE_UDP:
                return start_udp(w, i);
        case RACE_TCP:
                return start_tcp(w, i);
        case RACE_POST:
                return start_post(w, i, now);
        case RACE_LEGS:
                break;
        }
        return false;
}

/* Starts what is due and ends the query if nobody is left to answer it. */
static void go_on(struct dns_forward *w, mono_t now)
{
        size_t i;
        enum race_leg leg;
        while (race_next(&w->race, now, &i, &leg))
                if (!start_leg(w, i, leg, now))
                        race_failed(&w->race, i, leg, now);
        switch (w->race.state) {
        case RACE_RUNNING:
        case RACE_WON:
                loop_timer_at(w->f->loop, &w->timer, race_deadline(&w->race));
                return;
        case RACE_REFUSED:
                w->f->counters.answered++;
                finish_error(w, DNS_REFUSED, now);
                return;
        case RACE_LATE:
                w->f->counters.late++;
                if (w->generation == w->f->generation)
                        dns_cache_put_failure(w->f->cache, &w->q, now);
                finish_error(w, DNS_SERVFAIL, now);
                return;
        case RACE_FAILED:
                w->f->counters.failed++;
                finish_error(w, DNS_SERVFAIL, now);
                return;
        }
}

static void on_timer(struct timer *t, mono_t now)
{
        go_on(container_of(t, struct dns_forward, timer), now);
}

static struct dns_forward *forward_new(struct dns_forwarder *f, const struct dns_query *q,
        const struct dns_route *route)
{
        size_t n = route->try_count;
        struct dns_forward *w = calloc(1, sizeof(*w) + n * (sizeof(struct way) + sizeof(struct dns_try)) + q->len);
        if (w == NULL)
                return NULL;
        w->f = f;
        w->way_count = n;
        w->tries = (struct dns_try *)(void *)(w->ways + n);
        memcpy(w->tries, route->tries, n * sizeof(*w->tries));
        w->msg = (uint8_t *)(w->tries + n);
        memcpy(w->msg, q->msg, q->len);
        dns_limit_edns(w->msg, q->len, DNS_UDP_MAX);
        w->q = *q;
        w->q.msg = w->msg;
        timer_init(&w->timer, on_timer);
        for (size_t i = 0; i < n; i++) {
                w->ways[i].owner = w;
                watch_init(&w->ways[i].udp, on_udp);
        }
        w->next = f->list;
        w->prev = &f->list;
        if (f->list != NULL)
                f->list->prev = &w->next;
        f->list = w;
        f->in_flight++;
        return w;
}

static void refuse(const struct dns_query *q, dns_forward_fn fn, void *arg, mono_t now)
{
        uint8_t msg[DNS_HEADER + DNS_NAME_MAX + 4];
        fn(arg, msg, dns_reply_error(msg, sizeof(msg), q, DNS_RA, DNS_SERVFAIL), now);
}

struct dns_forward *dns_forward_start(struct dns_forwarder *f, const struct dns_query *q,
        const struct dns_route *route, bool tcp_client, dns_forward_fn fn, void *arg, mono_t now)
{
        uint8_t cached[DNS_CACHE_MSG_MAX];
        bool gone = false;
        f->counters.asked++;
        size_t len = dns_cache_get(f->cache, q, cached, now);
        if (len > 0) {
                f->counters.from_cache++;
                fn(arg, cached, tcp_client ? len : dns_truncate(cached, len, q->udp_size), now);
                return NULL;
        }
        struct dns_forward *w = f->in_flight < DNS_IN_FLIGHT_MAX ? forward_new(f, q, route) : NULL;
        if (w == NULL) {
                f->counters.too_many++;
                refuse(q, fn, arg, now);
                return NULL;
        }
        w->fn = fn;
        w->arg = arg;
        w->tcp_client = tcp_client;
        w->generation = f->generation;
        race_start(&w->race, w->tries, w->way_count, tcp_client, now);
        w->gone = &gone;
        go_on(w, now);
        if (gone)
                return NULL;
        w->gone = NULL;
        return w;
}
