#include "magicsock/derp_conn.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "magicsock/derp_meta.h"

enum {
        ATTEMPT_MS = 10000,      /* name, TCP, TLS, HTTP and the relay's greeting */
        NODE_MS = 2000,          /* TCP and TLS of a node while there is another to try */
        SILENT_MS = 67000,       /* a relay sends a keepalive every 60 to 65 s: one is late, and we ask */
        STEADY_MS = 10000,       /* up for so long: the next failure starts from the shortest backoff */
        BACKOFF_MAX_MS = 5000,
        CERTS_MAX = 16,
        LEAVE_MAX_MS = 30000,    /* what a relay may ask for: to stay away so long, ... */
        HURRY_MAX_MS = 10000,    /* ... and then to be tried for so long, ... */
        HURRY_MS = 250,          /* ... so often */
        TIDY_MS = 2000,          /* buffers keep their memory so long behind the start of a burst */
        HEALTH_MS = 1000,        /* between two reports of it: a complaint costs the relay five bytes */
        FILLS_A_ROUND = 4,       /* of the buffer: then everything else on the loop has its turn */
        MUCH = 4,                /* packets at one look, and the next one is ... */
        LOOK_NS = NS_PER_MS,     /* ... so much later */
};

/* Callbacks may close the conn they are called from: it goes when the last of them is back. */
static void leave(struct derp_conn *c)
{
        c->busy--;
        if (c->dead && c->busy == 0)
                free(c);
}

static void report(struct derp_conn *c, enum derp_state st, const char *detail, bool lost, mono_t now)
{
        struct derp_mgr *m = c->mgr;
        if (m->cb.on_state != NULL)
                m->cb.on_state(m->arg, c->region, st, detail, lost, now);
}

void derp_conn_arm(struct derp_conn *c)
{
        mono_t at = MONO_NEVER;
        switch (c->state) {
        case CONN_BACKOFF:
                at = c->retry_at;
                break;
        case CONN_DIALING:
        case CONN_LOGIN:
                at = c->give_up_at;
                break;
        case CONN_UP:
                at = mono_is_set(c->answer_by) ? c->answer_by : mono_add_ms(c->heard, SILENT_MS);
                if (mono_is_set(c->health_due))
                        at = mono_min(at, c->health_due);
                if (mono_is_set(c->leave_at))
                        at = mono_min(at, c->leave_at);
                if (mono_is_set(c->tidy_at))
                        at = mono_min(at, c->tidy_at);
                break;
        }
        loop_timer_at(c->mgr->loop, &c->timer, at);
}

static void drop_stream(struct derp_conn *c)
{
        if (c->stream == NULL)
                return;
        stream_close(c->stream);
        c->stream = NULL;
        c->id = 0;
        c->unread = c->resting = c->asked = c->given_up = false;
        c->pace = (struct pace){0};
        c->tidy_at = (mono_t){0};
        derp_client_done(&c->client);
}

/* Jittered, so that a thousand nodes do not all come back to a restarted relay in one moment. */
static int64_t backoff_ms(unsigned failures)
{
        int64_t ms = failures < 23 ? (int64_t)failures * failures * 10 : BACKOFF_MAX_MS;
        if (ms > BACKOFF_MAX_MS)
                ms = BACKOFF_MAX_MS;
        return ms / 2 + (int64_t)crypto_random_below((uint64_t)ms + 1);
}

/* A relay that restarts has spread its clients over time itself. */
static mono_t retry_time(const struct derp_conn *c, mono_t now)
{
        if (mono_is_set(c->leave_at) && !mono_reached(now, c->leave_at))
                return c->leave_at;
        if (mono_is_set(c->hurry_until) && !mono_reached(now, c->hurry_until))
                return mono_add_ms(now, HURRY_MS / 2 + (int64_t)crypto_random_below(HURRY_MS));
        return mono_add_ms(now, backoff_ms(c->failures));
}

