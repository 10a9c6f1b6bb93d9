/* base/utf8.h - one character of UTF-8 at a time.  Source: RFC 3629. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The length of the character that starts at p, in text that ends with NUL, and what it is; 0: there is none. */
size_t utf8_read(const uint8_t *p, uint32_t *ret);
