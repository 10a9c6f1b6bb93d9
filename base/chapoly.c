#include "base/chapoly.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "base/avx2.h"
#include "base/poly1305.h"
#include "base/reader.h"
#include "base/unset.h"

enum {
        LANES = 8,              /* ChaCha20 blocks side by side */
        BLOCK = 64,
        DOUBLE_ROUNDS = 10,
        GROUP = 8,              /* packets worked on together: they stay in the first cache */
        PAIRS = GROUP / 2,
        STEP = 2 * POLY_BLOCK,  /* of each text of a pair that is summed up in a double round */
        STRETCH = DOUBLE_ROUNDS * STEP,
        FRAMES = 6144,          /* more than all functions here have on the stack together */
};

/* ---- texts to be authenticated ---- */

/* A group's.  Pairs of texts are summed up beside the key stream of another group, a stretch at a time. */
struct macs {
        size_t n;
        uint8_t once[GROUP][32];      /* keys */
        const uint8_t *text[GROUP];
        size_t len[GROUP];
        struct poly poly[GROUP];
        size_t done[PAIRS];           /* bytes of both */
};

static void macs_add(struct macs *m, const uint8_t *text, size_t len)
{
        m->text[m->n] = text;
        m->len[m->n++] = len;
}

/* When the keys are there. */
static void macs_begin(struct macs *m)
{
        for (size_t i = 0; i < m->n; i++)
                poly_init(&m->poly[i], m->once[i]);
        memset(m->done, 0, sizeof(m->done));
}

/* The pair that has a stretch left, PAIRS: none. */
static size_t macs_pair(const struct macs *m)
{
        size_t pair = 0;
        while (pair < PAIRS && (2 * pair + 1 >= m->n || m->len[2 * pair] < m->done[pair] + STRETCH ||
                                m->len[2 * pair + 1] < m->done[pair] + STRETCH))
                pair++;
        return pair;
}

/* The tags: what is left, side by side as far as the shortest goes, then one by one. */
static void macs_end(struct macs *m, uint8_t ret[GROUP][AEAD_TAG_LEN])
{
        UNSET const uint8_t *data[GROUP];
        size_t common = SIZE_MAX, width = m->n > POLY_LANES ? GROUP : POLY_LANES;
        for (size_t i = 0; i < m->n; i++) {
                data[i] = m->text[i] + m->done[i / 2];
                size_t left = m->len[i] - m->done[i / 2];
                common = left < common ? left : common;
        }
        common -= common % POLY_BLOCK;
        if (m->n < 2 || common < 4 * POLY_BLOCK) {
                common = 0;
        } else {
                for (size_t i = m->n; i < width; i++) {   /* lanes that are left over repeat the first */
                        data[i] = data[0];
                        m->poly[i] = m->poly[0];
                }
                if (width == GROUP)
                        poly4_run2(m->poly, data, common);
                else
                        poly4_run(m->poly, data, common);
        }
        for (size_t i = 0; i < m->n; i++) {
                uint8_t lengths[POLY_BLOCK] = {0};   /* no associated data */
                store_le64(lengths + 8, m->len[i]);
                poly_data(&m->poly[i], data[i] + common, m->len[i] - m->done[i / 2] - common);
                poly_block(&m->poly[i], lengths);
                poly_tag(&m->poly[i], m->once[i], ret[i]);
        }
}

/* ---- ChaCha20 ---- */

