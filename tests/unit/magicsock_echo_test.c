/* Echo requests to the loopback, which the kernel answers.  Without a right to ask there is nothing to see. */
#include "magicsock/echo.h"

#include <stdlib.h>

#include "tests/unit/check.h"

static struct {
        struct loop *loop;
        struct echo *e;
        unsigned answers;
        uint32_t ids[2 * ECHO_WAITING];
        bool forget;
} t;

static void on_answered(void *arg, uint32_t id, int64_t rtt_ns, mono_t now)
{
        (void)now;
        assert_ptr_equal(arg, &t);
        assert_true(rtt_ns > 0 && rtt_ns < 60 * NS_PER_SEC);
        assert_true(t.answers < 2 * ECHO_WAITING);
        t.ids[t.answers++] = id;
        if (t.forget)
                echo_forget(t.e);
}

static int set_up(void **state)
{
        (void)state;
        memset(&t, 0, sizeof(t));
        t.loop = loop_new();
        t.e = echo_new(t.loop, 0, on_answered, &t);
        return t.e != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
        (void)state;
        echo_free(t.e);
        loop_free(t.loop);
        return 0;
}

static void run(unsigned answers, int ms)
{
        mono_t end = mono_add_ms(mono_now(), ms);
        while (t.answers < answers && !mono_reached(mono_now(), end))
                loop_once(t.loop, 10);
}

static bool ask(uint32_t id, uint8_t host)
{
        return echo_ask(t.e, id, ip_v4(127, 0, 0, host), "relay1a", loop_now(t.loop));
}

static void test_answers(void **state)
{
        (void)state;
        if (!ask(100, 1))
                skip();
        for (uint32_t i = 1; i < ECHO_WAITING; i++)
                assert_true(ask(100 + i, (uint8_t)(1 + i)));
        assert_false(ask(1, 1));   /* that many are waited for */
        run(ECHO_WAITING, 10000);
        assert_int_equal(t.answers, ECHO_WAITING);
        bool seen[ECHO_WAITING] = {false};
        for (unsigned i = 0; i < t.answers; i++)
                seen[t.ids[i] - 100] = true;
        for (unsigned i = 0; i < ECHO_WAITING; i++)
                assert_true(seen[i]);
        assert_true(ask(7, 1));    /* there is room again */
        run(ECHO_WAITING + 1, 10000);
        assert_int_equal(t.ids[ECHO_WAITING], 7);
}

/* Each answer is told once, and none of what was asked before; also when that happens while answers are read. */
static void test_forgotten(void **state)
{
        (void)state;
        if (!ask(1, 1))
                skip();
        echo_forget(t.e);
        run(1, 100);
        assert_int_equal(t.answers, 0);
        t.forget = true;
        assert_true(ask(2, 1) && ask(3, 2) && ask(4, 3));
        run(2, 200);
        assert_int_equal(t.answers, 1);
        assert_true(ask(5, 1));
        run(2, 10000);
        assert_int_equal(t.answers, 2);
        assert_int_equal(t.ids[1], 5);
}

static void test_nobody_there(void **state)
{
        (void)state;
        if (!ask(1, 1))
                skip();
        assert_false(echo_ask(t.e, 2, ip_v4(255, 255, 255, 255), "x", loop_now(t.loop)));   /* broadcast needs another right */
        run(1, 10000);
        assert_int_equal(t.answers, 1);
}

static void test_parse(void **state)
{
        (void)state;
        const uint8_t plain[] = {0, 0, 0xff, 0xff, 0x12, 0x34, 0x00, 0x07, 'r', '1'};
        uint8_t headed[24 + sizeof(plain)] = {0x46};   /* a header with an option */
        struct echo_reply r;
        memcpy(headed + 24, plain, sizeof(plain));
        assert_int_equal(echo_parse(plain, sizeof(plain), false, &r), ERR_NONE);
        assert_true(r.ident == 0x1234 && r.seq == 7 && r.word_len == 2 && memcmp(r.word, "r1", 2) == 0);
        assert_int_equal(echo_parse(headed, sizeof(headed), true, &r), ERR_NONE);
        assert_true(r.ident == 0x1234 && r.seq == 7 && r.word_len == 2 && memcmp(r.word, "r1", 2) == 0);
        for (size_t n = 0; n < sizeof(headed); n++) {
                bool is_whole = n >= 32;
                assert_int_equal(echo_parse(headed, n, true, &r), is_whole ? ERR_NONE : ERR_FORMAT);
                assert_true(!is_whole || r.word_len == n - 32);
        }
        headed[0] = 0x41;   /* shorter than any header */
        assert_int_equal(echo_parse(headed, sizeof(headed), true, &r), ERR_FORMAT);
        headed[0] = 0x4f;
        assert_int_equal(echo_parse(headed, sizeof(headed), true, &r), ERR_FORMAT);
        headed[0] = 0x46;
        headed[24] = 8;     /* a request */
        assert_int_equal(echo_parse(headed, sizeof(headed), true, &r), ERR_FORMAT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_answers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_forgotten, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_nobody_there, set_up, tear_down),
                cmocka_unit_test(test_parse),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
