#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/addr.h"
#include "base/duration.h"
#include "base/json.h"
#include "base/mono.h"
#include "base/timetext.h"
#include "cli/command.h"
#include "cli/table.h"
#include "cli/text.h"

enum { LATENCY_WIDTH = 7 };

static const char *tri(const json_t *r, const char *key)
{
        const json_t *v = json_object_get(r, key);
        return json_is_true(v) ? "true" : json_is_false(v) ? "false" : "";
}

struct row {
        int id;
        int64_t ns;   /* 0: not measured */
        const char *code, *name;
};

/* Measured ones by latency, then the others by id. */
static int by_latency(const void *a, const void *b)
{
        const struct row *x = a, *y = b;
        if ((x->ns != 0) != (y->ns != 0))
                return x->ns != 0 ? -1 : 1;
        if (x->ns != y->ns)
                return x->ns < y->ns ? -1 : 1;
        return x->id - y->id;
}

static const char *region_name(const json_t *map, int64_t id)
{
        char key[24];
        snprintf(key, sizeof(key), "%lld", (long long)id);
        return json_str(json_obj(json_obj(map, "Regions"), key), "RegionName", NULL);
}

static void print_latencies(const json_t *r, const json_t *map, bool verbose, FILE *out)
{
        json_t *regions = json_obj(map, "Regions"), *region;
        const json_t *latency = json_obj(r, "RegionLatency");
        const char *key;
        size_t n = 0;
        struct row *rows = calloc(json_object_size(regions) + 1, sizeof(*rows));
        if (rows == NULL)
                return;
        json_object_foreach(regions, key, region)
        {
                rows[n++] = (struct row){atoi(key), json_int(latency, key, 0), json_str(region, "RegionCode", ""),
                        json_str(region, "RegionName", "")};
        }
        qsort(rows, n, sizeof(*rows), by_latency);
        for (size_t i = 0; i < n; i++) {
                char text[DURATION_STR_MAX] = "", id[32] = "";
                if (rows[i].ns != 0)
                        duration_str(duration_round(rows[i].ns, NS_PER_MS / 10), text);
                if (verbose)
                        snprintf(id, sizeof(id), "derp%d, ", rows[i].id);
                int pad = table_width(text) < LATENCY_WIDTH ? (int)(LATENCY_WIDTH - table_width(text)) : 0;
                fprintf(out, "\t\t- %3s: %s%*s (%s%s)\n", rows[i].code, text, pad, "", id, rows[i].name);
        }
        free(rows);
}

/* Which ways of asking the router for a port it answers to. */
static void print_mappings(const json_t *r, FILE *out)
{
        static const struct {
                const char *key, *name;
        } ways[] = {{"UPnP", "UPnP"}, {"PMP", "NAT-PMP"}, {"PCP", "PCP"}};
        const char *sep = "";
        bool checked = false;
        fputs("\t* PortMapping: ", out);
        for (size_t i = 0; i < 3; i++) {
                checked |= tri(r, ways[i].key)[0] != '\0';
                if (json_bool(r, ways[i].key, false)) {
                        fprintf(out, "%s%s", sep, ways[i].name);
                        sep = ", ";
                }
        }
        fputs(checked ? "\n" : "not checked\n", out);
}

/* With the reason, or what follows. */
static void print_found(const json_t *nat, const char *key, const char *found, FILE *out)
{
        char why_key[32];
        snprintf(why_key, sizeof(why_key), "%sWhy", key);
        const char *why = json_str(nat, why_key, NULL);
        fprintf(out, "\t* %s: %s", key, found[0] != '\0' ? found : "not known");
        if (why != NULL)
                fprintf(out, " (%s)", why);
        fputc('\n', out);
}

/* Only a daemon of ours says so. */
static void print_nat(const json_t *nat, FILE *out)
{
        if (nat == NULL)
                return;
        fprintf(out, "\t* NAT: %s\n", json_str(nat, "Text", ""));
        print_found(nat, "Filtering", json_str(nat, "Filtering", ""), out);
        print_found(nat, "HairPinning", tri(nat, "HairPinning"), out);
}

void netcheck_print(const json_t *r, const json_t *map, bool verbose, FILE *out)
{
        const char *v4 = json_str(r, "GlobalV4", ""), *v6 = json_str(r, "GlobalV6", "");
        int64_t home = json_int(r, "PreferredDERP", 0);
        fprintf(out, "\nReport:\n\t* Time: ");
        char now[TIME_STR_MAX];
        (void)str_copy(now, sizeof(now), json_str(r, "Now", ""));
        if (strchr(now, 'T') != NULL)
                *strchr(now, 'T') = ' ';
        fprintf(out, "%s\n\t* UDP: %s\n", now, tri(r, "UDP"));
        if (json_bool(r, "IPv4", false) && v4[0] != '\0')
                fprintf(out, "\t* IPv4: yes, %s\n", v4);
        else
                fputs("\t* IPv4: (no addr found)\n", out);
        if (json_bool(r, "IPv6", false) && v6[0] != '\0')
                fprintf(out, "\t* IPv6: yes, %s\n", v6);
        else if (json_bool(r, "IPv6", false))
                fputs("\t* IPv6: (no addr found)\n", out);
        else
                fprintf(out, "\t* IPv6: no, %s\n", json_bool(r, "OSHasIPv6", false) ? "but OS has support" : "unavailable in OS");
        fprintf(out, "\t* MappingVariesByDestIP: %s\n", tri(r, "MappingVariesByDestIP"));
        print_mappings(r, out);
        if (tri(r, "CaptivePortal")[0] != '\0')
                fprintf(out, "\t* CaptivePortal: %s\n", tri(r, "CaptivePortal"));
        print_nat(json_obj(r, "NAT"), out);
        if (json_object_size(json_obj(r, "RegionLatency")) == 0) {
                fputs("\t* Nearest DERP: unknown (no response to latency probes)\n", out);
                return;
        }
        const char *name = region_name(map, home);
        if (home == 0)
                fputs("\t* Nearest DERP: [none]\n", out);
        else if (name == NULL)
                fprintf(out, "\t* Nearest DERP: %lld (region not found in map)\n", (long long)home);
        else
                fprintf(out, "\t* Nearest DERP: %s\n", name);
        fputs("\t* DERP latency:\n", out);
        print_latencies(r, map, verbose, out);
}

