#include "base/jview.h"

#include "tests/unit/fixture.h"
#include "tests/unit/jview_same.h"

/* A copy of exactly as many bytes, for the sanitizer. */
static bool agrees(const char *text, size_t len)
{
        struct jview_room room = {0};
        char *copy = malloc(len > 0 ? len : 1);
        assert_non_null(copy);
        memcpy(copy, text, len);
        bool same = jview_agrees(&room, copy, len);
        jview_done(&room);
        free(copy);
        if (!same)
                print_message("differs: %.*s\n", (int)len, text);
        return same;
}

static bool is_json(const char *text)
{
        struct jview_room room = {0};
        const struct jview *v;
        bool is = jview_read(&room, text, strlen(text), &v) == ERR_NONE;
        jview_done(&room);
        return is;
}

static void test_takes_and_refuses(void **state)
{
        (void)state;
        static const char *const good[] = {"0", "-0", "-1", "1.5", "-1.5e+10", "1E5", "0e-0", " true ", "false", "null", "\"\"",
                "[]", "{}", " [ ] ", "[ 1 , 2 ]", "{\"\":{}}", "\t\r\n[1]\n", "\"\\u0000\"", "\"\\ud83d\\ude00\"", "\"\x7f\"",
                "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20ac\"", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", "1e-999",
                "18446744073709551615", "-9223372036854775809", "9223372036854775807", "-9223372036854775808",
                "{\"a\":1,\"a\":[2]}", "[[[{\"a\":[{}]}]],0]"};
        static const char *const bad[] = {"", " ", "01", "-", "+1", "1.", ".5", "1e", "1e+", "1x", "0x1", "--1", "1 2", "nul", "nulll",
                "True", "\"", "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\ud800x\"",
                "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\n\"", "\"\x1f\"", "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"",
                "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"", "\"\xc3\"", "[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "{", "{\"a\"",
                "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{a:1}", "{1:1}", "{\"a\" 1}", "{\"a\":1]", "[1}", "{}}", "[]x",
                ",", ":", "\xef\xbb\xbf{}", "1e999", "-1e999", "\\u0041", "'a'", "//", "\"\\", "\"\\u", "\"\\ud800\\"};
        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                assert_true(is_json(good[i]));
                assert_true(agrees(good[i], strlen(good[i])));
        }
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                assert_false(is_json(bad[i]));
                assert_true(agrees(bad[i], strlen(bad[i])));
        }
        assert_true(agrees("\0", 1));
        assert_true(agrees("\"a\0b\"", 5));
        assert_true(agrees("\"\\\0\"", 4));
        assert_true(agrees("[1]\0", 4));
        assert_true(agrees("2\0", 2));
}

static void test_depth(void **state)
{
        (void)state;
        for (size_t deep = 63; deep <= 65; deep++) {
                char text[2 * 65];
                memset(text, '[', deep);
                memset(text + deep, ']', deep);
                struct jview_room room = {0};
                const struct jview *v;
                assert_int_equal(jview_read(&room, text, 2 * deep, &v), deep <= 64 ? ERR_NONE : ERR_FORMAT);
                assert_true(agrees(text, 2 * deep));
                jview_done(&room);
        }
}

static void test_getters(void **state)
{
        (void)state;
        static const char text[] = "{\"s\":\"x\\u00e9\",\"i\":-7,\"d\":1.5,\"t\":true,\"f\":false,\"n\":null,\"a\":[1,[2,3],\"z\"],"
                                   "\"o\":{\"i\":8},\"i\":9,\"big\":18446744073709551615,\"k\\n\":1, \"e\":[]}";
        struct jview_room room = {0};
        const struct jview *v;
        assert_int_equal(jview_read(&room, text, strlen(text), &v), ERR_NONE);
        assert_string_equal(jview_str(v, "s", "d"), "x\xc3\xa9");
        assert_string_equal(jview_str(v, "i", "d"), "d");
        assert_string_equal(jview_str(v, "n", "d"), "d");
        assert_null(jview_str(v, "none", NULL));
        assert_int_equal(jview_int(v, "i", 3), 9);   /* the last one */
        assert_int_equal(jview_int(v, "k\n", 3), 1);
        assert_int_equal(jview_int(v, "d", 3), 3);
        assert_int_equal(jview_int(v, "big", 3), 3);
        assert_true(jview_bool(v, "t", false));
        assert_false(jview_bool(v, "f", true));
        assert_true(jview_bool(v, "n", true));
        assert_true(jview_has(v, "f"));
        assert_false(jview_has(v, "n"));
        assert_false(jview_has(v, "none"));
        assert_int_equal(jview_int(jview_obj(v, "o"), "i", 3), 8);
        assert_null(jview_obj(v, "a"));
        assert_null(jview_arr(v, "o"));
        assert_int_equal(jview_int(NULL, "i", 3), 3);
        assert_null(jview_get(jview_arr(v, "a"), "i"));
        const struct jview *a = jview_arr(v, "a"), *e = jview_first(a);
        assert_int_equal(a->len, strlen("[1,[2,3],\"z\"]"));
        assert_memory_equal(a->text, "[1,[2,3],\"z\"]", a->len);
        assert_null(jview_text(e));
        e = jview_next(a, jview_next(a, e));
        assert_string_equal(jview_text(e), "z");
        assert_null(jview_next(a, e));
        assert_null(jview_first(jview_arr(v, "e")));
        assert_null(jview_first(NULL));
        assert_null(jview_text(NULL));
        jview_done(&room);
}

