/* Messages as `dns query` shows them. */
#include "cli/dns_records.h"

#include <stdlib.h>

#include "tests/unit/dns_msg.h"

static size_t message(uint8_t *out, uint16_t flags, uint16_t type, const void *data, size_t len)
{
        uint8_t q[300];
        size_t n = msg_query(q, sizeof(q), 1, "host.example", type, 0);
        return msg_answer(out, 1024, q, n - 12, 1, flags, type, 5, data, len);
}

static void check(uint16_t type, const void *data, size_t len, const char *type_name, const char *body)
{
        uint8_t m[1024];
        json_t *j = dns_records_json(m, message(m, 0x8180, type, data, len));
        const json_t *r = json_array_get(json_object_get(j, "Answers"), 0);
        if (body == NULL) {
                assert_null(j);
                return;
        }
        assert_non_null(r);
        assert_string_equal(json_string_value(json_object_get(r, "Name")), "host.example.");
        assert_int_equal(json_integer_value(json_object_get(r, "TTL")), 5);
        assert_string_equal(json_string_value(json_object_get(r, "Class")), "ClassINET");
        assert_string_equal(json_string_value(json_object_get(r, "Type")), type_name);
        assert_string_equal(json_string_value(json_object_get(r, "Body")), body);
        json_decref(j);
}

static void bodies(void **state)
{
        (void)state;
        check(1, "\x64\x40\0\2", 4, "TypeA", "100.64.0.2");
        check(1, "\x64\x40\0", 3, NULL, NULL);
        check(28, "\xfd\x7a\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16, "TypeAAAA", "fd7a::1");
        check(12, "\4beta\xc0\x11", 7, "TypePTR", "beta.example.");
        check(5, "", 1, "TypeCNAME", ".");
        check(2, "\xc0\x0c", 2, "TypeNS", "host.example.");
        check(15, "\0\12\2mx\xc0\x11", 7, "TypeMX", "mx.example. (Priority=10)");
        check(33, "\0\1\0\2\1\273\1s\0", 9, "TypeSRV", "Target=s., Port=443, Priority=1, Weight=2");
        check(16, "\3a\"b\2\1c", 7, "TypeTXT", "[\"a\\\"b\" \"\\x01c\"]");
        check(16, "\5ab", 3, NULL, NULL);
        check(6, "\0\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\5", 22, "TypeSOA", ". . 1 2 3 4 5");
        check(6, "\0\0\0\0\0\1", 6, NULL, NULL);
        check(99, "\xab\xcd", 2, "99", "abcd");
        check(12, "\xc0\xff", 2, NULL, NULL);   /* points out of the message */
}

static void codes(void **state)
{
        (void)state;
        uint8_t m[1024];
        static const char *const want[] = {"RCodeSuccess", "RCodeFormatError", "RCodeServerFailure", "RCodeNameError",
                "RCodeNotImplemented", "RCodeRefused", "6"};
        for (uint16_t i = 0; i < 7; i++) {
                json_t *j = dns_records_json(m, message(m, (uint16_t)(0x8180 | i), 1, NULL, 0));
                assert_string_equal(json_string_value(json_object_get(j, "ResponseCode")), want[i]);
                assert_true((json_object_get(j, "Answers") != NULL) == (i == 0));
                json_decref(j);
        }
}

static void every_truncation(void **state)
{
        (void)state;
        uint8_t m[1024];
        size_t n = message(m, 0x8180, 15, "\0\12\2mx\xc0\x11", 7);
        for (size_t len = 0; len < n; len++) {
                uint8_t *exact = malloc(len + 1);
                memcpy(exact, m, len);
                assert_null(dns_records_json(exact, len));
                free(exact);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(bodies),
                cmocka_unit_test(codes),
                cmocka_unit_test(every_truncation),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
