/* Profiles: taking over what another program stored, and what is written when. */
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/timetext.h"
#include "daemon/profile.h"
#include "tests/unit/fixture.h"

#define NODE_KEY "privkey:c0685878f6710de8eb94206eafe402b257ce72c11f638be062c011212d9dc861"
#define MACHINE_KEY "privkey:b03ce699c4f6f03dfbc8c0df4eedae86cb26557999c8ea1d99327941a13f5a50"

static struct state_file *memory(void)
{
        struct state_file *s = NULL;
        const char *why = NULL;
        assert_int_equal(state_file_open("mem:", &s, &why), ERR_NONE);
        return s;
}

/* The recorded file's values, in memory. */
static struct state_file *recorded(void)
{
        char path[] = "/tmp/profile-test.XXXXXX";
        static const char *const keys[] = {"_current-profile", "_machinekey", "_profiles", "profile-8aec"};
        struct state_file *from = NULL, *s = memory();
        const char *why = NULL;
        size_t len;
        char *text = fixture_read("fixtures/state/taken-over.state", &len);
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        FILE *f = fdopen(fd, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(text, 1, len, f), len);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(state_file_open(path, &from, &why), ERR_NONE);
        remove(path);
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
                const char *value = state_file_get(from, keys[i], &len);
                assert_non_null(value);
                assert_int_equal(state_file_set(s, keys[i], value, len), ERR_NONE);
        }
        state_file_free(from);
        free(text);
        return s;
}

static struct profiles *open_ok(struct state_file *s)
{
        struct profiles *p = NULL;
        const char *why = NULL;
        assert_int_equal(profiles_open(s, &p, &why), ERR_NONE);
        return p;
}

static void set(struct state_file *s, const char *key, const char *value)
{
        assert_int_equal(state_file_set(s, key, value, strlen(value)), ERR_NONE);
}

static bool has(const struct state_file *s, const char *key)
{
        size_t len;
        return state_file_get(s, key, &len) != NULL;
}

static json_t *stored(const struct state_file *s, const char *key)
{
        size_t len;
        const char *text = state_file_get(s, key, &len);
        assert_non_null(text);
        json_t *v = json_parse(text, len);
        assert_non_null(v);
        return v;
}

static void is_key(const struct key_private *k, const char *text)
{
        char got[KEY_TEXT_MAX];
        key_private_text(k, got);
        assert_string_equal(got, text);
}

static void str(char **dst, const char *s)
{
        free(*dst);
        *dst = strdup(s);
        assert_non_null(*dst);
}

/* Preferences of a login that is through; the rest as after prefs_init(). */
static void login(struct prefs *p, const char *url, int64_t user, const char *name, const char *node_id)
{
        prefs_init(p);
        str(&p->control_url, url);
        p->logged_out = false;
        p->identity.present = true;
        p->identity.user_id = user;
        str(&p->identity.login_name, name);
        str(&p->identity.display_name, name);
        str(&p->identity.node_id, node_id);
        assert_int_equal(key_private_parse(NODE_KEY, &p->identity.node_key), ERR_NONE);
}

static void save(struct profiles *p, struct prefs *prefs)
{
        assert_int_equal(profiles_save(p, prefs, "mesh.example", "203.0.113.6"), ERR_NONE);
        prefs_done(prefs);
}

static void test_taken_over(void **state)
{
        (void)state;
        struct state_file *s = recorded();
        set(s, "_serve/8aec", "{\"TCP\":{}}");
        json_t *before = stored(s, "profile-8aec"), *list = stored(s, "_profiles");
        struct profiles *p = open_ok(s);
        const struct prefs *pr = profiles_prefs(p);
        is_key(profiles_machine_key(p), MACHINE_KEY);
        is_key(&pr->identity.node_key, NODE_KEY);
        assert_string_equal(pr->control_url, "http://203.0.113.6:8090");
        assert_string_equal(pr->hostname, "alpha");
        assert_true(pr->route_all && pr->want_running && !pr->logged_out);
        assert_int_equal(pr->auto_update_apply, PREFS_FALSE);
        json_t *current = profiles_current_json(p);
        assert_true(json_equal(current, json_object_get(list, "8aec")));
        json_decref(current);
        /* Saving the same writes the same, and one change is one change. */
        struct prefs copy;
        assert_int_equal(prefs_copy(pr, &copy), ERR_NONE);
        save(p, &copy);
        json_t *after = stored(s, "profile-8aec"), *list_after = stored(s, "_profiles");
        assert_true(json_equal(before, after));
        assert_true(json_equal(list, list_after));
        json_decref(after);
        assert_int_equal(prefs_copy(pr, &copy), ERR_NONE);
        copy.shields_up = true;
        save(p, &copy);
        after = stored(s, "profile-8aec");
        json_object_set_new(before, "ShieldsUp", json_true());
        assert_true(json_equal(before, after));
        json_decref(after);
        json_t *serve = stored(s, "_serve/8aec");
        assert_int_equal(json_object_size(serve), 1);
        json_decref(serve);
        json_decref(before);
        json_decref(list);
        json_decref(list_after);
        profiles_free(p);
        state_file_free(s);
}

