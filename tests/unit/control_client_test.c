/* Logging in in every way, the map that comes before the answer, logging out. */
#include "tests/unit/control_world.h"

static void test_login_and_map(void **state)
{
        (void)state;
        w->script[0] = OK;
        login(" the-key\n", false);
        until(&w->online, 1);
        assert_int_equal(w->keys, 1);
        assert_int_equal(w->registered, 1);
        assert_int_equal(w->maps, 1);
        assert_string_equal(w->auth_key, "the-key");
        struct node_public pub = key_node_public(&w->node);
        char text[KEY_TEXT_MAX];
        assert_string_equal(w->node_key, node_public_text(&pub, text));
        fake_map(w->held_map, "{\"PeersChanged\":[{\"ID\":2,\"Name\":\"b.x.\",\"Key\":\"nodekey:"
                              "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"}]}");
        until(&w->maps, 2);
        assert_int_equal(w->peers, 1);
        assert_int_equal(w->errors, 0);
        assert_int_equal(w->fake.dials, 2); /* the key, and one connection for everything */
}

/* Headscale stores a node before it answers the registration: the map is asked for meanwhile. */
static void test_map_before_the_answer(void **state)
{
        (void)state;
        w->script[0] = NULL; /* held */
        w->map_status = "404";
        login("k", false);
        until(&w->streams, 2);
        assert_int_equal(w->lites, 0); /* refused, so nothing is sent beside it */
        w->map_status = NULL;
        w->slow_map = true;
        until(&w->streams, 3);
        until(&w->lites, 1);
        assert_int_equal(w->errors + w->need_login + w->registered, 0);
        fake_answer(w->held_register, "200", OK, strlen(OK), false);
        until(&w->registered, 1);
        run_ms(300);
        fake_map(w->held_map, "{" SELF "}");
        until(&w->online, 1);
        run_ms(300);
        assert_int_equal(w->streams, 3); /* the one that stood was kept */
        assert_int_equal(w->registers, 1);
        assert_int_equal(w->errors + w->offline, 0);
}

/* A map that comes before the login is done is not shown, one of a login that fails never. */
static void test_early_map_is_not_believed(void **state)
{
        (void)state;
        w->script[0] = NULL;
        login("k", false);
        until(&w->streams, 1); /* its map comes at once */
        run_ms(500);
        assert_int_equal(w->maps + w->online + w->errors, 0);
        assert_int_equal(w->streams, 1);
        fake_answer(w->held_register, "200", OK, strlen(OK), false);
        until(&w->online, 1);
        assert_int_equal(w->streams, 2);
}

static void test_early_map_of_a_failed_login(void **state)
{
        (void)state;
        static const char NO[] = "{\"Error\":\"authkey expired\"}";
        w->script[0] = NULL;
        w->slow_map = true;
        login("k", false);
        until(&w->streams, 1);
        fake_answer(w->held_register, "200", NO, strlen(NO), false);
        until(&w->errors, 1);
        assert_int_equal(w->error.kind, CONTROL_ERROR_AUTH_KEY_EXPIRED);
        fake_map(w->held_map, "{" SELF "}");
        run_ms(300);
        assert_int_equal(w->maps + w->online, 0);
        assert_int_equal(w->errors, 1);
}

static void test_early_map_is_for_keys_alone(void **state)
{
        (void)state;
        w->script[0] = NULL;
        w->map_status = "404";
        login(NULL, false); /* a person may take minutes */
        until(&w->registers, 1);
        run_ms(500);
        assert_int_equal(w->streams, 0);
        login("k", false);
        run_ms(2500);
        assert_int_equal(w->streams, 8); /* and not for ever */
        assert_int_equal(w->errors, 0);
}

static void test_no_early_payload(void **state)
{
        (void)state;
        w->fake.no_early = true;
        logged_in();
        assert_int_equal(w->errors, 0);
}

/* A follow-up is answered when the user has been to the URL. */
static void test_followup_waits(void **state)
{
        (void)state;
        char visit[160];
        (void)snprintf(visit, sizeof(visit), "{\"AuthURL\":\"http://127.0.0.1:%u/register/abc\"}", w->fake.port);
        w->script[0] = visit;
        login("", false);
        until(&w->urls, 1);
        w->script[0] = NULL;
        w->step = 0;
        until(&w->registers, 2);
        if (w->held_register == NULL) /* it came before the script was changed: then again, after a pause */
                until(&w->registers, 3);
        unsigned sent = w->registers;
        pass_half_a_minute();
        run_ms(500);
        assert_int_equal(w->registers, sent);
        assert_int_equal(w->errors, 0);
        fake_answer(w->held_register, "200", OK, strlen(OK), false);
        until(&w->registered, 1);
}

static void test_wrong_key(void **state)
{
        (void)state;
        static const struct {
                const char *answer;
                enum control_error_kind kind;
        } ROWS[] = {
                {"{\"Error\":\"invalid pre auth key\"}", CONTROL_ERROR_AUTH_KEY},
                {"{\"Error\":\"authkey already used\"}", CONTROL_ERROR_AUTH_KEY_USED},
                {"{\"Error\":\"authkey expired\"}", CONTROL_ERROR_AUTH_KEY_EXPIRED},
        };
        for (unsigned i = 0; i < 3; i++) {
                w->script[0] = ROWS[i].answer;
                login("bad", false);
                until(&w->errors, i + 1);
                assert_int_equal(w->error.kind, ROWS[i].kind);
                assert_true(w->error.fatal);
                run_ms(300);
                assert_int_equal(w->registers, i + 1); /* once, not again */
        }
        w->script[0] = OK;
        login("good", false);
        until(&w->online, 1);
}

