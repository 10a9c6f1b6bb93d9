/* Is the path alive?  One machine, and a path that answers or does not, on a clock of its own. */
#include "magicsock/liveness.h"

#include "tests/unit/check.h"

enum { PONGS_MAX = 256 };

static struct path_model {
        struct liveness l;
        mono_t now;
        int64_t rtt_ms, answer_ms;   /* of pings; of our data, 0 = never answered */
        bool out_dead, in_dead;
        struct {
                mono_t at, sent;     /* sent unset: data */
        } back[PONGS_MAX];
        unsigned count;
        unsigned pings;
        mono_t doubt, lost;          /* first time */
} m;

static void start(int64_t rtt_ms)
{
        m = (struct path_model){.now = {1000 * NS_PER_SEC}, .rtt_ms = rtt_ms};
        live_start(&m.l, mono_add_ms(m.now, -rtt_ms), m.now);
}

static void come_back(int64_t after_ms, mono_t sent)
{
        if (m.out_dead)
                return;
        assert_true(m.count < PONGS_MAX);
        m.back[m.count].at = mono_add_ms(m.now, after_ms);
        m.back[m.count++].sent = sent;
}

static void take(enum live_step step)
{
        if (step == LIVE_NOTHING)
                return;
        if (step == LIVE_LOST) {
                m.lost = mono_is_set(m.lost) ? m.lost : m.now;
                m.l = (struct liveness){.rtt_ns = 0};
                return;
        }
        assert_true(step != LIVE_DOUBT || m.l.in_doubt);
        if (step == LIVE_DOUBT && !mono_is_set(m.doubt))
                m.doubt = m.now;
        m.pings++;
        live_on_ping(&m.l, m.now);
        come_back(m.rtt_ms, m.now);
}

static void arrive(unsigned i)
{
        mono_t sent = m.back[i].sent;
        m.back[i] = m.back[--m.count];
        if (m.in_dead)
                return;
        if (mono_is_set(sent))
                live_on_pong(&m.l, sent, m.now);
        else
                live_on_heard(&m.l, m.now);
}

static void send_data(void)
{
        take(live_on_sent(&m.l, m.now));
        if (m.answer_ms)
                come_back(m.answer_ms, (mono_t){0});
}

/* For ms or until the path is lost, with data of ours each send_ms and of the peer's each hear_ms; 0 = none. */
static void run(int64_t ms, int64_t send_ms, int64_t hear_ms)
{
        for (int64_t t = 0; t < ms && !mono_is_set(m.lost); t++) {
                for (unsigned i = m.count; i-- > 0;)
                        if (mono_reached(m.now, m.back[i].at))
                                arrive(i);
                if (send_ms && t % send_ms == 0)
                        send_data();
                if (hear_ms && t % hear_ms == 0 && !m.in_dead)
                        live_on_heard(&m.l, m.now);
                if (mono_reached(m.now, live_deadline(&m.l))) {
                        take(live_expire(&m.l, m.now));
                        assert_true(live_deadline(&m.l).ns > m.now.ns);
                }
                m.now = mono_add_ms(m.now, 1);
        }
}

/* Milliseconds from `since` to t; -1: never. */
static int64_t after(mono_t t, mono_t since)
{
        return mono_is_set(t) ? mono_diff_ms(t, since) : -1;
}

static void cut(void)
{
        m.out_dead = m.in_dead = true;
        m.count = m.pings = 0;
}

static void at_rest_nothing_happens(void **state)
{
        (void)state;
        start(40);
        assert_int_equal(live_deadline(&m.l).ns, INT64_MAX);
        run(5000, 0, 0);
        run(5000, 0, 5);
        assert_int_equal(m.pings, 0);
        assert_int_equal(live_expire(&m.l, m.now), LIVE_NOTHING);
}

