/* dns status and dns query. */
#include <curl/curl.h>
#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/command.h"
#include "cli/dns_records.h"
#include "cli/table.h"
#include "cli/text.h"

/* ---- status ---- */

static void section(const char *title)
{
        printf("\n=== %s ===\n\n", title);
}

static void print_list(const json_t *a, const char *none)
{
        for (size_t i = 0; i < json_array_size(a); i++)
                if (json_is_string(json_array_get(a, i)))
                        printf("  - %s\n", json_string_value(json_array_get(a, i)));
        if (json_array_size(a) == 0)
                puts(none);
}

static void print_bootstrap(const json_t *resolver)
{
        const json_t *boot = json_arr(resolver, "BootstrapResolution");
        for (size_t i = 0; i < json_array_size(boot); i++)
                printf("%s%s", i == 0 ? " (bootstrap: [" : " ", json_string_value(json_array_get(boot, i)));
        puts(json_array_size(boot) > 0 ? "])" : "");
}

static void print_resolvers(const json_t *a, const char *none)
{
        for (size_t i = 0; i < json_array_size(a); i++) {
                printf("  - %s", json_str(json_array_get(a, i), "Addr", ""));
                print_bootstrap(json_array_get(a, i));
        }
        if (json_array_size(a) == 0)
                puts(none);
}

static void print_routes(const json_t *routes)
{
        const char *suffix;
        json_t *list;
        if (json_object_size(routes) == 0)
                puts("  (no routes configured: split DNS disabled)");
        json_object_foreach((json_t *)(uintptr_t)routes, suffix, list)
        {
                for (size_t i = 0; i < json_array_size(list); i++) {
                        printf("  - %-30s -> %s", suffix, json_str(json_array_get(list, i), "Addr", ""));
                        print_bootstrap(json_array_get(list, i));
                }
        }
}

static void print_records(const json_t *records)
{
        for (size_t i = 0; i < json_array_size(records); i++) {
                const json_t *r = json_array_get(records, i);
                const char *type = json_str(r, "Type", "");
                if (type[0] != '\0')
                        printf("  - [%s] %-50s -> %s\n", type, json_str(r, "Name", ""), json_str(r, "Value", ""));
                else
                        printf("  - %-50s -> %s\n", json_str(r, "Name", ""), json_str(r, "Value", ""));
        }
        if (json_array_size(records) == 0)
                puts("  (no extra records are configured)");
}

static void print_fallbacks(const json_t *a)
{
        puts("Fallback Resolvers:");
        for (size_t i = 0; i < json_array_size(a); i++) {
                printf("  %zu: %s", i, json_str(json_array_get(a, i), "Addr", ""));
                print_bootstrap(json_array_get(a, i));
        }
        puts(json_array_size(a) == 0 ? "  (no fallback resolvers configured)\n" : "");
}

static void print_more(const json_t *d)
{
        puts("Nameservers IP Addresses:");
        print_list(json_arr(d, "Nameservers"), "  (none were provided)");
        puts("\nCertificate Domains:");
        print_list(json_arr(d, "CertDomains"), "  (no certificate domains are configured)");
        puts("\nAdditional DNS Records:");
        print_records(json_arr(d, "ExtraRecords"));
        puts("\nFiltered suffixes when forwarding DNS queries as an exit node:");
        print_list(json_arr(d, "ExitNodeFilteredSet"), "  (no suffixes are filtered)");
        puts("");
}

static void print_system(const json_t *d, bool all)
{
        const json_t *os = json_obj(d, "SystemDNS");
        fputs("=== System DNS configuration ===\n\n"
              "This is the DNS configuration that Tailscale believes your operating system is using.\n"
              "Tailscale may use this configuration if 'Override Local DNS' is disabled in the admin console,\n"
              "or if no resolvers are provided by the coordination server.\n\n", stdout);
        if (os == NULL) {
                printf("  (failed to read system DNS configuration: %s)\n", json_str(d, "SystemDNSError", ""));
                return;
        }
        puts("Nameservers:");
        print_list(json_arr(os, "Nameservers"), "  (no nameservers found, DNS queries might fail\n"
                "unless the coordination server is providing a nameserver)");
        puts("\nSearch domains:");
        print_list(json_arr(os, "SearchDomains"), "  (no search domains found)");
        if (!all)
                return;
        puts("\nMatch domains:");
        print_list(json_arr(os, "MatchDomains"), "  (no match domains found)");
}

