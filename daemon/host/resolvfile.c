#include "daemon/host/resolvfile.h"

#include <string.h>

/* No word by which another program signs its files may appear here. */
static const char header[] =
        "# resolv.conf(5) file " RESOLVFILE_MARK "\n"
        "# Changes made here will be overwritten; `tailscale set --accept-dns=false` gives the\n"
        "# file back as it was.\n"
        "\n";

static bool is_space(char c)
{
        return c == ' ' || c == '\t' || c == '\r';
}

/* The next word of [*at, end), copied; false at the end or when it is too long to mean anything. */
static bool next_word(const char **at, const char *end, char *out, size_t cap)
{
        const char *p = *at;
        while (p < end && is_space(*p))
                p++;
        const char *start = p;
        while (p < end && !is_space(*p))
                p++;
        *at = p;
        size_t n = (size_t)(p - start);
        if (n == 0 || n >= cap || memchr(start, '\0', n) != NULL)
                return false;
        memcpy(out, start, n);
        out[n] = '\0';
        return true;
}

static bool contains(const char *line, size_t len, const char *word)
{
        return memmem(line, len, word, strlen(word)) != NULL;
}

static enum resolv_owner owner_in(const char *line, size_t len)
{
        if (contains(line, len, "systemd-resolved"))
                return RESOLV_OWNER_RESOLVED;
        if (contains(line, len, "NetworkManager"))
                return RESOLV_OWNER_NETWORKMANAGER;
        if (contains(line, len, "resolvconf"))
                return RESOLV_OWNER_RESOLVCONF;
        return RESOLV_OWNER_NONE;
}

struct tally {
        size_t servers, stubs, loopbacks;
};

static void take_server(struct resolvfile *f, const char *word, struct tally *t)
{
        struct ip ip;
        if (ip_parse(word, &ip) != ERR_NONE)
                return;
        t->servers++;
        t->stubs += ip_eq(ip, ip_v4(127, 0, 0, 53));
        t->loopbacks += ip_is_loopback(ip);
        if (ip_is_service(ip))
                f->names_us = true;
        else if (osdns_add_server(&f->config, ip) != ERR_NONE)
                return; /* libc reads no more than three anyway */
}

static void append_word(char *dst, size_t cap, const char *word)
{
        size_t have = strlen(dst), n = strlen(word);
        if (have + n + 2 > cap)
                return;
        if (have > 0)
                dst[have++] = ' ';
        memcpy(dst + have, word, n + 1);
}

/* trust-ad vouches for the path to the servers that were, not for ours. */
static bool option_stays(const char *word)
{
        return strcmp(word, "trust-ad") != 0;
}

static void take_line(struct resolvfile *f, const char *line, const char *end, struct tally *t)
{
        char key[16], word[OSDNS_NAME_MAX + 2];
        const char *at = line;
        if (!next_word(&at, end, key, sizeof(key)))
                return;
        if (strcmp(key, "nameserver") == 0) {
                if (next_word(&at, end, word, sizeof(word)))
                        take_server(f, word, t);
        } else if (strcmp(key, "search") == 0 || strcmp(key, "domain") == 0) {
                osdns_names_clear(&f->config.search); /* the last such line counts */
                while (next_word(&at, end, word, sizeof(word))) {
                        if (osdns_names_add(&f->config.search, word) == ERR_FULL || key[0] == 'd')
                                break;
                }
        } else if (strcmp(key, "options") == 0) {
                while (next_word(&at, end, word, sizeof(word)))
                        if (option_stays(word))
                                append_word(f->options, sizeof(f->options), word);
        } else if (strcmp(key, "sortlist") == 0) {
                while (next_word(&at, end, word, sizeof(word)))
                        append_word(f->sortlist, sizeof(f->sortlist), word);
        }
}

void resolvfile_done(struct resolvfile *f)
{
        osdns_config_clear(&f->config);
}

void resolvfile_parse(const char *text, size_t len, struct resolvfile *ret)
{
        memset(ret, 0, sizeof(*ret));
        struct tally t = {0};
        bool leading = true;
        const char *end = text + len;
        for (const char *line = text; line < end;) {
                const char *nl = memchr(line, '\n', (size_t)(end - line));
                const char *stop = nl != NULL ? nl : end;
                const char *p = line;
                while (p < stop && is_space(*p))
                        p++;
                bool comment = p < stop && (*p == '#' || *p == ';');
                leading = leading && (p == stop || comment);
                if (comment && leading) {
                        enum resolv_owner o = owner_in(p, (size_t)(stop - p));
                        if (o != RESOLV_OWNER_NONE)
                                ret->owner = o;
                        ret->resolvconf_signed = ret->resolvconf_signed || o == RESOLV_OWNER_RESOLVCONF;
                        ret->ours = ret->ours || contains(p, (size_t)(stop - p), RESOLVFILE_MARK);
                } else if (!comment) {
                        take_line(ret, p, stop, &t);
                }
                if (nl == NULL)
                        break;
                line = nl + 1;
        }
        ret->only_stub = t.servers > 0 && t.stubs == t.servers;
        ret->only_loopback = t.servers > 0 && t.loopbacks == t.servers;
}

void resolvfile_write_lines(struct buf *b, const struct osdns_config *c)
{
        char text[IP_STR_MAX];
        for (size_t i = 0; i < c->server_count; i++)
                buf_printf(b, "nameserver %s\n", ip_str(c->servers[i], text));
        if (c->search.count > 0) {
                buf_puts(b, "search");
                for (const char *s = osdns_names_next(&c->search, NULL); s != NULL;
                     s = osdns_names_next(&c->search, s))
                        buf_printf(b, " %s", s);
                buf_puts(b, "\n");
        }
}

void resolvfile_write(struct buf *b, const struct osdns_config *c, const char *options, const char *sortlist)
{
        buf_puts(b, header);
        resolvfile_write_lines(b, c);
        if (options[0] != '\0')
                buf_printf(b, "options %s\n", options);
        if (sortlist[0] != '\0')
                buf_printf(b, "sortlist %s\n", sortlist);
}
