#include "daemon/options.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypto.h"

enum flag_id {
        FLAG_STATE, FLAG_STATEDIR, FLAG_SOCKET, FLAG_TUN, FLAG_PORT, FLAG_VERBOSE, FLAG_CLEANUP, FLAG_VERSION,
        FLAG_HELP, FLAG_MEMORY, FLAG_SOCKS5, FLAG_HTTP_PROXY, FLAG_THREADS,
        FLAG_NO_LOGS, FLAG_ENCRYPT_STATE, FLAG_ATTESTATION, FLAG_MISSING,
};

static const struct flag {
        const char *name;
        enum flag_id id;
        bool is_bool;
} flags[] = {
        {"state", FLAG_STATE, false},
        {"statedir", FLAG_STATEDIR, false},
        {"socket", FLAG_SOCKET, false},
        {"tun", FLAG_TUN, false},
        {"port", FLAG_PORT, false},
        {"memory", FLAG_MEMORY, false},
        {"verbose", FLAG_VERBOSE, false},
        {"threads", FLAG_THREADS, false},
        {"cleanup", FLAG_CLEANUP, true},
        {"version", FLAG_VERSION, true},
        {"help", FLAG_HELP, true},
        {"h", FLAG_HELP, true},
        {"no-logs-no-support", FLAG_NO_LOGS, true},
        {"encrypt-state", FLAG_ENCRYPT_STATE, true},
        {"hardware-attestation", FLAG_ATTESTATION, true},
        {"socks5-server", FLAG_SOCKS5, false},
        {"outbound-http-proxy-listen", FLAG_HTTP_PROXY, false},
        {"debug", FLAG_MISSING, false},
        {"config", FLAG_MISSING, false},
};

const char *options_usage(void)
{
        return "usage: tailscaled [flags]\n"
               "\n"
               "  --state PATH     state file, or mem: to keep nothing (default /var/lib/tailscale/tailscaled.state)\n"
               "  --statedir DIR   folder of the state file, when --state is not given\n"
               "  --socket PATH    socket of the local API (default /var/run/tailscale/tailscaled.sock)\n"
               "  --tun NAME       name of the tunnel interface (default tailscale0), or userspace-networking\n"
               "                   for none: needs no root, others are reached by the two proxies below;\n"
               "                   tailscale0,userspace-networking takes what it can get\n"
               "  --socks5-server [HOST]:PORT\n"
               "                   serve SOCKS5 there, such as localhost:1055\n"
               "  --outbound-http-proxy-listen [HOST]:PORT\n"
               "                   serve as an HTTP proxy there; may be the same as for SOCKS5\n"
               "  --port N         UDP port for peers; 0 takes any free one (default $PORT or 0)\n"
               "  --memory WORD    normal, or small for a router: smaller buffers, fewer connections (default normal)\n"
               "  --threads N      threads that help to encrypt and decrypt bulk traffic, 0 to 63 (default:\n"
               "                   0 on one or two processors, else two fewer than there are, up to 3)\n"
               "  --verbose N      more log lines: 1 or 2\n"
               "  --cleanup        remove what a crashed daemon left behind, and exit\n"
               "  --version        print the version and exit\n";
}

unsigned options_threads(const struct options *o, unsigned processors)
{
        /* Measured by crypto_bench: with one helper a super-packet is sealed in 0.6 of the time for 1.2 to 1.5 of the work, so
         * it pays where a processor would be idle.  One is the data thread's, and one is kept by whoever makes the traffic. */
        enum { TAKEN = 2, ENOUGH = 3 };
        if (o->threads >= 0)
                return (unsigned)o->threads;
        if (processors <= TAKEN)
                return 0;
        return processors - TAKEN < ENOUGH ? processors - TAKEN : ENOUGH;
}

static char why_text[256];

static enum err complain(const char **ret_why, const char *fmt, const char *a, const char *b)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(why_text, sizeof(why_text), fmt, a, b);
#pragma GCC diagnostic pop
        for (char *p = why_text; *p != '\0'; p++)   /* nothing that a terminal would act upon */
                if (*p < ' ' || *p > '~')
                        *p = '?';
        *ret_why = why_text;
        return ERR_FORMAT;
}

static bool parse_number(const char *s, long max, long *ret)
{
        char *end;
        errno = 0;
        long v = strtol(s, &end, 10);
        if (*s == '\0' || *end != '\0' || errno != 0 || v < 0 || v > max)
                return false;
        *ret = v;
        return true;
}

