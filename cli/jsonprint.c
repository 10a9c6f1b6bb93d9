#include "cli/jsonprint.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct printer {
        const struct jsonprint_view *view;
        FILE *to;
};

static void print(const struct printer *p, const struct jview *v, unsigned depth, bool chosen);

static void print_character(FILE *to, unsigned char c)
{
        static const char meant[] = "\"\\\b\f\n\r\t", written[] = "\"\\bfnrt";
        const char *found = strchr(meant, c);
        if (found != NULL)
                fprintf(to, "\\%c", written[found - meant]);
        else
                fprintf(to, "\\u%04X", c);
}

static void print_string(FILE *to, const char *s)
{
        putc('"', to);
        while (*s != '\0') {
                size_t n = 0;
                while ((unsigned char)s[n] >= ' ' && s[n] != '"' && s[n] != '\\')
                        n++;
                fwrite(s, 1, n, to);
                s += n;
                if (*s != '\0')
                        print_character(to, (unsigned char)*s++);
        }
        putc('"', to);
}

static void print_real(FILE *to, const char *text)
{
        json_t *real = json_real(strtod(text, NULL));
        char *s = json_dumps(real, JSON_ENCODE_ANY);
        fputs(s != NULL ? s : "null", to);
        free(s);
        json_decref(real);
}

static void print_line(FILE *to, unsigned depth)
{
        putc('\n', to);
        for (unsigned i = 0; i < depth; i++)
                fputs("  ", to);
}

static int by_name(const void *a, const void *b)
{
        const struct jview *const *x = a, *const *y = b;
        return strcmp((*x)->text, (*y)->text);
}

/* The names of the members that are to come. */
static const struct jview **choose(const struct printer *p, const struct jview *obj, bool chosen, size_t *ret_n)
{
        const struct jview **names = malloc(obj->span * sizeof(struct jview *));
        size_t n = 0;
        if (names == NULL)
                abort();
        for (const struct jview *name = obj + 1; name < obj + obj->span; name += 1 + name[1].span)
                if (!chosen || p->view->keep == NULL || p->view->keep(name + 1))
                        names[n++] = name;
        if (chosen && n > 1)
                qsort(names, n, sizeof(*names), by_name);
        *ret_n = n;
        return names;
}

static void print_object(const struct printer *p, const struct jview *v, unsigned depth, bool chosen)
{
        size_t n;
        const struct jview **names = choose(p, v, chosen, &n);
        putc('{', p->to);
        for (size_t i = 0; i < n; i++) {
                if (i > 0)
                        putc(',', p->to);
                print_line(p->to, depth + 1);
                print_string(p->to, names[i]->text);
                fputs(": ", p->to);
                print(p, names[i] + 1, depth + 1,
                        depth == 0 && p->view != NULL && strcmp(names[i]->text, p->view->object) == 0);
        }
        if (n > 0)
                print_line(p->to, depth);
        putc('}', p->to);
        free(names);
}

static void print_array(const struct printer *p, const struct jview *v, unsigned depth)
{
        putc('[', p->to);
        for (const struct jview *e = jview_first(v); e != NULL; e = jview_next(v, e)) {
                if (e > v + 1)
                        putc(',', p->to);
                print_line(p->to, depth + 1);
                print(p, e, depth + 1, false);
        }
        if (v->span > 1)
                print_line(p->to, depth);
        putc(']', p->to);
}

static void print(const struct printer *p, const struct jview *v, unsigned depth, bool chosen)
{
        switch (v->type) {
        case JVIEW_NULL: fputs("null", p->to); break;
        case JVIEW_FALSE: fputs("false", p->to); break;
        case JVIEW_TRUE: fputs("true", p->to); break;
        case JVIEW_INT: fprintf(p->to, "%lld", (long long)v->n); break;
        case JVIEW_REAL: print_real(p->to, v->text); break;
        case JVIEW_STRING: print_string(p->to, v->text); break;
        case JVIEW_ARRAY: print_array(p, v, depth); break;
        case JVIEW_OBJECT: print_object(p, v, depth, chosen); break;
        }
}

void jsonprint(const struct jview *v, const struct jsonprint_view *view, FILE *to)
{
        const struct printer p = {view, to};
        print(&p, v, 0, false);
}