static void answered_flow_costs_one_ping_a_second(void **state)
{
        (void)state;
        start(40);
        m.answer_ms = 40;
        run(20000, 1, 0);
        assert_in_range(m.pings, 18, 20);
        assert_false(mono_is_set(m.doubt));
        /* Data now and then is answered by data; no ping is needed. */
        start(40);
        m.answer_ms = 40;
        run(20000, 500, 0);
        assert_in_range(m.pings, 0, 12);
        start(40);
        m.answer_ms = 100;
        run(2000, 500, 0);
        assert_int_equal(m.pings, 1);
}

/* Nothing of the peer's ever comes but pongs: no doubt, and soon one ping a second. */
static void one_way_flow(void **state)
{
        (void)state;
        start(40);
        run(60000, 2, 0);
        assert_false(mono_is_set(m.doubt));
        assert_in_range(m.pings, 50, 66);
        m.pings = 0;
        run(60000, 700, 0);      /* rare data, the same */
        assert_false(mono_is_set(m.doubt));
        assert_in_range(m.pings, 30, 62);
}

static void dead_path_is_left(void **state)
{
        (void)state;
        static const struct {
                int64_t rtt, send, doubt, lost;
        } t[] = {
                {1, 1, 250, 370},
                {1, 100, 350, 470},
                {40, 1, 400, 520},     /* a ping was out, and the peer heard just before */
                {40, 100, 400, 520},
                {150, 10, 620, 800},
                {300, 10, 1100, 1450},
        };
        for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
                start(t[i].rtt);
                m.answer_ms = t[i].rtt;
                run(10000, t[i].send, 0);
                cut();
                mono_t at = m.now;
                run(4000, t[i].send, 0);
                if (after(m.doubt, at) > t[i].doubt || after(m.lost, at) > t[i].lost)
                        print_error("rtt %d: doubt after %d ms, lost after %d ms\n", (int)t[i].rtt,
                                (int)after(m.doubt, at), (int)after(m.lost, at));
                assert_in_range(after(m.doubt, at), 100, t[i].doubt);
                assert_in_range(after(m.lost, at), 200, t[i].lost);
                assert_in_range(m.pings, 2, 3);     /* one may have been out */
        }
}

/* Our packets die, the peer's arrive: whoever only listens would never know. */
static void dead_one_way_out(void **state)
{
        (void)state;
        start(40);
        m.answer_ms = 40;
        run(10000, 10, 10);
        m.out_dead = true;
        m.count = 0;
        mono_t at = m.now;
        run(6000, 10, 10);
        assert_in_range(after(m.doubt, at), 500, 1900);
        assert_in_range(after(m.lost, at), 500, 3000);

        /* The peer only repeats what it got no answer for: found as soon as silence. */
        start(40);
        m.answer_ms = 40;
        run(10000, 10, 0);
        m.out_dead = true;
        m.count = 0;
        at = m.now;
        for (int i = 0; i < 3; i++) {
                live_on_heard(&m.l, m.now);
                send_data();
                run(200 << i, 0, 0);
        }
        assert_in_range(after(m.doubt, at), 150, 700);
}

static void dead_one_way_in(void **state)
{
        (void)state;
        start(40);
        m.answer_ms = 40;
        run(10000, 10, 0);
        m.in_dead = true;
        mono_t at = m.now;
        run(3000, 10, 0);
        assert_in_range(after(m.doubt, at), 150, 400);
        assert_in_range(after(m.lost, at), 300, 600);
}

/* A sender that fills its uplink makes every round trip long.  That is no reason to send all of it twice. */
static void full_path_is_not_dead(void **state)
{
        (void)state;
        start(20);
        m.answer_ms = 20;
        run(5000, 5, 0);
        for (int64_t q = 20; q <= 700; q += 40) {   /* the queue grows */
                m.rtt_ms = m.answer_ms = q;
                run(100, 5, 5);
        }
        run(10000, 5, 5);
        assert_false(mono_is_set(m.doubt));
        assert_in_range(m.l.rtt_ns / NS_PER_MS, 650, 700);
}

