/* What is written straight is what the parser reads back. */
#include "base/jsontext.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "tests/unit/check.h"

static void write_all(struct jtext *j)
{
        json_t *v = json_pack("{s:[i,f]}", "deep", 1, 0.1);
        jtext_open(j, '{');
        jtext_add_str(j, "s", "a\"b\\c/\b\f\n\r\t\x01\x7f\xc3\xa9\xff\xe2\x82");
        jtext_add_str(j, "none", NULL);
        jtext_add_int(j, "least", INT64_MIN);
        jtext_add_int(j, "most", INT64_MAX);
        jtext_add_int(j, "zero", 0);
        jtext_add_bool(j, "yes", true);
        jtext_add_null(j, "null");
        jtext_name(j, "list");
        jtext_open(j, '[');
        jtext_str(j, "x");
        jtext_int(j, -7);
        jtext_open(j, '{');
        jtext_close(j, '}');
        jtext_open(j, '[');
        jtext_close(j, ']');
        jtext_raw(j, "{\"raw\":1}");
        jtext_close(j, ']');
        jtext_add_value(j, "value", v);
        jtext_add_value(j, "no\nvalue", NULL);
        jtext_close(j, '}');
        json_decref(v);
}

static const char want[] = "{\"s\":\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\x7f\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\","
        "\"none\":\"\",\"least\":-9223372036854775808,\"most\":9223372036854775807,\"zero\":0,\"yes\":true,\"null\":null,"
        "\"list\":[\"x\",-7,{},[],{\"raw\":1}],\"value\":{\"deep\":[1,0.1]},\"no\\nvalue\":null}";

static void test_one_line(void **state)
{
        (void)state;
        struct buf b;
        struct jtext j;
        buf_init(&b, 4096);
        jtext_init(&j, &b, false);
        write_all(&j);
        assert_string_equal(b.data, want);
        buf_done(&b);
}

static void test_tabs(void **state)
{
        (void)state;
        struct buf b;
        struct jtext j;
        buf_init(&b, 4096);
        jtext_init(&j, &b, true);
        jtext_open(&j, '{');
        jtext_add_int(&j, "a", 1);
        jtext_name(&j, "b");
        jtext_open(&j, '[');
        jtext_int(&j, 2);
        jtext_int(&j, 3);
        jtext_close(&j, ']');
        jtext_name(&j, "c");
        jtext_open(&j, '{');
        jtext_close(&j, '}');
        jtext_close(&j, '}');
        assert_string_equal(b.data, "{\n\t\"a\": 1,\n\t\"b\": [\n\t\t2,\n\t\t3\n\t],\n\t\"c\": {}\n}");
        buf_clear(&b);
        jtext_init(&j, &b, true);
        write_all(&j);
        json_t *got = json_parse(b.data, b.len);
        char *text = json_dumps(got, JSON_COMPACT | JSON_REAL_PRECISION(15));
        assert_string_equal(text, want);
        free(text);
        json_decref(got);
        buf_done(&b);
}

static void test_depth(void **state)
{
        (void)state;
        struct buf b;
        struct jtext j;
        buf_init(&b, 4096);
        jtext_init(&j, &b, true);
        for (int i = 0; i < 40; i++)   /* deeper than is indented */
                jtext_open(&j, '[');
        for (int i = 0; i < 40; i++)
                jtext_close(&j, ']');
        json_t *got = json_parse(b.data, b.len);
        assert_non_null(got);
        json_decref(got);
        buf_done(&b);
}

static void test_no_room(void **state)
{
        (void)state;
        struct buf b;
        struct jtext j;
        buf_init(&b, 64);
        jtext_init(&j, &b, false);
        write_all(&j);
        assert_false(buf_ok(&b));
        buf_done(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_one_line), cmocka_unit_test(test_tabs), cmocka_unit_test(test_depth),
                cmocka_unit_test(test_no_room),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
