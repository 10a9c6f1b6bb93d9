#include "base/jsontext.h"

#include <string.h>

#include "base/utf8.h"

void jtext_init(struct jtext *j, struct buf *out, bool tabs)
{
        *j = (struct jtext){.out = out, .tabs = tabs};
}

static void new_line(struct jtext *j)
{
        static const char tabs[] = "\n\t\t\t\t\t\t\t\t";
        size_t n = j->depth < sizeof(tabs) - 2 ? j->depth : sizeof(tabs) - 2;
        if (j->tabs)
                buf_add(j->out, tabs, n + 1);
}

/* Before a value, or the name of one. */
static void begin(struct jtext *j)
{
        if (j->named) {
                j->named = false;
                return;
        }
        if (j->some)
                buf_add(j->out, ",", 1);
        if (j->depth > 0)
                new_line(j);
        j->some = true;
}

void jtext_open(struct jtext *j, char bracket)
{
        begin(j);
        buf_add(j->out, &bracket, 1);
        j->depth++;
        j->some = false;
}

void jtext_close(struct jtext *j, char bracket)
{
        j->depth--;
        if (j->some)
                new_line(j);
        buf_add(j->out, &bracket, 1);
        j->some = true;
}

/* ---- strings ---- */

static void add_escaped(struct buf *out, uint8_t c)
{
        static const char letters[] = "\"\"\\\\\bb\ff\nn\rr\tt";
        for (size_t i = 0; i < sizeof(letters) - 1; i += 2) {
                if ((uint8_t)letters[i] == c) {
                        buf_add(out, (const char[]){'\\', letters[i + 1]}, 2);
                        return;
                }
        }
        buf_printf(out, "\\u%04x", c);
}

static bool is_plain(uint8_t c)
{
        return c >= ' ' && c < 0x80 && c != '"' && c != '\\';
}

static void add_text(struct buf *out, const char *s)
{
        const uint8_t *p = (const uint8_t *)s;
        uint32_t c;
        buf_add(out, "\"", 1);
        while (*p != '\0') {
                size_t n = 0;
                while (is_plain(p[n]))
                        n++;
                buf_add(out, p, n);
                p += n;
                if (*p == '\0')
                        break;
                if (*p < 0x80) {
                        add_escaped(out, *p++);
                } else if ((n = utf8_read(p, &c)) > 0) {
                        buf_add(out, p, n);
                        p += n;
                } else {
                        buf_puts(out, "\xef\xbf\xbd");
                        p++;
                }
        }
        buf_add(out, "\"", 1);
}

void jtext_name(struct jtext *j, const char *name)
{
        begin(j);
        add_text(j->out, name);
        buf_add(j->out, ": ", j->tabs ? 2 : 1);
        j->named = true;
}

/* ---- values ---- */

void jtext_str(struct jtext *j, const char *s)
{
        begin(j);
        add_text(j->out, s != NULL ? s : "");
}

void jtext_int(struct jtext *j, int64_t n)
{
        char digits[24], *at = digits + sizeof(digits);
        uint64_t left = n < 0 ? -(uint64_t)n : (uint64_t)n;
        do
                *--at = (char)('0' + left % 10);
        while ((left /= 10) > 0);
        if (n < 0)
                *--at = '-';
        begin(j);
        buf_add(j->out, at, (size_t)(digits + sizeof(digits) - at));
}

void jtext_raw(struct jtext *j, const char *text)
{
        begin(j);
        buf_puts(j->out, text);
}

void jtext_bool(struct jtext *j, bool b)
{
        jtext_raw(j, b ? "true" : "false");
}

void jtext_null(struct jtext *j)
{
        jtext_raw(j, "null");
}

static int add_dumped(const char *text, size_t len, void *arg)
{
        buf_add(arg, text, len);
        return 0;
}

void jtext_value(struct jtext *j, const json_t *v)
{
        const size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15);   /* 0.1 is 0.1 */
        begin(j);
        if (v == NULL)
                buf_puts(j->out, "null");
        else if (json_dump_callback(v, add_dumped, j->out, flags) != 0)
                j->out->failed = true;   /* half of it may be there */
}

/* ---- members ---- */

void jtext_add_str(struct jtext *j, const char *name, const char *s)
{
        jtext_name(j, name);
        jtext_str(j, s);
}

void jtext_add_int(struct jtext *j, const char *name, int64_t n)
{
        jtext_name(j, name);
        jtext_int(j, n);
}

void jtext_add_bool(struct jtext *j, const char *name, bool b)
{
        jtext_name(j, name);
        jtext_bool(j, b);
}

void jtext_add_null(struct jtext *j, const char *name)
{
        jtext_name(j, name);
        jtext_null(j);
}

void jtext_add_value(struct jtext *j, const char *name, const json_t *v)
{
        jtext_name(j, name);
        jtext_value(j, v);
}
