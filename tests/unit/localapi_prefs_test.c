/* The preferences' JSON: order of keys, secrets, masks, what is refused and what is kept. */
#include <stdlib.h>

#include "base/crypto.h"
#include "base/json.h"
#include "daemon/localapi/prefs.h"
#include "tests/unit/fixture.h"

#define KEY_HEX "c0685878f6710de8eb94206eafe402b257ce72c11f638be062c011212d9dc861"

static json_t *parse(const char *text)
{
        json_t *v = json_parse(text, strlen(text));
        assert_non_null(v);
        return v;
}

static void from_text(const char *text, struct prefs *ret)
{
        json_t *v = parse(text);
        const char *why = NULL;
        assert_int_equal(prefs_from_json(v, ret, &why), ERR_NONE);
        json_decref(v);
}

static void refuse_text(const char *text, const char *named)
{
        struct prefs p;
        memset(&p, 0x5a, sizeof(p));
        struct prefs before = p;
        const char *why = NULL;
        json_t *v = parse(text);
        assert_int_equal(prefs_from_json(v, &p, &why), ERR_FORMAT);
        assert_memory_equal(&p, &before, sizeof(p));
        assert_non_null(why);
        assert_non_null(strstr(why, named));
        json_decref(v);
}

static char *dump(const struct prefs *p, bool secrets)
{
        json_t *v = prefs_to_json(p, secrets);
        assert_non_null(v);
        char *text = json_dumps(v, JSON_COMPACT);
        json_decref(v);
        assert_non_null(text);
        return text;
}

static enum err apply(struct prefs *p, const char *masked, bool *ret_changed, const char **ret_why)
{
        json_t *m = parse(masked);
        enum err err = prefs_apply_masked(p, m, ret_changed, ret_why);
        json_decref(m);
        return err;
}

static bool changes(struct prefs *p, const char *masked)
{
        bool changed = false;
        const char *why = NULL;
        assert_int_equal(apply(p, masked, &changed, &why), ERR_NONE);
        return changed;
}

static void refuses(struct prefs *p, const char *masked, enum err want, const char *word)
{
        bool changed = true;
        const char *why = NULL;
        char *before = dump(p, true);
        assert_int_equal(apply(p, masked, &changed, &why), want);
        char *after = dump(p, true);
        assert_string_equal(before, after);
        assert_non_null(why);
        assert_non_null(strstr(why, word));
        assert_true(changed);
        free(before);
        free(after);
}

static void test_recorded_both_ways(void **state)
{
        (void)state;
        size_t len;
        char *text = fixture_read("fixtures/localapi/prefs.json", &len);
        json_t *in = json_parse(text, len);
        struct prefs p;
        const char *why;
        assert_int_equal(prefs_from_json(in, &p, &why), ERR_NONE);
        assert_true(p.route_all && p.corp_dns && p.want_running && !p.logged_out && p.identity.present);
        assert_string_equal(p.hostname, "alpha");
        assert_string_equal(p.identity.node_id, "2");
        assert_int_equal(p.identity.user_id, 1);
        assert_int_equal(p.auto_update_apply, PREFS_UNSET);
        /* Byte for byte, so key by key and in order. */
        json_t *out = prefs_to_json(&p, false);
        char *a = json_dumps(in, JSON_COMPACT), *b = json_dumps(out, JSON_COMPACT);
        assert_string_equal(a, b);
        free(a);
        free(b);
        free(text);
        json_decref(in);
        json_decref(out);
        prefs_done(&p);
}

static void test_fresh(void **state)
{
        (void)state;
        struct prefs p, q;
        prefs_init(&p);
        assert_string_equal(prefs_control_url(&p), PREFS_DEFAULT_CONTROL_URL);
        from_text("{}", &q);
        assert_true(prefs_equal(&p, &q));
        char *text = dump(&p, true);
        assert_non_null(strstr(text, "\"LoggedOut\":true"));
        assert_non_null(strstr(text, "\"CorpDNS\":true"));
        assert_non_null(strstr(text, "\"DriveShares\":null,\"Config\":null}"));
        assert_null(strstr(text, "AutoExitNode"));
        assert_null(strstr(text, "OperatorUser"));
        assert_null(strstr(text, "RelayServerPort"));
        free(text);
        prefs_done(&p);
        prefs_done(&q);
}

