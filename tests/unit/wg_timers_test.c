/* Each table is one story: at a time an event, or what timers_expire() must say when asked then. */
#include "tests/unit/check.h"
#include "wg/timers.h"

enum event {
        END,
        DATA_SENT,
        DATA_RECEIVED,
        ANY_SENT,
        ANY_RECEIVED,
        WANT,           /* no session */
        WANT_REKEY,     /* there is one */
        RESTARTED,
        KNOWN,          /* .says is since when, in ms */
        INITIATED,
        ANSWERED,       /* a response left, no session yet */
        ANSWERED_LIVE,
        DERIVED,
        COMPLETE,
        PERSISTENT_25,
        PERSISTENT_OFF,
        EXPECT,         /* .says, without a session */
        EXPECT_LIVE,
        DEADLINE,       /* .says is the deadline in ms; 0 = none */
};

struct row {
        int64_t at_ms;
        enum event event;
        int64_t says;
};

enum { JITTER_MS = 100 };

static mono_t at(int64_t ms)
{
        return (mono_t){NS_PER_SEC + ms * NS_PER_MS};
}

static void play(const char *name, const struct row *rows)
{
        struct timers t = {.jitter_ns = JITTER_MS * NS_PER_MS};
        for (int i = 0; rows[i].event != END; i++) {
                const struct row *r = &rows[i];
                mono_t now = at(r->at_ms);
                int64_t got = r->says;
                switch (r->event) {
                case END:
                        break;
                case DATA_SENT:
                        timers_any_sent(&t, now);
                        timers_data_sent(&t, now);
                        break;
                case DATA_RECEIVED:
                        timers_any_received(&t, now);
                        timers_data_received(&t, now);
                        break;
                case ANY_SENT:
                        timers_any_sent(&t, now);
                        break;
                case ANY_RECEIVED:
                        timers_any_received(&t, now);
                        break;
                case WANT:
                        timers_want_handshake(&t, false, now);
                        break;
                case WANT_REKEY:
                        timers_want_handshake(&t, true, now);
                        break;
                case RESTARTED:
                        timers_peer_restarted(&t, now);
                        break;
                case KNOWN:
                        timers_peer_known(&t, at(r->says), now);
                        break;
                case INITIATED:
                        timers_initiation_sent(&t, JITTER_MS * NS_PER_MS, now);
                        break;
                case ANSWERED:
                        timers_response_sent(&t, false, now);
                        break;
                case ANSWERED_LIVE:
                        timers_response_sent(&t, true, now);
                        break;
                case DERIVED:
                        timers_session_derived(&t, now);
                        break;
                case COMPLETE:
                        timers_handshake_complete(&t);
                        break;
                case PERSISTENT_25:
                        timers_set_persistent(&t, 25, now);
                        break;
                case PERSISTENT_OFF:
                        timers_set_persistent(&t, 0, now);
                        break;
                case EXPECT:
                        got = (int64_t)timers_expire(&t, false, now);
                        break;
                case EXPECT_LIVE:
                        got = (int64_t)timers_expire(&t, true, now);
                        break;
                case DEADLINE:
                        got = timers_deadline(&t).ns == MONO_NEVER.ns ? 0 : mono_diff_ms(timers_deadline(&t), at(0));
                        break;
                }
                if (got != r->says)
                        fail_msg("%s, row %d: %lld instead of %lld", name, i, (long long)got, (long long)r->says);
        }
}

