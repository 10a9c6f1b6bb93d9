/* Echo requests by a program: every one is heard of, however many end at once.  The program is another one here, which
 * answers at once. */
#include "daemon/pingprog.c"

#include <time.h>

#include "tests/unit/check.h"

static struct {
        struct loop *loop;
        struct pingprog *p;
        unsigned answered, numbers;
} t;

static void on_answered(void *arg, uint16_t number)
{
        assert_ptr_equal(arg, &t);
        t.answered++;
        t.numbers |= 1U << number;
}

static int set_up(void **state)
{
        (void)state;
        memset(&t, 0, sizeof(t));
        t.loop = loop_new();
        t.p = pingprog_new(t.loop, on_answered, &t);
        assert_non_null(t.p);
        (void)str_copy(t.p->path, sizeof(t.p->path), "/bin/true");
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        pingprog_free(t.p);
        loop_free(t.loop);
        return 0;
}

static void answers(unsigned n)
{
        for (mono_t end = mono_add_ms(mono_now(), 20000); t.answered < n && mono_now().ns < end.ns;)
                loop_once(t.loop, 50);
        assert_int_equal(t.answered, n);
}

/* While this thread is busy they end, more of them than the socket has room for. */
static void all_end_at_once(void **state)
{
        (void)state;
        int little = 1;
        assert_int_equal(setsockopt(t.p->fd[1], SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)), 0);
        for (uint16_t i = 0; i < PINGPROG_MAX; i++)
                pingprog_ask(t.p, i, ip_v4(127, 0, 0, 1));
        pingprog_ask(t.p, PINGPROG_MAX, ip_v4(127, 0, 0, 1));   /* one too many */
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
        answers(PINGPROG_MAX);
        assert_int_equal(t.numbers, (1U << PINGPROG_MAX) - 1);
        pingprog_ask(t.p, PINGPROG_MAX, ip_v4(127, 0, 0, 1));
        answers(PINGPROG_MAX + 1);
}

static void silence_is_no_answer(void **state)
{
        (void)state;
        (void)str_copy(t.p->path, sizeof(t.p->path), "/bin/false");
        pingprog_ask(t.p, 1, ip_v4(127, 0, 0, 1));
        for (mono_t end = mono_add_ms(mono_now(), 20000); t.p->running > 0 && mono_now().ns < end.ns;)
                loop_once(t.loop, 50);
        assert_int_equal(t.p->running, 0);
        assert_int_equal(t.answered, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(all_end_at_once, set_up, tear_down),
                cmocka_unit_test_setup_teardown(silence_is_no_answer, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
