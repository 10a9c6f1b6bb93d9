#include "base/writer.h"

#include <string.h>

#include "base/reader.h"

struct wr wr_init(void *buf, size_t cap)
{
        return (struct wr){.start = buf, .cap = cap};
}

bool wr_ok(const struct wr *w)
{
        return !w->failed;
}

uint8_t *wr_take(struct wr *w, size_t n)
{
        if (w->failed || n > w->cap - w->len) {
                w->failed = true;
                return NULL;
        }
        uint8_t *p = w->start + w->len;
        w->len += n;
        return p;
}

void wr_u8(struct wr *w, uint8_t v)
{
        uint8_t *p = wr_take(w, 1);
        if (p != NULL)
                *p = v;
}

void wr_be16(struct wr *w, uint16_t v)
{
        uint8_t *p = wr_take(w, 2);
        if (p != NULL)
                store_be16(p, v);
}

void wr_be32(struct wr *w, uint32_t v)
{
        uint8_t *p = wr_take(w, 4);
        if (p != NULL)
                store_be32(p, v);
}

void wr_be64(struct wr *w, uint64_t v)
{
        uint8_t *p = wr_take(w, 8);
        if (p != NULL)
                store_be64(p, v);
}

void wr_le32(struct wr *w, uint32_t v)
{
        uint8_t *p = wr_take(w, 4);
        if (p != NULL)
                store_le32(p, v);
}

void wr_le64(struct wr *w, uint64_t v)
{
        uint8_t *p = wr_take(w, 8);
        if (p != NULL)
                store_le64(p, v);
}

void wr_copy(struct wr *w, const void *src, size_t n)
{
        uint8_t *p = wr_take(w, n);
        if (p != NULL && n > 0)
                memcpy(p, src, n);
}

void wr_zero(struct wr *w, size_t n)
{
        uint8_t *p = wr_take(w, n);
        if (p != NULL && n > 0)
                memset(p, 0, n);
}
