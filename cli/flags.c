#include "cli/flags.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/duration.h"
#include "cli/text.h"

struct flag *flags_find(struct flag *flags, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(flags[i].name, name) == 0)
                        return &flags[i];
        return NULL;
}

bool flags_given(const struct flag *flags, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(flags[i].name, name) == 0)
                        return flags[i].given;
        return false;
}

bool flags_any_given(const struct flag *flags, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (flags[i].given)
                        return true;
        return false;
}

const char *flags_shown(const char *word)
{
        static const char *const secret[] = {"tskey-", "hskey-", "auth-key", "authkey"};
        for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++)
                if (strncmp(word, secret[i], strlen(secret[i])) == 0)
                        return "...";
        return word;
}

static enum err set_value(struct flag *f, const char *value, char why[FLAGS_WHY_MAX])
{
        char *end;
        int64_t n;
        switch (f->kind) {
        case FLAG_BOOL:
                if (str_bool(value, f->to.b))
                        return ERR_NONE;
                break;
        case FLAG_STRING:
                if (!text_is_clean(value))
                        break;
                *f->to.s = value;
                return ERR_NONE;
        case FLAG_SECRET:
                *f->to.s = value;
                return ERR_NONE;
        case FLAG_INT:
                errno = 0;
                n = strtoll(value, &end, 10);
                if (*value != '\0' && *end == '\0' && errno == 0) {
                        *f->to.i = n;
                        return ERR_NONE;
                }
                break;
        case FLAG_DURATION:
                if (duration_parse(value, f->to.ns) == ERR_NONE)
                        return ERR_NONE;
                break;
        }
        static const char *const want[] = {
                [FLAG_BOOL] = "true or false", [FLAG_STRING] = "text in UTF-8 without control characters", [FLAG_INT] = "a whole number",
                [FLAG_DURATION] = "a duration such as 5s, 200ms or 1m30s",
        };
        snprintf(why, FLAGS_WHY_MAX, "invalid value \"%.80s\" for flag -%s: want %s", value, f->name,
                want[f->kind]);
        return ERR_FORMAT;
}

enum err flags_parse(struct flag *flags, size_t n, int argc, char **argv, int *ret_rest, char why[FLAGS_WHY_MAX])
{
        int i = 1;
        for (; i < argc; i++) {
                const char *a = argv[i];
                if (a[0] != '-' || a[1] == '\0')
                        break;
                if (strcmp(a, "--") == 0) {
                        i++;
                        break;
                }
                const char *name = a + (a[1] == '-' ? 2 : 1);
                char word[64];
                size_t len = strcspn(name, "=");
                snprintf(word, sizeof(word), "%.*s", (int)(len < 63 ? len : 63), name);
                if (strcmp(word, "authkey") == 0)   /* old spellings */
                        snprintf(word, sizeof(word), "auth-key");
                if (strcmp(word, "posture-checking") == 0)
                        snprintf(word, sizeof(word), "report-posture");
                struct flag *f = flags_find(flags, n, word);
                if (f == NULL && (strcmp(word, "h") == 0 || strcmp(word, "help") == 0))
                        return ERR_NOT_FOUND;
                if (f == NULL) {
                        /* What is stuck to a misspelt name may be the key. */
                        word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")] = '\0';
                        snprintf(why, FLAGS_WHY_MAX, "flag provided but not defined: -%s", word);
                        return ERR_FORMAT;
                }
                if (f->given) {
                        snprintf(why, FLAGS_WHY_MAX, "flag -%s was given more than once", f->name);
                        return ERR_FORMAT;
                }
                const char *value = name[len] == '=' ? name + len + 1 : f->kind == FLAG_BOOL ? "true" : NULL;
                if (value == NULL && i + 1 < argc)
                        value = argv[++i];
                if (value == NULL) {
                        snprintf(why, FLAGS_WHY_MAX, "flag needs an argument: -%s", f->name);
                        return ERR_FORMAT;
                }
                enum err e = set_value(f, value, why);
                if (e != ERR_NONE)
                        return e;
                f->given = true;
        }
        *ret_rest = i;
        return ERR_NONE;
}
