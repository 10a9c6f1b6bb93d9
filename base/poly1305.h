/* base/poly1305.h - the sums of Poly1305 (RFC 8439, 2.5) of one text, and of four or eight side by side.
 *
 * Internal to base; base/chapoly.h is the door.  Constant time.  One text needs BMI2 and no vectors, so that it can be
 * worked on between vector instructions for nearly nothing; therefore it is here, inline.  The others need AVX2.
 */
#pragma once

#if defined(__x86_64__)

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/reader.h"

enum { POLY_LANES = 4, POLY_BLOCK = 16, POLY_TAG = 16 };

__extension__ typedef unsigned __int128 wide;

struct poly {
        uint64_t r0, r1, s1;        /* s1 = r1 * 5 / 4: r1 is a multiple of 4 */
        uint64_t h0, h1, h2;
};

struct poly_text {
        uint8_t block[POLY_BLOCK];
};

/* Whole blocks of four and of eight texts, len bytes of each from data on. */
void poly4_run(struct poly one[4], const uint8_t *const data[4], size_t len);
void poly4_run2(struct poly one[8], const uint8_t *const data[8], size_t len);

static inline void poly_init(struct poly *p, const uint8_t key[32])
{
        *p = (struct poly){
                .r0 = load_le64(key) & UINT64_C(0x0ffffffc0fffffff),
                .r1 = load_le64(key + 8) & UINT64_C(0x0ffffffc0ffffffc),
        };
        p->s1 = p->r1 + (p->r1 >> 2);
}

/* h = (h + block + 2^128) * r mod 2^130 - 5, not fully reduced: h2 is at most 4.
 * As d2 d1 d0 = h0 r0 + h1 s1,  (h0 r1 + h1 r0 + h2 s1) 2^64,  h2 r0 2^128; what is over 2^130 comes back five times.
 * Compilers take twice as long for the carries. */
__attribute__((always_inline)) static inline void poly_block(struct poly *p, const uint8_t *block)
{
        uint64_t h0 = p->h0, h1 = p->h1, h2 = p->h2, d0, up, d1, t;
        __asm__("add    (%[block]), %[h0]\n\t"
                "adc    8(%[block]), %[h1]\n\t"
                "adc    $1, %[h2]\n\t"
                "mov    %[h0], %%rdx\n\t"
                "mulx   %[r0], %[d0], %[up]\n\t"
                "mulx   %[r1], %[d1], %[h0]\n\t"      /* h0 is d2 from here on */
                "mov    %[h1], %%rdx\n\t"
                "mulx   %[s1], %[t], %[h1]\n\t"
                "add    %[t], %[d0]\n\t"
                "adc    %[h1], %[up]\n\t"
                "mulx   %[r0], %[t], %[h1]\n\t"
                "add    %[t], %[d1]\n\t"
                "adc    %[h1], %[h0]\n\t"
                "mov    %[h2], %%rdx\n\t"
                "imul   %[s1], %%rdx\n\t"
                "imul   %[r0], %[h2]\n\t"
                "add    %%rdx, %[d1]\n\t"
                "adc    %[h2], %[h0]\n\t"
                "add    %[up], %[d1]\n\t"
                "adc    $0, %[h0]\n\t"
                "mov    %[h0], %[h2]\n\t"
                "mov    %[h0], %[t]\n\t"
                "and    $3, %[h2]\n\t"
                "and    $-4, %[h0]\n\t"               /* four times what is over, */
                "shr    $2, %[t]\n\t"                 /* and once */
                "add    %[t], %[h0]\n\t"
                "mov    %[d1], %[h1]\n\t"
                "add    %[d0], %[h0]\n\t"
                "adc    $0, %[h1]\n\t"
                "adc    $0, %[h2]"
                : [h0] "+&r"(h0), [h1] "+&r"(h1), [h2] "+&r"(h2), [d0] "=&r"(d0), [up] "=&r"(up), [d1] "=&r"(d1), [t] "=&r"(t)
                : [block] "r"(block), "m"(*(const struct poly_text *)(const void *)block), [r0] "m"(p->r0), [r1] "m"(p->r1), [s1] "m"(p->s1)
                : "rdx", "cc");
        p->h0 = h0;
        p->h1 = h1;
        p->h2 = h2;
}

/* Data whose end is padded with zeros to whole blocks (RFC 8439, 2.8). */
static inline void poly_data(struct poly *p, const uint8_t *data, size_t len)
{
        uint8_t last[POLY_BLOCK] = {0};
        struct poly s = *p;   /* in registers: data could be anything, *p too */
        for (; len >= POLY_BLOCK; data += POLY_BLOCK, len -= POLY_BLOCK)
                poly_block(&s, data);
        if (len > 0) {
                memcpy(last, data, len);
                poly_block(&s, last);
        }
        *p = s;
}

/* Fully reduced, plus the key's second half. */
static inline void poly_tag(const struct poly *p, const uint8_t key[32], uint8_t tag[POLY_TAG])
{
        wide t = (wide)p->h0 + 5;
        uint64_t g0 = (uint64_t)t;
        t = (wide)p->h1 + (uint64_t)(t >> 64);
        uint64_t g1 = (uint64_t)t, g2 = p->h2 + (uint64_t)(t >> 64);
        uint64_t over = 0 - (g2 >> 2 & 1);   /* all ones if h >= 2^130 - 5 */
        uint64_t h0 = (p->h0 & ~over) | (g0 & over), h1 = (p->h1 & ~over) | (g1 & over);
        t = (wide)h0 + load_le64(key + 16);
        store_le64(tag, (uint64_t)t);
        t = (wide)h1 + load_le64(key + 24) + (uint64_t)(t >> 64);
        store_le64(tag + 8, (uint64_t)t);
}

#endif
