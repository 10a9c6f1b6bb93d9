#include "cli/jsonprint.h"

#include <jansson.h>
#include <string.h>

#include "base/json.h"
#include "tests/unit/fixture.h"

static char *printed(const char *text, const struct jsonprint_view *view)
{
        struct jview_room room = {0};
        const struct jview *v;
        char *out = NULL;
        size_t len;
        FILE *to = open_memstream(&out, &len);
        assert_non_null(to);
        assert_int_equal(jview_read(&room, text, strlen(text), &v), ERR_NONE);
        jsonprint(v, view, to);
        fclose(to);
        jview_done(&room);
        return out;
}

/* As the library prints the tree. */
static void check_same(const char *text)
{
        json_t *tree = json_parse(text, strlen(text));
        char *want = json_dumps(tree, JSON_INDENT(2) | JSON_ENCODE_ANY), *got = printed(text, NULL);
        assert_non_null(want);
        assert_string_equal(got, want);
        json_decref(tree);
        free(want);
        free(got);
}

static void test_prints_as_the_library_does(void **state)
{
        (void)state;
        static const char *const texts[] = {"{}", "[]", "[[],{}]", "{\"b\":[1,-2,true,false,null],\"a\":{\"c\":\"x\"}}", "7", "\"\"",
                "[0.1,1.5e300,1e2,-0,18446744073709551615]",
                "\"\\u0001\\u001b\\u007f\\b\\f\\n\\r\\t\\\"\\\\\\/\\u00e9\\u20ac\\ud83d\\ude00\\u0000\\u2028\""};
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
                check_same(texts[i]);
        static const char *const recorded[] = {"fixtures/maps/json_sample_full.json", "fixtures/maps/json_sample_policy.json",
                "fixtures/maps/node1-netmap.json"};
        for (size_t i = 0; i < sizeof(recorded) / sizeof(recorded[0]); i++) {
                size_t len;
                char *text = fixture_read(recorded[i], &len);
                check_same(text);
                free(text);
        }
}

static bool is_odd(const struct jview *member)
{
        return jview_int(member, "n", 0) % 2 == 1;
}

static void test_chosen_members(void **state)
{
        (void)state;
        static const char text[] = "{\"z\":{\"d\":1,\"c\":2},\"P\":{\"b\":{\"n\":3,\"P\":{\"y\":1,\"x\":2}},\"a\":{\"n\":1},\"c\":{\"n\":2}},\"e\":1}";
        char *out = printed(text, &(struct jsonprint_view){"P", is_odd});
        assert_string_equal(out, "{\n  \"z\": {\n    \"d\": 1,\n    \"c\": 2\n  },\n  \"P\": {\n    \"a\": {\n      \"n\": 1\n    },\n"
                "    \"b\": {\n      \"n\": 3,\n      \"P\": {\n        \"y\": 1,\n        \"x\": 2\n      }\n    }\n  },\n  \"e\": 1\n}");
        free(out);
        out = printed("{\"P\":{\"a\":{\"n\":2}}}", &(struct jsonprint_view){"P", is_odd});
        assert_string_equal(out, "{\n  \"P\": {}\n}");
        free(out);
        out = printed("{\"P\":{\"b\":2,\"a\":1}}", &(struct jsonprint_view){"P", NULL});
        assert_string_equal(out, "{\n  \"P\": {\n    \"a\": 1,\n    \"b\": 2\n  }\n}");
        free(out);
        out = printed("{\"P\":[1]}", &(struct jsonprint_view){"P", is_odd});
        assert_string_equal(out, "{\n  \"P\": [\n    1\n  ]\n}");
        free(out);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_prints_as_the_library_does),
                cmocka_unit_test(test_chosen_members),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
