#include "base/poly1305.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "base/avx2.h"
#include "base/crypto.h"
#include "base/unset.h"

enum { LIMB = 26, LIMB_MASK = (1 << LIMB) - 1 };

/* Five limbs of 26 bits, a packet in each 64-bit lane. */
struct poly4 {
        __m256i r[5], s[5];   /* s = 5 r */
        __m256i h[5];
};

AVX2_INLINE __m256i four(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
        return _mm256_setr_epi64x((long long)a, (long long)b, (long long)c, (long long)d);
}

/* The lanes are in the order of packets 0, 2, 1, 3, as unpacking leaves them. */
AVX2_INLINE void poly4_load(const uint8_t *const data[4], size_t at, __m256i *low, __m256i *high)
{
        const __m128i *d0 = (const void *)(data[0] + at), *d1 = (const void *)(data[1] + at);
        const __m128i *d2 = (const void *)(data[2] + at), *d3 = (const void *)(data[3] + at);
        __m256i a = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(d0)), _mm_loadu_si128(d1), 1);
        __m256i b = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(d2)), _mm_loadu_si128(d3), 1);
        *low = _mm256_unpacklo_epi64(a, b);
        *high = _mm256_unpackhi_epi64(a, b);
}

AVX2_INLINE __m256i mul(__m256i a, __m256i b)
{
        return _mm256_mul_epu32(a, b);
}

AVX2_INLINE __m256i plus(__m256i a, __m256i b)
{
        return _mm256_add_epi64(a, b);
}

AVX2_INLINE void poly4_block(struct poly4 *p, __m256i low, __m256i high)
{
        const __m256i mask = _mm256_set1_epi64x(LIMB_MASK), one = _mm256_set1_epi64x(1 << 24);
        const __m256i *r = p->r, *s = p->s;
        __m256i h0 = plus(p->h[0], _mm256_and_si256(low, mask));
        __m256i h1 = plus(p->h[1], _mm256_and_si256(_mm256_srli_epi64(low, 26), mask));
        __m256i middle = _mm256_or_si256(_mm256_srli_epi64(low, 52), _mm256_slli_epi64(high, 12));
        __m256i h2 = plus(p->h[2], _mm256_and_si256(middle, mask));
        __m256i h3 = plus(p->h[3], _mm256_and_si256(_mm256_srli_epi64(high, 14), mask));
        __m256i h4 = plus(p->h[4], _mm256_or_si256(_mm256_srli_epi64(high, 40), one));

        __m256i d0 = plus(plus(plus(mul(h0, r[0]), mul(h1, s[4])), plus(mul(h2, s[3]), mul(h3, s[2]))), mul(h4, s[1]));
        __m256i d1 = plus(plus(plus(mul(h0, r[1]), mul(h1, r[0])), plus(mul(h2, s[4]), mul(h3, s[3]))), mul(h4, s[2]));
        __m256i d2 = plus(plus(plus(mul(h0, r[2]), mul(h1, r[1])), plus(mul(h2, r[0]), mul(h3, s[4]))), mul(h4, s[3]));
        __m256i d3 = plus(plus(plus(mul(h0, r[3]), mul(h1, r[2])), plus(mul(h2, r[1]), mul(h3, r[0]))), mul(h4, s[4]));
        __m256i d4 = plus(plus(plus(mul(h0, r[4]), mul(h1, r[3])), plus(mul(h2, r[2]), mul(h3, r[1]))), mul(h4, r[0]));

        /* Two chains of carries, 3 -> 4 -> 0 -> 1 and 0 -> 1 -> 2 -> 3 -> 4. */
        __m256i c = _mm256_srli_epi64(d3, LIMB), e = _mm256_srli_epi64(d0, LIMB);
        d3 = _mm256_and_si256(d3, mask);
        d0 = _mm256_and_si256(d0, mask);
        d4 = plus(d4, c);
        d1 = plus(d1, e);
        c = _mm256_srli_epi64(d4, LIMB);
        e = _mm256_srli_epi64(d1, LIMB);
        d4 = _mm256_and_si256(d4, mask);
        d1 = _mm256_and_si256(d1, mask);
        d0 = plus(d0, plus(c, _mm256_slli_epi64(c, 2)));
        d2 = plus(d2, e);
        c = _mm256_srli_epi64(d0, LIMB);
        e = _mm256_srli_epi64(d2, LIMB);
        p->h[0] = _mm256_and_si256(d0, mask);
        p->h[2] = _mm256_and_si256(d2, mask);
        p->h[1] = plus(d1, c);
        d3 = plus(d3, e);
        p->h[3] = _mm256_and_si256(d3, mask);
        p->h[4] = plus(d4, _mm256_srli_epi64(d3, LIMB));
}

