#include "base/timetext.h"

#include <stdbool.h>
#include <stdio.h>

#include "base/mono.h"

/* Days from 1970-01-01 to a date of the Gregorian calendar, and back; years run from March so that the
 * leap day is the last of its year. */
static int64_t days_from_date(int64_t y, unsigned m, unsigned d)
{
        y -= m <= 2;
        int64_t era = y / 400;   /* y >= 0 here */
        int64_t yoe = y - era * 400;
        int64_t doy = (153 * ((int64_t)m + (m > 2 ? -3 : 9)) + 2) / 5 + (int64_t)d - 1;
        return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void date_from_days(int64_t days, int64_t *ret_y, unsigned *ret_m, unsigned *ret_d)
{
        days += 719468;   /* since 0000-03-01; positive for all that fits in 64 bits of nanoseconds */
        int64_t era = days / 146097;
        int64_t doe = days % 146097;
        int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
        int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        int64_t mp = (5 * doy + 2) / 153;
        *ret_d = (unsigned)(doy - (153 * mp + 2) / 5 + 1);
        *ret_m = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
        *ret_y = yoe + era * 400 + (*ret_m <= 2);
}

static bool is_leap(int64_t y)
{
        return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static unsigned days_in_month(int64_t y, unsigned m)
{
        static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
        return m == 2 && is_leap(y) ? 29 : days[m - 1];
}

/* Exactly n digits; moves on only if they are there. */
static bool take_digits(const char **s, unsigned n, unsigned *ret)
{
        unsigned v = 0;
        for (unsigned i = 0; i < n; i++) {
                if ((*s)[i] < '0' || (*s)[i] > '9')
                        return false;
                v = v * 10 + (unsigned)((*s)[i] - '0');
        }
        *s += n;
        *ret = v;
        return true;
}

static bool take_lit(const char **s, char c)
{
        if (**s != c)
                return false;
        (*s)++;
        return true;
}

/* ".5" and so on; digits beyond the ninth are cut off. */
static bool take_fraction(const char **s, int64_t *ret_ns)
{
        *ret_ns = 0;
        if (!take_lit(s, '.'))
                return true;
        const char *start = *s;
        int64_t unit = NS_PER_SEC / 10;
        for (; **s >= '0' && **s <= '9'; (*s)++, unit /= 10)
                *ret_ns += unit * (**s - '0');
        return *s > start;
}

static bool take_zone(const char **s, int64_t *ret_offset_sec)
{
        *ret_offset_sec = 0;
        if (take_lit(s, 'Z'))
                return true;
        int sign = **s == '+' ? 1 : -1;
        unsigned h = 0;
        unsigned m = 0;
        if (!take_lit(s, '+') && !take_lit(s, '-'))
                return false;
        if (!take_digits(s, 2, &h) || !take_lit(s, ':') || !take_digits(s, 2, &m) || h > 23 || m > 59)
                return false;
        *ret_offset_sec = sign * (int64_t)(h * 3600 + m * 60);
        return true;
}

/* Years that 64 bits of nanoseconds cannot hold saturate: "never expires" stays in the far future. */
static int64_t saturated_ns(int64_t sec, int64_t frac_ns)
{
        int64_t ns;
        if (__builtin_mul_overflow(sec, NS_PER_SEC, &ns) || __builtin_add_overflow(ns, frac_ns, &ns))
                return sec < 0 ? INT64_MIN : INT64_MAX;
        return ns;
}

enum err time_parse(const char *s, int64_t *ret_ns)
{
        unsigned y = 0, mo = 0, d = 0, h = 0, mi = 0, sec = 0;
        int64_t frac = 0, offset = 0;
        if (s == NULL || !take_digits(&s, 4, &y) || !take_lit(&s, '-') || !take_digits(&s, 2, &mo) ||
                !take_lit(&s, '-') || !take_digits(&s, 2, &d) || !take_lit(&s, 'T') ||
                !take_digits(&s, 2, &h) || !take_lit(&s, ':') || !take_digits(&s, 2, &mi) ||
                !take_lit(&s, ':') || !take_digits(&s, 2, &sec) || !take_fraction(&s, &frac) ||
                !take_zone(&s, &offset) || *s != '\0')
                return ERR_FORMAT;
        if (y < 1 || mo < 1 || mo > 12 || d < 1 || d > days_in_month(y, mo) || h > 23 || mi > 59 || sec > 59)
                return ERR_FORMAT;
        int64_t total = days_from_date(y, mo, d) * 86400 + (int64_t)(h * 3600 + mi * 60 + sec) - offset;
        bool zero_time = total == days_from_date(1, 1, 1) * 86400 && frac == 0;
        *ret_ns = zero_time ? 0 : saturated_ns(total, frac);
        return ERR_NONE;
}

const char *time_str(int64_t ns, char out[TIME_STR_MAX])
{
        if (ns == 0) {
                snprintf(out, TIME_STR_MAX, "0001-01-01T00:00:00Z");
                return out;
        }
        int64_t sec = ns / NS_PER_SEC;
        int64_t frac = ns % NS_PER_SEC;
        if (frac < 0) {
                frac += NS_PER_SEC;
                sec--;
        }
        int64_t days = sec >= 0 ? sec / 86400 : -((-sec + 86399) / 86400);
        unsigned rem = (unsigned)(sec - days * 86400);
        int64_t y;
        unsigned m, d;
        date_from_days(days, &y, &m, &d);
        char digits[16] = "";
        if (frac != 0) {
                int n = snprintf(digits, sizeof(digits), ".%09lld", (long long)frac);
                while (n > 0 && digits[n - 1] == '0')
                        digits[--n] = '\0';
        }
        snprintf(out, TIME_STR_MAX, "%04lld-%02u-%02uT%02u:%02u:%02u%sZ", (long long)y, m, d, rem / 3600,
                rem / 60 % 60, rem % 60, digits);
        return out;
}
