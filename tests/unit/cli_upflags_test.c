#include "tests/unit/check.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "base/key.h"
#include "cli/upflags.h"

/* A flag's value points into its word: no test gives more of them than there is room for. */
static char words[16][300];
static size_t given;

static void give(struct up *u, const char *name, const char *value)
{
        char cmd[] = "up", *word = words[given++ % 16], *argv[] = {cmd, word, NULL}, why[FLAGS_WHY_MAX];
        int rest;
        snprintf(word, sizeof(words[0]), "--%s=%s", name, value);
        assert_int_equal(flags_parse(u->flags, u->flag_count, 2, argv, &rest, why), ERR_NONE);
}

static const char current_prefs[] = "{\"ControlURL\":\"http://hs:8090\",\"RouteAll\":true,\"CorpDNS\":true,"
        "\"Hostname\":\"my host\",\"NetfilterMode\":2,\"OperatorUser\":\"\",\"ShieldsUp\":false,\"NoSNAT\":false,"
        "\"AdvertiseTags\":null}";

static void settings_made_before_must_be_mentioned(void **state)
{
        (void)state;
        struct up u;
        struct buf line;
        json_t *now = json_parse(current_prefs, sizeof(current_prefs) - 1);
        up_init(&u, false);
        give(&u, "shields-up", "true");
        give(&u, "auth-key", "hskey-secret");
        buf_init(&line, 4096);
        assert_int_equal(up_reverted(&u, now, &line), 3);
        assert_string_equal(line.data, " --auth-key=... --shields-up --accept-routes --hostname='my host' "
                "--login-server=http://hs:8090");
        assert_null(strstr(line.data, "secret"));
        buf_done(&line);
        give(&u, "accept-routes", "true");
        give(&u, "hostname", "other");
        give(&u, "login-server", "http://hs:8090");
        buf_init(&line, 4096);
        assert_int_equal(up_reverted(&u, now, &line), 0);
        buf_done(&line);
        json_decref(now);
}

static void only_what_was_given_is_patched(void **state)
{
        (void)state;
        struct up u;
        up_init(&u, false);
        give(&u, "accept-routes", "true");
        json_t *m = up_masked(&u, false);
        assert_true(json_bool(m, "RouteAll", false));
        assert_true(json_bool(m, "RouteAllSet", false));
        assert_true(json_bool(m, "WantRunningSet", false));
        assert_false(json_has(m, "HostnameSet"));
        json_decref(m);
        m = up_masked(&u, true);
        assert_true(json_bool(m, "HostnameSet", false));
        json_decref(m);
}

/* The default has a name on the command line and none in the preferences. */
static void hard_nat_is_own_unless_said(void **state)
{
        (void)state;
        static const char *const rows[][2] = {{"own", ""}, {"on", "on"}, {"off", "off"}};
        struct up u;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                up_init_set(&u);
                give(&u, "hard-nat", rows[i][0]);
                json_t *m = up_masked(&u, false);
                assert_true(json_bool(m, "HardNATSearchSet", false));
                assert_string_equal(json_str(m, "HardNATSearch", "?"), rows[i][1]);
                json_decref(m);
        }
        struct buf line;
        json_t *now = json_pack("{s:s, s:b, s:i, s:s}", "ControlURL", "http://hs", "CorpDNS", 1, "NetfilterMode", 2,
                "HardNATSearch", "on");
        up_init(&u, false);
        give(&u, "login-server", "http://hs");
        buf_init(&line, 4096);
        assert_int_equal(up_reverted(&u, now, &line), 1);
        assert_string_equal(line.data, " --login-server=http://hs --hard-nat=on");
        buf_done(&line);
        json_object_set_new(now, "HardNATSearch", json_string(""));
        buf_init(&line, 4096);
        assert_int_equal(up_reverted(&u, now, &line), 0);
        buf_done(&line);
        json_decref(now);
}

/* `up` must not lose settings that it has no flag for. */
static void what_no_flag_is_about_stays(void **state)
{
        (void)state;
        struct up u;
        up_init(&u, false);
        give(&u, "hostname", "new");
        json_t *base = json_pack("{s:s, s:b, s:{s:b, s:b}, s:i, s:b, s:{s:s}}", "Hostname", "old", "ShieldsUp", 1,
                "AutoUpdate", "Check", 0, "Apply", 0, "RelayServerPort", 7, "LoggedOut", 1, "Config", "NodeID", "1");
        json_t *p = up_prefs(&u, base);
        assert_string_equal(json_str(p, "Hostname", ""), "new");
        assert_false(json_bool(p, "ShieldsUp", true));    /* has a flag, which was not given */
        assert_false(json_bool(p, "LoggedOut", true));
        assert_true(json_bool(p, "WantRunning", false));
        assert_true(json_equal(json_obj(p, "AutoUpdate"), json_obj(base, "AutoUpdate")));
        assert_int_equal(json_int(p, "RelayServerPort", 0), 7);
        assert_null(json_object_get(p, "Config"));
        json_decref(p);
        p = up_prefs(&u, NULL);
        assert_true(json_bool(json_obj(p, "AutoUpdate"), "Check", false));
        assert_true(json_bool(p, "NoStatefulFiltering", false));
        assert_null(json_object_get(p, "RelayServerPort"));
        json_decref(p);
        json_decref(base);
}

