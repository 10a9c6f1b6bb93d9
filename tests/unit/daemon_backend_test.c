/* The state machine of the backend: states times events, and what entering a state does to engine and login. */
#include "daemon/backend.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/crypto.h"
#include "tests/unit/daemon_fakes.h"


static struct world w;

static int open_world(void **state)
{
        (void)state;
        world_open(&w);
        return 0;
}

static int close_world(void **state)
{
        (void)state;
        world_close(&w);
        return 0;
}

static void in_state(enum ipn_state s)
{
        assert_string_equal(ipn_state_str(backend_state(w.b)), ipn_state_str(s));
        /* The data side runs exactly where it may. */
        assert_int_equal(fe.up, s == IPN_STARTING || s == IPN_RUNNING);
}

static void edit(const char *masked)
{
        json_t *j = json_parse(masked, strlen(masked));
        assert_null(backend_edit_prefs(w.b, j));
        json_decref(j);
}

static void log_in(const char *url, const char *key)
{
        struct prefs p;
        prefs_init(&p);
        p.want_running = true;
        p.logged_out = false;
        backend_set_str(&p.control_url, url);
        assert_null(backend_start(w.b, &p, key));
        prefs_done(&p);
        backend_login_interactive(w.b);
}

/* ---- the function that decides, state by state ---- */

static void every_state_and_condition(void **state)
{
        (void)state;
        enum { NONE, FINE, EXPIRED, UNAPPROVED };
        static const struct {
                const char *what;
                enum ipn_state from;
                bool want, logged_out, key, need_login, blocked;
                int map, live;
                enum ipn_state to;
        } rows[] = {
                {"fresh", IPN_NO_STATE, false, true, false, false, false, NONE, 0, IPN_NEEDS_LOGIN},
                {"logged out, key left", IPN_NO_STATE, false, true, true, false, false, NONE, 0, IPN_NEEDS_LOGIN},
                {"stopped at start", IPN_NO_STATE, false, false, true, false, false, NONE, 0, IPN_STOPPED},
                {"waiting for the server", IPN_NO_STATE, true, false, true, false, false, NONE, 0, IPN_NO_STATE},
                {"up again, no map yet", IPN_STOPPED, true, false, true, false, false, NONE, 0, IPN_STARTING},
                {"a person has to act", IPN_NO_STATE, true, false, true, false, true, NONE, 0, IPN_NEEDS_LOGIN},
                {"key refused", IPN_RUNNING, true, false, true, true, false, FINE, 1, IPN_NEEDS_LOGIN},
                {"key refused, but stopped", IPN_RUNNING, false, false, true, true, false, FINE, 1, IPN_STOPPED},
                {"first map", IPN_NO_STATE, true, false, true, false, false, FINE, 0, IPN_STARTING},
                {"first map after login", IPN_NEEDS_LOGIN, true, false, true, false, false, FINE, 0, IPN_STARTING},
                {"first connection", IPN_STARTING, true, false, true, false, false, FINE, 1, IPN_RUNNING},
                {"no connection yet", IPN_STARTING, true, false, true, false, false, FINE, 0, IPN_STARTING},
                {"last connection gone", IPN_RUNNING, true, false, true, false, false, FINE, 0, IPN_RUNNING},
                {"down", IPN_RUNNING, false, false, true, false, false, FINE, 1, IPN_STOPPED},
                {"down while starting", IPN_STARTING, false, false, true, false, false, FINE, 0, IPN_STOPPED},
                {"logged out", IPN_RUNNING, false, true, true, false, false, FINE, 1, IPN_NEEDS_LOGIN},
                {"expired", IPN_RUNNING, true, false, true, false, false, EXPIRED, 1, IPN_NEEDS_LOGIN},
                {"expired at start", IPN_NO_STATE, true, false, true, false, false, EXPIRED, 0, IPN_NEEDS_LOGIN},
                {"not approved", IPN_STARTING, true, false, true, false, false, UNAPPROVED, 1, IPN_NEEDS_MACHINE_AUTH},
                {"approved", IPN_NEEDS_MACHINE_AUTH, true, false, true, false, false, FINE, 0, IPN_STARTING},
        };
        static struct derp_region region = {.id = 1};
        static struct derpmap relays = {.region_count = 1, .regions = &region};
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct netmap_node self = {.name = "self.", .cap_map = "", .machine_authorized = rows[i].map != UNAPPROVED,
                        .expired = rows[i].map == EXPIRED};
                world_open(&w);
                struct backend *b = w.b;
                b->state = rows[i].from;
                b->configured = fe.up = rows[i].from == IPN_STARTING || rows[i].from == IPN_RUNNING;
                b->prefs.want_running = rows[i].want;
                b->prefs.logged_out = rows[i].logged_out;
                b->prefs.identity.present = rows[i].key;
                memset(&b->prefs.identity.node_key, rows[i].key, sizeof(b->prefs.identity.node_key));
                b->need_login = rows[i].need_login;
                b->login_blocked = rows[i].blocked;
                b->relays = rows[i].live;
                fc.nm.self = rows[i].map != NONE ? &self : NULL;
                fc.nm.derpmap = &relays;
                backend_update_state(b);
                if (backend_state(b) != rows[i].to)
                        fail_msg("%s: %s", rows[i].what, ipn_state_str(backend_state(b)));
                in_state(rows[i].to);
                fc.nm.self = NULL;
                fc.nm.derpmap = NULL;
                world_close(&w);
        }
}

