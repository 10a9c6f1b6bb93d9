/* tests/unit/control_world.h - the whole control client against a small control server on the loopback. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/control_fake_server.h"
#include "daemon/control/client_state.h"

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
        const char *register_status; /* of the answers in script; NULL: 200 */
        const char *map_status; /* NULL: a map comes */
        const char *map_text;   /* with that status; NULL: node not found */
        bool slow_map;          /* it comes when the test says so */
        bool mute_updates;      /* they are taken and not answered */
        struct fake_stream *held_register, *held_map;
};

static struct world *w;

/* ---- the client's callbacks ---- */

static inline void on_node_key(void *arg, const struct key_private *candidate, const struct key_private *old)
{
        (void)arg;
        (void)old;
        assert_int_equal(w->registered, 0); /* before the server hears of it */
        w->keys++;
        w->node = *candidate;
}

static inline void on_auth_url(void *arg, const char *url)
{
        (void)arg;
        w->urls++;
        (void)snprintf(w->url, sizeof(w->url), "%s", url);
}

static inline void on_registered(void *arg, const struct control_registered *r)
{
        (void)arg;
        w->registered++;
        assert_int_equal(r->user_id, 7);
        assert_string_equal(r->login_name, "alice");
        assert_true(r->machine_authorized);
        w->node = r->node_key;
}

static inline void on_need_login(void *arg, enum control_need_login why)
{
        (void)arg;
        w->need_login++;
        w->why = why;
}

static inline void on_netmap(void *arg, const struct netmap *nm, const struct netmap_delta *d)
{
        (void)arg;
        (void)d;
        w->maps++;
        w->peers = nm->peer_count;
}

static inline void on_online(void *arg, bool online)
{
        (void)arg;
        if (online)
                w->online++;
        else
                w->offline++;
}

static inline void on_error(void *arg, const struct control_error *e)
{
        (void)arg;
        w->errors++;
        w->error = *e;
        assert_true(e->message[0] != '\0');
        (void)snprintf(w->server_text, sizeof(w->server_text), "%s", e->server_text);
}

static inline void on_logged_out(void *arg, const struct control_error *e)
{
        (void)arg;
        assert_null(e);
        w->logged_out++;
}

static inline void on_browser_url(void *arg, const char *url)
{
        (void)arg;
        (void)url;
}

/* ---- the server's part ---- */

static inline void on_register(struct fake_stream *s, json_t *body)
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
                fake_answer(s, w->register_status != NULL ? w->register_status : "200", answer, strlen(answer), false);
}

static inline void on_request(struct fake *f, struct fake_stream *s, json_t *body)
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
                const char *text = w->map_text != NULL ? w->map_text : "node not found\n";
                fake_answer(s, w->map_status, text, strlen(text), false);
        } else if (stream) {
                w->held_map = s;
                if (!w->slow_map)
                        fake_map(s, "{" SELF "}");
        } else if (!w->mute_updates) {
                fake_answer(s, "200", "", 0, false);
        }
}

/* ---- the frame ---- */

static inline int setup(void **state)
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

static inline int teardown(void **state)
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
static inline void until(const unsigned *counter, unsigned n)
{
        mono_t end = mono_add_ms(mono_now(), 60000);
        while (*counter < n && !mono_reached(mono_now(), end))
                loop_once(w->loop, 50);
        assert_true(*counter >= n);
}

static inline void run_ms(int64_t ms)
{
        mono_t end = mono_add_ms(mono_now(), ms);
        while (!mono_reached(mono_now(), end))
                loop_once(w->loop, 20);
}

static inline void login(const char *key, bool force)
{
        control_login(w->c, &(struct control_login){.auth_key = key, .force = force});
        control_set_poll(w->c, true);
}

static inline void logged_in(void)
{
        w->script[0] = OK;
        login("k", false);
        until(&w->online, 1);
        until(&w->lites, 1); /* the one that goes with every stream */
}

static inline void pass_half_a_minute(void)
{
        w->c->reg_sent = mono_add_ms(w->c->reg_sent, -30000);
        control_kick(w->c);
}

#define ROW(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
