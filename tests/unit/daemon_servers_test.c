/* Addresses of login servers in the state file: what one process learnt the next one knows, and no more than that. */
#include "daemon/servers.h"

#include "base/crypto.h"
#include "tests/unit/check.h"

struct fixture {
        struct loop *loop;
        struct state_file *store;
        struct dialer *before, *after;
};
static struct fixture f;

static int setup(void **state)
{
        const char *why;
        (void)state;
        f.loop = loop_new();
        f.before = dialer_new(f.loop);
        f.after = dialer_new(f.loop);
        return crypto_init() != ERR_NONE || state_file_open("mem:", &f.store, &why) != ERR_NONE;
}

static int teardown(void **state)
{
        (void)state;
        dialer_free(f.before);
        dialer_free(f.after);
        state_file_free(f.store);
        loop_free(f.loop);
        return 0;
}

static void test_round_trip(void **state)
{
        (void)state;
        struct ip got[LASTGOOD_ADDRS], six;
        servers_save(f.store, f.before, "login.example");   /* nothing known */
        size_t len;
        assert_null(state_file_get(f.store, "_server-addresses", &len));
        assert_int_equal(ip_parse("2001:db8::1", &six), ERR_NONE);
        dialer_remember(f.before, "login.example", six);
        dialer_remember(f.before, "login.example", ip_v4(192, 0, 2, 1));
        dialer_remember(f.before, "relay.example", ip_v4(192, 0, 2, 2));
        servers_save(f.store, f.before, "login.example");
        servers_load(f.store, f.after);
        assert_int_equal(dialer_remembered(f.after, "login.example", got), 2);
        assert_true(ip_eq(got[0], ip_v4(192, 0, 2, 1)) && ip_eq(got[1], six));
        assert_int_equal(dialer_remembered(f.after, "relay.example", got), 0);
}

static void test_bounded(void **state)
{
        (void)state;
        struct ip got[LASTGOOD_ADDRS];
        char host[32];
        for (unsigned i = 0; i < 3 * SERVERS_MAX; i++) {
                snprintf(host, sizeof(host), "h%u.example", i);
                dialer_remember(f.before, host, ip_v4(192, 0, 2, 1));
                servers_save(f.store, f.before, host);
                size_t len;
                assert_non_null(state_file_get(f.store, "_server-addresses", &len));
                assert_true(len < SERVERS_MAX * 40);
        }
        servers_load(f.store, f.after);
        assert_int_equal(dialer_remembered(f.after, host, got), 1);
}

static void test_damaged(void **state)
{
        (void)state;
        static const char *const texts[] = {"", "[]", "{\"a.example\":5}", "{\"a.example\":[1,null,\"x\",\"\"]}",
                "{\"\":[\"192.0.2.1\"]}", "{\"192.0.2.7\":[\"192.0.2.1\"]}"};
        struct ip got[LASTGOOD_ADDRS];
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                assert_int_equal(state_file_set(f.store, "_server-addresses", texts[i], strlen(texts[i])), ERR_NONE);
                servers_load(f.store, f.after);
                assert_int_equal(dialer_remembered(f.after, "a.example", got), 0);
                assert_int_equal(dialer_remembered(f.after, "192.0.2.7", got), 0);
        }
        dialer_remember(f.before, "a.example", ip_v4(192, 0, 2, 1));
        servers_save(f.store, f.before, "a.example");   /* in place of what is damaged */
        servers_load(f.store, f.after);
        assert_int_equal(dialer_remembered(f.after, "a.example", got), 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
