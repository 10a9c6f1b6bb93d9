/* Connections out by name or address: where each one leads, and where it must not. */
#include "daemon/proxy/dialout.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "tests/unit/check.h"

static struct {
        struct loop *loop;
        struct dns_service *dns;
        struct dialout *d;
        int listener;
        uint16_t port;
        bool done;
        enum dialout_error error;
        char why[256];
} t;

static enum dialout_way way(void *arg, struct ip *dst, struct ip *ret_local, const char **ret_why)
{
        (void)arg;
        (void)dst;
        (void)ret_local;
        (void)ret_why;
        return DIALOUT_KERNEL;
}

static bool is_outside(void *arg, struct ip dst)
{
        (void)arg;
        return ip_eq(dst, ip_v4(127, 0, 0, 1));
}

static struct dns_service *resolver(void *arg)
{
        (void)arg;
        return t.dns;
}

static bool may_ask_host(void *arg)
{
        (void)arg;
        return false;
}

static const char *suffix(void *arg)
{
        (void)arg;
        return "";
}

static const struct dialout_ops ops = {.way = way, .is_outside = is_outside, .resolver = resolver,
        .may_ask_host = may_ask_host, .suffix = suffix};

/* The names here.test and there.test; the latter is at another address of this host. */
static void add_names(void)
{
        static const char text[] = "{\"ExtraRecords\":[{\"Name\":\"here.test\",\"Value\":\"127.0.0.1\"},"
                "{\"Name\":\"there.test\",\"Value\":\"127.0.0.2\"}]}";
        json_t *map = json_parse(text, strlen(text));
        struct dns_node self = {.name = "self.test."};
        struct dns_input in = {.map = map, .self = &self, .suffix = ""};
        struct dns_os_config os;
        struct dns_config *c = dns_compile(&in, &os);
        assert_non_null(c);
        dns_os_config_free(&os);
        dns_service_set(t.dns, c);
        json_decref(map);
}

static int set_up(void **state)
{
        (void)state;
        struct sockaddr_in sa = {.sin_family = AF_INET};
        socklen_t len = sizeof(sa);
        memset(&t, 0, sizeof(t));
        t.loop = loop_new();
        t.dns = dns_service_new(t.loop, 256);
        t.d = dialout_new(t.loop, &ops, NULL);
        add_names();
        t.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(t.listener, (struct sockaddr *)&sa, len), 0);
        assert_int_equal(listen(t.listener, 8), 0);
        assert_int_equal(getsockname(t.listener, (struct sockaddr *)&sa, &len), 0);
        t.port = ntohs(sa.sin_port);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        close(t.listener);
        dialout_free(t.d);
        dns_service_free(t.dns);
        loop_free(t.loop);
        return 0;
}

static void on_dialled(void *arg, const struct dialout_result *r)
{
        (void)arg;
        assert_false(t.done);
        t.done = true;
        t.error = r->error;
        (void)str_copy(t.why, sizeof(t.why), r->why);
        relay_close_end(r->end);
}

static enum dialout_error outcome(struct dialout_call *c)
{
        assert_non_null(c);
        t.done = false;
        for (mono_t end = mono_add_ms(mono_now(), 20000); !t.done && mono_now().ns < end.ns;)
                loop_once(t.loop, 50);
        assert_true(t.done);
        return t.error;
}

static bool somebody_came(void)
{
        int fd = accept4(t.listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
                close(fd);
        return fd >= 0;
}

static void by_name_and_by_address(void **state)
{
        (void)state;
        static const char *const hosts[] = {"here.test", "there.test", "127.0.0.1", "127.0.0.2", "localhost"};
        for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
                assert_int_equal(outcome(dialout_start(t.d, hosts[i], t.port, on_dialled, NULL)), DIALOUT_OK);
                assert_true(somebody_came());
        }
        assert_int_equal(outcome(dialout_start(t.d, "nowhere.test", t.port, on_dialled, NULL)), DIALOUT_NO_NAME);
        assert_int_equal(outcome(dialout_start(t.d, "a..b", t.port, on_dialled, NULL)), DIALOUT_NO_NAME);
        assert_false(somebody_came());
        assert_int_equal(shutdown(t.listener, SHUT_RD), 0);
        assert_int_equal(outcome(dialout_start(t.d, "there.test", t.port, on_dialled, NULL)), DIALOUT_REFUSED);
}

/* Whoever has fewer rights than this process gets no connection to what is not the tailnet's. */
static void inside_only(void **state)
{
        (void)state;
        static const char *const outside[] = {"here.test", "127.0.0.1", "localhost"};
        for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
                assert_int_equal(outcome(dialout_start_inside(t.d, outside[i], t.port, on_dialled, NULL)), DIALOUT_NO_ROUTE);
                assert_non_null(strstr(t.why, "not reached through the tailnet"));
                assert_false(somebody_came());
        }
        assert_int_equal(outcome(dialout_start_inside(t.d, "there.test", t.port, on_dialled, NULL)), DIALOUT_OK);
        assert_true(somebody_came());
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(by_name_and_by_address, set_up, tear_down),
                cmocka_unit_test_setup_teardown(inside_only, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
