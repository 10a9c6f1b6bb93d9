#include "daemon/host/dnsmasq_text.h"

#include <string.h>

#include "daemon/host/osdns_dnsmasq.h"

static bool starts(const char *s, const char *with)
{
        return strncmp(s, with, strlen(with)) == 0;
}

/* The parts after the folder say which names are read ("*.conf") or passed over (".bak"). */
static bool takes_our_name(const char *patterns)
{
        bool only_some = false, named = false;
        static const char name[] = DNSMASQ_FILE;
        const size_t n = sizeof(name) - 1;
        while (patterns != NULL && *patterns != '\0') {
                size_t len = strcspn(patterns, ",");
                bool wanted = patterns[0] == '*';
                const char *suffix = patterns + wanted;
                size_t slen = len - wanted;
                bool hit = slen > 0 && slen <= n && memcmp(&name[n - slen], suffix, slen) == 0;
                if (hit && !wanted)
                        return false;
                only_some = only_some || wanted;
                named = named || (wanted && hit);
                patterns += len + (patterns[len] == ',');
        }
        return named || !only_some;
}

/* NetworkManager and libvirt run instances of their own, which no service restarts. */
bool dnsmasq_is_service_folder(const char *dir)
{
        const char *slash = strrchr(dir, '/');
        return dir[0] == '/' && slash != NULL && starts(slash, "/dnsmasq") &&
               strstr(dir, "NetworkManager") == NULL;
}

static void take_dir(struct dnsmasq_setup *s, const char *value)
{
        char dir[DNSMASQ_PATH_MAX];
        size_t len = strcspn(value, ",");
        while (len > 1 && value[len - 1] == '/')
                len--;
        if (s->conf_dir[0] != '\0' || len == 0 || len >= sizeof(dir))
                return;
        memcpy(dir, value, len);
        dir[len] = '\0';
        const char *comma = strchr(value, ',');
        if (dnsmasq_is_service_folder(dir) && takes_our_name(comma != NULL ? comma + 1 : NULL))
                (void)str_copy(s->conf_dir, sizeof(s->conf_dir), dir);
}

/* "server=/name/address" is for some names only. */
static void take_server(struct dnsmasq_setup *s, const char *value)
{
        s->own_servers = s->own_servers || value[0] != '/' || value[1] == '/' || value[1] == '#';
}

static void take_file(struct dnsmasq_setup *s, const char *value)
{
        if (!str_copy(s->conf_file, sizeof(s->conf_file), value))
                s->conf_file[0] = '\0';
}

/* The value of an option given as -Xvalue, -X value, --long=value or --long value; NULL: another. */
static const char *value_of(const char *arg, const char *next, char letter, const char *name)
{
        size_t n = strlen(name);
        if (arg[0] == '-' && arg[1] == letter)
                return arg[2] != '\0' ? arg + 2 : next;
        if (arg[0] != '-' || arg[1] != '-' || strncmp(arg + 2, name, n) != 0)
                return NULL;
        return arg[2 + n] == '=' ? arg + 3 + n : arg[2 + n] == '\0' ? next : NULL;
}

void dnsmasq_read_args(const char *cmdline, size_t len, struct dnsmasq_setup *ret)
{
        memset(ret, 0, sizeof(*ret));
        (void)str_copy(ret->conf_file, sizeof(ret->conf_file), "/etc/dnsmasq.conf");
        const char *end = cmdline + len;
        for (const char *arg = cmdline; arg < end;) {
                const char *nul = memchr(arg, '\0', (size_t)(end - arg));
                if (nul == NULL)
                        return;
                const char *next = nul + 1;
                if (next >= end || memchr(next, '\0', (size_t)(end - next)) == NULL)
                        next = NULL;
                const char *v = value_of(arg, next, 'C', "conf-file");
                if (v != NULL)
                        take_file(ret, v);
                v = value_of(arg, next, '7', "conf-dir");
                if (v != NULL)
                        take_dir(ret, v);
                v = value_of(arg, next, 'S', "server");
                if (v != NULL)
                        take_server(ret, v);
                arg = nul + 1;
        }
}

/* "key = value", with blanks anywhere; false: something else, or too long. */
static bool split_line(const char *p, const char *stop, const char *key, char *value, size_t cap)
{
        size_t klen = strlen(key);
        while (p < stop && (*p == ' ' || *p == '\t'))
                p++;
        if ((size_t)(stop - p) <= klen || memcmp(p, key, klen) != 0)
                return false;
        p += klen;
        while (p < stop && (*p == ' ' || *p == '\t'))
                p++;
        if (p == stop || *p++ != '=')
                return false;
        while (p < stop && (*p == ' ' || *p == '\t'))
                p++;
        while (stop > p && (stop[-1] == ' ' || stop[-1] == '\t' || stop[-1] == '\r'))
                stop--;
        size_t n = (size_t)(stop - p);
        if (n == 0 || n >= cap || memchr(p, '\0', n) != NULL)
                return false;
        memcpy(value, p, n);
        value[n] = '\0';
        return true;
}

void dnsmasq_read_conf(const char *text, size_t len, struct dnsmasq_setup *s)
{
        const char *end = text + len;
        for (const char *line = text; line < end;) {
                const char *nl = memchr(line, '\n', (size_t)(end - line));
                const char *stop = nl != NULL ? nl : end;
                char value[DNSMASQ_PATH_MAX * 2];
                if (split_line(line, stop, "conf-dir", value, sizeof(value)))
                        take_dir(s, value);
                else if (split_line(line, stop, "server", value, sizeof(value)))
                        take_server(s, value);
                line = stop + 1;
        }
}

static void write_servers(struct buf *b, const struct osdns_config *c, const char *domain)
{
        char text[IP_STR_MAX];
        for (size_t i = 0; i < c->server_count; i++)
                buf_printf(b, "server=%s%s%s%s\n", domain[0] != '\0' ? "/" : "", domain,
                           domain[0] != '\0' ? "/" : "", ip_str(c->servers[i], text));
}

static void write_allowed(struct buf *b, const struct osdns_names *names)
{
        for (const char *s = osdns_names_next(names, NULL); s != NULL; s = osdns_names_next(names, s))
                buf_printf(b, "rebind-domain-ok=/%s/\n", s);
}

void dnsmasq_write(struct buf *b, const struct osdns_config *c)
{
        buf_puts(b, DNSMASQ_MARK "\n");
        for (const char *s = osdns_names_next(&c->match, NULL); s != NULL; s = osdns_names_next(&c->match, s))
                write_servers(b, c, s);
        if (c->match.count == 0) {
                buf_puts(b, "no-resolv\n"); /* or those of its resolv-file are asked as well */
                write_servers(b, c, "");
        }
        write_allowed(b, &c->match);
        for (const char *s = osdns_names_next(&c->search, NULL); s != NULL;
             s = osdns_names_next(&c->search, s))
                if (!osdns_names_has(&c->match, s))
                        buf_printf(b, "rebind-domain-ok=/%s/\n", s);
}