static void test_unknown_members_stay(void **state)
{
        (void)state;
        struct state_file *s = memory();
        set(s, "_current-profile", "profile-00ff");
        set(s, "_profiles", "{\"00ff\":{\"ID\":\"00ff\",\"Color\":\"blue\",\"NetworkProfile\":{\"DisplayName\":\"D\",\"New\":[1]},"
                            "\"UserProfile\":{\"Groups\":[\"g\"]},"
                            "\"Created\":\"2024-01-01T00:00:00Z\"},\"1234\":{\"ID\":\"1234\"}}");
        set(s, "profile-00ff", "{\"Hostname\":\"h\",\"Future\":[1,{\"a\":2}],\"Config\":{\"PrivateNodeKey\":\"" NODE_KEY
                               "\",\"DisallowedTKAStateIDs\":[\"x\"],\"Provider\":\"p\","
                               "\"UserProfile\":{\"ID\":4,\"LoginName\":\"l\",\"Roles\":[\"r\"]}}}");
        struct profiles *p = open_ok(s);
        struct prefs copy;
        assert_int_equal(prefs_copy(profiles_prefs(p), &copy), ERR_NONE);
        str(&copy.hostname, "i");
        save(p, &copy);
        json_t *pr = stored(s, "profile-00ff"), *list = stored(s, "_profiles");
        const json_t *entry = json_obj(list, "00ff");
        assert_string_equal(json_str(pr, "Hostname", ""), "i");
        assert_int_equal(json_array_size(json_arr(pr, "Future")), 2);
        assert_string_equal(json_str(json_obj(pr, "Config"), "Provider", ""), "p");
        assert_int_equal(json_array_size(json_arr(json_obj(pr, "Config"), "DisallowedTKAStateIDs")), 1);
        const json_t *user = json_obj(json_obj(pr, "Config"), "UserProfile");
        assert_int_equal(json_array_size(json_arr(user, "Roles")), 1);
        assert_int_equal(json_int(user, "ID", 0), 4);
        assert_string_equal(json_str(entry, "Color", ""), "blue");
        assert_int_equal(json_array_size(json_arr(json_obj(entry, "NetworkProfile"), "New")), 1);
        assert_int_equal(json_array_size(json_arr(json_obj(entry, "UserProfile"), "Groups")), 1);
        assert_string_equal(json_str(json_obj(entry, "UserProfile"), "LoginName", ""), "l");
        assert_string_equal(json_str(entry, "Created", ""), "2024-01-01T00:00:00Z");
        assert_string_equal(json_str(json_obj(entry, "NetworkProfile"), "DisplayName", ""), "D");
        assert_non_null(json_obj(list, "1234"));
        json_decref(pr);
        json_decref(list);
        profiles_free(p);
        state_file_free(s);
}

static void test_fresh(void **state)
{
        (void)state;
        struct state_file *s = memory();
        struct profiles *p = open_ok(s);
        char first[KEY_TEXT_MAX];
        key_private_text(profiles_machine_key(p), first);
        assert_false(key_private_is_zero(profiles_machine_key(p)));
        assert_true(profiles_prefs(p)->logged_out);
        json_t *j = profiles_current_json(p);
        char *text = json_dumps(j, JSON_COMPACT);
        assert_string_equal(text, "{\"ID\":\"\",\"Name\":\"\",\"NetworkProfile\":{\"MagicDNSName\":\"\",\"DomainName\":\"\","
                "\"DisplayName\":\"\"},\"Key\":\"\",\"UserProfile\":{\"ID\":0,\"LoginName\":\"\",\"DisplayName\":\"\"},"
                "\"NodeID\":\"\",\"LocalUserID\":\"\",\"ControlURL\":\"\"}");
        free(text);
        json_decref(j);
        /* Settings without a login live in memory only. */
        struct prefs pr;
        prefs_init(&pr);
        str(&pr.hostname, "x");
        save(p, &pr);
        assert_string_equal(profiles_prefs(p)->hostname, "x");
        assert_false(has(s, "_profiles"));
        assert_false(has(s, "_current-profile"));
        profiles_free(p);
        p = open_ok(s);
        is_key(profiles_machine_key(p), first);
        assert_string_equal(profiles_prefs(p)->hostname, "");
        profiles_free(p);
        state_file_free(s);
}

