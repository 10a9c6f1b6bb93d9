/* With helpers the bytes are those without, in every backend, and what is wrong is found at its place. */
#include <stdlib.h>

#include "base/aead.h"
#include "base/crypto.h"
#include "tests/unit/check.h"

enum { PACKETS = 64, ROOM = 1500, HELPERS = 4, AGAIN = 8 };

static uint8_t plain[PACKETS][ROOM], alone[PACKETS][ROOM], shared[PACKETS][ROOM], sealed[PACKETS][ROOM];

static uint32_t below(uint32_t bound)
{
        return (uint32_t)crypto_random_below(bound);
}

/* Large ones, so that bursts of about twenty and more are shared; the last one is shorter, as that of a super-packet is. */
static void fill(struct aead_op *ops, size_t n, uint8_t dst[PACKETS][ROOM])
{
        for (size_t i = 0; i < n; i++)
                ops[i] = (struct aead_op){.counter = i << 33, .src = plain[i], .dst = dst[i],
                        .len = i + 1 < n ? 1280 + 16 * (n % 8) : 1 + 17 * n};
}

/* In place, where nothing may be done twice, and one after the other, so that helpers come. */
static void again_and_again(struct aead *a, struct aead_op *ops, size_t n, uint8_t from[PACKETS][ROOM],
        void (*work)(struct aead *a, struct aead_op *ops, size_t n))
{
        for (size_t i = 0; i < n; i++)
                ops[i].src = ops[i].dst = shared[i];
        for (int i = 0; i < AGAIN; i++) {
                memcpy(shared, from, n * ROOM);
                work(a, ops, n);
        }
}

static void seal_both_ways(struct aead *by_one, struct aead *by_all, size_t n)
{
        struct aead_op ops[PACKETS];
        fill(ops, n, alone);
        aead_seal_burst(by_one, ops, n);
        again_and_again(by_all, ops, n, plain, aead_seal_burst);
        for (size_t i = 0; i < n; i++) {
                assert_true(ops[i].ok);
                assert_memory_equal(shared[i], alone[i], ops[i].len + AEAD_TAG_LEN);
        }
}

static void open_shared(struct aead *by_all, size_t n)
{
        struct aead_op ops[PACKETS];
        bool spoilt[PACKETS] = {false};
        fill(ops, n, shared);
        memcpy(sealed, alone, sizeof(sealed));
        for (size_t i = 0; i < n; i++) {
                ops[i].len += AEAD_TAG_LEN;
                spoilt[i] = below(5) == 0;
                if (spoilt[i])
                        sealed[i][below((uint32_t)ops[i].len)] ^= (uint8_t)(1u << below(8));
        }
        again_and_again(by_all, ops, n, sealed, aead_open_burst);
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(ops[i].ok, !spoilt[i]);
                if (!spoilt[i])
                        assert_memory_equal(shared[i], plain[i], ops[i].len - AEAD_TAG_LEN);
        }
}

/* Two keys take turns, as two peers do. */
static void check_crew(unsigned helpers)
{
        struct aead_crew *crew = aead_crew_new(helpers);
        struct aead *by_one[2], *tx[2], *rx[2];
        assert_non_null(crew);
        for (size_t k = 0; k < 2; k++) {
                uint8_t key[AEAD_KEY_LEN];
                crypto_random(key, sizeof(key));
                by_one[k] = aead_new(key);
                tx[k] = aead_new(key);
                rx[k] = aead_new(key);
                aead_share(tx[k], crew);
                aead_share(rx[k], crew);
        }
        for (size_t n = 0; n <= PACKETS; n++) {
                seal_both_ways(by_one[n % 2], tx[n % 2], n);
                open_shared(rx[n % 2], n);
        }
        for (size_t k = 0; k < 2; k++) {
                aead_free(by_one[k]);
                aead_free(tx[k]);
                aead_free(rx[k]);
        }
        aead_crew_free(crew);
}

static void same_bytes(void **state)
{
        (void)state;
        size_t before = aead_backend_chosen();
        for (size_t i = 0; i < PACKETS; i++)
                crypto_random(plain[i], ROOM);
        for (size_t b = 0; b < aead_backend_count(); b++) {
                if (!aead_backend_works(b)) {
                        print_message("%s: not on this processor\n", aead_backend_name(b));
                        continue;
                }
                aead_backend_choose(b);
                for (unsigned helpers = 0; helpers <= HELPERS; helpers += check_is_valgrind() ? HELPERS : 1)
                        check_crew(helpers);
        }
        aead_backend_choose(before);
        aead_crew_free(NULL);
}

static int setup(void **state)
{
        (void)state;
        return crypto_init() == ERR_NONE ? 0 : -1;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(same_bytes),
        };
        return cmocka_run_group_tests(tests, setup, NULL);
}
