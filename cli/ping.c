#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/duration.h"
#include "base/json.h"
#include "base/mono.h"
#include "base/pkt.h"
#include "cli/command.h"
#include "cli/text.h"

struct ping_opts {
        const char *type;   /* as the daemon calls it */
        bool until_direct, verbose, json;
        int64_t count, timeout_ns, size;
};

static enum ping_outcome outcome_of(const json_t *r)
{
        const char *err = json_str(r, "Err", "");
        if (json_bool(r, "IsLocalIP", false))
                return PING_SELF;
        if (err[0] != '\0')
                return strcmp(err, "timed out") == 0 ? PING_LOST : PING_FATAL;
        if (json_str(r, "PeerAPIURL", "")[0] != '\0')
                return PING_INSIDE;
        if (json_str(r, "Endpoint", "")[0] != '\0')
                return PING_DIRECT;
        return json_int(r, "DERPRegionID", 0) != 0 ? PING_RELAY : PING_INSIDE;
}

enum ping_outcome ping_print(const char *ip, const char *type, const json_t *r, FILE *out)
{
        const char *err = json_str(r, "Err", ""), *name = json_str(r, "NodeName", "");
        enum ping_outcome outcome = outcome_of(r);
        char lat[DURATION_STR_MAX], node[64];
        if (outcome == PING_SELF)
                fprintf(out, "%s\n", err);
        else if (outcome == PING_LOST)
                fprintf(out, "ping \"%s\" timed out\n", ip);
        else if (outcome == PING_FATAL && strcmp(err, "no matching peer") == 0)
                text_print(stderr, "no matching peer with address %s\n'tailscale status' lists them\n", ip);
        else if (outcome == PING_FATAL)
                text_print(stderr, "%s\n", err);
        if (outcome == PING_SELF || outcome == PING_LOST || outcome == PING_FATAL)
                return outcome;
        (void)str_copy(node, sizeof(node), json_str(r, "NodeIP", ip));
        duration_str(duration_round((int64_t)(json_num(r, "LatencySeconds", 0) * 1e9), NS_PER_MS), lat);
        if (json_str(r, "PeerAPIURL", "")[0] != '\0') {
                fprintf(out, "hit peerapi of %s (%s) at %s in %s\n", node, name, json_str(r, "PeerAPIURL", ""), lat);
                return outcome;
        }
        fprintf(out, "pong from %s (%s", name, node);
        if (json_int(r, "PeerAPIPort", 0) != 0)
                fprintf(out, ", %lld", (long long)json_int(r, "PeerAPIPort", 0));
        fputs(") via ", out);
        if (outcome == PING_DIRECT)
                fprintf(out, "%s in %s\n", json_str(r, "Endpoint", ""), lat);
        else if (outcome == PING_RELAY)
                fprintf(out, "DERP(%s) in %s\n", json_str(r, "DERPRegionCode", ""), lat);
        else
                fprintf(out, "%s in %s\n", type, lat);
        return outcome;
}

static enum ping_outcome print_text(const char *ip, const char *type, json_t *r)
{
        text_clean_json(r);
        return ping_print(ip, type, r, stdout);
}

static enum ping_outcome print_json(const json_t *r)
{
        json_print(r, 0, true);
        return outcome_of(r);
}

/* Which addresses were tried, and why none of them is the path. */
static void explain(struct cli *c, const char *ip, bool json)
{
        json_t *p = paths_get(c, ip, true);
        if (p == NULL)
                return;   /* no such peer: the ping has said so */
        if (json) {
                json_t *o = json_pack("{s:O}", "Paths", p);
                json_print(o, 0, true);
                json_decref(o);
        } else {
                text_clean_json(p);
                paths_print(p, false, stdout);
        }
        json_decref(p);
}

static enum ping_outcome ping_once(struct cli *c, const char *ip, const struct ping_opts *o)
{
        char path[160];
        struct answer a;
        enum ping_outcome out = PING_FATAL;
        snprintf(path, sizeof(path), "ping?ip=%s&type=%s&size=%lld", ip, o->type, (long long)o->size);
        client_call(c->client, "POST", path, NULL, o->timeout_ns, &a);
        json_t *r = a.err == ERR_NONE && a.status == 200 ? answer_json(&a) : NULL;
        if (a.err == ERR_TIMEOUT)
                r = json_pack("{s:s, s:s}", "IP", ip, "Err", "timed out");
        if (r != NULL)
                out = o->json ? print_json(r) : print_text(ip, o->type, r);
        else
                client_complain(c->client, "ping", &a);
        json_decref(r);
        fflush(stdout);
        answer_done(&a);
        return out;
}