static void limbs(uint64_t low, uint64_t middle, uint64_t high, uint64_t ret[5])
{
        ret[0] = low & LIMB_MASK;
        ret[1] = low >> 26 & LIMB_MASK;
        ret[2] = (low >> 52 | middle << 12) & LIMB_MASK;
        ret[3] = middle >> 14 & LIMB_MASK;
        ret[4] = middle >> 40 | high << 24;
}

AVX2 static void poly4_init(struct poly4 *p, const struct poly one[4])
{
        uint64_t r[4][5], h[4][5];
        for (int i = 0; i < 4; i++) {
                limbs(one[i].r0, one[i].r1, 0, r[i]);
                limbs(one[i].h0, one[i].h1, one[i].h2, h[i]);
        }
        for (int k = 0; k < 5; k++) {
                p->r[k] = four(r[0][k], r[2][k], r[1][k], r[3][k]);
                p->s[k] = plus(p->r[k], _mm256_slli_epi64(p->r[k], 2));
                p->h[k] = four(h[0][k], h[2][k], h[1][k], h[3][k]);
        }
}

/* The sums so far, to be gone on with one by one. */
AVX2 static void poly4_split(const struct poly4 *p, struct poly one[4])
{
        static const int lane[4] = {0, 2, 1, 3};
        uint64_t h[5][4];
        for (int k = 0; k < 5; k++)
                _mm256_storeu_si256((void *)h[k], p->h[k]);
        for (int i = 0; i < 4; i++) {
                int at = lane[i];
                wide t = (wide)h[0][at] + ((wide)h[1][at] << 26) + ((wide)h[2][at] << 52);
                one[i].h0 = (uint64_t)t;
                t = (t >> 64) + ((wide)h[3][at] << 14) + ((wide)h[4][at] << 40);
                one[i].h1 = (uint64_t)t;
                one[i].h2 = (uint64_t)(t >> 64);
        }
}

/* Two sets of four in step: one alone would wait for its own results. */
AVX2 void poly4_run2(struct poly one[8], const uint8_t *const data[8], size_t len)
{
        UNSET struct poly4 p, q;
        __m256i low, high, low2, high2;
        poly4_init(&p, one);
        poly4_init(&q, one + 4);
        for (size_t at = 0; at + POLY_BLOCK <= len; at += POLY_BLOCK) {
                poly4_load(data, at, &low, &high);
                poly4_load(data + 4, at, &low2, &high2);
                poly4_block(&p, low, high);
                poly4_block(&q, low2, high2);
        }
        poly4_split(&p, one);
        poly4_split(&q, one + 4);
        crypto_wipe(&p, sizeof(p));
        crypto_wipe(&q, sizeof(q));
}

AVX2 void poly4_run(struct poly one[4], const uint8_t *const data[4], size_t len)
{
        UNSET struct poly4 p;
        __m256i low, high;
        poly4_init(&p, one);
        for (size_t at = 0; at + POLY_BLOCK <= len; at += POLY_BLOCK) {
                poly4_load(data, at, &low, &high);
                poly4_block(&p, low, high);
        }
        poly4_split(&p, one);
        crypto_wipe(&p, sizeof(p));
}

#endif
