#include "base/reader.h"

#include <string.h>

struct rd rd_init(const void *data, size_t len)
{
        return (struct rd){.at = data, .left = len};
}

bool rd_ok(const struct rd *r)
{
        return !r->failed;
}

bool rd_at_end(const struct rd *r)
{
        return !r->failed && r->left == 0;
}

const uint8_t *rd_take(struct rd *r, size_t n)
{
        /* A reader over nothing has no address to lend, and 0 bytes of it are still a success. */
        static const uint8_t nothing[1];
        if (r->failed || n > r->left) {
                r->failed = true;
                return NULL;
        }
        if (n == 0)
                return r->at != NULL ? r->at : nothing;
        const uint8_t *p = r->at;
        r->at += n;
        r->left -= n;
        return p;
}

uint8_t rd_u8(struct rd *r)
{
        const uint8_t *p = rd_take(r, 1);
        return p != NULL ? *p : 0;
}

uint16_t rd_be16(struct rd *r)
{
        const uint8_t *p = rd_take(r, 2);
        return p != NULL ? load_be16(p) : 0;
}

uint32_t rd_be32(struct rd *r)
{
        const uint8_t *p = rd_take(r, 4);
        return p != NULL ? load_be32(p) : 0;
}

uint64_t rd_be64(struct rd *r)
{
        const uint8_t *p = rd_take(r, 8);
        return p != NULL ? load_be64(p) : 0;
}

uint32_t rd_le32(struct rd *r)
{
        const uint8_t *p = rd_take(r, 4);
        return p != NULL ? load_le32(p) : 0;
}

uint64_t rd_le64(struct rd *r)
{
        const uint8_t *p = rd_take(r, 8);
        return p != NULL ? load_le64(p) : 0;
}

void rd_copy(struct rd *r, void *dst, size_t n)
{
        if (n == 0)
                return;
        const uint8_t *p = rd_take(r, n);
        if (p != NULL)
                memcpy(dst, p, n);
        else
                memset(dst, 0, n);
}

void rd_skip(struct rd *r, size_t n)
{
        (void)rd_take(r, n);
}

struct rd rd_sub(struct rd *r, size_t n)
{
        const uint8_t *p = rd_take(r, n);
        if (p == NULL)
                return (struct rd){.failed = true};
        return rd_init(p, n);
}