static void print_status(const json_t *d, bool all)
{
        const json_t *tailnet = json_obj(d, "CurrentTailnet");
        section("'Use Tailscale DNS' status");
        if (json_bool(d, "TailscaleDNS", false))
                puts("Tailscale DNS: enabled.\n\nTailscale is configured to handle DNS queries on this device.\n"
                     "Run 'tailscale set --accept-dns=false' to revert to your system default DNS resolver.");
        else
                puts("Tailscale DNS: disabled.\n\n(Run 'tailscale set --accept-dns=true' to start sending DNS queries to "
                     "the Tailscale DNS resolver)");
        section("MagicDNS configuration");
        puts("This is the DNS configuration provided by the coordination server to this device.\n");
        if (tailnet == NULL) {
                puts("No tailnet information available; make sure you're logged in to a tailnet.");
                return;
        }
        if (json_bool(tailnet, "MagicDNSEnabled", false))
                printf("MagicDNS: enabled tailnet-wide (suffix = %s)\n\nOther devices in your tailnet can reach this device at "
                       "%s\n", json_str(tailnet, "MagicDNSSuffix", ""), json_str(tailnet, "SelfDNSName", ""));
        else
                puts("MagicDNS: disabled tailnet-wide.");
        puts("\nResolvers (in preference order):");
        print_resolvers(json_arr(d, "Resolvers"), "  (no resolvers configured, system default will be used: see "
                "'System DNS configuration' below)");
        puts("\nSplit DNS Routes:");
        print_routes(json_obj(d, "SplitDNSRoutes"));
        puts("");
        if (all)
                print_fallbacks(json_arr(d, "FallbackResolvers"));
        puts("Search Domains:");
        print_list(json_arr(d, "SearchDomains"), "  (no search domains configured)");
        puts("");
        if (all)
                print_more(d);
        print_system(d, all);
        puts("\n[this is a preliminary version of this command; the output format may change in the future]");
}

