#include "base/jview.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { DEPTH_MAX = 64, ROOM_FIRST = 128 };

/* Values are named by their index while they are read, as the array may move. */
struct read {
        struct jview_room *room;
        const uint8_t *at;
        const uint8_t *end;
        char *out;      /* where the next string goes: with its NUL it is shorter than it was written */
        bool full;
};

static bool read_value(struct read *r, unsigned depth);

static bool is_digit(const struct read *r)
{
        return r->at < r->end && *r->at >= '0' && *r->at <= '9';
}

static void skip_space(struct read *r)
{
        while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
                r->at++;
}

static bool take(struct read *r, char c)
{
        if (r->at == r->end || *r->at != (uint8_t)c)
                return false;
        r->at++;
        return true;
}

static bool take_spaced(struct read *r, char c)
{
        skip_space(r);
        return take(r, c);
}

static bool add(struct read *r, enum jview_type type)
{
        struct jview_room *room = r->room;
        if (room->count == room->cap) {
                size_t cap = room->cap > 0 ? room->cap * 2 : ROOM_FIRST;
                struct jview *at = cap <= UINT32_MAX ? realloc(room->at, cap * sizeof(*at)) : NULL;
                if (at == NULL) {
                        r->full = true;
                        return false;
                }
                room->at = at;
                room->cap = cap;
        }
        room->at[room->count++] = (struct jview){.type = type, .span = 1};
        return true;
}

/* --- strings --- */

static bool read_hex4(struct read *r, uint32_t *ret)
{
        uint32_t c = 0;
        for (int i = 0; i < 4; i++, r->at++) {
                if (r->at == r->end)
                        return false;
                uint32_t h = *r->at, low = h | 0x20;
                if (h >= '0' && h <= '9')
                        c = c << 4 | (h - '0');
                else if (low >= 'a' && low <= 'f')
                        c = c << 4 | (low - 'a' + 10);
                else
                        return false;
        }
        *ret = c;
        return true;
}

static void put_utf8(struct read *r, uint32_t c)
{
        static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
        unsigned more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        *r->out++ = (char)(lead[more] | c >> (6 * more));
        while (more-- > 0)
                *r->out++ = (char)(0x80 | (c >> (6 * more) & 0x3f));
}

/* A pair of surrogates is one character, and one alone is none.  NUL, which no string here can hold, is U+FFFD. */
static bool read_unicode(struct read *r)
{
        uint32_t c, low;
        if (!read_hex4(r, &c) || (c >= 0xdc00 && c < 0xe000))
                return false;
        if (c >= 0xd800 && c < 0xdc00) {
                if (!take(r, '\\') || !take(r, 'u') || !read_hex4(r, &low) || low < 0xdc00 || low >= 0xe000)
                        return false;
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        }
        put_utf8(r, c != 0 ? c : 0xfffd);
        return true;
}

