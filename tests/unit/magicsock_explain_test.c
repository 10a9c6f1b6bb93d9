/* Why a peer is not direct: a table of situations, and what is said of each. */
#include "magicsock/explain.h"

#include "tests/unit/check.h"

static struct ms_explain x;

static void candidate(const char *text, unsigned tried, int64_t latency_ns)
{
        struct path *p = &x.paths[x.path_count++];
        *p = (struct path){.origin = PATH_FROM_MAP, .tried = (uint16_t)tried, .latency_ns = latency_ns};
        assert_int_equal(addr_parse(text, &p->addr), ERR_NONE);
}

/* A peer on the relay with traffic, a candidate that was pinged in vain, and an easy NAT here. */
static int setup(void **state)
{
        (void)state;
        x = (struct ms_explain){
                .now = {100 * NS_PER_SEC},
                .has_disco = true,
                .awake = true,
                .active = true,
                .knows_us = true,
                .route = {.kind = MS_ROUTE_RELAY, .region = 901},
                .home = 901,
                .udp4 = true,
                .udp6 = true,
                .own_endpoints = 2,
                .nat = NC_NAT_EASY,
        };
        history_add(&x.history, HISTORY_PINGED, (struct addr){.port = 0}, 4, (mono_t){50 * NS_PER_SEC});
        candidate("203.0.113.9:41641", 3, 0);
        return 0;
}

static void why_is(const char *words)
{
        enum ms_why why[MS_WHY_MAX];
        char all[200] = "", text[MS_WHY_TEXT_MAX];
        size_t n = ms_why(&x, why);
        for (size_t i = 0; i < n; i++) {
                size_t at = strlen(all);
                snprintf(all + at, sizeof(all) - at, "%s%s", i > 0 ? " " : "", ms_why_word(why[i]));
                assert_true(strlen(ms_why_text(why[i], &x, text)) > 20);
        }
        assert_string_equal(all, words);
}

static void test_in_vain(void **state)
{
        (void)state;
        char text[MS_WHY_TEXT_MAX];
        x.home_down = true;
        why_is("home-relay-down no-answer");
        x.home_down = false;
        x.absent = true;
        why_is("peer-not-at-relay no-answer");
        x.absent = false;
        why_is("no-answer");
        assert_string_equal(ms_why_text(MS_WHY_NO_PONG, &x, text),
                            "1 of the peer's 1 addresses were pinged, none answered, and no ping of the peer came by UDP");
        x.heard_ping = (mono_t){90 * NS_PER_SEC};
        why_is("one-way");
        x.heard_ping = (mono_t){0};
        history_add(&x.history, HISTORY_RELAY, (struct addr){.port = 0}, 901, (mono_t){98 * NS_PER_SEC});
        history_add(&x.history, HISTORY_PINGED, (struct addr){.port = 0}, 1, (mono_t){99 * NS_PER_SEC});
        why_is("searching");
}

static void test_direct_and_doubt(void **state)
{
        (void)state;
        x.route = (struct ms_route){.kind = MS_ROUTE_DIRECT, .addr = x.paths[0].addr, .region = 901};
        x.nat = NC_NAT_HARD;
        why_is("");
        x.route.kind = MS_ROUTE_BOTH;
        x.nat = NC_NAT_EASY;
        why_is("silent");
        x.route = (struct ms_route){.kind = MS_ROUTE_RELAY, .region = 901};
        x.paths[0].latency_ns = 5 * NS_PER_MS;   /* it did answer once */
        why_is("silent");
}

static void test_what_the_server_says(void **state)
{
        (void)state;
        x.expired = true;
        x.has_disco = false;
        why_is("expired");
        x.expired = false;
        why_is("no-disco-key");
        x.has_disco = true;
        x.path_count = 0;
        x.knows_us = false;
        why_is("no-address peer-unheard");
        x.knows_us = true;
        x.own_endpoints = 0;
        why_is("no-address no-own-address");
}

static void test_nothing_is_sent(void **state)
{
        (void)state;
        x.active = false;
        why_is("idle");
        x.awake = false;
        x.knows_us = false;
        x.nat = NC_NAT_BLOCKED;
        why_is("udp-blocked idle");
}

static void test_no_udp(void **state)
{
        (void)state;
        x.nat = NC_NAT_BLOCKED;
        why_is("udp-blocked");
        x.udp4 = x.udp6 = false;
        why_is("no-udp-socket no-common-family");
        x.home_down = true;
        why_is("home-relay-down no-udp-socket no-common-family");
}

static void test_families(void **state)
{
        (void)state;
        x.path_count = 0;
        candidate("[2001:db8::1]:41641", 1, 0);
        why_is("no-common-family");
        x.ipv6 = true;
        why_is("no-answer");
        x.ipv6 = false;
        x.path_count = 0;
        candidate("[fd00::1]:41641", 1, 0);   /* of this site, maybe */
        why_is("no-answer");
        x.udp6 = false;
        why_is("no-common-family");
}

static void test_nats(void **state)
{
        (void)state;
        char text[MS_WHY_TEXT_MAX];
        x.nat = NC_NAT_HARD;
        why_is("no-answer own-nat-hard");
        candidate("203.0.113.9:7", 1, 0);
        why_is("no-answer both-nats-hard");
        x.nat = NC_NAT_EASY;
        why_is("no-answer peer-nat-hard");
        assert_null(strstr(ms_why_text(MS_WHY_HARD_THERE, &x, text), "--hard-nat=off"));
        x.hard_nat.why = HN_WHY_OFF;
        assert_non_null(strstr(ms_why_text(MS_WHY_HARD_THERE, &x, text), "--hard-nat=off"));
        x.path_count = 0;
        candidate("192.168.1.2:41641", 1, 0);
        candidate("192.168.1.2:7", 1, 0);   /* that is no NAT's */
        why_is("no-answer");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_in_vain, setup),
                cmocka_unit_test_setup(test_direct_and_doubt, setup),
                cmocka_unit_test_setup(test_what_the_server_says, setup),
                cmocka_unit_test_setup(test_nothing_is_sent, setup),
                cmocka_unit_test_setup(test_no_udp, setup),
                cmocka_unit_test_setup(test_families, setup),
                cmocka_unit_test_setup(test_nats, setup),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
