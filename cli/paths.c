/* debug paths: the paths to a peer, what happened to them, and why none is direct; `ping --verbose` ends with it too. */
#include <stdio.h>
#include <string.h>

#include "base/duration.h"
#include "base/json.h"
#include "base/mono.h"
#include "cli/command.h"
#include "cli/table.h"
#include "cli/text.h"

enum { CELL_MAX = 64 };

/* "2.1s"; seconds are null when it never was. */
static const char *short_time(const json_t *o, const char *key, const char *never, char out[CELL_MAX])
{
        char text[DURATION_STR_MAX];
        const json_t *v = json_object_get(o, key);
        int64_t ns = (int64_t)(json_number_value(v) * 1e9), unit = ns < NS_PER_SEC ? NS_PER_MS / 10 : NS_PER_SEC / 10;
        snprintf(out, CELL_MAX, "%s", json_is_number(v) ? duration_str(duration_round(ns, unit), text) : never);
        return out;
}

static const char *ago(const json_t *o, const char *key, char out[CELL_MAX])
{
        char text[CELL_MAX];
        if (!json_is_number(json_object_get(o, key)))
                return "never";
        snprintf(out, CELL_MAX, "%.40s ago", short_time(o, key, "", text));
        return out;
}

static void print_way(const json_t *p, FILE *out)
{
        char lat[CELL_MAX], trust[CELL_MAX];
        const char *state = json_str(p, "State", ""), *addr = json_str(p, "Addr", ""), *relay = json_str(p, "Relay", "");
        fprintf(out, "%s (%s): ", json_str(p, "NodeName", ""), json_str(p, "NodeIP", ""));
        if (strcmp(state, "direct") == 0)
                fprintf(out, "direct by %s in %s, trusted for %s\n", addr, short_time(p, "LatencySeconds", "?", lat),
                        short_time(p, "TrustedFor", "0s", trust));
        else if (strcmp(state, "doubt") == 0)
                fprintf(out, "by %s, which is in doubt, and by DERP(%s)\n", addr, relay);
        else if (strcmp(state, "relay") == 0)
                fprintf(out, "by DERP(%s)\n", relay[0] != '\0' ? relay : "?");
        else
                fputs("no way is known\n", out);
}

static void print_times(const json_t *p, FILE *out)
{
        char a[CELL_MAX], b[CELL_MAX], c[CELL_MAX];
        const char *from = json_str(p, "RelayFrom", "");
        if (from[0] != '\0')
                fprintf(out, "Relay: %s, %s\n", json_str(p, "Relay", ""), strcmp(from, "map") == 0 ? "the peer's home" :
                        strcmp(from, "heard") == 0 ? "where the peer was heard last" : "our own home, as that of the peer is not known");
        fprintf(out, "Data: sent %s, received %s; %lld bytes sent directly, %lld by relay\n", ago(p, "SentAgo", a),
                ago(p, "HeardAgo", b), (long long)json_int(p, "TxDirect", 0), (long long)json_int(p, "TxRelay", 0));
        fprintf(out, "Search: begun %s, call sent %s, last ping of the peer by UDP %s\n", ago(p, "SearchAgo", a),
                ago(p, "CallAgo", b), ago(p, "PingInAgo", c));
}

static void print_candidates(const json_t *p, FILE *out)
{
        static const char *const head[] = {"ADDRESS", "FROM", "PINGS", "LAST PING", "ROUND TRIP", "LAST HEARD"};
        enum { COLUMNS = sizeof(head) / sizeof(head[0]) };
        const json_t *list = json_arr(p, "Candidates");
        struct table t;
        if (json_array_size(list) == 0) {
                fputs("Candidates: none\n", out);
                return;
        }
        fputs("Candidates:\n", out);
        table_init(&t, COLUMNS, 2);
        t.bare_last = true;
        for (size_t i = 0; i < COLUMNS; i++)
                table_add(&t, head[i]);
        for (size_t i = 0; i < json_array_size(list); i++) {
                const json_t *c = json_array_get(list, i), *from = json_arr(c, "From");
                char cell[CELL_MAX] = "", pings[CELL_MAX];
                table_add(&t, json_str(c, "Addr", ""));
                for (size_t k = 0; k < json_array_size(from); k++) {
                        size_t at = strlen(cell);
                        const char *word = json_string_value(json_array_get(from, k));
                        snprintf(cell + at, sizeof(cell) - at, "%s%s", k > 0 ? ", " : "", word != NULL ? word : "");
                }
                table_add(&t, cell);
                snprintf(pings, sizeof(pings), "%lld", (long long)json_int(c, "Pings", 0));
                table_add(&t, pings);
                table_add(&t, ago(c, "LastPingAgo", cell));
                table_add(&t, short_time(c, "LatencySeconds", "no answer", cell));
                table_add(&t, ago(c, "HeardAgo", cell));
        }
        table_print(&t, out);
        table_done(&t);
}

