/* The trie against a list searched from end to end: with prefixes drawn from few bits, so that they nest,
 * collide and share branches. */
#include "base/trie.h"

#include "tests/unit/check.h"

enum { LIST_MAX = 400 };

struct entry {
        struct prefix p;
        uint32_t value;
};

static struct entry list[LIST_MAX];
static size_t list_len;
static uint64_t rng;

static uint32_t next_random(void)
{
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (uint32_t)(rng >> 16);
}

static struct ip random_ip(enum ip_family family)
{
        struct ip ip = {.family = (uint8_t)family};
        size_t n = family == IP_V4 ? 4 : 16;
        /* Mostly zero bytes with a few bits set: near relatives. */
        for (size_t i = 0; i < n; i++)
                if (next_random() % 3 == 0)
                        ip.b[i] = (uint8_t)(next_random() & 0xc1);
        return ip;
}

static struct prefix random_prefix(void)
{
        struct ip ip = random_ip(next_random() % 2 ? IP_V4 : IP_V6);
        return (struct prefix){.ip = ip, .bits = (uint8_t)(next_random() % (ip_bits(ip) + 1u))};
}

static struct entry *list_exact(struct prefix p)
{
        for (size_t i = 0; i < list_len; i++)
                if (prefix_eq(list[i].p, prefix_masked(p)))
                        return &list[i];
        return NULL;
}

static uint32_t list_find(struct ip ip)
{
        uint32_t best = TRIE_NONE;
        int best_bits = -1;
        for (size_t i = 0; i < list_len; i++)
                if (prefix_contains(list[i].p, ip) && list[i].p.bits > best_bits) {
                        best = list[i].value;
                        best_bits = list[i].p.bits;
                }
        return best;
}

static void step_set(struct trie *t)
{
        struct prefix p = random_prefix();
        uint32_t value = next_random() % 1000;
        struct entry *e = list_exact(p);
        if (e == NULL && list_len == LIST_MAX)
                return;
        if (e == NULL)
                e = &list[list_len++];
        *e = (struct entry){.p = prefix_masked(p), .value = value};
        assert_int_equal(trie_set(t, p, value), ERR_NONE);
}

static void step_remove(struct trie *t)
{
        struct prefix p = list_len > 0 && next_random() % 4 ? list[next_random() % list_len].p : random_prefix();
        struct entry *e = list_exact(p);
        assert_int_equal(trie_remove(t, p), e != NULL);
        if (e != NULL)
                *e = list[--list_len];
}

static void step_look(struct trie *t)
{
        struct ip ip = random_ip(next_random() % 2 ? IP_V4 : IP_V6);
        uint32_t want = list_find(ip);
        assert_int_equal(trie_find(t, ip), want);
        assert_int_equal(ip.family == IP_V4 ? trie_find4(t, ip.b) : trie_find16(t, ip.b), want);
        struct prefix p = random_prefix();
        struct entry *e = list_exact(p);
        assert_int_equal(trie_get(t, p), e != NULL ? e->value : TRIE_NONE);
        assert_int_equal(trie_count(t), list_len);
}

/* Grows, then shrinks to nothing: the second half removes more than it sets. */
static void test_against_a_list(void **state)
{
        (void)state;
        unsigned steps = check_rounds(20000);
        for (uint64_t seed = 1; seed <= 3; seed++) {
                rng = seed * UINT64_C(0x9e3779b97f4a7c15);
                list_len = 0;
                struct trie *t = trie_new();
                for (unsigned i = 0; i < steps; i++) {
                        if (next_random() % 10 < (i < steps / 2 ? 6u : 2u))
                                step_set(t);
                        else
                                step_remove(t);
                        step_look(t);
                }
                while (list_len > 0) {
                        assert_true(trie_remove(t, list[0].p));
                        list[0] = list[--list_len];
                        step_look(t);
                }
                assert_int_equal(trie_count(t), 0);
                trie_free(t);
        }
}

static struct prefix pfx(const char *s)
{
        struct prefix p;
        assert_int_equal(prefix_parse(s, &p), ERR_NONE);
        return p;
}

static uint32_t find_str(const struct trie *t, const char *s)
{
        struct ip ip;
        assert_int_equal(ip_parse(s, &ip), ERR_NONE);
        return trie_find(t, ip);
}

static void test_longest_wins(void **state)
{
        (void)state;
        struct trie *t = trie_new();
        assert_int_equal(find_str(t, "10.0.0.1"), TRIE_NONE);
        assert_int_equal(trie_set(t, pfx("0.0.0.0/0"), 1), ERR_NONE);
        assert_int_equal(trie_set(t, pfx("10.0.0.0/8"), 2), ERR_NONE);
        assert_int_equal(trie_set(t, pfx("10.1.2.3/16"), 3), ERR_NONE);   /* masked on the way in */
        assert_int_equal(trie_set(t, pfx("10.1.2.3"), 4), ERR_NONE);
        assert_int_equal(trie_set(t, pfx("::/0"), 5), ERR_NONE);
        assert_int_equal(find_str(t, "9.9.9.9"), 1);
        assert_int_equal(find_str(t, "10.2.0.1"), 2);
        assert_int_equal(find_str(t, "10.1.0.1"), 3);
        assert_int_equal(find_str(t, "10.1.2.3"), 4);
        assert_int_equal(find_str(t, "fd7a::1"), 5);
        assert_int_equal(trie_get(t, pfx("10.1.0.0/16")), 3);
        assert_int_equal(trie_get(t, pfx("10.1.0.0/15")), TRIE_NONE);
        assert_true(trie_remove(t, pfx("10.1.0.0/16")));
        assert_false(trie_remove(t, pfx("10.1.0.0/16")));
        assert_int_equal(find_str(t, "10.1.0.1"), 2);
        assert_int_equal(find_str(t, "10.1.2.3"), 4);
        assert_int_equal(trie_count(t), 4);
        trie_free(t);
        trie_free(NULL);
}

static void test_refuses_nonsense(void **state)
{
        (void)state;
        struct trie *t = trie_new();
        struct prefix long4 = {.ip = ip_v4(1, 2, 3, 4), .bits = 33}, none = {0};
        assert_int_equal(trie_set(t, long4, 1), ERR_FORMAT);
        assert_int_equal(trie_set(t, none, 1), ERR_FORMAT);
        assert_int_equal(trie_set(t, pfx("1.2.3.4/32"), TRIE_NONE), ERR_FORMAT);
        assert_false(trie_remove(t, long4));
        assert_false(trie_remove(t, none));
        assert_int_equal(trie_get(t, long4), TRIE_NONE);
        assert_int_equal(trie_find(t, (struct ip){0}), TRIE_NONE);
        assert_int_equal(trie_count(t), 0);
        trie_free(t);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_longest_wins),
                cmocka_unit_test(test_against_a_list),
                cmocka_unit_test(test_refuses_nonsense),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