/* ---- lives ---- */

static void a_key_that_no_server_makes_is_refused(void **state)
{
        (void)state;
        char key[AUTH_KEY_MAX + 8];
        struct prefs p;
        prefs_init(&p);
        backend_set_str(&p.control_url, "http://other");
        memset(key, 'k', sizeof(key));
        key[AUTH_KEY_MAX + 1] = '\0';
        assert_non_null(strstr(backend_start(w.b, &p, key), "auth key is too long"));
        assert_string_not_equal(prefs_control_url(&w.b->prefs), "http://other");   /* nothing else was taken over */
        memcpy(&key[AUTH_KEY_MAX], "--TLx", 6);
        assert_null(backend_start(w.b, &p, key));   /* what follows --TL never goes out */
        prefs_done(&p);
}

static void from_fresh_to_running_and_back(void **state)
{
        (void)state;
        in_state(IPN_NEEDS_LOGIN);
        assert_int_equal(fc.logins, 0);
        log_in("http://h", "secret");
        assert_string_equal(fc.server, "http://h");
        assert_string_equal(fc.auth_key, "secret");
        assert_int_equal(fc.logins, 1);   /* once, or a one-off key would be used twice */
        assert_true(fc.forced && fc.poll);
        in_state(IPN_NEEDS_LOGIN);
        server_registers("u", 7);
        assert_null(w.b->auth_key);
        assert_true(w.b->prefs.identity.present);
        server_sends_map(NODE(1, ""), "[" NODE(2, "") "]");
        in_state(IPN_RUNNING);            /* no relay in the map: nothing to wait for */
        assert_int_equal(fe.peers, 1);
        assert_true(fe.polling);
        assert_string_not_equal(profiles_current_id(w.profiles), "");
        edit("{\"WantRunning\":false,\"WantRunningSet\":true}");
        in_state(IPN_STOPPED);
        assert_false(fc.active || fc.poll || fe.polling);
        edit("{\"WantRunning\":true,\"WantRunningSet\":true}");
        assert_int_equal(fc.logins, 2);
        assert_false(fc.forced);
        in_state(IPN_RUNNING);
        edit("{\"WantRunning\":true,\"WantRunningSet\":true}");
        assert_int_equal(fc.logins, 2);   /* nothing changed */
}

static void a_person_logs_in(void **state)
{
        (void)state;
        log_in("http://h", "");
        fc.cb->on_auth_url(fc.arg, "http://h/register/1");
        in_state(IPN_NEEDS_LOGIN);
        assert_string_equal(backend_auth_url(w.b), "http://h/register/1");
        backend_login_interactive(w.b);
        assert_int_equal(fc.logins, 1);   /* the pending one is told again, no new one made */
        server_registers("u", 7);
        assert_string_equal(backend_auth_url(w.b), "");
        server_sends_map(NODE(1, ""), "[]");
        in_state(IPN_RUNNING);
        assert_null(backend_start(w.b, NULL, ""));   /* throws a pending one away */
        in_state(IPN_RUNNING);
}