static void test_secrets(void **state)
{
        (void)state;
        struct prefs p, copy;
        from_text("{\"Config\":{\"PrivateNodeKey\":\"privkey:" KEY_HEX "\",\"NodeID\":\"7\",\"NetworkLockKey\":\"nlpriv:"
                  KEY_HEX KEY_HEX "\",\"UserProfile\":{\"ID\":9007199254740993,\"LoginName\":\"u@x\"},"
                  "\"LegacyKey\":\"privkey:" KEY_HEX "\"},\"Newer\":\"privkey:" KEY_HEX "\"}", &p);
        assert_int_equal(p.identity.user_id, 9007199254740993);
        char *shown = dump(&p, false), *stored = dump(&p, true);
        assert_null(strstr(shown, KEY_HEX));
        assert_null(strstr(shown, "Legacy"));
        assert_non_null(strstr(shown, "\"NodeID\":\"7\""));
        assert_non_null(strstr(stored, "\"PrivateNodeKey\":\"privkey:" KEY_HEX));
        assert_non_null(strstr(stored, "nlpriv:" KEY_HEX KEY_HEX));
        assert_non_null(strstr(stored, "\"LegacyKey\":\"privkey:" KEY_HEX));
        assert_non_null(strstr(stored, "\"Newer\":\"privkey:" KEY_HEX));
        assert_int_equal(prefs_copy(&p, &copy), ERR_NONE);
        char *again = dump(&copy, true);
        assert_string_equal(stored, again);
        free(shown);
        free(stored);
        free(again);
        prefs_done(&p);
        prefs_done(&copy);
        assert_true(key_private_is_zero(&p.identity.node_key));
}

static void test_keys_of_any_case(void **state)
{
        (void)state;
        struct prefs p;
        from_text("{\"routeall\":true,\"HOSTNAME\":\"h\",\"AdvertiseTags\":[\"tag:a\",\"tag:b\"],\"corpdns\":null,"
                  "\"autoupdate\":{\"APPLY\":false},\"advertiseroutes\":[\"10.0.0.0/8\",\"::/0\"],\"sync\":true}", &p);
        assert_true(p.route_all && p.corp_dns && p.auto_update_check);
        assert_int_equal(p.auto_update_apply, PREFS_FALSE);
        assert_int_equal(p.sync, PREFS_TRUE);
        assert_string_equal(p.hostname, "h");
        assert_string_equal(p.advertise_tags[1], "tag:b");
        assert_null(p.advertise_tags[2]);
        assert_int_equal(p.advertise_route_count, 2);
        assert_int_equal(p.advertise_routes[1].bits, 0);
        assert_int_equal(json_object_size(p.unknown), 0);
        prefs_done(&p);
}

static void test_wrong_types(void **state)
{
        (void)state;
        static const char *const bad[][2] = {
                {"[]", "object"}, {"7", "object"}, {"{\"RouteAll\":1}", "RouteAll"},
                {"{\"hostname\":false}", "Hostname"}, {"{\"ExitNodeIP\":\"alpha\"}", "ExitNodeIP"},
                {"{\"AdvertiseTags\":\"tag:a\"}", "AdvertiseTags"}, {"{\"AdvertiseTags\":[1]}", "AdvertiseTags"},
                {"{\"AdvertiseRoutes\":[\"10.0.0.1\"]}", "AdvertiseRoutes"},
                {"{\"AdvertiseRoutes\":[\"10.0.0.0/8\",\"foo\"]}", "AdvertiseRoutes"},
                {"{\"HardNATSearch\":1}", "HardNATSearch"}, {"{\"Sync\":\"x\"}", "Sync"}, {"{\"NetfilterMode\":3}", "NetfilterMode"},
                {"{\"NetfilterMode\":\"on\"}", "NetfilterMode"}, {"{\"AutoUpdate\":true}", "AutoUpdate"},
                {"{\"AutoUpdate\":{\"Check\":1}}", "AutoUpdate"}, {"{\"AppConnector\":[]}", "AppConnector"},
                {"{\"Config\":\"x\"}", "Config"}, {"{\"Config\":{\"PrivateNodeKey\":\"nodekey:" KEY_HEX "\"}}", "Config"},
                {"{\"Config\":{\"PrivateNodeKey\":\"privkey:" KEY_HEX "0\"}}", "Config"},
                {"{\"Config\":{\"NetworkLockKey\":\"nlpriv:00\"}}", "Config"},
                {"{\"Config\":{\"UserProfile\":{\"ID\":\"1\"}}}", "Config"},
        };
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                refuse_text(bad[i][0], bad[i][1]);
}

