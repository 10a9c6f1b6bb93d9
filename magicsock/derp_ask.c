/* Whether a connection to a relay that is up still works, and what is done where it may not. */
#include "magicsock/derp_conn.h"

#include "base/crypto.h"

enum {
        KEEPALIVE_MS = 70000,    /* one was missed */
        UNUSED_MS = 5000,        /* after so long nobody knows whether it works; one that is sent to and does not is ended by then */
        ANSWER_MS = 1000,        /* to a ping; a new connection is faster than a TCP that waits to repeat itself */
};

static void ping(struct derp_conn *c, mono_t now)
{
        uint8_t data[DERP_PING_LEN];
        crypto_random(data, sizeof(data));
        derp_client_ping(&c->client, data);
        loop_timer_at(c->mgr->loop, &c->kick, now);
        c->asked = true;
        c->asked_at = now;
}

/* Whoever listens alone would not notice otherwise that its router, or the relay's host, has started anew. */
void derp_ask(struct derp_conn *c, mono_t now)
{
        c->answer_by = mono_add_ms(now, ANSWER_MS);
        derp_conn_arm(c);
        ping(c, now);
}

void derp_ask_heard(struct derp_conn *c, mono_t now)
{
        c->heard = now;
        if (c->asked && c->asked_at.ns == now.ns)
                return;   /* it lay in the socket before we asked */
        c->asked = false;
        c->answer_by = (mono_t){0};   /* the timer finds that out when it fires */
}

/* A relay whose keepalive was not acknowledged has given us up, also if what it sent before the host slept is read only now.
 * A connection made since then is another matter. */
static bool is_given_up(const struct derp_conn *c, int64_t slept_ms, mono_t now)
{
        if (c->state != CONN_UP || mono_diff_ms(now, c->up_at) < slept_ms)
                return false;
        return slept_ms >= KEEPALIVE_MS || mono_diff_ms(now, c->heard) >= KEEPALIVE_MS;
}

void derp_conn_check(struct derp_conn *c, int64_t slept_ms, mono_t now)
{
        enum stream_way way = c->state == CONN_UP ? stream_way(c->stream) : STREAM_WAY_OTHER;
        c->given_up = c->given_up || is_given_up(c, slept_ms, now);
        if (way == STREAM_WAY_NONE)
                return;   /* the network comes back, and then this is asked again; or the kernel gives the connection up */
        if (way == STREAM_WAY_OTHER || c->given_up) {   /* an attempt under way may be by the network that was */
                derp_conn_redial(c, now);
        } else if (!mono_is_set(c->answer_by)) {
                derp_ask(c, now);
        }
}

bool derp_conn_is_ready(struct derp_conn *c, mono_t now)
{
        mono_t used = c->heard.ns > c->last_send.ns ? c->heard : c->last_send;
        if (c->state != CONN_UP || c->asked)
                return false;
        if (mono_diff_ms(now, used) < UNUSED_MS)
                return true;
        ping(c, now);
        return false;
}
