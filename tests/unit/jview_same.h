/* tests/unit/jview_same.h - does a view say what the library's tree says? */
#pragma once

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/jview.h"

static inline bool jview_same(const struct jview *v, const json_t *tree);

static inline bool jview_same_array(const struct jview *v, const json_t *tree)
{
        size_t i = 0;
        for (const struct jview *e = jview_first(v); e != NULL; e = jview_next(v, e), i++)
                if (!jview_same(e, json_array_get(tree, i)))
                        return false;
        return i == json_array_size(tree);
}

static inline bool jview_same_object(const struct jview *v, const json_t *tree)
{
        const char *key;
        json_t *member;
        json_object_foreach((json_t *)(uintptr_t)tree, key, member)
        {
                if (!jview_same(jview_get(v, key), member))
                        return false;
        }
        for (const struct jview *name = v + 1; name < v + v->span; name += 1 + name[1].span)
                if (json_object_get(tree, name->text) == NULL)
                        return false;
        return true;
}

static inline bool jview_same(const struct jview *v, const json_t *tree)
{
        static const json_type types[] = {JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_INTEGER, JSON_REAL, JSON_STRING,
                JSON_ARRAY, JSON_OBJECT};
        if (v == NULL || tree == NULL || types[v->type] != json_typeof(tree))
                return false;
        if (v->type == JVIEW_OBJECT)
                return jview_same_object(v, tree);
        if (v->type == JVIEW_ARRAY)
                return jview_same_array(v, tree);
        if (v->type == JVIEW_STRING)
                return v->len == json_string_length(tree) && memcmp(v->text, json_string_value(tree), v->len + 1) == 0;
        if (v->type == JVIEW_INT)
                return v->n == json_integer_value(tree);
        /* Of an integer beyond 64 bits the tree has no more than the first digits. */
        return v->type != JVIEW_REAL ||
                fabs(strtod(v->text, NULL) - json_real_value(tree)) <= 1e-15 * fabs(json_real_value(tree));
}

/* Both take the text and see the same in it, or both refuse it.  Only a NUL behind a number the library overlooks. */
static inline bool jview_agrees(struct jview_room *room, const char *text, size_t len)
{
        const struct jview *v = NULL;
        enum err err = jview_read(room, text, len, &v);
        if (memchr(text, '\0', len) != NULL)
                return err == ERR_FORMAT;
        json_t *tree = json_parse(text, len);
        bool same = err == ERR_NONE ? jview_same(v, tree) : tree == NULL && err == ERR_FORMAT;
        json_decref(tree);
        return same;
}
