/* What is asked while UDP is silent: a page that portals stand before, the relays by HTTPS, and by echo. */
#include "tests/unit/netcheck_byhand.h"

static void test_captive(void **state)
{
        (void)state;
        static const struct {
                long status;
                const char *response;
                enum nc_tri captive;
        } rows[] = {{204, "response ts_192.0.2.10", NC_FALSE}, {302, "", NC_TRUE}, {0, "", NC_FALSE}};
        args.have_v6 = false;
        nodes[0][0].can_port80 = true;
        nodes[0][0].stun_only = true;   /* no HTTPS */
        for (size_t i = 0; i < 3; i++) {
                struct nc_action a;
                assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
                for (int k = 0; k < 2; k++) {   /* the first and its retry */
                        (void)next_send("192.0.2.10:3478");
                        (void)next(NC_IDLE);
                        assert_int_equal(mono_diff_ms(nc_deadline(nc), now), 100);
                        wait_ms(100);
                }
                a = next(NC_CAPTIVE);
                assert_int_equal(a.timeout_ms, 3000);
                assert_memory_equal(a.captive->url, "http://192.0.2.10/generate_204?t=", 33);
                (void)next_send("192.0.2.10:3478");
                wait_ms(2850);
                (void)next(NC_IDLE);   /* STUN is over, the page is not there yet */
                nc_on_captive(nc, a.id + 1, 204, "");   /* another's */
                nc_on_captive(nc, a.id, rows[i].status, rows[i].response);
                nc_on_captive(nc, a.id, 302, "");
                (void)next(NC_DONE);
                const struct netcheck_report *r = nc_finish(nc, (mono_t){0}, now);
                assert_true(r->full);
                assert_int_equal(r->captive, rows[i].captive);
                if (i < 2)
                        nc_forget(nc);
        }
}

static void test_captive_is_not_asked_for(void **state)
{
        (void)state;
        args.have_v6 = false;
        nodes[0][0].can_port80 = true;
        map.region_count = 2;
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        struct nc_action v4 = next_send("192.0.2.10:3478");
        (void)next_send("192.0.2.11:3478");
        wait_ms(150);
        (void)next_send("192.0.2.10:3478");
        (void)next_send("192.0.2.11:3478");
        assert_true(answer(&v4, "203.0.113.9:1"));
        wait_ms(100);
        (void)next_send("192.0.2.11:3478");
        (void)next(NC_IDLE);   /* UDP works */
        wait_ms(3000);
        (void)next(NC_DONE);
        assert_int_equal(nc_finish(nc, (mono_t){0}, now)->captive, NC_UNKNOWN);
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);   /* not a full one */
        struct nc_action a;
        for (int i = 0; i < 40; i++) {
                while (nc_next(nc, now, &a) != NC_IDLE && a.kind != NC_DONE)
                        assert_int_not_equal(a.kind, NC_CAPTIVE);
                wait_ms(100);
        }
}

static void test_https_when_udp_is_blocked(void **state)
{
        (void)state;
        map.region_count = 2;
        args.have_v6 = false;
        regions[0].node_count = 2;
        nodes[0][1].derp_port = 8443;
        regions[1].avoid = true;
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        for (int i = 0; i < 3; i++) {   /* at 0, 100 and 200 ms */
                struct nc_action a;
                while (nc_next(nc, now, &a) == NC_SEND)
                        nc_on_sent(nc, a.id, true, now);
                now = nc_deadline(nc);
        }
        assert_int_equal(mono_diff_ms(now, (mono_t){NS_PER_SEC}), 3000);
        struct nc_action f = next(NC_FETCH);
        assert_string_equal(f.url, "https://r10.example/derp/latency-check");
        assert_ptr_equal(f.node, &nodes[0][0]);
        assert_int_equal(f.timeout_ms, 2000);
        struct nc_action ping = next(NC_PING);
        assert_true(ip_eq(ping.addr.ip, ip_v4(192, 0, 2, 10)) && ping.region == 10 && ping.node == &nodes[0][0]);
        nc_on_pinged(nc, ping.id, 0);   /* the kernel will not */
        (void)next(NC_IDLE);
        nc_on_fetched(nc, f.id, 0, IP_NONE, 0);
        f = next(NC_FETCH);
        assert_string_equal(f.url, "https://r10.example:8443/derp/latency-check");
        wait_ms(50);
        nc_on_fetched(nc, f.id, 200, IP_V4, 33 * NS_PER_MS);
        (void)next(NC_DONE);
        const struct netcheck_report *r = nc_finish(nc, (mono_t){0}, now);
        assert_false(r->udp);
        assert_true(r->ipv4);
        assert_int_equal(r->preferred, 10);
        assert_int_equal(r->latency[0].any_ns, 33 * NS_PER_MS);
        assert_int_equal(r->latency[0].v4_ns, 0);
}

