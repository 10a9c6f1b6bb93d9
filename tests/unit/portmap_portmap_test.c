/* The life of a mapping by NAT-PMP and PCP, and in changing networks. */
#include "tests/unit/portmap_home.h"

/* ---- looking ---- */

static void test_nobody_there(void **state)
{
        (void)state;
        look();
        assert_int_equal(t.sent_count, 5);
        assert_true(did_send(0, 0, 2) && did_send(2, 0, 24));
        assert_int_equal(searches(), 3);
        step();
        assert_int_equal(t.sent_count, 5);   /* once more */
        step();
        assert_int_equal(t.found, 1);
        assert_int_equal(t.sent_count, 0);
        assert_true(mono_diff_ms(t.now, (mono_t){NS_PER_SEC}) == 250);
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
        step();                              /* UPnP may take its time */
        assert_true(mono_diff_ms(t.now, (mono_t){NS_PER_SEC}) == 4000);
        assert_true(portmap_is_quiet(&t.p));
        assert_int_equal(portmap_deadline(&t.p).ns, MONO_NEVER.ns);
        /* For five minutes it stays so, unless somebody wants to know. */
        for (int i = 0; i < 12; i++) {
                wait_s(24);
                assert_false(portmap_look(&t.p, false, t.now));
                pump();
                assert_int_equal(t.sent_count, 0);
        }
        assert_true(portmap_look(&t.p, true, t.now));
        pump();
        assert_int_equal(t.sent_count, 5);
        step();
        step();
        step();
        wait_s(301);
        assert_true(portmap_look(&t.p, false, t.now));
}

static void test_nowhere(void **state)
{
        (void)state;
        struct portmap_net none = home;
        setup();
        none.port = 0;
        portmap_set_net(&t.p, &none, t.now);
        assert_false(portmap_look(&t.p, true, t.now));
        none = (struct portmap_net){.port = PORT};
        portmap_set_net(&t.p, &none, t.now);
        assert_false(portmap_look(&t.p, true, t.now));
        pump();
        assert_int_equal(t.sent_count, 0);
        portmap_on_packet(&t.p, (struct addr){.port = PXP_PORT}, "\0\200\0\0\0\0\0\0\1\2\3\4", 12, t.now);
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
}

static void test_switched_off(void **state)
{
        (void)state;
        setup();
        portmap_set_off(&t.p, PORTMAP_BIT(PORTMAP_UPNP), t.now);
        assert_true(portmap_look(&t.p, false, t.now));
        pump();
        assert_int_equal(t.sent_count, 2);
        say_ssdp(1);
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
        setup();
        portmap_set_off(&t.p, PORTMAP_ALL, t.now);
        assert_false(portmap_look(&t.p, true, t.now));
        pump();
        assert_int_equal(t.sent_count, 0);
        map();
        portmap_set_off(&t.p, PORTMAP_ALL, t.now);
        pump();
        assert_mapping(NULL);
        assert_int_equal(t.changed, 1);
        check_hex(only_sent()->data, only_sent()->len, "00010000a2a9000000000000");
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
}

/* ---- NAT-PMP ---- */

static void test_pmp(void **state)
{
        (void)state;
        map();
        assert_int_equal(portmap_ways(&t.p, t.now), PORTMAP_BIT(PORTMAP_PMP));
        assert_int_equal(t.p.counts.made, 1);
        /* Renewed at half its life, with the port it has; nothing changes by it. */
        mono_t start = t.now;
        step();
        assert_true(mono_diff_ms(t.now, start) / 1000 - 3600 <= 0 && mono_diff_ms(t.now, start) / 1000 >= 3599);
        assert_true(did_send(0, 1, 12) && did_send(0, 0, 2));
        for (size_t i = 0; i < t.sent_count; i++)
                if (t.sent[i].len == 12)
                        check_hex(t.sent[i].data, 12, "00010000a2a9109200001c20");
        t.epoch += 3600;
        say_pmp_map(4242, 7200);
        assert_int_equal(t.changed, 0);
        assert_int_equal(t.p.counts.renewed, 1);
        assert_mapping("203.0.113.9:4242");
        /* And given back. */
        portmap_stop(&t.p, t.now);
        pump();
        check_hex(only_sent()->data, only_sent()->len, "00010000a2a9000000000000");
        assert_true(ip_eq(only_sent()->to.ip, home.router));
        assert_int_equal(t.changed, 1);
        assert_mapping(NULL);
        assert_true(portmap_is_quiet(&t.p));
        assert_int_equal(portmap_deadline(&t.p).ns, MONO_NEVER.ns);
        portmap_stop(&t.p, t.now);
        pump();
        assert_int_equal(t.sent_count, 0);
}

static void test_lost_datagrams_are_sent_again(void **state)
{
        (void)state;
        look();
        say_pmp_address(outside);
        assert_true(did_send(0, 1, 12));
        step();
        assert_true(did_send(0, 1, 12));
        assert_true(did_send(2, 0, 24));     /* PCP has not answered either, */
        assert_false(did_send(0, 0, 2));     /* NAT-PMP has */
        say_pmp_map(4242, 7200);
        assert_mapping("203.0.113.9:4242");
}