static void refusals(void **state)
{
        (void)state;
        static const struct control_error bad_key = {.kind = CONTROL_ERROR_AUTH_KEY, .message = "bad key\nmake a new one", .server_text = "",
                .fatal = true, .retry_ms = -1};
        static const struct control_error down = {.kind = CONTROL_ERROR_REFUSED, .message = "refused", .server_text = ""};
        log_in("http://h", "secret");
        fc.cb->on_error(fc.arg, &bad_key);
        in_state(IPN_NEEDS_LOGIN);
        assert_null(w.b->auth_key);       /* not sent a second time */
        json_t *h = backend_health(w.b);
        assert_non_null(strstr(json_string_value(json_array_get(h, 0)), "bad key; make a new one"));   /* in one line */
        json_decref(h);
        log_in("http://h", "other");
        fc.cb->on_error(fc.arg, &down);   /* it tries on: the key is still needed */
        assert_string_equal(w.b->auth_key, "other");
        server_registers("u", 7);
        h = backend_health(w.b);
        assert_int_equal(json_array_size(h), 0);
        json_decref(h);
        struct prefs p;
        prefs_init(&p);
        backend_set_str(&p.control_url, "nonsense");
        assert_non_null(strstr(backend_start(w.b, &p, ""), "must be a URL"));
        prefs_done(&p);
}

static void the_server_no_longer_wants_us(void **state)
{
        (void)state;
        log_in("http://h", "k");
        fc.cb->on_need_login(fc.arg, CONTROL_NEED_NODE_DELETED);   /* nor did it ever know us */
        json_t *first = backend_health(w.b);
        assert_non_null(strstr(json_string_value(json_array_get(first, 0)), "an earlier login was not finished"));
        json_decref(first);
        log_in("http://h", "k");
        server_registers("u", 7);
        server_sends_map(NODE(1, ""), "[]");
        in_state(IPN_RUNNING);
        static const enum control_need_login why[] = {CONTROL_NEED_KEY_EXPIRED, CONTROL_NEED_NODE_DELETED, CONTROL_NEED_MIXED_STATE};
        for (size_t i = 0; i < 3; i++) {
                fc.cb->on_need_login(fc.arg, why[i]);
                in_state(IPN_NEEDS_LOGIN);
                json_t *h = backend_health(w.b);
                assert_non_null(strstr(json_string_value(json_array_get(h, 0)), "log"));
                json_decref(h);
        }
        log_in("http://h", "k2");
        assert_true(fc.forced);
        server_registers("u", 8);
        server_sends_map(NODE(1, ""), "[]");
        in_state(IPN_RUNNING);
        assert_memory_equal(&fe.node, &w.b->prefs.identity.node_key, sizeof(fe.node));
        server_sends_map(NODE(1, ",\"Expired\":true"), "[]");
        in_state(IPN_NEEDS_LOGIN);
        server_sends_map(NODE(1, ""), "[]");   /* prolonged on the server */
        in_state(IPN_RUNNING);
        server_sends_map("{\"ID\":1,\"Key\":\"nodekey:" "00000000000000000000000000000000000000000000000000000000000000" "01\","
                "\"MachineAuthorized\":false}", "[]");
        in_state(IPN_NEEDS_MACHINE_AUTH);
}

