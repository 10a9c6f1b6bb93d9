/* base/reader.h - walk bytes that came from outside.
 *
 * A reader borrows [data, data + len) and never allocates.  The first read past the end latches
 * `failed`; from then on every call yields zeros and moves nothing.  So a parser reads a whole header,
 * asks rd_ok() once, and only then believes any value.  Copy the struct to look ahead; there is
 * nothing to free.  Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rd {
        const uint8_t *at;   /* next unread byte */
        size_t left;         /* bytes from `at` to the end */
        bool failed;         /* sticky */
};

struct rd rd_init(const void *data, size_t len);

bool rd_ok(const struct rd *r);       /* no read has run short so far */
bool rd_at_end(const struct rd *r);   /* rd_ok() and nothing left over */

uint8_t rd_u8(struct rd *r);
uint16_t rd_be16(struct rd *r);
uint32_t rd_be32(struct rd *r);
uint64_t rd_be64(struct rd *r);
uint32_t rd_le32(struct rd *r);
uint64_t rd_le64(struct rd *r);

/* Copies exactly n bytes; a short input zeroes dst, so dst is always defined. */
void rd_copy(struct rd *r, void *dst, size_t n);

/* Borrows n bytes in place, valid as long as the input; NULL if short. */
const uint8_t *rd_take(struct rd *r, size_t n);

void rd_skip(struct rd *r, size_t n);

/* Child over the next n bytes (a TLV body).  The parent moves past it at once, so a child that
 * misparses cannot drag the parent out of step. */
struct rd rd_sub(struct rd *r, size_t n);

/* Fixed-place loads and stores for bytes whose length was already checked. */
static inline uint16_t load_be16(const uint8_t *p)
{
        return (uint16_t)((uint16_t)(p[0] << 8) | p[1]);
}

static inline uint32_t load_be32(const uint8_t *p)
{
        return (uint32_t)load_be16(p) << 16 | load_be16(p + 2);
}

static inline uint64_t load_be64(const uint8_t *p)
{
        return (uint64_t)load_be32(p) << 32 | load_be32(p + 4);
}

static inline uint32_t load_le32(const uint8_t *p)
{
        return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t load_le64(const uint8_t *p)
{
        return (uint64_t)load_le32(p) | (uint64_t)load_le32(p + 4) << 32;
}

static inline void store_be16(uint8_t *p, uint16_t v)
{
        p[0] = (uint8_t)(v >> 8);
        p[1] = (uint8_t)v;
}

static inline void store_be32(uint8_t *p, uint32_t v)
{
        store_be16(p, (uint16_t)(v >> 16));
        store_be16(p + 2, (uint16_t)v);
}

static inline void store_be64(uint8_t *p, uint64_t v)
{
        store_be32(p, (uint32_t)(v >> 32));
        store_be32(p + 4, (uint32_t)v);
}

static inline void store_le32(uint8_t *p, uint32_t v)
{
        for (unsigned i = 0; i < 4; i++)
                p[i] = (uint8_t)(v >> (8 * i));
}

static inline void store_le64(uint8_t *p, uint64_t v)
{
        store_le32(p, (uint32_t)v);
        store_le32(p + 4, (uint32_t)(v >> 32));
}