static void test_masks(void **state)
{
        (void)state;
        struct prefs p;
        from_text("{\"Hostname\":\"a\",\"OperatorUser\":\"bob\",\"Config\":{\"NodeID\":\"7\"}}", &p);
        assert_true(changes(&p, "{\"RouteAll\":true,\"RouteAllSet\":true}"));
        assert_false(changes(&p, "{\"RouteAll\":true,\"RouteAllSet\":true}"));
        assert_false(changes(&p, "{\"RouteAll\":false}"));
        assert_false(changes(&p, "{\"Nosuch\":1,\"NosuchSet\":true}"));
        assert_true(changes(&p, "{\"routeall\":false,\"routeallset\":true}"));
        assert_true(changes(&p, "{\"HostnameSet\":true}"));   /* absent is the zero value, not the default */
        assert_string_equal(p.hostname, "");
        assert_true(changes(&p, "{\"CorpDNS\":null,\"CorpDNSSet\":true}"));
        assert_false(p.corp_dns);
        assert_true(changes(&p, "{\"AutoUpdate\":{\"Check\":false},\"AutoUpdateSet\":{\"CheckSet\":true}}"));
        assert_false(p.auto_update_check);
        assert_true(changes(&p, "{\"AutoUpdate\":{\"Check\":true,\"Apply\":false},\"AutoUpdateSet\":{\"ApplySet\":true}}"));
        assert_false(p.auto_update_check);
        assert_int_equal(p.auto_update_apply, PREFS_FALSE);
        assert_true(changes(&p, "{\"AdvertiseRoutes\":[\"10.0.0.0/8\"],\"AdvertiseRoutesSet\":true}"));
        assert_true(changes(&p, "{\"AdvertiseRoutes\":[],\"AdvertiseRoutesSet\":true}"));
        assert_int_equal(p.advertise_route_count, 0);
        assert_false(changes(&p, "{\"Config\":{\"NodeID\":\"8\"},\"ConfigSet\":true}"));
        assert_string_equal(p.identity.node_id, "7");
        assert_string_equal(p.operator_user, "bob");
        prefs_done(&p);
}

static void test_masks_refuse_whole(void **state)
{
        (void)state;
        struct prefs p;
        prefs_init(&p);
        refuses(&p, "{\"Hostname\":\"x\",\"HostnameSet\":true,\"InternalExitNodePrior\":\"y\","
                    "\"InternalExitNodePriorSet\":true}", ERR_PERMISSION, "Internal");
        refuses(&p, "{\"HostnameSet\":true,\"Hostname\":5}", ERR_FORMAT, "Hostname");
        refuses(&p, "{\"HostnameSet\":\"yes\"}", ERR_FORMAT, "HostnameSet");
        refuses(&p, "{\"AutoUpdateSet\":true}", ERR_FORMAT, "AutoUpdateSet");
        refuses(&p, "{\"AutoUpdateSet\":{\"CheckSet\":1}}", ERR_FORMAT, "AutoUpdateSet");
        refuses(&p, "[]", ERR_FORMAT, "object");
        refuses(&p, "{\"ShieldsUp\":true,\"ShieldsUpSet\":true,\"AdvertiseRoutes\":[\"10.1.2.3/24\"],"
                    "\"AdvertiseRoutesSet\":true}", ERR_UNSUPPORTED, "10.1.2.0/24");
        refuses(&p, "{\"RunSSH\":true,\"RunSSHSet\":true}", ERR_UNSUPPORTED, "SSH");
        refuses(&p, "{\"AutoExitNode\":\"any\",\"AutoExitNodeSet\":true,\"AdvertiseRoutes\":[\"0.0.0.0/0\",\"::/0\"],"
                    "\"AdvertiseRoutesSet\":true}", ERR_UNSUPPORTED, "exit node");
        refuses(&p, "{\"ExitNodeID\":\"7\",\"ExitNodeIDset\":true,\"AdvertiseRoutes\":[\"0.0.0.0/0\",\"::/0\"],"
                    "\"AdvertiseRoutesSet\":true}", ERR_UNSUPPORTED, "exit node");
        refuses(&p, "{\"AutoUpdate\":{\"Apply\":true},\"AutoUpdateSet\":{\"ApplySet\":true}}", ERR_UNSUPPORTED, "update");
        prefs_done(&p);
}

