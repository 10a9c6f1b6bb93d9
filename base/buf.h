/* base/buf.h - a growing byte string with a hard maximum, for control-side text and messages.
 *
 * Never used on the packet path.  Exceeding `max` or running out of memory latches `failed`; ask
 * buf_ok() at the end.  Always NUL-terminated after the first append, so .data serves as a C string.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
        char *data;   /* NULL until the first append */
        size_t len;   /* without the NUL */
        size_t cap;
        size_t max;
        bool failed;
};

void buf_init(struct buf *b, size_t max);
void buf_done(struct buf *b);            /* frees; wipes first, as it may have held a secret */
bool buf_ok(const struct buf *b);
void buf_expect(struct buf *b, size_t n);   /* as many are to come: room for them at once, and no more; not if beyond max */
void buf_add(struct buf *b, const void *data, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
void buf_consume(struct buf *b, size_t n);   /* drops n bytes from the front */
void buf_clear(struct buf *b);               /* empty again, keeps the room */
char *buf_take(struct buf *b);               /* hands the string over (free()); NULL if failed */

/* Copies src into dst[cap], always terminated; false if it was cut. */
bool str_copy(char *dst, size_t cap, const char *src);

/* What the field's command lines take for a bool: 1, t, T, true, TRUE, True and their opposites; false: none of them. */
bool str_bool(const char *s, bool *ret);
