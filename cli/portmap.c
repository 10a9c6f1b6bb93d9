/* debug portmap: what the router says when it is asked for a port. */
#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "base/duration.h"
#include "base/mono.h"
#include "cli/command.h"
#include "cli/text.h"

/* Two addresses, or none of both. */
static bool check_pair(const char *gateway, const char *self)
{
        struct ip ip;
        if ((gateway[0] != '\0') != (self[0] != '\0')) {
                fputs("if one of --gateway-addr and --self-addr is provided, the other must be as well\n", stderr);
                return false;
        }
        if (gateway[0] == '\0')
                return true;
        bool is_good = ip_parse(gateway, &ip) == ERR_NONE && ip.family == IP_V4;
        if (is_good && ip_parse(self, &ip) == ERR_NONE && ip.family == IP_V4)
                return true;
        text_print(stderr, "invalid --%s-addr: \"%.60s\": want an IPv4 address\n", is_good ? "self" : "gateway", is_good ? self : gateway);
        return false;
}

static int ask(struct cli *c, const char *path, int64_t patience_ns)
{
        struct answer a;
        client_call(c->client, "GET", path, NULL, patience_ns, &a);
        bool is_done = a.err == ERR_NONE && a.status == 200 && buf_ok(&a.body);
        if (is_done)
                text_print(stdout, "%s", a.body.len > 0 ? a.body.data : "");   /* a router's words are in it */
        else
                client_complain(c->client, "debug-portmap", &a);
        answer_done(&a);
        return is_done ? 0 : 1;
}

int debug_portmap(struct cli *c, int argc, char **argv)
{
        static const struct command self = {"debug portmap", "ask the router for a port, show what each side says, and give it back",
                "[flags]", NULL, false};
        int64_t duration = 5 * NS_PER_SEC;
        const char *type = "", *gateway = "", *own = "";
        bool log_http = false;
        struct flag flags[] = {
                FLAG_DURATION("duration", &duration, "how long to wait for the router"),
                FLAG_STRING("type", &type, "pmp, pcp or upnp alone; empty for all"),
                FLAG_STRING("gateway-addr", &gateway, "the router, in place of that of the default route"),
                FLAG_STRING("self-addr", &own, "this host as that router sees it"),
                FLAG_BOOL("log-http", &log_http, "show what is said over HTTP in full"),
        };
        char path[512], text[DURATION_STR_MAX];
        int code;
        if (!command_flags_alone(&self, flags, 5, argc, argv, &code))
                return code;
        if (duration <= 0 || duration > 120 * NS_PER_SEC) {
                fputs("invalid value for flag -duration: want up to 2m, such as 5s\n", stderr);
                return 2;
        }
        if (type[0] != '\0' && strcmp(type, "pmp") != 0 && strcmp(type, "pcp") != 0 && strcmp(type, "upnp") != 0) {
                text_print(stderr, "unknown portmap debug type \"%.40s\": want pmp, pcp or upnp\n", type);
                return 1;
        }
        if (!check_pair(gateway, own))
                return 1;
        snprintf(path, sizeof(path), "debug-portmap?duration=%s&type=%s&log_http=%s%s%s%s%s", duration_str(duration, text), type,
                log_http ? "true" : "false", gateway[0] != '\0' ? "&gateway_and_self=" : "", gateway, gateway[0] != '\0' ? "/" : "", own);
        return ask(c, path, duration + 10 * NS_PER_SEC);
}
