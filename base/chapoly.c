#include "base/chapoly.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "base/reader.h"
#include "base/unset.h"

#define AVX2 __attribute__((target("avx2")))
/* What is indexed has to be known, or it will not be in registers. */
#define UNROLL _Pragma("GCC unroll 8")
#define AVX2_INLINE AVX2 __attribute__((always_inline)) static inline

enum {
        LANES = 8,       /* ChaCha20 blocks side by side */
        BLOCK = 64,
        GROUP = 8,       /* packets worked on together: they stay in the first cache */
        POLY_LANES = 4,
        POLY_BLOCK = 16,
        FRAMES = 6144,   /* more than all functions here have on the stack together */
};

/* ---- ChaCha20 ---- */

/* Blocks that wait for the others: where each comes from, where it goes, and which it is. */
struct pass {
        size_t count;
        uint32_t block[LANES], nonce_low[LANES], nonce_high[LANES];
        const uint8_t *src[LANES];
        uint8_t *dst[LANES];
        size_t len[LANES];
        uint8_t stream[BLOCK];   /* of the last block that needed only a part of it */
};

AVX2_INLINE __m256i rotate(__m256i v, int n)
{
        return _mm256_or_si256(_mm256_slli_epi32(v, n), _mm256_srli_epi32(v, 32 - n));
}

