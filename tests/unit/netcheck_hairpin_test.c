/* A NAT and its relay in ten lines: what the machine sends is led where such a NAT would, and the outcome is compared. */
#include "netcheck/hairpin.h"

#include "tests/unit/check.h"
#include "tests/unit/stun_answer.h"

#define RELAY  ((struct addr){ip_v4(192, 0, 2, 10), 3478})
#define FIRST  ((struct addr){ip_v4(203, 0, 113, 9), 41641})
#define SECOND ((struct addr){ip_v4(203, 0, 113, 9), 7000})

static struct nc_hairpin h;
static mono_t now;
static uint8_t counter;

struct nat {
        bool answers;       /* the relay, to the second socket */
        bool hairpin;
        bool filters;       /* by address or more: only who was sent to comes in */
        bool own_source;    /* what it leads back has the public source, not the one inside */
        unsigned lose;      /* so many datagrams are lost, of each step */
};

static void count_random(void *out, size_t n)
{
        memset(out, ++counter, n);
}

static int setup(void **state)
{
        (void)state;
        counter = 0;
        now = (mono_t){NS_PER_SEC};
        nc_hairpin_start(&h, count_random, RELAY, 20 * NS_PER_MS, FIRST, now);
        return 0;
}

/* Returns how many datagrams it took. */
static unsigned run(const struct nat *nat)
{
        unsigned sent = 0, of_step[4] = {0};
        bool first_sent = false, second_sent = false;
        struct nc_hairpin_send s;
        while (h.step != NC_HAIRPIN_OFF) {
                assert_true(sent < 20);
                while (nc_hairpin_next(&h, now, &s)) {
                        uint8_t msg[STUN_ANSWER_MAX];
                        bool is_lost = of_step[h.step]++ < nat->lose;
                        enum nc_hairpin_step step = h.step;
                        sent++;
                        assert_int_equal(s.second, step != NC_HAIRPIN_OUT);
                        if (step == NC_HAIRPIN_ASK) {
                                assert_true(addr_eq(s.to, RELAY));
                                if (nat->answers && !is_lost)
                                        assert_true(nc_hairpin_on_second(&h, RELAY, msg, stun_answer(s.data, SECOND, msg), now));
                        } else if (step == NC_HAIRPIN_OUT) {
                                assert_true(addr_eq(s.to, SECOND));
                                first_sent = true;
                                struct addr src = nat->own_source ? FIRST : (struct addr){ip_v4(192, 168, 1, 2), 41641};
                                if (nat->hairpin && (!nat->filters || second_sent) && !is_lost)
                                        assert_true(nc_hairpin_on_second(&h, src, s.data, sizeof(s.data), now));
                        } else {
                                assert_true(addr_eq(s.to, FIRST));
                                second_sent = true;
                                if (nat->hairpin && (!nat->filters || first_sent) && !is_lost)
                                        assert_true(nc_hairpin_on_first(&h, s.data, sizeof(s.data)));
                        }
                        if (h.step == NC_HAIRPIN_OFF)
                                return sent;
                }
                assert_true(nc_hairpin_deadline(&h).ns > now.ns);
                if (h.step != NC_HAIRPIN_OFF)
                        now = nc_hairpin_deadline(&h);
        }
        return sent;
}

static void test_each_kind_of_nat(void **state)
{
        static const struct {
                struct nat nat;
                enum nc_tri works;
                bool filtered, same;
                unsigned sent;
        } rows[] = {
                {{.answers = true, .hairpin = true, .own_source = true}, NC_TRUE, false, true, 2},
                {{.answers = true, .hairpin = true}, NC_TRUE, false, false, 2},
                {{.answers = true, .hairpin = true, .filters = true, .own_source = true}, NC_TRUE, true, false, 4},
                {{.answers = true}, NC_FALSE, false, false, 5},
                {{.answers = true, .filters = true}, NC_FALSE, false, false, 5},
                {{.hairpin = true}, NC_UNKNOWN, false, false, 3},
                {{.answers = true, .hairpin = true, .own_source = true, .lose = 1}, NC_TRUE, false, true, 4},
                {{.answers = true, .hairpin = true, .filters = true, .lose = 1}, NC_TRUE, true, false, 6},
                {{.answers = true, .lose = 1}, NC_FALSE, false, false, 6},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                (void)setup(state);
                mono_t began = now;
                assert_int_equal(run(&rows[i].nat), rows[i].sent);
                assert_int_equal(h.works, rows[i].works);
                assert_int_equal(h.filtered, rows[i].filtered);
                assert_int_equal(h.same_mapping, rows[i].same);
                assert_true(mono_diff_ms(now, began) <= 320);   /* a report waits for it */
                assert_int_equal(nc_hairpin_deadline(&h).ns, MONO_NEVER.ns);
        }
}

