#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

enum { BUF_FIRST = 64 };

void buf_init(struct buf *b, size_t max)
{
        *b = (struct buf){.max = max};
}

void buf_done(struct buf *b)
{
        if (b->data != NULL)
                crypto_wipe(b->data, b->cap);
        free(b->data);
        *b = (struct buf){.max = b->max};
}

bool buf_ok(const struct buf *b)
{
        return !b->failed;
}

/* By hand rather than with realloc(), which would leave a copy of a secret behind in freed memory. */
static bool buf_move(struct buf *b, size_t cap)
{
        char *grown = malloc(cap);
        if (grown == NULL) {
                b->failed = true;
                return false;
        }
        if (b->data != NULL) {
                memcpy(grown, b->data, b->len);
                crypto_wipe(b->data, b->cap);
                free(b->data);
        }
        grown[b->len] = '\0';
        b->data = grown;
        b->cap = cap;
        return true;
}

/* Room for n more bytes and the NUL. */
static bool buf_reserve(struct buf *b, size_t n)
{
        if (b->failed || n > b->max - b->len || b->max == SIZE_MAX) {
                b->failed = true;
                return false;
        }
        size_t need = b->len + n + 1;
        if (need <= b->cap)
                return true;
        size_t cap = b->cap > 0 ? b->cap : BUF_FIRST;
        while (cap < need)
                cap = cap > SIZE_MAX / 2 ? need : cap * 2;
        return buf_move(b, cap);
}

void buf_expect(struct buf *b, size_t n)
{
        if (!b->failed && n <= b->max - b->len && b->max != SIZE_MAX && b->len + n >= b->cap)
                (void)buf_move(b, b->len + n + 1);
}

void buf_add(struct buf *b, const void *data, size_t n)
{
        if (!buf_reserve(b, n))
                return;
        if (n > 0)
                memcpy(b->data + b->len, data, n);
        b->len += n;
        b->data[b->len] = '\0';
}

void buf_puts(struct buf *b, const char *s)
{
        buf_add(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        buf_vprintf(b, fmt, ap);
        va_end(ap);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
        va_list again;
        va_copy(again, ap);
        int n = vsnprintf(NULL, 0, fmt, again);
        va_end(again);
        if (n < 0) {
                b->failed = true;
                return;
        }
        if (!buf_reserve(b, (size_t)n))
                return;
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
        b->len += (size_t)n;
}

void buf_consume(struct buf *b, size_t n)
{
        if (b->data == NULL)
                return;
        if (n > b->len)
                n = b->len;
        memmove(b->data, b->data + n, b->len - n);
        b->len -= n;
        b->data[b->len] = '\0';
}

void buf_clear(struct buf *b)
{
        buf_consume(b, b->len);
        b->failed = false;
}

char *buf_take(struct buf *b)
{
        buf_add(b, "", 0);
        if (b->failed)
                return NULL;
        char *s = b->data;
        *b = (struct buf){.max = b->max};
        return s;
}

bool str_copy(char *dst, size_t cap, const char *src)
{
        if (cap == 0)
                return false;
        size_t n = strlen(src);
        bool whole = n < cap;
        if (!whole)
                n = cap - 1;
        memcpy(dst, src, n);
        dst[n] = '\0';
        return whole;
}

bool str_bool(const char *s, bool *ret)
{
        static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
        static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
        for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
                if (strcmp(s, yes[i]) == 0 || strcmp(s, no[i]) == 0) {
                        *ret = strcmp(s, yes[i]) == 0;
                        return true;
                }
        }
        return false;
}