static const char routing_prefs[] = "{\"ControlURL\":\"http://hs\",\"CorpDNS\":true,\"NetfilterMode\":2,"
        "\"AdvertiseRoutes\":[\"10.0.0.0/8\",\"0.0.0.0/0\",\"::/0\"],\"ExitNodeIP\":\"100.64.0.5\",\"NoSNAT\":true,"
        "\"NoStatefulFiltering\":false,\"ExitNodeAllowLANAccess\":true}";

static void routing_settings_are_mentioned_as_flags(void **state)
{
        (void)state;
        struct up u;
        struct buf line;
        json_t *now = json_parse(routing_prefs, sizeof(routing_prefs) - 1);
        up_init(&u, false);
        give(&u, "login-server", "http://hs");
        buf_init(&line, 4096);
        assert_int_equal(up_reverted(&u, now, &line), 6);
        assert_string_equal(line.data, " --login-server=http://hs --advertise-exit-node --advertise-routes=10.0.0.0/8 "
                "--exit-node=100.64.0.5 --exit-node-allow-lan-access --snat-subnet-routes=false --stateful-filtering");
        buf_done(&line);
        /* Off is where the filter stands anyway. */
        json_object_set_new(now, "NoStatefulFiltering", json_true());
        buf_init(&line, 4096);
        assert_int_equal(up_reverted(&u, now, &line), 5);
        buf_done(&line);
        json_decref(now);
}

static void set_changes_its_half_of_the_routes(void **state)
{
        (void)state;
        struct up u;
        char why[UP_WHY_MAX];
        json_t *now = json_parse(routing_prefs, sizeof(routing_prefs) - 1);
        up_init_set(&u);
        assert_null(flags_find(u.flags, u.flag_count, "login-server"));
        give(&u, "advertise-routes", "192.168.0.0/16");
        assert_true(up_keep_other_routes(&u, now, why));
        json_t *m = up_masked(&u, false);
        char *text = json_dumps(json_object_get(m, "AdvertiseRoutes"), JSON_COMPACT);
        assert_string_equal(text, "[\"0.0.0.0/0\",\"::/0\",\"192.168.0.0/16\"]");
        free(text);
        json_decref(m);
        up_init_set(&u);
        give(&u, "advertise-exit-node", "false");
        assert_true(up_keep_other_routes(&u, now, why));
        m = up_masked(&u, false);
        text = json_dumps(json_object_get(m, "AdvertiseRoutes"), JSON_COMPACT);
        assert_string_equal(text, "[\"10.0.0.0/8\"]");
        free(text);
        json_decref(m);
        json_decref(now);
}

static void values_are_checked(void **state)
{
        (void)state;
        static const struct {
                const char *flag, *value, *says;
        } rows[] = {
                {"login-server", "headscale.example.com", "https://"}, {"hostname", "-x", "hostname"},
                {"hostname", "a..b", "hostname"}, {"hostname", "a_b", "hostname"},
                {"advertise-tags", "tag:1x", "letter"}, {"advertise-tags", "a,,b", "tag"},
                {"ssh", "true", "not there yet"}, {"exit-node-allow-lan-access", "true", "needs --exit-node"},
                {"advertise-routes", "10.0.0.1/8", "10.0.0.0/8"}, {"advertise-routes", "0.0.0.0/0", "pairs"},
                {"netfilter-mode", "some", "nodivert"}, {"host-routes", "false", "peers"},
                {"hard-nat", "true", "own, on or off"},
                {"operator", "no-such-user", "no user"}, {"operator", "0", "no user"},
        };
        char why[UP_WHY_MAX];
        struct up u;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                up_init(&u, false);
                give(&u, rows[i].flag, rows[i].value);
                assert_false(up_check(&u, why));
                assert_non_null(strstr(why, rows[i].says));
        }
        up_init(&u, false);
        give(&u, "hostname", "alpha-1.lab");
        give(&u, "operator", "root");
        give(&u, "advertise-tags", "tag:web,db");
        assert_true(up_check(&u, why));
}

