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
        bool (*fn)(void *arg, const json_t *peer);
        void *arg;
};

static enum err give(void *arg, const char *key, json_t *peer)
{
        (void)key;
        const struct each *e = arg;
        text_clean_json(peer);
        return e->fn(e->arg, peer) ? ERR_NONE : ERR_CLOSED;
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

void brief_each(const struct brief *b, bool (*fn)(void *arg, const json_t *peer), void *arg)
{
        const struct buf *body = &b->answer.body;
        struct each e = {fn, arg};
        json_t *rest = NULL, *peer;
        const char *key;
        json_object_foreach(json_obj(b->status, "Peer"), key, peer)
        {
                if (!fn(arg, peer))
                        return;
        }
        if (body->len == 0)
                return;
        enum err err = json_each(body->data, body->len, peers_member, give, &e, &rest);
        if (err == ERR_NONE)
                json_decref(rest);
        else if (err != ERR_CLOSED)
                fputs("the daemon's list of peers cannot be read to its end\n", stderr);
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

void status_short_name(const json_t *status, const json_t *peer, char *out, size_t cap)
{
        const char *dns = json_str(peer, "DNSName", "");
        const char *suffix = json_str(status, "MagicDNSSuffix", "");
        if (dns[0] == '\0') {
                snprintf(out, cap, "(\"%s\")", json_str(peer, "HostName", ""));
                return;
        }
        (void)str_copy(out, cap, dns);
        trim_dot(out);
        size_t n = strlen(out), s = strlen(suffix);
        if (s > 0 && n > s + 1 && out[n - s - 1] == '.' && strcasecmp(out + n - s, suffix) == 0)
                out[n - s - 1] = '\0';
}

static bool name_matches(const json_t *status, const json_t *peer, const char *word)
{
        char full[300], shorter[300], want[300];
        (void)str_copy(full, sizeof(full), json_str(peer, "DNSName", ""));
        (void)str_copy(want, sizeof(want), word);
        trim_dot(full);
        trim_dot(want);
        status_short_name(status, peer, shorter, sizeof(shorter));
        return (full[0] != '\0' && strcasecmp(full, want) == 0) || strcasecmp(shorter, want) == 0 ||
                strcasecmp(json_str(peer, "HostName", ""), want) == 0;
}

static bool take_first_ip(const json_t *peer, char *out, size_t cap)
{
        const json_t *first = json_array_get(json_arr(peer, "TailscaleIPs"), 0);
        return json_is_string(first) && str_copy(out, cap, json_string_value(first));
}

struct wanted {
        const json_t *status;
        const char *word;
        char *out;
        size_t cap;
        bool found;
};

static bool look_at(void *arg, const json_t *peer)
{
        struct wanted *w = arg;
        w->found = name_matches(w->status, peer, w->word) && take_first_ip(peer, w->out, w->cap);
        return !w->found;
}

bool status_resolve(const struct brief *b, const char *word, char *out, size_t cap)
{
        struct ip ip;
        struct wanted w = {b->status, word, out, cap, false};
        if (ip_parse(word, &ip) == ERR_NONE)
                return str_copy(out, cap, word);
        brief_each(b, look_at, &w);
        const json_t *self = json_obj(b->status, "Self");
        if (w.found || (self != NULL && name_matches(b->status, self, word) && take_first_ip(self, out, cap)))
                return true;
        text_print(stderr, "error looking up IP of \"%s\": no peer has that name; 'tailscale status' lists them\n",
                word);
        return false;
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