/* What `up --force-reauth` with a one-off key does, against what the server may say between its two requests. */
static void a_key_is_used_in_one_login(void **state)
{
        enum news { NOTHING, WELCOME_BACK, EXPIRED, DELETED, VISIT_URL, NEWS };
        (void)state;
        for (int before = 0; before < 2; before++) {        /* 1: the key is known to have expired */
                for (enum news news = NOTHING; news < NEWS; news++) {
                        world_open(&w);
                        log_in("http://h", "first");
                        server_registers("u", 7);
                        server_sends_map(NODE(1, ""), "[]");
                        in_state(IPN_RUNNING);
                        if (before == 1)
                                fc.cb->on_need_login(fc.arg, CONTROL_NEED_KEY_EXPIRED);
                        int with_key = fc.key_logins;
                        struct prefs p;
                        assert_int_equal(prefs_copy(backend_prefs(w.b), &p), ERR_NONE);
                        assert_null(backend_start(w.b, &p, "second"));
                        prefs_done(&p);
                        assert_int_equal(fc.key_logins, with_key + before);
                        if (before == 0 && news == WELCOME_BACK)
                                server_sends_map(NODE(1, ""), "[]");
                        else if (before == 0 && (news == EXPIRED || news == DELETED))
                                fc.cb->on_need_login(fc.arg, news == EXPIRED ? CONTROL_NEED_KEY_EXPIRED : CONTROL_NEED_NODE_DELETED);
                        else if (before == 0 && news == VISIT_URL)
                                fc.cb->on_auth_url(fc.arg, "http://h/register/1");
                        assert_int_equal(fc.key_logins, with_key + (before == 1 || news > WELCOME_BACK));
                        backend_login_interactive(w.b);
                        backend_login_interactive(w.b);
                        assert_int_equal(fc.key_logins, with_key + 1);
                        assert_string_equal(fc.auth_key, "second");
                        assert_true(fc.forced && fc.active && fc.poll);
                        server_registers("u", 8);
                        server_sends_map(NODE(1, ""), "[]");
                        in_state(IPN_RUNNING);
                        assert_null(w.b->auth_key);
                        backend_login_interactive(w.b);   /* the next one is without */
                        assert_string_equal(fc.auth_key, "");
                        world_close(&w);
                }
        }
}

/* A pause in the middle of it does not make the daemon deaf to the next request. */
static void a_login_broken_off_by_down_can_be_asked_for_again(void **state)
{
        (void)state;
        log_in("http://h", "k");
        edit("{\"WantRunning\":false,\"WantRunningSet\":true}");
        assert_false(fc.active);
        backend_login_interactive(w.b);
        assert_true(fc.active);
        assert_string_equal(fc.auth_key, "k");
}

/* Nobody waits any more for the visit of a URL that was shown before. */
static void a_url_of_a_stopped_login_is_not_shown_again(void **state)
{
        (void)state;
        log_in("http://h", "");
        fc.cb->on_auth_url(fc.arg, "http://h/register/1");
        int logins = fc.logins;
        backend_login_interactive(w.b);
        assert_int_equal(fc.logins, logins);
        edit("{\"WantRunning\":false,\"WantRunningSet\":true}");
        assert_false(fc.active);
        backend_login_interactive(w.b);
        assert_true(fc.active && fc.forced);
}

static int logged_out;

static void on_logged_out(void *arg, const char *error)
{
        (void)arg;
        assert_null(error);
        logged_out++;
}

static void logout_ends_in_an_empty_profile(void **state)
{
        (void)state;
        int a, b;
        log_in("http://h", "k");
        server_registers("u", 7);
        server_sends_map(NODE(1, ""), "[" NODE(2, "") "]");
        backend_logout(w.b, on_logged_out, &a);
        backend_logout(w.b, on_logged_out, &b);   /* joins the first */
        assert_int_equal(fc.logouts, 1);
        assert_non_null(strstr(backend_switch_profile(w.b, "x"), "logout is under way"));
        assert_non_null(backend_new_profile(w.b));
        assert_non_null(backend_delete_profile(w.b, "x"));
        logged_out = 0;
        fc.cb->on_logged_out(fc.arg, NULL);
        assert_int_equal(logged_out, 0);          /* not from inside the client's callback */
        loop_once(w.loop, 1000);
        assert_int_equal(logged_out, 2);
        in_state(IPN_NEEDS_LOGIN);
        assert_int_equal(fe.peers, 0);
        assert_false(backend_has_node_key(w.b));
        assert_string_equal(backend_prefs(w.b)->control_url, "");
        json_t *list = profiles_list_json(w.profiles);
        assert_int_equal(json_array_size(list), 0);
        json_decref(list);
        backend_logout(w.b, on_logged_out, &a);   /* with nothing to log out of */
        loop_once(w.loop, 1000);
        assert_int_equal(logged_out, 3);
        assert_int_equal(fc.logouts, 1);
}

