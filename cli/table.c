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
        for (size_t i = 0; i < t->count; i++) {
                size_t widest = 0;
                for (size_t k = i % t->columns; k < t->count; k += t->columns)
                        if (table_width(t->cells[k]) > widest)
                                widest = table_width(t->cells[k]);
                bool last = (i + 1) % t->columns == 0;
                int pad = last && t->bare_last ? 0 : (int)(widest - table_width(t->cells[i]) + t->gap);
                fprintf(out, "%s%*s", t->cells[i], pad, "");
                if (last)
                        fputc('\n', out);
        }
}