/* By whole bytes. */
AVX2_INLINE __m256i rotate16(__m256i v)
{
        return _mm256_shuffle_epi8(v, _mm256_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6,
                                                       7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
}

AVX2_INLINE __m256i rotate8(__m256i v)
{
        return _mm256_shuffle_epi8(v, _mm256_setr_epi8(3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14, 3, 0, 1, 2, 7,
                                                       4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14));
}

/* Two quarter rounds in step: one alone waits for itself, and four need more registers than there are. */
AVX2_INLINE void quarters(__m256i *a, __m256i *b, __m256i *c, __m256i *d, __m256i *e, __m256i *f, __m256i *g, __m256i *h)
{
        *a = _mm256_add_epi32(*a, *b);
        *e = _mm256_add_epi32(*e, *f);
        *d = rotate16(_mm256_xor_si256(*d, *a));
        *h = rotate16(_mm256_xor_si256(*h, *e));
        *c = _mm256_add_epi32(*c, *d);
        *g = _mm256_add_epi32(*g, *h);
        *b = rotate(_mm256_xor_si256(*b, *c), 12);
        *f = rotate(_mm256_xor_si256(*f, *g), 12);
        *a = _mm256_add_epi32(*a, *b);
        *e = _mm256_add_epi32(*e, *f);
        *d = rotate8(_mm256_xor_si256(*d, *a));
        *h = rotate8(_mm256_xor_si256(*h, *e));
        *c = _mm256_add_epi32(*c, *d);
        *g = _mm256_add_epi32(*g, *h);
        *b = rotate(_mm256_xor_si256(*b, *c), 7);
        *f = rotate(_mm256_xor_si256(*f, *g), 7);
}

/* A place in memory, whatever the compiler would rather do. */
AVX2_INLINE __m256i fetch(__m256i *place)
{
        __asm__("" : "+m"(*place));
        return *place;
}

AVX2_INLINE void put(__m256i *place, __m256i v)
{
        *place = v;
        __asm__("" : "+m"(*place));
}

/* The state and what a step needs beside it do not fit into the registers, so two words of the third row are always out,
 * for as long as nobody asks for them.  The compiler's own choice waits for its stores. */
AVX2_INLINE void double_round(__m256i x[16], __m256i out[4])
{
        quarters(&x[0], &x[4], &x[8], &x[12], &x[1], &x[5], &x[9], &x[13]);
        put(&out[0], x[8]);
        put(&out[1], x[9]);
        x[10] = fetch(&out[2]);
        x[11] = fetch(&out[3]);
        quarters(&x[2], &x[6], &x[10], &x[14], &x[3], &x[7], &x[11], &x[15]);
        quarters(&x[0], &x[5], &x[10], &x[15], &x[1], &x[6], &x[11], &x[12]);
        put(&out[2], x[10]);
        put(&out[3], x[11]);
        x[8] = fetch(&out[0]);
        x[9] = fetch(&out[1]);
        quarters(&x[2], &x[7], &x[8], &x[13], &x[3], &x[4], &x[9], &x[14]);
}

/* Word i of all lanes becomes lane i's words. */
AVX2_INLINE void transpose(__m256i x[8])
{
        __m256i t[8], u[8];
        UNROLL for (int i = 0; i < 8; i += 2) {
                t[i] = _mm256_unpacklo_epi32(x[i], x[i + 1]);
                t[i + 1] = _mm256_unpackhi_epi32(x[i], x[i + 1]);
        }
        UNROLL for (int i = 0; i < 8; i += 4) {
                u[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
                u[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
                u[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
                u[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
        }
        UNROLL for (int i = 0; i < 4; i++) {
                x[i] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x20);
                x[i + 4] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x31);
        }
}

AVX2_INLINE __m256i load(const void *p)
{
        return _mm256_loadu_si256(p);
}

static void xor_some(uint8_t *dst, const uint8_t *src, const uint8_t *stream, size_t n)
{
        for (size_t i = 0; i < n; i++)
                dst[i] = src[i] ^ stream[i];
}

AVX2_INLINE void apply(struct pass *p, size_t lane, __m256i low, __m256i high)
{
        const uint8_t *src = p->src[lane];
        uint8_t *dst = p->dst[lane];
        if (p->len[lane] == BLOCK) {
                __m256i a = _mm256_xor_si256(load(src), low), b = _mm256_xor_si256(load(src + 32), high);
                _mm256_storeu_si256((void *)dst, a);
                _mm256_storeu_si256((void *)(dst + 32), b);
        } else if (p->len[lane] > 0) {
                _mm256_storeu_si256((void *)p->stream, low);
                _mm256_storeu_si256((void *)(p->stream + 32), high);
                xor_some(dst, src, p->stream, p->len[lane]);
        }
}

/* All that wait. */
AVX2 static void pass_run(struct pass *p, const uint32_t key[8])
{
        static const uint32_t constant[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
        UNSET __m256i x[16], out[4];
        for (size_t i = p->count; i < LANES; i++)
                p->len[i] = 0;
        UNROLL for (int i = 0; i < 4; i++)
                x[i] = _mm256_set1_epi32((int)constant[i]);
        UNROLL for (int i = 0; i < 8; i++)
                x[4 + i] = _mm256_set1_epi32((int)key[i]);
        x[12] = load(p->block);
        x[13] = _mm256_setzero_si256();
        x[14] = load(p->nonce_low);
        x[15] = load(p->nonce_high);
        put(&out[2], x[10]);
        put(&out[3], x[11]);
        for (int i = 0; i < 10; i++)
                double_round(x, out);
        x[10] = fetch(&out[2]);
        x[11] = fetch(&out[3]);
        UNROLL for (int i = 0; i < 4; i++)
                x[i] = _mm256_add_epi32(x[i], _mm256_set1_epi32((int)constant[i]));
        UNROLL for (int i = 0; i < 8; i++)
                x[4 + i] = _mm256_add_epi32(x[4 + i], _mm256_set1_epi32((int)key[i]));
        x[12] = _mm256_add_epi32(x[12], load(p->block));
        x[14] = _mm256_add_epi32(x[14], load(p->nonce_low));
        x[15] = _mm256_add_epi32(x[15], load(p->nonce_high));
        transpose(x);
        transpose(x + 8);
        UNROLL for (size_t i = 0; i < LANES; i++)
                apply(p, i, x[i], x[8 + i]);
        p->count = 0;
}

static void pass_add(struct pass *p, const uint32_t key[8], uint64_t nonce, uint32_t block, const uint8_t *src, uint8_t *dst,
                     size_t len)
{
        size_t i = p->count++;
        p->block[i] = block;
        p->nonce_low[i] = (uint32_t)nonce;
        p->nonce_high[i] = (uint32_t)(nonce >> 32);
        p->src[i] = src;
        p->dst[i] = dst;
        p->len[i] = len;
        if (p->count == LANES)
                pass_run(p, key);
}

/* The one-time key of Poly1305 is the first half of block 0. */
static void pass_add_key(struct pass *p, const uint32_t key[8], uint64_t nonce, uint8_t ret[32])
{
        static const uint8_t zeros[32];
        pass_add(p, key, nonce, 0, zeros, ret, 32);
}

static void pass_add_text(struct pass *p, const uint32_t key[8], const struct aead_op *op, size_t len)
{
        uint32_t block = 1;
        for (size_t at = 0; at < len; at += BLOCK)
                pass_add(p, key, op->counter, block++, op->src + at, op->dst + at, len - at < BLOCK ? len - at : BLOCK);
}

/* ---- Poly1305, one packet ---- */

__extension__ typedef unsigned __int128 wide;

struct poly {
        uint64_t r0, r1, s1;        /* s1 = r1 * 5 / 4: r1 is a multiple of 4 */
        uint64_t h0, h1, h2;
};

/* Little-endian, as this processor is. */
static inline uint64_t load_word(const uint8_t *p)
{
        uint64_t v;
        memcpy(&v, p, sizeof(v));
        return v;
}

static void poly_init(struct poly *p, const uint8_t key[32])
{
        *p = (struct poly){
                .r0 = load_word(key) & UINT64_C(0x0ffffffc0fffffff),
                .r1 = load_word(key + 8) & UINT64_C(0x0ffffffc0ffffffc),
        };
        p->s1 = p->r1 + (p->r1 >> 2);
}

/* h = (h + m) * r mod 2^130 - 5, not fully reduced. */
static inline void poly_block(struct poly *p, uint64_t m0, uint64_t m1, uint64_t m2)
{
        wide t = (wide)p->h0 + m0;
        uint64_t h0 = (uint64_t)t;
        t = (wide)p->h1 + m1 + (uint64_t)(t >> 64);
        uint64_t h1 = (uint64_t)t, h2 = p->h2 + m2 + (uint64_t)(t >> 64);
        wide d0 = (wide)h0 * p->r0 + (wide)h1 * p->s1;
        wide d1 = (wide)h0 * p->r1 + (wide)h1 * p->r0 + (wide)h2 * p->s1;
        uint64_t d2 = h2 * p->r0;
        d1 += (uint64_t)(d0 >> 64);
        d2 += (uint64_t)(d1 >> 64);
        t = (wide)(uint64_t)d0 + (d2 >> 2) + (d2 & ~UINT64_C(3));
        p->h0 = (uint64_t)t;
        t = (wide)(uint64_t)d1 + (uint64_t)(t >> 64);
        p->h1 = (uint64_t)t;
        p->h2 = (d2 & 3) + (uint64_t)(t >> 64);
}

/* Data whose end is padded with zeros to whole blocks (RFC 8439, 2.8). */
static void poly_data(struct poly *p, const uint8_t *data, size_t len)
{
        uint8_t last[POLY_BLOCK] = {0};
        struct poly s = *p;   /* in registers: data could be anything, *p too */
        for (; len >= POLY_BLOCK; data += POLY_BLOCK, len -= POLY_BLOCK)
                poly_block(&s, load_word(data), load_word(data + 8), 1);
        if (len > 0) {
                memcpy(last, data, len);
                poly_block(&s, load_word(last), load_word(last + 8), 1);
        }
        *p = s;
}

static inline void store_word(uint8_t *p, uint64_t v)
{
        memcpy(p, &v, sizeof(v));
}

/* Fully reduced, plus the key's second half. */
static void poly_tag(const struct poly *p, const uint8_t key[32], uint8_t tag[AEAD_TAG_LEN])
{
        wide t = (wide)p->h0 + 5;
        uint64_t g0 = (uint64_t)t;
        t = (wide)p->h1 + (uint64_t)(t >> 64);
        uint64_t g1 = (uint64_t)t, g2 = p->h2 + (uint64_t)(t >> 64);
        uint64_t over = 0 - (g2 >> 2 & 1);   /* all ones if h >= 2^130 - 5 */
        uint64_t h0 = (p->h0 & ~over) | (g0 & over), h1 = (p->h1 & ~over) | (g1 & over);
        t = (wide)h0 + load_word(key + 16);
        store_word(tag, (uint64_t)t);
        t = (wide)h1 + load_word(key + 24) + (uint64_t)(t >> 64);
        store_word(tag + 8, (uint64_t)t);
}

/* ---- Poly1305, four packets ---- */

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

static void limbs(uint64_t low, uint64_t high, uint64_t ret[5])
{
        ret[0] = low & LIMB_MASK;
        ret[1] = low >> 26 & LIMB_MASK;
        ret[2] = (low >> 52 | high << 12) & LIMB_MASK;
        ret[3] = high >> 14 & LIMB_MASK;
        ret[4] = high >> 40;
}

AVX2 static void poly4_init(struct poly4 *p, const struct poly one[4])
{
        uint64_t r[4][5];
        for (int i = 0; i < 4; i++)
                limbs(one[i].r0, one[i].r1, r[i]);
        for (int k = 0; k < 5; k++) {
                p->r[k] = four(r[0][k], r[2][k], r[1][k], r[3][k]);
                p->s[k] = plus(p->r[k], _mm256_slli_epi64(p->r[k], 2));
                p->h[k] = _mm256_setzero_si256();
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
AVX2 static void poly4_run2(struct poly one[8], const uint8_t *const data[8], size_t len)
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

AVX2 static void poly4_run(struct poly one[4], const uint8_t *const data[4], size_t len)
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

/* Tags of up to GROUP texts: side by side as far as the shortest goes, then one by one. */
static void tags(uint8_t key[GROUP][32], const uint8_t *const text[GROUP], const size_t len[GROUP], size_t n,
                 uint8_t ret[GROUP][AEAD_TAG_LEN])
{
        UNSET struct poly p[GROUP];
        UNSET const uint8_t *data[GROUP];
        size_t common = len[0], width = n > POLY_LANES ? GROUP : POLY_LANES;
        for (size_t i = 0; i < n; i++) {
                poly_init(&p[i], key[i]);
                common = len[i] < common ? len[i] : common;
        }
        common -= common % POLY_BLOCK;
        if (n < 2 || common < 4 * POLY_BLOCK) {
                common = 0;
        } else {
                for (size_t i = 0; i < width; i++) {
                        data[i] = text[i < n ? i : 0];   /* lanes that are left over repeat the first */
                        if (i >= n)
                                p[i] = p[0];
                }
                if (width == GROUP)
                        poly4_run2(p, data, common);
                else
                        poly4_run(p, data, common);
        }
        for (size_t i = 0; i < n; i++) {
                poly_data(&p[i], text[i] + common, len[i] - common);
                poly_block(&p[i], 0, len[i], 1);   /* the lengths: no associated data */
                poly_tag(&p[i], key[i], ret[i]);
        }
        crypto_wipe(p, sizeof(p));
}

/* ---- AEAD ---- */

bool chapoly_available(void)
{
        return __builtin_cpu_supports("avx2");
}

static void load_key(const uint8_t key[AEAD_KEY_LEN], uint32_t ret[8])
{
        for (size_t i = 0; i < 8; i++)
                ret[i] = load_le32(key + 4 * i);
}

static void seal_group(const uint32_t key[8], struct aead_op *ops, size_t n)
{
        UNSET struct pass pass;
        UNSET uint8_t once[GROUP][32], tag[GROUP][AEAD_TAG_LEN];
        const uint8_t *text[GROUP] = {0};
        size_t len[GROUP] = {0};
        pass.count = 0;
        for (size_t i = 0; i < n; i++) {
                pass_add_key(&pass, key, ops[i].counter, once[i]);
                pass_add_text(&pass, key, &ops[i], ops[i].len);
                text[i] = ops[i].dst;
                len[i] = ops[i].len;
        }
        if (pass.count > 0)
                pass_run(&pass, key);
        tags(once, text, len, n, tag);
        for (size_t i = 0; i < n; i++) {
                memcpy(ops[i].dst + len[i], tag[i], AEAD_TAG_LEN);
                ops[i].ok = true;
        }
        crypto_wipe(once, sizeof(once));
        crypto_wipe(pass.stream, sizeof(pass.stream));
}

static bool same_tag(const uint8_t *a, const uint8_t *b)
{
        return ((load_word(a) ^ load_word(b)) | (load_word(a + 8) ^ load_word(b + 8))) == 0;
}

/* What is not authentic is not decrypted. */
static void open_group(const uint32_t key[8], struct aead_op *const *ops, size_t n)
{
        UNSET struct pass pass;
        UNSET uint8_t once[GROUP][32], tag[GROUP][AEAD_TAG_LEN];
        const uint8_t *text[GROUP] = {0};
        size_t len[GROUP] = {0};
        pass.count = 0;
        for (size_t i = 0; i < n; i++) {
                pass_add_key(&pass, key, ops[i]->counter, once[i]);
                text[i] = ops[i]->src;
                len[i] = ops[i]->len - AEAD_TAG_LEN;
        }
        if (pass.count > 0)
                pass_run(&pass, key);
        tags(once, text, len, n, tag);
        for (size_t i = 0; i < n; i++) {
                ops[i]->ok = same_tag(tag[i], ops[i]->src + len[i]);
                if (ops[i]->ok)
                        pass_add_text(&pass, key, ops[i], len[i]);
        }
        if (pass.count > 0)
                pass_run(&pass, key);
        crypto_wipe(once, sizeof(once));
        crypto_wipe(pass.stream, sizeof(pass.stream));
}

/* Key stream and keys of packets that are left in registers, and on the stack where the compiler ran out of them. */
__attribute__((noinline, target("avx2"))) static void wipe_frames(void)
{
        uint8_t below[FRAMES];
        crypto_wipe(below, sizeof(below));
        _mm256_zeroall();
}

__attribute__((noinline)) static void seal_all(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n)
{
        uint32_t k[8];
        load_key(key, k);
        for (size_t i = 0; i < n; i += GROUP)
                seal_group(k, ops + i, n - i < GROUP ? n - i : GROUP);
        crypto_wipe(k, sizeof(k));
}

__attribute__((noinline)) static void open_all(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n)
{
        uint32_t k[8];
        struct aead_op *group[GROUP];
        size_t count = 0;
        load_key(key, k);
        for (size_t i = 0; i < n; i++) {
                ops[i].ok = false;
                if (ops[i].len >= AEAD_TAG_LEN)
                        group[count++] = &ops[i];
                if (count == GROUP || (i + 1 == n && count > 0)) {
                        open_group(k, group, count);
                        count = 0;
                }
        }
        crypto_wipe(k, sizeof(k));
}

void chapoly_seal(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n)
{
        seal_all(key, ops, n);
        wipe_frames();
}

void chapoly_open(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n)
{
        open_all(key, ops, n);
        wipe_frames();
}

#else

bool chapoly_available(void)
{
        return false;
}

void chapoly_seal(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n)
{
        (void)key;
        for (size_t i = 0; i < n; i++)
                ops[i].ok = false;
}

void chapoly_open(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n)
{
        (void)key;
        for (size_t i = 0; i < n; i++)
                ops[i].ok = false;
}

#endif