/* Whatever would break it off is refused, for whoever waits for its end would wait for ever. */
static void a_logout_is_not_broken_off(void **state)
{
        (void)state;
        int a;
        log_in("http://h", "k");
        server_registers("u", 7);
        server_sends_map(NODE(1, ""), "[" NODE(2, "") "]");
        assert_null(backend_start(w.b, NULL, "not needed yet"));
        int stops = fc.stops, logins = fc.logins, clients = fc.clients;
        backend_logout(w.b, on_logged_out, &a);
        fc.cb->on_need_login(fc.arg, CONTROL_NEED_KEY_EXPIRED);
        struct prefs p;
        assert_int_equal(prefs_copy(backend_prefs(w.b), &p), ERR_NONE);
        p.want_running = true;
        p.logged_out = false;
        assert_non_null(strstr(backend_start(w.b, &p, "k2"), "logout is under way"));
        prefs_done(&p);
        backend_login_interactive(w.b);
        json_t *j = json_pack("{s:b, s:b}", "WantRunning", 1, "WantRunningSet", 1);
        assert_non_null(strstr(backend_edit_prefs(w.b, j), "logout is under way"));
        json_decref(j);
        assert_int_equal(fc.stops, stops);
        assert_int_equal(fc.logins, logins);
        assert_int_equal(fc.clients, clients);
        logged_out = 0;
        fc.cb->on_logged_out(fc.arg, NULL);
        loop_once(w.loop, 1000);
        assert_int_equal(logged_out, 1);
        log_in("http://h", "k2");
        assert_int_equal(fc.logins, logins + 1);
}

static void switching_leaves_nothing_behind(void **state)
{
        (void)state;
        char first[16], second[16];
        log_in("http://a", "k");
        server_registers("u", 7);
        server_sends_map(NODE(1, ""), "[" NODE(2, "") "]");
        snprintf(first, sizeof(first), "%s", profiles_current_id(w.profiles));
        edit("{\"ShieldsUp\":true,\"ShieldsUpSet\":true}");
        assert_int_equal(fe.hardnat, HN_PREF_OWN);
        edit("{\"HardNATSearch\":\"on\",\"HardNATSearchSet\":true}");
        assert_int_equal(fe.hardnat, HN_PREF_ON);
        edit("{\"HardNATSearch\":\"off\",\"HardNATSearchSet\":true}");
        assert_int_equal(fe.hardnat, HN_PREF_OFF);
        w.b->filter_forged = true;

        assert_null(backend_new_profile(w.b));
        assert_false(w.b->filter_forged);
        assert_int_equal(fe.hardnat, HN_PREF_OWN);
        in_state(IPN_NEEDS_LOGIN);
        assert_int_equal(fe.peers, 0);
        assert_false(fe.polling || backend_has_node_key(w.b) || backend_prefs(w.b)->shields_up);
        assert_null(backend_netmap(w.b)->self);
        log_in("http://b", "k");
        server_registers("v", 9);
        server_sends_map(NODE(3, ""), "[]");
        in_state(IPN_RUNNING);
        snprintf(second, sizeof(second), "%s", profiles_current_id(w.profiles));
        assert_string_not_equal(first, second);

        int clients = fc.clients, logins = fc.logins;
        assert_null(backend_switch_profile(w.b, first));
        in_state(IPN_NO_STATE);                   /* until the server has answered */
        assert_int_equal(fc.clients, clients + 1);
        assert_int_equal(fc.logins, logins + 1);
        assert_false(fc.forced);                  /* with the key it has */
        assert_string_equal(fc.server, "http://a");
        uint8_t seven[sizeof(struct key_private)];
        memset(seven, 7, sizeof(seven));
        assert_memory_equal(&fe.node, seven, sizeof(seven));
        assert_memory_equal(&fc.node, seven, sizeof(seven));
        assert_true(backend_prefs(w.b)->shields_up);
        server_sends_map(NODE(1, ""), "[]");
        in_state(IPN_RUNNING);

        clients = fc.clients;
        assert_null(backend_switch_profile(w.b, first));   /* already there: nothing is cut */
        assert_string_equal(backend_switch_profile(w.b, "none"), "profile not found");
        assert_int_equal(fc.clients, clients);
        in_state(IPN_RUNNING);
        assert_null(backend_delete_profile(w.b, second));
        in_state(IPN_RUNNING);
        assert_null(backend_delete_profile(w.b, first));   /* the current one */
        in_state(IPN_NEEDS_LOGIN);
        assert_int_equal(fc.logouts, 0);
}