#define STORY(name, ...)                                                                                       \
        static void name(void **state)                                                                         \
        {                                                                                                      \
                static const struct row rows[] = {__VA_ARGS__, {0, END, 0}};                                   \
                (void)state;                                                                                   \
                play(#name, rows);                                                                             \
        }

STORY(nothing_is_due,
        {0, DEADLINE, 0}, {0, EXPECT, TIMERS_NOTHING}, {1000000, EXPECT_LIVE, TIMERS_NOTHING})

/* 0.25, 0.5, 1, 2 s after the first, then every 5 s and the jitter. */
STORY(early_retries,
        {0, WANT, 0}, {0, DEADLINE, 0}, {0, EXPECT, TIMERS_INITIATE}, {0, INITIATED, 0},
        {0, EXPECT, TIMERS_NOTHING}, {0, DEADLINE, 250}, {249, EXPECT, TIMERS_NOTHING},
        {250, EXPECT, TIMERS_INITIATE}, {250, INITIATED, 0}, {250, DEADLINE, 500},
        {300, WANT, 0}, {300, EXPECT, TIMERS_NOTHING},   /* more packets do not hurry it */
        {500, EXPECT, TIMERS_INITIATE}, {500, INITIATED, 0}, {500, DEADLINE, 1000},
        {1000, EXPECT, TIMERS_INITIATE}, {1000, INITIATED, 0}, {1000, DEADLINE, 2000},
        {2000, EXPECT, TIMERS_INITIATE}, {2000, INITIATED, 0}, {2000, DEADLINE, 7100},
        {7100, EXPECT, TIMERS_INITIATE}, {7100, INITIATED, 0}, {7100, DEADLINE, 12200},
        {12100, COMPLETE, 0}, {12100, DEADLINE, 0}, {12200, EXPECT, TIMERS_NOTHING})

STORY(rekeying_takes_its_time,
        {0, WANT_REKEY, 0}, {0, EXPECT_LIVE, TIMERS_INITIATE}, {0, INITIATED, 0}, {0, DEADLINE, 5100},
        {5100, EXPECT_LIVE, TIMERS_INITIATE}, {5100, INITIATED, 0},
        {10200, EXPECT, TIMERS_INITIATE}, {10200, INITIATED, 0}, {10200, DEADLINE, 15300})   /* even if it died meanwhile */

/* Five seconds between series; with a session the next packet asks again. */
STORY(guard_with_session,
        {0, WANT_REKEY, 0}, {0, EXPECT_LIVE, TIMERS_INITIATE}, {0, INITIATED, 0}, {50, COMPLETE, 0},
        {60, WANT_REKEY, 0}, {60, DEADLINE, 0}, {4999, WANT_REKEY, 0}, {4999, DEADLINE, 0},
        {5000, WANT_REKEY, 0}, {5000, EXPECT_LIVE, TIMERS_INITIATE})

STORY(guard_without_session,
        {0, WANT, 0}, {0, EXPECT, TIMERS_INITIATE}, {0, INITIATED, 0}, {50, COMPLETE, 0},
        {60, WANT, 0}, {60, EXPECT, TIMERS_NOTHING}, {60, DEADLINE, 5000}, {5000, EXPECT, TIMERS_INITIATE})

/* News of a restart overrides the five seconds, is repeated early, and cannot make us a flood. */
STORY(restarted,
        {0, WANT, 0}, {0, EXPECT, TIMERS_INITIATE}, {0, INITIATED, 0}, {50, COMPLETE, 0},
        {100, RESTARTED, 0}, {100, EXPECT_LIVE, TIMERS_NOTHING}, {100, DEADLINE, 1000}, {200, RESTARTED, 0},
        {200, DEADLINE, 1000}, {1000, EXPECT_LIVE, TIMERS_INITIATE}, {1000, INITIATED, 0}, {1000, DEADLINE, 1250},
        {1050, COMPLETE, 0}, {3000, RESTARTED, 0}, {3000, EXPECT_LIVE, TIMERS_INITIATE}, {3000, INITIATED, 0},
        {3000, DEADLINE, 3250}, {3100, RESTARTED, 0}, {3100, DEADLINE, 3250})

/* What was sent before the peer knew us is lost; what was sent after is being answered. */
STORY(known,
        {0, WANT, 0}, {0, EXPECT, TIMERS_INITIATE}, {0, INITIATED, 0}, {90, KNOWN, 0}, {90, DEADLINE, 250},
        {100, KNOWN, 60}, {100, DEADLINE, 100}, {100, EXPECT, TIMERS_INITIATE}, {100, INITIATED, 0},
        {100, DEADLINE, 350}, {110, KNOWN, 60}, {110, DEADLINE, 350}, {110, KNOWN, 105}, {110, DEADLINE, 150},
        {150, EXPECT, TIMERS_INITIATE}, {150, INITIATED, 0}, {160, COMPLETE, 0}, {170, KNOWN, 165}, {170, DEADLINE, 0})
STORY(known_before_it_was_wanted,
        {0, KNOWN, 0}, {0, DEADLINE, 0}, {0, WANT, 0}, {0, KNOWN, 0}, {0, EXPECT, TIMERS_INITIATE})
STORY(known_does_not_hurry_rekeying,
        {0, WANT_REKEY, 0}, {0, EXPECT_LIVE, TIMERS_INITIATE}, {0, INITIATED, 0}, {100, KNOWN, 50}, {100, DEADLINE, 5100})

/* Having answered, we wait to be confirmed, but only for a second if there is nothing to send under. */
STORY(answered_then_wants,
        {0, ANSWERED, 0}, {10, WANT, 0}, {10, DEADLINE, 1000}, {1000, EXPECT, TIMERS_INITIATE})
STORY(answered_then_rekeys,
        {0, ANSWERED_LIVE, 0}, {10, WANT_REKEY, 0}, {10, DEADLINE, 0}, {4999, WANT_REKEY, 0}, {4999, DEADLINE, 0},
        {5000, WANT_REKEY, 0}, {5000, EXPECT_LIVE, TIMERS_INITIATE})
STORY(answered_while_asking,
        {0, WANT, 0}, {0, EXPECT, TIMERS_INITIATE}, {0, INITIATED, 0}, {10, ANSWERED, 0}, {10, DEADLINE, 1010},
        {250, EXPECT, TIMERS_NOTHING}, {1010, EXPECT, TIMERS_INITIATE})
STORY(answered_while_rekeying,
        {0, WANT_REKEY, 0}, {0, EXPECT_LIVE, TIMERS_INITIATE}, {0, INITIATED, 0}, {10, ANSWERED_LIVE, 0},
        {10, DEADLINE, 5110})

/* Ten seconds after the first data that was not answered by anything. */
STORY(keepalive,
        {0, DATA_RECEIVED, 0}, {4000, DATA_RECEIVED, 0}, {8000, DATA_RECEIVED, 0}, {8000, DEADLINE, 10000},
        {9999, EXPECT_LIVE, TIMERS_NOTHING}, {10000, EXPECT_LIVE, TIMERS_KEEPALIVE}, {10000, ANY_SENT, 0},
        {10000, DEADLINE, 0})
STORY(keepalive_not_needed,
        {0, DATA_RECEIVED, 0}, {5000, ANY_SENT, 0}, {5000, DEADLINE, 0}, {6000, DATA_RECEIVED, 0}, {6000, DEADLINE, 16000})
STORY(keepalive_is_not_answered,
        {0, ANY_RECEIVED, 0}, {0, DEADLINE, 0})

/* Fifteen seconds and the jitter after the first data that nothing came back for. */
STORY(silence,
        {0, DATA_SENT, 0}, {9000, DATA_SENT, 0}, {9000, DEADLINE, 15100}, {15099, EXPECT_LIVE, TIMERS_NOTHING},
        {15100, EXPECT_LIVE, TIMERS_INITIATE}, {15100, INITIATED, 0}, {15100, DEADLINE, 20200})
STORY(no_silence,
        {0, DATA_SENT, 0}, {14000, ANY_RECEIVED, 0}, {14000, DEADLINE, 0}, {15100, EXPECT_LIVE, TIMERS_NOTHING})

STORY(zeroing,
        {0, DERIVED, 0}, {0, DEADLINE, 540000}, {100000, DERIVED, 0}, {539999, EXPECT, TIMERS_NOTHING},
        {540000, EXPECT, TIMERS_NOTHING}, {640000, EXPECT, TIMERS_ZERO}, {640000, DEADLINE, 0})

STORY(persistent,
        {0, PERSISTENT_25, 0}, {0, EXPECT, TIMERS_PERSISTENT}, {0, EXPECT, TIMERS_NOTHING}, {0, DEADLINE, 25000},
        {5000, ANY_RECEIVED, 0}, {5000, DEADLINE, 30000}, {7000, ANY_SENT, 0}, {7000, DEADLINE, 32000},
        {32000, EXPECT_LIVE, TIMERS_PERSISTENT}, {32000, DEADLINE, 57000}, {40000, PERSISTENT_OFF, 0},
        {40000, DEADLINE, 0}, {57000, EXPECT_LIVE, TIMERS_NOTHING})

/* Twenty tries (and four early ones at first contact), then the end; what is next starts a new series. */
static void gives_up(void **state)
{
        (void)state;
        for (int live = 0; live < 2; live++) {
                struct timers t = {0};
                unsigned tries = 0;
                mono_t now = at(0), last = now;
                timers_want_handshake(&t, live != 0, now);
                for (;;) {
                        now = timers_deadline(&t);
                        enum timers_action a = timers_expire(&t, live != 0, now);
                        if (a == TIMERS_GIVE_UP)
                                break;
                        assert_int_equal(a, TIMERS_INITIATE);
                        tries++;
                        last = now;
                        timers_initiation_sent(&t, JITTER_MS * NS_PER_MS, now);
                }
                assert_int_equal(tries, live != 0 ? TIMERS_TRIES : TIMERS_TRIES + TIMERS_EARLY_TRIES);
                int64_t last_ms = mono_diff_ms(last, at(0));
                int64_t end_ms = mono_diff_ms(now, at(0));
                assert_true(last_ms >= 95000 && last_ms <= 101000);
                assert_true(end_ms >= 100000 && end_ms <= 107000);
                assert_int_equal(mono_diff_ms(timers_deadline(&t), now), 540000);
                timers_want_handshake(&t, false, now);
                assert_int_equal(timers_expire(&t, false, now), TIMERS_INITIATE);
        }
}

/* Twice in one moment: the order is fixed and nothing is lost. */
STORY(all_at_once,
        {0, DERIVED, 0}, {530000, DATA_RECEIVED, 0}, {524900, DATA_SENT, 0}, {530000, DATA_RECEIVED, 0},
        {530001, WANT, 0}, {540000, EXPECT, TIMERS_ZERO}, {540000, EXPECT, TIMERS_KEEPALIVE},
        {540000, EXPECT, TIMERS_INITIATE}, {540000, INITIATED, 0}, {540000, EXPECT, TIMERS_NOTHING})

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(nothing_is_due),
                cmocka_unit_test(early_retries),
                cmocka_unit_test(rekeying_takes_its_time),
                cmocka_unit_test(guard_with_session),
                cmocka_unit_test(guard_without_session),
                cmocka_unit_test(restarted),
                cmocka_unit_test(known),
                cmocka_unit_test(known_before_it_was_wanted),
                cmocka_unit_test(known_does_not_hurry_rekeying),
                cmocka_unit_test(answered_then_wants),
                cmocka_unit_test(answered_then_rekeys),
                cmocka_unit_test(answered_while_asking),
                cmocka_unit_test(answered_while_rekeying),
                cmocka_unit_test(keepalive),
                cmocka_unit_test(keepalive_not_needed),
                cmocka_unit_test(keepalive_is_not_answered),
                cmocka_unit_test(silence),
                cmocka_unit_test(no_silence),
                cmocka_unit_test(zeroing),
                cmocka_unit_test(persistent),
                cmocka_unit_test(gives_up),
                cmocka_unit_test(all_at_once),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