static void a_late_pong_ends_doubt(void **state)
{
        (void)state;
        start(20);
        m.rtt_ms = 200;   /* at once, and no data comes back */
        run(500, 10, 0);
        assert_true(mono_is_set(m.doubt));
        assert_false(mono_is_set(m.lost));
        run(10000, 10, 0);
        assert_false(mono_is_set(m.lost));
        m.doubt = (mono_t){0};
        run(10000, 10, 0);   /* it has learned */
        assert_false(mono_is_set(m.doubt));
}

static void a_pong_from_before_says_nothing(void **state)
{
        (void)state;
        start(20);
        mono_t early = m.now;
        m.now = mono_add_ms(m.now, 100);
        live_on_ping(&m.l, m.now);
        live_on_pong(&m.l, early, m.now);
        assert_true(mono_is_set(m.l.asked));
        live_on_pong(&m.l, m.now, mono_add_ms(m.now, 20));
        assert_false(mono_is_set(m.l.asked));
        assert_int_equal(live_deadline(&m.l).ns, INT64_MAX);
}

/* The path dies between a ping and data: that ping's pong still comes, and the data waits for an answer as before. */
static void a_pong_to_before_the_data_is_no_answer(void **state)
{
        (void)state;
        start(20);
        mono_t pinged = mono_add_ms(m.now, 5), sent = mono_add_ms(m.now, 10);
        assert_int_equal(live_on_sent(&m.l, sent), LIVE_NOTHING);
        int64_t deadline = live_deadline(&m.l).ns;
        live_on_pong(&m.l, pinged, mono_add_ms(m.now, 25));
        assert_int_equal(m.l.waiting.ns, sent.ns);
        assert_true(live_deadline(&m.l).ns <= deadline);
        live_on_pong(&m.l, sent, mono_add_ms(m.now, 30));
        assert_int_equal(live_deadline(&m.l).ns, INT64_MAX);
}

/* A third of all packets is lost: data may go both ways for a moment, but the path is hardly ever given up. */
static void loss(void **state)
{
        (void)state;
        uint32_t seed = 7;
        int64_t doubt_ms = 0;
        unsigned lost = 0;
        start(20);
        for (int s = 0; s < 600 * 1000; s++) {
                if (s % 20 == 0) {
                        seed = seed * 1664525 + 1013904223;
                        m.in_dead = (seed >> 8) % 100 < 30;
                }
                run(1, s % 10 == 0 ? 1 : 0, s % 10 == 5 ? 1 : 0);
                doubt_ms += m.l.in_doubt;
                if (mono_is_set(m.lost)) {
                        lost++;
                        m.lost = (mono_t){0};
                        live_start(&m.l, m.now, m.now);
                }
        }
        assert_true(lost <= 3);
        assert_true(doubt_ms < 600 * 1000 / 10);
}

/* We stood still for a while: what came meanwhile has not been read yet. */
static void a_pause_of_ours_condemns_nothing(void **state)
{
        (void)state;
        start(20);
        live_on_ping(&m.l, m.now);
        mono_t sent = m.now;
        m.now = mono_add_ms(m.now, 60000);
        assert_int_equal(live_expire(&m.l, m.now), LIVE_PING);
        live_on_ping(&m.l, m.now);
        assert_false(m.l.in_doubt);
        live_on_pong(&m.l, sent, m.now);
        assert_false(mono_is_set(m.l.asked));
}

static void resumed_path_is_in_doubt(void **state)
{
        (void)state;
        start(40);
        m.now = mono_add_ms(m.now, 60000);
        mono_t at = m.now;
        take(live_resume(&m.l, m.now));
        assert_true(m.l.in_doubt);
        assert_int_equal(live_resume(&m.l, m.now), LIVE_NOTHING);
        assert_int_equal(live_on_sent(&m.l, m.now), LIVE_NOTHING);
        run(100, 10, 0);
        assert_false(m.l.in_doubt);

        start(40);
        cut();
        at = m.now;
        take(live_resume(&m.l, m.now));
        run(3000, 10, 0);
        assert_in_range(after(m.lost, at), 180, 300);
        assert_int_equal(m.pings, 2);
}

