#include "tests/unit/netcheck_byhand.h"

static void test_one_region(void **state)
{
        (void)state;
        assert_null(nc_report(nc));
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        assert_non_null(nc_report(nc));
        assert_null(nc_last(nc));
        assert_int_equal(nc_start(nc, &args, now), ERR_STATE);
        struct nc_action v4 = next_send("192.0.2.10:3478");
        struct nc_action v6 = next_send("[2001:db8::10]:3478");
        (void)next(NC_IDLE);
        assert_int_equal(mono_diff_ms(nc_deadline(nc), now), 100);
        wait_ms(20);
        assert_true(answer(&v4, "203.0.113.9:41641"));
        assert_false(answer(&v4, "203.0.113.9:41641"));   /* said twice: not two sightings */
        (void)next(NC_IDLE);
        wait_ms(10);
        assert_true(answer(&v6, "[2001:db8:1::1]:41641"));
        (void)next(NC_DONE);
        const struct netcheck_report *r = nc_finish(nc, (mono_t){0}, now);
        assert_int_equal(r->preferred, 10);
        assert_int_equal(r->latency[0].v4_ns, 20 * NS_PER_MS);
        assert_int_equal(r->latency[0].v6_ns, 30 * NS_PER_MS);
        assert_int_equal(r->mapping_varies, NC_UNKNOWN);
        assert_true(r->udp && r->ipv4 && r->ipv6 && r->ipv4_can_send && r->ipv6_can_send && r->os_has_ipv6);
        assert_false(nc_running(nc));
        assert_int_equal(nc_deadline(nc).ns, MONO_NEVER.ns);
        assert_false(answer(&v4, "203.0.113.9:41641"));
}

/* A relay named by an IPv4 literal, one with "none", a name without AAAA: no waiting. */
static void test_absent_family_costs_nothing(void **state)
{
        (void)state;
        map.region_count = 4;
        snprintf(nodes[0][0].hostname, sizeof(nodes[0][0].hostname), "192.0.2.10");
        nodes[0][0].ipv6[0] = '\0';
        snprintf(nodes[1][0].ipv6, sizeof(nodes[1][0].ipv6), "none");
        nodes[2][0].ipv6[0] = '\0';
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        struct nc_action v4[4];
        v4[0] = next_send("192.0.2.10:3478");
        v4[1] = next_send("192.0.2.11:3478");
        v4[2] = next_send("192.0.2.12:3478");
        struct nc_action lookup = next(NC_RESOLVE);
        assert_string_equal(lookup.host, "r12.example");
        assert_int_equal(lookup.family, IP_V6);
        v4[3] = next_send("192.0.2.13:3478");
        struct nc_action v6 = next_send("[2001:db8::13]:3478");
        (void)next(NC_IDLE);
        nc_on_resolved(nc, lookup.id, (struct ip){0}, now);
        wait_ms(10);
        for (int i = 0; i < 4; i++)
                assert_true(answer(&v4[i], "203.0.113.9:41641"));
        (void)next(NC_IDLE);
        assert_true(answer(&v6, "[2001:db8:1::1]:41641"));
        (void)next(NC_DONE);
        assert_true(nc_finish(nc, (mono_t){0}, now)->ipv6_can_send);
}

/* UDP is silent: a page is asked for, and the report waits for its answer.  Where a portal was found all is looked at
 * again the next time. */
/* Whatever is sent to our own outside address leads nowhere. */
static const struct netcheck_report *report_seen_at(const char *seen)
{
        struct nc_action a;
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        struct nc_action v4 = next_send("192.0.2.10:3478");
        wait_ms(20);
        assert_true(answer(&v4, seen));
        while (nc_next(nc, now, &a) != NC_DONE) {
                if (a.kind == NC_IDLE)
                        wait_ms(10);
                else
                        assert_true(a.second);
        }
        return nc_finish(nc, (mono_t){0}, now);
}

