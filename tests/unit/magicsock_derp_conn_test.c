/* One connection to a relay: its states, and what is said to it when. */
#include "tests/unit/magicsock_oneconn.h"

#include <sys/eventfd.h>

#include "tests/unit/road.h"
#include "tests/unit/tls_server.h"

/* At rest until told to dial; what was queued meanwhile goes out when the relay has let us in. */
static void test_login(void **state)
{
        (void)state;
        assert_int_equal(t.c->state, CONN_BACKOFF);
        assert_false(timer_is_armed(&t.c->timer));
        send_one(&t.us);
        assert_int_equal(t.m.queued, 1);
        derp_conn_redial(t.c, now());
        assert_int_equal(t.c->state, CONN_DIALING);
        assert_false(t.m.accepted);
        UNTIL(t.received == 1);
        assert_int_equal(t.c->state, CONN_UP);
        assert_int_equal(t.ups, 1);
        assert_int_equal(t.downs, 0);
        assert_true(t.m.accepted);
        assert_int_equal(t.m.stats.sent, 1);
        assert_int_equal(t.m.stats.received, 1);
        uint32_t old = t.c->id;
        derp_conn_redial(t.c, now());
        UNTIL(t.c->state == CONN_LOGIN);
        assert_false(derp_client_takes(&t.c->client));   /* it has not said yet who it is: what is sent waits */
        send_one(&t.us);
        UNTIL(t.ups == 2);
        assert_int_not_equal(t.c->id, old);
        assert_int_equal(t.lost, 0);   /* on purpose */
        UNTIL(t.received == 2);
        assert_int_equal(t.m.stats.dropped_queue, 0);
}

static void test_home(void **state)
{
        (void)state;
        derp_conn_set_home(t.c, true, now());   /* at rest: nobody to tell */
        struct srv_conn *k = log_in();
        assert_false(k->home);
        derp_conn_set_home(t.c, true, now());
        UNTIL(k->home);
        derp_conn_set_home(t.c, false, now());
        UNTIL(!k->home);
        t.m.home = REGION;
        t.ups = 0;
        k = log_in();
        UNTIL(k->home);
}

static void test_not_a_relay(void **state)
{
        (void)state;
        t.relay.status = "HTTP/1.1 404 Not Found\r\n\r\n";
        derp_conn_redial(t.c, now());
        down_with("the server is no relay: HTTP status 404");
        assert_int_equal(t.lost, 0);
        /* The same again is not said again; but it is tried, and works when the server has become one. */
        UNTIL(t.c->failures >= 3);
        assert_int_equal(t.downs, 1);
        t.relay.status = NULL;
        UNTIL(t.ups == 1);
}

static void test_refused(void **state)
{
        (void)state;
        t.relay.refuse = true;
        t.m.accepted = true;
        send_one(&t.us);
        derp_conn_redial(t.c, now());
        down_with("the relay refused this node");
        assert_false(t.m.accepted);
        assert_int_equal(t.lost, 0);
}

static void test_closed_by_the_relay(void **state)
{
        (void)state;
        srv_close(log_in());
        down_with("the relay closed the connection");
        assert_int_equal(t.lost, 1);
        UNTIL(t.ups == 2);
}

/* The time of the whole attempt is over: before the connection stands, and after. */
static void test_no_greeting(void **state)
{
        (void)state;
        uint16_t port;
        int fd = listen_loopback(&port);
        t.nodes[0].derp_port = port;
        derp_conn_redial(t.c, now());
        pass(t.c->give_up_at);
        down_with("the relay does not answer");
        derp_conn_redial(t.c, now());
        UNTIL(t.c->state == CONN_LOGIN);
        assert_in_range(mono_diff_ms(t.c->give_up_at, now()), 1, 10000);
        t.downs = 0;
        pass(t.c->give_up_at);
        down_with("the relay does not greet");
        assert_int_equal(t.ups, 0);
        close(fd);
}

/* A node with nobody behind it gives way to the next; one that only does STUN is passed over. */
static void test_nodes(void **state)
{
        (void)state;
        t.nodes[2] = t.nodes[0];
        t.nodes[0].stun_only = true;
        t.nodes[1] = (struct derp_node){.name = "4b", .hostname = "127.0.0.1", .derp_port = 1};
        t.region.node_count = 3;
        log_in();
        assert_int_equal(t.c->node, 2);
        assert_int_equal(t.downs, 0);
        t.nodes[1].stun_only = t.nodes[2].stun_only = true;
        derp_conn_redial(t.c, now());
        down_with("the region has no relay to connect to");
        t.map.region_count = 0;
        derp_conn_redial(t.c, now());
        assert_int_equal(t.downs, 1);
}

