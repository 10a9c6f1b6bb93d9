/* base/jview.h - JSON looked at where it lies: the values of a text in one array, for texts that come by the thousand.
 *
 * Takes and refuses what json_parse() does, and its getters answer as those of base/json.h, without an allocation for
 * each value: an object or array is followed by all that is in it, a member is its name and then its value.  Views live
 * until the next read into the same room, and no longer than the text.  Pure; whose room it is.  Source: RFC 8259.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum jview_type { JVIEW_NULL, JVIEW_FALSE, JVIEW_TRUE, JVIEW_INT, JVIEW_REAL, JVIEW_STRING, JVIEW_ARRAY, JVIEW_OBJECT };

struct jview {
        enum jview_type type;
        uint32_t span;              /* how many values it is with all in it: its neighbour is at v + v->span */
        size_t len;                 /* of text */
        union {
                const char *text;   /* of a string what it says, ending with NUL; of an object or array how it stands there */
                int64_t n;
        };
};

/* Room for the values and strings of one text, kept for the next. */
struct jview_room {
        struct jview *at;
        size_t count, cap;
        char *strings;
        size_t strings_cap;
};

/* *ret: the value that text is.  ERR_FORMAT: none, or depth > 64; ERR_FULL: no memory. */
ERR_CHECK enum err jview_read(struct jview_room *room, const char *text, size_t len, const struct jview **ret);
void jview_done(struct jview_room *room);

/* Of a member given twice the last counts.  obj may be NULL or no object. */
const struct jview *jview_get(const struct jview *obj, const char *key);
const struct jview *jview_obj(const struct jview *obj, const char *key);   /* NULL if not an object */
const struct jview *jview_arr(const struct jview *obj, const char *key);   /* NULL if not an array */
const char *jview_str(const struct jview *obj, const char *key, const char *dflt);
int64_t jview_int(const struct jview *obj, const char *key, int64_t dflt);
bool jview_bool(const struct jview *obj, const char *key, bool dflt);
bool jview_has(const struct jview *obj, const char *key);                  /* present and not null */

/* for (v = jview_first(arr); v != NULL; v = jview_next(arr, v)).  arr may be NULL: it is empty. */
const struct jview *jview_first(const struct jview *arr);
const struct jview *jview_next(const struct jview *arr, const struct jview *v);
const char *jview_text(const struct jview *v);                             /* NULL if not a string */
