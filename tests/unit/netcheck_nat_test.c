#include "netcheck/nat.h"

#include "tests/unit/check.h"

/* What was seen of port 41641, and what is made of it. */
static const struct row {
        struct netcheck_report r;
        uint16_t seen;   /* the port in global_v4; 0: there is none */
        enum nc_nat_kind kind;
        const char *mapping, *text;
        enum nc_tri kept;
} rows[] = {
        {{.udp = false}, 0, NC_NAT_UNKNOWN, NULL, "not known: no relay answers, by UDP or by HTTPS", NC_UNKNOWN},
        {{.latency_count = 1, .https = true}, 0, NC_NAT_BLOCKED, NULL, "UDP is blocked: all peers only by relay", NC_UNKNOWN},
        {{.latency_count = 1, .icmp4 = true}, 0, NC_NAT_UNKNOWN, NULL, "relays answer a ping, but neither UDP nor HTTPS", NC_UNKNOWN},
        {{.latency_count = 1, .https = true, .captive = NC_TRUE}, 0, NC_NAT_BLOCKED, NULL, "a captive portal is in the way", NC_UNKNOWN},
        {{.captive = NC_TRUE}, 0, NC_NAT_UNKNOWN, NULL, "not known: a captive portal is in the way", NC_UNKNOWN},
        {{.udp = true, .ipv6 = true}, 0, NC_NAT_UNKNOWN, NULL, "not known: no relay answered by IPv4", NC_UNKNOWN},
        {{.udp = true, .translated = NC_FALSE, .mapping_varies = NC_FALSE}, 41641, NC_NAT_NONE, NULL,
         "none (the public address is this host's own)", NC_UNKNOWN},
        {{.udp = true, .translated = NC_TRUE, .mapping_varies = NC_FALSE}, 41641, NC_NAT_EASY, "endpoint-independent",
         "easy (mapping endpoint-independent, port kept): direct paths to most peers", NC_TRUE},
        {{.udp = true, .translated = NC_TRUE, .mapping_varies = NC_FALSE}, 7, NC_NAT_EASY, "endpoint-independent",
         "easy (mapping endpoint-independent, port changed)", NC_FALSE},
        {{.udp = true, .mapping_varies = NC_FALSE}, 41641, NC_NAT_EASY, "endpoint-independent",
         "easy (mapping endpoint-independent): direct", NC_UNKNOWN},
        {{.udp = true, .translated = NC_TRUE, .mapping_varies = NC_TRUE}, 7, NC_NAT_HARD, "varies by destination",
         "hard (mapping varies by destination, port changed): most peers only by relay, but for those that a search finds "
         "('tailscale set --hard-nat': on tries all peers, own those that take part, off none); turn on UPnP, NAT-PMP or PCP in the router, or "
         "forward UDP port 41641 to this host", NC_FALSE},
        {{.udp = true, .translated = NC_TRUE, .mapping_varies = NC_TRUE, .ipv6 = true}, 7, NC_NAT_HARD, "varies by destination",
         "only by relay, or directly by IPv6, but for", NC_FALSE},
        {{.udp = true, .translated = NC_TRUE, .mapping_varies = NC_TRUE, .pcp = NC_TRUE}, 7, NC_NAT_HARD, "varies by destination",
         "the router maps ports when asked", NC_FALSE},
        {{.udp = true, .translated = NC_TRUE}, 41641, NC_NAT_UNKNOWN, NULL, "(port kept, so probably easy): to compare", NC_TRUE},
        {{.udp = true, .translated = NC_TRUE}, 7, NC_NAT_UNKNOWN, NULL, "not known (port changed): to compare", NC_FALSE},
        {{.udp = true}, 7, NC_NAT_UNKNOWN, NULL, "not known: to compare mappings takes two relays", NC_UNKNOWN},
};

static void each_report_in_words(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                const struct row *row = &rows[i];
                struct netcheck_report r = row->r;
                char text[NC_NAT_WORDS_MAX];
                r.port4 = 41641;
                if (row->seen != 0)
                        r.global_v4 = (struct addr){ip_v4(203, 0, 113, 9), row->seen};
                assert_int_equal(nc_nat_kind(&r), row->kind);
                if (strstr(nc_nat_words(&r, text), row->text) == NULL)
                        fail_msg("\"%s\" lacks \"%s\"", text, row->text);
                assert_int_equal(nc_nat_port_kept(&r), row->kept);
                if (row->mapping != NULL)
                        assert_string_equal(nc_nat_mapping(&r), row->mapping);
                else
                        assert_null(nc_nat_mapping(&r));
                assert_true(strlen(nc_nat_kind_str(row->kind)) > 3);
        }
}

static void filtering_is_known_when_somebody_came_unasked(void **state)
{
        (void)state;
        struct netcheck_report r = {.udp = true};
        assert_null(nc_nat_filtering(&r));
        r.hairpin_filtered = true;
        assert_string_equal(nc_nat_filtering(&r), "address-dependent or stricter");
        assert_non_null(strstr(nc_nat_filtering_why(&r), "only after it had sent back"));
        r.unasked_in = true;
        assert_string_equal(nc_nat_filtering(&r), "endpoint-independent");
        assert_non_null(strstr(nc_nat_filtering_why(&r), "a peer came in"));
}

/* Why filtering is not known, and why hairpinning is not, or what it means. */
static void each_gap_has_its_reason(void **state)
{
        (void)state;
        const struct addr v4 = {ip_v4(203, 0, 113, 9), 7};
        const struct {
                struct netcheck_report r;
                const char *filtering, *hairpin;
        } gaps[] = {
                {{.udp = false}, "UDP is blocked", "UDP is blocked"},
                {{.udp = true}, "no relay answered by IPv4", "no relay answered by IPv4"},
                {{.udp = true, .global_v4 = v4}, "addresses of this host", "addresses of this host"},
                {{.udp = true, .global_v4 = v4, .translated = NC_FALSE}, "there is no NAT", "there is no NAT"},
                {{.udp = true, .global_v4 = v4, .translated = NC_TRUE}, "no peer has come in unasked yet", "a second socket"},
                {{.udp = true, .global_v4 = v4, .translated = NC_TRUE, .mapping_varies = NC_TRUE}, "no peer has", "behind a hard NAT"},
                {{.udp = true, .global_v4 = v4, .translated = NC_TRUE, .hairpin = NC_TRUE}, "no peer has", "by its public address"},
                {{.udp = true, .global_v4 = v4, .translated = NC_TRUE, .hairpin = NC_FALSE}, "no peer has", "or by relay"},
        };
        for (size_t i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++) {
                assert_null(nc_nat_filtering(&gaps[i].r));
                assert_non_null(strstr(nc_nat_filtering_why(&gaps[i].r), gaps[i].filtering));
                assert_non_null(strstr(nc_nat_hairpin_why(&gaps[i].r), gaps[i].hairpin));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_report_in_words),
                cmocka_unit_test(filtering_is_known_when_somebody_came_unasked),
                cmocka_unit_test(each_gap_has_its_reason),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
