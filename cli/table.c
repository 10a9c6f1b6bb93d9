#include "cli/table.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void table_init(struct table *t, size_t columns, size_t gap)
{
        *t = (struct table){.columns = columns, .gap = gap};
}

void table_done(struct table *t)
{
        for (size_t i = 0; i < t->count; i++)
                free(t->cells[i]);
        free(t->cells);
}

void table_add(struct table *t, const char *cell)
{
        if (t->count == t->cap) {
                size_t cap = t->cap ? t->cap * 2 : 64;
                char **p = realloc(t->cells, cap * sizeof(*p));
                if (p == NULL)
                        abort();
                t->cells = p;
                t->cap = cap;
        }
        if ((t->cells[t->count++] = strdup(cell)) == NULL)
                abort();
}

void table_end_row(struct table *t)
{
        while (t->count % t->columns != 0)
                table_add(t, "");
}

size_t table_width(const char *s)
{
        size_t n = 0;
        for (; *s != '\0'; s++)
                n += ((uint8_t)*s & 0xc0) != 0x80;   /* not a continuation byte of UTF-8 */
        return n;
}

void table_print(const struct table *t, FILE *out)
{
        size_t *widest = calloc(t->columns, sizeof(*widest));
        if (widest == NULL)
                abort();
        for (size_t i = 0; i < t->count; i++) {
                size_t width = table_width(t->cells[i]), *w = &widest[i % t->columns];
                *w = width > *w ? width : *w;
        }
        for (size_t i = 0; i < t->count; i++) {
                bool last = (i + 1) % t->columns == 0;
                size_t pad = last && t->bare_last ? 0 : widest[i % t->columns] - table_width(t->cells[i]) + t->gap;
                fprintf(out, "%s%*s", t->cells[i], (int)pad, "");
                if (last)
                        fputc('\n', out);
        }
        free(widest);
}
