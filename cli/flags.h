/* cli/flags.h - command-line flags as the reference's programs read them.
 *
 * -x and --x are the same; a value follows after '=' or as the next word; booleans take one only after '='.
 * Parsing stops at the first word that is no flag, or behind "--".  A flag given twice is an error, as are control
 * characters in a text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum flag_kind { FLAG_BOOL, FLAG_STRING, FLAG_SECRET, FLAG_INT, FLAG_DURATION };

struct flag {
        const char *name;
        enum flag_kind kind;
        const char *help;       /* NULL: not shown */
        union {                 /* where the value goes, with its default in place */
                bool *b;
                const char **s;
                int64_t *i;
                int64_t *ns;
        } to;
        bool given;
};

#define FLAG_BOOL(n, var, h)     {.name = (n), .kind = FLAG_BOOL, .help = (h), .to.b = (var)}
#define FLAG_STRING(n, var, h)   {.name = (n), .kind = FLAG_STRING, .help = (h), .to.s = (var)}
#define FLAG_SECRET(n, var, h)   {.name = (n), .kind = FLAG_SECRET, .help = (h), .to.s = (var)}   /* never shown */
#define FLAG_INT(n, var, h)      {.name = (n), .kind = FLAG_INT, .help = (h), .to.i = (var)}
#define FLAG_DURATION(n, var, h) {.name = (n), .kind = FLAG_DURATION, .help = (h), .to.ns = (var)}

enum { FLAGS_WHY_MAX = 256 };

/* Parses argv[1..]; *ret_rest is the index of the first word left.  ERR_NOT_FOUND: -h or --help was asked for.
 * ERR_FORMAT: why says what is wrong; a secret value is not repeated. */
ERR_CHECK enum err flags_parse(struct flag *flags, size_t n, int argc, char **argv, int *ret_rest,
        char why[FLAGS_WHY_MAX]);
const char *flags_shown(const char *word);   /* for messages: a word that is no flag, "..." where it looks like a key */
struct flag *flags_find(struct flag *flags, size_t n, const char *name);   /* NULL: no such flag */
bool flags_given(const struct flag *flags, size_t n, const char *name);
bool flags_any_given(const struct flag *flags, size_t n);