static bool has_relay_after(const struct derp_region *r, size_t i)
{
        while (++i < r->node_count)
                if (!r->nodes[i].stun_only)
                        return true;
        return false;
}

/* The order is the region's, but one that is broken behind its open port must not keep us from the others. */
static size_t first_after_failure(const struct derp_conn *c)
{
        const struct derp_region *r = c->mgr->map != NULL ? derpmap_region(c->mgr->map, c->region) : NULL;
        return c->state != CONN_UP && r != NULL && has_relay_after(r, c->node) ? c->node + 1 : 0;
}

static void conn_fail(struct derp_conn *c, const char *why, mono_t now)
{
        char text[DERP_DETAIL_MAX];
        (void)str_copy(text, sizeof(text), why);   /* why may belong to the stream that closes here */
        bool was_up = c->state == CONN_UP;
        if (c->state == CONN_LOGIN)
                c->mgr->accepted = false;
        drop_stream(c);
        if (was_up && mono_diff_ms(now, c->up_at) >= STEADY_MS)
                c->failures = 0;
        c->failures++;
        c->first = first_after_failure(c);
        c->state = CONN_BACKOFF;
        c->retry_at = retry_time(c, now);
        c->answer_by = c->leave_at = (mono_t){0};
        derp_conn_arm(c);
        if (c->reported_down && strcmp(c->detail, text) == 0)
                return;
        c->reported_down = true;
        memcpy(c->detail, text, sizeof(c->detail));
        report(c, DERP_STATE_DOWN, text, was_up, now);
}

static void count_put(struct derp_mgr *m, enum derp_put put)
{
        switch (put) {
        case DERP_PUT_OK:
                m->stats.sent++;
                break;
        case DERP_PUT_RATE:
                m->stats.dropped_rate++;
                break;
        case DERP_PUT_FULL:
                m->stats.dropped_queue++;
                break;
        }
}

static bool may_send(const struct derp_conn *c)
{
        return c->state == CONN_UP || (c->state == CONN_LOGIN && c->mgr->accepted && derp_client_takes(&c->client));
}

/* What waited to be let in, as far as the client has room. */
static void move_queue(struct derp_conn *c, mono_t now)
{
        while (may_send(c) && c->queue.head != NULL) {
                const struct pkt *p = c->queue.head;
                const uint8_t *frame = pkt_cdata(p);
                size_t len = p->len - (size_t)DERP_SEND_HEAD_LEN;
                enum derp_put put = derp_client_put(&c->client, frame, frame + DERP_SEND_HEAD_LEN, len, now);
                if (put == DERP_PUT_FULL)
                        return;
                count_put(c->mgr, put);
                derp_wait_drop(c);
        }
}

/* What a burst has taken is given back when nothing is in the buffers any more. */
static void plan_tidying(struct derp_conn *c, mono_t now)
{
        if (c->state != CONN_UP || !c->client.stretched || mono_is_set(c->tidy_at))
                return;
        c->tidy_at = mono_add_ms(now, TIDY_MS);
        derp_conn_arm(c);
}

/* Moves the client's bytes into the stream, a piece at a time, until it is full or the pace says wait.  False: it broke. */
static bool push(struct derp_conn *c, mono_t now)
{
        plan_tidying(c, now);
        while (c->stream != NULL && c->state >= CONN_LOGIN) {
                size_t len, n;
                move_queue(c, now);
                const uint8_t *out = derp_client_out(&c->client, &len);
                if (len == 0 || !pace_ready(&c->pace, now)) {
                        stream_want_write(c->stream, false);
                        if (len > 0)
                                loop_timer_at(c->mgr->loop, &c->kick, c->pace.next);
                        return true;
                }
                size_t mean = derp_client_mean(&c->client), piece = pace_piece(mean);
                enum err e = stream_write(c->stream, out, len < piece ? len : piece, &n);
                if (e == ERR_AGAIN) {
                        stream_want_write(c->stream, true);
                        return true;
                }
                if (e != ERR_NONE)
                        return false;
                derp_client_sent(&c->client, n);
                pace_sent(&c->pace, n, mean, now);
        }
        return true;
}

