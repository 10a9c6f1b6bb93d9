#include "base/duration.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mono.h"

static const struct unit {
        const char *name;
        int64_t ns;
} units[] = {
        {"ns", 1}, {"us", NS_PER_US}, {"\xc2\xb5s", NS_PER_US}, {"\xce\xbcs", NS_PER_US}, {"ms", NS_PER_MS},
        {"s", NS_PER_SEC}, {"m", 60 * NS_PER_SEC}, {"h", 3600 * NS_PER_SEC},
};

static const struct unit *find_unit(const char *s)
{
        const struct unit *best = NULL;
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
                size_t len = strlen(units[i].name);
                if (strncmp(s, units[i].name, len) == 0 && (best == NULL || len > strlen(best->name)))
                        best = &units[i];
        }
        return best;
}

enum err duration_parse(const char *s, int64_t *ret_ns)
{
        double total = 0;
        bool minus = *s == '-';
        if (*s == '-' || *s == '+')
                s++;
        if (strcmp(s, "0") == 0) {
                *ret_ns = 0;
                return ERR_NONE;
        }
        if (*s == '\0')
                return ERR_FORMAT;
        while (*s != '\0') {
                if (strspn(s, "0123456789.") == 0 || strspn(s, "0123456789.") > 18)
                        return ERR_FORMAT;
                char *end;
                double v = strtod(s, &end);
                const struct unit *u = find_unit(end);
                if (end != s + strspn(s, "0123456789.") || u == NULL)
                        return ERR_FORMAT;
                total += v * (double)u->ns;
                s = end + strlen(u->name);
        }
        if (total >= 9.2e18)
                return ERR_FORMAT;
        int64_t ns = (int64_t)(total + 0.5);   /* 8.2ms is 8,200,000 ns, whatever doubles make of it */
        *ret_ns = minus ? -ns : ns;
        return ERR_NONE;
}

/* value / scale with at most `digits` decimals, trailing zeros cut. */
static void put_decimal(char *out, size_t cap, int64_t value, int64_t scale, const char *unit)
{
        int64_t whole = value / scale, rest = value % scale;
        int n = snprintf(out, cap, "%" PRId64, whole);
        if (rest != 0) {
                char frac[24] = "";
                size_t len = 0;
                for (int64_t s = scale / 10; rest != 0; rest %= s, s = s > 1 ? s / 10 : 1)
                        frac[len++] = (char)('0' + rest / s);
                n += snprintf(out + n, cap - (size_t)n, ".%s", frac);
        }
        snprintf(out + n, cap - (size_t)n, "%s", unit);
}

const char *duration_str(int64_t ns, char out[DURATION_STR_MAX])
{
        char *p = out;
        size_t cap = DURATION_STR_MAX;
        if (ns < 0) {
                *p++ = '-';
                cap--;
                ns = ns == INT64_MIN ? INT64_MAX : -ns;
        }
        if (ns == 0) {
                snprintf(p, cap, "0s");
        } else if (ns < NS_PER_US) {
                snprintf(p, cap, "%" PRId64 "ns", ns);
        } else if (ns < NS_PER_MS) {
                put_decimal(p, cap, ns, NS_PER_US, "\xc2\xb5s");
        } else if (ns < NS_PER_SEC) {
                put_decimal(p, cap, ns, NS_PER_MS, "ms");
        } else {
                int64_t h = ns / (3600 * NS_PER_SEC), m = ns / (60 * NS_PER_SEC) % 60;
                int n = 0;
                if (h > 0)
                        n = snprintf(p, cap, "%" PRId64 "h%" PRId64 "m", h, m);
                else if (m > 0)
                        n = snprintf(p, cap, "%" PRId64 "m", m);
                put_decimal(p + n, cap - (size_t)n, ns % (60 * NS_PER_SEC), NS_PER_SEC, "s");
        }
        return out;
}

int64_t duration_round(int64_t ns, int64_t to)
{
        int64_t rest = ns % to;
        if (rest < 0)
                return -duration_round(-ns, to);
        return rest * 2 < to ? ns - rest : ns + (to - rest);
}