/* A slow relay is waited for, a far one not for ever. */
static void test_how_long_it_waits(void **state)
{
        static const int64_t rtt_ms[] = {1, 59, 60, 150, 300, 2000};
        static const int64_t ask_ms[] = {101, 159, 160, 250, 400, 2100}, wait_ms[] = {60, 60, 60, 150, 300, 300};
        (void)state;
        for (size_t i = 0; i < sizeof(rtt_ms) / sizeof(rtt_ms[0]); i++) {
                nc_hairpin_start(&h, count_random, RELAY, rtt_ms[i] * NS_PER_MS, FIRST, now);
                mono_t began = now;
                assert_int_equal(run(&(struct nat){0}), 3);
                assert_int_equal(mono_diff_ms(now, began), 200 + ask_ms[i]);
                nc_hairpin_start(&h, count_random, RELAY, rtt_ms[i] * NS_PER_MS, FIRST, now);
                began = now;
                assert_int_equal(run(&(struct nat){.answers = true}), 5);
                assert_int_equal(mono_diff_ms(now, began), 2 * (30 + wait_ms[i]));
        }
}

/* What has another transaction, comes at the wrong socket or too early proves nothing. */
static void test_what_proves_nothing(void **state)
{
        (void)state;
        struct nc_hairpin_send s;
        uint8_t msg[STUN_ANSWER_MAX], other[STUN_REQUEST_LEN];
        assert_true(nc_hairpin_next(&h, now, &s));
        assert_false(nc_hairpin_next(&h, now, &s));
        memcpy(other, s.data, sizeof(other));
        other[12] ^= 1;
        assert_false(nc_hairpin_on_second(&h, RELAY, msg, stun_answer(other, SECOND, msg), now));
        assert_false(nc_hairpin_on_second(&h, RELAY, s.data, sizeof(s.data), now));
        assert_false(nc_hairpin_on_first(&h, s.data, sizeof(s.data)));
        struct addr v6;
        assert_int_equal(addr_parse("[2001:db8::1]:7", &v6), ERR_NONE);
        assert_false(nc_hairpin_on_second(&h, RELAY, msg, stun_answer(s.data, v6, msg), now));
        assert_int_equal(h.step, NC_HAIRPIN_ASK);
        size_t len = stun_answer(s.data, SECOND, msg);
        for (size_t n = 0; n < len; n++)
                assert_false(nc_hairpin_on_second(&h, RELAY, msg, n, now));
        assert_true(nc_hairpin_on_second(&h, RELAY, msg, len, now));
        assert_false(nc_hairpin_on_second(&h, RELAY, msg, len, now));   /* said twice */
        assert_true(nc_hairpin_next(&h, now, &s));
        assert_false(nc_hairpin_on_first(&h, s.data, sizeof(s.data)));   /* at the sender */
        for (size_t n = 0; n < 20; n++)
                assert_false(nc_hairpin_on_second(&h, FIRST, s.data, n, now));
        assert_int_equal(h.step, NC_HAIRPIN_OUT);
        /* What was first lost in a queue still comes, when the other way is tried already: that tells of no filter. */
        uint8_t late[STUN_REQUEST_LEN];
        memcpy(late, s.data, sizeof(late));
        while (h.step == NC_HAIRPIN_OUT) {
                now = nc_hairpin_deadline(&h);
                (void)nc_hairpin_next(&h, now, &s);
        }
        assert_int_equal(h.step, NC_HAIRPIN_BACK);
        assert_true(nc_hairpin_on_second(&h, FIRST, late, sizeof(late), now));
        assert_true(h.works == NC_TRUE && !h.filtered && h.same_mapping);
        assert_false(nc_hairpin_on_second(&h, FIRST, late, sizeof(late), now));
        assert_false(nc_hairpin_next(&h, mono_add_ms(now, 1000), &s));
}

static void test_stopped(void **state)
{
        (void)state;
        struct nc_hairpin_send s;
        assert_true(nc_hairpin_next(&h, now, &s));
        nc_hairpin_stop(&h);
        assert_false(nc_hairpin_next(&h, mono_add_ms(now, 1000), &s));
        assert_int_equal(h.works, NC_UNKNOWN);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_each_kind_of_nat, setup),
                cmocka_unit_test_setup(test_how_long_it_waits, setup),
                cmocka_unit_test_setup(test_what_proves_nothing, setup),
                cmocka_unit_test_setup(test_stopped, setup),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
