#include "daemon/netstack/relay.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/check.h"

static struct {
        struct loop *loop;
        int a, b;                  /* the far ends of both */
        struct relay *relay;
        int over;
} t;

static void on_over(void *arg)
{
        (void)arg;
        t.over++;
        t.relay = NULL;
}

static void start(const void *early, size_t len)
{
        int a[2], b[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b), 0);
        t.a = a[1];
        t.b = b[1];
        t.relay = relay_new(t.loop, (struct relay_end){.fd = a[0]}, (struct relay_end){.fd = b[0]}, early, len, on_over, NULL);
        assert_non_null(t.relay);
        assert_int_equal(t.over, 0);
}

static int setup(void **state)
{
        (void)state;
        memset(&t, 0, sizeof(t));
        t.a = t.b = -1;
        return (t.loop = loop_new()) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
        (void)state;
        relay_free(t.relay);
        if (t.a >= 0)
                close(t.a);
        if (t.b >= 0)
                close(t.b);
        loop_free(t.loop);
        return 0;
}

static void rounds(int n)
{
        while (n-- > 0)
                loop_once(t.loop, 1);
}

static size_t read_all(int fd, char *out, size_t cap)
{
        size_t got = 0;
        for (int i = 0; i < 50 && got < cap; i++) {
                ssize_t n = read(fd, out + got, cap - got);
                if (n == 0)
                        break;
                if (n > 0)
                        got += (size_t)n;
                rounds(1);
        }
        return got;
}

static bool at_end(int fd)
{
        char c;
        rounds(5);
        return read(fd, &c, 1) == 0;
}

static void each_direction_ends_by_itself(void **state)
{
        (void)state;
        char out[64];
        start("early ", 6);
        assert_int_equal(write(t.a, "late", 4), 4);
        assert_int_equal(shutdown(t.a, SHUT_WR), 0);
        assert_int_equal(read_all(t.b, out, sizeof(out)), 10);
        assert_memory_equal(out, "early late", 10);
        assert_true(at_end(t.b));
        assert_int_equal(t.over, 0);
        assert_int_equal(write(t.b, "answer", 6), 6);
        rounds(5);
        assert_int_equal(read_all(t.a, out, 6), 6);
        assert_memory_equal(out, "answer", 6);
        assert_int_equal(shutdown(t.b, SHUT_WR), 0);
        assert_true(at_end(t.a));
        assert_int_equal(t.over, 1);
}

/* What waits is bounded by the sockets' buffers and a piece, and all of it comes. */
static void who_does_not_read_is_waited_for(void **state)
{
        (void)state;
        enum { SIZE = 4 << 20 };
        char *in = malloc(SIZE), *out = malloc(SIZE);
        size_t sent = 0, got = 0;
        assert_true(in != NULL && out != NULL);
        for (size_t i = 0; i < SIZE; i++)
                in[i] = (char)(i * 7 + (i >> 9));
        start(NULL, 0);
        for (int i = 0; i < 200; i++) {
                ssize_t n = write(t.a, in + sent, SIZE - sent);
                sent += n > 0 ? (size_t)n : 0;
                rounds(1);
        }
        assert_true(sent < SIZE / 2);
        while (got < SIZE) {
                ssize_t n = sent < SIZE ? write(t.a, in + sent, SIZE - sent) : 0;
                sent += n > 0 ? (size_t)n : 0;
                rounds(1);
                n = read(t.b, out + got, SIZE - got);
                got += n > 0 ? (size_t)n : 0;
        }
        assert_memory_equal(in, out, SIZE);
        free(in);
        free(out);
}

static void an_end_that_breaks_breaks_both(void **state)
{
        (void)state;
        start(NULL, 0);
        rounds(2);
        close(t.b);
        t.b = -1;
        assert_int_equal(write(t.a, "x", 1), 1);
        rounds(5);
        assert_int_equal(write(t.a, "x", 1) > 0 ? 0 : errno, t.over ? EPIPE : 0);
        rounds(5);
        assert_int_equal(t.over, 1);
        assert_true(at_end(t.a));
}

static bool three_bytes(void *arg, const uint8_t *data, size_t *n)
{
        size_t *left = arg;
        (void)data;
        *n = *n < *left ? *n : *left;
        *left -= *n;
        return *left == 0;
}

/* The rest is neither passed on nor is an end. */
static void a_limit(void **state)
{
        (void)state;
        size_t left = 3;
        char out[64];
        start(NULL, 0);
        relay_limit(t.relay, three_bytes, &left);
        assert_int_equal(write(t.a, "bodynext", 8), 8);
        rounds(5);
        assert_int_equal(read_all(t.b, out, sizeof(out)), 3);
        assert_int_equal(read(t.b, out, 1), -1);
        assert_int_equal(errno, EAGAIN);
        assert_int_equal(write(t.b, "answer", 6), 6);
        rounds(5);
        assert_int_equal(read_all(t.a, out, 6), 6);
        close(t.b);
        t.b = -1;
        rounds(5);
        assert_int_equal(t.over, 1);
}

static void hung_up_on_both(void **state)
{
        (void)state;
        start("x", 1);
        relay_free(t.relay);
        t.relay = NULL;
        assert_true(at_end(t.a));
        assert_true(at_end(t.b));
        assert_int_equal(t.over, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(each_direction_ends_by_itself), TEST(who_does_not_read_is_waited_for),
                TEST(an_end_that_breaks_breaks_both), TEST(a_limit), TEST(hung_up_on_both),
        };
        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