/* One that takes connections and is of no use: the next attempt passes it over, the one after a success does not. */
static void test_node_that_refuses(void **state)
{
        (void)state;
        struct srv other = {.fd = -1};
        srv_listen(&other, t.loop, 0);
        t.nodes[1] = (struct derp_node){.name = "4b", .hostname = "127.0.0.1", .derp_port = other.port};
        t.region.node_count = 2;
        t.relay.refuse = true;
        derp_conn_redial(t.c, now());
        down_with("the relay refused this node");
        assert_int_equal(other.accepted, 0);
        UNTIL(t.ups == 1);
        assert_int_equal(t.c->node, 1);
        assert_int_equal(t.relay.accepted, 1);
        t.relay.refuse = false;
        srv_close(srv_find(&other, &t.us));
        UNTIL(t.ups == 2);
        assert_int_equal(t.c->node, 0);
        srv_stop(&other);
}

static void asks_to_leave(struct srv_conn *k, uint32_t reconnect_in_ms, uint32_t try_for_ms)
{
        uint8_t body[8];
        mono_t before = t.c->leave_at;
        store_be32(body, reconnect_in_ms);
        store_be32(body + 4, try_for_ms);
        srv_frame(k, DERP_RESTARTING, body, sizeof(body), NULL, 0);
        UNTIL(t.c->leave_at.ns != before.ns);
}

static void test_restarting(void **state)
{
        (void)state;
        struct srv_conn *k = log_in();
        asks_to_leave(k, 0, 0);   /* the moment it let us in: that would go on for ever */
        assert_int_equal(mono_diff_ms(t.c->leave_at, t.c->up_at), 10000);
        asks_to_leave(k, UINT32_MAX, UINT32_MAX);
        assert_in_range(mono_diff_ms(t.c->leave_at, now()), 29000, 30000);
        assert_int_equal(mono_diff_ms(t.c->hurry_until, t.c->leave_at), 10000);
        t.c->up_at = mono_add_ms(t.c->up_at, -20000);
        asks_to_leave(k, 2000, 3000);
        mono_t at = t.c->leave_at;
        assert_in_range(mono_diff_ms(at, now()), 1, 2000);
        pass(mono_add_ms(at, -1));
        assert_int_equal(t.c->state, CONN_UP);
        pass(at);
        assert_int_equal(t.c->state, CONN_DIALING);
        assert_int_equal(t.redials, 1);   /* it is not up, and those who count on it know */
        UNTIL(t.ups == 2);
        assert_int_equal(t.downs, 0);
        assert_int_equal(t.relay.logins, 2);

        /* It goes before that: nobody is there until then, and somebody soon after. */
        t.c->up_at = mono_add_ms(t.c->up_at, -20000);
        asks_to_leave(srv_find(&t.relay, &t.us), 5000, 3000);
        at = t.c->leave_at;
        srv_stop(&t.relay);
        UNTIL(t.downs == 1);
        assert_int_equal(t.c->retry_at.ns, at.ns);
        for (int i = 0; i < 3; i++) {
                t.c->failures = 100;
                t.c->hurry_until = mono_add_ms(now(), 3000);
                pass(t.c->retry_at);
                UNTIL(t.c->state == CONN_BACKOFF);
                assert_in_range(mono_diff_ms(t.c->retry_at, now()), 100, 375);
        }
        t.c->hurry_until = now();
        pass(t.c->retry_at);
        UNTIL(t.c->state == CONN_BACKOFF);
        assert_true(mono_diff_ms(t.c->retry_at, now()) > 2000);
}

static void test_health(void **state)
{
        (void)state;
        struct srv_conn *k = log_in();
        srv_frame(k, DERP_HEALTH, "too\x1b[mmany", 10, NULL, 0);
        UNTIL(t.unhealthy == 1);
        assert_string_equal(t.detail, "too?[mmany");
        srv_frame(k, DERP_HEALTH, NULL, 0, NULL, 0);
        UNTIL(t.ups == 2);   /* its own timer fires */
        assert_string_equal(t.detail, "");
}