static void flush(struct derp_conn *c, mono_t now)
{
        if (!push(c, now))
                conn_fail(c, "the connection to the relay broke", now);
}

/* The owner is done with the packets it was shown when this returns. */
static void end_burst(struct derp_mgr *m, mono_t now)
{
        if (m->view_count > 0 && m->cb.on_pause != NULL)
                m->cb.on_pause(m->arg, now);
        m->view_count = 0;
}

static void deliver(struct derp_conn *c, const struct derp_msg *msg, mono_t now)
{
        struct derp_mgr *m = c->mgr;
        if (msg->len > PKT_DATA_MAX) {
                m->stats.dropped_large++;
                return;
        }
        size_t at = msg->len > 0 ? (size_t)(msg->data - c->client.in) : 0;
        struct pkt *p = &m->views[m->view_count++];
        pkt_view(p, c->client.in + at, msg->len, 0, msg->len);
        m->stats.received++;
        if (m->cb.on_recv != NULL)
                m->cb.on_recv(m->arg, c->region, c->id, &msg->key, p, now);
        if (m->view_count == DERP_MGR_BURST_MAX)
                end_burst(m, now);
}

static void report_health(struct derp_conn *c, mono_t now)
{
        c->health_due = (mono_t){0};
        c->health_next = mono_add_ms(now, HEALTH_MS);
        report(c, c->health[0] != '\0' ? DERP_STATE_UNHEALTHY : DERP_STATE_UP, c->health, false, now);
}

/* The relay's words for a log or a terminal: printable ASCII only.  Of many within a second, the first and the last count. */
static void on_health(struct derp_conn *c, const struct derp_msg *msg, mono_t now)
{
        size_t n = 0;
        for (size_t i = 0; i < msg->len && n < sizeof(c->health) - 1; i++)
                c->health[n++] = isprint(msg->data[i]) ? (char)msg->data[i] : '?';
        c->health[n] = '\0';
        if (mono_is_set(c->health_due))
                return;
        c->health_due = c->health_next;
        if (mono_reached(now, c->health_due))
                report_health(c, now);
        else
                derp_conn_arm(c);
}

/* Whatever it says, it is not what makes us come and go more often than this. */
static void on_restarting(struct derp_conn *c, const struct derp_msg *msg, mono_t now)
{
        mono_t at = mono_add_ms(now, msg->reconnect_in_ms < LEAVE_MAX_MS ? msg->reconnect_in_ms : LEAVE_MAX_MS);
        mono_t soonest = mono_add_ms(c->up_at, STEADY_MS);
        c->leave_at = at.ns > soonest.ns ? at : soonest;
        c->hurry_until = mono_add_ms(c->leave_at, msg->try_for_ms < HURRY_MAX_MS ? msg->try_for_ms : HURRY_MAX_MS);
        derp_conn_arm(c);
}

static void on_up(struct derp_conn *c, mono_t now)
{
        c->state = CONN_UP;
        c->first = 0;
        stream_remember(c->stream);
        c->up_at = now;
        c->mgr->accepted = true;
        c->reported_down = false;
        c->health_due = c->leave_at = c->hurry_until = (mono_t){0};
        derp_conn_arm(c);
        report(c, DERP_STATE_UP, "", false, now);
}

static void on_event(struct derp_conn *c, const struct derp_event *ev, mono_t now)
{
        struct derp_mgr *m = c->mgr;
        switch (ev->kind) {
        case DERP_EV_UP:
                on_up(c, now);
                break;
        case DERP_EV_RECV:
                deliver(c, &ev->msg, now);
                break;
        case DERP_EV_LARGE:
                m->stats.dropped_large++;
                break;
        case DERP_EV_GONE:
                if (m->cb.on_peer_gone != NULL)
                        m->cb.on_peer_gone(m->arg, c->region, c->id, &ev->msg.key,
                                ev->msg.reason == DERP_GONE_NOT_HERE ? DERP_GONE_NOT_HERE
                                                                     : DERP_GONE_DISCONNECTED,
                                now);
                break;
        case DERP_EV_HEALTH:
                on_health(c, &ev->msg, now);
                break;
        case DERP_EV_RESTARTING:
                on_restarting(c, &ev->msg, now);
                break;
        case DERP_EV_FAILED:
                conn_fail(c, c->client.detail, now);
                break;
        case DERP_EV_NONE:
        case DERP_EV_OTHER:
                break;
        }
}

