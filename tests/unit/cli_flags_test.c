#include "tests/unit/check.h"

#include "base/mono.h"
#include "cli/flags.h"

struct values {
        bool on, off;
        const char *text;
        int64_t number, ns;
        struct flag flags[5];
};

static void values_init(struct values *v)
{
        *v = (struct values){.off = true, .text = "dflt", .number = 3};
        v->flags[0] = (struct flag)FLAG_BOOL("on", &v->on, "");
        v->flags[1] = (struct flag)FLAG_BOOL("off", &v->off, "");
        v->flags[2] = (struct flag)FLAG_STRING("text", &v->text, "");
        v->flags[3] = (struct flag)FLAG_INT("number", &v->number, "");
        v->flags[4] = (struct flag)FLAG_DURATION("wait", &v->ns, "");
}

/* words: one string, split at blanks in place. */
static enum err parse(struct values *v, char *words, int *rest, char why[FLAGS_WHY_MAX])
{
        char name[] = "cmd", *argv[16] = {name}, *save = NULL;
        int argc = 1;
        for (char *w = strtok_r(words, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
                argv[argc++] = w;
        values_init(v);
        return flags_parse(v->flags, 5, argc, argv, rest, why);
}

static void every_spelling(void **state)
{
        (void)state;
        struct values v;
        char why[FLAGS_WHY_MAX], words[] = "-on --off=false --text hello -number=-7 --wait 1m30s word --on";
        int rest;
        assert_int_equal(parse(&v, words, &rest, why), ERR_NONE);
        assert_true(v.on);
        assert_false(v.off);
        assert_string_equal(v.text, "hello");
        assert_int_equal(v.number, -7);
        assert_int_equal(v.ns, 90 * NS_PER_SEC);
        assert_int_equal(rest, 8);   /* "word": flags behind it are words too */
        assert_true(flags_given(v.flags, 5, "text"));
        assert_true(flags_any_given(v.flags, 5));
        char dashes[] = "--on -- --off=false", empty[] = "--text= x";
        assert_int_equal(parse(&v, dashes, &rest, why), ERR_NONE);
        assert_int_equal(rest, 3);
        assert_true(v.off);
        assert_int_equal(parse(&v, empty, &rest, why), ERR_NONE);
        assert_string_equal(v.text, "");
}

static void mistakes_are_named(void **state)
{
        (void)state;
        static const struct {
                const char *words, *says;
                enum err want;
        } rows[] = {
                {"--nosuch", "-nosuch", ERR_FORMAT}, {"--text", "argument", ERR_FORMAT},
                {"--on=maybe", "maybe", ERR_FORMAT}, {"--number=1x", "whole number", ERR_FORMAT},
                {"--number=", "whole number", ERR_FORMAT}, {"--number=99999999999999999999", "whole", ERR_FORMAT},
                {"--wait=5", "duration", ERR_FORMAT}, {"--wait=s", "duration", ERR_FORMAT},
                {"--on --on", "more than once", ERR_FORMAT}, {"--help", "", ERR_NOT_FOUND},
                {"-h", "", ERR_NOT_FOUND},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct values v;
                char why[FLAGS_WHY_MAX] = "", words[64];
                int rest;
                snprintf(words, sizeof(words), "%s", rows[i].words);
                assert_int_equal(parse(&v, words, &rest, why), rows[i].want);
                assert_non_null(strstr(why, rows[i].says));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_spelling),
                cmocka_unit_test(mistakes_are_named),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
