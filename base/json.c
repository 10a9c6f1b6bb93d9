#include "base/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
        JSON_DEPTH_MAX = 64,
        /* Bare values too: elements of arrays are handed in one at a time. */
        JSON_FLAGS = JSON_DECODE_ANY,
};

/* --- a scanner that knows only where values end --- */

struct scan {
        const char *at;
        const char *end;
};

static bool is_space(char c)
{
        return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_space(struct scan *s)
{
        while (s->at < s->end && is_space(*s->at))
                s->at++;
}

static bool at_char(struct scan *s, char c)
{
        skip_space(s);
        return s->at < s->end && *s->at == c;
}

static bool take_char(struct scan *s, char c)
{
        if (!at_char(s, c))
                return false;
        s->at++;
        return true;
}

/* From the opening quote to behind the closing one. */
static bool skip_string(struct scan *s)
{
        const char *end = s->end;
        for (const char *p = s->at + 1; p < end; p++) {
                if (*p == '"') {
                        s->at = p + 1;
                        return true;
                }
                if (*p == '\\' && ++p == end)
                        return false;
        }
        return false;
}

static bool ends_scalar(char c)
{
        return is_space(c) || c == ',' || c == '}' || c == ']' || c == ':' || c == '{' || c == '[' || c == '"' || c == '\0';
}

static bool skip_scalar(struct scan *s)
{
        const char *start = s->at;
        while (s->at < s->end && !ends_scalar(*s->at))
                s->at++;
        return s->at > start;
}

/* Moves past one value of at most max_depth nested arrays and objects.  Brackets must match; what
 * stands between them is left to the parser proper. */
static bool skip_value(struct scan *s, unsigned max_depth)
{
        char closers[JSON_DEPTH_MAX];
        unsigned depth = 0;
        do {
                skip_space(s);
                if (s->at == s->end)
                        return false;
                char c = *s->at;
                if (c == '"') {
                        if (!skip_string(s))
                                return false;
                } else if (c == '{' || c == '[') {
                        if (depth == max_depth)
                                return false;
                        closers[depth++] = c == '{' ? '}' : ']';
                        s->at++;
                } else if (c == '}' || c == ']') {
                        if (depth == 0 || closers[--depth] != c)
                                return false;
                        s->at++;
                } else if (c == ',' || c == ':') {
                        if (depth == 0)
                                return false;
                        s->at++;
                } else if (!skip_scalar(s)) {
                        return false;
                }
        } while (depth > 0);
        return true;
}

/* --- the parser proper --- */

/* The number at s, if it is an integer beyond 64 bits, becomes a real of the same length.  How long it is. */
static size_t mend_number(char *s)
{
        char *end;
        size_t n = strspn(s, "+-.0123456789Ee");
        errno = 0;
        (void)strtoll(s, &end, 10);
        if (errno == ERANGE && end == s + n)
                memcpy(end - 2, "e2", 2);
        return n;
}

/* s[len] is NUL. */
static void mend(char *s, size_t len)
{
        bool in_string = false;
        for (size_t i = 0; i < len; i++) {
                if (in_string && s[i] == '\\') {
                        if (strncmp(s + i, "\\u0000", 6) == 0)
                                memcpy(s + i, "\\ufffd", 6);
                        i++;   /* the character behind it is no quote */
                } else if (s[i] == '"') {
                        in_string = !in_string;
                } else if (!in_string && (s[i] == '-' || (s[i] >= '0' && s[i] <= '9'))) {
                        i += mend_number(s + i) - 1;
                }
        }
}

/* Two things are legal that jansson refuses: \u0000, and integers beyond 64 bits with a sign.  Any node can have
 * them in what it tells of itself, and servers pass that on to all others, who must not lose their map to it. */
static json_t *load(const char *text, size_t len)
{
        json_t *v = json_loadb(text, len, JSON_FLAGS, NULL);
        char *copy = v == NULL ? malloc(len + 1) : NULL;
        if (copy == NULL)
                return v;
        memcpy(copy, text, len);
        copy[len] = '\0';
        mend(copy, len);
        v = json_loadb(copy, len, JSON_FLAGS, NULL);
        free(copy);
        return v;
}

static json_t *parse_slice(const char *from, const char *to)
{
        return load(from, (size_t)(to - from));
}

json_t *json_parse(const char *text, size_t len)
{
        if (text == NULL)
                return NULL;
        struct scan s = {text, text + len};
        if (!skip_value(&s, JSON_DEPTH_MAX))
                return NULL;
        return load(text, len);
}

/* --- getters --- */

const char *json_str(const json_t *obj, const char *key, const char *dflt)
{
        const json_t *v = json_object_get(obj, key);
        return json_is_string(v) ? json_string_value(v) : dflt;
}

int64_t json_int(const json_t *obj, const char *key, int64_t dflt)
{
        const json_t *v = json_object_get(obj, key);
        return json_is_integer(v) ? json_integer_value(v) : dflt;
}

double json_num(const json_t *obj, const char *key, double dflt)
{
        const json_t *v = json_object_get(obj, key);
        return json_is_number(v) ? json_number_value(v) : dflt;
}

bool json_bool(const json_t *obj, const char *key, bool dflt)
{
        const json_t *v = json_object_get(obj, key);
        return json_is_boolean(v) ? json_is_true(v) : dflt;
}

json_t *json_arr(const json_t *obj, const char *key)
{
        json_t *v = json_object_get(obj, key);
        return json_is_array(v) ? v : NULL;
}

json_t *json_obj(const json_t *obj, const char *key)
{
        json_t *v = json_object_get(obj, key);
        return json_is_object(v) ? v : NULL;
}

bool json_has(const json_t *obj, const char *key)
{
        const json_t *v = json_object_get(obj, key);
        return v != NULL && !json_is_null(v);
}

static int by_text(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char **json_keys(json_t *obj, size_t *ret_n)
{
        const char *key, **keys = calloc(json_object_size(obj) + 1, sizeof(*keys));
        json_t *value;
        size_t n = 0;
        json_object_foreach(obj, key, value)
        {
                if (keys != NULL)
                        keys[n++] = key;
        }
        if (n > 1)
                qsort(keys, n, sizeof(*keys), by_text);
        *ret_n = n;
        return keys;
}

/* --- one element at a time --- */

/* The walk is done twice: dry, to learn that the text is whole, then for real. */
struct each {
        const char *const *keys;
        json_seen_fn seen;
        json_element_fn fn;   /* NULL on the dry walk */
        void *arg;
        json_t *rest;
};

static enum err give_element(const struct each *e, const char *key, const char *from, const char *to)
{
        if (e->fn == NULL)
                return ERR_NONE;
        bool taken = false;
        enum err err = e->seen != NULL ? e->seen(e->arg, key, from, (size_t)(to - from), &taken) : ERR_NONE;
        if (err != ERR_NONE || taken)
                return err;
        json_t *element = parse_slice(from, to);
        if (element == NULL)
                return ERR_FORMAT;
        err = e->fn(e->arg, key, element);
        json_decref(element);
        return err;
}

static enum err walk_array(struct scan *s, const struct each *e, const char *key)
{
        if (!take_char(s, '['))
                return ERR_FORMAT;
        if (take_char(s, ']'))
                return ERR_NONE;
        do {
                skip_space(s);
                const char *from = s->at;
                if (!skip_value(s, JSON_DEPTH_MAX - 2))
                        return ERR_FORMAT;
                enum err err = give_element(e, key, from, s->at);
                if (err != ERR_NONE)
                        return err;
        } while (take_char(s, ','));
        return take_char(s, ']') ? ERR_NONE : ERR_FORMAT;
}

static const char *wanted_key(const struct each *e, const char *name)
{
        for (const char *const *k = e->keys; *k != NULL; k++)
                if (strcmp(*k, name) == 0)
                        return *k;
        return NULL;
}

/* A wanted member that is null counts as absent; one of another type is a fault. */
static enum err walk_value(struct scan *s, const struct each *e, const char *name)
{
        const char *key = wanted_key(e, name);
        skip_space(s);
        if (key != NULL && at_char(s, '['))
                return walk_array(s, e, key);
        const char *from = s->at;
        if (!skip_value(s, JSON_DEPTH_MAX - 1))
                return ERR_FORMAT;
        if (key != NULL)
                return s->at - from == 4 && memcmp(from, "null", 4) == 0 ? ERR_NONE : ERR_FORMAT;
        if (e->fn == NULL)
                return ERR_NONE;
        json_t *value = parse_slice(from, s->at);
        return json_object_set_new(e->rest, name, value) == 0 ? ERR_NONE : ERR_FORMAT;
}

static enum err walk_member(struct scan *s, const struct each *e)
{
        if (!at_char(s, '"'))
                return ERR_FORMAT;
        const char *from = s->at;
        if (!skip_string(s))
                return ERR_FORMAT;
        json_t *name = parse_slice(from, s->at);
        if (name == NULL)
                return ERR_FORMAT;
        enum err err = take_char(s, ':') ? walk_value(s, e, json_string_value(name)) : ERR_FORMAT;
        json_decref(name);
        return err;
}

static enum err walk_object(const char *text, size_t len, const struct each *e)
{
        struct scan s = {text, text + len};
        if (!take_char(&s, '{'))
                return ERR_FORMAT;
        if (!take_char(&s, '}')) {
                do {
                        enum err err = walk_member(&s, e);
                        if (err != ERR_NONE)
                                return err;
                } while (take_char(&s, ','));
                if (!take_char(&s, '}'))
                        return ERR_FORMAT;
        }
        skip_space(&s);
        return s.at == s.end ? ERR_NONE : ERR_FORMAT;
}

enum err json_each(const char *text, size_t len, const char *const *keys, json_element_fn fn, void *arg,
        json_t **ret_rest)
{
        return json_each_seen(text, len, keys, NULL, fn, arg, ret_rest);
}

enum err json_each_seen(const char *text, size_t len, const char *const *keys, json_seen_fn seen, json_element_fn fn,
        void *arg, json_t **ret_rest)
{
        struct each e = {.keys = keys, .seen = seen};
        enum err err = walk_object(text, len, &e);
        if (err != ERR_NONE)
                return err;
        e.rest = json_object();
        if (e.rest == NULL)
                return ERR_FULL;
        e.fn = fn;
        e.arg = arg;
        err = walk_object(text, len, &e);
        if (err != ERR_NONE) {
                json_decref(e.rest);
                return err;
        }
        *ret_rest = e.rest;
        return ERR_NONE;
}