static void hints(void **state)
{
        (void)state;
        start(40);
        assert_int_equal(live_on_elsewhere(&m.l, m.now), LIVE_NOTHING);   /* never spoke this way */
        run(5000, 0, 0);
        live_on_heard(&m.l, m.now);
        assert_int_equal(live_on_elsewhere(&m.l, m.now), LIVE_PING);
        assert_int_equal(live_on_elsewhere(&m.l, m.now), LIVE_NOTHING);   /* once */
        live_on_heard(&m.l, m.now);
        m.now = mono_add_ms(m.now, 2001);
        assert_int_equal(live_on_elsewhere(&m.l, m.now), LIVE_NOTHING);   /* long ago */

        assert_int_equal(live_on_hint(&m.l, m.now), LIVE_PING);
        live_on_ping(&m.l, m.now);
        assert_int_equal(live_on_hint(&m.l, m.now), LIVE_NOTHING);        /* is being asked */
        mono_t sent = m.now;
        m.now = mono_add_ms(m.now, 40);
        live_on_pong(&m.l, sent, m.now);
        assert_int_equal(live_on_hint(&m.l, m.now), LIVE_NOTHING);        /* was just answered */
        m.now = mono_add_ms(m.now, 200);
        assert_int_equal(live_on_hint(&m.l, m.now), LIVE_PING);
}

/* Any order of events at any time: a step is asked for once, a deadline lies ahead, and numbers stay sane. */
static void any_order(void **state)
{
        (void)state;
        uint32_t seed = 1;
        start(20);
        mono_t pinged = m.now;
        for (int i = 0; i < 1000000; i++) {
                seed = seed * 1664525 + 1013904223;
                uint32_t r = seed >> 8;
                m.now = mono_add_ns(m.now, (r >> 4) % (r % 64 == 0 ? 100 * NS_PER_SEC : 50 * NS_PER_MS));
                enum live_step step = LIVE_NOTHING;
                switch (r % 8) {
                case 0:
                        live_on_heard(&m.l, m.now);
                        break;
                case 1:
                        live_on_pong(&m.l, pinged, m.now);
                        break;
                case 2:
                        step = live_on_elsewhere(&m.l, m.now);
                        break;
                case 3:
                        step = r % 1024 == 3 ? live_resume(&m.l, m.now) : live_on_hint(&m.l, m.now);
                        break;
                case 4:
                        step = live_expire(&m.l, m.now);
                        break;
                default:
                        step = live_on_sent(&m.l, m.now);
                }
                if (step == LIVE_PING || step == LIVE_DOUBT) {
                        live_on_ping(&m.l, m.now);
                        pinged = m.now;
                }
                if (step == LIVE_LOST)
                        live_start(&m.l, m.now, m.now);
                assert_true(m.l.pings <= 6 && m.l.patience <= 3 && m.l.rtt_ns >= 0 && m.l.var_ns >= 0);
                assert_true(!m.l.in_doubt || mono_is_set(m.l.asked));
                if (r % 8 == 4)
                        assert_true(live_deadline(&m.l).ns > m.now.ns);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(at_rest_nothing_happens),
                cmocka_unit_test(answered_flow_costs_one_ping_a_second),
                cmocka_unit_test(one_way_flow),
                cmocka_unit_test(dead_path_is_left),
                cmocka_unit_test(dead_one_way_out),
                cmocka_unit_test(dead_one_way_in),
                cmocka_unit_test(full_path_is_not_dead),
                cmocka_unit_test(a_late_pong_ends_doubt),
                cmocka_unit_test(a_pong_from_before_says_nothing),
                cmocka_unit_test(a_pong_to_before_the_data_is_no_answer),
                cmocka_unit_test(loss),
                cmocka_unit_test(a_pause_of_ours_condemns_nothing),
                cmocka_unit_test(resumed_path_is_in_doubt),
                cmocka_unit_test(hints),
                cmocka_unit_test(any_order),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