static bool read_escape(struct read *r)
{
        static const char written[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
        if (take(r, 'u'))
                return read_unicode(r);
        const char *w = r->at < r->end && *r->at != '\0' ? strchr(written, *r->at) : NULL;
        if (w == NULL)
                return false;
        *r->out++ = meant[w - written];
        r->at++;
        return true;
}

/* A character beyond ASCII. */
static bool read_wide(struct read *r)
{
        uint8_t head[5] = {0};
        uint32_t c;
        memcpy(head, r->at, r->end - r->at < 4 ? (size_t)(r->end - r->at) : 4);
        size_t n = utf8_read(head, &c);
        memcpy(r->out, head, n);
        r->at += n;
        r->out += n;
        return n > 0;
}

static void read_plain(struct read *r)
{
        const uint8_t *at = r->at, *end = r->end;
        while (at < end && *at >= ' ' && *at < 0x80 && *at != '"' && *at != '\\')
                at++;
        size_t n = (size_t)(at - r->at);
        memcpy(r->out, r->at, n);
        r->out += n;
        r->at = at;
}

static bool read_character(struct read *r)
{
        if (*r->at >= 0x80)
                return read_wide(r);
        return take(r, '\\') && read_escape(r);   /* all others are control characters */
}

static bool read_string(struct read *r)
{
        const char *from = r->out;
        if (!take(r, '"') || !add(r, JVIEW_STRING))
                return false;
        while (!take(r, '"')) {
                read_plain(r);
                if (r->at == r->end || (*r->at != '"' && !read_character(r)))
                        return false;
        }
        struct jview *v = &r->room->at[r->room->count - 1];
        v->text = from;
        v->len = (size_t)(r->out - from);
        *r->out++ = '\0';
        return true;
}

/* --- what is no string --- */

static bool read_word(struct read *r, const char *word, enum jview_type type)
{
        for (; *word != '\0'; word++)
                if (!take(r, *word))
                        return false;
        return add(r, type);
}

static bool skip_digits(struct read *r)
{
        if (!is_digit(r))
                return false;
        while (is_digit(r))
                r->at++;
        return true;
}

/* Behind its first digits: is it an integer? */
static bool skip_fraction(struct read *r, bool *ret_integer)
{
        const uint8_t *from = r->at;
        if (take(r, '.') && !skip_digits(r))
                return false;
        if (take(r, 'e') || take(r, 'E')) {
                if (!take(r, '+'))
                        (void)take(r, '-');
                if (!skip_digits(r))
                        return false;
        }
        *ret_integer = r->at == from;
        return true;
}

static bool read_number(struct read *r)
{
        const char *from = (const char *)r->at;
        bool integer;
        (void)take(r, '-');
        if ((!take(r, '0') && !skip_digits(r)) || !skip_fraction(r, &integer) || !add(r, JVIEW_REAL))
                return false;
        size_t len = (size_t)((const char *)r->at - from);
        memcpy(r->out, from, len);
        r->out[len] = '\0';
        struct jview *v = &r->room->at[r->room->count - 1];
        errno = 0;
        long long n = integer ? strtoll(r->out, NULL, 10) : 0;
        if (integer && errno == 0) {
                v->type = JVIEW_INT;
                v->n = n;
                return true;
        }
        v->text = r->out;
        v->len = len;
        r->out += len + 1;
        return isfinite(strtod(v->text, NULL));
}

static bool read_member(struct read *r, unsigned depth)
{
        skip_space(r);
        return read_string(r) && take_spaced(r, ':') && read_value(r, depth);
}

static bool read_all(struct read *r, char closer, bool (*read_one)(struct read *r, unsigned depth), unsigned depth)
{
        size_t i = r->room->count;
        const uint8_t *from = r->at++;
        if (depth == 0 || !add(r, closer == ']' ? JVIEW_ARRAY : JVIEW_OBJECT))
                return false;
        if (!take_spaced(r, closer)) {
                do
                        if (!read_one(r, depth - 1))
                                return false;
                while (take_spaced(r, ','));
                if (!take_spaced(r, closer))
                        return false;
        }
        struct jview *v = &r->room->at[i];
        v->span = (uint32_t)(r->room->count - i);
        v->text = (const char *)from;
        v->len = (size_t)(r->at - from);
        return true;
}

static bool read_value(struct read *r, unsigned depth)
{
        skip_space(r);
        switch (r->at < r->end ? *r->at : '\0') {
        case '"': return read_string(r);
        case '{': return read_all(r, '}', read_member, depth);
        case '[': return read_all(r, ']', read_value, depth);
        case 't': return read_word(r, "true", JVIEW_TRUE);
        case 'f': return read_word(r, "false", JVIEW_FALSE);
        case 'n': return read_word(r, "null", JVIEW_NULL);
        default: return read_number(r);
        }
}

enum err jview_read(struct jview_room *room, const char *text, size_t len, const struct jview **ret)
{
        if (len >= room->strings_cap) {
                char *strings = realloc(room->strings, len + 1);
                if (strings == NULL)
                        return ERR_FULL;
                room->strings = strings;
                room->strings_cap = len + 1;
        }
        room->count = 0;
        const uint8_t *at = (const uint8_t *)text;
        struct read r = {.room = room, .at = at, .end = at + len, .out = room->strings};
        bool whole = read_value(&r, DEPTH_MAX);
        skip_space(&r);
        if (!whole || r.at != r.end)
                return r.full ? ERR_FULL : ERR_FORMAT;
        *ret = room->at;
        return ERR_NONE;
}

void jview_done(struct jview_room *room)
{
        free(room->at);
        free(room->strings);
        *room = (struct jview_room){0};
}

/* --- getters --- */

const struct jview *jview_get(const struct jview *obj, const char *key)
{
        const struct jview *found = NULL;
        if (obj == NULL || obj->type != JVIEW_OBJECT)
                return NULL;
        size_t len = strlen(key);
        for (const struct jview *name = obj + 1; name < obj + obj->span; name += 1 + name[1].span)
                if (name->len == len && memcmp(name->text, key, len) == 0)
                        found = name + 1;
        return found;
}

static const struct jview *get_typed(const struct jview *obj, const char *key, enum jview_type type)
{
        const struct jview *v = jview_get(obj, key);
        return v != NULL && v->type == type ? v : NULL;
}

const struct jview *jview_obj(const struct jview *obj, const char *key)
{
        return get_typed(obj, key, JVIEW_OBJECT);
}

const struct jview *jview_arr(const struct jview *obj, const char *key)
{
        return get_typed(obj, key, JVIEW_ARRAY);
}

const char *jview_text(const struct jview *v)
{
        return v != NULL && v->type == JVIEW_STRING ? v->text : NULL;
}

const char *jview_str(const struct jview *obj, const char *key, const char *dflt)
{
        const struct jview *v = get_typed(obj, key, JVIEW_STRING);
        return v != NULL ? v->text : dflt;
}

int64_t jview_int(const struct jview *obj, const char *key, int64_t dflt)
{
        const struct jview *v = get_typed(obj, key, JVIEW_INT);
        return v != NULL ? v->n : dflt;
}

bool jview_bool(const struct jview *obj, const char *key, bool dflt)
{
        const struct jview *v = jview_get(obj, key);
        return v != NULL && (v->type == JVIEW_TRUE || v->type == JVIEW_FALSE) ? v->type == JVIEW_TRUE : dflt;
}

bool jview_has(const struct jview *obj, const char *key)
{
        const struct jview *v = jview_get(obj, key);
        return v != NULL && v->type != JVIEW_NULL;
}

const struct jview *jview_first(const struct jview *arr)
{
        return arr != NULL && arr->type == JVIEW_ARRAY && arr->span > 1 ? arr + 1 : NULL;
}

const struct jview *jview_next(const struct jview *arr, const struct jview *v)
{
        v += v->span;
        return v < arr + arr->span ? v : NULL;
}
