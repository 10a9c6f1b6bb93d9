/* Who keeps most, against looking at everybody. */
#include "wg/staged.h"

#include "tests/unit/check.h"
#include "wg/engine.h"

enum { PEERS = 7, ROUNDS = 20000, PACKETS = PEERS * WG_STAGED_MAX + 1 };

static struct wg_peer peers[PEERS];
static uint32_t seed = 7;

static uint32_t draw(uint32_t n)
{
        seed = seed * 1664525u + 1013904223u;
        return (seed >> 8) % n;
}

static void check_fullest(const struct staged *s)
{
        size_t most = 0, total = 0;
        for (size_t i = 0; i < PEERS; i++) {
                most = peers[i].staged.count > most ? peers[i].staged.count : most;
                total += peers[i].staged.count;
        }
        const struct wg_peer *p = staged_fullest(s);
        assert_int_equal(s->total, total);
        assert_int_equal(p != NULL ? p->staged.count : 0, most);
}

static void test_fullest(void **state)
{
        (void)state;
        struct staged s = {0};
        struct pkt_pool *pool = pkt_pool_new(PACKETS);
        assert_non_null(pool);
        assert_null(staged_fullest(&s));
        assert_null(staged_pop(&s, &peers[0]));
        for (unsigned r = 0; r < ROUNDS; r++) {
                struct wg_peer *p = &peers[draw(PEERS)];
                bool grow = r % 2000 < 1500 ? draw(4) != 0 : draw(8) == 0;   /* fills up, and empties */
                if (grow && p->staged.count < WG_STAGED_MAX) {
                        staged_push(&s, p, pkt_get(pool));
                } else if (!grow) {
                        struct pkt *k = staged_pop(&s, p);
                        if (k != NULL)
                                pkt_release(pool, k);
                }
                check_fullest(&s);
        }
        for (size_t i = 0; i < PEERS; i++)
                for (struct pkt *k; (k = staged_pop(&s, &peers[i])) != NULL;) {
                        pkt_release(pool, k);
                        check_fullest(&s);
                }
        assert_null(staged_fullest(&s));
        assert_int_equal(pkt_pool_free_count(pool), PACKETS);
        pkt_pool_free(pool);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_fullest)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