static void test_interactive(void **state)
{
        (void)state;
        w->script[0] = "{\"AuthURL\":\"http://h/register/1\"}";
        w->script[1] = NULL;
        login(NULL, false);
        until(&w->urls, 1);
        assert_string_equal(w->url, "http://h/register/1");
        w->script[0] = NULL; /* the follow-up waits */
        w->step = 0;
        until(&w->registers, 2);
        if (w->held_register == NULL) /* it came before the script was changed: then again, after a pause */
                until(&w->registers, 3);
        assert_string_equal(w->followup, "http://h/register/1");
        assert_int_equal(w->need_login, 0);
        assert_non_null(w->held_register);
        fake_answer(w->held_register, "200", OK, strlen(OK), false);
        until(&w->online, 1);
        assert_int_equal(w->registered, 1);
        assert_int_equal(w->urls, 1);
}

/* The URL ran out, or somebody else got the verdict: a plain question first, and no new URL if all is well. */
static void test_new_url(void **state)
{
        (void)state;
        w->script[0] = "{\"AuthURL\":\"http://h/register/1\"}";
        w->script[1] = "{\"AuthURL\":\"http://h/register/2\"}";
        w->script[2] = OK;
        login(NULL, false);
        until(&w->online, 1);
        assert_int_equal(w->urls, 1);
        assert_string_equal(w->followup, "");
        assert_int_equal(w->registers, 3);
}

static void test_bad_url(void **state)
{
        (void)state;
        w->script[0] = "{\"AuthURL\":\"javascript:alert(1)\"}";
        login(NULL, false);
        until(&w->errors, 1);
        assert_int_equal(w->urls, 0);
        assert_int_equal(w->error.kind, CONTROL_ERROR_PROTOCOL);
}

static void test_expired_key(void **state)
{
        (void)state;
        struct key_private stored;
        key_generate(&stored);
        control_set_keys(w->c, &w->machine, &stored, NULL, &(struct disco_public){{1}});
        w->script[0] = "{\"NodeKeyExpired\":true}";
        w->script[1] = OK;
        login("k", false);
        until(&w->online, 1);
        assert_int_equal(w->keys, 1); /* a new one was made for the second try */
        assert_memory_not_equal(w->node.b, stored.b, KEY_LEN);
        assert_int_equal(w->need_login, 0); /* the auth key is all that was needed */
}

static void test_quiet_restart(void **state)
{
        (void)state;
        struct key_private stored;
        key_generate(&stored);
        control_set_keys(w->c, &w->machine, &stored, NULL, &(struct disco_public){{1}});
        w->script[0] = OK;
        login(NULL, false);
        until(&w->online, 1);
        assert_int_equal(w->keys, 0);
        assert_string_equal(w->auth_key, "");
        assert_memory_equal(w->node.b, stored.b, KEY_LEN);
}

static void test_logout(void **state)
{
        (void)state;
        logged_in();
        char key[KEY_TEXT_MAX];
        memcpy(key, w->node_key, sizeof(key));
        w->script[0] = "{\"NodeKeyExpired\":true}";
        control_logout(w->c, 5000);
        until(&w->logged_out, 1);
        assert_string_equal(w->expiry, "1970-01-01T00:02:03Z");
        assert_string_equal(w->node_key, key);
        assert_null(control_netmap(w->c)->self);
        run_ms(300);
        assert_int_equal(w->streams, 1);
        assert_int_equal(w->errors, 0);
}

static void test_stop_and_again(void **state)
{
        (void)state;
        logged_in();
        control_stop(w->c);
        assert_int_equal(w->offline, 1);
        assert_non_null(control_netmap(w->c)->self);
        run_ms(100);
        login(NULL, false);
        until(&w->online, 2);
        assert_int_equal(w->keys, 1);
        control_network_changed(w->c);
        until(&w->online, 3);
        assert_int_equal(w->errors, 0);
}

/* Freed at any moment: nothing is touched afterwards (the sanitizers watch). */
static void test_free_any_time(void **state)
{
        (void)state;
        for (int rounds = 0; rounds < 24; rounds++) {
                w->script[0] = OK;
                login("k", true);
                for (int i = 0; i < rounds; i++)
                        loop_once(w->loop, 5);
                (void)teardown(NULL);
                void *again = NULL;
                (void)setup(&again);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                ROW(test_login_and_map),
                ROW(test_map_before_the_answer),
                ROW(test_early_map_is_not_believed),
                ROW(test_early_map_of_a_failed_login),
                ROW(test_early_map_is_for_keys_alone),
                ROW(test_no_early_payload),
                ROW(test_followup_waits),
                ROW(test_wrong_key),
                ROW(test_interactive),
                ROW(test_new_url),
                ROW(test_bad_url),
                ROW(test_expired_key),
                ROW(test_quiet_restart),
                ROW(test_logout),
                ROW(test_stop_and_again),
                ROW(test_free_any_time),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