static void test_login_is_stored_once_complete(void **state)
{
        (void)state;
        struct state_file *s = memory();
        struct profiles *p = open_ok(s);
        struct prefs pr;
        login(&pr, "https://a.example", 7, "", "");
        save(p, &pr);
        assert_false(has(s, "_current-profile"));
        /* A crash now: the key the server may already know is still there. */
        profiles_free(p);
        p = open_ok(s);
        is_key(&profiles_prefs(p)->identity.node_key, NODE_KEY);
        login(&pr, "https://a.example", 7, "u@a", "12");
        save(p, &pr);
        json_t *list = profiles_list_json(p), *e = json_array_get(list, 0);
        assert_int_equal(json_array_size(list), 1);
        const char *id = json_str(e, "ID", "");
        char key[32];
        assert_int_equal(strlen(id), 4);
        assert_int_equal(strspn(id, "0123456789abcdef"), 4);
        snprintf(key, sizeof(key), "profile-%s", id);
        assert_string_equal(json_str(e, "Key", ""), key);
        assert_string_equal(json_str(e, "Name", ""), "u@a");
        assert_string_equal(json_str(e, "NodeID", ""), "12");
        assert_string_equal(json_str(e, "ControlURL", ""), "https://a.example");
        assert_string_equal(json_str(json_obj(e, "NetworkProfile"), "MagicDNSName", ""), "mesh.example");
        assert_string_equal(json_str(json_obj(e, "NetworkProfile"), "DomainName", ""), "203.0.113.6");
        assert_int_equal(json_int(json_obj(e, "UserProfile"), "ID", 0), 7);
        int64_t created;
        assert_int_equal(time_parse(json_str(e, "Created", ""), &created), ERR_NONE);
        assert_true(created > 0);
        size_t len;
        assert_string_equal(state_file_get(s, "_current-profile", &len), key);
        json_t *stored_prefs = stored(s, key);
        assert_string_equal(json_str(json_obj(stored_prefs, "Config"), "PrivateNodeKey", ""), NODE_KEY);
        json_decref(stored_prefs);
        json_decref(list);
        /* Later the map may be gone: names that were known stay. */
        login(&pr, "https://a.example", 7, "u@a", "12");
        str(&pr.profile_name, "nick");
        assert_int_equal(profiles_save(p, &pr, "", ""), ERR_NONE);
        prefs_done(&pr);
        e = profiles_current_json(p);
        assert_string_equal(json_str(json_obj(e, "NetworkProfile"), "MagicDNSName", ""), "mesh.example");
        assert_string_equal(json_str(e, "Name", ""), "nick");
        json_decref(e);
        profiles_free(p);
        state_file_free(s);
}

static void test_delete_and_login_again(void **state)
{
        (void)state;
        struct state_file *s = recorded();
        set(s, "_serve/8aec", "{}");
        struct profiles *p = open_ok(s);
        assert_int_equal(profiles_delete_current(p), ERR_NONE);
        assert_false(has(s, "profile-8aec"));
        assert_string_equal(profiles_prefs(p)->control_url, "");
        assert_true(profiles_prefs(p)->logged_out);
        assert_false(profiles_prefs(p)->identity.present);
        is_key(profiles_machine_key(p), MACHINE_KEY);
        json_t *list = profiles_list_json(p);
        assert_int_equal(json_array_size(list), 0);
        json_decref(list);
        profiles_free(p);
        p = open_ok(s);   /* after a restart too */
        assert_false(profiles_prefs(p)->identity.present);
        is_key(profiles_machine_key(p), MACHINE_KEY);
        profiles_free(p);
        state_file_free(s);
}

