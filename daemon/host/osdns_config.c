#include "daemon/host/osdns_config.h"

#include <stdlib.h>
#include <string.h>

static bool is_name_byte(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static char lower(char c)
{
        return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Writes the canonical form; 0: not a domain name.  A label may not start with a hyphen: programs that get
 * names as arguments must not take one for an option. */
static size_t canonical(const char *name, char out[OSDNS_NAME_MAX + 1])
{
        size_t n = 0, label = 0;
        for (const char *p = name; *p != '\0'; p++) {
                char c = lower(*p);
                if (c == '.') {
                        if (label == 0)
                                return 0;
                        label = 0;
                        if (p[1] == '\0')
                                break;
                } else if (!is_name_byte(c) || ++label > 63 || (label == 1 && c == '-')) {
                        return 0;
                }
                if (n == OSDNS_NAME_MAX)
                        return 0;
                out[n++] = c;
        }
        out[n] = '\0';
        return n;
}

const char *osdns_names_next(const struct osdns_names *n, const char *at)
{
        const char *next = at == NULL ? n->text : at + strlen(at) + 1;
        return n->len > 0 && next < n->text + n->len ? next : NULL;
}

static bool has(const struct osdns_names *n, const char *name)
{
        for (const char *s = osdns_names_next(n, NULL); s != NULL; s = osdns_names_next(n, s))
                if (strcmp(s, name) == 0)
                        return true;
        return false;
}

bool osdns_names_has(const struct osdns_names *n, const char *name)
{
        char c[OSDNS_NAME_MAX + 1];
        return canonical(name, c) > 0 && has(n, c);
}

enum err osdns_names_add(struct osdns_names *n, const char *name)
{
        char c[OSDNS_NAME_MAX + 1];
        size_t len = canonical(name, c);
        if (len == 0)
                return ERR_FORMAT;
        if (has(n, c))
                return ERR_NONE;
        char *longer = len + 1 <= (size_t)OSDNS_NAMES_BYTES - n->len ? realloc(n->text, n->len + len + 1) : NULL;
        if (longer == NULL)
                return ERR_FULL;
        n->text = longer;
        memcpy(n->text + n->len, c, len + 1);
        n->len = (uint16_t)(n->len + len + 1);
        n->count++;
        return ERR_NONE;
}

enum err osdns_add_server(struct osdns_config *c, struct ip ip)
{
        for (size_t i = 0; i < c->server_count; i++)
                if (ip_eq(c->servers[i], ip))
                        return ERR_NONE;
        if (c->server_count == OSDNS_SERVERS_MAX)
                return ERR_FULL;
        c->servers[c->server_count++] = ip;
        return ERR_NONE;
}

bool osdns_config_is_empty(const struct osdns_config *c)
{
        return c->server_count == 0 && c->search.count == 0;
}

void osdns_names_clear(struct osdns_names *n)
{
        free(n->text);
        *n = (struct osdns_names){0};
}

void osdns_config_clear(struct osdns_config *c)
{
        osdns_names_clear(&c->search);
        osdns_names_clear(&c->match);
        c->server_count = 0;
}

static bool names_copy(struct osdns_names *dst, const struct osdns_names *src)
{
        if (src->len == 0)
                return true;
        dst->text = malloc(src->len);
        if (dst->text == NULL)
                return false;
        memcpy(dst->text, src->text, src->len);
        dst->count = src->count;
        dst->len = src->len;
        return true;
}

enum err osdns_config_copy(struct osdns_config *dst, const struct osdns_config *src)
{
        osdns_config_clear(dst);
        if (!names_copy(&dst->search, &src->search) || !names_copy(&dst->match, &src->match)) {
                osdns_config_clear(dst);
                return ERR_FULL;
        }
        dst->server_count = src->server_count;
        memcpy(dst->servers, src->servers, sizeof(dst->servers));
        return ERR_NONE;
}

static bool names_eq(const struct osdns_names *a, const struct osdns_names *b)
{
        return a->len == b->len && (a->len == 0 || memcmp(a->text, b->text, a->len) == 0);
}

bool osdns_config_eq(const struct osdns_config *a, const struct osdns_config *b)
{
        if (a->server_count != b->server_count)
                return false;
        for (size_t i = 0; i < a->server_count; i++)
                if (!ip_eq(a->servers[i], b->servers[i]))
                        return false;
        return names_eq(&a->search, &b->search) && names_eq(&a->match, &b->match);
}
