#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "cli/command.h"
#include "cli/text.h"

json_t *status_get(struct cli *c, bool peers)
{
        json_t *j = NULL;
        if (!client_json(c->client, "GET", peers ? "status" : "status?peers=false", NULL, 200, &j))
                return NULL;
        return j;
}

/* ---- one peer at a time ---- */

static const char *const peers_member[] = {"Peers", NULL};

static enum err pass_over(void *arg, const char *key, const char *text, size_t len, bool *ret_taken)
{
        (void)arg;
        (void)key;
        (void)text;
        (void)len;
        *ret_taken = true;
        return ERR_NONE;
}

struct each {
        brief_fn fn;
        void *arg;
        struct jview_room room;
};

static enum err give(void *arg, const char *key, const char *text, size_t len, bool *ret_taken)
{
        (void)key;
        struct each *e = arg;
        const struct jview *peer;
        enum err err = jview_read(&e->room, text, len, &peer);
        *ret_taken = true;
        if (err != ERR_NONE)
                return err;
        text_clean_views(&e->room);
        return e->fn(e->arg, peer) ? ERR_NONE : ERR_CLOSED;
}

static bool give_tree(struct each *e, const json_t *peer)
{
        bool taken;
        char *text = json_dumps(peer, JSON_COMPACT);
        enum err err = text != NULL ? give(e, "", text, strlen(text), &taken) : ERR_FULL;
        free(text);
        return err == ERR_NONE;
}

static enum err no_element(void *arg, const char *key, json_t *element)
{
        (void)arg;
        (void)key;
        (void)element;
        return ERR_FORMAT;
}

bool brief_get(struct cli *c, struct brief *ret)
{
        static const char path[] = "status?brief=true";
        *ret = (struct brief){0};
        client_call(c->client, "GET", path, NULL, 0, &ret->answer);
        const struct buf *body = &ret->answer.body;
        if (ret->answer.err == ERR_NONE && ret->answer.status == 200 && body->len > 0 &&
                json_each_seen(body->data, body->len, peers_member, pass_over, no_element, NULL, &ret->status) == ERR_NONE) {
                text_clean_json(ret->status);
                return true;
        }
        client_complain(c->client, path, &ret->answer);
        brief_done(ret);
        return false;
}

void brief_done(struct brief *b)
{
        json_decref(b->status);
        answer_done(&b->answer);
        *b = (struct brief){0};
}

static void each_peer(const struct brief *b, struct each *e)
{
        const struct buf *body = &b->answer.body;
        json_t *rest = NULL, *peer;
        const char *key;
        json_object_foreach(json_obj(b->status, "Peer"), key, peer)
        {
                if (!give_tree(e, peer))
                        return;
        }
        if (body->len == 0)
                return;
        enum err err = json_each_seen(body->data, body->len, peers_member, give, no_element, e, &rest);
        if (err == ERR_NONE)
                json_decref(rest);
        else if (err != ERR_CLOSED)
                fputs("the daemon's list of peers cannot be read to its end\n", stderr);
}

void brief_each(const struct brief *b, brief_fn fn, void *arg)
{
        struct each e = {.fn = fn, .arg = arg};
        each_peer(b, &e);
        jview_done(&e.room);
}

void brief_self(const struct brief *b, brief_fn fn, void *arg)
{
        struct each e = {.fn = fn, .arg = arg};
        const json_t *self = json_obj(b->status, "Self");
        if (self != NULL)
                (void)give_tree(&e, self);
        else
                (void)fn(arg, NULL);
        jview_done(&e.room);
}

/* ---- */

bool status_is_running(const json_t *status, FILE *out)
{
        const char *state = json_str(status, "BackendState", "");
        const char *url = json_str(status, "AuthURL", "");
        if (strcmp(state, "Running") == 0 || strcmp(state, "Starting") == 0)
                return true;
        if (strcmp(state, "Stopped") == 0) {
                fputs("Tailscale is stopped.\n", out);
        } else if (strcmp(state, "NeedsLogin") == 0) {
                fputs("Logged out.\n", out);
                if (url[0] != '\0')
                        text_print(out, "Log in at: %s\n", url);
        } else if (strcmp(state, "NeedsMachineAuth") == 0) {
                fputs("This machine waits for the approval of an administrator of the tailnet.\n", out);
        } else {
                if (status_print_health(status, out))
                        fputc('\n', out);
                text_print(out, "unexpected state: %s\n", state);
        }
        return false;
}

bool status_print_health(const json_t *status, FILE *out)
{
        const json_t *health = json_arr(status, "Health");
        if (json_array_size(health) == 0)
                return false;
        fputs("# Health check:\n", out);
        for (size_t i = 0; i < json_array_size(health); i++) {
                const char *text = json_string_value(json_array_get(health, i));
                text_print(out, "#     - %s\n", text != NULL ? text : "");
        }
        return true;
}

static void trim_dot(char *s)
{
        size_t n = strlen(s);
        if (n > 0 && s[n - 1] == '.')
                s[n - 1] = '\0';
}

void status_short_name(const json_t *status, const char *dns_name, const char *host_name, char *out, size_t cap)
{
        const char *suffix = json_str(status, "MagicDNSSuffix", "");
        if (dns_name[0] == '\0') {
                snprintf(out, cap, "(\"%s\")", host_name);
                return;
        }
        (void)str_copy(out, cap, dns_name);
        trim_dot(out);
        size_t n = strlen(out), s = strlen(suffix);
        if (s > 0 && n > s + 1 && out[n - s - 1] == '.' && strcasecmp(out + n - s, suffix) == 0)
                out[n - s - 1] = '\0';
}

static bool name_matches(const json_t *status, const struct jview *peer, const char *word)
{
        const char *dns = jview_str(peer, "DNSName", ""), *host = jview_str(peer, "HostName", "");
        char full[300], shorter[300], want[300];
        (void)str_copy(full, sizeof(full), dns);
        (void)str_copy(want, sizeof(want), word);
        trim_dot(full);
        trim_dot(want);
        status_short_name(status, dns, host, shorter, sizeof(shorter));
        return (full[0] != '\0' && strcasecmp(full, want) == 0) || strcasecmp(shorter, want) == 0 ||
                strcasecmp(host, want) == 0;
}

struct wanted {
        const json_t *status;
        const char *word;
        char *out;
        size_t cap;
        bool found;
};

static bool look_at(void *arg, const struct jview *peer)
{
        struct wanted *w = arg;
        const char *ip = jview_text(jview_first(jview_arr(peer, "TailscaleIPs")));
        w->found = ip != NULL && name_matches(w->status, peer, w->word) && str_copy(w->out, w->cap, ip);
        return !w->found;
}

bool status_resolve(const struct brief *b, const char *word, char *out, size_t cap)
{
        struct ip ip;
        struct wanted w = {b->status, word, out, cap, false};
        if (ip_parse(word, &ip) == ERR_NONE)
                return str_copy(out, cap, word);
        brief_each(b, look_at, &w);
        if (!w.found)
                brief_self(b, look_at, &w);
        if (!w.found)
                text_print(stderr, "error looking up IP of \"%s\": no peer has that name; 'tailscale status' lists them\n",
                        word);
        return w.found;
}

void json_print(const json_t *j, unsigned indent, bool nl)
{
        char *text = json_dumps(j, (indent ? JSON_INDENT(indent) : JSON_COMPACT) | JSON_ENCODE_ANY);
        if (text == NULL)
                return;
        fputs(text, stdout);
        if (nl)
                putchar('\n');
        free(text);
}
