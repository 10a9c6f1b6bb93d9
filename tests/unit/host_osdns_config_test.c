#include "tests/unit/check.h"

#include "daemon/host/osdns_config.h"

static void names_are_cleaned(void **state)
{
        (void)state;
        static const struct {
                const char *given;
                const char *kept; /* NULL: refused */
        } rows[] = {
                {"mesh.example", "mesh.example"},
                {"Mesh.EXAMPLE.", "mesh.example"},
                {"_tcp.a-b.example", "_tcp.a-b.example"},
                {"100.in-addr.arpa.", "100.in-addr.arpa"},
                {"", NULL},
                {".", NULL},
                {"a..b", NULL},
                {".a", NULL},
                {"a b", NULL},
                {"a\nnameserver 192.0.2.1", NULL},
                {"a/b", NULL},
                {"a#b", NULL},
                {"-x", NULL},
                {"a.-x", NULL},
                {"\xc3\xa9.example", NULL},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct osdns_names n = {0};
                enum err e = osdns_names_add(&n, rows[i].given);
                if (rows[i].kept == NULL) {
                        assert_int_equal(e, ERR_FORMAT);
                        assert_int_equal(n.count, 0);
                } else {
                        assert_int_equal(e, ERR_NONE);
                        assert_string_equal(osdns_names_next(&n, NULL), rows[i].kept);
                }
                osdns_names_clear(&n);
        }
        char label[70] = "", name[300] = "";
        memset(label, 'a', 64);
        struct osdns_names n = {0};
        assert_int_equal(osdns_names_add(&n, label), ERR_FORMAT);
        label[63] = '\0';
        assert_int_equal(osdns_names_add(&n, label), ERR_NONE);
        for (int i = 0; i < 127; i++)
                memcpy(name + 2 * i, "a.", 3);
        assert_int_equal(osdns_names_add(&n, name), ERR_NONE); /* 253 and the final dot */
        memcpy(name + 253, "bc", 3);
        assert_int_equal(osdns_names_add(&n, name), ERR_FORMAT);
        osdns_names_clear(&n);
}

static void names_have_a_bound(void **state)
{
        (void)state;
        static struct osdns_names n;
        char name[32];
        unsigned i = 0;
        enum err e;
        do {
                snprintf(name, sizeof(name), "n%u.example", i++);
                e = osdns_names_add(&n, name);
        } while (e == ERR_NONE);
        assert_int_equal(e, ERR_FULL);
        assert_true(n.len <= OSDNS_NAMES_BYTES && n.len > OSDNS_NAMES_BYTES - 32);
        assert_int_equal(osdns_names_add(&n, "N0.example"), ERR_NONE); /* it is there */
        unsigned seen = 0;
        for (const char *s = osdns_names_next(&n, NULL); s != NULL; s = osdns_names_next(&n, s))
                seen++;
        assert_int_equal(seen, n.count);
        assert_int_equal(seen, i - 1);
        osdns_names_clear(&n);
}

static void configs_compare(void **state)
{
        (void)state;
        struct osdns_config a = {0}, b = {0};
        assert_true(osdns_config_is_empty(&a));
        assert_int_equal(osdns_add_server(&a, ip_v4(100, 100, 100, 100)), ERR_NONE);
        assert_int_equal(osdns_add_server(&a, ip_v4(100, 100, 100, 100)), ERR_NONE);
        assert_int_equal(a.server_count, 1);
        assert_false(osdns_config_is_empty(&a));
        assert_false(osdns_config_eq(&a, &b));
        assert_int_equal(osdns_config_copy(&b, &a), ERR_NONE);
        assert_true(osdns_config_eq(&a, &b));
        assert_int_equal(osdns_names_add(&b.match, "x.example"), ERR_NONE);
        assert_false(osdns_config_eq(&a, &b));
        for (uint8_t i = 1; i < OSDNS_SERVERS_MAX; i++)
                assert_int_equal(osdns_add_server(&a, ip_v4(192, 0, 2, i)), ERR_NONE);
        assert_int_equal(osdns_add_server(&a, ip_v4(192, 0, 2, 99)), ERR_FULL);
        struct ip v6;
        assert_int_equal(ip_parse("fd7a:115c:a1e0::53", &v6), ERR_NONE);
        assert_true(ip_is_service(v6));
        assert_true(ip_is_service(ip_v4(100, 100, 100, 100)));
        assert_false(ip_is_service(ip_v4(100, 100, 100, 101)));
        osdns_config_clear(&a);
        osdns_config_clear(&b);
}

static void a_copy_is_equal_and_a_cleared_one_empty(void **state)
{
        struct osdns_config a = {0}, b = {0};
        (void)state;
        assert_int_equal(osdns_names_add(&b.match, "before.example"), ERR_NONE);   /* is gone after the copy */
        assert_int_equal(osdns_add_server(&a, ip_v4(192, 0, 2, 1)), ERR_NONE);
        assert_int_equal(osdns_names_add(&a.search, "one.example"), ERR_NONE);
        assert_int_equal(osdns_names_add(&a.search, "two.example"), ERR_NONE);
        assert_int_equal(osdns_names_add(&a.match, "three.example"), ERR_NONE);
        assert_int_equal(osdns_config_copy(&b, &a), ERR_NONE);
        assert_true(osdns_config_eq(&a, &b));
        assert_int_equal(b.search.count, 2);
        assert_string_equal(osdns_names_next(&b.match, NULL), "three.example");
        assert_null(osdns_names_next(&b.match, osdns_names_next(&b.match, NULL)));
        osdns_config_clear(&a);
        assert_string_equal(osdns_names_next(&b.search, NULL), "one.example");   /* its own */
        osdns_config_clear(&b);
        assert_true(osdns_config_is_empty(&b));
        assert_null(osdns_names_next(&b.search, NULL));
        assert_null(osdns_names_next(&b.match, NULL));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_are_cleaned),
                cmocka_unit_test(names_have_a_bound),
                cmocka_unit_test(configs_compare),
                cmocka_unit_test(a_copy_is_equal_and_a_cleared_one_empty),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