/* Whether it is a NAT at all, and what a peer's datagram says of its filter. */
static void test_translated_and_unasked(void **state)
{
        (void)state;
        const struct ip own[] = {ip_v4(192, 168, 1, 2), ip_v4(203, 0, 113, 9)};
        args.have_v6 = false;
        args.port4 = 41641;
        assert_int_equal(report_seen_at("203.0.113.9:41641")->translated, NC_UNKNOWN);   /* we know of no address of ours */
        args.local = own;
        args.local_count = 2;
        assert_int_equal(report_seen_at("203.0.113.9:41641")->translated, NC_FALSE);
        args.local_count = 1;
        const struct netcheck_report *r = report_seen_at("203.0.113.9:41641");
        assert_int_equal(r->translated, NC_TRUE);
        assert_int_equal(r->port4, 41641);
        assert_false(r->unasked_in);
        nc_on_unasked(nc, ip_v4(192, 0, 2, 10));   /* that relay was asked */
        assert_false(nc_report(nc)->unasked_in);
        nc_on_unasked(nc, ip_v4(198, 51, 100, 7));
        assert_true(nc_report(nc)->unasked_in);
        assert_true(report_seen_at("203.0.113.9:41641")->unasked_in);
        nc_forget(nc);
        assert_false(report_seen_at("203.0.113.9:41641")->unasked_in);
}

static struct nc_action next_hairpin(bool second, const char *to)
{
        char text[ADDR_STR_MAX];
        struct nc_action a = next(NC_SEND);
        assert_true(a.second == second && a.family == IP_V4);
        assert_string_equal(addr_str(a.addr, text), to);
        nc_on_sent(nc, a.id, true, now);
        return a;
}

static void second_gets(const struct nc_action *a, const char *seen)
{
        uint8_t msg[STUN_ANSWER_MAX];
        struct addr addr;
        assert_int_equal(addr_parse(seen, &addr), ERR_NONE);
        nc_on_second(nc, a->addr, msg, stun_answer(a->data, addr, msg), now);
}

/* A second socket asks where it is, and is sent to from the first. */
static struct nc_action until_sent_to_second(void)
{
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        struct nc_action v4 = next_send("192.0.2.10:3478");
        wait_ms(20);
        assert_true(answer(&v4, "203.0.113.9:41641"));
        struct nc_action ask = next_hairpin(true, "192.0.2.10:3478");
        (void)next(NC_IDLE);
        assert_int_equal(mono_diff_ms(nc_deadline(nc), now), 100);
        wait_ms(20);
        second_gets(&ask, "203.0.113.9:7000");
        return next_hairpin(false, "203.0.113.9:7000");
}

/* What goes round by our own outside address: known once for a network, with one relay alone, and asked again when all is. */
static void test_hairpin(void **state)
{
        (void)state;
        const struct ip own[] = {ip_v4(192, 168, 1, 2)};
        const struct addr outside = {ip_v4(203, 0, 113, 9), 41641};
        args.have_v6 = false;
        args.local = own;
        args.local_count = 1;
        struct nc_action there = until_sent_to_second();
        assert_int_equal(nc_report(nc)->hairpin, NC_UNKNOWN);
        nc_on_second(nc, outside, there.data, sizeof(there.data), now);
        (void)next(NC_DONE);
        const struct netcheck_report *r = nc_finish(nc, (mono_t){0}, now);
        assert_true(r->hairpin == NC_TRUE && !r->hairpin_filtered);
        assert_int_equal(r->mapping_varies, NC_FALSE);   /* a relay and the second socket saw the same */

        wait_ms(20000);   /* nothing new is to be learned */
        r = report_seen_at("203.0.113.9:41641");
        assert_true(r->hairpin == NC_TRUE && r->mapping_varies == NC_FALSE);

        args.full = true;
        (void)until_sent_to_second();
        wait_ms(30);
        (void)next_hairpin(false, "203.0.113.9:7000");
        wait_ms(60);
        struct nc_action back = next_hairpin(true, "203.0.113.9:41641");
        assert_false(nc_on_stun(nc, back.data, sizeof(back.data), now));
        (void)next(NC_DONE);
        r = nc_finish(nc, (mono_t){0}, now);
        assert_true(r->hairpin == NC_TRUE && r->hairpin_filtered && r->mapping_varies == NC_UNKNOWN);

        args.full = false;
        wait_ms(20000);
        assert_int_equal(report_seen_at("198.51.100.1:41641")->hairpin, NC_UNKNOWN);   /* another NAT */
        nc_forget(nc);
        r = report_seen_at("203.0.113.9:41641");
        assert_int_equal(r->hairpin, NC_UNKNOWN);   /* the second socket had no answer */
}

