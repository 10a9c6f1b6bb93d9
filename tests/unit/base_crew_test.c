/* Every piece is done once, by whoever; what was written before is seen by all, and what they wrote after it. */
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/crew.h"
#include "base/mono.h"
#include "tests/unit/check.h"

enum { PIECES = 130, HELPERS = 4, ROUNDS = 3000, PATIENCE_S = 20, MANY = 63 };

struct job {
        unsigned given;                /* written by the owner, not atomic */
        unsigned got[PIECES];          /* by the pieces, not atomic */
        unsigned times[PIECES];
        unsigned who_max;
        atomic_bool busy[HELPERS + 1];
        atomic_uint by_helpers;
        int64_t work_ns;
};

static void work(void *arg, unsigned who, size_t piece)
{
        struct job *j = arg;
        if (who > j->who_max)
                abort();
        if (atomic_exchange(&j->busy[who], true))
                abort();   /* this one is at another piece */
        j->got[piece] = j->given + (unsigned)piece;
        j->times[piece]++;
        mono_t until = mono_add_ns(mono_now(), j->work_ns);
        while (j->work_ns > 0 && !mono_reached(mono_now(), until))
                ;
        if (who > 0)
                atomic_fetch_add(&j->by_helpers, 1);
        atomic_store(&j->busy[who], false);
}

static void run_and_check(struct crew *c, struct job *j, unsigned pieces, unsigned round)
{
        j->given = round * 1000;
        crew_run(c, pieces, work, j);
        for (unsigned i = 0; i < pieces; i++) {
                assert_int_equal(j->got[i], round * 1000 + i);
                assert_int_equal(j->times[i], 1);
                j->times[i] = 0;
        }
        for (unsigned i = pieces; i < PIECES; i++)
                assert_int_equal(j->times[i], 0);
}

static void each_piece_once(void **state)
{
        (void)state;
        for (unsigned helpers = 0; helpers <= HELPERS; helpers++) {
                struct crew *c = crew_new(helpers);
                struct job j = {.who_max = helpers};
                assert_non_null(c);
                for (unsigned r = 0; r < ROUNDS; r++)
                        run_and_check(c, &j, r % PIECES, r);
                crew_free(c);
        }
}

/* Runs that come one after the other bring them, and so it is again after they had gone to sleep. */
static void helpers_come(void **state)
{
        (void)state;
        for (unsigned helpers = 1; helpers <= HELPERS; helpers++) {
                struct crew *c = crew_new(helpers);
                struct job j = {.who_max = helpers, .work_ns = 100 * NS_PER_US};
                for (int time = 0; time < 2; time++) {
                        unsigned before = atomic_load(&j.by_helpers);
                        mono_t until = mono_add_ns(mono_now(), PATIENCE_S * NS_PER_SEC);
                        while (atomic_load(&j.by_helpers) < before + 20) {
                                if (mono_reached(mono_now(), until))
                                        fail_msg("no helper came in %d s", PATIENCE_S);
                                crew_run(c, 8, work, &j);   /* and nothing between two */
                        }
                        usleep(5000);
                }
                crew_free(c);
        }
}

/* With long pauses nobody is woken.  A helper may be late in going to sleep, but not always. */
static void rare_work_is_done_alone(void **state)
{
        (void)state;
        struct crew *c = crew_new(2);
        unsigned helped = 1;
        for (int tries = 0; helped > 0 && tries < 50; tries++) {
                struct job j = {.who_max = 2, .work_ns = 100 * NS_PER_US};
                usleep(20000);
                for (unsigned r = 0; r < 20; r++) {
                        run_and_check(c, &j, 8, r);
                        usleep(200);
                }
                helped = atomic_load(&j.by_helpers);
        }
        assert_int_equal(helped, 0);
        crew_free(c);
}

/* Helpers that are kept from running with a piece in their hands, as on a busy host: the owner sleeps, not spins. */
static void all_on_one_processor(void **state)
{
        (void)state;
        cpu_set_t before, one;
        CPU_ZERO(&one);
        assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
        for (size_t i = 0; CPU_COUNT(&one) == 0; i++)
                if (CPU_ISSET(i, &before))
                        CPU_SET(i, &one);
        assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
        struct crew *c = crew_new(3);
        struct job j = {.who_max = 3, .work_ns = 20 * NS_PER_US};
        for (unsigned r = 0; r < 500; r++)
                run_and_check(c, &j, 8, r);
        crew_free(c);
        assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

static void started_and_stopped(void **state)
{
        (void)state;
        for (unsigned i = 0; i < 300; i++) {
                struct crew *c = crew_new(i % (HELPERS + 1));
                struct job j = {.who_max = HELPERS};
                assert_non_null(c);
                for (unsigned r = 0; r < i % 7; r++)
                        run_and_check(c, &j, 20, r);
                if (i % 10 == 0)
                        usleep(300);   /* asleep, or just about to be */
                crew_free(c);
        }
        struct crew *most = crew_new(MANY);
        assert_non_null(most);
        crew_free(most);
        crew_free(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_piece_once),
                cmocka_unit_test(helpers_come),
                cmocka_unit_test(rare_work_is_done_alone),
                cmocka_unit_test(all_on_one_processor),
                cmocka_unit_test(started_and_stopped),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
