/* The life of a mapping by UPnP. */
#include "tests/unit/portmap_home.h"
#include "tests/unit/upnp_loaded.h"

#include <stdlib.h>

static const char description[] =
        "<root><device><serviceList><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>"
        "<controlURL>/ctl</controlURL></service></serviceList></device></root>";
static const char address[] = "<u:GetExternalIPAddressResponse><NewExternalIPAddress>203.0.113.9</NewExternalIPAddress>"
                              "</u:GetExternalIPAddressResponse>";

static void answer(long status, const char *body)
{
        portmap_on_answer(&t.p, status, body, strlen(body), t.now);
        pump();
}

/* As soon as the router is found, and an answer to a request is asked for: to 203.0.113.9:4242. */
static void finish_upnp(void)
{
        assert_int_equal(t.fetches, 1);
        assert_string_equal(t.fetch.url, "http://192.168.1.1:5000/desc.xml");
        answer(200, description);
        assert_string_equal(t.fetch.url, "http://192.168.1.1:5000/ctl");
        answer(200, address);
        assert_non_null(strstr(t.fetch.body, "<NewInternalPort>41641<"));
        answer(200, "<u:AddPortMappingResponse></u:AddPortMappingResponse>");
        assert_non_null(portmap_mapping(&t.p));
        assert_int_equal(t.changed, 1);
        assert_int_equal(portmap_ways(&t.p, t.now), PORTMAP_BIT(PORTMAP_UPNP));
}

static void test_upnp(void **state)
{
        (void)state;
        look();
        say_ssdp(7);
        assert_int_equal(t.fetches, 0);      /* a better way may yet answer */
        step();
        assert_int_equal(searches(), 0);
        step();
        assert_int_equal(t.found, 1);
        finish_upnp();
        assert_true(portmap_is_quiet(&t.p));
        uint16_t port = portmap_mapping(&t.p)->port;
        /* Renewed at half its life at the service that gave it. */
        step();
        assert_string_equal(t.fetch.url, "http://192.168.1.1:5000/ctl");
        answer(200, address);
        answer(200, "<u:AddPortMappingResponse></u:AddPortMappingResponse>");
        assert_int_equal(t.p.counts.renewed, 1);
        assert_int_equal(portmap_mapping(&t.p)->port, port);
        portmap_stop(&t.p, t.now);
        pump();
        assert_int_equal(t.fetches, 1);
        assert_non_null(strstr(t.fetch.action, "#DeletePortMapping"));
        assert_false(portmap_is_quiet(&t.p));
        answer(200, "");
        assert_true(portmap_is_quiet(&t.p));
        assert_int_equal(t.sent_count, 0);
}

/* Its answer may come after the look; a silent NAT-PMP is given up for it. */
static void test_late_upnp(void **state)
{
        (void)state;
        look();
        step();
        step();
        assert_int_equal(t.found, 1);
        t.now = mono_add_ms(t.now, 2000);
        pump();
        say_pmp_address(outside);            /* who is next door and that slow is of no use */
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
        say_ssdp(7);
        finish_upnp();
        look();
        say_ssdp(7);
        say_pmp_address(outside);
        assert_true(t.p.asking == PORTMAP_PMP);
        while (t.p.asking == PORTMAP_PMP)
                step();
        assert_true(t.p.asking == PORTMAP_UPNP);
        assert_int_equal(t.fetches, 1);
        check_hex(only_sent()->data, only_sent()->len, "00010000a2a9000000000000");   /* its answer may have been lost */
}

/* The port that is asked for. */
static unsigned asked_port(void)
{
        const char *at = strstr(t.fetch.body, "<NewExternalPort>");
        assert_non_null(at);
        return (unsigned)strtoul(at + strlen("<NewExternalPort>"), NULL, 10);
}

/* It may have mapped the port all the same: the next try is for that one, or the last would stay. */
static void test_no_answer_to_the_mapping(void **state)
{
        (void)state;
        look();
        say_ssdp(7);
        while (t.p.looking)
                step();
        unsigned first = 0;
        for (int i = 0; i < 4; i++) {
                while (t.fetches == 0)
                        step();
                answer(200, description);
                answer(200, address);
                if (i == 0)
                        first = asked_port();
                assert_int_equal(asked_port(), first);
                t.fetches = 0;
                answer(0, "");
                assert_mapping(NULL);
        }
}

static void test_upnp_router_restarts(void **state)
{
        (void)state;
        look();
        say_ssdp(7);
        while (t.p.looking)
                step();
        finish_upnp();
        wait_s(60);
        (void)portmap_look(&t.p, false, t.now);
        pump();
        assert_int_equal(searches(), 3);     /* as long as we have a mapping, each time */
        say_ssdp(7);
        assert_int_equal(t.fetches, 0);
        while (!portmap_is_quiet(&t.p))
                step();
        wait_s(60);
        (void)portmap_look(&t.p, false, t.now);
        pump();
        while (t.p.looking)
                step();
        say_ssdp(8);                         /* late, as it likes */
        assert_int_equal(t.fetches, 1);
        answer(0, "");                       /* its service listens elsewhere now */
        answer(0, "");                       /* and nowhere */
        assert_mapping(NULL);
        assert_int_equal(t.changed, 1);
}

/* Nothing is asked of one network's router about another's. */
static void test_upnp_in_another_network(void **state)
{
        (void)state;
        look();
        say_ssdp(7);
        while (t.p.looking)
                step();
        finish_upnp();
        struct portmap_net other = home;
        other.self.b[3]++;
        portmap_set_net(&t.p, &other, t.now);
        pump();
        assert_int_equal(t.fetches + t.sent_count, 0);
        assert_mapping(NULL);
        assert_true(portmap_is_quiet(&t.p));
        /* Nor what was about to be asked of the old one. */
        look();
        say_ssdp(7);
        while (t.p.looking)
                step();
        finish_upnp();
        portmap_set_off(&t.p, PORTMAP_ALL, t.now);
        portmap_set_net(&t.p, &other, t.now);
        pump();
        assert_int_equal(t.fetches + t.sent_count, 0);
}

int main(void)
{
        if (!upnp_loaded())
                return 77;
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_upnp),
                cmocka_unit_test(test_late_upnp),
                cmocka_unit_test(test_no_answer_to_the_mapping),
                cmocka_unit_test(test_upnp_router_restarts),
                cmocka_unit_test(test_upnp_in_another_network),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