static void test_silent_renewal(void **state)
{
        (void)state;
        map();
        mono_t end = t.p.lease.end;
        unsigned asked = 0;
        while (t.now.ns < end.ns) {
                assert_mapping("203.0.113.9:4242");
                step();
                asked += t.sent_count > 0;
        }
        assert_mapping(NULL);
        assert_int_equal(t.changed, 1);
        assert_true(asked > 6 && asked < 26);
        step();                              /* there is nobody left to ask */
        assert_int_equal(t.sent_count, 0);
        assert_int_equal(portmap_deadline(&t.p).ns, MONO_NEVER.ns);
}

/* It answers our question by PCP as one about its address, whose version it does not know. */
static void test_pmp_alone(void **state)
{
        (void)state;
        look();
        say_pmp_address(outside);
        say_hex("0080000100000400");
        assert_int_equal(t.p.counts.failed, 0);
        say_pmp_map(4242, 7200);
        assert_mapping("203.0.113.9:4242");
        say_hex("0080000100000400");
        assert_mapping("203.0.113.9:4242");
}

static void test_refused(void **state)
{
        (void)state;
        look();
        say_ssdp(1);
        say_pmp_address(outside);
        say_hex("0081000200000400");        /* not authorised */
        assert_mapping(NULL);
        step();
        step();
        assert_int_equal(t.fetches, 0);     /* a refusal is not asked around */
        /* Asked again, but less and less. */
        unsigned asked = 0;
        for (int s = 0; s < 3600; s += 23) {
                wait_s(23);
                (void)portmap_look(&t.p, false, t.now);
                pump();
                if (t.p.looking)
                        say_pmp_address(outside);
                if (t.p.asking == PORTMAP_PMP) {
                        asked++;
                        say_hex("0081000200000400");
                }
                while (t.p.looking)
                        step();
        }
        assert_true(asked >= 4 && asked <= 8);
        assert_true(mono_is_set(t.p.retry));  /* also without a look */
        /* In another network all is new. */
        struct portmap_net other = home;
        other.self.b[3]++;
        portmap_set_net(&t.p, &other, t.now);
        assert_true(portmap_look(&t.p, false, t.now));
        pump();
        say_pmp_address(outside);
        assert_true(did_send(0, 1, 12));
}

static void test_restart_of_the_router(void **state)
{
        (void)state;
        map();
        /* While we have a mapping each look asks whether it is still known. */
        wait_s(60);
        assert_false(portmap_look(&t.p, false, t.now));
        pump();
        assert_true(did_send(0, 0, 2));
        assert_int_equal(t.sent_count, 1);
        say_pmp_address(outside);
        assert_int_equal(t.sent_count, 0);
        while (t.p.looking)
                step();
        wait_s(60);
        t.epoch = 5;
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_pmp_address(outside);
        assert_true(did_send(0, 1, 12));
        assert_int_equal(t.p.counts.lost, 1);
        assert_mapping("203.0.113.9:4242");
        say_pmp_map(4243, 7200);
        assert_mapping("203.0.113.9:4243");
        assert_int_equal(t.changed, 1);
        /* After a restart silence means that it is gone. */
        while (t.p.looking)
                step();
        wait_s(60);
        t.epoch = 5;
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_pmp_address(outside);
        while (t.p.asking != PORTMAP_NONE)
                step();
        assert_mapping(NULL);
}

static void test_clock_of_the_router(void **state)
{
        (void)state;
        static const struct {
                int64_t wait;
                uint32_t epoch;
                bool is_restart;
        } rows[] = {
                {60, 1060, false}, {60, 1058, false},
                {800, 1700, false},                  /* an eighth slow, as it may be */
                {800, 1697, true},
                {60, 900, true}, {60, 100000, false}, {1, 999, false},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                map();
                wait_s(rows[i].wait);
                (void)portmap_look(&t.p, false, t.now);
                pump();
                t.epoch = rows[i].epoch;
                say_pmp_address(outside);
                if ((t.p.counts.lost == 1) != rows[i].is_restart)
                        fail_msg("row %zu", i);
        }
}

static void test_another_outside_address(void **state)
{
        (void)state;
        map();
        wait_s(60);
        (void)portmap_look(&t.p, false, t.now);
        pump();
        say_pmp_address(ip_v4(203, 0, 113, 77));
        assert_mapping("203.0.113.77:4242");
        assert_int_equal(t.changed, 1);
        say_pmp_address(ip_v4(0, 0, 0, 0));
        assert_mapping(NULL);
        assert_int_equal(t.changed, 1);
}

/* ---- PCP ---- */

/* Where NAT-PMP is silent. */
static void map_pcp(void)
{
        uint8_t b[60];
        look();
        say_pcp_there(0);
        assert_false(did_send(2, 1, 60));    /* NAT-PMP may yet answer */
        step();
        step();
        assert_int_equal(t.found, 1);
        assert_true(did_send(2, 1, 60));
        say(b, pcp_map(b, &t.p.nonce, PORT, 4242, outside, 7200));
        assert_mapping("203.0.113.9:4242");
}

