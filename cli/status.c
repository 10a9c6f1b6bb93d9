#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mono.h"
#include "base/timetext.h"
#include "cli/command.h"
#include "cli/jsonprint.h"
#include "cli/table.h"
#include "cli/text.h"

/* LoginName up to and including '@'; a name without one in full.  In the brief form it stands with the peer. */
static const char *owner(const json_t *status, const struct jview *peer, char *out, size_t cap)
{
        char id[24];
        int64_t user = jview_int(peer, "UserID", 0);
        snprintf(id, sizeof(id), "%lld", (long long)user);
        const char *login = jview_str(peer, "LoginName", json_str(json_obj(json_obj(status, "User"), id), "LoginName", NULL));
        if (user == 0)
                return "-";
        if (login == NULL)
                login = id;
        (void)str_copy(out, cap, login);
        char *at = strchr(out, '@');
        if (at != NULL)
                at[1] = '\0';
        return out;
}

static void add_seen(struct buf *b, const struct jview *peer, int64_t now_ns)
{
        int64_t seen;
        if (time_parse(jview_str(peer, "LastSeen", ""), &seen) != ERR_NONE || seen == 0)
                return;
        int64_t minutes = (now_ns - seen) / (60 * NS_PER_SEC);
        if (minutes < 1)
                minutes = 1;
        if (minutes < 60)
                buf_printf(b, ", last seen %lldm ago", (long long)minutes);
        else if (minutes < 24 * 60)
                buf_printf(b, ", last seen %lldh ago", (long long)(minutes / 60));
        else
                buf_printf(b, ", last seen %lldd ago", (long long)(minutes / 60 / 24));
}

static void add_offline(struct buf *b, const struct jview *peer, const char *sep, int64_t now_ns)
{
        if (jview_bool(peer, "Online", false))
                return;
        buf_printf(b, "%soffline", sep);
        add_seen(b, peer, now_ns);
}

static void add_path(struct buf *b, const struct jview *peer)
{
        const char *direct = jview_str(peer, "CurAddr", ""), *via = jview_str(peer, "PeerRelay", "");
        if (direct[0] != '\0')
                buf_printf(b, "direct %s", direct);
        else if (via[0] != '\0')
                buf_printf(b, "peer-relay %s", via);
        else
                buf_printf(b, "relay \"%s\"", jview_str(peer, "Relay", ""));
}

static void status_text(struct buf *b, const struct jview *peer, int64_t now_ns)
{
        int64_t tx = jview_int(peer, "TxBytes", 0), rx = jview_int(peer, "RxBytes", 0);
        bool exit_node = jview_bool(peer, "ExitNode", false), offers = jview_bool(peer, "ExitNodeOption", false);
        if (jview_bool(peer, "Active", false)) {
                buf_printf(b, "active; %s", exit_node ? "exit node; " : offers ? "offers exit node; " : "");
                add_path(b, peer);
                add_offline(b, peer, "; ", now_ns);
        } else if (exit_node || offers) {
                buf_puts(b, exit_node ? "idle; exit node" : "idle; offers exit node");
                add_offline(b, peer, "; ", now_ns);
        } else if (tx != 0 || rx != 0) {
                buf_puts(b, "idle");
                add_offline(b, peer, "; ", now_ns);
        } else if (!jview_bool(peer, "Online", false)) {
                add_offline(b, peer, "", now_ns);
        } else {
                buf_puts(b, "-");
        }
        if (tx != 0 || rx != 0)
                buf_printf(b, ", tx %lld rx %lld", (long long)tx, (long long)rx);
}

enum { COLUMNS = 5 };

/* A line to be, and what it is sorted by. */
struct row {
        char *cells[COLUMNS];
        char *dns_name, *host_name, *key;
};

static char *copy(const char *s)
{
        char *c = strdup(s);
        if (c == NULL)
                abort();
        return c;
}

static struct row row_of(const json_t *status, const struct jview *peer, int64_t now_ns)
{
        char name[320], who[300];
        struct buf text;
        buf_init(&text, 1024);
        status_text(&text, peer, now_ns);
        const char *dns = jview_str(peer, "DNSName", ""), *host = jview_str(peer, "HostName", "");
        const char *ip = jview_text(jview_first(jview_arr(peer, "TailscaleIPs")));
        status_short_name(status, dns, host, name, sizeof(name));
        struct row r = {
                .cells = {
                        copy(ip != NULL ? ip : ""),
                        copy(name),
                        copy(owner(status, peer, who, sizeof(who))),
                        copy(jview_str(peer, "OS", "")),
                        copy(text.data != NULL ? text.data : ""),
                },
                .dns_name = copy(dns),
                .host_name = copy(host),
                .key = copy(jview_str(peer, "PublicKey", "")),
        };
        buf_done(&text);
        return r;
}

static void row_done(struct row *r)
{
        for (size_t i = 0; i < COLUMNS; i++)
                free(r->cells[i]);
        free(r->dns_name);
        free(r->host_name);
        free(r->key);
}

