#include "magicsock/history.h"

#include "tests/unit/check.h"

static const struct addr none;

static struct addr at(uint16_t port)
{
        return (struct addr){ip_v4(203, 0, 113, 9), port};
}

static mono_t s(int n)
{
        return (mono_t){n * NS_PER_SEC};
}

static void kinds_are(const struct history *h, const enum history_kind *want, size_t n)
{
        assert_int_equal(h->count, n);
        for (size_t i = 0; i < n; i++)
                assert_int_equal(history_at(h, i)->kind, want[i]);
}

static void a_search_is_counted_until_something_changes(void **state)
{
        (void)state;
        struct history h = {0};
        for (int i = 1; i <= 100; i++) {
                history_add(&h, HISTORY_PINGED, none, 1, s(i));
                history_add(&h, HISTORY_CALL_OUT, none, i % 7, s(i));
                history_add(&h, HISTORY_PING_IN, at(1), 0, s(i));
                history_add(&h, HISTORY_PING_IN, at(2), 0, s(i));
        }
        kinds_are(&h, (const enum history_kind[]){HISTORY_PINGED, HISTORY_CALL_OUT, HISTORY_PING_IN, HISTORY_PING_IN}, 4);
        assert_int_equal(history_at(&h, 0)->times, 100);
        assert_int_equal(history_at(&h, 0)->at.ns, s(1).ns);
        assert_int_equal(history_at(&h, 0)->last_ms, 99000);
        assert_int_equal(history_at(&h, 1)->value, 100 % 7);   /* of the last */
        history_add(&h, HISTORY_DIRECT, at(2), 123, s(101));
        history_add(&h, HISTORY_PINGED, none, 1, s(102));
        assert_int_equal(h.count, 6);
        assert_int_equal(history_at(&h, 5)->times, 1);
        history_add(&h, HISTORY_RELAY, none, 901, s(103));
        history_add(&h, HISTORY_RELAY, none, 901, s(104));   /* a change is never joined to another */
        assert_int_equal(h.count, 8);
}

static void a_path_that_is_lossy_is_one_event(void **state)
{
        (void)state;
        struct history h = {0};
        for (int i = 1; i <= 100; i++) {
                history_add(&h, HISTORY_DIRECT, at(1), i, s(i));
                history_add(&h, HISTORY_PINGED, none, 0, s(i));
                history_add(&h, HISTORY_DOUBT, at(1), 0, s(i));
        }
        kinds_are(&h, (const enum history_kind[]){HISTORY_DIRECT, HISTORY_PINGED, HISTORY_DOUBT, HISTORY_PINGED}, 4);
        assert_int_equal(history_at(&h, 0)->value, 100);
        assert_int_equal(history_at(&h, 2)->times, 100);
        history_add(&h, HISTORY_DIRECT, at(2), 1, s(101));   /* another path is a change */
        history_add(&h, HISTORY_DIRECT, at(1), 1, s(102));
        history_add(&h, HISTORY_RELAY, none, 901, s(103));
        history_add(&h, HISTORY_DIRECT, at(1), 1, s(104));
        assert_int_equal(h.count, 8);
}

static void the_newest_are_kept(void **state)
{
        (void)state;
        struct history h = {0};
        for (int i = 1; i <= 3 * HISTORY_MAX + 5; i++)
                history_add(&h, HISTORY_DIRECT, at((uint16_t)i), i, s(i));
        assert_int_equal(h.count, HISTORY_MAX);
        for (size_t i = 0; i < HISTORY_MAX; i++)
                assert_int_equal(history_at(&h, i)->value, 2 * HISTORY_MAX + 6 + i);
}

static void large_numbers_stay_large(void **state)
{
        (void)state;
        struct history h = {0};
        history_add(&h, HISTORY_DIRECT, at(1), 70000, s(1));
        history_add(&h, HISTORY_RELAY, none, -1, s(1));
        assert_int_equal(history_at(&h, 0)->value, UINT16_MAX);
        assert_int_equal(history_at(&h, 1)->value, 0);
        for (int i = 0; i < UINT16_MAX + 5; i++)
                history_add(&h, HISTORY_PINGED, none, 0, s(2));
        history_add(&h, HISTORY_PINGED, none, 0, s(6000000));
        assert_int_equal(history_at(&h, 2)->times, UINT16_MAX);
        assert_int_equal(history_at(&h, 2)->last_ms, UINT32_MAX);
}

static void each_kind_has_words(void **state)
{
        (void)state;
        static const struct {
                enum history_kind kind;
                unsigned value;
                const char *word, *text;
        } rows[] = {
                {HISTORY_CONFIG, 1, "map", "the map names it, with 1 address"},
                {HISTORY_PINGED, 0, "pinged", "pinged by UDP"},
                {HISTORY_CALL_OUT, 2, "call-out", "called by relay, with 2 addresses of ours"},
                {HISTORY_CALL_IN, 4, "call-in", "it called by relay, with 4 addresses of its own"},
                {HISTORY_PING_IN, 0, "ping-in", "its ping came from 203.0.113.9:7"},
                {HISTORY_DIRECT, 123, "direct", "direct by 203.0.113.9:7, 12.3 ms"},
                {HISTORY_DOUBT, 0, "doubt", "203.0.113.9:7 is in doubt: data goes there and by relay"},
                {HISTORY_RELAY, 901, "relay", "by relay 901"},
                {HISTORY_LOST, 0, "none", "no way to it is known"},
                {HISTORY_REBIND, 0, "rebind", "another network or disco key: every path has to prove itself anew"},
                {HISTORY_UNREACHABLE, 0, "unreachable", "the kernel has no route to 203.0.113.9:7"},
                {HISTORY_GONE, 901, "gone", "relay 901 says that it is not there"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct history_entry e = {.addr = at(7), .kind = (uint8_t)rows[i].kind, .value = (uint16_t)rows[i].value, .times = 1};
                char text[HISTORY_TEXT_MAX];
                assert_string_equal(history_word(rows[i].kind), rows[i].word);
                assert_string_equal(history_text(&e, text), rows[i].text);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_search_is_counted_until_something_changes),
                cmocka_unit_test(a_path_that_is_lossy_is_one_event),
                cmocka_unit_test(the_newest_are_kept),
                cmocka_unit_test(large_numbers_stay_large),
                cmocka_unit_test(each_kind_has_words),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