/* Behind a hard NAT there is nothing to look at; and whose report is dropped waits for nothing. */
static void test_hairpin_is_not_asked_for(void **state)
{
        (void)state;
        const struct ip own[] = {ip_v4(192, 168, 1, 2)};
        args.have_v6 = false;
        args.local = own;
        args.local_count = 1;
        map.region_count = 2;
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        struct nc_action a = next_send("192.0.2.10:3478"), b = next_send("192.0.2.11:3478");
        assert_true(answer(&a, "203.0.113.9:1"));
        (void)next_hairpin(true, "192.0.2.10:3478");
        assert_true(answer(&b, "203.0.113.9:2"));
        (void)next(NC_DONE);
        assert_int_equal(nc_finish(nc, (mono_t){0}, now)->hairpin, NC_UNKNOWN);

        nc_forget(nc);
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        a = next_send("192.0.2.10:3478");
        assert_true(answer(&a, "203.0.113.9:1"));
        nc_cancel(nc);
        assert_int_equal(nc_deadline(nc).ns, MONO_NEVER.ns);
        (void)next(NC_IDLE);
        args.local_count = 0;   /* nobody can say that it is a NAT */
        map.region_count = 1;
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        a = next_send("192.0.2.10:3478");
        assert_true(answer(&a, "203.0.113.9:1"));
        (void)next(NC_DONE);
}

/* The kernel has no route: tried again, as that may pass, but not waited for after the last try. */
static void test_refused_by_the_kernel(void **state)
{
        (void)state;
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        struct nc_action v4 = next_send("192.0.2.10:3478");
        for (int i = 0; i < 3; i++) {
                struct nc_action v6 = next(NC_SEND);
                assert_int_equal(v6.family, IP_V6);
                nc_on_sent(nc, v6.id, false, now);
                if (i == 0)
                        assert_true(answer(&v4, "203.0.113.9:41641"));
                (void)nc_next(nc, now, &v6);
                wait_ms(100);
        }
        (void)next(NC_DONE);
        assert_false(nc_finish(nc, (mono_t){0}, now)->ipv6_can_send);
}

static void test_names_are_looked_up(void **state)
{
        (void)state;
        args.have_v6 = false;
        nodes[0][0].ipv4[0] = '\0';
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        struct nc_action lookup = next(NC_RESOLVE);
        assert_string_equal(lookup.host, "r10.example");
        (void)next(NC_IDLE);
        wait_ms(40);
        nc_on_resolved(nc, lookup.id, ip_v4(198, 51, 100, 1), now);
        nc_on_resolved(nc, lookup.id, ip_v4(198, 51, 100, 1), now);
        struct nc_action v4 = next_send("198.51.100.1:3478");
        wait_ms(7);
        assert_true(answer(&v4, "203.0.113.9:1"));
        (void)next(NC_DONE);
        assert_int_equal(nc_finish(nc, (mono_t){0}, now)->latency[0].v4_ns, 7 * NS_PER_MS);   /* without DNS */
}

