#include "base/aead.h"

#include <errno.h>
#include <limits.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/aead_mb.h"
#include "base/chapoly.h"
#include "base/crew.h"
#include "base/crypto.h"
#include "base/openssl.h"
#include "base/reader.h"

enum { NONCE_LEN = 12 };

struct aead {
        struct aead_crew *crew;   /* NULL: nobody helps */
        const struct backend *backend;
        EVP_CIPHER_CTX *ctx;   /* NULL: this backend has no use for it */
        int sealing;           /* the direction ctx is set up for: 1 seal, 0 open, -1 neither */
        uint8_t key[AEAD_KEY_LEN];
};

struct backend {
        const char *name;
        bool (*available)(void);
        bool (*gains)(void);               /* NULL: always; false: not taken, but for measurements */
        bool (*prepare)(struct aead *a);   /* NULL: nothing to do */
        void (*seal)(struct aead *a, struct aead_op *ops, size_t n);
        void (*open)(struct aead *a, struct aead_op *ops, size_t n);
        bool by_context;   /* more than one packet also goes through ctx */
};

/* ---- libipsec-mb ---- */

static void mb_seal(struct aead *a, struct aead_op *ops, size_t n)
{
        aead_mb_seal(a->key, ops, n);
}

static void mb_open(struct aead *a, struct aead_op *ops, size_t n)
{
        aead_mb_open(a->key, ops, n);
}

/* ---- libcrypto ---- */

/* Fetched once: naming an algorithm at each use costs more than sealing a small packet. */
static EVP_CIPHER *cipher;

static bool evp_available(void)
{
        if (cipher == NULL)
                cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
        return cipher != NULL;
}

static bool evp_prepare(struct aead *a)
{
        a->sealing = 1;
        a->ctx = EVP_CIPHER_CTX_new();
        return a->ctx != NULL && EVP_CipherInit_ex2(a->ctx, cipher, a->key, NULL, a->sealing, NULL) == 1;
}

/* A session seals with one key and opens with the other, so this changes once in its life at most. */
static bool evp_turn(struct aead *a, int sealing)
{
        if (a->sealing == sealing)
                return true;
        if (EVP_CipherInit_ex2(a->ctx, NULL, a->key, NULL, sealing, NULL) != 1)
                return false;
        a->sealing = sealing;
        return true;
}

static bool evp_start(struct aead *a, uint64_t counter)
{
        uint8_t nonce[NONCE_LEN] = {0};
        store_le64(nonce + 4, counter);
        return EVP_CipherInit_ex2(a->ctx, NULL, NULL, nonce, -1, NULL) == 1;
}

static bool evp_seal_one(struct aead *a, const struct aead_op *op)
{
        int n = 0, rest = 0;
        if (op->len > INT_MAX - AEAD_TAG_LEN || !evp_start(a, op->counter))
                return false;
        if (op->len > 0 && EVP_EncryptUpdate(a->ctx, op->dst, &n, op->src, (int)op->len) != 1)
                return false;
        uint8_t *tag = op->dst + op->len;
        return EVP_EncryptFinal_ex(a->ctx, tag, &rest) == 1 &&
               EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_LEN, tag) == 1;
}

static bool evp_open_one(struct aead *a, const struct aead_op *op)
{
        uint8_t tag[AEAD_TAG_LEN];
        int n = 0, rest = 0;
        if (op->len < AEAD_TAG_LEN || op->len > INT_MAX || !evp_start(a, op->counter))
                return false;
        size_t len = op->len - AEAD_TAG_LEN;
        memcpy(tag, op->src + len, sizeof(tag));
        if (EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_LEN, tag) != 1)
                return false;
        if (len > 0 && EVP_DecryptUpdate(a->ctx, op->dst, &n, op->src, (int)len) != 1)
                return false;
        uint8_t none[EVP_MAX_BLOCK_LENGTH];
        return EVP_DecryptFinal_ex(a->ctx, none, &rest) == 1;
}

static void evp_seal(struct aead *a, struct aead_op *ops, size_t n)
{
        bool ready = evp_turn(a, 1);
        for (size_t i = 0; i < n; i++)
                ops[i].ok = ready && evp_seal_one(a, &ops[i]);
}

static void evp_open(struct aead *a, struct aead_op *ops, size_t n)
{
        bool ready = evp_turn(a, 0);
        for (size_t i = 0; i < n; i++)
                ops[i].ok = ready && evp_open_one(a, &ops[i]);
}

/* ---- our own, where vectors are wide ---- */

enum { LONELY_MIN = 192 };   /* a packet longer than this has no use for the width when it comes alone */

static bool is_lonely(const struct aead *a, const struct aead_op *ops, size_t n)
{
        return n == 1 && ops[0].len > LONELY_MIN && a->ctx != NULL;
}

static bool own_prepare(struct aead *a)
{
        return !evp_available() || evp_prepare(a);
}

