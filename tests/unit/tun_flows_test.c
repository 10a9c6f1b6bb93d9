#include "tests/unit/check.h"

#include "tun/flows.h"

static struct flow flow(uint16_t i)
{
        return (struct flow){.proto = 17, .version = 4, .src_port = i, .dst_port = 53, .src = {10}, .dst = {11}};
}

static void remembers_and_forgets_the_oldest(void **state)
{
        (void)state;
        struct flows *f = flows_new(8);
        for (uint16_t i = 0; i < 8; i++) {
                struct flow x = flow(i);
                flows_add(f, &x);
        }
        struct flow first = flow(0), second = flow(1), ninth = flow(8);
        assert_true(flows_has(f, &first));   /* now the newest */
        flows_add(f, &ninth);
        assert_true(flows_has(f, &first));
        assert_true(flows_has(f, &ninth));
        assert_false(flows_has(f, &second));
        flows_free(f);
}

/* Against a plain list that does the same slowly. */
static void equals_a_slow_list(void **state)
{
        (void)state;
        enum { MAX = 16, KINDS = 40, STEPS = 20000 };
        uint16_t list[MAX];
        size_t count = 0;
        unsigned rnd = 1;
        struct flows *f = flows_new(MAX);
        for (int step = 0; step < STEPS; step++) {
                rnd = rnd * 1103515245u + 12345u;
                uint16_t k = (uint16_t)((rnd >> 16) % KINDS);
                bool add = (rnd >> 8) & 1;
                size_t at = 0;
                while (at < count && list[at] != k)
                        at++;
                bool known = at < count;
                struct flow x = flow(k);
                if (add)
                        flows_add(f, &x);
                else
                        assert_int_equal(flows_has(f, &x), known);
                if (known || add) {   /* to the front */
                        if (!known)
                                at = count < MAX ? count++ : MAX - 1;
                        memmove(list + 1, list, at * sizeof(*list));
                        list[0] = k;
                }
        }
        flows_free(f);
}

static void each_field_counts(void **state)
{
        (void)state;
        struct flows *f = flows_new(4);
        struct flow x = flow(1);
        flows_add(f, &x);
        uint8_t *b = (uint8_t *)&x;
        for (size_t i = 0; i < sizeof(x); i++) {
                b[i] ^= 1;
                assert_false(flows_has(f, &x));
                b[i] ^= 1;
        }
        assert_true(flows_has(f, &x));
        flows_free(f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(remembers_and_forgets_the_oldest),
                cmocka_unit_test(equals_a_slow_list),
                cmocka_unit_test(each_field_counts),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