/* What no exit node carries, whoever asks the daemon to connect is to reach with his own rights. */
static void what_lies_outside_of_the_tailnet(void **state)
{
        (void)state;
        static const struct {
                const char *ip;
                bool outside, with_exit_node;
        } rows[] = {
                {"127.0.0.1", true, true}, {"0.0.0.0", true, true}, {"169.254.169.254", true, true}, {"::1", true, true},
                {"::", true, true}, {"fe80::1", true, true}, {"192.0.2.1", true, false}, {"2001:db8::1", true, false},
                {"100.64.0.1", false, false}, {"100.64.0.2", false, false}, {"100.64.0.99", false, false},
        };
        log_in("http://h", "k");
        server_registers("u", 7);
        server_sends_map(NODE(1, ""), "[" NODE(2, "") "]");
        for (int with = 0; with < 2; with++) {
                for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                        struct ip ip;
                        assert_int_equal(ip_parse(rows[i].ip, &ip), ERR_NONE);
                        if (dialout_is_outside(w.b->dialout, ip) != (with ? rows[i].with_exit_node : rows[i].outside))
                                fail_msg("%s, exit node %d", rows[i].ip, with);
                }
                edit("{\"ExitNodeID\":\"2\",\"ExitNodeIDSet\":true}");
        }
}

static void another_server_means_nothing_of_the_old_map(void **state)
{
        (void)state;
        log_in("http://a", "k");
        server_registers("u", 7);
        server_sends_map(NODE(1, ""), "[" NODE(2, "") "]");
        struct prefs p;
        assert_int_equal(prefs_copy(backend_prefs(w.b), &p), ERR_NONE);
        backend_set_str(&p.control_url, "http://b");
        int clients = fc.clients;
        assert_null(backend_start(w.b, &p, ""));
        assert_int_equal(fc.clients, clients + 1);
        assert_int_equal(fe.peers, 0);
        assert_null(backend_netmap(w.b)->self);
        in_state(IPN_NO_STATE);
        prefs_done(&p);
}

/* As after a start while the server is away: nobody need log in for that. */
static void a_server_that_is_away_is_no_logout(void **state)
{
        (void)state;
        static const struct control_error away = {.kind = CONTROL_ERROR_REFUSED, .message = "connection refused", .server_text = ""};
        log_in("http://a", "k");
        fc.cb->on_error(fc.arg, &away);
        in_state(IPN_NEEDS_LOGIN);
        json_t *h = backend_health(w.b);
        assert_string_equal(json_string_value(json_array_get(h, 0)),
                "You are logged out. The last login error was: connection refused");
        json_decref(h);
        server_registers("u", 7);
        w.b->state = IPN_NO_STATE;
        fc.cb->on_error(fc.arg, &away);
        in_state(IPN_NO_STATE);
        h = backend_health(w.b);
        assert_string_equal(json_string_value(json_array_get(h, 0)),
                "Waiting for the login server; no new login is needed: connection refused");
        json_decref(h);
        edit("{\"WantRunning\":false,\"WantRunningSet\":true}");
        h = backend_health(w.b);
        assert_string_equal(json_string_value(json_array_get(h, 0)), "Tailscale is stopped.");
        json_decref(h);
}

static void bad_preferences_change_nothing(void **state)
{
        (void)state;
        static const char *const bad[] = {"{\"RouteAll\":7,\"RouteAllSet\":true}", "{\"AdvertiseRoutes\":[\"x\"],\"AdvertiseRoutesSet\":true}",
                "{\"Hostname\":\"a\",\"HostnameSet\":true,\"RunSSH\":true,\"RunSSHSet\":true}"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                json_t *j = json_parse(bad[i], strlen(bad[i])), *before = prefs_to_json(backend_prefs(w.b), true);
                assert_non_null(backend_edit_prefs(w.b, j));
                json_t *after = prefs_to_json(backend_prefs(w.b), true);
                assert_true(json_equal(before, after));
                json_decref(j);
                json_decref(before);
                json_decref(after);
        }
}

