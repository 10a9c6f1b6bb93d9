/* The whole client against a small control server on the loopback: logging in in every way, the map, updates,
 * restarts of the server, a deleted node, logging out. */
#include "daemon/control/client_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/control_fake_server.h"

#define SELF                                                                                                 \
        "\"Node\":{\"ID\":1,\"Name\":\"alpha.x.\",\"Key\":\"nodekey:"                                        \
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}"
#define OK                                                                                                   \
        "{\"User\":{\"ID\":7},\"Login\":{\"LoginName\":\"alice\",\"DisplayName\":\"Alice\"},"                \
        "\"MachineAuthorized\":true}"

struct world {
        struct loop *loop;
        struct dialer *dialer;
        struct fake fake;
        struct control *c;
        struct key_private machine, node;
        /* What the client said. */
        unsigned keys, urls, registered, need_login, maps, online, offline, errors, logged_out;
        char url[256];
        enum control_need_login why;
        struct control_error error;
        char server_text[128];
        size_t peers;
        /* What the server saw. */
        unsigned registers, streams, lites, endpoints, c2n;
        char node_key[KEY_TEXT_MAX], followup[256], auth_key[64], expiry[64];
        const char *script[8]; /* answers to register, in order; the last one stays; NULL: none yet */
        unsigned step;
        const char *map_status; /* NULL: a map comes */
        bool slow_map;          /* it comes when the test says so */
        bool mute_updates;      /* they are taken and not answered */
        struct fake_stream *held_register, *held_map;
};

static struct world *w;

/* --- the client's callbacks --- */

static void on_node_key(void *arg, const struct key_private *candidate, const struct key_private *old)
{
        (void)arg;
        (void)old;
        assert_int_equal(w->registered, 0); /* before the server hears of it */
        w->keys++;
        w->node = *candidate;
}

static void on_auth_url(void *arg, const char *url)
{
        (void)arg;
        w->urls++;
        (void)snprintf(w->url, sizeof(w->url), "%s", url);
}

static void on_registered(void *arg, const struct control_registered *r)
{
        (void)arg;
        w->registered++;
        assert_int_equal(r->user_id, 7);
        assert_string_equal(r->login_name, "alice");
        assert_true(r->machine_authorized);
        w->node = r->node_key;
}

static void on_need_login(void *arg, enum control_need_login why)
{
        (void)arg;
        w->need_login++;
        w->why = why;
}

static void on_netmap(void *arg, const struct netmap *nm, const struct netmap_delta *d)
{
        (void)arg;
        (void)d;
        w->maps++;
        w->peers = nm->peer_count;
}

static void on_online(void *arg, bool online)
{
        (void)arg;
        if (online)
                w->online++;
        else
                w->offline++;
}

static void on_error(void *arg, const struct control_error *e)
{
        (void)arg;
        w->errors++;
        w->error = *e;
        assert_true(e->message[0] != '\0');
        (void)snprintf(w->server_text, sizeof(w->server_text), "%s", e->server_text);
}

static void on_logged_out(void *arg, const struct control_error *e)
{
        (void)arg;
        assert_null(e);
        w->logged_out++;
}

static void on_browser_url(void *arg, const char *url)
{
        (void)arg;
        (void)url;
}

/* --- the server's part --- */

static void on_register(struct fake_stream *s, json_t *body)
{
        w->registers++;
        (void)snprintf(w->node_key, sizeof(w->node_key), "%s", json_str(body, "NodeKey", ""));
        (void)snprintf(w->followup, sizeof(w->followup), "%s", json_str(body, "Followup", ""));
        (void)snprintf(w->expiry, sizeof(w->expiry), "%s", json_str(body, "Expiry", ""));
        (void)snprintf(w->auth_key, sizeof(w->auth_key), "%s",
                       json_str(json_obj(body, "Auth"), "AuthKey", ""));
        assert_true(json_has(body, "Hostinfo"));
        const char *answer = w->script[w->step];
        if (w->script[w->step + 1] != NULL || answer == NULL)
                w->step++;
        if (answer == NULL)
                w->held_register = s;
        else
                fake_answer(s, "200", answer, strlen(answer), false);
}