static int ping_loop(struct cli *c, const char *ip, const struct ping_opts *o)
{
        bool any = false, direct = false;
        for (int64_t i = 0; o->count == 0 || i < o->count; i++) {
                enum ping_outcome r = ping_once(c, ip, o);
                if (r == PING_FATAL)
                        return 1;
                if (r == PING_SELF || r == PING_INSIDE)
                        return 0;
                any |= r != PING_LOST;
                direct |= r == PING_DIRECT;
                if (r == PING_DIRECT && o->until_direct)
                        return 0;
                if (r != PING_LOST && (o->count == 0 || i + 1 < o->count)) {
                        struct timespec second = {.tv_sec = 1};
                        nanosleep(&second, NULL);
                }
        }
        if (!any) {
                fputs("no reply\n", stderr);
                return 1;
        }
        if (!direct && o->until_direct) {
                fputs("direct connection not established\n", stderr);
                return 1;
        }
        return 0;
}

int cmd_ping(struct cli *c, const struct command *self, int argc, char **argv)
{
        struct ping_opts o = {.type = "disco", .until_direct = true, .count = 10, .timeout_ns = 5 * NS_PER_SEC};
        bool tsmp = false, icmp = false, peerapi = false;
        struct flag flags[] = {
                FLAG_INT("c", &o.count, "how many pings at most; 0 = for ever"),
                FLAG_DURATION("timeout", &o.timeout_ns, "how long to wait for each answer"),
                FLAG_BOOL("until-direct", &o.until_direct, "stop when the path is direct"),
                FLAG_BOOL("verbose", &o.verbose, "say which addresses were tried, and why the path is not direct"),
                FLAG_BOOL("json", &o.json, "print a line of JSON for each answer"),
                FLAG_INT("size", &o.size, "bytes of the ping packet; 0 = as small as it is"),
                FLAG_BOOL("tsmp", &tsmp, "through the tunnel, answered by the agent there"),
                FLAG_BOOL("icmp", &icmp, "through the tunnel, answered by the host there"),
                FLAG_BOOL("peerapi", &peerapi, "ask the HTTP service of the agent there"),
        };
        int rest, code;
        if (!command_flags(self, flags, 9, argc, argv, &rest, &code))
                return code;
        if (tsmp + icmp + peerapi > 1) {
                fputs("--tsmp, --icmp and --peerapi exclude each other\n", stderr);
                return 1;
        }
        if (o.size != 0 && (tsmp || icmp || peerapi)) {
                fputs("--size is of disco pings alone: not with --tsmp, --icmp or --peerapi\n", stderr);
                return 1;
        }
        o.type = tsmp ? "TSMP" : icmp ? "ICMP" : peerapi ? "peerapi" : o.type;
        if (o.timeout_ns <= 0) {
                fputs("invalid value for flag -timeout: want more than 0, such as 5s\n", stderr);
                return 2;
        }
        if (o.size < 0 || o.size > PKT_DATA_MAX) {   /* what is larger is not received */
                text_print(stderr, "invalid value for flag -size: want 0 to %d bytes, the largest packet carried\n", PKT_DATA_MAX);
                return 2;
        }
        if (o.count < 0) {
                fputs("invalid value for flag -c: want how many pings at most, or 0 for no end\n", stderr);
                return 2;
        }
        if (argc - rest != 1 || argv[rest][0] == '\0') {
                fputs("usage: tailscale ping [flags] HOST-OR-IP\n", stderr);
                return 1;
        }
        struct brief status;
        if (!brief_get(c, &status))
                return 1;
        char ip[256] = "";
        bool ok = status_is_running(status.status, stdout) && status_resolve(&status, argv[rest], ip, sizeof(ip));
        brief_done(&status);
        if (!ok)
                return 1;
        if (o.verbose && strcmp(ip, argv[rest]) != 0)
                text_print(stderr, "lookup \"%s\" => \"%s\"\n", argv[rest], ip);
        code = ping_loop(c, ip, &o);
        if (o.verbose && strcmp(o.type, "disco") == 0)
                explain(c, ip, o.json);
        return code;
}
