#include "tests/unit/check.h"

#include "daemon/options.h"

static const char *port_env, *home_env = "/home/u";

static const char *env(const char *name)
{
        if (strcmp(name, "PORT") == 0)
                return port_env;
        return strcmp(name, "HOME") == 0 ? home_env : NULL;
}

static enum err parse(struct options *o, const char **why, int *code, bool root, const char *a, const char *b)
{
        char name[] = "tailscaled", one[128] = "", two[128] = "";
        char *argv[] = {name, one, two, NULL};
        int argc = 1;
        if (a != NULL) {
                snprintf(one, sizeof(one), "%s", a);
                argc++;
        }
        if (b != NULL) {
                snprintf(two, sizeof(two), "%s", b);
                argc++;
        }
        return options_parse(argc, argv, env, root, o, why, code);
}

static void defaults(void **state)
{
        (void)state;
        struct options o;
        const char *why;
        int code;
        port_env = NULL;
        assert_int_equal(parse(&o, &why, &code, true, NULL, NULL), ERR_NONE);
        assert_string_equal(o.state, "/var/lib/tailscale/tailscaled.state");
        assert_string_equal(o.socket, "/var/run/tailscale/tailscaled.sock");
        assert_string_equal(o.tun, "tailscale0");
        assert_ptr_equal(o.memory, &sizes_normal);
        assert_int_equal(o.port, 0);
        assert_int_equal(parse(&o, &why, &code, false, NULL, NULL), ERR_NONE);
        assert_string_equal(o.state, "/home/u/.local/share/tailscale/tailscaled.state");
        port_env = "41641";
        assert_int_equal(parse(&o, &why, &code, true, NULL, NULL), ERR_NONE);
        assert_int_equal(o.port, 41641);
        port_env = "x";   /* a broken environment is not worth failing for */
        assert_int_equal(parse(&o, &why, &code, true, NULL, NULL), ERR_NONE);
        assert_int_equal(o.port, 0);
        port_env = NULL;
}

/* Without a place for the state no check that stands on it may be skipped: the daemon does not start. */
static void no_state_directory_is_refused(void **state)
{
        (void)state;
        static const char *const homes[] = {NULL, "", "relative"};
        struct options o;
        const char *why;
        int code;
        for (size_t i = 0; i < sizeof(homes) / sizeof(homes[0]); i++) {
                home_env = homes[i];
                why = "";
                assert_int_equal(parse(&o, &why, &code, false, NULL, NULL), ERR_NOT_FOUND);
                assert_int_equal(code, 2);
                assert_non_null(strstr(why, "--statedir"));
                assert_int_not_equal(parse(&o, &why, &code, false, "--state=", "--statedir="), ERR_NONE);
                assert_int_equal(parse(&o, &why, &code, false, "--statedir=/x", NULL), ERR_NONE);
                assert_int_equal(parse(&o, &why, &code, false, "--version", NULL), ERR_NONE);
        }
        home_env = "/home/u";
}

static void every_way_to_write_a_flag(void **state)
{
        (void)state;
        static const char *const rows[][2] = {
                {"--port=7", NULL}, {"-port=7", NULL}, {"--port", "7"}, {"-port", "7"},
        };
        for (size_t i = 0; i < 4; i++) {
                struct options o;
                const char *why;
                int code;
                assert_int_equal(parse(&o, &why, &code, true, rows[i][0], rows[i][1]), ERR_NONE);
                assert_int_equal(o.port, 7);
        }
}

static void values(void **state)
{
        (void)state;
        struct options o;
        const char *why;
        int code;
        assert_int_equal(parse(&o, &why, &code, true, "--statedir=/x", NULL), ERR_NONE);
        assert_string_equal(o.state, "/x/tailscaled.state");
        assert_int_equal(parse(&o, &why, &code, true, "--statedir=/x", "--state=/y/z"), ERR_NONE);
        assert_string_equal(o.state, "/y/z");
        assert_int_equal(parse(&o, &why, &code, true, "--state=mem:", NULL), ERR_NONE);
        assert_string_equal(o.state, "mem:");
        assert_int_equal(parse(&o, &why, &code, true, "--cleanup", "--verbose=2"), ERR_NONE);
        assert_true(o.cleanup);
        assert_int_equal(o.verbose, 2);
        assert_int_equal(parse(&o, &why, &code, true, "--threads=63", "--threads=1"), ERR_NONE);
        assert_int_equal(o.threads, 1);
        assert_int_equal(parse(&o, &why, &code, true, "--cleanup=false", "--no-logs-no-support"), ERR_NONE);
        assert_false(o.cleanup);
        assert_int_equal(parse(&o, &why, &code, true, "--memory", "small"), ERR_NONE);
        assert_ptr_equal(o.memory, &sizes_small);
        assert_int_equal(parse(&o, &why, &code, true, "--memory=small", "--memory=normal"), ERR_NONE);
        assert_ptr_equal(o.memory, &sizes_normal);
}

