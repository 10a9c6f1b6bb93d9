/* --memory: which words there are, and that what they choose can be made. */
#include "tests/unit/check.h"

#include "daemon/dns/cache.h"
#include "daemon/sizes.h"

static void two_words(void **state)
{
        (void)state;
        static const char *const wrong[] = {"", "Small", "smal", "smaller", "large", "small ", "256"};
        assert_ptr_equal(sizes_by_word("normal"), &sizes_normal);
        assert_ptr_equal(sizes_by_word("small"), &sizes_small);
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
                assert_null(sizes_by_word(wrong[i]));
}

static void can_be_made(const struct sizes *s)
{
        assert_true(s->packets > 128);   /* what one peer may have waiting leaves some for the others */
        assert_int_equal(s->service_bytes & (s->service_bytes - 1), 0);
        assert_int_equal(s->stack_bytes & (s->stack_bytes - 1), 0);
        assert_int_equal(s->dns_answers % DNS_CACHE_WAYS, 0);
        assert_true(s->forwarded >= 2);   /* half of them for one source */
}

static void small_is_smaller_in_all(void **state)
{
        (void)state;
        const struct sizes *a = &sizes_small, *b = &sizes_normal;
        can_be_made(a);
        can_be_made(b);
        assert_true(a->packets < b->packets && a->socket_bytes < b->socket_bytes);
        assert_true(a->service_bytes < b->service_bytes && a->stack_bytes < b->stack_bytes);
        assert_true(a->dns_answers < b->dns_answers && a->forwarded < b->forwarded);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(two_words),
                cmocka_unit_test(small_is_smaller_in_all),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
