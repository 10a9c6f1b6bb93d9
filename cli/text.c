#include "cli/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

/* The length of the printable character at p; 0: it is none. */
static size_t printable(const uint8_t *p)
{
        uint32_t c;
        size_t n = utf8_read(p, &c);
        return n > 0 && c >= ' ' && c != 0x7f && !(c >= 0x80 && c < 0xa0) ? n : 0;
}

/* A C1 character is two bytes and becomes one '?'. */
static void clean(char *s, bool lines)
{
        uint8_t *to = (uint8_t *)s;
        while (*to >= ' ' && *to < 0x7f)   /* mostly all of it */
                to++;
        for (const uint8_t *p = to; *p != '\0';) {
                size_t n = printable(p);
                if (*p == '\n' || (lines && *p == '\t')) {
                        *to++ = lines ? *p : ' ';
                        p++;
                        continue;
                }
                if (n == 0) {
                        p += p[0] == 0xc2 && (p[1] & 0xe0) == 0x80 ? 2 : 1;
                        *to++ = '?';
                        continue;
                }
                memmove(to, p, n);
                to += n;
                p += n;
        }
        *to = '\0';
}

void text_clean(char *s)
{
        clean(s, false);
}

void text_clean_lines(char *s)
{
        clean(s, true);
}

/* A clean copy; NULL: s is clean. */
static char *clean_copy(const char *s)
{
        char *copy = strdup(s);
        if (copy == NULL)
                abort();
        text_clean(copy);
        if (strcmp(copy, s) != 0)
                return copy;
        free(copy);
        return NULL;
}

static void clean_members(json_t *o)
{
        const char *key;
        json_t *v;
        void *tmp;
        json_object_foreach_safe(o, tmp, key, v)
        {
                text_clean_json(v);
                char *better = clean_copy(key);
                if (better == NULL)
                        continue;
                json_object_set(o, better, v);
                json_object_del(o, key);
                free(better);
        }
}

void text_clean_json(json_t *j)
{
        if (json_is_string(j)) {
                char *better = clean_copy(json_string_value(j));
                if (better != NULL)
                        json_string_set(j, better);
                free(better);
        } else if (json_is_object(j)) {
                clean_members(j);
        } else {
                for (size_t i = 0; i < json_array_size(j); i++)
                        text_clean_json(json_array_get(j, i));
        }
}

void text_clean_views(struct jview_room *room)
{
        for (size_t i = 0; i < room->count; i++) {
                struct jview *v = &room->at[i];
                if (v->type != JVIEW_STRING)
                        continue;
                text_clean(room->strings + (v->text - room->strings));   /* which makes none longer */
                v->len = strlen(v->text);
        }
}

void text_print(FILE *to, const char *fmt, ...)
{
        va_list ap;
        char *s = NULL;
        va_start(ap, fmt);
        if (vasprintf(&s, fmt, ap) < 0)
                abort();
        va_end(ap);
        text_clean_lines(s);
        fputs(s, to);
        free(s);
}

bool text_is_clean(const char *s)
{
        size_t n;
        for (const uint8_t *p = (const uint8_t *)s; *p != '\0'; p += n)
                if ((n = printable(p)) == 0)
                        return false;
        return true;
}
