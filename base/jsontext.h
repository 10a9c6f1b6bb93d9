/* base/jsontext.h - JSON written straight into a buffer, for answers too large to build as a tree first.
 *
 * Writes what it is told in the order it is told; commas, quotes, escapes and indentation are its own business.
 * Text that is no UTF-8 comes out as U+FFFD.  A fault of the buffer is sticky there.  Control thread.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct jtext {
        struct buf *out;
        unsigned depth;
        bool tabs;     /* a line for each value, indented; otherwise all in one */
        bool some;     /* where we are there is a value already */
        bool named;    /* a name was written and waits for its value */
};

void jtext_init(struct jtext *j, struct buf *out, bool tabs);
void jtext_open(struct jtext *j, char bracket);    /* '{' or '[' */
void jtext_close(struct jtext *j, char bracket);   /* '}' or ']' */
void jtext_name(struct jtext *j, const char *name);
void jtext_str(struct jtext *j, const char *s);    /* NULL: "" */
void jtext_int(struct jtext *j, int64_t n);
void jtext_bool(struct jtext *j, bool b);
void jtext_null(struct jtext *j);
/* JSON that somebody else wrote. */
void jtext_raw(struct jtext *j, const char *text);
void jtext_value(struct jtext *j, const json_t *v);   /* NULL: null */

/* A member each. */
void jtext_add_str(struct jtext *j, const char *name, const char *s);
void jtext_add_int(struct jtext *j, const char *name, int64_t n);
void jtext_add_bool(struct jtext *j, const char *name, bool b);
void jtext_add_null(struct jtext *j, const char *name);
void jtext_add_value(struct jtext *j, const char *name, const json_t *v);