/* The same user on the same server is the same profile; another user or server is another. */
static void test_same_user_takes_over(void **state)
{
        (void)state;
        static const struct {
                const char *url;
                int64_t user;
                const char *name;
                size_t profiles;
        } logins[] = {
                {"http://203.0.113.6:8090", 1, "u", 1},
                {"http://203.0.113.6:8090", 2, "v", 2},
                {"https://b.example", 1, "u", 3},
        };
        struct state_file *s = recorded();
        set(s, "_current-profile", "");
        for (size_t i = 0; i < sizeof(logins) / sizeof(logins[0]); i++) {
                struct profiles *p = open_ok(s);
                struct prefs pr;
                login(&pr, logins[i].url, logins[i].user, logins[i].name, "99");
                save(p, &pr);
                json_t *list = profiles_list_json(p), *e = profiles_current_json(p);
                assert_int_equal(json_array_size(list), logins[i].profiles);
                if (i == 0)
                        assert_string_equal(json_str(e, "ID", ""), "8aec");
                else
                        assert_string_not_equal(json_str(e, "ID", ""), "8aec");
                assert_string_equal(json_str(e, "NodeID", ""), "99");
                json_decref(list);
                json_decref(e);
                profiles_free(p);
                set(s, "_current-profile", "");
        }
        state_file_free(s);
}

static void test_legacy(void **state)
{
        (void)state;
        struct state_file *s = memory();
        set(s, "_machinekey", MACHINE_KEY);
        set(s, "_daemon", "{\"ControlURL\":\"https://a.example\",\"WantRunning\":true,\"Config\":{\"PrivateNodeKey\":\""
                          NODE_KEY "\"}}");
        struct profiles *p = open_ok(s);
        is_key(&profiles_prefs(p)->identity.node_key, NODE_KEY);
        assert_string_equal(profiles_prefs(p)->control_url, "https://a.example");
        struct prefs pr;
        login(&pr, "https://a.example", 7, "u", "1");
        save(p, &pr);
        assert_true(has(s, "_daemon"));   /* left in place */
        assert_true(has(s, "_current-profile"));
        profiles_free(p);
        state_file_free(s);
}

static bool is_current(const struct profiles *p, const struct state_file *s, const char *key)
{
        size_t len;
        const char *stored_key = state_file_get(s, "_current-profile", &len);
        return strcmp(profiles_current_id(p), "") != 0 && strcmp(stored_key, key) == 0;
}

static void test_switch_and_delete(void **state)
{
        (void)state;
        struct state_file *s = recorded();
        struct profiles *p = open_ok(s);
        struct prefs pr;
        char second[16], key[32];
        const char *why = NULL;

        /* A new one: the old one stays, on disk even as the current one until there is a login. */
        assert_int_equal(profiles_new(p), ERR_NONE);
        assert_string_equal(profiles_current_id(p), "");
        assert_false(profiles_prefs(p)->identity.present);
        assert_false(profiles_prefs(p)->route_all);
        assert_true(has(s, "profile-8aec"));
        size_t len;
        assert_string_equal(state_file_get(s, "_current-profile", &len), "profile-8aec");
        login(&pr, "https://b.example", 2, "", "");
        save(p, &pr);   /* on the way; a restart now goes back to the first */
        struct profiles *again = open_ok(s);
        assert_string_equal(profiles_current_id(again), "8aec");
        profiles_free(again);
        assert_true(has(s, "_pending-profile"));
        assert_int_equal(profiles_new(p), ERR_NONE);   /* given up: its key is not kept */
        assert_false(has(s, "_pending-profile"));
        login(&pr, "https://b.example", 2, "v", "5");
        save(p, &pr);
        (void)str_copy(second, sizeof(second), profiles_current_id(p));
        snprintf(key, sizeof(key), "profile-%s", second);
        assert_true(is_current(p, s, key));
        json_t *list = profiles_list_json(p);   /* by age */
        assert_int_equal(json_array_size(list), 2);
        assert_string_equal(json_str(json_array_get(list, 0), "ID", ""), "8aec");
        json_decref(list);

        assert_int_equal(profiles_switch(p, "8aec", &why), ERR_NONE);
        assert_true(is_current(p, s, "profile-8aec"));
        assert_true(profiles_prefs(p)->route_all);
        assert_string_equal(profiles_prefs(p)->identity.login_name, "u");
        is_key(&profiles_prefs(p)->identity.node_key, NODE_KEY);

        static const char *const unknown[] = {"", "zzzz", "current", "_daemon", "0123456789abcdef0123456789abcdef", "8aec/.."};
        for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
                assert_int_equal(profiles_switch(p, unknown[i], &why), ERR_NOT_FOUND);
                assert_int_equal(profiles_delete(p, unknown[i]), ERR_NONE);
                assert_null(profiles_json(p, unknown[i]));
                assert_true(is_current(p, s, "profile-8aec"));
        }
        assert_int_equal(profiles_delete(p, "8aec"), ERR_NONE);   /* the current one is not deleted like this */
        assert_true(has(s, "profile-8aec"));

        /* A damaged one is refused and stays; the current one too. */
        set(s, key, "{\"RouteAll\":7}");
        assert_int_equal(profiles_switch(p, second, &why), ERR_FORMAT);
        assert_non_null(strstr(why, key));
        assert_true(has(s, key));
        assert_true(is_current(p, s, "profile-8aec"));
        assert_int_equal(profiles_delete(p, second), ERR_NONE);
        assert_false(has(s, key));
        list = profiles_list_json(p);
        assert_int_equal(json_array_size(list), 1);
        json_decref(list);
        profiles_free(p);
        state_file_free(s);
}

