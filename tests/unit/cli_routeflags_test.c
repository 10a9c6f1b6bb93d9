#include "tests/unit/check.h"

#include <stdlib.h>

#include "base/json.h"
#include "cli/routeflags.h"

static void networks_are_sorted_and_checked(void **state)
{
        (void)state;
        static const struct {
                const char *list;
                bool exit;
                const char *want, *says;   /* want NULL: refused, and why contains says */
        } rows[] = {
                {"", false, "null", NULL},
                {"10.0.0.0/8", false, "[\"10.0.0.0/8\"]", NULL},
                {"192.168.1.0/24,10.0.0.0/8,192.168.1.0/24", false, "[\"10.0.0.0/8\",\"192.168.1.0/24\"]", NULL},
                {"fd00:1::/64", true, "[\"0.0.0.0/0\",\"::/0\",\"fd00:1::/64\"]", NULL},
                {"", true, "[\"0.0.0.0/0\",\"::/0\"]", NULL},
                {"0.0.0.0/0,::/0", false, "[\"0.0.0.0/0\",\"::/0\"]", NULL},
                {"0.0.0.0/0,::/0", true, "[\"0.0.0.0/0\",\"::/0\"]", NULL},
                {"::/0", false, NULL, "0.0.0.0/0"},
                {"10.0.0.1/8", false, NULL, "10.0.0.0/8"},
                {"10.0.0.1", false, NULL, "CIDR"},
                {"10.0.0.0/33", false, NULL, "CIDR"},
                {"lan", false, NULL, "\"lan\""},
                {"10.0.0.0/8,", false, NULL, "\"\": not a network"},
                {",10.0.0.0/8", false, NULL, "CIDR"},
                {"10.0.0.0/8 ", false, NULL, "CIDR"},
                {"fd7a:115c:a1e0:b1a:0:1:a00:0/104", false, "[\"fd7a:115c:a1e0:b1a:0:1:a00:0/104\"]", NULL},
                {"fd7a:115c:a1e0:b1a::/64", false, NULL, "4via6"},
                {"fd7a:115c:a1e0:b1a:1:0:a00:0/104", false, NULL, "4via6"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char why[512] = "";
                json_t *j = routes_parse(rows[i].list, rows[i].exit, why, sizeof(why));
                if ((j != NULL) != (rows[i].want != NULL))
                        fail_msg("row %zu: %s", i, why);
                if (j == NULL) {
                        assert_non_null(strstr(why, rows[i].says));
                        assert_non_null(strstr(why, "--advertise-routes"));
                        continue;
                }
                char *text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
                assert_string_equal(text, rows[i].want);
                free(text);
                json_decref(j);
        }
}

static const char status[] = "{\"BackendState\":\"Running\",\"MagicDNSSuffix\":\"mesh.example\","
        "\"Self\":{\"TailscaleIPs\":[\"100.64.0.1\"]},\"Peer\":{"
        "\"a\":{\"ID\":\"5\",\"DNSName\":\"exit.mesh.example.\",\"TailscaleIPs\":[\"100.64.0.5\",\"fd7a:115c:a1e0::5\"],"
        "\"ExitNodeOption\":true},"
        "\"b\":{\"ID\":\"6\",\"DNSName\":\"plain.mesh.example.\",\"TailscaleIPs\":[\"100.64.0.6\"]},"
        "\"c\":{\"ID\":\"7\",\"DNSName\":\"two.mesh.example.\",\"TailscaleIPs\":[\"100.64.0.7\"],\"ExitNodeOption\":true},"
        "\"d\":{\"ID\":\"8\",\"DNSName\":\"two.mesh.example.\",\"TailscaleIPs\":[\"100.64.0.8\"],\"ExitNodeOption\":true}}}";

static void an_exit_node_is_found_by_name_address_and_id(void **state)
{
        (void)state;
        static const struct {
                const char *word, *want, *says;
        } rows[] = {
                {"", "", NULL}, {"exit", "100.64.0.5", NULL}, {"EXIT", "100.64.0.5", NULL},
                {"exit.mesh.example", "100.64.0.5", NULL}, {"exit.mesh.example.", "100.64.0.5", NULL},
                {"5", "100.64.0.5", NULL}, {"100.64.0.5", "100.64.0.5", NULL}, {"fd7a:115c:a1e0::5", "fd7a:115c:a1e0::5", NULL},
                {"plain", NULL, "does not offer"}, {"100.64.0.6", NULL, "does not offer"}, {"two", NULL, "2 nodes"},
                {"nobody", NULL, "no peer has that name"}, {"100.64.0.99", NULL, "no peer has that address"},
                {"100.64.0.1", NULL, "--advertise-exit-node"}, {"auto:any", "", NULL},
                {"auto:best", NULL, "must be auto:any"},
        };
        json_t *s = json_parse(status, sizeof(status) - 1);
        assert_non_null(s);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char out[64], why[512] = "";
                bool ok = exit_node_resolve(s, rows[i].word, out, sizeof(out), why, sizeof(why));
                if (ok != (rows[i].want != NULL))
                        fail_msg("%s: %s", rows[i].word, why);
                if (ok)
                        assert_string_equal(out, rows[i].want);
                else
                        assert_non_null(strstr(why, rows[i].says));
        }
        /* Before the first map an address is believed, a name cannot be. */
        char out[64], why[512];
        json_object_set_new(s, "BackendState", json_string("NeedsLogin"));
        json_t *const none[] = {json_null(), json_object()};
        for (size_t i = 0; i < 2; i++) {
                json_object_set_new(s, "Peer", none[i]);
                assert_true(exit_node_resolve(s, "100.64.0.99", out, sizeof(out), why, sizeof(why)));
                assert_false(exit_node_resolve(s, "exit", out, sizeof(out), why, sizeof(why)));
                assert_non_null(strstr(why, "not known before the login: give an address"));
        }
        json_object_set_new(s, "BackendState", json_string("Running"));   /* and alone */
        assert_false(exit_node_resolve(s, "exit", out, sizeof(out), why, sizeof(why)));
        assert_non_null(strstr(why, "'tailscale exit-node list'"));
        json_decref(s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(networks_are_sorted_and_checked),
                cmocka_unit_test(an_exit_node_is_found_by_name_address_and_id),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