/* A dead region: the rest does not wait three seconds once three have answered. */
static void test_enough_regions(void **state)
{
        (void)state;
        struct nc_action a[4];
        map.region_count = 4;
        args.have_v6 = false;
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        a[0] = next_send("192.0.2.10:3478");
        a[1] = next_send("192.0.2.11:3478");
        a[2] = next_send("192.0.2.12:3478");
        a[3] = next_send("192.0.2.13:3478");
        wait_ms(15);
        for (int i = 0; i < 3; i++)
                assert_true(answer(&a[i], i < 2 ? "203.0.113.9:1" : "203.0.113.9:2"));
        (void)next(NC_IDLE);
        assert_int_equal(mono_diff_ms(nc_deadline(nc), now), 30);   /* twice the slowest */
        wait_ms(30);
        (void)next(NC_DONE);
        const struct netcheck_report *r = nc_finish(nc, (mono_t){0}, now);
        assert_int_equal(r->latency_count, 3);
        assert_int_equal(r->mapping_varies, NC_TRUE);
}

static void test_retries(void **state)
{
        (void)state;
        args.have_v6 = false;
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        (void)next_send("192.0.2.10:3478");
        (void)next(NC_IDLE);
        wait_ms(99);
        (void)next(NC_IDLE);
        wait_ms(1);
        struct nc_action second = next_send("192.0.2.10:3478");
        (void)next(NC_IDLE);
        wait_ms(5);
        assert_true(answer(&second, "203.0.113.9:1"));
        wait_ms(200);
        (void)next(NC_DONE);
        assert_int_equal(nc_finish(nc, (mono_t){0}, now)->latency[0].v4_ns, 5 * NS_PER_MS);
}

/* UDP is blocked: three seconds of silence, then HTTPS; a node that fails is followed by the next. */
static size_t count_sends(void)
{
        struct nc_action a;
        size_t n = 0;
        while (nc_next(nc, now, &a) == NC_SEND) {
                n++;
                wait_ms(1);
                assert_true(answer(&a, "203.0.113.9:1"));
        }
        assert_int_equal(a.kind, NC_DONE);
        (void)nc_finish(nc, (mono_t){0}, now);
        return n;
}

static void test_full_and_incremental(void **state)
{
        (void)state;
        map.region_count = 4;
        args.have_v6 = false;
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        assert_int_equal(count_sends(), 4);
        assert_true(nc_report(nc)->full);
        wait_ms(20000);
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        assert_int_equal(count_sends(), 3);
        assert_false(nc_report(nc)->full);
        wait_ms(20000);
        args.full = true;
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        assert_int_equal(count_sends(), 4);
        args.full = false;
        wait_ms(301000);
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        assert_int_equal(count_sends(), 4);
        nc_forget(nc);
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        assert_int_equal(count_sends(), 4);
}

static void test_no_map_and_cancel(void **state)
{
        (void)state;
        struct nc_start_args none = args;
        none.map = NULL;
        assert_int_equal(nc_start(nc, &none, now), ERR_NOT_FOUND);
        map.region_count = 0;
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        (void)next(NC_DONE);
        assert_int_equal(nc_finish(nc, (mono_t){0}, now)->preferred, 0);
        map.region_count = 1;
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        struct nc_action a = next_send("192.0.2.10:3478");
        nc_cancel(nc);
        (void)next(NC_IDLE);
        assert_int_equal(nc_start(nc, &args, now), ERR_NONE);
        assert_false(answer(&a, "203.0.113.9:1"));   /* of the cancelled one */
        nc_on_sent(nc, a.id, false, now);
        assert_false(nc_report(nc)->udp);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_one_region, setup, teardown),
                cmocka_unit_test_setup_teardown(test_translated_and_unasked, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hairpin, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hairpin_is_not_asked_for, setup, teardown),
                cmocka_unit_test_setup_teardown(test_absent_family_costs_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(test_refused_by_the_kernel, setup, teardown),
                cmocka_unit_test_setup_teardown(test_names_are_looked_up, setup, teardown),
                cmocka_unit_test_setup_teardown(test_enough_regions, setup, teardown),
                cmocka_unit_test_setup_teardown(test_retries, setup, teardown),
                cmocka_unit_test_setup_teardown(test_full_and_incremental, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_map_and_cancel, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