static void own_seal(struct aead *a, struct aead_op *ops, size_t n)
{
        if (is_lonely(a, ops, n))
                evp_seal(a, ops, n);
        else
                chapoly_seal(a->key, ops, n);
}

static void own_open(struct aead *a, struct aead_op *ops, size_t n)
{
        if (is_lonely(a, ops, n))
                evp_open(a, ops, n);
        else
                chapoly_open(a->key, ops, n);
}

/* ---- libsodium ---- */

static bool sodium_available(void)
{
        return true;
}

static void sodium_seal(struct aead *a, struct aead_op *ops, size_t n)
{
        uint8_t nonce[NONCE_LEN] = {0};
        for (size_t i = 0; i < n; i++) {
                store_le64(nonce + 4, ops[i].counter);
                ops[i].ok = crypto_aead_chacha20poly1305_ietf_encrypt(ops[i].dst, NULL, ops[i].src, ops[i].len, NULL, 0,
                                    NULL, nonce, a->key) == 0;
        }
}

static void sodium_open(struct aead *a, struct aead_op *ops, size_t n)
{
        uint8_t nonce[NONCE_LEN] = {0};
        for (size_t i = 0; i < n; i++) {
                store_le64(nonce + 4, ops[i].counter);
                ops[i].ok = crypto_aead_chacha20poly1305_ietf_decrypt(ops[i].dst, NULL, NULL, ops[i].src, ops[i].len, NULL,
                                    0, nonce, a->key) == 0;
        }
}

/* ---- the choice ---- */

static const struct backend backends[] = {
        {"libipsec-mb", aead_mb_available, aead_mb_gains, NULL, mb_seal, mb_open, false},
        {"avx2", chapoly_available, NULL, own_prepare, own_seal, own_open, false},
        {"libcrypto", evp_available, NULL, evp_prepare, evp_seal, evp_open, true},
        {"libsodium", sodium_available, NULL, NULL, sodium_seal, sodium_open, false},
};

enum { BACKENDS = sizeof(backends) / sizeof(backends[0]), TRIALS = 24, TRIAL_LEN = 400, EACH = 8, SPOILT = 3 };   /* one in each burst */

static const struct backend *chosen;

/* As each way through a backend wants them: eight with three after them, eight, four with one left over, alone, and nothing. */
static void in_bursts(struct aead *a, struct aead_op ops[TRIALS], void (*work)(struct aead *a, struct aead_op *ops, size_t n))
{
        static const size_t sizes[] = {11, 8, 3, 1, 1};
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); ops += sizes[i++])
                work(a, ops, sizes[i]);
}

/* What one seals the other opens, and a changed bit is noticed: packets of many lengths. */
static bool agrees(struct aead *a, struct aead *judge)
{
        static const uint8_t plain[TRIAL_LEN] = {1, 2, 3};
        uint8_t sealed[TRIALS][TRIAL_LEN + AEAD_TAG_LEN], back[TRIALS][TRIAL_LEN];
        struct aead_op ops[TRIALS];
        bool good = true;
        for (size_t i = 0; i < TRIALS; i++)
                ops[i] = (struct aead_op){.counter = (uint64_t)i << 31, .src = plain, .dst = sealed[i],
                        .len = i == TRIALS - 1 ? 0 : TRIAL_LEN - 7 * i};
        in_bursts(a, ops, a->backend->seal);
        for (size_t i = 0; i < TRIALS; i++) {
                ops[i].src = sealed[i];
                ops[i].dst = back[i];
                ops[i].len += AEAD_TAG_LEN;
        }
        for (int round = 0; round < 2; round++) {
                struct aead *by = round == 0 ? judge : a;
                for (size_t i = SPOILT; i < TRIALS; i += EACH)
                        sealed[i][5] ^= (uint8_t)round;
                in_bursts(by, ops, by->backend->open);
                for (size_t i = 0; i < TRIALS; i++) {
                        bool spoilt = round == 1 && i % EACH == SPOILT;
                        good = good && ops[i].ok == !spoilt &&
                               (spoilt || memcmp(back[i], plain, ops[i].len - AEAD_TAG_LEN) == 0);
                }
        }
        return good;
}

static bool passes_test(const struct backend *b)
{
        struct aead judge = {.backend = &backends[BACKENDS - 1], .key = {7}}, a = {.backend = b, .key = {7}};
        bool good = b->available() && (b->prepare == NULL || b->prepare(&a)) && agrees(&a, &judge);
        EVP_CIPHER_CTX_free(a.ctx);
        return good;
}

enum err aead_init(void)
{
        for (size_t i = 0; i < BACKENDS; i++)
                if ((backends[i].gains == NULL || backends[i].gains()) && passes_test(&backends[i])) {
                        chosen = &backends[i];
                        return ERR_NONE;
                }
        return ERR_UNSUPPORTED;
}

size_t aead_backend_count(void)
{
        return BACKENDS;
}

const char *aead_backend_name(size_t i)
{
        return backends[i].name;
}