/* An exit node by the daemon's choice, until one is named or none is wanted. */
static void test_automatic_exit_node(void **state)
{
        (void)state;
        static const char *const asks[] = {
                "{\"AutoExitNode\":\"any\",\"AutoExitNodeSet\":true}",
                "{\"AutoExitNode\":\"any\",\"AutoExitNodeSet\":true,\"ExitNodeIDSet\":true,\"ExitNodeIPSet\":true}",
                "{\"ExitNodeID\":\"auto:any\",\"ExitNodeIDSet\":true}",
        }, *const ends[] = {
                "{\"ExitNodeID\":\"7\",\"ExitNodeIDSet\":true}", "{\"ExitNodeIP\":\"100.64.0.7\",\"ExitNodeIPSet\":true}",
                "{\"ExitNodeIDSet\":true}", "{\"ExitNodeID\":\"auto:\",\"ExitNodeIDSet\":true}",
        };
        for (size_t i = 0; i < 3; i++) {
                for (size_t k = 0; k < 4; k++) {
                        struct prefs p;
                        prefs_init(&p);
                        assert_true(changes(&p, asks[i]));
                        assert_string_equal(p.auto_exit_node, "any");
                        assert_true(changes(&p, ends[k]));
                        assert_string_equal(p.auto_exit_node, "");
                        prefs_done(&p);
                }
        }
}

/* What another program stored stays as it is, and everything else can still be changed. */
static void test_taken_over_wishes(void **state)
{
        (void)state;
        struct prefs p;
        from_text("{\"RunSSH\":true,\"ExitNodeID\":\"3\",\"AutoExitNode\":\"any\",\"InternalExitNodePrior\":\"3\","
                  "\"RelayServerPort\":7,\"DriveShares\":[{\"name\":\"s\"}]}", &p);
        assert_true(changes(&p, "{\"WantRunning\":true,\"WantRunningSet\":true}"));
        assert_true(p.run_ssh);
        char *text = dump(&p, false);
        assert_non_null(strstr(text, "\"DriveShares\":[{\"name\":\"s\"}],\"RelayServerPort\":7,\"Config\":null}"));
        free(text);
        assert_true(changes(&p, "{\"ExitNodeIDSet\":true}"));
        assert_string_equal(p.exit_node_id, "");
        assert_string_equal(p.auto_exit_node, "");
        assert_string_equal(p.internal_exit_node_prior, "");
        prefs_done(&p);
}

static void test_check(void **state)
{
        (void)state;
        struct prefs p;
        from_text("{\"ExitNodeIP\":\"100.64.0.2\",\"AdvertiseRoutes\":[\"0.0.0.0/0\",\"::/0\"]}", &p);
        assert_non_null(prefs_check(&p));
        prefs_done(&p);
        from_text("{\"AdvertiseRoutes\":[\"10.1.2.3/24\"]}", &p);
        assert_string_equal(prefs_check(&p), "route 10.1.2.3/24 has non-address bits set; expected 10.1.2.0/24");
        prefs_done(&p);
        struct prefs before;
        from_text("{\"HardNATSearch\":\"off\"}", &before);
        from_text("{\"HardNATSearch\":\"own\"}", &p);
        assert_null(prefs_check(&p));   /* it may be in the state file already */
        assert_null(prefs_check_new(&p, &p));
        assert_non_null(strstr(prefs_check_new(&before, &p), "HardNATSearch must be"));
        assert_null(prefs_check_new(&p, &before));
        prefs_done(&before);
        prefs_done(&p);
        from_text("{\"Hostname\":\"a b\",\"OperatorUser\":\"nosuchuser\"}", &p);
        assert_null(prefs_check(&p));
        prefs_done(&p);
}

int main(void)
{
        if (crypto_init() != ERR_NONE)
                return 1;
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_recorded_both_ways),
                cmocka_unit_test(test_fresh),
                cmocka_unit_test(test_secrets),
                cmocka_unit_test(test_keys_of_any_case),
                cmocka_unit_test(test_wrong_types),
                cmocka_unit_test(test_masks),
                cmocka_unit_test(test_masks_refuse_whole),
                cmocka_unit_test(test_taken_over_wishes),
                cmocka_unit_test(test_automatic_exit_node),
                cmocka_unit_test(test_check),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
