#include "daemon/dns/name.h"

#include <stdio.h>
#include <string.h>

static uint8_t fold(uint8_t c)
{
        return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

static bool add_label(struct dns_name *n, const void *label, size_t len)
{
        const uint8_t *from = label;
        if (len == 0 || len > DNS_LABEL_MAX || n->len + len + 2 > DNS_NAME_MAX)
                return false;
        n->b[n->len++] = (uint8_t)len;
        for (size_t i = 0; i < len; i++)
                n->b[n->len++] = fold(from[i]);
        return true;
}

enum err dns_name_parse(const char *text, struct dns_name *ret)
{
        struct dns_name n = {0};
        if (strcmp(text, ".") == 0)
                text = "";
        else if (text[0] == '\0')
                return ERR_FORMAT;
        while (text[0] != '\0') {
                size_t len = strcspn(text, ".");
                for (size_t i = 0; i < len; i++)
                        if (text[i] <= ' ' || text[i] == 127 || text[i] == '\\')
                                return ERR_FORMAT;
                if (!add_label(&n, text, len))
                        return ERR_FORMAT;
                text += len + (text[len] == '.');
        }
        n.b[n.len++] = 0;
        *ret = n;
        return ERR_NONE;
}

bool dns_name_read(struct rd *r, struct dns_name *ret)
{
        struct dns_name n = {0};
        for (;;) {
                uint8_t len = rd_u8(r);
                if (!rd_ok(r))
                        return false;
                if (len == 0)
                        break;
                const uint8_t *label = len <= DNS_LABEL_MAX ? rd_take(r, len) : NULL;
                if (label == NULL || !add_label(&n, label, len))
                        return false;
        }
        n.b[n.len++] = 0;
        *ret = n;
        return true;
}

bool dns_name_skip(struct rd *r)
{
        size_t total = 0;
        for (;;) {
                uint8_t len = rd_u8(r);
                if (!rd_ok(r) || (total += 1u + len) > DNS_NAME_MAX + 192u)
                        return false;
                if (len == 0)
                        return true;
                if (len >= 0xc0) {
                        rd_skip(r, 1);
                        return rd_ok(r);
                }
                if (len > DNS_LABEL_MAX || total > DNS_NAME_MAX)
                        return false;
                rd_skip(r, len);
        }
}

bool dns_name_eq(const struct dns_name *a, const struct dns_name *b)
{
        return a->len == b->len && memcmp(a->b, b->b, a->len) == 0;
}

bool dns_name_within(const struct dns_name *n, const struct dns_name *suffix)
{
        if (suffix->len == 0)
                return false;
        size_t at = 0;
        while (n->len - at > suffix->len)
                at += 1u + n->b[at];
        return n->len - at == suffix->len && memcmp(n->b + at, suffix->b, suffix->len) == 0;
}

bool dns_name_to_parent(struct dns_name *n)
{
        if (n->len <= 1)
                return false;
        size_t skip = 1u + n->b[0];
        n->len = (uint8_t)(n->len - skip);
        memmove(n->b, n->b + skip, n->len);
        return true;
}

bool dns_name_first_is(const struct dns_name *n, const char *label)
{
        size_t len = strlen(label);
        return n->len > len + 1 && n->b[0] == len && memcmp(n->b + 1, label, len) == 0;
}

const char *dns_name_str(const struct dns_name *n, char out[DNS_NAME_STR_MAX])
{
        char *p = out;
        for (size_t at = 0; at < n->len && n->b[at] != 0; at += 1u + n->b[at]) {
                if (at > 0)
                        *p++ = '.';
                for (size_t i = 1; i <= n->b[at]; i++) {
                        uint8_t c = n->b[at + i];
                        if (c > ' ' && c < 127 && c != '.' && c != '\\')
                                *p++ = (char)c;
                        else
                                p += snprintf(p, 5, "\\%03u", c);
                }
        }
        if (p == out && n->len > 0)
                *p++ = '.';
        *p = '\0';
        return out;
}
