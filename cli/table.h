/* cli/table.h - columns padded to their widest cell, counted in Unicode code points. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct table {
        size_t columns, gap;   /* gap: blanks behind every column, the last too */
        bool bare_last;        /* but not the last, nor is that padded */
        char **cells;
        size_t count, cap;
};

size_t table_width(const char *s);   /* in code points */
void table_init(struct table *t, size_t columns, size_t gap);
void table_done(struct table *t);
void table_add(struct table *t, const char *cell);   /* copies */
void table_end_row(struct table *t);                 /* fills up with empty cells */
void table_print(const struct table *t, FILE *out);
