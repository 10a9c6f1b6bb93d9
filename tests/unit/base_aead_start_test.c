/* The test at start finds a fault in any way through our own ChaCha20-Poly1305, and another backend is taken. */
#include "base/aead.h"

#include "base/crypto.h"
#include "tests/unit/check.h"

/* The true one is here under another name, so that what takes its place can go wrong. */
#define chapoly_available true_available
#define chapoly_seal true_seal
#define chapoly_open true_open
#include "base/chapoly.c"
#undef chapoly_available
#undef chapoly_seal
#undef chapoly_open

bool chapoly_available(void);
void chapoly_seal(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n);
void chapoly_open(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n);

static struct {
        bool on;
        size_t from, to;   /* wrong for bursts of so many packets ... */
        size_t least;      /* ... none of which is shorter: where Poly1305 goes side by side */
        bool open;         /* only what opens is wrong: it takes what is forged */
} fault;

static bool goes_wrong(const struct aead_op *ops, size_t n, bool open)
{
        bool wrong = fault.on && fault.open == open && n >= fault.from && n <= fault.to;
        for (size_t i = 0; i < n; i++)
                wrong = wrong && ops[i].len >= fault.least;
        return wrong;
}

bool chapoly_available(void)
{
        return true_available();
}

void chapoly_seal(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n)
{
        true_seal(key, ops, n);
        if (goes_wrong(ops, n, false))
                ops[n - 1].dst[ops[n - 1].len] ^= 1;
}

void chapoly_open(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n)
{
        true_open(key, ops, n);
        for (size_t i = 0; i < n && goes_wrong(ops, n, true); i++)
                ops[i].ok = true;
}

static size_t named(const char *name)
{
        size_t i = 0;
        while (strcmp(aead_backend_name(i), name) != 0)
                i++;
        return i;
}

static void a_fault_in_any_way_is_found(void **state)
{
        (void)state;
        static const struct {
                size_t from, to, least;
                bool open;
        } ways[] = {
                {9, SIZE_MAX, STRETCH, false},   /* beside the key stream of others */
                {5, 8, 64, false},   /* eight side by side */
                {2, 4, 64, false},   /* four */
                {1, 1, 0, false},    /* one, short */
                {9, SIZE_MAX, STRETCH, true},
                {2, 8, 64, true},
        };
        if (!chapoly_available())
                skip_because("this processor has no AVX2");
        size_t usual = aead_backend_chosen(), own = named("avx2");
        assert_true(aead_backend_works(own));
        for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
                fault.on = true;
                fault.from = ways[i].from;
                fault.to = ways[i].to;
                fault.least = ways[i].least;
                fault.open = ways[i].open;
                if (aead_backend_works(own))
                        fail_msg("fault %zu is not found", i);
                assert_true(aead_backend_works(named("libcrypto")));
                assert_int_equal(aead_init(), ERR_NONE);
                assert_int_equal(aead_backend_chosen(), usual == own ? named("libcrypto") : usual);
                fault.on = false;
        }
        assert_int_equal(aead_init(), ERR_NONE);
        assert_int_equal(aead_backend_chosen(), usual);
}

static int setup(void **state)
{
        (void)state;
        return crypto_init() == ERR_NONE ? 0 : -1;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_fault_in_any_way_is_found),
        };
        return cmocka_run_group_tests(tests, setup, NULL);
}