static void test_pcp(void **state)
{
        (void)state;
        uint8_t b[60];
        map_pcp();
        assert_int_equal(portmap_ways(&t.p, t.now), PORTMAP_BIT(PORTMAP_PCP));
        struct pcp_nonce nonce = t.p.lease.nonce;
        step();
        assert_true(did_send(2, 1, 60));
        assert_memory_equal(only_sent()->data + 24, &nonce, sizeof(nonce));
        t.epoch += 3600;
        say(b, pcp_map(b, &nonce, PORT, 4242, outside, 7200));
        assert_int_equal(t.p.counts.renewed, 1);
        portmap_stop(&t.p, t.now);
        pump();
        assert_memory_equal(only_sent()->data + 24, &nonce, sizeof(nonce));
        assert_int_equal(load_be32(only_sent()->data + 4), 0);
}

/* It knows the owner of what it mapped by the nonce: who asks again after an answer that was lost has the same. */
static void test_pcp_answer_lost(void **state)
{
        (void)state;
        look();
        say_pcp_there(0);
        step();
        step();
        assert_true(did_send(2, 1, 60));
        struct pcp_nonce nonce = t.p.nonce;
        while (t.p.asking != PORTMAP_NONE)
                step();
        wait_s(20);
        (void)portmap_look(&t.p, false, t.now);
        pump();
        while (t.p.asking == PORTMAP_NONE)
                step();
        assert_true(did_send(2, 1, 60));
        assert_memory_equal(&t.p.nonce, &nonce, sizeof(nonce));
        /* Another network, another nonce. */
        struct portmap_net other = home;
        other.self.b[3]++;
        portmap_set_net(&t.p, &other, t.now);
        assert_memory_not_equal(&t.p.nonce, &nonce, sizeof(nonce));
}

static void test_pcp_that_does_not_serve_us(void **state)
{
        (void)state;
        static const unsigned results[] = {2, 12};
        for (size_t i = 0; i < 2; i++) {
                look();
                say_pcp_there(results[i]);
                step();
                step();
                assert_int_equal(portmap_ways(&t.p, t.now), 0);
                assert_false(did_send(2, 1, 60));
        }
}

/* ---- changes of network ---- */

static void test_another_port(void **state)
{
        (void)state;
        map();
        struct portmap_net other = home;
        other.port = PORT + 1;
        portmap_set_net(&t.p, &home, t.now);
        pump();
        assert_int_equal(t.sent_count + t.changed, 0);
        portmap_set_net(&t.p, &other, t.now);
        pump();
        assert_mapping(NULL);
        /* The router is known, so it is asked at once. */
        assert_int_equal(t.sent_count, 2);
        check_hex(t.sent[0].data, t.sent[0].len, "00010000a2a9000000000000");
        check_hex(t.sent[1].data, t.sent[1].len, "00010000a2aa109200001c20");
        say_pmp_map(4242, 7200);             /* an answer about the old one */
        assert_mapping(NULL);
        uint8_t b[16];
        say(b, pmp_map(b, PORT + 1, 4243, 7200));
        assert_mapping("203.0.113.9:4243");
}

static void test_another_router(void **state)
{
        (void)state;
        map();
        struct portmap_net other = home;
        other.router = ip_v4(10, 0, 0, 1);
        other.self = ip_v4(10, 0, 0, 9);
        (void)portmap_look(&t.p, true, t.now);
        pump();
        bool was_looking = t.p.looking;
        portmap_set_net(&t.p, &other, t.now);
        pump();
        assert_mapping(NULL);
        assert_int_equal(t.changed, 1);
        assert_int_equal(t.found, was_looking ? 1 : 0);   /* whoever waits for the look is told */
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
        assert_true(ip_eq(only_sent()->to.ip, home.router));
        say_pmp_address(outside);                         /* the old one's answer */
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
        assert_true(portmap_look(&t.p, false, t.now));
}

static void test_stopped_in_the_middle(void **state)
{
        (void)state;
        look();
        say_pmp_address(outside);
        assert_true(t.p.asking == PORTMAP_PMP);
        portmap_stop(&t.p, t.now);
        pump();
        check_hex(only_sent()->data, only_sent()->len, "00010000a2a9000000000000");   /* it may have been made */
        assert_int_equal(t.found, 1);
        assert_int_equal(t.changed, 0);
        assert_true(portmap_is_quiet(&t.p));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nobody_there),
                cmocka_unit_test(test_nowhere),
                cmocka_unit_test(test_switched_off),
                cmocka_unit_test(test_pmp),
                cmocka_unit_test(test_lost_datagrams_are_sent_again),
                cmocka_unit_test(test_silent_renewal),
                cmocka_unit_test(test_pmp_alone),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_restart_of_the_router),
                cmocka_unit_test(test_clock_of_the_router),
                cmocka_unit_test(test_another_outside_address),
                cmocka_unit_test(test_pcp),
                cmocka_unit_test(test_pcp_answer_lost),
                cmocka_unit_test(test_pcp_that_does_not_serve_us),
                cmocka_unit_test(test_another_port),
                cmocka_unit_test(test_another_router),
                cmocka_unit_test(test_stopped_in_the_middle),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
