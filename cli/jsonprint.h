/* cli/jsonprint.h - JSON that was read into views, printed with two blanks a level, as json_print() prints a tree. */
#pragma once

#include <stdio.h>

#include "base/jview.h"

/* Of an object that is printed member by member: which of its members come, and in which order. */
struct jsonprint_view {
        const char *object;     /* the member of the outermost whose members are chosen; they come by name */
        bool (*keep)(const struct jview *member);   /* NULL: all */
};

void jsonprint(const struct jview *v, const struct jsonprint_view *view /* NULL: all as it stands */, FILE *to);