static int by_text(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static json_t *sorted_strings(const json_t *a)
{
        size_t n = 0;
        const char **list = calloc(json_array_size(a) + 1, sizeof(*list));
        json_t *out = json_array();
        for (size_t i = 0; list != NULL && i < json_array_size(a); i++)
                if (json_is_string(json_array_get(a, i)))
                        list[n++] = json_string_value(json_array_get(a, i));
        if (n > 1)
                qsort(list, n, sizeof(*list), by_text);
        for (size_t i = 0; i < n; i++)
                json_array_append_new(out, json_string(list[i]));
        free(list);
        return out;
}

/* Those with resolvers, by suffix. */
static json_t *split_routes(const json_t *routes)
{
        json_t *keys = json_array(), *out = json_object(), *list;
        const char *key;
        json_object_foreach((json_t *)(uintptr_t)routes, key, list)
        {
                if (json_array_size(list) > 0)
                        json_array_append_new(keys, json_string(key));
        }
        json_t *sorted = sorted_strings(keys);
        for (size_t i = 0; i < json_array_size(sorted); i++) {
                key = json_string_value(json_array_get(sorted, i));
                json_object_set(out, key, json_object_get(routes, key));
        }
        json_decref(sorted);
        json_decref(keys);
        return out;
}

/* Takes over a member that has anything in it. */
static void take(json_t *to, const char *key, json_t *v /* consumed */)
{
        if (json_array_size(v) > 0 || json_object_size(v) > 0)
                json_object_set(to, key, v);
        json_decref(v);
}

static void take_same(json_t *to, const json_t *from, const char *key)
{
        take(to, key, json_incref(json_object_get(from, key)));
}

static json_t *tailnet_json(const json_t *status)
{
        const json_t *t = json_obj(status, "CurrentTailnet");
        json_t *o = json_object();
        json_object_set_new(o, "MagicDNSEnabled", json_boolean(json_bool(t, "MagicDNSEnabled", false)));
        const char *suffix = json_str(t, "MagicDNSSuffix", ""), *self = json_str(json_obj(status, "Self"), "DNSName", "");
        if (suffix[0] != '\0')
                json_object_set_new(o, "MagicDNSSuffix", json_string(suffix));
        if (self[0] != '\0')
                json_object_set_new(o, "SelfDNSName", json_string(self));
        return o;
}

static void add_system(struct cli *c, json_t *d)
{
        struct answer a;
        client_call(c->client, "GET", "dns-osconfig", NULL, 0, &a);
        json_t *os = a.err == ERR_NONE && a.status == 200 ? answer_json(&a) : NULL;
        if (os != NULL)
                json_object_set_new(d, "SystemDNS", os);
        else
                json_object_set_new(d, "SystemDNSError", json_string(a.status == 403 ? "Access denied: dns-osconfig access "
                        "denied" : "the daemon did not tell"));
        answer_done(&a);
}

/* All that is shown; NULL: said why. */
static json_t *status_data(struct cli *c)
{
        json_t *status = status_get(c, false), *prefs = NULL, *config = NULL;
        if (status == NULL)
                return NULL;
        if (!client_json(c->client, "GET", "prefs", NULL, 200, &prefs)) {
                json_decref(status);
                return NULL;
        }
        json_t *d = json_object();
        json_object_set_new(d, "TailscaleDNS", json_boolean(json_bool(prefs, "CorpDNS", false)));
        if (json_obj(status, "CurrentTailnet") != NULL) {
                if (client_json(c->client, "GET", "dns-config", NULL, 200, &config)) {
                        json_object_set_new(d, "CurrentTailnet", tailnet_json(status));
                        take_same(d, config, "Resolvers");
                        take(d, "SplitDNSRoutes", split_routes(json_obj(config, "Routes")));
                        take_same(d, config, "FallbackResolvers");
                        take(d, "SearchDomains", sorted_strings(json_arr(config, "Domains")));
                        take_same(d, config, "Nameservers");
                        take_same(d, config, "CertDomains");
                        take_same(d, config, "ExtraRecords");
                        take_same(d, config, "ExitNodeFilteredSet");
                        add_system(c, d);
                } else {
                        json_decref(d);
                        d = NULL;
                }
        }
        json_decref(config);
        json_decref(prefs);
        json_decref(status);
        return d;
}

static int dns_status(struct cli *c, const struct command *self, int argc, char **argv)
{
        bool all = false, json = false;
        struct flag flags[] = {
                FLAG_BOOL("all", &all, "also fallback resolvers, nameservers, certificate domains and records"),
                FLAG_BOOL("json", &json, "print JSON"),
        };
        int code;
        if (!command_flags_alone(self, flags, 2, argc, argv, &code))
                return code;
        json_t *d = status_data(c);
        if (d == NULL)
                return 1;
        if (!json)
                text_clean_json(d);
        if (json)
                json_print(d, 2, true);
        else
                print_status(d, all);
        json_decref(d);
        return 0;
}

/* ---- query ---- */

/* The message of the daemon's answer, decoded; NULL: it is none. */
static json_t *decode(const json_t *answer)
{
        const char *text = json_str(answer, "Bytes", "");
        size_t cap = strlen(text), len = 0;
        uint8_t *msg = malloc(cap + 1);
        json_t *records = NULL;
        if (msg != NULL && sodium_base642bin(msg, cap, text, cap, NULL, &len, NULL, sodium_base64_VARIANT_ORIGINAL) == 0)
                records = dns_records_json(msg, len);
        free(msg);
        return records;
}

static void print_answers(const json_t *answers)
{
        struct table t;
        char ttl[24];
        static const char *const head[] = {"Name", "TTL", "Class", "Type", "Body", "----", "---", "-----", "----", "----"};
        if (json_array_size(answers) == 0)
                puts("  (no answers found)");
        table_init(&t, 5, 2);
        t.bare_last = true;
        for (size_t row = 0; row < 2 + json_array_size(answers); row++) {
                const json_t *r = row >= 2 ? json_array_get(answers, row - 2) : NULL;
                snprintf(ttl, sizeof(ttl), "%lld", (long long)json_int(r, "TTL", 0));
                table_add(&t, r != NULL ? json_str(r, "Name", "") : head[row * 5]);
                table_add(&t, r != NULL ? ttl : head[row * 5 + 1]);
                table_add(&t, r != NULL ? json_str(r, "Class", "") : head[row * 5 + 2]);
                table_add(&t, r != NULL ? json_str(r, "Type", "") : head[row * 5 + 3]);
                table_add(&t, r != NULL ? json_str(r, "Body", "") : head[row * 5 + 4]);
        }
        table_print(&t, stdout);
        table_done(&t);
        puts("");
}

static void print_query(const json_t *d)
{
        const json_t *resolvers = json_arr(d, "Resolvers"), *answers = json_arr(d, "Answers");
        printf("DNS query for \"%s\" (%s) using internal resolver:\n\n", json_str(d, "Name", ""),
                json_str(d, "QueryType", ""));
        if (json_array_size(resolvers) == 1) {
                printf("Forwarding to resolver: %s", json_str(json_array_get(resolvers, 0), "Addr", ""));
                print_bootstrap(json_array_get(resolvers, 0));
        } else if (json_array_size(resolvers) == 0) {
                puts("Not forwarded to any resolver.");
        } else {
                puts("Multiple resolvers available:");
                for (size_t i = 0; i < json_array_size(resolvers); i++) {
                        printf("  - %s", json_str(json_array_get(resolvers, i), "Addr", ""));
                        print_bootstrap(json_array_get(resolvers, i));
                }
        }
        printf("\nResponse code: %s\n\n", json_str(d, "ResponseCode", ""));
        if (answers == NULL)
                puts("No answers were returned.");
        else
                print_answers(answers);
}

static json_t *query_data(struct cli *c, const char *name, const char *type)
{
        char path[2048];
        char *name_url = curl_easy_escape(NULL, name, 0), *type_url = curl_easy_escape(NULL, type, 0);
        json_t *answer = NULL, *d = NULL;
        struct answer a;
        snprintf(path, sizeof(path), "dns-query?name=%s&type=%s", name_url != NULL ? name_url : "",
                type_url != NULL ? type_url : "");
        curl_free(name_url);
        curl_free(type_url);
        client_call(c->client, "GET", path, NULL, 0, &a);
        if (a.err == ERR_NONE && a.status == 200)
                answer = answer_json(&a);
        json_t *records = answer != NULL ? decode(answer) : NULL;
        if (records != NULL) {
                d = json_object();
                json_object_set_new(d, "Name", json_string(name));
                json_object_set_new(d, "QueryType", json_string(type));
                take_same(d, answer, "Resolvers");
                json_object_update(d, records);
        } else if (answer != NULL) {
                fputs("failed to parse DNS response\n", stderr);
        } else {
                fputs("failed to query DNS: ", stderr);
                client_complain(c->client, "dns-query", &a);
        }
        json_decref(records);
        json_decref(answer);
        answer_done(&a);
        return d;
}

static int dns_query(struct cli *c, const struct command *self, int argc, char **argv)
{
        bool json = false;
        struct flag flags[] = {FLAG_BOOL("json", &json, "print JSON")};
        int rest, code;
        if (!command_flags(self, flags, 1, argc, argv, &rest, &code))
                return code;
        if (argc - rest < 1) {
                fputs("missing required argument: name\nusage: tailscale dns query [--json] NAME [TYPE]\n", stderr);
                return 1;
        }
        if (argc - rest > 2) {
                fputs("unexpected extra arguments:", stderr);
                for (int i = rest + 2; i < argc; i++)
                        text_print(stderr, " %s", argv[i]);
                fputs("\nusage: tailscale dns query [--json] NAME [TYPE]\n", stderr);
                return 1;
        }
        char type[16] = "A";
        if (argc - rest == 2 && !str_copy(type, sizeof(type), argv[rest + 1])) {
                text_print(stderr, "unknown DNS message type: %s\nwant a name such as A, AAAA, TXT or PTR\n", argv[rest + 1]);
                return 1;
        }
        for (char *p = type; *p != '\0'; p++)
                *p = (char)toupper((unsigned char)*p);
        json_t *d = query_data(c, argv[rest], type);
        if (d == NULL)
                return 1;
        if (json && json_array_size(json_arr(d, "Answers")) == 0)
                json_object_del(d, "Answers");
        if (!json)
                text_clean_json(d);
        if (json)
                json_print(d, 2, true);
        else
                print_query(d);
        json_decref(d);
        return 0;
}

static const struct command subcommands[] = {
        {"dns status", "show the DNS configuration of tailnet and host", "[--all] [--json]", dns_status},
        {"dns query", "ask the internal resolver for a name", "[--json] NAME [TYPE]", dns_query},
};

int cmd_dns(struct cli *c, const struct command *self, int argc, char **argv)
{
        int rest, code;
        client_plain_errors(c->client);
        if (!command_flags(self, NULL, 0, argc, argv, &rest, &code))
                return code;
        if (rest >= argc) {
                fputs("tailscale dns: missing subcommand: status, query\n", stderr);
                return 1;
        }
        for (size_t i = 0; i < sizeof(subcommands) / sizeof(subcommands[0]); i++)
                if (strcmp(subcommands[i].name + strlen("dns "), argv[rest]) == 0)
                        return subcommands[i].run(c, &subcommands[i], argc - rest, argv + rest);
        text_print(stderr, "tailscale dns: unknown subcommand: %s; there is: status, query\n", argv[rest]);
        return 1;
}
