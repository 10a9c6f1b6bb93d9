#include "base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048, LIMIT_TOKENS = 5 };
#define LIMIT_REFILL_NS (10 * NS_PER_SEC)

static atomic_int verbosity_now;
static atomic_bool to_journal;

/* systemd names the stream it reads as device:inode; a redirected standard error is another one. */
static bool stderr_is_journal(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        struct stat st;
        if (stream == NULL || fstat(STDERR_FILENO, &st) != 0)
                return false;
        uintmax_t dev, ino;
        return sscanf(stream, "%ju:%ju", &dev, &ino) == 2 && dev == st.st_dev && ino == st.st_ino;
}

void log_init(int verbosity)
{
        atomic_store(&verbosity_now, verbosity);
        atomic_store(&to_journal, stderr_is_journal());
}

int log_verbosity(void)
{
        return atomic_load_explicit(&verbosity_now, memory_order_relaxed);
}

static size_t put_head(char *line, size_t cap, int level)
{
        if (atomic_load_explicit(&to_journal, memory_order_relaxed))
                return (size_t)snprintf(line, cap, "<%d>", level);
        time_t now = time(NULL);
        struct tm tm;
        if (localtime_r(&now, &tm) == NULL)
                return 0;
        return strftime(line, cap, "%Y/%m/%d %H:%M:%S ", &tm);
}

/* Text from outside must neither begin a line of its own nor drive the terminal of whoever reads it: U+0080 to U+009F are
 * control characters as well. */
static void blank_controls(char *line, size_t len)
{
        for (size_t i = 0; i < len; i++) {
                unsigned char c = (unsigned char)line[i], next = i + 1 < len ? (unsigned char)line[i + 1] : 0;
                if (c < ' ' || c == 0x7f)
                        line[i] = ' ';
                else if (c == 0xc2 && next >= 0x80 && next < 0xa0)
                        line[i] = line[i + 1] = ' ';
        }
}

/* One write(2) a line, so that lines of several threads do not mix. */
__attribute__((format(printf, 2, 0))) static void put_line(int level, const char *fmt, va_list ap)
{
        char line[LINE_MAX_BYTES];
        size_t head = put_head(line, sizeof(line), level);
        int wrote = vsnprintf(line + head, sizeof(line) - head, fmt, ap);
        if (wrote < 0)
                return;
        size_t len = head + (size_t)wrote;
        if (len > sizeof(line) - 1)
                len = sizeof(line) - 1;
        blank_controls(line, len);
        line[len++] = '\n';
        ssize_t ignored = write(STDERR_FILENO, line, len);   /* nowhere left to complain to */
        (void)ignored;
}

void log_err(const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        put_line(LOG_ERR, fmt, ap);
        va_end(ap);
}

void log_warn(const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        put_line(LOG_WARNING, fmt, ap);
        va_end(ap);
}

void log_info(const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        put_line(LOG_INFO, fmt, ap);
        va_end(ap);
}

void log_debug(int level, const char *fmt, ...)
{
        if (level > log_verbosity())
                return;
        va_list ap;
        va_start(ap, fmt);
        put_line(LOG_DEBUG, fmt, ap);
        va_end(ap);
}

bool log_limited(struct log_limit *l, mono_t now)
{
        if (!mono_is_set(l->refilled)) {
                l->refilled = now;
                l->tokens = LIMIT_TOKENS;
        }
        int64_t earned = mono_diff_ns(now, l->refilled) / LIMIT_REFILL_NS;
        if (earned > 0) {
                l->refilled = mono_add_ns(l->refilled, earned * LIMIT_REFILL_NS);
                l->tokens = earned > LIMIT_TOKENS - l->tokens ? LIMIT_TOKENS : l->tokens + (int)earned;
        }
        if (l->tokens == 0) {
                l->dropped++;
                return true;
        }
        l->tokens--;
        if (l->dropped > 0)
                log_info("(%u lines like the next one left out)", l->dropped);
        l->dropped = 0;
        return false;
}
