/* Messages as the kernel sends them: which of them make us look at the network anew. */
#include "daemon/host/netchange.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>

#include "tests/unit/check.h"

static bool link_says(int type, unsigned flags, unsigned change, int attr)
{
        struct ifinfomsg i = {.ifi_index = 3, .ifi_flags = flags, .ifi_change = change};
        struct nl_msg *m = nlmsg_alloc_simple(type, 0);
        assert_int_equal(nlmsg_append(m, &i, sizeof(i), NLMSG_ALIGNTO), 0);
        assert_int_equal(nla_put_string(m, IFLA_IFNAME, "eth0"), 0);
        if (attr != 0)
                assert_int_equal(nla_put_u32(m, attr, 7), 0);
        bool said = netchange_link(nlmsg_hdr(m));
        nlmsg_free(m);
        return said;
}

static void links(void **state)
{
        (void)state;
        const unsigned up = IFF_UP | IFF_RUNNING;
        assert_true(link_says(RTM_NEWLINK, up, ~0U, 0));
        assert_true(link_says(RTM_NEWLINK, up, IFF_UP | IFF_RUNNING, 0));
        assert_true(link_says(RTM_NEWLINK, 0, IFF_UP | IFF_RUNNING, 0));
        assert_true(link_says(RTM_NEWLINK, IFF_UP, 0, 0));                        /* no carrier */
        assert_false(link_says(RTM_NEWLINK, up, 0, IFLA_WIRELESS));               /* a scan */
        assert_false(link_says(RTM_NEWLINK, up | IFF_PROMISC, IFF_PROMISC, 0));   /* a capture begins */
        assert_false(link_says(RTM_NEWLINK, up, IFF_PROMISC, 0));
        assert_false(link_says(RTM_NEWLINK, up, IFF_ALLMULTI, 0));
        assert_true(link_says(RTM_NEWLINK, up, IFF_UP | IFF_PROMISC, 0));
        assert_false(link_says(RTM_NEWLINK, 0, ~0U, 0));                          /* made, not up */
        assert_false(link_says(RTM_NEWLINK, up, IFF_UP, IFLA_MASTER));
        assert_false(link_says(RTM_DELLINK, 0, ~0U, 0));
}

static bool addr_says(int type, uint8_t scope, const struct ifa_cacheinfo *c)
{
        struct ifaddrmsg a = {.ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_scope = scope, .ifa_index = 3};
        struct nl_msg *m = nlmsg_alloc_simple(type, 0);
        assert_int_equal(nlmsg_append(m, &a, sizeof(a), NLMSG_ALIGNTO), 0);
        assert_int_equal(nla_put_u32(m, IFA_LOCAL, 0x01020304), 0);
        if (c != NULL)
                assert_int_equal(nla_put(m, IFA_CACHEINFO, sizeof(*c), c), 0);
        bool said = netchange_addr(nlmsg_hdr(m));
        nlmsg_free(m);
        return said;
}

static void addresses(void **state)
{
        (void)state;
        static const struct ifa_cacheinfo fresh = {.cstamp = 5, .tstamp = 5}, renewed = {.cstamp = 5, .tstamp = 900};
        assert_true(addr_says(RTM_NEWADDR, RT_SCOPE_UNIVERSE, &fresh));
        assert_true(addr_says(RTM_NEWADDR, RT_SCOPE_UNIVERSE, NULL));
        assert_false(addr_says(RTM_NEWADDR, RT_SCOPE_UNIVERSE, &renewed));
        assert_true(addr_says(RTM_DELADDR, RT_SCOPE_UNIVERSE, &renewed));
        assert_false(addr_says(RTM_NEWADDR, RT_SCOPE_LINK, &fresh));
}

static void routes(void **state)
{
        (void)state;
        static const struct {
                uint8_t bits;
                bool counts;
        } rows[] = {{0, true}, {1, true}, {8, false}, {24, false}, {128, false}};
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct rtmsg r = {.rtm_family = AF_INET, .rtm_dst_len = rows[i].bits, .rtm_table = RT_TABLE_MAIN};
                struct nl_msg *m = nlmsg_alloc_simple(RTM_NEWROUTE, 0);
                assert_int_equal(nlmsg_append(m, &r, sizeof(r), NLMSG_ALIGNTO), 0);
                assert_int_equal(netchange_route(nlmsg_hdr(m)), rows[i].counts);
                nlmsg_free(m);
        }
}

static void short_messages(void **state)
{
        (void)state;
        struct {
                struct nlmsghdr h;
                uint8_t body[32];
        } m = {.h = {.nlmsg_type = RTM_NEWLINK}};
        for (uint32_t n = 0; n < sizeof(struct rtmsg); n++) {
                m.h.nlmsg_len = NLMSG_HDRLEN + n;
                assert_false(netchange_route(&m.h));
                assert_false(n < sizeof(struct ifaddrmsg) && netchange_addr(&m.h));
                assert_false(netchange_link(&m.h));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(links), cmocka_unit_test(addresses), cmocka_unit_test(routes),
                cmocka_unit_test(short_messages),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