/* A home 0 would wipe the one that the server knows from before a start. */
static void a_home_that_lets_nobody_in_is_not_told(void **state)
{
        (void)state;
        struct netcheck_report r = {.udp = true};
        log_in("http://a", "k");
        backend_engine_callbacks.on_report(w.b, &r, 0);
        assert_int_equal(fc.netinfos, 1);   /* no relay at all: what is known is told */
        assert_int_equal(fc.home, 0);
        r.preferred = 4;
        backend_engine_callbacks.on_report(w.b, &r, 0);
        assert_int_equal(fc.netinfos, 1);
        assert_int_equal(backend_report(w.b)->preferred, 4);   /* whoever asks here is told */
        backend_engine_callbacks.on_report(w.b, &r, 4);
        assert_int_equal(fc.netinfos, 2);
        assert_int_equal(fc.home, 4);
        r.preferred = 5;
        backend_engine_callbacks.on_report(w.b, &r, 4);   /* the old one until the new one lets us in */
        assert_int_equal(fc.netinfos, 3);
        assert_int_equal(fc.home, 4);
}

/* For how long decides what becomes of relay connections. */
static void a_host_that_slept_is_told_apart(void **state)
{
        (void)state;
        int before = fe.links;
        backend_link_changed(w.b, 600000);
        assert_int_equal(fe.slept_ms, 600000);
        backend_link_changed(w.b, 0);
        assert_int_equal(fe.slept_ms, 0);
        assert_int_equal(fe.links, before + 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

/* A question for our own name to the service address, by UDP. */
static int ask_name(char digit)
{
        uint8_t pkt[28 + 12 + 17 + 4] = {0x45, 0, 0, sizeof(pkt), [8] = 64, 17, [12] = 100, 64, 0, 1, 100, 100, 100, 100,
                [20] = 0x12, 0x34, 0, 53, 0, sizeof(pkt) - 20, [28] = 0, 9, 1, 0, 0, 1};
        memcpy(pkt + 40, "\2n1\4mesh\7example", 17);
        pkt[42] = (uint8_t)digit;
        pkt[58] = pkt[60] = 1;
        fe.service_len = 0;
        backend_on_service_packet(w.b, pkt, sizeof(pkt));
        return fe.service_len > 31 ? fe.service_packet[31] & 15 : -1;
}

/* Names are those of the map as it is when they are asked for, however soon that is. */
static void dns_follows_the_map_at_once(void **state)
{
        enum { NO_ERROR = 0, SERVFAIL = 2 };
        (void)state;
        assert_int_equal(ask_name('1'), SERVFAIL);
        log_in("http://h", "k");
        server_registers("u", 7);
        server_sends_map(NODE(1, ""), "[" NODE(2, "") "]");
        assert_int_equal(ask_name('1'), NO_ERROR);
        assert_int_equal(ask_name('2'), NO_ERROR);
        assert_int_equal(ask_name('3'), SERVFAIL);
        server_sends_map(NODE(1, ""), "[" NODE(3, "") "]");
        assert_int_equal(ask_name('3'), NO_ERROR);
        assert_int_equal(ask_name('2'), SERVFAIL);
        edit("{\"WantRunning\":false,\"WantRunningSet\":true}");
        assert_int_equal(ask_name('1'), NO_ERROR);   /* for whoever asks, also when stopped */
        assert_null(backend_new_profile(w.b));
        assert_int_equal(ask_name('1'), SERVFAIL);   /* nothing of the map before */
}

/* The lines of health, each with its end of line. */
static bool health_is(const char *text)
{
        char all[1000] = "";
        json_t *h = backend_health(w.b);
        for (size_t i = 0; i < json_array_size(h); i++) {
                size_t at = strlen(all);
                snprintf(all + at, sizeof(all) - at, "%s\n", json_string_value(json_array_get(h, i)));
        }
        json_decref(h);
        return strcmp(all, text) == 0;
}

static void what_one_relay_suffers_another_does_not_end(void **state)
{
        (void)state;
        void (*on_relay)(void *, int, bool, const char *) = backend_engine_callbacks.on_relay;
        log_in("http://h", "k");
        server_registers("u", 7);
        server_sends_map(NODE(1, ""), "[]");
        on_relay(w.b, 4, false, "refused");
        assert_true(health_is("relay region 4 cannot be reached: refused\n"));
        on_relay(w.b, 5, true, "");
        on_relay(w.b, 6, false, "");   /* it is not needed any more */
        assert_true(health_is("relay region 4 cannot be reached: refused\n"));
        on_relay(w.b, 6, false, "no route");
        on_relay(w.b, 4, false, "timed out");
        assert_true(health_is("relay region 6 cannot be reached: no route\nrelay region 4 cannot be reached: timed out\n"));
        static const char map[] = "{\"Regions\":{\"6\":{\"RegionID\":6,\"RegionCode\":\"fra\",\"Nodes\":[{\"Name\":\"6a\","
                                  "\"RegionID\":6,\"HostName\":\"r.example\"}]}}}";
        json_t *j = json_parse(map, strlen(map));
        assert_int_equal(derpmap_from_json(j, &fc.nm.derpmap), ERR_NONE);
        json_decref(j);
        assert_true(health_is("relay region 6 (fra) cannot be reached: no route\nrelay region 4 cannot be reached: timed out\n"));
        for (int region = 7; region < 10; region++)   /* no more than four are said */
                on_relay(w.b, region, false, "refused");
        assert_true(health_is("relay region 4 cannot be reached: timed out\nrelay region 7 cannot be reached: refused\n"
                              "relay region 8 cannot be reached: refused\nrelay region 9 cannot be reached: refused\n"));
        for (int region = 4; region < 10; region++)
                on_relay(w.b, region, true, "");
        assert_true(health_is(""));
}

/* Whether what is wrong is said, with the file and the cause. */
static void state_is_unsaved(const char *path, const char *cause)
{
        bool said = false;
        json_t *h = backend_health(w.b);
        for (size_t i = 0; i < json_array_size(h); i++) {
                const char *text = json_string_value(json_array_get(h, i));
                if (strncmp(text, "the state file ", 15) != 0)
                        continue;
                said = true;
                assert_non_null(cause);
                assert_non_null(strstr(text, path));
                assert_non_null(strstr(text, cause));
        }
        json_decref(h);
        assert_int_equal(said, cause != NULL);
}

/* Said as long as it is so, and made good by a timer, the next change or the end of the daemon. */
static void an_unwritable_state_file_is_said_and_tried_again(void **state)
{
        (void)state;
        char dir[] = "/tmp/backend-test.XXXXXX", path[64];
        assert_non_null(mkdtemp(dir));
        snprintf(path, sizeof(path), "%s/s", dir);
        world_open_with(&w, NULL, path);
        for (int made_good_by = 0; made_good_by < 3; made_good_by++) {
                state_is_unsaved(path, NULL);
                assert_int_equal(unlink(path), 0);
                assert_int_equal(mkdir(path, 0700), 0);   /* which no file can be renamed over */
                log_in("http://h", "k");
                server_registers("u", (uint8_t)(7 + made_good_by));
                state_is_unsaved(path, "Is a directory");
                w.b->save_timer.on_expire(&w.b->save_timer, loop_now(w.loop));
                state_is_unsaved(path, "Is a directory");
                assert_true(timer_is_armed(&w.b->save_timer));
                assert_int_equal(rmdir(path), 0);
                if (made_good_by == 0) {
                        loop_timer_stop(&w.b->save_timer);
                        w.b->save_timer.on_expire(&w.b->save_timer, loop_now(w.loop));
                } else if (made_good_by == 1) {
                        edit("{\"Hostname\":\"x\",\"HostnameSet\":true}");
                } else {
                        break;
                }
                assert_false(timer_is_armed(&w.b->save_timer));
        }
        world_close(&w);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
        if (crypto_init() != ERR_NONE)
                return 1;
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_state_and_condition), TEST(a_key_that_no_server_makes_is_refused),
                TEST(from_fresh_to_running_and_back), TEST(a_person_logs_in),
                TEST(refusals), TEST(the_server_no_longer_wants_us), TEST(what_one_relay_suffers_another_does_not_end),
                TEST(logout_ends_in_an_empty_profile),
                TEST(a_logout_is_not_broken_off), cmocka_unit_test(a_key_is_used_in_one_login),
                TEST(a_login_broken_off_by_down_can_be_asked_for_again), TEST(a_url_of_a_stopped_login_is_not_shown_again),
                TEST(switching_leaves_nothing_behind), TEST(another_server_means_nothing_of_the_old_map),
                TEST(a_server_that_is_away_is_no_logout),
                TEST(what_lies_outside_of_the_tailnet), TEST(dns_follows_the_map_at_once),
                TEST(a_home_that_lets_nobody_in_is_not_told), TEST(a_host_that_slept_is_told_apart),
                TEST(bad_preferences_change_nothing),
                cmocka_unit_test(an_unwritable_state_file_is_said_and_tried_again),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