/* What to ask of the daemon: of where to look from, as flags and environment say.  False: said what is wrong. */
static bool make_path(const char *address, bool has_address, int64_t port, bool has_port, char out[128])
{
        const char *env = getenv("TS_DEBUG_NETCHECK_UDP_BIND");
        struct addr a = {.port = 0};
        if (has_port && (port < 0 || port > UINT16_MAX)) {
                fprintf(stderr, "invalid bind port number: %lld: want 0 to 65535\n", (long long)port);
                return false;
        }
        if (has_address && ip_parse(address, &a.ip) != ERR_NONE) {
                text_print(stderr, "invalid bind address: \"%.60s\": want an IP address of this host\n", address);
                return false;
        }
        bool is_env = !has_address && !has_port && env != NULL && env[0] != '\0';
        bool is_port_alone = is_env && env[0] == ':' && strlen(env) > 1 && strlen(env) < 7 && strspn(env + 1, "0123456789") == strlen(env + 1);
        if (is_port_alone) {
                port = strtol(env + 1, NULL, 10);
        } else if (is_env) {
                if (addr_parse(env, &a) != ERR_NONE) {
                        fputs("TS_DEBUG_NETCHECK_UDP_BIND is no address: want IP:PORT or :PORT\n", stderr);
                        return false;
                }
                port = a.port;
        }
        char ip[IP_STR_MAX] = "";
        if (ip_is_set(a.ip))
                ip_str(a.ip, ip);
        if (has_address || has_port || is_env)
                snprintf(out, 128, "netcheck?bind_address=%s&bind_port=%lld", ip, (long long)port);
        else
                snprintf(out, 128, "netcheck");
        return true;
}

int cmd_netcheck(struct cli *c, const struct command *self, int argc, char **argv)
{
        const char *format = "";
        const char *address = "";
        int64_t every = 0, port = 0;
        bool verbose = false;
        char path[128];
        struct flag flags[] = {
                FLAG_STRING("format", &format, "json, json-line, or empty for text"),
                FLAG_DURATION("every", &every, "repeat, pausing this long"),
                FLAG_BOOL("verbose", &verbose, "show region numbers"),
                FLAG_STRING("bind-address", &address, "look from this address of the host, with sockets of its own"),
                FLAG_INT("bind-port", &port, "look from this UDP port, with sockets of its own"),
        };
        int code;
        if (!command_flags_alone(self, flags, 5, argc, argv, &code))
                return code;
        if (!make_path(address, flags_given(flags, 5, "bind-address"), port, flags_given(flags, 5, "bind-port"), path))
                return 1;
        if (every < 0) {
                fputs("invalid value for flag -every: want a pause of 0 or more, such as 30s\n", stderr);
                return 2;
        }
        if (format[0] != '\0' && strcmp(format, "json") != 0 && strcmp(format, "json-line") != 0) {
                text_print(stderr, "unknown output format \"%s\" for flag -format: use json or json-line\n", format);
                return 1;
        }
        if (format[0] != '\0')
                fputs("# Warning: this JSON form is not yet a stable interface\n", stderr);
        client_plain_errors(c->client);
        json_t *map = NULL;
        if (!client_json(c->client, "GET", "derpmap", NULL, 200, &map))
                return 1;
        text_clean_json(map);   /* is looked at for the text alone */
        do {
                json_t *r = NULL;
                if (!client_json(c->client, "POST", path, NULL, 200, &r)) {
                        json_decref(map);
                        return 1;
                }
                if (strcmp(format, "json") == 0)
                        json_print(r, 1, true);
                else if (format[0] != '\0')
                        json_print(r, 0, true);
                else {
                        text_clean_json(r);
                        netcheck_print(r, map, verbose, stdout);
                }
                fflush(stdout);
                if (strchr(path, '?') != NULL && !json_bool(r, "UDP", false))
                        fputs("this is how it looks from the address and port that were named: without --bind-address and "
                              "--bind-port it may look otherwise\n", stderr);
                json_decref(r);
                struct timespec ts = {.tv_sec = every / NS_PER_SEC, .tv_nsec = every % NS_PER_SEC};
                if (every > 0)
                        nanosleep(&ts, NULL);
        } while (every > 0);
        json_decref(map);
        return 0;
}