/* UDP is silent: the echo's request, after the page's. */
static struct nc_action until_ping(struct nc_action *ret_fetch)
{
        struct nc_action a;
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        while (nc_next(nc, now, &a) != NC_FETCH) {
                if (a.kind == NC_SEND)
                        nc_on_sent(nc, a.id, true, now);
                else
                        now = nc_deadline(nc);
        }
        *ret_fetch = a;
        return next(NC_PING);
}

/* Only pings get through: how far the relay is is known, and that it is of no use. */
static void test_ping_when_nothing_else_gets_through(void **state)
{
        (void)state;
        struct nc_action f;
        args.have_v6 = false;
        struct nc_action ping = until_ping(&f);
        (void)next(NC_IDLE);
        nc_on_fetched(nc, f.id, 0, IP_NONE, 0);
        (void)next(NC_IDLE);
        assert_int_equal(mono_diff_ms(nc_deadline(nc), now), 1000);
        wait_ms(20);
        nc_on_pinged(nc, ping.id + 1, 5);   /* another's */
        nc_on_pinged(nc, ping.id, 20 * NS_PER_MS);
        nc_on_pinged(nc, ping.id, 1);       /* said twice */
        (void)next(NC_DONE);
        const struct netcheck_report *r = nc_finish(nc, (mono_t){0}, now);
        assert_true(!r->udp && r->ipv4 && r->icmp4 && !r->https);
        assert_int_equal(r->latency[0].any_ns, 20 * NS_PER_MS);
        assert_int_equal(r->latency[0].v4_ns, 0);
        assert_int_equal(r->preferred, 10);
        nc_on_pinged(nc, ping.id, 1);       /* too late */
        assert_int_equal(nc_report(nc)->latency[0].any_ns, 20 * NS_PER_MS);

        /* Without an answer it is waited for for a second; then for the page alone, and still taken if it comes before that. */
        nc_forget(nc);
        ping = until_ping(&f);
        (void)next(NC_IDLE);
        now = nc_deadline(nc);
        (void)next(NC_IDLE);
        assert_int_equal(mono_diff_ms(nc_deadline(nc), now), f.timeout_ms - 1000);
        nc_on_pinged(nc, ping.id, 1100 * NS_PER_MS);
        (void)next(NC_IDLE);
        now = nc_deadline(nc);
        (void)next(NC_DONE);
        assert_true(nc_finish(nc, (mono_t){0}, now)->icmp4);

        /* Without a page to wait for no longer than that; where the page is there, not at all. */
        nc_forget(nc);
        (void)until_ping(&f);
        nc_on_fetched(nc, f.id, 0, IP_NONE, 0);
        (void)next(NC_IDLE);
        wait_ms(1000);
        (void)next(NC_DONE);
        assert_false(nc_finish(nc, (mono_t){0}, now)->icmp4);
        nc_forget(nc);
        (void)until_ping(&f);
        nc_on_fetched(nc, f.id, 200, IP_V4, 5 * NS_PER_MS);
        (void)next(NC_DONE);
        r = nc_finish(nc, (mono_t){0}, now);
        assert_true(r->https && !r->icmp4);
}

/* A relay without STUN or without an IPv4 address is not pinged, nor is any where UDP is not wanted. */
static void test_who_is_not_pinged(void **state)
{
        (void)state;
        for (int i = 0; i < 3; i++) {
                struct nc_action a;
                args.no_udp = i == 0;
                nodes[0][0].stun_port = i == 1 ? 0 : 3478;
                if (i == 2)
                        nodes[0][0].ipv4[0] = '\0';
                assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
                for (int k = 0; k < 60; k++) {
                        while (nc_next(nc, now, &a) != NC_IDLE && a.kind != NC_DONE) {
                                assert_int_not_equal(a.kind, NC_PING);
                                if (a.kind == NC_RESOLVE)
                                        nc_on_resolved(nc, a.id, (struct ip){0}, now);
                        }
                        wait_ms(100);
                }
                assert_false(nc_finish(nc, (mono_t){0}, now)->icmp4);
                nc_forget(nc);
        }
}

static void test_nothing_answers(void **state)
{
        (void)state;
        struct nc_action a;
        args.no_udp = true;
        snprintf(nodes[0][0].hostname, sizeof(nodes[0][0].hostname), "2001:db8::5");
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        a = next(NC_FETCH);
        assert_string_equal(a.url, "https://[2001:db8::5]/derp/latency-check");
        now = nc_deadline(nc);
        assert_int_equal(mono_diff_ms(now, (mono_t){NS_PER_SEC}), 5000);
        (void)next(NC_DONE);
        assert_int_equal(nc_finish(nc, (mono_t){0}, now)->preferred, 0);
        nc_on_fetched(nc, a.id, 200, IP_V4, 1);   /* too late */
        assert_int_equal(nc_report(nc)->latency_count, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_captive, setup, teardown),
                cmocka_unit_test_setup_teardown(test_captive_is_not_asked_for, setup, teardown),
                cmocka_unit_test_setup_teardown(test_https_when_udp_is_blocked, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ping_when_nothing_else_gets_through, setup, teardown),
                cmocka_unit_test_setup_teardown(test_who_is_not_pinged, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nothing_answers, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