/* Blocks that wait for the others: where each comes from, where it goes, and which it is. */
struct pass {
        size_t count;
        uint32_t block[LANES], nonce_low[LANES], nonce_high[LANES];
        const uint8_t *src[LANES];
        uint8_t *dst[LANES];
        size_t len[LANES];
        uint8_t stream[BLOCK];   /* of the last block that needed only a part of it */
        struct macs *beside;     /* NULL: nothing to be summed up meanwhile */
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

/* Two texts of a pair: what the rounds leave idle of the processor does their sums. */
struct two {
        struct poly a, b;
        const uint8_t *at_a, *at_b;
};

/* The state and what a step needs beside it do not fit into the registers, so two words of the third row are always out,
 * for as long as nobody asks for them.  The compiler's own choice waits for its stores. */
AVX2_INLINE void double_round(__m256i x[16], __m256i out[4], struct two *beside)
{
        quarters(&x[0], &x[4], &x[8], &x[12], &x[1], &x[5], &x[9], &x[13]);
        if (beside)
                poly_block(&beside->a, beside->at_a);
        put(&out[0], x[8]);
        put(&out[1], x[9]);
        x[10] = fetch(&out[2]);
        x[11] = fetch(&out[3]);
        quarters(&x[2], &x[6], &x[10], &x[14], &x[3], &x[7], &x[11], &x[15]);
        if (beside)
                poly_block(&beside->b, beside->at_b);
        quarters(&x[0], &x[5], &x[10], &x[15], &x[1], &x[6], &x[11], &x[12]);
        if (beside)
                poly_block(&beside->a, beside->at_a + POLY_BLOCK);
        put(&out[2], x[10]);
        put(&out[3], x[11]);
        x[8] = fetch(&out[0]);
        x[9] = fetch(&out[1]);
        quarters(&x[2], &x[7], &x[8], &x[13], &x[3], &x[4], &x[9], &x[14]);
        if (beside)
                poly_block(&beside->b, beside->at_b + POLY_BLOCK);
}

AVX2_INLINE void rounds(__m256i x[16], __m256i out[4], struct macs *m)
{
        size_t pair = m ? macs_pair(m) : PAIRS;
        if (pair == PAIRS) {
                for (int i = 0; i < DOUBLE_ROUNDS; i++)
                        double_round(x, out, NULL);
                return;
        }
        struct poly *a = &m->poly[2 * pair], *b = a + 1;
        struct two two = {*a, *b, m->text[2 * pair] + m->done[pair], m->text[2 * pair + 1] + m->done[pair]};
        for (int i = 0; i < DOUBLE_ROUNDS; i++) {
                double_round(x, out, &two);
                two.at_a += STEP;
                two.at_b += STEP;
        }
        *a = two.a;
        *b = two.b;
        m->done[pair] += STRETCH;
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
        rounds(x, out, p->beside);
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

/* ---- AEAD ---- */

bool chapoly_available(void)
{
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
}

static void load_key(const uint8_t key[AEAD_KEY_LEN], uint32_t ret[8])
{
        for (size_t i = 0; i < 8; i++)
                ret[i] = load_le32(key + 4 * i);
}

/* Key stream and sums do not stay. */
static void forget(struct pass *p, struct macs m[2])
{
        crypto_wipe(p->stream, sizeof(p->stream));
        crypto_wipe(m, 2 * sizeof(*m));
}

static void seal_group(struct pass *pass, const uint32_t key[8], struct aead_op *ops, struct macs *m, size_t n)
{
        m->n = 0;
        for (size_t i = 0; i < n; i++) {
                pass_add_key(pass, key, ops[i].counter, m->once[i]);
                pass_add_text(pass, key, &ops[i], ops[i].len);
                macs_add(m, ops[i].dst, ops[i].len);
        }
        if (pass->count > 0)
                pass_run(pass, key);
        macs_begin(m);
}

static void seal_end(struct macs *m, struct aead_op *ops)
{
        UNSET uint8_t tag[GROUP][AEAD_TAG_LEN];
        macs_end(m, tag);
        for (size_t i = 0; i < m->n; i++) {
                memcpy(ops[i].dst + ops[i].len, tag[i], AEAD_TAG_LEN);
                ops[i].ok = true;
        }
}

static bool same_tag(const uint8_t *a, const uint8_t *b)
{
        return ((load_le64(a) ^ load_le64(b)) | (load_le64(a + 8) ^ load_le64(b + 8))) == 0;
}

static void open_keys(struct pass *pass, const uint32_t key[8], struct aead_op *const *ops, struct macs *m, size_t n)
{
        m->n = 0;
        for (size_t i = 0; i < n; i++) {
                pass_add_key(pass, key, ops[i]->counter, m->once[i]);
                macs_add(m, ops[i]->src, ops[i]->len - AEAD_TAG_LEN);
        }
        if (pass->count > 0)
                pass_run(pass, key);
        macs_begin(m);
}

static void open_check(struct macs *m, struct aead_op *const *ops)
{
        UNSET uint8_t tag[GROUP][AEAD_TAG_LEN];
        macs_end(m, tag);
        for (size_t i = 0; i < m->n; i++)
                ops[i]->ok = same_tag(tag[i], m->text[i] + m->len[i]);
}

/* What is not authentic is not decrypted. */
static void open_group(struct pass *pass, const uint32_t key[8], struct aead_op *const *ops, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (ops[i]->ok)
                        pass_add_text(pass, key, ops[i], ops[i]->len - AEAD_TAG_LEN);
        }
        if (pass->count > 0)
                pass_run(pass, key);
}

/* Key stream and keys of packets that are left in registers, and on the stack where the compiler ran out of them. */
__attribute__((noinline, target("avx2"))) static void wipe_frames(void)
{
        uint8_t below[FRAMES];
        crypto_wipe(below, sizeof(below));
        _mm256_zeroall();
}

/* The tags of a group are made while the next one is encrypted. */
__attribute__((noinline)) static void seal_all(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n)
{
        UNSET struct pass pass;
        UNSET struct macs macs[2];
        uint32_t k[8];
        load_key(key, k);
        pass.count = 0;
        pass.beside = NULL;
        for (size_t i = 0; i < n; i += GROUP) {
                struct macs *m = &macs[i / GROUP % 2];
                seal_group(&pass, k, ops + i, m, n - i < GROUP ? n - i : GROUP);
                if (pass.beside)
                        seal_end(pass.beside, ops + i - GROUP);
                pass.beside = m;
        }
        if (pass.beside)
                seal_end(pass.beside, ops + (n - 1) / GROUP * GROUP);
        crypto_wipe(k, sizeof(k));
        forget(&pass, macs);
}

/* Up to GROUP that are long enough to have a tag, from *at on. */
static size_t open_gather(struct aead_op *ops, size_t n, size_t *at, struct aead_op *ret[GROUP])
{
        size_t count = 0;
        for (; *at < n && count < GROUP; ++*at) {
                ops[*at].ok = false;
                if (ops[*at].len >= AEAD_TAG_LEN)
                        ret[count++] = &ops[*at];
        }
        return count;
}

/* The tags of a group are made while the one before it is decrypted. */
__attribute__((noinline)) static void open_all(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n)
{
        UNSET struct pass pass;
        UNSET struct macs macs[2];
        struct aead_op *group[2][GROUP];
        size_t count, before = 0, at = 0;
        unsigned turn = 0;
        uint32_t k[8];
        load_key(key, k);
        pass.count = 0;
        do {
                count = open_gather(ops, n, &at, group[turn]);
                pass.beside = NULL;
                open_keys(&pass, k, group[turn], &macs[turn], count);
                pass.beside = &macs[turn];
                open_group(&pass, k, group[!turn], before);
                open_check(&macs[turn], group[turn]);
                before = count;
                turn = !turn;
        } while (count > 0);
        crypto_wipe(k, sizeof(k));
        forget(&pass, macs);
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