static void test_room_is_kept(void **state)
{
        (void)state;
        struct jview_room room = {0};
        const struct jview *v;
        char many[4096] = "[0";
        for (size_t n = 2; n < sizeof(many) - 2; n += 2)
                memcpy(many + n, n < sizeof(many) - 4 ? ",0" : "]", 2);
        assert_int_equal(jview_read(&room, many, strlen(many), &v), ERR_NONE);
        assert_int_equal(v->span, room.count);
        const struct jview *at = room.at;
        assert_int_equal(jview_read(&room, "[\"x\"]", 5, &v), ERR_NONE);
        assert_ptr_equal(v, at);
        assert_int_equal(v->span, 2);
        assert_int_equal(jview_read(&room, "[", 1, &v), ERR_FORMAT);
        assert_int_equal(jview_read(&room, "7", 1, &v), ERR_NONE);
        assert_int_equal(v->n, 7);
        jview_done(&room);
}

/* --- what servers sent, whole, cut off and damaged --- */

static const char *const recorded[] = {"fixtures/maps/json_sample_full.json", "fixtures/maps/json_sample_policy.json",
        "fixtures/maps/node1-netmap.json", "fuzz/corpus/base_json_each/odd.json"};

static void test_recorded_maps(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(recorded) / sizeof(recorded[0]); i++) {
                size_t len;
                char *text = fixture_read(recorded[i], &len);
                assert_true(is_json(text));
                for (size_t n = len; n > 0; n -= n < len && n > 3000 ? 7 : 1)
                        assert_true(agrees(text, n));
                free(text);
        }
}

static uint32_t draw(uint32_t *seed, size_t below)
{
        *seed = *seed * 1664525 + 1013904223;
        return (uint32_t)((*seed >> 8) % below);
}

/* One fault: another byte, one that is gone, or one that was not there. */
static size_t damage(char *text, size_t len, uint32_t *seed)
{
        static const char bytes[] = "\"\\{}[]:,u0dD8-+.eE19tfn \n\x01\x80\xc3\xed\xf0\xff";
        size_t at = draw(seed, len);
        char byte = bytes[draw(seed, sizeof(bytes))];
        switch (draw(seed, 3)) {
        case 0:
                memmove(text + at, text + at + 1, len - at - 1);
                return len - 1;
        case 1:
                memmove(text + at + 1, text + at, len - at);
                text[at] = byte;
                return len + 1;
        default:
                text[at] = byte;
                return len;
        }
}

static void test_damaged_maps(void **state)
{
        (void)state;
        enum { FAULTS = 3 };
        uint32_t seed = 1;
        for (size_t i = 0; i < sizeof(recorded) / sizeof(recorded[0]); i++) {
                size_t len;
                char *text = fixture_read(recorded[i], &len), *copy = malloc(len + FAULTS);
                assert_non_null(copy);
                for (unsigned round = check_rounds(500); round > 0; round--) {
                        size_t n = len;
                        memcpy(copy, text, len);
                        for (uint32_t faults = 1 + draw(&seed, FAULTS); faults > 0; faults--)
                                n = damage(copy, n, &seed);
                        assert_true(agrees(copy, n));
                }
                free(copy);
                free(text);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_takes_and_refuses),
                cmocka_unit_test(test_depth),
                cmocka_unit_test(test_getters),
                cmocka_unit_test(test_room_is_kept),
                cmocka_unit_test(test_recorded_maps),
                cmocka_unit_test(test_damaged_maps),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