static void the_key_comes_from_the_line_or_a_file(void **state)
{
        (void)state;
        char why[UP_WHY_MAX] = "", path[] = "/tmp/upflags-XXXXXX", value[64], *key = NULL;
        struct up u;
        up_init(&u, false);
        assert_true(up_auth_key(&u, &key, why));
        assert_string_equal(key, "");
        free(key);
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, "  abc\n", 6), 6);
        close(fd);
        snprintf(value, sizeof(value), "file:%s", path);
        give(&u, "auth-key", value);
        assert_true(up_auth_key(&u, &key, why));
        assert_string_equal(key, "abc");
        free(key);
        unlink(path);
        key = NULL;
        assert_false(up_auth_key(&u, &key, why));
        assert_non_null(strstr(why, "cannot be read"));
        free(key);
}

static void a_key_is_taken_whole_or_not_at_all(void **state)
{
        (void)state;
        char why[UP_WHY_MAX] = "", text[AUTH_KEY_MAX + 40], *key = NULL;
        struct up u;
        up_init(&u, false);
        u.auth_key = text;
        memset(text, 'k', sizeof(text));
        text[AUTH_KEY_MAX] = '\0';
        assert_true(up_auth_key(&u, &key, why));
        assert_int_equal(strlen(key), AUTH_KEY_MAX);
        free(key);
        memset(text, 'k', sizeof(text));
        text[AUTH_KEY_MAX + 1] = '\0';
        assert_false(up_auth_key(&u, &key, why));
        assert_non_null(strstr(why, "--auth-key: 512 characters are too long, 511 at most"));
        snprintf(text + AUTH_KEY_MAX, sizeof(text) - AUTH_KEY_MAX, "--TLsecret\r\n");
        assert_true(up_auth_key(&u, &key, why));
        assert_int_equal(strlen(key), AUTH_KEY_MAX + strlen("--TLsecret"));
        free(key);
        static const char *const bad[] = {"a b", "a\nb", "a\033b", "a\x7f", "\xff", " "};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                u.auth_key = bad[i];
                assert_false(up_auth_key(&u, &key, why));
                assert_non_null(strstr(why, "--auth-key"));
        }
}

static json_t *set_masked(struct up *u, const char *flag, const char *value)
{
        char why[UP_WHY_MAX];
        up_init_set(u);
        give(u, flag, value);
        assert_true(up_check(u, why));
        return up_masked(u, false);
}

/* What other programs can do and this one cannot may be switched off, and is refused otherwise. */
static void what_is_missing_can_be_off(void **state)
{
        (void)state;
        static const char *const rows[][3] = {
                {"ssh", "RunSSH", "true"}, {"webclient", "RunWebClient", "true"}, {"report-posture", "PostureChecking", "true"},
        };
        struct up u;
        char why[UP_WHY_MAX];
        for (size_t i = 0; i < 3; i++) {
                json_t *m = set_masked(&u, rows[i][0], "false");
                char set[40];
                snprintf(set, sizeof(set), "%sSet", rows[i][1]);
                assert_true(json_is_false(json_object_get(m, rows[i][1])) && json_bool(m, set, false));
                json_decref(m);
                up_init_set(&u);
                give(&u, rows[i][0], rows[i][2]);
                assert_false(up_check(&u, why));
        }
        json_t *m = set_masked(&u, "update-check", "false");
        assert_false(json_bool(json_obj(m, "AutoUpdate"), "Check", true));
        assert_true(json_bool(json_obj(m, "AutoUpdateSet"), "CheckSet", false));
        assert_false(json_bool(json_obj(m, "AutoUpdateSet"), "ApplySet", true));
        json_decref(m);
        m = set_masked(&u, "relay-server-port", "");
        assert_null(json_object_get(m, "RelayServerPort"));
        json_decref(m);
        /* A profile of another program has one of them on: that `up` does not ask for it is no surprise. */
        json_t *now = json_pack("{s:s, s:b, s:b, s:i}", "ControlURL", "http://h", "RunSSH", 1, "CorpDNS", 1, "NetfilterMode", 2);
        struct buf line;
        up_init(&u, false);
        give(&u, "login-server", "http://h");
        buf_init(&line, 4096);
        assert_int_equal(up_reverted(&u, now, &line), 0);
        buf_done(&line);
        json_decref(now);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(settings_made_before_must_be_mentioned),
                cmocka_unit_test(only_what_was_given_is_patched),
                cmocka_unit_test(hard_nat_is_own_unless_said),
                cmocka_unit_test(what_no_flag_is_about_stays),
                cmocka_unit_test(routing_settings_are_mentioned_as_flags),
                cmocka_unit_test(set_changes_its_half_of_the_routes),
                cmocka_unit_test(values_are_checked),
                cmocka_unit_test(the_key_comes_from_the_line_or_a_file),
                cmocka_unit_test(a_key_is_taken_whole_or_not_at_all),
                cmocka_unit_test(what_is_missing_can_be_off),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
