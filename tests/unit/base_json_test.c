#include "base/json.h"

#include "tests/unit/fixture.h"

static void test_parse_bounds(void **state)
{
        (void)state;
        static const char *const bad[] = {"", " ", "{", "}", "[1,]", "{} x", "{}{}", "nul", "{\"a\":1", "\"\xff\"",
                "[1 2]", ",", ":", "[}", "{]"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_null(json_parse(bad[i], strlen(bad[i])));
        assert_null(json_parse(NULL, 0));
        char deep[130];
        memset(deep, '[', 64);
        memset(deep + 64, ']', 64);
        json_t *v = json_parse(deep, 128);
        assert_non_null(v);
        json_decref(v);
        memset(deep, '[', 65);
        memset(deep + 65, ']', 65);
        assert_null(json_parse(deep, 130));   /* closed as it should be, and yet too deep */
        static const char twice[] = " {\"a\":1, \"a\":2} \n";
        v = json_parse(twice, strlen(twice));
        assert_int_equal(json_int(v, "a", 0), 2);
        json_decref(v);
        /* Brackets within strings nest nothing. */
        static const char brackets[] = "{\"a\":\"[[[[{{{{\\\"]]\"}";
        v = json_parse(brackets, strlen(brackets));
        assert_string_equal(json_str(v, "a", ""), "[[[[{{{{\"]]");
        json_decref(v);
}

/* Legal, and more than the parser underneath takes: no node may spoil the map for the others with it. */
static void test_parse_what_others_write(void **state)
{
        (void)state;
        static const char text[] = "{\"a\":\"x\\u0000y\",\"k\\u0000\":1,\"b\":\"\\\\u0000\",\"q\":\"\\\"\\\\\","
                                   "\"big\":18446744073709551615,\"low\":-9223372036854775809,"
                                   "\"most\":9223372036854775807,\"text\":\"18446744073709551615\"}";
        json_t *v = json_parse(text, strlen(text));
        assert_non_null(v);
        assert_string_equal(json_str(v, "a", ""), "x\xef\xbf\xbdy");
        assert_int_equal(json_int(v, "k\xef\xbf\xbd", 0), 1);
        assert_string_equal(json_str(v, "b", ""), "\\u0000");
        assert_string_equal(json_str(v, "q", ""), "\"\\");
        assert_true(json_num(v, "big", 0) > 1.8e19 && json_num(v, "big", 0) < 1.9e19);
        assert_int_equal(json_int(v, "big", 7), 7);
        assert_true(json_num(v, "low", 0) < -9.2e18);
        assert_true(json_int(v, "most", 0) == INT64_MAX);
        assert_string_equal(json_str(v, "text", ""), "18446744073709551615");
        json_decref(v);
        assert_null(json_parse("\"\\u000\"", 7));
        assert_null(json_parse("99999999999999999999x", 21));
}

static void test_getters_fall_back(void **state)
{
        (void)state;
        static const char text[] = "{\"s\":\"x\",\"i\":-7,\"d\":1.5,\"t\":true,\"f\":false,\"n\":null,\"a\":[1],\"o\":{}}";
        json_t *v = json_parse(text, strlen(text));
        assert_string_equal(json_str(v, "s", "d"), "x");
        assert_string_equal(json_str(v, "i", "d"), "d");
        assert_string_equal(json_str(v, "n", "d"), "d");
        assert_null(json_str(v, "none", NULL));
        assert_int_equal(json_int(v, "i", 3), -7);
        assert_int_equal(json_int(v, "d", 3), 3);
        assert_true(json_num(v, "d", 0) > 1.4 && json_num(v, "i", 0) < -6.9 && json_num(v, "s", 9) > 8.9);
        assert_true(json_bool(v, "t", false));
        assert_false(json_bool(v, "f", true));
        assert_true(json_bool(v, "n", true));
        assert_non_null(json_arr(v, "a"));
        assert_null(json_arr(v, "o"));
        assert_non_null(json_obj(v, "o"));
        assert_null(json_obj(v, "a"));
        assert_true(json_has(v, "f"));
        assert_false(json_has(v, "n"));
        assert_false(json_has(v, "none"));
        assert_int_equal(json_int(NULL, "i", 3), 3);
        assert_null(json_obj(json_obj(NULL, "a"), "b"));
        json_decref(v);
}

/* --- json_each --- */

struct gathered {
        char text[4096];    /* "key=element;" for each */
        unsigned count;
        unsigned fail_at;   /* return an error at this element; 0 = never */
};

static enum err gather(void *arg, const char *key, json_t *element)
{
        struct gathered *g = arg;
        char *dump = json_dumps(element, JSON_COMPACT | JSON_ENCODE_ANY);
        size_t n = strlen(g->text);
        snprintf(g->text + n, sizeof(g->text) - n, "%s=%s;", key, dump);
        free(dump);
        return ++g->count == g->fail_at ? ERR_STATE : ERR_NONE;
}

static const char *const ab_keys[] = {"a", "b", NULL};

static void check_each(const char *text, const char *elements, const char *rest_text)
{
        struct gathered g = {.count = 0};
        json_t *rest = NULL;
        assert_int_equal(json_each(text, strlen(text), ab_keys, gather, &g, &rest), ERR_NONE);
        assert_string_equal(g.text, elements);
        char *dump = json_dumps(rest, JSON_COMPACT);
        assert_string_equal(dump, rest_text);
        free(dump);
        json_decref(rest);
}

static void test_each_splits(void **state)
{
        (void)state;
        check_each("{}", "", "{}");
        check_each(" { \"a\" : [ ] } ", "", "{}");
        check_each("{\"x\":{\"a\":[1,2]},\"a\":[1,\"two\",{\"c\":[3]},[4],null,true,-1.5]}",
                "a=1;a=\"two\";a={\"c\":[3]};a=[4];a=null;a=true;a=-1.5;", "{\"x\":{\"a\":[1,2]}}");
        check_each("{\"b\":[1],\"y\":\"]}\\\"\",\"a\":[2,3],\"z\":[[]]}", "b=1;a=2;a=3;",
                "{\"y\":\"]}\\\"\",\"z\":[[]]}");
        check_each("{\"a\":null,\"b\":[\"\\\\\",\"]\",\"\\u005d,\"]}", "b=\"\\\\\";b=\"]\";b=\"],\";", "{}");
        check_each("{\"\\u0061\":[7]}", "a=7;", "{}");   /* the name of the member is what it means */
}

static void test_each_refuses(void **state)
{
        (void)state;
        static const char *const bad[] = {"", "[]", "{", "{\"a\"}", "{\"a\":}", "{\"a\":[1,]}", "{\"a\":[,1]}",
                "{\"a\":[1 2]}", "{\"a\":[1}", "{\"a\":[1]]}", "{\"a\":5}", "{\"a\":{}}", "{\"a\":\"null\"}", "{a:[1]}",
                "{\"a\":[1]} x", "{\"a\":[1]}{}", "{\"a\":[1],}", "{,\"a\":[1]}", "{\"a\":[{]}]}", "{\"x\":tru,\"a\":[]}",
                "{\"a\" [1]}", "{\"\\ud800\":1}", "{\"x\":[1:2]}"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                struct gathered g = {.count = 0};
                json_t *rest = NULL;
                assert_int_equal(json_each(bad[i], strlen(bad[i]), ab_keys, gather, &g, &rest), ERR_FORMAT);
                assert_null(rest);
        }
        /* A fault within an element shows in its turn. */
        struct gathered g = {.count = 0};
        json_t *rest = NULL;
        static const char late[] = "{\"a\":[1,{\"x\" 2},3]}";
        assert_int_equal(json_each(late, strlen(late), ab_keys, gather, &g, &rest), ERR_FORMAT);
        assert_string_equal(g.text, "a=1;");
}

static enum err take_numbers(void *arg, const char *key, const char *text, size_t len, bool *ret_taken)
{
        (void)arg;
        (void)key;
        *ret_taken = len == 1 && text[0] >= '0' && text[0] <= '9';
        return len == 5 && memcmp(text, "false", 5) == 0 ? ERR_FULL : ERR_NONE;
}

static void test_each_seen(void **state)
{
        (void)state;
        struct gathered g = {.count = 0};
        json_t *rest = NULL;
        static const char text[] = "{\"a\":[1, [2] ,\"3\", 4 ],\"c\":[5],\"b\":[ 6]}";
        assert_int_equal(json_each_seen(text, strlen(text), ab_keys, take_numbers, gather, &g, &rest), ERR_NONE);
        assert_string_equal(g.text, "a=[2];a=\"3\";");
        assert_true(json_has(rest, "c"));
        json_decref(rest);
        static const char bad[] = "{\"a\":[[1],false,2]}";
        assert_int_equal(json_each_seen(bad, strlen(bad), ab_keys, take_numbers, gather, &g, &rest), ERR_FULL);
        assert_string_equal(g.text, "a=[2];a=\"3\";a=[1];");
}

static void test_each_depth(void **state)
{
        (void)state;
        /* {"a":[ 62 deep ]} is 64; one more is refused, in elements and in the rest alike. */
        static const char *const heads[] = {"{\"a\":[", "{\"x\":["};
        for (size_t h = 0; h < 2; h++) {
                for (int deep = 62; deep <= 63; deep++) {
                        char text[256];
                        char open[64] = "";
                        char close[64] = "";
                        memset(open, '[', (size_t)deep);
                        memset(close, ']', (size_t)deep);
                        snprintf(text, sizeof(text), "%s%.*s%.*s]}", heads[h], deep, open, deep, close);
                        struct gathered g = {.count = 0};
                        json_t *rest = NULL;
                        enum err want = deep == 62 ? ERR_NONE : ERR_FORMAT;
                        assert_int_equal(json_each(text, strlen(text), ab_keys, gather, &g, &rest), want);
                        json_decref(rest);
                }
        }
}

static void test_each_passes_the_callers_error_on(void **state)
{
        (void)state;
        struct gathered g = {.fail_at = 2};
        json_t *rest = NULL;
        static const char text[] = "{\"a\":[1,2,3]}";
        assert_int_equal(json_each(text, strlen(text), ab_keys, gather, &g, &rest), ERR_STATE);
        assert_string_equal(g.text, "a=1;a=2;");
        assert_null(rest);
}

static const char *const map_keys[] = {"PeersChanged", "Peers", NULL};

/* Rebuilds the map from its parts: nothing is lost and nothing is made up. */
static enum err collect(void *arg, const char *key, json_t *element)
{
        json_t *all = arg;
        json_t *arr = json_object_get(all, key);
        if (arr == NULL) {
                arr = json_array();
                json_object_set_new(all, key, arr);
        }
        return json_array_append(arr, element) == 0 ? ERR_NONE : ERR_FULL;
}

static void check_recorded(const char *path, size_t peers)
{
        size_t len;
        char *text = fixture_read(path, &len);
        json_t *whole = json_parse(text, len);
        json_t *parts = json_object();
        json_t *rest = NULL;
        assert_non_null(whole);
        assert_int_equal(json_each(text, len, map_keys, collect, parts, &rest), ERR_NONE);
        assert_int_equal(json_array_size(json_object_get(parts, "PeersChanged")), peers);
        assert_false(json_has(rest, "PeersChanged"));
        assert_int_equal(json_object_update(parts, rest), 0);
        assert_true(json_equal(parts, whole));
        json_decref(parts);
        json_decref(rest);
        json_decref(whole);
        free(text);
}

static enum err refuse_call(void *arg, const char *key, json_t *element)
{
        (void)arg;
        (void)key;
        (void)element;
        return ERR_STATE;   /* no truncation may get here */
}

static void check_truncations(const char *path)
{
        size_t len;
        char *text = fixture_read(path, &len);
        while (len > 0 && text[len - 1] != '}')
                len--;
        for (size_t n = 0; n < len; n++) {
                char *cut = malloc(n + 1);   /* exactly as long, for the sanitizer */
                json_t *rest = NULL;
                memcpy(cut, text, n);
                assert_int_equal(json_each(cut, n, map_keys, refuse_call, NULL, &rest), ERR_FORMAT);
                free(cut);
        }
        free(text);
}

static void test_each_on_recorded_maps(void **state)
{
        (void)state;
        check_recorded("fixtures/maps/json_sample_full.json", 0);
        check_recorded("fixtures/maps/json_sample_policy.json", 2);
        check_truncations("fixtures/maps/json_sample_full.json");
        check_truncations("fixtures/maps/json_sample_policy.json");
}

/* --- memory --- */

static size_t heap_now;
static size_t heap_peak;

static void *count_malloc(size_t n)
{
        size_t *p = malloc(n + 16);
        if (p == NULL)
                return NULL;
        p[0] = n;
        heap_now += n;
        if (heap_now > heap_peak)
                heap_peak = heap_now;
        return (char *)p + 16;
}

static void count_free(void *ptr)
{
        if (ptr == NULL)
                return;
        size_t *p = (size_t *)(void *)((char *)ptr - 16);
        heap_now -= p[0];
        free(p);
}

static enum err count_peer(void *arg, const char *key, json_t *element)
{
        (void)key;
        unsigned *n = arg;
        assert_int_equal(json_int(element, "ID", -1), *n);
        (*n)++;
        return ERR_NONE;
}

static char *map_of_peers(unsigned peers, size_t *ret_len)
{
        size_t cap = 256 + (size_t)peers * 400;
        char *text = malloc(cap);
        assert_non_null(text);
        size_t n = (size_t)snprintf(text, cap, "{\"Domain\":\"example.com\",\"Peers\":[");
        for (unsigned i = 0; i < peers; i++)
                n += (size_t)snprintf(text + n, cap - n,
                        "%s{\"ID\":%u,\"Name\":\"peer%u.example.com.\",\"Key\":\"nodekey:%064u\",\"Addresses\":"
                        "[\"100.64.0.1/32\",\"fd7a:115c:a1e0::1/128\"],\"Hostinfo\":{\"OS\":\"linux\",\"Services\":"
                        "[{\"Proto\":\"peerapi4\",\"Port\":1}]},\"Online\":true}",
                        i ? "," : "", i, i, i);
        n += (size_t)snprintf(text + n, cap - n, "],\"KeepAlive\":false}");
        *ret_len = n;
        return text;
}

static size_t peak_of(unsigned peers)
{
        size_t len;
        unsigned n = 0;
        json_t *rest = NULL;
        char *text = map_of_peers(peers, &len);
        heap_peak = heap_now;
        size_t before = heap_now;
        assert_int_equal(json_each(text, len, map_keys, count_peer, &n, &rest), ERR_NONE);
        assert_int_equal(n, peers);
        assert_string_equal(json_str(rest, "Domain", ""), "example.com");
        json_decref(rest);
        assert_int_equal(heap_now, before);
        free(text);
        return heap_peak - before;
}

/* Five thousand peers cost what one costs (longer numbers aside); decoded whole they cost thousands. */
static void test_each_peak_is_one_element(void **state)
{
        (void)state;
        json_malloc_t old_malloc;
        json_free_t old_free;
        json_get_alloc_funcs(&old_malloc, &old_free);
        json_set_alloc_funcs(count_malloc, count_free);
        size_t one = peak_of(1);
        size_t many = peak_of(5000);
        size_t len;
        char *text = map_of_peers(5000, &len);
        heap_peak = heap_now;
        json_t *whole = json_parse(text, len);
        assert_non_null(whole);
        json_decref(whole);
        free(text);
        json_set_alloc_funcs(old_malloc, old_free);
        assert_true(many <= one + 64);
        assert_true(many < 16384);
        assert_true(heap_peak > 1000 * many);
}

static void test_keys(void **state)
{
        (void)state;
        size_t n = 7;
        json_t *o = json_pack("{s:i, s:n, s:b, s:i}", "b", 1, "", "a", 1, "B", 2);
        const char **keys = json_keys(o, &n);
        static const char *const want[] = {"", "B", "a", "b"};
        assert_int_equal(n, 4);
        for (size_t i = 0; i < n; i++)
                assert_string_equal(keys[i], want[i]);
        free(keys);
        free(json_keys(NULL, &n));
        assert_int_equal(n, 0);
        json_decref(o);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_keys),
                cmocka_unit_test(test_parse_bounds),
                cmocka_unit_test(test_parse_what_others_write),
                cmocka_unit_test(test_getters_fall_back),
                cmocka_unit_test(test_each_splits),
                cmocka_unit_test(test_each_refuses),
                cmocka_unit_test(test_each_seen),
                cmocka_unit_test(test_each_depth),
                cmocka_unit_test(test_each_passes_the_callers_error_on),
                cmocka_unit_test(test_each_on_recorded_maps),
                cmocka_unit_test(test_each_peak_is_one_element),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