/* [HOST]:PORT; no host is every address, as it is for whoever listens. */
static bool parse_listen(const char *s, struct addr *ret)
{
        struct addr a;
        long port;
        if (addr_parse(s, &a) == ERR_NONE) {
                *ret = a;
                return true;
        }
        const char *colon = strrchr(s, ':');
        size_t host = colon != NULL ? (size_t)(colon - s) : 0;
        bool local = host == 9 && strncmp(s, "localhost", host) == 0;
        if (colon == NULL || (host > 0 && !local) || !parse_number(colon + 1, 65535, &port))
                return false;
        static const uint8_t any[16];
        *ret = (struct addr){local ? ip_v4(127, 0, 0, 1) : ip_from_bytes16(any), (uint16_t)port};
        return true;
}

/* What the kernel takes, and nft and ip without quotes. */
static bool is_interface_name(const char *s)
{
        size_t len = strlen(s);
        return len > 0 && len < IFNAMSIZ && strcmp(s, ".") != 0 && strcmp(s, "..") != 0 &&
                strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == len;
}

/* A name, none, or a name and what to do where there can be no such device. */
static bool parse_tun(const char *s, struct options *o)
{
        static const char none[] = "userspace-networking";
        size_t n = strcspn(s, ",");
        o->userspace = strcmp(s, none) == 0;
        o->or_userspace = s[n] == ',';
        if (n >= sizeof(o->tun) || (o->or_userspace && strcmp(s + n + 1, none) != 0))
                return false;
        memcpy(o->tun, s, n);
        o->tun[n] = '\0';
        return o->userspace || is_interface_name(o->tun);
}

struct pending {
        const char *state, *statedir;
};

static enum err set_flag(const struct flag *f, const char *value, struct options *o, struct pending *p,
        const char **ret_why)
{
        bool on = false;
        long n = 0;
        if (f->is_bool && !str_bool(value, &on))
                return complain(ret_why, "invalid value \"%.40s\" for -%s: want true or false", value, f->name);
        switch (f->id) {
        case FLAG_STATE:
                p->state = value;
                break;
        case FLAG_STATEDIR:
                p->statedir = value;
                break;
        case FLAG_SOCKET:
                if (value[0] == '\0' || !str_copy(o->socket, sizeof(o->socket), value))
                        return complain(ret_why, "--socket \"%.40s\": want a path of 1 to 107 characters%s", value,
                                "");
                break;
        case FLAG_TUN:
                if (!parse_tun(value, o))
                        return complain(ret_why, "--tun \"%.40s\": want userspace-networking or an interface name of 1 to 15 "
                                                 "letters, digits, dashes, dots or underscores, or both: "
                                                 "tailscale0,userspace-networking%s", value, "");
                break;
        case FLAG_PORT:
                if (!parse_number(value, 65535, &n))
                        return complain(ret_why, "invalid value \"%.40s\" for -%s: want 0 to 65535", value, f->name);
                o->port = (uint16_t)n;
                break;
        case FLAG_MEMORY:
                if ((o->memory = sizes_by_word(value)) == NULL)
                        return complain(ret_why, "invalid value \"%.40s\" for -%s: want normal or small", value, f->name);
                break;
        case FLAG_VERBOSE:
                if (!parse_number(value, 9, &n))
                        return complain(ret_why, "invalid value \"%.40s\" for -%s: want 0 to 9", value, f->name);
                o->verbose = (int)n;
                break;
        case FLAG_THREADS:
                if (!parse_number(value, AEAD_CREW_MAX, &n))
                        return complain(ret_why, "invalid value \"%.40s\" for -%s: want 0 to 63", value, f->name);
                o->threads = (int)n;
                break;
        case FLAG_CLEANUP:
                o->cleanup = on;
                break;
        case FLAG_VERSION:
                o->version = on;
                break;
        case FLAG_HELP:
                o->help = on;
                break;
        case FLAG_SOCKS5:
        case FLAG_HTTP_PROXY:
                if (value[0] != '\0' && !parse_listen(value, f->id == FLAG_SOCKS5 ? &o->socks5 : &o->http_proxy))
                        return complain(ret_why, "invalid value \"%.40s\" for -%s: want [HOST]:PORT with an address of this "
                                "machine, localhost or nothing as the host, such as localhost:1055", value, f->name);
                break;
        case FLAG_NO_LOGS:
                break;   /* nothing is ever uploaded */
        case FLAG_ENCRYPT_STATE:
        case FLAG_ATTESTATION:
                if (on)
                        return complain(ret_why, "--%s is not supported: leave it out%s", f->name, "");
                break;
        case FLAG_MISSING:
                if (value[0] != '\0')
                        return complain(ret_why, "--%s is not there yet: leave it out%s", f->name, "");
                break;
        }
        return ERR_NONE;
}