/* Whatever the socket has, as far as there is room.  ERR_NONE: there may be more. */
static enum err fill(struct derp_conn *c, mono_t now)
{
        for (;;) {
                size_t cap, n;
                uint8_t *in = derp_client_in(&c->client, &cap);
                if (cap == 0)
                        return ERR_NONE;
                enum err e = stream_read(c->stream, in, cap, &n);
                if (e != ERR_NONE)
                        return e;
                derp_client_fed(&c->client, n);
                plan_tidying(c, now);
                derp_ask_heard(c, now);
        }
}

/* A callback may have closed or replaced the stream: false then. */
static bool take_frames(struct derp_conn *c, mono_t now)
{
        uint32_t id = c->id;
        struct derp_event ev;
        do {
                ev = derp_client_next(&c->client, now);
                on_event(c, &ev, now);
        } while (ev.kind != DERP_EV_NONE && !c->dead && c->id == id);
        end_burst(c->mgr, now);
        return !c->dead && c->id == id;
}

/* A relay writes packet by packet, and who is woken for each has time for nothing else.  While many come they are
 * fetched at intervals; a single one is never waited for. */
static void rest(struct derp_conn *c, bool much, mono_t now)
{
        c->resting = much;
        stream_want_read(c->stream, !much);
        if (much)
                loop_timer_at(c->mgr->loop, &c->look, mono_add_ns(now, LOOK_NS));
}

/* Until there is nothing more to read, or for this round; what TLS holds by then is not seen by the loop, so the kick
 * goes on with it. */
static void pump(struct derp_conn *c, mono_t now)
{
        enum err e = ERR_NONE;
        uint64_t before = c->mgr->stats.received;
        c->unread = false;
        for (int fills = 0; fills < FILLS_A_ROUND && e == ERR_NONE; fills++) {
                e = fill(c, now);
                if (!take_frames(c, now))
                        return;
        }
        if (e != ERR_NONE && e != ERR_AGAIN) {
                conn_fail(c, c->state == CONN_LOGIN ? "the relay refused this node"
                                                    : "the relay closed the connection", now);
                return;
        }
        rest(c, e == ERR_AGAIN && c->mgr->stats.received - before >= MUCH, now);
        flush(c, now);
        if (e == ERR_NONE && c->state >= CONN_LOGIN) {
                c->unread = true;
                loop_timer_at(c->mgr->loop, &c->kick, now);
        }
}

static void on_look(struct timer *t, mono_t now)
{
        struct derp_conn *c = container_of(t, struct derp_conn, look);
        c->busy++;
        if (c->resting)
                pump(c, now);
        leave(c);
}

static void on_kick(struct timer *t, mono_t now)
{
        struct derp_conn *c = container_of(t, struct derp_conn, kick);
        c->busy++;
        if (c->unread && c->state >= CONN_LOGIN)
                pump(c, now);
        else
                flush(c, now);
        leave(c);
}

static bool find_meta(struct derp_conn *c, struct node_public *ret)
{
        const uint8_t *der;
        size_t len;
        for (unsigned i = 0; i < CERTS_MAX && (len = stream_peer_cert(c->stream, i, &der)) > 0; i++)
                if (derp_meta_parse(der, len, ret))
                        return true;
        return false;
}

