/* tests/unit/check.h - cmocka in one include, and hexadecimal for known answers. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Valgrind looks at memory, and takes thirty times as long. */
static inline bool check_is_valgrind(void)
{
        return getenv("UNDER_VALGRIND") != NULL;
}

/* How often a test repeats what it draws at random. */
static inline unsigned check_rounds(unsigned n)
{
        return check_is_valgrind() ? n / 10 : n;
}

/* Decodes hex digits (blanks are skipped) into out; returns how many bytes.  Fails the test on anything
 * else, and when they do not fit. */
static inline size_t check_unhex(const char *hex, uint8_t *out, size_t cap)
{
        size_t n = 0;
        while (*(hex += strspn(hex, " ")) != '\0') {
                unsigned v;
                int used = 0;
                assert_int_equal(sscanf(hex, "%2x%n", &v, &used), 1);
                assert_int_equal(used, 2);
                assert_true(n < cap);
                out[n++] = (uint8_t)v;
                hex += 2;
        }
        return n;
}

/* The n bytes at got are those written in hex. */
static inline void check_hex(const void *got, size_t n, const char *hex)
{
        uint8_t want[4096];
        assert_int_equal(check_unhex(hex, want, sizeof(want)), n);
        assert_memory_equal(got, want, n);
}

/* Fills with first, first + 1, first + 2 ... */
static inline void check_count_up(uint8_t *out, size_t n, uint8_t first)
{
        for (size_t i = 0; i < n; i++)
                out[i] = (uint8_t)(first + i);
}

/* Leaves the part that runs as one that could not be run; tests/run says why. */
static inline void skip_because(const char *why)
{
        print_message("cannot be run here: %s\n", why);
        skip();
}
