#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mono.h"
#include "base/timetext.h"
#include "cli/command.h"
#include "cli/table.h"
#include "cli/text.h"

/* LoginName up to and including '@'; a name without one in full. */
static const char *owner(const json_t *status, const json_t *peer, char *out, size_t cap)
{
        char id[24];
        int64_t user = json_int(peer, "UserID", 0);
        snprintf(id, sizeof(id), "%lld", (long long)user);
        const char *login = json_str(json_obj(json_obj(status, "User"), id), "LoginName", NULL);
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

static void add_seen(struct buf *b, const json_t *peer, int64_t now_ns)
{
        int64_t seen;
        if (time_parse(json_str(peer, "LastSeen", ""), &seen) != ERR_NONE || seen == 0)
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

static void add_offline(struct buf *b, const json_t *peer, const char *sep, int64_t now_ns)
{
        if (json_bool(peer, "Online", false))
                return;
        buf_printf(b, "%soffline", sep);
        add_seen(b, peer, now_ns);
}

static void add_path(struct buf *b, const json_t *peer)
{
        const char *direct = json_str(peer, "CurAddr", ""), *via = json_str(peer, "PeerRelay", "");
        if (direct[0] != '\0')
                buf_printf(b, "direct %s", direct);
        else if (via[0] != '\0')
                buf_printf(b, "peer-relay %s", via);
        else
                buf_printf(b, "relay \"%s\"", json_str(peer, "Relay", ""));
}

static void status_text(struct buf *b, const json_t *peer, int64_t now_ns)
{
        int64_t tx = json_int(peer, "TxBytes", 0), rx = json_int(peer, "RxBytes", 0);
        bool exit_node = json_bool(peer, "ExitNode", false), offers = json_bool(peer, "ExitNodeOption", false);
        if (json_bool(peer, "Active", false)) {
                buf_printf(b, "active; %s", exit_node ? "exit node; " : offers ? "offers exit node; " : "");
                add_path(b, peer);
                add_offline(b, peer, "; ", now_ns);
        } else if (exit_node || offers) {
                buf_puts(b, exit_node ? "idle; exit node" : "idle; offers exit node");
                add_offline(b, peer, "; ", now_ns);
        } else if (tx != 0 || rx != 0) {
                buf_puts(b, "idle");
                add_offline(b, peer, "; ", now_ns);
        } else if (!json_bool(peer, "Online", false)) {
                add_offline(b, peer, "", now_ns);
        } else {
                buf_puts(b, "-");
        }
        if (tx != 0 || rx != 0)
                buf_printf(b, ", tx %lld rx %lld", (long long)tx, (long long)rx);
}

static void add_row(struct table *t, const json_t *status, const json_t *peer, int64_t now_ns)
{
        char name[320], who[300];
        struct buf text;
        buf_init(&text, 1024);
        status_text(&text, peer, now_ns);
        status_short_name(status, peer, name, sizeof(name));
        const json_t *ip = json_array_get(json_arr(peer, "TailscaleIPs"), 0);
        table_add(t, json_is_string(ip) ? json_string_value(ip) : "");
        table_add(t, name);
        table_add(t, owner(status, peer, who, sizeof(who)));
        table_add(t, json_str(peer, "OS", ""));
        table_add(t, text.data != NULL ? text.data : "");
        table_end_row(t);
        buf_done(&text);
}

static int by_name(const void *a, const void *b)
{
        const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
        int c = strcmp(json_str(x, "DNSName", ""), json_str(y, "DNSName", ""));
        if (c == 0)
                c = strcmp(json_str(x, "HostName", ""), json_str(y, "HostName", ""));
        return c != 0 ? c : strcmp(json_str(x, "PublicKey", ""), json_str(y, "PublicKey", ""));
}

static void add_peers(struct table *t, const json_t *status, bool active_only, int64_t now_ns)
{
        json_t *peers = json_obj(status, "Peer"), *peer;
        const char *key;
        size_t n = 0;
        json_t **sorted = calloc(json_object_size(peers) + 1, sizeof(*sorted));
        if (sorted == NULL)
                return;
        json_object_foreach(peers, key, peer)
        {
                if (!json_bool(peer, "ShareeNode", false) && (!active_only || json_bool(peer, "Active", false)))
                        sorted[n++] = peer;
        }
        qsort(sorted, n, sizeof(*sorted), by_name);
        for (size_t i = 0; i < n; i++)
                add_row(t, status, sorted[i], now_ns);
        free(sorted);
}

int status_print(const json_t *status, const struct status_view *v, int64_t now_ns, FILE *out)
{
        static const char *const head[] = {"IP", "Hostname", "Owner", "OS", "Status"};
        static const char *const dash[] = {"--", "--------", "-----", "--", "------"};
        struct table t;
        if (!status_is_running(status, out))
                return 1;
        table_init(&t, 5, 2);
        for (size_t i = 0; v->header && i < 5; i++)
                table_add(&t, head[i]);
        for (size_t i = 0; v->header && i < 5; i++)
                table_add(&t, dash[i]);
        if (v->self)
                add_row(&t, status, json_obj(status, "Self"), now_ns);
        if (v->peers)
                add_peers(&t, status, v->active, now_ns);
        table_print(&t, out);
        table_done(&t);
        if (json_array_size(json_arr(status, "Health")) > 0) {
                fputc('\n', out);
                (void)status_print_health(status, out);
        }
        return 0;
}

/* Peers that are not active leave the JSON too. */
static void keep_active(json_t *status)
{
        json_t *peers = json_obj(status, "Peer"), *peer;
        const char *key;
        void *tmp;
        json_object_foreach_safe(peers, tmp, key, peer)
        {
                if (!json_bool(peer, "Active", false))
                        json_object_del(peers, key);
        }
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
        json_t *status = status_get(c, v.peers);
        if (status == NULL)
                return 1;
        if (v.active)
                keep_active(status);
        if (json) {
                json_print(status, 2, false);
                code = 0;
        } else {
                text_clean_json(status);
                code = status_print(status, &v, wall_now_ns(), stdout);
        }
        json_decref(status);
        return code;
}
