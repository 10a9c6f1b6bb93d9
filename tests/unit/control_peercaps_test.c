#include "tests/unit/check.h"

#include <string.h>

#include "daemon/control/mapsession.h"
#include "daemon/control/peercaps.h"

static const char MAP[] =
        "{\"Node\":{\"ID\":1,\"Key\":\"nodekey:"
        "0000000000000000000000000000000000000000000000000000000000000001\","
        "\"Addresses\":[\"100.64.0.1/32\",\"fd7a:115c:a1e0::1/128\"]},"
        "\"Peers\":[{\"ID\":9,\"Key\":\"nodekey:"
        "0000000000000000000000000000000000000000000000000000000000000009\","
        "\"Addresses\":[\"100.64.0.9/32\"],\"UnsignedPeerAPIOnly\":true}],"
        "\"PacketFilters\":{\"base\":["
        "{\"SrcIPs\":[\"100.64.0.2\",\"fd7a:115c:a1e0::2\"],\"CapGrant\":[{\"Dsts\":[\"100.64.0.0/24\",\"::/"
        "0\"],"
        "\"Caps\":[\"b\"],\"CapMap\":{\"c\":[1,{\"x\":2}],\"a\":null,\"b\":[]}}]},"
        "{\"SrcIPs\":[\"*\"],\"CapGrant\":[{\"Dsts\":[\"100.64.0.1/32\",\"nonsense\",\"100.64.0.1/32\"],"
        "\"CapMap\":{\"c\":[3],\"a\":[4],\"\":[5],\"https://tailscale.com/cap/ingress\":null}},"
        "{\"Dsts\":[\"192.168.7.0/24\"],\"Caps\":[\"router\"]}]},"
        "{\"SrcIPs\":[\"100.64.0.3\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":65535}}]},"
        "{\"SrcIPs\":[\"cap:x\"],\"CapGrant\":[{\"Dsts\":[\"0.0.0.0/0\"],\"Caps\":[\"never\"]}]}"
        "]}}";

static struct ip ip(const char *s)
{
        struct ip i;
        assert_int_equal(ip_parse(s, &i), ERR_NONE);
        return i;
}

static void same(json_t *got, const char *want)
{
        char *text = json_dumps(got, JSON_COMPACT | JSON_ENCODE_ANY);
        if (want == NULL)
                assert_null(got);
        else
                assert_string_equal(text, want);
        free(text);
        json_decref(got);
}

static void grants_add_up(void **state)
{
        (void)state;
        struct mapsession *s = mapsession_new();
        struct map_news news;
        assert_int_equal(mapsession_apply(s, MAP, strlen(MAP), 1, &news), ERR_NONE);
        const struct netmap *nm = mapsession_map(s);
        /* Both rules, the second once for each of its destinations that fit. */
        same(peercaps_self(nm, ip("100.64.0.2")), "{\"a\":[4,4],\"b\":null,\"c\":[1,{\"x\":2},3,3],"
                                                  "\"https://tailscale.com/cap/ingress\":null}");
        same(peercaps_self(nm, ip("fd7a:115c:a1e0::2")), "{\"a\":null,\"b\":null,\"c\":[1,{\"x\":2}]}");
        same(peercaps_self(nm, ip("100.64.0.3")),
             "{\"a\":[4,4],\"c\":[3,3],\"https://tailscale.com/cap/ingress\":null}");
        same(peercaps(nm, ip("100.64.0.3"), ip("192.168.7.1")), "{\"router\":null}");
        same(peercaps(nm, ip("100.64.0.3"), ip("192.168.8.1")), NULL);
        same(peercaps_self(nm, ip("fd7a:115c:a1e0::3")), NULL);
        /* Who is not signed for gets no more than this. */
        same(peercaps_self(nm, ip("100.64.0.9")), "{\"https://tailscale.com/cap/ingress\":null}");
        same(peercaps(nm, ip("100.64.0.9"), ip("192.168.7.1")), NULL);
        /* What the map says is not changed by asking. */
        same(peercaps_self(nm, ip("100.64.0.3")),
             "{\"a\":[4,4],\"c\":[3,3],\"https://tailscale.com/cap/ingress\":null}");
        mapsession_free(s);
}

static void nobody_has_nothing(void **state)
{
        (void)state;
        struct netmap nm;
        netmap_init(&nm);
        same(peercaps_self(&nm, ip("100.64.0.2")), NULL);
        netmap_done(&nm);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(grants_add_up),
                cmocka_unit_test(nobody_has_nothing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