static void threads_by_processors(void **state)
{
        (void)state;
        static const unsigned rows[][2] = {{0, 0}, {1, 0}, {2, 0}, {3, 1}, {4, 2}, {5, 3}, {6, 3}, {1024, 3}};
        struct options o;
        const char *why;
        int code;
        assert_int_equal(parse(&o, &why, &code, true, NULL, NULL), ERR_NONE);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                assert_int_equal(options_threads(&o, rows[i][0]), rows[i][1]);
        assert_int_equal(parse(&o, &why, &code, true, "--threads=0", NULL), ERR_NONE);
        assert_int_equal(options_threads(&o, 8), 0);
        assert_int_equal(parse(&o, &why, &code, true, "--threads", "63"), ERR_NONE);
        assert_int_equal(options_threads(&o, 1), 63);
}

static void without_a_device(void **state)
{
        (void)state;
        struct options o;
        const char *why;
        char text[ADDR_STR_MAX];
        int code;
        assert_int_equal(parse(&o, &why, &code, true, "--tun=userspace-networking", "--socks5-server=localhost:1055"),
                ERR_NONE);
        assert_true(o.userspace);
        assert_string_equal(addr_str(o.socks5, text), "127.0.0.1:1055");
        assert_false(addr_is_set(o.http_proxy));
        assert_false(o.or_userspace);
        assert_int_equal(parse(&o, &why, &code, true, "--tun=ts0,userspace-networking", NULL), ERR_NONE);
        assert_string_equal(o.tun, "ts0");
        assert_true(o.or_userspace && !o.userspace);
        assert_int_equal(parse(&o, &why, &code, true, "--socks5-server=:0", "--outbound-http-proxy-listen=[::1]:80"), ERR_NONE);
        assert_false(o.userspace);
        assert_true(addr_is_set(o.socks5));
        assert_string_equal(addr_str(o.socks5, text), "[::]:0");
        assert_string_equal(addr_str(o.http_proxy, text), "[::1]:80");
        assert_int_equal(parse(&o, &why, &code, true, "--socks5-server=", NULL), ERR_NONE);
        assert_false(addr_is_set(o.socks5));
}

static void mistakes_are_named(void **state)
{
        (void)state;
        static const struct {
                const char *a, *b;
                int code;
                const char *says;
        } rows[] = {
                {"--nonsense", NULL, 2, "--nonsense"},
                {"--port", NULL, 2, "argument"},
                {"--port=65536", NULL, 2, "65535"},
                {"--port=-1", NULL, 2, "65535"},
                {"--port=", NULL, 2, "65535"},
                {"--threads=64", NULL, 2, "want 0 to 63"},
                {"--threads=-1", NULL, 2, "want 0 to 63"},
                {"--threads=2x", NULL, 2, "want 0 to 63"},
                {"--threads=", NULL, 2, "want 0 to 63"},
                {"--threads", NULL, 2, "argument"},
                {"--verbose=lots", NULL, 2, "lots"},
                {"--memory=tiny", NULL, 2, "\"tiny\" for -memory: want normal or small"},
                {"--memory=", NULL, 2, "want normal or small"},
                {"--memory", NULL, 2, "argument"},
                {"--cleanup=perhaps", NULL, 2, "perhaps"},
                {"--socket=", NULL, 2, "--socket"},
                {"--tun=", NULL, 2, "--tun"},
                {"--tun=a,b", NULL, 2, "--tun \"a,b\": want userspace-networking"},
                {"--tun=a,", NULL, 2, "tailscale0,userspace-networking"},
                {"--tun=userspace-networking,a", NULL, 2, "--tun"},
                {"--socks5-server=1080", NULL, 2, "-socks5-server: want [HOST]:PORT"},
                {"--socks5-server=:", NULL, 2, "localhost:1055"},
                {"--socks5-server=localhost:65536", NULL, 2, "localhost:65536"},
                {"--socks5-server=::1:1080", NULL, 2, "::1:1080"},
                {"--outbound-http-proxy-listen=example.com:80", NULL, 2, "-outbound-http-proxy-listen: want [HOST]:PORT"},
                {"--outbound-http-proxy-listen=localhost:http", NULL, 2, "localhost:http"},
                {"--config=x.json", NULL, 2, "--config is not there yet"},
                {"--state=kube:x", NULL, 2, "not supported"},
                {"--encrypt-state", NULL, 2, "not supported"},
                {"word", NULL, 1, "word"},
                {"-", NULL, 1, "flags"},
                {"--", NULL, 1, "flags"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct options o = {.port = 99};
                const char *why = NULL;
                int code = 0;
                assert_int_equal(parse(&o, &why, &code, true, rows[i].a, rows[i].b), ERR_FORMAT);
                assert_int_equal(code, rows[i].code);
                assert_non_null(strstr(why, rows[i].says));
                assert_int_equal(o.port, 99);
        }
}

static void usage_names_every_flag_of_the_table(void **state)
{
        (void)state;
        static const char *const shown[] = {"--state ", "--statedir ", "--socket ", "--tun ", "--port ", "--memory ",
                "--threads ", "--verbose ", "--cleanup", "--version", "--socks5-server ", "--outbound-http-proxy-listen "};
        for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
                assert_non_null(strstr(options_usage(), shown[i]));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(defaults),
                cmocka_unit_test(no_state_directory_is_refused),
                cmocka_unit_test(every_way_to_write_a_flag),
                cmocka_unit_test(values),
                cmocka_unit_test(threads_by_processors),
                cmocka_unit_test(without_a_device),
                cmocka_unit_test(mistakes_are_named),
                cmocka_unit_test(usage_names_every_flag_of_the_table),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
