/* A server that is none, that is broken, or that says no: what is told of it, and that the client tries again. */
#include "tests/unit/control_world.h"

static void contains(const char *text, const char *part)
{
        if (strstr(text, part) == NULL)
                fail_msg("\"%s\" does not say \"%s\"", text, part);
}

/* What on_error() was told last; message is not kept by the world, as it is borrowed. */
static char message[512];

static void on_refusal(void *arg, const struct control_error *e)
{
        on_error(arg, e);
        (void)snprintf(message, sizeof(message), "%s", e->message);
}

static int set_up(void **state)
{
        message[0] = '\0';
        int rc = setup(state);
        w->c->cb.on_error = on_refusal;
        return rc;
}

#define HTTP(status, body) "HTTP/1.1 " status " X\r\nContent-Length: " body
#define EMPTY              "0\r\nConnection: close\r\n\r\n"

/* Whoever answers at that address, before the Noise channel stands. */
static void test_no_control_server(void **state)
{
        static const struct {
                const char *key, *upgrade;
                enum fake_fault noise;
                enum control_error_kind kind;
                const char *says;
        } rows[] = {
                {HTTP("404", EMPTY), NULL, FAKE_GOOD, CONTROL_ERROR_NOT_CONTROL, "HTTP status 404"},
                {HTTP("503", EMPTY), NULL, FAKE_GOOD, CONTROL_ERROR_SERVER, "HTTP status 503"},
                {HTTP("200", "2\r\n\r\n{}"), NULL, FAKE_GOOD, CONTROL_ERROR_NOT_CONTROL, "does not publish a key"},
                {HTTP("200", "4\r\n\r\nnull"), NULL, FAKE_GOOD, CONTROL_ERROR_NOT_CONTROL, "does not publish a key"},
                {HTTP("200", "20\r\n\r\n{\"legacyPublicKey\":1}"), NULL, FAKE_GOOD, CONTROL_ERROR_NOT_CONTROL, ""},
                {NULL, HTTP("403", EMPTY), FAKE_GOOD, CONTROL_ERROR_NOT_CONTROL, "HTTP status 403"},
                {NULL, HTTP("502", EMPTY), FAKE_GOOD, CONTROL_ERROR_SERVER, "HTTP status 502"},
                {NULL, "SSH-2.0-OpenSSH_9.2\r\n\r\n", FAKE_GOOD, CONTROL_ERROR_NOT_CONTROL, "not HTTP"},
                {NULL, NULL, FAKE_BAD_RESPONSE, CONTROL_ERROR_SERVER_KEY, ""},
                {NULL, NULL, FAKE_BAD_RECORD, CONTROL_ERROR_PROTOCOL, "record from the server is damaged"},
                {NULL, NULL, FAKE_LONG_EARLY, CONTROL_ERROR_PROTOCOL, "early payload is too long"},
                {NULL, NULL, FAKE_NO_HTTP2, CONTROL_ERROR_SERVER, "HTTP/2"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                w->fake.key_says = rows[i].key;
                w->fake.upgrade_says = rows[i].upgrade;
                w->fake.noise_fault = rows[i].noise;
                w->script[0] = OK;
                login("k", false);
                until(&w->errors, 1);
                if (w->error.kind != rows[i].kind)
                        fail_msg("row %zu: kind %d: %s", i, (int)w->error.kind, message);
                contains(message, rows[i].says);
                assert_false(w->error.fatal);
                assert_true(w->error.retry_ms > 0);
                assert_int_equal(w->registered, 0);
                /* And when it is mended, all goes well. */
                w->fake.key_says = w->fake.upgrade_says = NULL;
                w->fake.noise_fault = FAKE_GOOD;
                until(&w->online, 1);
                assert_int_equal(w->registered, 1);
                teardown(state);
                set_up(state);
        }
}

/* Inside the channel: each answer to a registration but the good ones. */
static void test_registration_refused(void **state)
{
        static const struct {
                const char *status, *answer;
                enum control_error_kind kind;
                const char *says, *server;
                int64_t least_ms, most_ms;
        } rows[] = {
                {"500", "database is locked\n", CONTROL_ERROR_SERVER, "database is locked", "database is locked", 1, 60000},
                {"502", "", CONTROL_ERROR_SERVER, "HTTP status 502", "", 1, 60000},
                {"401", "no\n", CONTROL_ERROR_REJECTED, "no", "no", 1, 60000},
                {"429", "slow down\n", CONTROL_ERROR_RATE_LIMITED, "", "slow down", 5000, 10000},
                {"400", "unsupported client version: 138\n", CONTROL_ERROR_VERSION, "", "unsupported client version", 60000, 60000},
                {"400", "bad\n", CONTROL_ERROR_REJECTED, "bad", "bad", 1, 60000},
                {"200", "not JSON", CONTROL_ERROR_PROTOCOL, "cannot be read", "", 1, 60000},
                {"200", "", CONTROL_ERROR_PROTOCOL, "cannot be read", "", 1, 60000},
                {"200", "{\"AuthURL\":\"file:///etc/passwd\"}", CONTROL_ERROR_PROTOCOL, "login URL is none", "", 1, 60000},
                {"200", "{\"NodeKeyExpired\":true}", CONTROL_ERROR_REJECTED, "new node key expired", "", 1, 60000},
                {"200", "{\"Error\":\"the moon is wrong\"}", CONTROL_ERROR_REJECTED, "", "the moon is wrong", 1, 60000},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                w->register_status = rows[i].status;
                w->script[0] = rows[i].answer;
                login("k", false);
                until(&w->errors, 1);
                if (w->error.kind != rows[i].kind)
                        fail_msg("row %zu: kind %d: %s", i, (int)w->error.kind, message);
                contains(message, rows[i].says);
                contains(w->server_text, rows[i].server);
                assert_in_range(w->error.retry_ms, rows[i].least_ms, rows[i].most_ms);
                assert_int_equal(w->registered, 0);
                if (rows[i].most_ms <= 60000 && rows[i].least_ms == 1) {
                        w->register_status = NULL;
                        w->script[0] = OK;
                        until(&w->registered, 1);
                }
                teardown(state);
                set_up(state);
        }
}

/* What no waiting mends is said once. */
static void test_registration_is_over(void **state)
{
        static const struct {
                const char *answer, *server;
                unsigned need_login;
        } rows[] = {
                {"{\"NodeKeySignature\":\"AAAA\"}", "", 0},
                {"{\"Error\":\"requested tags [tag:x] are invalid or not permitted\"}", "not permitted", 0},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                w->script[0] = rows[i].answer;
                login("k", false);
                until(&w->errors, 1);
                contains(w->server_text, rows[i].server);
                run_ms(200);
                unsigned asked = w->registers;
                run_ms(1500);
                assert_int_equal(w->registers, asked);
                teardown(state);
                set_up(state);
        }
}

static void test_map_refused(void **state)
{
        static const struct {
                const char *status, *text;
                enum control_error_kind kind;
                const char *says;
        } rows[] = {
                {"500", "oops\n", CONTROL_ERROR_SERVER, "oops"},
                {"502", "", CONTROL_ERROR_SERVER, "HTTP status 502 for the map"},
                {"403", "no\n", CONTROL_ERROR_REJECTED, "no"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                w->map_status = rows[i].status;
                w->map_text = rows[i].text;
                w->script[0] = OK;
                login(NULL, false);
                until(&w->errors, 1);
                assert_int_equal(w->error.kind, rows[i].kind);
                contains(message, rows[i].says);
                w->map_status = NULL;
                until(&w->online, 1);
                teardown(state);
                set_up(state);
        }
        /* Node key and machine key are not of one node: nothing but a login mends that. */
        w->map_status = "401";
        w->map_text = "machine key does not match\n";
        w->script[0] = OK;
        login(NULL, false);
        until(&w->need_login, 1);
        assert_int_equal(w->why, CONTROL_NEED_MIXED_STATE);
        unsigned streams = w->streams;
        run_ms(1500);
        assert_int_equal(w->streams, streams);
}

static void test_map_ends(void **state)
{
        (void)state;
        logged_in();
        fake_answer(w->held_map, "200", "", 0, false);
        until(&w->offline, 1);
        assert_int_equal(w->error.kind, CONTROL_ERROR_SERVER);
        contains(message, "it ended the map stream");
        until(&w->online, 2);
}

/* Headscale tells of a deleted node only who asks. */
static void probed(const char *answer)
{
        logged_in();
        w->script[0] = answer;
        w->step = 0;
        unsigned before = w->registers;
        w->c->probe_at = mono_now();
        control_kick(w->c);
        until(&w->registers, before + 1);
        run_ms(100);
}

static void test_probe_answers(void **state)
{
        static const char *const no_news[] = {OK, "not JSON", "{\"Error\":\"something\"}", "{\"AuthURL\":\"nonsense\"}"};
        for (size_t i = 0; i < sizeof(no_news) / sizeof(no_news[0]); i++) {
                probed(no_news[i]);
                assert_int_equal(w->need_login, 0);
                assert_int_equal(w->offline, 0);
                assert_int_equal(w->errors, 0);
                teardown(state);
                set_up(state);
        }
        w->register_status = NULL;
        probed("{\"AuthURL\":\"http://h/register/9\"}");
        assert_int_equal(w->need_login, 1);
        assert_int_equal(w->why, CONTROL_NEED_NODE_DELETED);
        assert_string_equal(w->url, "http://h/register/9");
        assert_int_equal(w->offline, 1);
        teardown(state);
        set_up(state);
        probed("{\"NodeKeyExpired\":true}");
        assert_int_equal(w->need_login, 1);
        assert_int_equal(w->why, CONTROL_NEED_KEY_EXPIRED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_no_control_server, set_up, teardown),
                cmocka_unit_test_setup_teardown(test_registration_refused, set_up, teardown),
                cmocka_unit_test_setup_teardown(test_registration_is_over, set_up, teardown),
                cmocka_unit_test_setup_teardown(test_map_refused, set_up, teardown),
                cmocka_unit_test_setup_teardown(test_map_ends, set_up, teardown),
                cmocka_unit_test_setup_teardown(test_probe_answers, set_up, teardown),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