static void on_request(struct fake *f, struct fake_stream *s, json_t *body)
{
        (void)f;
        if (strcmp(s->path, "/machine/register") == 0) {
                on_register(s, body);
                return;
        }
        if (strcmp(s->path, "/c2n/token") == 0) {
                w->c2n++;
                assert_string_equal(s->body.data, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
                fake_answer(s, "204", "", 0, false);
                return;
        }
        assert_string_equal(s->path, "/machine/map");
        assert_true(json_has(body, "DiscoKey"));
        bool stream = json_bool(body, "Stream", false);
        if (stream)
                w->streams++;
        else
                w->lites++;
        w->endpoints = (unsigned)json_array_size(json_arr(body, "Endpoints"));
        if (w->map_status != NULL) {
                fake_answer(s, w->map_status, "node not found\n", 15, false);
        } else if (stream) {
                w->held_map = s;
                if (!w->slow_map)
                        fake_map(s, "{" SELF "}");
        } else if (!w->mute_updates) {
                fake_answer(s, "200", "", 0, false);
        }
}

/* --- the frame --- */

static int setup(void **state)
{
        static const struct control_callbacks CB = {on_node_key,   on_auth_url,   on_registered,
                                                    on_need_login, on_netmap,     on_online,
                                                    on_error,      on_logged_out, on_browser_url};
        struct key_private disco;
        char url[64];
        w = calloc(1, sizeof(*w));
        w->loop = loop_new();
        w->dialer = dialer_new(w->loop);
        fake_start(&w->fake, w->loop);
        w->fake.on_request = on_request;
        w->c = control_new(w->loop, w->dialer, &CB, NULL);
        key_generate(&w->machine);
        key_generate(&disco);
        struct disco_public pub = key_disco_public(&disco);
        control_set_keys(w->c, &w->machine, NULL, NULL, &pub);
        (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", w->fake.port);
        assert_int_equal(control_set_server(w->c, url), ERR_NONE);
        control_set_hostinfo(w->c, &(struct hostinfo){.hostname = "alpha"});
        *state = w;
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        control_free(w->c);
        fake_stop(&w->fake);
        dialer_free(w->dialer);
        loop_free(w->loop);
        free(w);
        return 0;
}

/* Runs until *counter reaches n; a test that waits for nothing fails after ten seconds. */
static void until(const unsigned *counter, unsigned n)
{
        mono_t end = mono_add_ms(mono_now(), 60000);
        while (*counter < n && !mono_reached(mono_now(), end))
                loop_once(w->loop, 50);
        assert_true(*counter >= n);
}

static void run_ms(int64_t ms)
{
        mono_t end = mono_add_ms(mono_now(), ms);
        while (!mono_reached(mono_now(), end))
                loop_once(w->loop, 20);
}

static void login(const char *key, bool force)
{
        control_login(w->c, &(struct control_login){.auth_key = key, .force = force});
        control_set_poll(w->c, true);
}

static void logged_in(void)
{
        w->script[0] = OK;
        login("k", false);
        until(&w->online, 1);
        until(&w->lites, 1); /* the one that goes with every stream */
}

/* --- tests --- */

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

/* The others are told of us while the server still prepares our map. */
static void test_update_beside_the_stream(void **state)
{
        (void)state;
        w->script[0] = OK;
        w->slow_map = true;
        login("k", false);
        until(&w->lites, 1);
        assert_int_equal(w->streams, 1);
        assert_int_equal(w->online, 0);
        run_ms(300);
        fake_map(w->held_map, "{" SELF "}");
        until(&w->online, 1);
        run_ms(300);
        assert_int_equal(w->lites, 1); /* nothing new, nothing said */
        assert_int_equal(w->streams, 1);
        assert_int_equal(w->errors, 0);
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

/* What changes together goes out once; what does not change goes out never. */
static void test_updates(void **state)
{
        (void)state;
        logged_in();
        struct control_endpoint eps[2] = {
                {{ip_v4(192, 0, 2, 1), 1}, CONTROL_ENDPOINT_LOCAL},
                {{ip_v4(192, 0, 2, 2), 2}, CONTROL_ENDPOINT_STUN},
        };
        control_set_endpoints(w->c, eps, 1);
        control_set_endpoints(w->c, eps, 2);
        control_set_netinfo(w->c, &(struct netinfo){.preferred_derp = 5});
        until(&w->lites, 2);
        assert_int_equal(w->endpoints, 2);
        struct control_endpoint swapped[2] = {eps[1], eps[0]};
        struct netinfo_latency l = {5, false, 0.1};
        control_set_endpoints(w->c, swapped, 2);
        control_set_netinfo(w->c, &(struct netinfo){.preferred_derp = 5, .latency = &l, .latency_count = 1});
        control_set_hostinfo(w->c, &(struct hostinfo){.hostname = "alpha"});
        run_ms(400);
        assert_int_equal(w->lites, 2);
        assert_int_equal(w->streams, 1);
        control_set_endpoints(w->c, NULL, 0);
        until(&w->lites, 3);
        assert_int_equal(w->endpoints, 0);
}

/* An update without an answer holds the next ones up for half a minute, not for the life of the stream. */
static void test_update_unanswered(void **state)
{
        (void)state;
        logged_in();
        w->mute_updates = true;
        control_set_endpoints(w->c, &(struct control_endpoint){{ip_v4(192, 0, 2, 1), 1}, CONTROL_ENDPOINT_LOCAL}, 1);
        until(&w->lites, 2);
        run_ms(300);
        assert_int_equal(w->lites, 2);
        w->mute_updates = false;
        w->c->lite_sent = mono_add_ms(w->c->lite_sent, -30000);
        control_kick(w->c);
        until(&w->lites, 3);
        assert_int_equal(w->endpoints, 1);
        assert_int_equal(w->streams, 1);
}

static void pass_half_a_minute(void)
{
        w->c->reg_sent = mono_add_ms(w->c->reg_sent, -30000);
        control_kick(w->c);
}

/* A registration without an answer is told of, and asked again with the same keys. */
static void test_register_unanswered(void **state)
{
        (void)state;
        char node_key[KEY_TEXT_MAX];
        w->script[1] = OK; /* after the one that is held */
        w->map_status = "404";
        login("k", false);
        until(&w->registers, 1);
        run_ms(300);
        assert_int_equal(w->errors, 0);
        (void)snprintf(node_key, sizeof(node_key), "%s", w->node_key);
        w->map_status = NULL;
        pass_half_a_minute();
        until(&w->errors, 1);
        assert_int_equal(w->error.kind, CONTROL_ERROR_SERVER);
        assert_true(w->error.retry_ms > 0);
        until(&w->online, 1);
        assert_int_equal(w->registers, 2);
        assert_string_equal(w->node_key, node_key);
        assert_string_equal(w->auth_key, "k");
        assert_int_equal(w->keys, 1);
        assert_int_equal(w->errors, 1);
}

/* The map that runs beside it shows that the connection is good: it stays. */
static void test_login_unanswered_beside_the_map(void **state)
{
        (void)state;
        logged_in();
        w->registered = 0;
        w->script[0] = NULL;
        w->script[1] = OK;
        w->step = 0;
        login("k", false);
        until(&w->registers, 2);
        pass_half_a_minute();
        until(&w->errors, 1);
        until(&w->registered, 1);
        assert_int_equal(w->registers, 3);
        assert_int_equal(w->streams, 1);
        assert_int_equal(w->offline, 0);
        assert_int_equal(w->fake.dials, 2);
}

/* A probe that is not answered is no news, and holds up neither the next one nor a login. */
static void test_probe_unanswered(void **state)
{
        (void)state;
        logged_in();
        w->script[0] = NULL;
        w->script[1] = OK;
        w->step = 0;
        w->c->probe_at = mono_now();
        control_kick(w->c);
        until(&w->registers, 2);
        pass_half_a_minute();
        run_ms(100);
        assert_null(w->c->reg.stream);
        assert_int_equal(w->errors + w->offline, 0);
        w->c->probe_at = mono_now();
        control_kick(w->c);
        until(&w->registers, 3);
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

static void test_deleted_node(void **state)
{
        (void)state;
        logged_in();
        w->map_status = "404";
        w->script[0] = "{\"AuthURL\":\"http://h/register/9\"}";
        control_set_endpoints(
                w->c, &(struct control_endpoint){{ip_v4(192, 0, 2, 1), 1}, CONTROL_ENDPOINT_LOCAL}, 1);
        until(&w->need_login, 1);
        assert_int_equal(w->why, CONTROL_NEED_NODE_DELETED);
        until(&w->urls, 1);
        assert_int_equal(w->offline, 1);
}

static void test_server_restart(void **state)
{
        (void)state;
        logged_in();
        fake_stop(&w->fake);
        until(&w->offline, 1);
        until(&w->errors, 2);
        assert_int_equal(w->error.kind, CONTROL_ERROR_REFUSED);
        assert_false(w->error.fatal);
        fake_listen(&w->fake);
        until(&w->online, 2);
        assert_int_equal(w->registers, 1); /* the same node: only the stream is opened anew */
}

static void test_new_server_key(void **state)
{
        (void)state;
        logged_in();
        fake_stop(&w->fake);
        key_generate(&w->fake.key);
        fake_listen(&w->fake);
        until(&w->online, 2); /* after one failed handshake the key was asked for again */
}

static void test_wrong_version(void **state)
{
        (void)state;
        w->fake.hang_up_on_101 = true;
        login("k", false);
        until(&w->errors, 1);
        assert_int_equal(w->error.kind, CONTROL_ERROR_SERVER_KEY);
        until(&w->errors, 2);
        assert_int_equal(w->error.kind, CONTROL_ERROR_VERSION);
}

static void test_broken_map(void **state)
{
        (void)state;
        logged_in();
        fake_map(w->held_map, "{\"Peers\":3}");
        until(&w->errors, 1);
        assert_int_equal(w->error.kind, CONTROL_ERROR_PROTOCOL);
        until(&w->online, 2);
}

static void test_self_expired(void **state)
{
        (void)state;
        logged_in();
        fake_map(w->held_map, "{\"Node\":{\"ID\":1,\"Name\":\"alpha.x.\",\"Expired\":true,\"Key\":\"nodekey:"
                              "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}}");
        until(&w->need_login, 1);
        assert_int_equal(w->why, CONTROL_NEED_KEY_EXPIRED);
        assert_int_equal(w->offline, 0); /* the poll goes on: the server may extend the key */
}

static void test_ping_inside(void **state)
{
        (void)state;
        logged_in();
        /* A request to /echo with the body "abc". */
        fake_map(w->held_map,
                 "{\"PingRequest\":{\"URL\":\"https://unused/c2n/token\",\"Types\":\"c2n\",\"Payload\":"
                 "\"UE9TVCAvZWNobyBIVFRQLzEuMQ0KDQphYmM=\"}}");
        until(&w->c2n, 1);
        assert_int_equal(w->errors, 0);
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

#define ROW(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                ROW(test_login_and_map), ROW(test_no_early_payload), ROW(test_updates),
                ROW(test_update_unanswered), ROW(test_register_unanswered),
                ROW(test_login_unanswered_beside_the_map), ROW(test_probe_unanswered), ROW(test_followup_waits),
                ROW(test_wrong_key),     ROW(test_interactive),      ROW(test_new_url),
                ROW(test_bad_url),       ROW(test_expired_key),      ROW(test_quiet_restart),
                ROW(test_deleted_node),  ROW(test_server_restart),   ROW(test_new_server_key),
                ROW(test_wrong_version), ROW(test_broken_map),       ROW(test_self_expired),
                ROW(test_ping_inside),   ROW(test_logout),           ROW(test_stop_and_again),
                ROW(test_free_any_time), ROW(test_update_beside_the_stream),
                ROW(test_map_before_the_answer), ROW(test_early_map_is_not_believed),
                ROW(test_early_map_of_a_failed_login), ROW(test_early_map_is_for_keys_alone),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
