/* base/writer.h - build bytes that go outside, into a buffer of fixed size.
 *
 * The first write that does not fit latches `failed` and writes nothing more; ask wr_ok() once at the
 * end.  Borrows the buffer, never allocates.  Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wr {
        uint8_t *start;
        size_t len;    /* bytes written so far */
        size_t cap;    /* bytes there are */
        bool failed;   /* sticky */
};

struct wr wr_init(void *buf, size_t cap);
bool wr_ok(const struct wr *w);

void wr_u8(struct wr *w, uint8_t v);
void wr_be16(struct wr *w, uint16_t v);
void wr_be32(struct wr *w, uint32_t v);
void wr_be64(struct wr *w, uint64_t v);
void wr_le32(struct wr *w, uint32_t v);
void wr_le64(struct wr *w, uint64_t v);
void wr_copy(struct wr *w, const void *src, size_t n);
void wr_zero(struct wr *w, size_t n);

/* Reserves n bytes to be filled in place; NULL if they do not fit. */
uint8_t *wr_take(struct wr *w, size_t n);