static const struct flag *find_flag(const char *name, size_t len)
{
        for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
                if (strlen(flags[i].name) == len && strncmp(flags[i].name, name, len) == 0)
                        return &flags[i];
        return NULL;
}

/* ERR_NOT_FOUND: there is no place to keep state at. */
static enum err default_state(const char *(*env)(const char *), bool root, struct options *o)
{
        int n;
        const char *data = env("XDG_DATA_HOME"), *home = env("HOME");
        if (root)
                n = snprintf(o->state, sizeof(o->state), "/var/lib/tailscale/tailscaled.state");
        else if (data != NULL && data[0] == '/')
                n = snprintf(o->state, sizeof(o->state), "%s/tailscale/tailscaled.state", data);
        else if (home != NULL && home[0] == '/')
                n = snprintf(o->state, sizeof(o->state), "%s/.local/share/tailscale/tailscaled.state", home);
        else
                return ERR_NOT_FOUND;
        return n > 0 && (size_t)n < sizeof(o->state) ? ERR_NONE : ERR_FORMAT;
}

static enum err resolve_state(const struct pending *p, const char *(*env)(const char *), bool root,
        struct options *o, const char **ret_why)
{
        if (p->state != NULL && p->state[0] != '\0') {
                if (strncmp(p->state, "kube:", 5) == 0 || strncmp(p->state, "arn:", 4) == 0)
                        return complain(ret_why, "--state=%.80s is not supported: give a file path or mem:%s",
                                p->state, "");
                if (str_copy(o->state, sizeof(o->state), p->state))
                        return ERR_NONE;
        } else if (p->statedir != NULL && p->statedir[0] != '\0') {
                int n = snprintf(o->state, sizeof(o->state), "%s/tailscaled.state", p->statedir);
                if (n > 0 && (size_t)n < sizeof(o->state))
                        return ERR_NONE;
        } else {
                enum err e = default_state(env, root, o);
                if (e == ERR_NOT_FOUND)
                        (void)complain(ret_why, "there is no directory to keep state in: give --statedir or "
                                                "--state%s%s", "", "");
                if (e == ERR_NONE || e == ERR_NOT_FOUND)
                        return e;
        }
        return complain(ret_why, "the path of the state file, from --state or --statedir, is too long: want up to 511 characters%s%s", "", "");
}

enum err options_parse(int argc, char *const *argv, const char *(*env)(const char *), bool root,
        struct options *ret, const char **ret_why, int *ret_exit)
{
        struct options o = {.memory = &sizes_normal, .threads = -1};
        struct pending p = {0};
        long n;
        (void)str_copy(o.socket, sizeof(o.socket), "/var/run/tailscale/tailscaled.sock");
        (void)str_copy(o.tun, sizeof(o.tun), "tailscale0");
        if (env("PORT") != NULL && parse_number(env("PORT"), 65535, &n))
                o.port = (uint16_t)n;
        if (env("TS_LOG_VERBOSITY") != NULL && parse_number(env("TS_LOG_VERBOSITY"), 9, &n))
                o.verbose = (int)n;
        *ret_exit = 2;
        for (int i = 1; i < argc; i++) {
                const char *a = argv[i];
                if (a[0] != '-' || a[1] == '\0' || strcmp(a, "--") == 0) {
                        *ret_exit = 1;
                        return complain(ret_why, "tailscaled takes no words, only flags: \"%.80s\"%s", a, "");
                }
                const char *name = a + (a[1] == '-' ? 2 : 1);
                size_t len = strcspn(name, "=");
                const struct flag *f = find_flag(name, len);
                if (f == NULL)
                        return complain(ret_why, "flag provided but not defined: %.80s%s", a, "");
                const char *value = name[len] == '=' ? name + len + 1 : f->is_bool ? "true" : NULL;
                if (value == NULL && (i + 1 >= argc || (value = argv[++i]) == NULL))
                        return complain(ret_why, "flag needs an argument: -%s%s", f->name, "");
                enum err e = set_flag(f, value, &o, &p, ret_why);
                if (e != ERR_NONE)
                        return e;
        }
        enum err e = o.help || o.version ? ERR_NONE : resolve_state(&p, env, root, &o, ret_why);
        if (e == ERR_NONE)
                *ret = o;
        return e;
}
