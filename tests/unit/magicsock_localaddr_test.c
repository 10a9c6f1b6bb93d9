/* What addresses this host has.  First those it really has, told by other calls than the one under test; then those of
 * networks of the test's own.  Where the kernel gives it none, the first is all there is, and that is said. */
#include "tests/unit/check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "magicsock/localaddr.h"

enum { LINKS_MAX = 4, CONF_MAX = 512 };

static struct {
        int links[LINKS_MAX];
        size_t link_count;
        int s4, s6;   /* to ask and to set; s6 is -1 without IPv6 */
        struct localaddrs l;
} t;

/* ---- the kernel, asked another way ---- */

static bool is_up(const char *name)
{
        struct ifreq r = {0};
        (void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
        return ioctl(t.s4, SIOCGIFFLAGS, &r) == 0 && (r.ifr_flags & IFF_UP);
}

static bool listed(struct ip ip)
{
        for (size_t i = 0; i < t.l.count; i++)
                if (ip_eq(t.l.ip[i], ip))
                        return true;
        return false;
}

/* How many addresses of the list are among those of this family; *ret_reach: one of them leads out. */
static size_t ask4(const char *tun, bool *ret_reach)
{
        static struct ifreq rows[CONF_MAX];
        struct ifconf c = {.ifc_len = sizeof(rows), .ifc_req = rows};
        size_t found = 0;
        assert_int_equal(ioctl(t.s4, SIOCGIFCONF, &c), 0);
        for (size_t i = 0; i < (size_t)c.ifc_len / sizeof(rows[0]); i++) {
                uint32_t a = ntohl(((struct sockaddr_in *)(void *)&rows[i].ifr_addr)->sin_addr.s_addr);
                if (!is_up(rows[i].ifr_name) || (tun && strcmp(tun, rows[i].ifr_name) == 0))
                        continue;
                found += listed(ip_v4((uint8_t)(a >> 24), (uint8_t)(a >> 16), (uint8_t)(a >> 8), (uint8_t)a));
                *ret_reach |= a >> 24 != 127 && a >> 16 != 0xa9fe && a >> 22 != 0x64400000u >> 22;
        }
        return found;
}

static size_t ask6(const char *tun, bool *ret_reach)
{
        FILE *f = fopen("/proc/self/net/if_inet6", "re");
        char hex[40], name[IFNAMSIZ];
        size_t found = 0;
        if (f == NULL)
                return 0;
        while (fscanf(f, "%32s %*x %*x %*x %*x %15s", hex, name) == 2) {
                uint8_t b[16];
                assert_int_equal(check_unhex(hex, b, sizeof(b)), sizeof(b));
                if (!is_up(name) || (tun && strcmp(tun, name) == 0))
                        continue;
                found += listed(ip_from_bytes16(b));
                bool tailnet = memcmp(b, "\xfd\x7a\x11\x5c\xa1\xe0", 6) == 0;
                *ret_reach |= b[0] >> 5 == 1 || (b[0] >> 1 == 0x7e && !tailnet);
        }
        fclose(f);
        return found;
}

/* Fills t.l, and holds it against what the kernel says elsewhere. */
static void look(const char *tun)
{
        bool v4 = false, v6 = false;
        size_t loopback = 0;
        assert_true(localaddr_list(tun, &t.l));
        assert_true(t.l.count <= MS_LOCAL_MAX);
        size_t found = ask4(tun, &v4);
        found += ask6(tun, &v6);
        assert_int_equal(found, t.l.count);
        assert_int_equal(t.l.have_v4, v4);
        assert_int_equal(t.l.have_v6, v6);
        for (size_t i = 0; i < t.l.count; i++) {
                assert_true(ip_is_set(t.l.ip[i]));
                loopback += ip_is_loopback(t.l.ip[i]);
        }
        assert_true(loopback == 0 || loopback == t.l.count);
}

/* ---- a network of our own ---- */

static bool own_network(void)
{
        if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
                return false;
        close(t.s4);   /* the sockets belong to the network they were made in */
        t.s4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (t.s6 >= 0)
                close(t.s6);
        t.s6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        return true;
}

static void up(const char *name)
{
        struct ifreq r = {0};
        (void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
        assert_int_equal(ioctl(t.s4, SIOCGIFFLAGS, &r), 0);
        r.ifr_flags |= IFF_UP;
        assert_int_equal(ioctl(t.s4, SIOCSIFFLAGS, &r), 0);
}

/* An interface, down; false: the host has no such device. */
static bool link_new(const char *name)
{
        struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI};
        int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return false;
        (void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
        if (ioctl(fd, TUNSETIFF, &r) != 0) {
                close(fd);
                return false;
        }
        assert_true(t.link_count < LINKS_MAX);
        t.links[t.link_count++] = fd;
        return true;
}

static void add(const char *name, const char *prefix)
{
        struct prefix p = prefix_const(prefix);
        union {
                struct ifreq v4;
                struct in6_ifreq v6;
        } r;
        memset(&r, 0, sizeof(r));
        if (p.ip.family == IP_V6) {
                r.v6.ifr6_prefixlen = p.bits;
                r.v6.ifr6_ifindex = (int)if_nametoindex(name);
                memcpy(&r.v6.ifr6_addr, p.ip.b, 16);
                assert_int_equal(ioctl(t.s6, SIOCSIFADDR, &r), 0);
        } else {
                struct sockaddr_storage sa;
                (void)addr_to_sockaddr((struct addr){.ip = p.ip}, &sa);
                (void)snprintf(r.v4.ifr_name, sizeof(r.v4.ifr_name), "%s", name);
                memcpy(&r.v4.ifr_addr, &sa, sizeof(r.v4.ifr_addr));
                assert_int_equal(ioctl(t.s4, SIOCSIFADDR, &r), 0);
        }
}

static void list_is(const char *const *want, size_t n)
{
        char text[IP_STR_MAX];
        assert_int_equal(t.l.count, n);
        for (size_t i = 0; i < n; i++)
                assert_string_equal(ip_str(t.l.ip[i], text), want[i]);
}

#define LIST_IS(...) \
        do { \
                const char *const want_[] = {__VA_ARGS__}; \
                list_is(want_, sizeof(want_) / sizeof(want_[0])); \
        } while (0)

static void reach_is(bool v4, bool v6)
{
        assert_int_equal(t.l.have_v4, v4);
        assert_int_equal(t.l.have_v6, v6);
}

/* A network with lo up and two interfaces, down: eth0 and tun0.  False: not on this host, which is said, and what there
 * is instead is looked at. */
static bool begin(void)
{
        if (own_network() && link_new("eth0") && link_new("tun0")) {
                up("lo");
                return true;
        }
        print_message("no interfaces of its own for the test (%s): looked at what is there\n", strerror(errno));
        look(NULL);
        return false;
}

static int set_up(void **state)
{
        (void)state;
        memset(&t, 0, sizeof(t));
        t.s4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        t.s6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        return t.s4 < 0;
}

static int tear_down(void **state)
{
        (void)state;
        for (size_t i = 0; i < t.link_count; i++)
                close(t.links[i]);
        close(t.s4);
        if (t.s6 >= 0)
                close(t.s6);
        return 0;
}

/* ---- tests ---- */

/* Must be the first: the others leave the host's network. */
static void test_this_host(void **state)
{
        (void)state;
        look(NULL);
        look("lo");
        for (size_t i = 0; i < t.l.count; i++)
                assert_false(ip_is_loopback(t.l.ip[i]));
        look("no such interface");
}

static void test_nothing_up(void **state)
{
        (void)state;
        if (!own_network()) {
                (void)begin();
                return;
        }
        look(NULL);
        assert_int_equal(t.l.count, 0);
        reach_is(false, false);
        assert_false(localaddr_os_has_ipv6());   /* not even ::1 */
}

/* An address of an interface that is down is none. */
static void test_loopback_and_down(void **state)
{
        (void)state;
        if (!begin())
                return;
        add("eth0", "192.0.2.7/24");
        look(NULL);
        assert_int_equal(t.l.count, t.s6 >= 0 ? 2 : 1);
        assert_true(listed(ip_v4(127, 0, 0, 1)));
        reach_is(false, false);
        assert_int_equal(localaddr_os_has_ipv6(), t.s6 >= 0);
        up("eth0");
        look(NULL);
        assert_true(listed(ip_v4(192, 0, 2, 7)));
        assert_false(listed(ip_v4(127, 0, 0, 1)));
        assert_true(t.l.have_v4);
        assert_false(t.l.have_v6);
}

/* A link-local one is told to peers when there is no other, but it is no way to the Internet. */
static void test_link_local(void **state)
{
        (void)state;
        if (!begin())
                return;
        up("eth0");
        add("eth0", "169.254.7.7/16");
        if (t.s6 >= 0)
                add("eth0", "fe80::7/64");
        look(NULL);
        LIST_IS("169.254.7.7");
        reach_is(false, false);
}

static void test_tailnet(void **state)
{
        (void)state;
        if (!begin())
                return;
        up("eth0");
        up("tun0");
        add("eth0", "192.168.7.7/24");
        add("tun0", "100.101.102.103/32");
        if (t.s6 >= 0)
                add("tun0", "fd7a:115c:a1e0::7/128");
        look(NULL);   /* by their range, whoever has them */
        LIST_IS("192.168.7.7");
        reach_is(true, false);
        add("eth0", "100.64.0.1/10");   /* in place of the other */
        look(NULL);
        reach_is(false, false);
        assert_false(listed(ip_v4(100, 64, 0, 1)));
}

/* Ours is left out by its name, whatever its addresses. */
static void test_tun(void **state)
{
        (void)state;
        if (!begin())
                return;
        up("eth0");
        up("tun0");
        add("eth0", "192.0.2.7/24");
        add("tun0", "198.51.100.7/24");
        look("tun0");
        LIST_IS("192.0.2.7");
        reach_is(true, false);
        look("eth0");
        LIST_IS("198.51.100.7");
        reach_is(true, false);
        look("tun");
        LIST_IS("192.0.2.7", "198.51.100.7");
        if (t.s6 >= 0)
                add("tun0", "2001:db8::7/64");
        look("tun0");
        LIST_IS("192.0.2.7");
        reach_is(true, false);
        look(NULL);
        reach_is(true, t.s6 >= 0);
        add("eth0", "169.254.1.1/16");
        look("tun0");
        reach_is(false, false);   /* what the tunnel could reach does not count either */
}

static void test_ipv6(void **state)
{
        (void)state;
        static const struct {
                const char *prefix;
                bool reach;
        } rows[] = {{"2001:db8::7/64", true}, {"3fff:ffff::1/64", true}, {"fd00:1::7/64", true}, {"fc00::7/7", true},
                {"64:ff9b::7/96", false}, {"4000::7/64", false}, {"fe80::7/64", false}, {"fd7a:115c:a1e0::9/48", false}};
        if (t.s6 < 0)
                skip();   /* a kernel without IPv6 */
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                if (!begin())
                        return;
                up("eth0");
                add("eth0", rows[i].prefix);
                look(NULL);
                reach_is(false, rows[i].reach);
                while (t.link_count > 0)
                        close(t.links[--t.link_count]);
        }
}

/* The list has no more than two of one subnet, for which the length of the prefix has to be right. */
static void test_prefix_length(void **state)
{
        (void)state;
        if (t.s6 < 0)
                skip();   /* a kernel without IPv6 */
        if (!begin())
                return;
        up("eth0");
        up("tun0");
        add("eth0", "2001:db8:0:1::1/64");
        add("eth0", "2001:db8:0:1::2/64");
        add("eth0", "2001:db8:0:1::3/64");
        look(NULL);
        assert_int_equal(t.l.count, 2);
        add("tun0", "2001:db8:0:2::1/128");
        add("tun0", "2001:db8:0:2::2/128");
        add("tun0", "2001:db8:0:2::3/127");   /* holds the one before it, which is fewer than two */
        look(NULL);
        assert_int_equal(t.l.count, 5);
}

/* More than it has room for: as many as fit. */
static void test_very_many(void **state)
{
        (void)state;
        char text[PREFIX_STR_MAX];
        if (t.s6 < 0)
                skip();   /* a kernel without IPv6 */
        if (!begin())
                return;
        up("eth0");
        for (unsigned i = 0; i < 400; i++) {
                (void)snprintf(text, sizeof(text), "2001:db8:0:%x::1/64", i);
                add("eth0", text);
        }
        look(NULL);
        assert_int_equal(t.l.count, MS_LOCAL_MAX);
        reach_is(false, true);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                T(test_this_host), T(test_nothing_up), T(test_loopback_and_down), T(test_link_local), T(test_tailnet),
                T(test_tun), T(test_ipv6), T(test_prefix_length), T(test_very_many),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