/* Of a flood of complaints the first is reported, and a second later the last; so it is with one that is over at once. */
static void test_health_without_end(void **state)
{
        (void)state;
        struct srv_conn *k = log_in();
        uint8_t frames[600][DERP_HEAD_LEN + 1];
        for (size_t i = 0; i < 600; i++) {
                frames[i][0] = DERP_HEALTH;
                store_be32(frames[i] + 1, 1);
                frames[i][DERP_HEAD_LEN] = (uint8_t)('a' + i % 26);
        }
        frames[599][DERP_HEAD_LEN] = 'Z';
        srv_write(k, frames, sizeof(frames));
        UNTIL(strcmp(t.c->health, "Z") == 0 && t.c->client.in_at == t.c->client.in_end);
        assert_int_equal(t.unhealthy, 1);
        assert_string_equal(t.detail, "a");
        assert_true(timer_is_armed(&t.c->timer) && mono_reached(mono_add_ms(now(), 1000), t.c->timer.at));
        pass(t.c->health_due);
        assert_int_equal(t.unhealthy, 2);
        assert_string_equal(t.detail, "Z");
        assert_false(mono_is_set(t.c->health_due));
        srv_frame(k, DERP_HEALTH, NULL, 0, NULL, 0);
        UNTIL(t.c->health[0] == '\0');
        assert_int_equal(t.ups, 1);
        pass(t.c->health_due);
        assert_int_equal(t.ups, 2);
        assert_int_equal(t.c->state, CONN_UP);
}

static void silent_for(int64_t ms)
{
        t.c->heard = mono_add_ms(now(), -ms);
        pass(now());
}

/* Any byte is a sign of life, a keepalive too.  Where one is late the relay is asked, and has a second to answer. */
static void test_silence(void **state)
{
        (void)state;
        struct srv_conn *k = log_in();
        silent_for(66900);
        assert_false(mono_is_set(t.c->answer_by));
        mono_t before = t.c->heard;
        srv_frame(k, DERP_KEEP_ALIVE, NULL, 0, NULL, 0);
        UNTIL(t.c->heard.ns != before.ns);
        assert_int_equal(t.relay.pings, 0);
        silent_for(67000);
        assert_true(mono_is_set(t.c->answer_by));
        UNTIL(!mono_is_set(t.c->answer_by) && t.c->client.in_at == t.c->client.in_end);
        assert_int_equal(t.relay.pings, 1);
        assert_int_equal(t.c->state, CONN_UP);
        t.relay.mute = true;
        silent_for(67000);
        UNTIL(t.relay.pings == 2);
        pass(t.c->answer_by);
        down_with("the relay is out of reach");
        assert_int_equal(t.lost, 1);
}

static void test_check(void **state)
{
        (void)state;
        log_in();
        derp_conn_check(t.c, 0, now());
        assert_true(mono_is_set(t.c->answer_by));
        derp_conn_check(t.c, 0, now());   /* one is out already */
        UNTIL(!mono_is_set(t.c->answer_by) && t.c->client.in_at == t.c->client.in_end);   /* all of the answer */
        assert_int_equal(t.relay.pings, 1);
        t.relay.mute = true;
        derp_conn_check(t.c, 0, now());
        UNTIL(t.relay.pings == 2);
        pass(mono_add_ms(t.c->answer_by, -1));
        assert_int_equal(t.c->state, CONN_UP);
        pass(t.c->answer_by);
        down_with("the relay is out of reach");
        t.relay.mute = false;
        derp_conn_check(t.c, 0, now());   /* does not wait for the backoff to end */
        assert_int_equal(t.c->state, CONN_DIALING);
        UNTIL(t.ups == 2);
}

static void up_for(int64_t ms)
{
        t.c->up_at = mono_add_ms(now(), -ms);
}

