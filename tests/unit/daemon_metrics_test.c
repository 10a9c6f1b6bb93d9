/* The text of counters: each reason under its name, nothing left out, nothing twice. */
#include "daemon/metrics.h"

#include <stdlib.h>

#include "tests/unit/check.h"

/* The value in the line that begins with name and a space; -1: no such line. */
static long long value_of(const char *text, const char *name)
{
        size_t len = strlen(name);
        for (const char *line = text; line != NULL && *line != '\0';) {
                if (strncmp(line, name, len) == 0 && line[len] == ' ')
                        return atoll(line + len);
                line = strchr(line, '\n');
                line += line != NULL;
        }
        return -1;
}

/* A number of its own for each count. */
static struct counters distinct(void)
{
        struct counters c = {.no_peer = 3, .service_dropped = 5, .service_refused = 6, .rejects_sent = 7, .rejects_heard = 11, .handshakes = 13,
                .packets_free = 17, .peers = 19, .home_region = 901,
                .relay = {.sent = 100001, .received = 100002, .dropped_queue = 100003, .dropped_large = 100004,
                        .dropped_rate = 100005},
                .hard_nat = {.found = 210001, .missed = 210002, .stopped = 210003, .sockets = 210004, .pings = 210005,
                        .guesses = 210006},
                .tun = {.read = 200001, .written = 200002, .read_dropped = 200003, .write_dropped = 200004}};
        for (unsigned i = 0; i < MS_WAYS; i++) {
                c.in[i] = (struct ms_traffic){300000 + i, 310000 + i};
                c.out[i] = (struct ms_traffic){320000 + i, 330000 + i};
        }
        for (unsigned i = 0; i < FILTER_VERDICTS; i++) {
                c.filter_in[i] = 400000 + i;
                c.filter_out[i] = 410000 + i;
        }
        for (unsigned i = 0; i < WG_DROP_COUNT; i++)
                c.wg_drops[i] = 500000 + i;
        for (unsigned i = 0; i < MS_DROP_COUNT; i++)
                c.ms_drops[i] = 600000 + i;
        return c;
}

