/* The map while it runs: updates, silence, restarts of the server, a deleted node. */
#include "tests/unit/control_world.h"

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

static void log_in_with_a_key(void *arg, enum control_need_login why)
{
        on_need_login(arg, why);
        w->map_status = NULL;
        w->registered = 0;
        login("k2", true);
}

/* Whoever has a key for that logs in with it: nobody is to visit the URL that the server gave to the old node key. */
static void test_deleted_node_with_a_key(void **state)
{
        (void)state;
        logged_in();
        w->c->cb.on_need_login = log_in_with_a_key;
        w->map_status = "404";
        w->script[0] = "{\"AuthURL\":\"http://h/register/9\"}";
        w->script[1] = OK;
        control_set_endpoints(
                w->c, &(struct control_endpoint){{ip_v4(192, 0, 2, 1), 1}, CONTROL_ENDPOINT_LOCAL}, 1);
        until(&w->need_login, 1);
        until(&w->registered, 1);
        assert_string_equal(w->followup, "");
        assert_string_equal(w->auth_key, "k2");
        assert_int_equal(w->urls, 0);
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

static unsigned pings;

static void leave_pings_unanswered(struct fake *f, struct fake_stream *s, json_t *body)
{
        if (strncmp(s->path, "/c2n/", 5) == 0)
                pings++;
        else
                on_request(f, s, body);
}

static void ask_for_pings(unsigned n)
{
        for (unsigned i = 0; i < n; i++) {
                char text[200];
                snprintf(text, sizeof(text), "{\"PingRequest\":{\"URL\":\"https://unused/c2n/%u\",\"URLIsNoise\":true}}", i);
                fake_map(w->held_map, text);
        }
        run_ms(300);
}

/* A server that asks and asks, and takes no answer, gets no more of them; on the next connection it does. */
static void test_pings_inside_are_bounded(void **state)
{
        (void)state;
        pings = 0;
        w->fake.on_request = leave_pings_unanswered;
        logged_in();
        ask_for_pings(40);
        assert_int_equal(pings, HEADPINGS_MAX);
        control_network_changed(w->c);
        until(&w->online, 2);
        ask_for_pings(40);
        assert_int_equal(pings, 2 * HEADPINGS_MAX);
        assert_int_equal(w->errors, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                ROW(test_update_beside_the_stream),
                ROW(test_updates),
                ROW(test_update_unanswered),
                ROW(test_register_unanswered),
                ROW(test_login_unanswered_beside_the_map),
                ROW(test_probe_unanswered),
                ROW(test_deleted_node),
                ROW(test_deleted_node_with_a_key),
                ROW(test_server_restart),
                ROW(test_new_server_key),
                ROW(test_wrong_version),
                ROW(test_broken_map),
                ROW(test_self_expired),
                ROW(test_ping_inside),
                ROW(test_pings_inside_are_bounded),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
