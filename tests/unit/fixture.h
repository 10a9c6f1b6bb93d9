/* tests/unit/fixture.h - files of tests/, read whole. */
#pragma once

#include <stdlib.h>

#include "tests/unit/check.h"

/* The file at $TESTS_DIR/path, NUL-terminated; the caller frees it. */
static inline char *fixture_read(const char *path, size_t *ret_len)
{
        char full[1024];
        const char *dir = getenv("TESTS_DIR");
        assert_non_null(dir);
        snprintf(full, sizeof(full), "%s/%s", dir, path);
        FILE *f = fopen(full, "rb");
        assert_non_null(f);
        assert_int_equal(fseek(f, 0, SEEK_END), 0);
        long size = ftell(f);
        assert_true(size >= 0);
        rewind(f);
        char *text = malloc((size_t)size + 1);
        assert_non_null(text);
        assert_int_equal(fread(text, 1, (size_t)size, f), (size_t)size);
        fclose(f);
        text[size] = '\0';
        *ret_len = (size_t)size;
        return text;
}