/* The network is another one: what the kernel says of its routes decides whether the relay is even asked. */
static void test_check_moved(void **state)
{
        (void)state;
        log_in();
        road = STREAM_WAY_NONE;
        derp_conn_check(t.c, 0, now());
        assert_int_equal(t.c->state, CONN_UP);
        assert_false(mono_is_set(t.c->answer_by));
        road = STREAM_WAY_OTHER;
        uint32_t old = t.c->id;
        derp_conn_check(t.c, 0, now());
        assert_int_equal(t.c->state, CONN_DIALING);
        assert_int_not_equal(t.c->id, old);
        road = STREAM_WAY_SAME;
        UNTIL(t.ups == 2);
        /* After a long sleep the relay has given us up. */
        up_for(70000);
        derp_conn_check(t.c, 69999, now());
        assert_int_equal(t.c->state, CONN_UP);
        assert_true(mono_is_set(t.c->answer_by));
        t.c->heard = now();   /* what it had sent before was read first */
        derp_conn_check(t.c, 70000, now());
        assert_int_equal(t.c->state, CONN_DIALING);
        UNTIL(t.ups == 3);
        /* There was no way to it at first.  One that was made since then is not meant. */
        up_for(70000);
        road = STREAM_WAY_NONE;
        derp_conn_check(t.c, 70000, now());
        assert_int_equal(t.c->state, CONN_UP);
        road = STREAM_WAY_SAME;
        derp_conn_check(t.c, 0, now());
        assert_int_equal(t.c->state, CONN_DIALING);
        UNTIL(t.ups == 4);
        up_for(69999);
        derp_conn_check(t.c, 70000, now());
        assert_int_equal(t.c->state, CONN_UP);
        UNTIL(!t.c->asked);
        /* A keepalive was missed partly before the host slept. */
        up_for(70000);
        t.c->heard = mono_add_ms(now(), -69999);
        derp_conn_check(t.c, 30000, now());
        assert_int_equal(t.c->state, CONN_UP);
        t.c->heard = mono_add_ms(now(), -70000);
        derp_conn_check(t.c, 30000, now());
        assert_int_equal(t.c->state, CONN_DIALING);
        UNTIL(t.ups == 5);
        assert_int_equal(t.downs, 0);
}

static void unused_for(int64_t ms)
{
        t.c->heard = t.c->last_send = mono_add_ms(now(), -ms);
}

/* Who has another way does not trust one that nothing came or went by for a while before it has answered. */
static void test_ready(void **state)
{
        (void)state;
        assert_false(derp_conn_is_ready(t.c, now()));   /* not up */
        log_in();
        unused_for(4999);
        assert_true(derp_conn_is_ready(t.c, now()));
        unused_for(5000);
        t.c->last_send = mono_add_ms(now(), -4999);
        assert_true(derp_conn_is_ready(t.c, now()));
        assert_false(t.c->asked);
        unused_for(5000);
        assert_false(derp_conn_is_ready(t.c, now()));
        assert_false(derp_conn_is_ready(t.c, now()));   /* one question is enough */
        t.c->last_send = now();   /* what somebody else sends says nothing of it */
        assert_false(derp_conn_is_ready(t.c, now()));
        UNTIL(!t.c->asked && t.c->client.in_at == t.c->client.in_end);
        assert_int_equal(t.relay.pings, 1);
        assert_true(derp_conn_is_ready(t.c, now()));
        /* It has no second to answer in: a slow link must not lose its relay for that. */
        t.relay.mute = true;
        unused_for(5000);
        assert_false(derp_conn_is_ready(t.c, now()));
        assert_false(mono_is_set(t.c->answer_by));
        UNTIL(t.relay.pings == 2);
        assert_int_equal(t.c->state, CONN_UP);
}

static void on_ring(struct watch *w, unsigned events, mono_t at)
{
        uint64_t n;
        (void)events;
        assert_int_equal(read(w->fd, &n, sizeof(n)), sizeof(n));
        derp_conn_check(t.c, 0, at);
}

/* What lay in the socket before the relay was asked is no answer: it is read in the same round of the loop. */
static void test_no_answer(void **state)
{
        (void)state;
        struct watch ring;
        uint64_t one = 1;
        struct srv_conn *k = log_in();
        t.relay.mute = true;
        watch_init(&ring, on_ring);
        int fd = eventfd(0, 0);
        assert_int_equal(loop_watch(t.loop, &ring, fd, LOOP_READ), ERR_NONE);
        loop_once(t.loop, 0);   /* what was ready in the last round would come first */
        assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
        srv_frame(k, DERP_KEEP_ALIVE, NULL, 0, NULL, 0);
        UNTIL(t.c->asked);
        assert_int_equal(t.c->heard.ns, t.c->asked_at.ns);
        assert_true(t.c->asked && mono_is_set(t.c->answer_by));
        srv_frame(k, DERP_KEEP_ALIVE, NULL, 0, NULL, 0);
        UNTIL(!t.c->asked && !mono_is_set(t.c->answer_by));
        loop_unwatch(&ring);
        close(fd);
}