static void add_row(struct table *t, struct row *r)
{
        for (size_t i = 0; i < COLUMNS; i++)
                table_add(t, r->cells[i]);
        row_done(r);
}

static int by_name(const void *a, const void *b)
{
        const struct row *x = a, *y = b;
        int c = strcmp(x->dns_name, y->dns_name);
        if (c == 0)
                c = strcmp(x->host_name, y->host_name);
        return c != 0 ? c : strcmp(x->key, y->key);
}

struct rows {
        const json_t *status;
        bool active_only;
        int64_t now_ns;
        struct row *at;
        size_t count, cap;
};

static bool take_peer(void *arg, const struct jview *peer)
{
        struct rows *r = arg;
        if (jview_bool(peer, "ShareeNode", false) || (r->active_only && !jview_bool(peer, "Active", false)))
                return true;
        if (r->count == r->cap) {
                r->cap = r->cap ? 2 * r->cap : 64;
                struct row *more = realloc(r->at, r->cap * sizeof(*more));
                if (more == NULL)
                        abort();
                r->at = more;
        }
        r->at[r->count++] = row_of(r->status, peer, r->now_ns);
        return true;
}

struct self_row {
        const json_t *status;
        int64_t now_ns;
        struct table *table;
};

static bool add_self(void *arg, const struct jview *self)
{
        struct self_row *s = arg;
        struct row r = row_of(s->status, self, s->now_ns);
        add_row(s->table, &r);
        return true;
}

static void add_peers(struct table *t, const struct brief *b, bool active_only, int64_t now_ns)
{
        struct rows r = {.status = b->status, .active_only = active_only, .now_ns = now_ns};
        brief_each(b, take_peer, &r);
        if (r.count > 0)
                qsort(r.at, r.count, sizeof(*r.at), by_name);
        for (size_t i = 0; i < r.count; i++)
                add_row(t, &r.at[i]);
        free(r.at);
}

int status_print(const struct brief *b, const struct status_view *v, int64_t now_ns, FILE *out)
{
        static const char *const head[COLUMNS] = {"IP", "Hostname", "Owner", "OS", "Status"};
        static const char *const dash[COLUMNS] = {"--", "--------", "-----", "--", "------"};
        struct table t;
        if (!status_is_running(b->status, out))
                return 1;
        table_init(&t, COLUMNS, 2);
        for (size_t i = 0; v->header && i < COLUMNS; i++)
                table_add(&t, head[i]);
        for (size_t i = 0; v->header && i < COLUMNS; i++)
                table_add(&t, dash[i]);
        if (v->self)
                brief_self(b, add_self, &(struct self_row){b->status, now_ns, &t});
        if (v->peers)
                add_peers(&t, b, v->active, now_ns);
        table_print(&t, out);
        table_done(&t);
        if (json_array_size(json_arr(b->status, "Health")) > 0) {
                fputc('\n', out);
                (void)status_print_health(b->status, out);
        }
        return 0;
}

static bool is_active(const struct jview *peer)
{
        return jview_bool(peer, "Active", false);
}

/* The daemon shows peers in its own order; here they stand by key, as they do in the output of every other version.
 * Those that are not active leave the JSON too. */
static int print_json(struct cli *c, const struct status_view *v)
{
        const char *path = v->peers ? "status" : "status?peers=false";
        const struct jsonprint_view view = {"Peer", v->active ? is_active : NULL};
        struct jview_room room = {0};
        const struct jview *status;
        struct answer a;
        client_call(c->client, "GET", path, NULL, 0, &a);
        bool ok = a.err == ERR_NONE && a.status == 200 && a.body.len > 0 &&
                jview_read(&room, a.body.data, a.body.len, &status) == ERR_NONE;
        if (ok)
                jsonprint(status, &view, stdout);
        else
                client_complain(c->client, path, &a);
        jview_done(&room);
        answer_done(&a);
        return ok ? 0 : 1;
}

static int print_text(struct cli *c, const struct status_view *v)
{
        struct brief b = {0};
        if (v->peers) {
                if (!brief_get(c, &b))
                        return 1;
        } else {
                b.status = status_get(c, false);
                if (b.status == NULL)
                        return 1;
                text_clean_json(b.status);
        }
        int code = status_print(&b, v, wall_now_ns(), stdout);
        brief_done(&b);
        return code;
}

int cmd_status(struct cli *c, const struct command *self, int argc, char **argv)
{
        bool json = false;
        struct status_view v = {.peers = true, .self = true};
        struct flag flags[] = {
                FLAG_BOOL("json", &json, "print JSON"),
                FLAG_BOOL("peers", &v.peers, "show the peers"),
                FLAG_BOOL("self", &v.self, "show this node"),
                FLAG_BOOL("active", &v.active, "only peers with traffic of late"),
                FLAG_BOOL("header", &v.header, "a header row"),
        };
        int code;
        if (!command_flags_alone(self, flags, 5, argc, argv, &code))
                return code;
        return json ? print_json(c, &v) : print_text(c, &v);
}
