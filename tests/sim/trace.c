#include "tests/sim/trace.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "tests/sim/net.h"

static struct {
        bool verbose, failed;
        uint64_t hash;
        char why[512];
} t;

void trace_begin(bool verbose)
{
        t.verbose = verbose;
        t.failed = false;
        t.hash = 0xcbf29ce484222325U;
}

uint64_t trace_hash(void)
{
        return t.hash;
}

bool trace_verbose(void)
{
        return t.verbose;
}

void trace_bytes(const void *data, size_t len)
{
        const uint8_t *b = data;
        for (size_t i = 0; i < len; i++)
                t.hash = (t.hash ^ b[i]) * 0x100000001b3U;
}

void trace_num(uint64_t v)
{
        t.hash = (t.hash ^ v) * 0x9e3779b97f4a7c15U;
        t.hash ^= t.hash >> 29;
}

static double seconds(void)
{
        return (double)(clock_now().ns - NS_PER_SEC) / 1e9;
}

void trace_line(const char *fmt, ...)
{
        va_list ap;
        trace_num((uint64_t)clock_now().ns);
        if (!t.verbose)
                return;
        printf("%10.4f  ", seconds());
        va_start(ap, fmt);
        vprintf(fmt, ap);
        va_end(ap);
        putchar('\n');
}

void trace_fail(const char *fmt, ...)
{
        va_list ap;
        char why[sizeof(t.why)];
        va_start(ap, fmt);
        vsnprintf(why, sizeof(why), fmt, ap);
        va_end(ap);
        if (t.verbose)
                printf("%10.4f  FAULT: %s\n", seconds(), why);
        if (!t.failed)
                snprintf(t.why, sizeof(t.why), "at %.3f s: %.480s", seconds(), why);
        t.failed = true;
}

const char *trace_failure(void)
{
        return t.failed ? t.why : NULL;
}

/* ---- base/log.h: what the code under test says ---- */

static void __attribute__((format(printf, 1, 0))) say(const char *fmt, va_list ap)
{
        if (!t.verbose)
                return;
        printf("%10.4f  %-4s says ", seconds(), host_running != NULL ? host_running->name : "");
        vprintf(fmt, ap);
        putchar('\n');
}

#define SAY(fmt) \
        do { \
                va_list ap; \
                va_start(ap, fmt); \
                say(fmt, ap); \
                va_end(ap); \
        } while (0)

int log_verbosity(void)
{
        return t.verbose ? 2 : 0;
}

void log_err(const char *fmt, ...)
{
        SAY(fmt);
}

void log_warn(const char *fmt, ...)
{
        SAY(fmt);
}

void log_info(const char *fmt, ...)
{
        SAY(fmt);
}

void log_debug(int level, const char *fmt, ...)
{
        (void)level;
        SAY(fmt);
}

bool log_limited(struct log_limit *l, mono_t now)
{
        (void)l;
        (void)now;
        return false;
}
