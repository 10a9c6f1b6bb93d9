/* The proxies' listener: a client that is answered while it still talks. */
#undef _FORTIFY_SOURCE   /* which makes an inline function of recv() */
#include "daemon/proxy/proxy.h"

#include <dlfcn.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/unit/check.h"

static bool endless;     /* whoever reads finds the socket full again, as with a client faster than we are */
static unsigned reads;

ssize_t recv(int fd, void *data, size_t n, int flags)
{
        ssize_t (*real)(int, void *, size_t, int);
        *(void **)&real = dlsym(RTLD_NEXT, "recv");
        if (!endless)
                return real(fd, data, n, flags);
        return ++reads < 100000 ? (ssize_t)n : -1;
}

static enum dialout_way way(void *arg, struct ip *dst, struct ip *ret_local, const char **ret_why)
{
        (void)arg;
        (void)dst;
        (void)ret_local;
        *ret_why = "not here";
        return DIALOUT_NOWHERE;
}

static const struct dialout_ops ops = {.way = way};

static void test_who_never_stops_talking(void **state)
{
        (void)state;
        static const char request[] = "GET / HTTP/1.1\r\n\r\nand so on";
        char got[512] = "";
        struct sockaddr_storage sa;
        struct addr at;
        struct loop *l = loop_new();
        struct dialout *d = dialout_new(l, &ops, NULL);
        struct proxy *p = proxy_new(l, d);
        assert_non_null(p);
        assert_int_equal(proxy_listen(p, (struct addr){ip_v4(127, 0, 0, 1), 0}, false, true, &at), ERR_NONE);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        socklen_t len = addr_to_sockaddr(at, &sa);
        assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
        assert_int_equal(write(fd, request, sizeof(request) - 1), sizeof(request) - 1);
        endless = true;
        for (int i = 0; i < 100 && reads == 0; i++)
                loop_once(l, 10);
        endless = false;
        assert_in_range(reads, 2, 1000);
        assert_true(recv(fd, got, sizeof(got) - 1, 0) > 0);
        assert_ptr_equal(strstr(got, "HTTP/1.1 400 "), got);
        close(fd);
        proxy_free(p);
        dialout_free(d);
        loop_free(l);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_who_never_stops_talking),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
