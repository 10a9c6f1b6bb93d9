#include "tests/unit/check.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/host/resolvers.h"

static const char text[] = "# nameserver 9.9.9.9\nsearch example.org\nnameserver 192.0.2.53\nnameserver\t2001:db8::53 \n"
        "nameserver 127.0.0.53\nnameserver 100.100.100.100\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver nonsense\nnameservers 1.1.1.1\n"
        "options edns0\nnameserver 198.51.100.1";

static void name_servers_are_found(void **state)
{
        (void)state;
        static const char *const want[] = {"192.0.2.53", "2001:db8::53", "fe80::1", "198.51.100.1"};
        struct ip out[RESOLVERS_MAX];
        char is[IP_STR_MAX];
        assert_int_equal(resolvers_parse(text, out, 0), 4);
        for (size_t i = 0; i < 4; i++)
                assert_string_equal(ip_str(out[i], is), want[i]);
}

static void every_truncation_and_too_many_are_survived(void **state)
{
        (void)state;
        struct ip out[RESOLVERS_MAX];
        char cut[sizeof(text)], many[64 * 24] = "";
        for (size_t n = 0; n < sizeof(text); n++) {
                memcpy(cut, text, n);
                cut[n] = '\0';
                assert_true(resolvers_parse(cut, out, 0) <= 4);
        }
        for (size_t i = 0; i < 64; i++)
                memcpy(many + i * 21, "nameserver 192.0.2.1\n", 22);
        assert_int_equal(resolvers_parse(many, out, 0), RESOLVERS_MAX);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(name_servers_are_found),
                cmocka_unit_test(every_truncation_and_too_many_are_survived),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