/* An attempt that waits for a network that is no more is not waited for. */
static void test_check_while_dialing(void **state)
{
        (void)state;
        uint16_t port;
        int fd = listen_loopback(&port);
        t.nodes[0].derp_port = port;   /* takes the connection, never answers */
        derp_conn_redial(t.c, now());
        for (int connected = 0; connected < 2; connected++) {
                if (connected)
                        UNTIL(t.c->state == CONN_LOGIN);
                uint32_t old = t.c->id;
                derp_conn_check(t.c, 0, now());
                assert_int_equal(t.c->state, CONN_DIALING);
                assert_int_not_equal(t.c->id, old);
        }
        t.nodes[0].derp_port = t.relay.port;
        derp_conn_check(t.c, 0, now());
        UNTIL(t.ups == 1);
        assert_int_equal(t.downs, 0);
        close(fd);
}

static void test_backoff_grows(void **state)
{
        (void)state;
        srv_stop(&t.relay);
        derp_conn_redial(t.c, now());
        for (unsigned n = 1; n <= 30; n++) {
                /* The failure of this very moment, with the backoff drawn for it. */
                UNTIL(t.c->state == CONN_BACKOFF && t.c->failures >= n);
                n = t.c->failures;
                int64_t want = n * n * 10 < 5000 ? n * n * 10 : 5000;
                assert_true(mono_diff_ms(t.c->retry_at, now()) <= want + want / 2 + 1);
                pass(t.c->retry_at);
        }
        assert_true(t.c->failures >= 29);
        assert_int_equal(t.downs, 1);
}

/* More than the buffer holds, at once: what does not fit is dropped and counted, what fits comes in pieces. */
static void test_more_than_fits(void **state)
{
        (void)state;
        enum { COUNT = 200 };
        static uint8_t bytes[1400];
        struct pkt view;
        log_in();
        for (int i = 0; i < COUNT; i++) {
                pkt_view(&view, bytes, sizeof(bytes), 0, sizeof(bytes));
                assert_int_equal(derp_conn_send(t.c, &t.us, &view, now()), ERR_NONE);
        }
        assert_int_equal(t.m.stats.sent + t.m.stats.dropped_queue, COUNT);
        assert_in_range(t.m.stats.sent, DERP_OUT_MAX / 1500 - 10, DERP_OUT_MAX / 1400);
        size_t left;
        loop_once(t.loop, 0);
        (void)derp_client_out(&t.c->client, &left);
        assert_true(left > 0);   /* a round of the loop is one moment: one piece */
        UNTIL(t.received == t.m.stats.sent);
}

/* While many come the socket is looked at by the clock, and by the loop again once they stop. */
static void test_rests_while_much_comes(void **state)
{
        (void)state;
        struct srv_conn *k = log_in();
        UNTIL(!t.c->resting);
        srv_frame(k, DERP_RECV_PACKET, t.us.b, KEY_LEN, "one", 3);
        UNTIL(t.received == 1);
        assert_false(t.c->resting);
        uint8_t frames[8][DERP_HEAD_LEN + KEY_LEN] = {{0}};
        for (size_t i = 0; i < 8; i++) {
                frames[i][0] = DERP_RECV_PACKET;
                store_be32(frames[i] + 1, KEY_LEN);
        }
        srv_write(k, frames, sizeof(frames));
        UNTIL(t.received == 9);
        assert_true(t.c->resting && timer_is_armed(&t.c->look));
        loop_timer_stop(&t.c->look);
        srv_frame(k, DERP_RECV_PACKET, t.us.b, KEY_LEN, "late", 4);
        for (int i = 0; i < 5; i++)
                loop_once(t.loop, 5);
        assert_int_equal(t.received, 9);
        loop_timer_at(t.loop, &t.c->look, now());
        UNTIL(t.received == 10);
        UNTIL(!t.c->resting);
        srv_close(k);   /* and the end is seen either way */
        UNTIL(t.downs == 1);
}

static void test_freed_by_its_callback(void **state)
{
        (void)state;
        t.free_on_state = true;
        derp_conn_redial(t.c, now());
        UNTIL(t.ups == 1);
        assert_null(t.c);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                T(test_login), T(test_home), T(test_not_a_relay), T(test_refused), T(test_closed_by_the_relay),
                T(test_no_greeting), T(test_nodes), T(test_node_that_refuses), T(test_restarting),
                T(test_health), T(test_health_without_end), T(test_silence),
                T(test_check_moved),
                T(test_ready),
                T(test_no_answer),
                T(test_check), T(test_check_while_dialing), T(test_backoff_grows),
                T(test_more_than_fits), T(test_rests_while_much_comes),
                T(test_freed_by_its_callback),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