/* Each line is a comment or "name[{label="value"}] number", and no name stands twice. */
static void check_form(const char *text)
{
        char *seen[512], *copy = strdup(text), *save = NULL;
        size_t n = 0;
        for (char *line = strtok_r(copy, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
                if (strncmp(line, "# TYPE ", 7) == 0 || strncmp(line, "# HELP ", 7) == 0)
                        continue;
                char *end = strrchr(line, ' ');
                assert_non_null(end);
                assert_true(end[1] != '\0' && strspn(end + 1, "0123456789") == strlen(end + 1));
                *end = '\0';
                assert_true(strspn(line, "abcdefghijklmnopqrstuvwxyz0123456789_") > 3);
                assert_null(strchr(line, ' '));
                for (size_t i = 0; i < n; i++)
                        assert_string_not_equal(line, seen[i]);
                assert_true(n < sizeof(seen) / sizeof(seen[0]));
                seen[n++] = line;
        }
        free(copy);
}

static void test_user(void **state)
{
        (void)state;
        struct counters c = distinct();
        struct metrics_view v = {.advertised_routes = 2, .approved_routes = 1, .health_messages = 4};
        struct buf out;
        buf_init(&out, METRICS_MAX);
        metrics_user(&c, &v, &out);
        assert_true(buf_ok(&out));
        check_form(out.data);
        const struct {
                const char *name;
                long long value;
        } rows[] = {
                {"tailscaled_advertised_routes", 2},
                {"tailscaled_approved_routes", 1},
                {"tailscaled_health_messages{type=\"warning\"}", 4},
                {"tailscaled_home_derp_region_id", 901},
                {"tailscaled_inbound_packets_total{path=\"direct_ipv4\"}", 300000 + MS_WAY_DIRECT4},
                {"tailscaled_inbound_packets_total{path=\"direct_ipv6\"}", 300000 + MS_WAY_DIRECT6},
                {"tailscaled_inbound_packets_total{path=\"derp\"}", 300000 + MS_WAY_RELAY},
                {"tailscaled_inbound_bytes_total{path=\"derp\"}", 310000 + MS_WAY_RELAY},
                {"tailscaled_outbound_packets_total{path=\"direct_ipv4\"}", 320000 + MS_WAY_DIRECT4},
                {"tailscaled_outbound_bytes_total{path=\"direct_ipv6\"}", 330000 + MS_WAY_DIRECT6},
                {"tailscaled_inbound_dropped_packets_total{reason=\"acl\"}",
                        800000 + FILTER_DROP_RULE + FILTER_DROP_NOT_LOCAL},
                {"tailscaled_inbound_dropped_packets_total{reason=\"error\"}", 200004},
                {"tailscaled_inbound_dropped_packets_total{reason=\"fragment\"}", 400000 + FILTER_DROP_FRAGMENT},
                {"tailscaled_inbound_dropped_packets_total{reason=\"too_short\"}", 400000 + FILTER_DROP_MALFORMED},
                {"tailscaled_outbound_dropped_packets_total{reason=\"multicast\"}", 410000 + FILTER_DROP_MULTICAST},
                {"tailscaled_outbound_dropped_packets_total{reason=\"link_local_unicast\"}", 410000 + FILTER_DROP_LINK_LOCAL},
                {"tailscaled_outbound_dropped_packets_total{reason=\"error\"}",
                        3 + 3 * 500000 + WG_DROP_STAGED_FULL + WG_DROP_GAVE_UP + WG_DROP_SIZE + 2 * 600000 +
                                MS_DROP_NO_PATH + MS_DROP_SOCKET + 100003 + 100005},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                if (value_of(out.data, rows[i].name) != rows[i].value)
                        fail_msg("%s: %lld", rows[i].name, value_of(out.data, rows[i].name));
        buf_done(&out);
}

/* Every number that was put in comes out. */
static void test_debug_is_complete(void **state)
{
        (void)state;
        struct counters c = distinct();
        struct buf out;
        char want[32];
        buf_init(&out, METRICS_MAX);
        metrics_debug(&c, &out);
        assert_true(buf_ok(&out));
        check_form(out.data);
        const struct {
                unsigned first, count;
        } ranges[] = {{400000, FILTER_VERDICTS}, {410000, FILTER_VERDICTS}, {500000, WG_DROP_COUNT},
                {600000, MS_DROP_COUNT}, {100001, 5}, {200001, 4}, {210001, 6}};
        for (size_t r = 0; r < sizeof(ranges) / sizeof(ranges[0]); r++)
                for (unsigned i = 0; i < ranges[r].count; i++) {
                        snprintf(want, sizeof(want), " %u\n", ranges[r].first + i);
                        if (strstr(out.data, want) == NULL)
                                fail_msg("%s", want);
                }
        assert_int_equal(value_of(out.data, "wireguard_dropped_packets_total{reason=\"replayed_packet\"}"),
                500000 + WG_DROP_REPLAY);
        assert_int_equal(value_of(out.data, "path_dropped_packets_total{reason=\"no_path\"}"), 600000 + MS_DROP_NO_PATH);
        assert_int_equal(value_of(out.data, "route_no_peer_packets_total"), 3);
        assert_int_equal(value_of(out.data, "service_dropped_packets_total"), 5);
        assert_int_equal(value_of(out.data, "service_refused_packets_total"), 6);
        assert_int_equal(value_of(out.data, "reject_sent_total"), 7);
        assert_int_equal(value_of(out.data, "reject_received_total"), 11);
        assert_int_equal(value_of(out.data, "wireguard_handshake_messages_total"), 13);
        assert_int_equal(value_of(out.data, "packet_buffers_free"), 17);
        assert_int_equal(value_of(out.data, "wireguard_peers"), 19);
        buf_done(&out);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_user),
                cmocka_unit_test(test_debug_is_complete),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