static void on_connected(struct derp_conn *c, mono_t now)
{
        struct derp_mgr *m = c->mgr;
        const struct derp_region *r = derpmap_region(m->map, c->region);
        struct node_public server;
        uint8_t nonce[BOX_NONCE_LEN];
        if (r == NULL || c->node >= r->node_count) {
                conn_fail(c, "the relay is no longer in the map", now);
                return;
        }
        crypto_random(nonce, sizeof(nonce));
        const struct derp_node *node = &r->nodes[c->node];
        bool fast = !m->plain && find_meta(c, &server);
        derp_client_init(&c->client, &(struct derp_client_opts){
                .host = node->hostname,
                .port = node->derp_port,
                .plain = m->plain,
                .ideal_node = c->node > 0 ? r->nodes[0].name : NULL,
                .server = fast ? &server : NULL,
                .node = &m->key,
                .nonce = nonce,
                .home = m->home == c->region,
        });
        c->state = CONN_LOGIN;
        c->heard = now;
        flush(c, now);
        if (c->state == CONN_LOGIN)
                pump(c, now);
}

static void dial_next_node(struct derp_conn *c, mono_t now);

static void on_stream(struct stream *s, enum stream_event ev, void *arg, mono_t now)
{
        struct derp_conn *c = arg;
        c->busy++;
        switch (ev) {
        case STREAM_CONNECTED:
                on_connected(c, now);
                break;
        case STREAM_READABLE:
                if (c->state >= CONN_LOGIN)
                        pump(c, now);
                break;
        case STREAM_WRITABLE:
                flush(c, now);
                break;
        case STREAM_FAILED: {
                char why[DERP_DETAIL_MAX];
                bool untrusted = stream_error_code(s) == ERR_AUTH;
                (void)str_copy(why, sizeof(why), stream_error(s));
                drop_stream(c);
                if (!untrusted) {
                        c->node++;
                        dial_next_node(c, now);
                }
                if (c->stream == NULL)
                        conn_fail(c, why, now);
                break;
        }
        }
        leave(c);
}

/* As the map says: empty = look it up, a literal of that family = dial that, else the family is off. */
static const char *dial_literal(const char *field, enum ip_family f)
{
        struct ip ip;
        if (field[0] == '\0')
                return NULL;
        return ip_parse(field, &ip) == ERR_NONE && ip.family == f ? field : "none";
}

/* The next node at or after c->node that is a relay; no stream if there is none. */
static void dial_next_node(struct derp_conn *c, mono_t now)
{
        struct derp_mgr *m = c->mgr;
        const struct derp_region *r = derpmap_region(m->map, c->region);
        int64_t left = mono_diff_ms(c->give_up_at, now);
        if (r == NULL || left <= 0)
                return;
        while (c->node < r->node_count && r->nodes[c->node].stun_only)
                c->node++;
        if (c->node >= r->node_count)
                return;
        const struct derp_node *n = &r->nodes[c->node];
        if (has_relay_after(r, c->node) && left > NODE_MS)
                left = NODE_MS;
        c->stream = stream_dial(m->dialer, &(struct dial_opts){
                .host = n->hostname,
                .port = n->derp_port,
                .tls = m->plain ? DIAL_PLAIN : DIAL_TLS,
                .connect_ip4 = dial_literal(n->ipv4, IP_V4),
                .connect_ip6 = dial_literal(n->ipv6, IP_V6),
                .cert_name = n->cert_name[0] != '\0' ? n->cert_name : NULL,
                .insecure = n->insecure,
                .timeout_ms = (unsigned)left,
                .restless = true,
        }, on_stream, c);
        if (c->stream == NULL)
                return;
        if (++m->last_id == 0)
                m->last_id = 1;
        c->id = m->last_id;
}

static void dial(struct derp_conn *c, mono_t now)
{
        c->state = CONN_DIALING;
        c->node = c->first;
        c->give_up_at = mono_add_ms(now, ATTEMPT_MS);
        derp_conn_arm(c);
        dial_next_node(c, now);
        if (c->stream == NULL)
                conn_fail(c, "the region has no relay to connect to", now);
}

