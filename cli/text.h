/* cli/text.h - what others have named, made fit for a terminal.
 *
 * Names, systems and messages come from other machines: a control character among them could move the cursor,
 * change the title or hide a line.  JSON output does not go through here.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/jview.h"

/* Each control character (C0, DEL, C1) and each byte that is no UTF-8 becomes '?', the end of a line a blank; in place. */
void text_clean(char *s);
/* The same, but lines stay lines, and tabs stay. */
void text_clean_lines(char *s);
/* All strings and the names of all members, however deep, in place; for what is to be printed as text. */
void text_clean_json(json_t *j);
/* The same, of what was read into the room. */
void text_clean_views(struct jview_room *room);
/* fprintf() for what may hold words that others chose: cleaned, with its lines and tabs. */
void text_print(FILE *to, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* No control characters, and UTF-8 throughout. */
bool text_is_clean(const char *s);
