#include "daemon/host/router.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/mono.h"
#include "daemon/host/hostnl.h"
#include "daemon/host/monitor.h"
#include "tests/unit/check.h"

static void test_what_is_a_lan(void **state)
{
        (void)state;
        static const struct {
                const char *prefix;
                bool lan;
        } rows[] = {
                {"192.168.1.7/24", true},
                {"192.168.0.0/16", true},
                {"192.168.0.1/15", false},   /* beyond the private block */
                {"10.1.2.3/8", true},
                {"10.1.2.3/7", false},
                {"172.16.0.1/12", true},
                {"172.32.0.1/12", false},
                {"169.254.9.9/16", true},
                {"203.0.113.7/24", true},
                {"198.18.0.1/16", true},
                {"198.18.0.1/15", false},
                {"100.0.0.1/8", false},
                {"10.1.2.3/1", false},       /* half the internet, from an address that looks private */
                {"10.1.2.3/0", false},
                {"200.0.0.1/1", false},
                {"fd12::1/64", true},
                {"fd12::1/7", true},
                {"fd12::1/6", false},
                {"fe80::1/64", true},
                {"2001:db8:1:2::3/64", true},
                {"2001:db8:1::3/48", true},
                {"2001:db8::3/47", false},
                {"2001:db8::3/1", false},
                {"::1:2/0", false},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct prefix p;
                assert_int_equal(prefix_parse(rows[i].prefix, &p), ERR_NONE);
                if (router_is_lan(p) != rows[i].lan)
                        fail_msg("%s", rows[i].prefix);
        }
}

/* ---- with a kernel: in a network namespace of its own ---- */

/* An interface that lives as long as what is returned; -1: not to be had. */
static int own_namespace(void)
{
        struct ifreq ifr = {.ifr_name = "ts9", .ifr_flags = IFF_TUN | IFF_NO_PI};
        int fd = geteuid() == 0 && unshare(CLONE_NEWNET) == 0 ? open("/dev/net/tun", O_RDWR | O_CLOEXEC) : -1;
        if (fd >= 0 && ioctl(fd, TUNSETIFF, &ifr) == 0)
                return fd;
        if (fd >= 0)
                close(fd);
        return -1;
}

struct count {
        struct prefix dst;
        unsigned n;
};

static void count_route(void *arg, const struct hostnl_route *r)
{
        struct count *c = arg;
        c->n += prefix_eq(r->dst, c->dst);
}

/* How many routes of the table have this destination. */
static unsigned in_kernel(struct hostnl *nl, const char *dst)
{
        struct count c = {.dst = prefix_const(dst)};
        hostnl_each_route(nl, ROUTER_TABLE, count_route, &c);
        return c.n;
}

static unsigned changes, removals;

static void on_change(void *arg)
{
        (void)arg;
        changes++;
}

static void on_removed(void *arg)
{
        (void)arg;
        removals++;
}

static void turn(struct loop *l, int ms)
{
        for (mono_t end = mono_add_ms(mono_now(), ms); !mono_reached(mono_now(), end);)
                loop_once(l, 20);
}

static void test_changes(void **state)
{
        (void)state;
        int tun = own_namespace();
        if (tun < 0)
                skip_because("a TUN device in a network of its own needs root and /dev/net/tun");
        struct hostnl *nl = hostnl_open();   /* another program */
        static const struct monitor_callbacks cb = {on_change, on_removed};
        const struct prefix a = prefix_const("100.64.0.1/32"), b = prefix_const("100.64.0.2/32"), c = prefix_const("10.0.0.0/24");
        const struct prefix set[] = {a, b, a}, three_a[] = {a, a, a}, c_a[] = {c, a};
        struct router *r;
        const char *why = "";
        uint32_t ports[ROUTER_PORTS];
        struct loop *l = loop_new();
        assert_int_equal(router_new("ts9", 1280, &r, &why), ERR_NONE);
        struct monitor *m = monitor_new(l, "ts9", &cb, NULL);
        assert_non_null(m);
        router_ports(r, ports);
        monitor_leave_out(m, ports, ROUTER_PORTS);
        turn(l, 400);
        changes = removals = 0;
        struct router_config conf = {.routes = set, .route_count = 3, .keep_mesh = true};
        assert_int_equal(router_set(r, &conf, &why), ERR_NONE);
        assert_int_equal(in_kernel(nl, "100.64.0.1/32"), 1);
        /* A second peer with c's network, a third with a's address; b leaves. */
        assert_int_equal(router_change(r, c_a, 2, &b, 1), ERR_NONE);
        assert_int_equal(in_kernel(nl, "10.0.0.0/24"), 1);
        assert_int_equal(in_kernel(nl, "100.64.0.2/32"), 0);
        assert_int_equal(router_change(r, NULL, 0, three_a, 2), ERR_NONE);
        assert_int_equal(in_kernel(nl, "100.64.0.1/32"), 1);   /* one is left who has it */
        assert_int_equal(router_change(r, NULL, 0, three_a, 1), ERR_NONE);
        assert_int_equal(in_kernel(nl, "100.64.0.1/32"), 0);
        /* What was never there cannot go, and a route that is no tunnel's is not for one peer to say. */
        assert_int_equal(router_change(r, NULL, 0, &a, 1), ERR_STATE);
        const struct prefix thrown = prefix_const("100.115.92.0/23");
        assert_int_equal(router_change(r, &thrown, 1, NULL, 0), ERR_STATE);
        /* A whole configuration goes on from there. */
        assert_int_equal(router_set(r, &conf, &why), ERR_NONE);
        assert_int_equal(in_kernel(nl, "100.64.0.1/32") + in_kernel(nl, "100.64.0.2/32"), 2);
        assert_int_equal(in_kernel(nl, "10.0.0.0/24"), 0);
        turn(l, 400);
        assert_int_equal(changes, 0);
        assert_int_equal(removals, 0);   /* it was all our own doing */
        const struct hostnl_route route = {.dst = a, .type = HOSTNL_TUNNEL};
        const uint32_t table = ROUTER_TABLE;
        enum err e;
        hostnl_routes(nl, hostnl_ifindex(nl, "ts9"), &table, &route, 1, false, &e);
        assert_int_equal(e, ERR_NONE);
        turn(l, 400);
        assert_int_equal(removals, 1);
        assert_int_equal(router_repair(r), 1);
        assert_int_equal(in_kernel(nl, "100.64.0.1/32"), 1);
        monitor_free(m);
        router_free(r);
        loop_free(l);
        hostnl_close(nl);
        close(tun);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_a_lan), cmocka_unit_test(test_changes)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