/* Of a burst that goes on more is to be seen the next time. */
static void tidy(struct derp_conn *c, mono_t now)
{
        derp_client_tidy(&c->client);
        c->tidy_at = c->client.stretched ? mono_add_ms(now, TIDY_MS) : (mono_t){0};
}

static void on_timer(struct timer *t, mono_t now)
{
        struct derp_conn *c = container_of(t, struct derp_conn, timer);
        c->busy++;
        switch (c->state) {
        case CONN_BACKOFF:
                dial(c, now);
                break;
        case CONN_DIALING:
                conn_fail(c, "the relay does not answer", now);
                break;
        case CONN_LOGIN:
                conn_fail(c, "the relay does not greet", now);
                break;
        case CONN_UP:
                if (mono_is_set(c->answer_by) && mono_reached(now, c->answer_by))
                        conn_fail(c, "the relay is out of reach", now);
                else if (!mono_is_set(c->answer_by) && mono_reached(now, mono_add_ms(c->heard, SILENT_MS)))
                        derp_ask(c, now);
                else if (mono_is_set(c->health_due) && mono_reached(now, c->health_due))
                        report_health(c, now);
                else if (mono_is_set(c->leave_at) && mono_reached(now, c->leave_at))
                        derp_conn_redial(c, now);
                else if (mono_is_set(c->tidy_at) && mono_reached(now, c->tidy_at))
                        tidy(c, now);
                if (!c->dead)
                        derp_conn_arm(c);
                break;
        }
        leave(c);
}

struct derp_conn *derp_conn_new(struct derp_mgr *m, int region, mono_t now)
{
        struct derp_conn *c = calloc(1, sizeof(*c));
        if (c == NULL)
                return NULL;
        c->mgr = m;
        c->region = region;
        c->last_send = now;
        timer_init(&c->timer, on_timer);
        timer_init(&c->kick, on_kick);
        timer_init(&c->look, on_look);
        return c;
}

void derp_conn_free(struct derp_conn *c)
{
        drop_stream(c);
        loop_timer_stop(&c->timer);
        loop_timer_stop(&c->kick);
        loop_timer_stop(&c->look);
        for (; c->queue.head != NULL; c->mgr->stats.dropped_queue++)
                derp_wait_drop(c);
        c->dead = true;
        if (c->busy == 0)
                free(c);
}

enum err derp_conn_send(struct derp_conn *c, const struct node_public *dst, struct pkt *pkt, mono_t now)
{
        struct derp_mgr *m = c->mgr;
        enum err e = ERR_NONE;
        c->last_send = now;
        if (may_send(c) && c->queue.head == NULL) {
                uint8_t head[DERP_SEND_HEAD_LEN];
                derp_send_head(head, dst, pkt->len);
                count_put(m, derp_client_put(&c->client, head, pkt_cdata(pkt), pkt->len, now));
                pkt_release(m->pool, pkt);
        } else {
                e = derp_wait_put(c, dst, pkt);
        }
        if (c->state >= CONN_LOGIN && !timer_is_armed(&c->kick))
                loop_timer_at(m->loop, &c->kick, pace_ready(&c->pace, now) ? now : c->pace.next);
        return e;
}

void derp_conn_hasten(struct derp_conn *c, mono_t now)
{
        if (!push(c, now))
                loop_timer_at(c->mgr->loop, &c->kick, now);
}

void derp_conn_redial(struct derp_conn *c, mono_t now)
{
        bool was_up = c->state == CONN_UP;
        c->busy++;
        drop_stream(c);
        c->failures = 0;
        c->first = 0;
        c->answer_by = c->leave_at = (mono_t){0};
        dial(c, now);
        if (was_up && !c->dead && c->state == CONN_DIALING)
                report(c, DERP_STATE_CONNECTING, "", false, now);
        leave(c);
}

void derp_conn_set_home(struct derp_conn *c, bool home, mono_t now)
{
        if (c->state < CONN_LOGIN)
                return;
        derp_client_set_home(&c->client, home);
        loop_timer_at(c->mgr->loop, &c->kick, now);
}
