#include "base/key.h"

#include <ctype.h>

#include "base/crypto.h"
#include "tests/unit/check.h"

/* The pair of the reference client's own key tests. */
#define PRIVATE_HEX "40ab1b58e9076c7a4d9d07291f5edf9d1aa017eb949624ba683317f48a640369"
#define PUBLIC_HEX  "50d20b455ecf12bc453f83c2cfdb2a24925d06cf2598dcaa54e91af82ce9f765"

static void test_known_pair(void **state)
{
        (void)state;
        char s[KEY_TEXT_MAX];
        struct key_private k;
        assert_int_equal(key_private_parse("privkey:" PRIVATE_HEX, &k), ERR_NONE);
        struct node_public n = key_node_public(&k);
        struct disco_public d = key_disco_public(&k);
        struct machine_public m = key_machine_public(&k);
        assert_string_equal(node_public_text(&n, s), "nodekey:" PUBLIC_HEX);
        assert_string_equal(disco_public_text(&d, s), "discokey:" PUBLIC_HEX);
        assert_string_equal(machine_public_text(&m, s), "mkey:" PUBLIC_HEX);
        key_private_text(&k, s);
        assert_string_equal(s, "privkey:" PRIVATE_HEX);
        assert_string_equal(node_public_short(&n, s), "[UNILR]");
}

static void test_round_trip(void **state)
{
        (void)state;
        char s[KEY_TEXT_MAX];
        struct node_public n, n2;
        struct disco_public d, d2;
        struct machine_public m, m2;
        check_count_up(n.b, KEY_LEN, 0xe0);
        check_count_up(d.b, KEY_LEN, 0x10);
        check_count_up(m.b, KEY_LEN, 0x40);
        assert_int_equal(node_public_parse(node_public_text(&n, s), &n2), ERR_NONE);
        assert_true(node_public_eq(&n, &n2));
        assert_int_equal(disco_public_parse(disco_public_text(&d, s), &d2), ERR_NONE);
        assert_true(disco_public_eq(&d, &d2));
        assert_int_equal(machine_public_parse(machine_public_text(&m, s), &m2), ERR_NONE);
        assert_memory_equal(&m, &m2, sizeof(m));
        n2.b[31] ^= 1;
        assert_false(node_public_eq(&n, &n2));
        d2.b[0] ^= 0x80;
        assert_false(disco_public_eq(&d, &d2));
}

static void test_either_case_is_read(void **state)
{
        (void)state;
        char s[] = "nodekey:" PUBLIC_HEX;
        for (char *p = s + 8; *p != '\0'; p++)
                *p = (char)toupper((unsigned char)*p);
        struct node_public n;
        char out[KEY_TEXT_MAX];
        assert_int_equal(node_public_parse(s, &n), ERR_NONE);
        assert_string_equal(node_public_text(&n, out), "nodekey:" PUBLIC_HEX);
}

static void test_refused(void **state)
{
        (void)state;
        static const char *const bad[] = {"", "nodekey:", PUBLIC_HEX, "mkey:" PUBLIC_HEX, "discokey:" PUBLIC_HEX,
                "privkey:" PUBLIC_HEX, "NODEKEY:" PUBLIC_HEX, " nodekey:" PUBLIC_HEX, "nodekey: " PUBLIC_HEX,
                "nodekey:" PUBLIC_HEX " ", "nodekey:" PUBLIC_HEX "0", "nodekey:" PUBLIC_HEX "00",
                "nodekey:g0d20b455ecf12bc453f83c2cfdb2a24925d06cf2598dcaa54e91af82ce9f765",
                "nodekey:50d20b455ecf12bc453f83c2cfdb2a24925d06cf2598dcaa54e91af82ce9f76 ",
                "nodekey:50:20b455ecf12bc453f83c2cfdb2a24925d06cf2598dcaa54e91af82ce9f765"};
        struct node_public n, before;
        check_count_up(n.b, KEY_LEN, 1);
        before = n;
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                if (node_public_parse(bad[i], &n) != ERR_FORMAT)
                        fail_msg("taken: %s", bad[i]);
        char s[] = "nodekey:" PUBLIC_HEX;
        for (size_t i = sizeof(s) - 1; i-- > 0;) {   /* every truncation */
                s[i] = '\0';
                assert_int_equal(node_public_parse(s, &n), ERR_FORMAT);
        }
        assert_true(node_public_eq(&n, &before));
        struct key_private k;
        assert_int_equal(key_private_parse("nodekey:" PRIVATE_HEX, &k), ERR_FORMAT);
        struct disco_public d;
        assert_int_equal(disco_public_parse("nodekey:" PUBLIC_HEX, &d), ERR_FORMAT);
        struct machine_public m;
        assert_int_equal(machine_public_parse("nodekey:" PUBLIC_HEX, &m), ERR_FORMAT);
}

static void test_zero_is_legal_text(void **state)
{
        (void)state;
        struct node_public n = {{1}};
        assert_false(node_public_is_zero(&n));
        assert_int_equal(node_public_parse("nodekey:0000000000000000000000000000000000000000000000000000000000000000",
                                 &n),
                ERR_NONE);
        assert_true(node_public_is_zero(&n));
        struct disco_public d = {{0}};
        assert_true(disco_public_is_zero(&d));
        d.b[31] = 1;
        assert_false(disco_public_is_zero(&d));
}

static void test_generate(void **state)
{
        (void)state;
        struct key_private a, b;
        key_generate(&a);
        key_generate(&b);
        assert_false(key_private_is_zero(&a));
        assert_memory_not_equal(&a, &b, sizeof(a));
        assert_int_equal(a.b[0] & 7, 0);
        assert_int_equal(a.b[31] & 0xc0, 0x40);
        key_wipe(&a);
        assert_true(key_private_is_zero(&a));
}

static int set_up(void **state)
{
        (void)state;
        return crypto_init() == ERR_NONE ? 0 : -1;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_known_pair),
                cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_either_case_is_read),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_zero_is_legal_text),
                cmocka_unit_test(test_generate),
        };
        return cmocka_run_group_tests(tests, set_up, NULL);
}