bool aead_backend_works(size_t i)
{
        return passes_test(&backends[i]);
}

void aead_backend_choose(size_t i)
{
        chosen = &backends[i];
}

size_t aead_backend_chosen(void)
{
        return (size_t)(chosen - backends);
}

/* ---- one key ---- */

struct aead *aead_new(const uint8_t key[AEAD_KEY_LEN])
{
        struct aead *a = calloc(1, sizeof(*a));
        if (a == NULL)
                return NULL;
        memcpy(a->key, key, AEAD_KEY_LEN);
        a->backend = chosen;
        if (a->backend->prepare != NULL && !a->backend->prepare(a)) {
                aead_free(a);
                return NULL;
        }
        return a;
}

void aead_free(struct aead *a)
{
        if (a == NULL)
                return;
        EVP_CIPHER_CTX_free(a->ctx);
        crypto_wipe(a, sizeof(*a));
        free(a);
}

void aead_share(struct aead *a, struct aead_crew *c)
{
        a->crew = c;
}

/* ---- with helpers ---- */

enum {
        PIECE = 8,               /* packets: what a backend does side by side */
        SHARE_MIN = 24 * 1024,   /* bytes: less is done sooner than the others have come */
};

/* A context belongs to one key, and to one thread at a time, so each helper has one of its own, which forgets the key
 * after each piece. */
struct aead_crew {
        struct crew *threads;
        size_t helpers;
        EVP_CIPHER_CTX *ctx[];
};

struct shared {
        struct aead *a;
        struct aead_op *ops;
        size_t n, pieces;
        void (*work)(struct aead *a, struct aead_op *ops, size_t n);
};

struct aead_crew *aead_crew_new(unsigned helpers)
{
        struct aead_crew *c = calloc(1, sizeof(*c) + helpers * sizeof(c->ctx[0]));
        if (c == NULL)
                return NULL;
        c->helpers = helpers;
        for (size_t i = 0; i < helpers && evp_available(); i++) {
                struct aead none = {.key = {0}};
                if (!evp_prepare(&none)) {
                        EVP_CIPHER_CTX_free(none.ctx);
                        aead_crew_free(c);
                        errno = ENOMEM;
                        return NULL;
                }
                c->ctx[i] = none.ctx;
        }
        c->threads = crew_new(helpers);
        if (c->threads == NULL) {
                int error = errno;
                aead_crew_free(c);
                errno = error;
                return NULL;
        }
        return c;
}

void aead_crew_free(struct aead_crew *c)
{
        if (c == NULL)
                return;
        crew_free(c->threads);
        for (size_t i = 0; i < c->helpers; i++)
                EVP_CIPHER_CTX_free(c->ctx[i]);
        free(c);
}

/* Another key, and what the last packet left behind it. */
static void evp_forget(EVP_CIPHER_CTX *ctx)
{
        static const uint8_t zero[AEAD_KEY_LEN];
        uint8_t out[EVP_MAX_BLOCK_LENGTH];
        int n;
        (void)EVP_CipherInit_ex2(ctx, NULL, zero, zero, 1, NULL);
        (void)EVP_EncryptUpdate(ctx, out, &n, zero, 1);
        (void)EVP_EncryptFinal_ex(ctx, out, &n);
}

static void do_piece(void *arg, unsigned who, size_t piece)
{
        const struct shared *s = arg;
        struct aead_op *ops = s->ops + piece * PIECE;
        size_t n = piece + 1 < s->pieces ? PIECE : s->n - piece * PIECE;
        if (who == 0 || !s->a->backend->by_context) {
                s->work(s->a, ops, n);
                return;
        }
        struct aead twin = *s->a;
        twin.ctx = s->a->crew->ctx[who - 1];
        twin.sealing = -1;
        s->work(&twin, ops, n);
        evp_forget(twin.ctx);
        crypto_wipe(&twin, sizeof(twin));
}

static bool is_worth_sharing(const struct aead *a, const struct aead_op *ops, size_t n)
{
        size_t bytes = 0;
        if (a->crew == NULL || n < 2 * PIECE)
                return false;
        for (size_t i = 0; i < n; i++)
                bytes += ops[i].len;
        return bytes >= SHARE_MIN;
}

/* The last piece is the longest, and no packet is alone. */
static void burst(struct aead *a, struct aead_op *ops, size_t n, void (*work)(struct aead *a, struct aead_op *ops, size_t n))
{
        struct shared s = {.a = a, .ops = ops, .n = n, .pieces = n / PIECE, .work = work};
        if (is_worth_sharing(a, ops, n))
                crew_run(a->crew->threads, (unsigned)s.pieces, do_piece, &s);
        else
                work(a, ops, n);
}

void aead_seal_burst(struct aead *a, struct aead_op *ops, size_t n)
{
        burst(a, ops, n, a->backend->seal);
}

void aead_open_burst(struct aead *a, struct aead_op *ops, size_t n)
{
        burst(a, ops, n, a->backend->open);
}
