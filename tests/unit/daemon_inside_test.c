/* Sockets into the stack, where nothing comes of them. */
#include "daemon/inside.c"

#include "tests/unit/check.h"

static struct {
        struct loop *loop;
        struct inside *inside;
} t;

static int set_up(void **state)
{
        (void)state;
        t.loop = loop_new();
        t.inside = inside_new(t.loop, NULL);
        return t.loop != NULL && t.inside != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
        (void)state;
        inside_free(t.inside);
        loop_free(t.loop);
        return 0;
}

static int knock(const uint8_t name[DIALER_NAME_LEN])
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        memcpy(sa.sun_path + 1, name, DIALER_NAME_LEN);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int rc = connect(fd, (struct sockaddr *)&sa, offsetof(struct sockaddr_un, sun_path) + 1 + DIALER_NAME_LEN);
        int error = errno;
        close(fd);
        errno = error;
        return rc;
}

/* Who has asked for it could not connect after all, as where descriptors have run out: what was made for it goes again. */
static void nobody_comes(void **state)
{
        (void)state;
        uint8_t name[DIALER_NAME_LEN];
        assert_int_equal(inside_listen(t.inside, ip_v4(100, 64, 0, 1), (struct addr){ip_v4(100, 64, 0, 2), 80}, name), 0);
        assert_int_equal(t.inside->count, 1);
        struct timer *patience = &t.inside->pipes->patience;
        assert_true(timer_is_armed(patience));
        assert_in_range(mono_diff_ms(patience->at, loop_now(t.loop)), 1000, 60000);
        loop_timer_stop(patience);
        patience->on_expire(patience, loop_now(t.loop));
        assert_int_equal(t.inside->count, 0);
        assert_int_equal(knock(name), -1);
        assert_int_equal(errno, ECONNREFUSED);
}

/* One connection is all it takes.  There is no stack here, so that it leads nowhere. */
static void somebody_comes(void **state)
{
        (void)state;
        uint8_t name[DIALER_NAME_LEN];
        assert_int_equal(inside_listen(t.inside, ip_v4(100, 64, 0, 1), (struct addr){ip_v4(100, 64, 0, 2), 80}, name), 0);
        assert_int_equal(knock(name), 0);
        loop_once(t.loop, 5000);
        assert_int_equal(t.inside->count, 0);
        assert_int_equal(knock(name), -1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(nobody_comes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(somebody_comes, set_up, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