static void refused_with(const char *key, const char *value, bool machine_key)
{
        struct state_file *s = recorded();
        if (!machine_key)
                assert_int_equal(state_file_set(s, "_machinekey", NULL, 0), ERR_NONE);
        set(s, key, value);
        struct profiles *p = NULL;
        const char *why = NULL;
        assert_int_equal(profiles_open(s, &p, &why), ERR_FORMAT);
        assert_null(p);
        assert_non_null(strstr(why, key));
        assert_non_null(strstr(why, "mem:"));   /* the path */
        assert_null(strstr(why, "c0685878"));   /* no key in what is printed */
        size_t len;
        assert_string_equal(state_file_get(s, key, &len), value);
        assert_int_equal(has(s, "_machinekey"), machine_key);   /* nothing is made for what is refused */
        state_file_free(s);
}

static void refused(const char *key, const char *value)
{
        refused_with(key, value, true);
        if (strcmp(key, "_machinekey") != 0)
                refused_with(key, value, false);
}

static void test_damaged_is_refused(void **state)
{
        (void)state;
        refused("_machinekey", "privkey:00");
        refused("_machinekey", "");
        refused("profile-8aec", "");
        refused("profile-8aec", "[]");
        refused("profile-8aec", "{\"RouteAll\":\"yes\"}");
        refused("profile-8aec", "{\"Config\":{\"PrivateNodeKey\":\"" NODE_KEY "0\"}}");
        refused("_profiles", "[]");
        refused("_profiles", "{\"8aec\":");
        refused("_profiles", "{\"8aec\":7}");
}

static void test_unwritable_is_refused(void **state)
{
        (void)state;
        char dir[] = "/tmp/profile-test.XXXXXX", path[64];
        struct state_file *s = NULL;
        struct profiles *p = NULL;
        const char *why = NULL;
        assert_non_null(mkdtemp(dir));
        snprintf(path, sizeof(path), "%s/s", dir);
        assert_int_equal(state_file_open(path, &s, &why), ERR_NONE);
        assert_int_equal(mkdir(path, 0700), 0);
        assert_int_equal(profiles_open(s, &p, &why), ERR_IO);
        assert_non_null(strstr(why, path));
        assert_non_null(strstr(why, "Is a directory"));
        state_file_free(s);
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(rmdir(dir), 0);
}

static void test_pointer_to_nothing(void **state)
{
        (void)state;
        static const char *const names[] = {"profile-ffff", "", "8aec", "profile-",
                "profile-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"};
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                struct state_file *s = recorded();
                set(s, "_current-profile", names[i]);
                struct profiles *p = open_ok(s);
                assert_false(profiles_prefs(p)->identity.present);
                assert_true(has(s, "profile-8aec"));
                profiles_free(p);
                state_file_free(s);
        }
}

int main(void)
{
        if (crypto_init() != ERR_NONE)
                return 1;
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_taken_over), cmocka_unit_test(test_unknown_members_stay),
                cmocka_unit_test(test_fresh), cmocka_unit_test(test_login_is_stored_once_complete),
                cmocka_unit_test(test_delete_and_login_again), cmocka_unit_test(test_same_user_takes_over),
                cmocka_unit_test(test_switch_and_delete), cmocka_unit_test(test_legacy), cmocka_unit_test(test_damaged_is_refused),
                cmocka_unit_test(test_unwritable_is_refused),
                cmocka_unit_test(test_pointer_to_nothing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