static void print_reasons(const json_t *p, FILE *out)
{
        const json_t *why = json_arr(p, "NotDirect");
        if (json_array_size(why) > 0)
                fputs("Not direct, because:\n", out);
        for (size_t i = 0; i < json_array_size(why); i++)
                fprintf(out, "- %s\n", json_str(json_array_get(why, i), "Text", ""));
}

/* Only where it was tried, or could be of use. */
static void print_hard_nat(const json_t *p, FILE *out)
{
        const json_t *h = json_obj(p, "HardNAT");
        const char *why_not = json_str(h, "WhyNot", "");
        char took[CELL_MAX], when[CELL_MAX];
        if (json_int(h, "Tries", 0) > 0)
                fprintf(out, "Hard NAT: tried %lld times, found a path %lld times; last %s, %s after %s with %lld sockets and %lld "
                        "guesses\n", (long long)json_int(h, "Tries", 0), (long long)json_int(h, "Found", 0),
                        ago(h, "StartedAgo", when), json_str(h, "Outcome", ""), short_time(h, "TookSeconds", "0s", took),
                        (long long)json_int(h, "Sockets", 0), (long long)json_int(h, "Guesses", 0));
        if (why_not[0] != '\0' && strcmp(json_str(json_obj(p, "Own"), "NAT", ""), "hard") == 0)
                fprintf(out, "Hard NAT: not searched now, because %s\n", why_not);
}

static void print_history(const json_t *p, FILE *out)
{
        const json_t *list = json_arr(p, "History");
        if (json_array_size(list) > 0)
                fputs("History:\n", out);
        for (size_t i = 0; i < json_array_size(list); i++) {
                const json_t *e = json_array_get(list, i);
                char last[CELL_MAX];
                fprintf(out, "%s  %s", json_str(e, "When", ""), json_str(e, "Text", ""));
                if (json_int(e, "Times", 1) > 1)
                        fprintf(out, " (%lld times, last %s)", (long long)json_int(e, "Times", 1), ago(e, "LastAgo", last));
                fputc('\n', out);
        }
}

void paths_print(const json_t *p, bool whole, FILE *out)
{
        print_way(p, out);
        if (whole)
                print_times(p, out);
        print_candidates(p, out);
        print_reasons(p, out);
        print_hard_nat(p, out);
        if (whole)
                print_history(p, out);
}

json_t *paths_get(struct cli *c, const char *ip, bool quiet)
{
        char path[300];
        struct answer a;
        snprintf(path, sizeof(path), "debug-paths?ip=%s", ip);
        client_call(c->client, "GET", path, NULL, 0, &a);
        json_t *p = a.err == ERR_NONE && a.status == 200 ? answer_json(&a) : NULL;
        if (p == NULL && !(quiet && a.err == ERR_NONE && a.status == 404))
                client_complain(c->client, path, &a);
        answer_done(&a);
        return p;
}

int debug_paths(struct cli *c, int argc, char **argv)
{
        static const struct command self = {"debug paths", "show the paths to a peer, what was tried, and what happened of late",
                "[--json] HOST-OR-IP", NULL, false};
        bool json = false;
        struct flag flags[] = {
                FLAG_BOOL("json", &json, "print JSON"),
        };
        char ip[256] = "";
        int rest, code;
        if (!command_flags(&self, flags, 1, argc, argv, &rest, &code))
                return code;
        if (argc - rest != 1 || argv[rest][0] == '\0') {
                fputs("usage: tailscale debug paths [--json] HOST-OR-IP\n", stderr);
                return 1;
        }
        client_plain_errors(c->client);
        struct brief b;
        if (!brief_get(c, &b))
                return 1;
        bool ok = status_is_running(b.status, stdout) && status_resolve(&b, argv[rest], ip, sizeof(ip));
        brief_done(&b);
        json_t *p = ok ? paths_get(c, ip, false) : NULL;
        if (p == NULL)
                return 1;
        if (json) {
                json_print(p, 2, true);
        } else {
                text_clean_json(p);
                paths_print(p, true, stdout);
        }
        json_decref(p);
        return 0;
}
