/* The notification bus: who gets what, and what it costs. */
#include <dlfcn.h>

#include "daemon/notify.h"
#include "tests/unit/localapi_client.h"

enum { WATCHERS = 5 };

static struct notify *bus;
static uint64_t mask;
static struct lapi_source first;
static unsigned dumps;

char *json_dumps(const json_t *v, size_t flags)
{
        char *(*real)(const json_t *, size_t);
        *(void **)&real = dlsym(RTLD_NEXT, "json_dumps");
        dumps++;
        return real(v, flags);
}

static void watch(struct lapi_req *r)
{
        notify_watch(bus, r, mask, first);
}

static int watcher(uint64_t m)
{
        int fd = dial();
        mask = m;
        say(fd, "GET /localapi/v0/extra HTTP/1.1\r\n" HOST "\r\n");
        struct answer a = hear(fd, true);
        assert_int_equal(a.status, 200);
        forget(&a);
        return fd;
}

static bool hears(int fd, const char *what)
{
        char got[4096] = "";
        turn(20);
        return recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT) > 0 && strstr(got, what) != NULL;
}

/* Anybody may watch. */
static void test_an_event_is_written_once(void **state)
{
        (void)state;
        int fd[WATCHERS];
        t.extra = watch;
        bus = notify_new("1.2.3-test");
        assert_non_null(bus);
        for (size_t i = 0; i < WATCHERS; i++)
                fd[i] = watcher(i == 0 ? NOTIFY_NO_NETMAP : 0);
        dumps = 0;
        notify_post(bus, "NetMap", json_string("a map"));
        assert_int_equal(dumps, 1);
        for (size_t i = 0; i < WATCHERS; i++)
                assert_int_equal(hears(fd[i], "\"NetMap\":\"a map\""), i != 0);
        notify_post(bus, "Engine", json_string("figures"));   /* nobody asked for them */
        assert_int_equal(dumps, 1);
        notify_post(bus, "State", json_integer(6));
        assert_int_equal(dumps, 2);
        for (size_t i = 0; i < WATCHERS; i++) {
                assert_true(hears(fd[i], "\"State\":6"));
                close(fd[i]);
        }
        turn(20);
        assert_false(notify_wanted(bus, "State"));
        notify_free(bus);
}

static unsigned made;

static struct lapi_source make(void *arg)
{
        (void)arg;
        char text[16];
        snprintf(text, sizeof(text), "%u", made++);
        return lapi_source_text(strdup(text));
}

/* A map is megabytes: it is made for who reads, when they read, and of several only the last. */
static void test_a_map_is_made_when_it_is_read(void **state)
{
        (void)state;
        static const struct notify_maker state_maker = {.make = make, .is_state = true}, change_maker = {.make = make};
        t.extra = watch;
        bus = notify_new("1.2.3-test");
        assert_non_null(bus);
        int fd = watcher(0);
        made = 0;
        notify_post_source(bus, "PeersChanged", &change_maker);   /* nobody asked for it */
        assert_int_equal(made, 0);
        for (int i = 0; i < 3; i++)
                notify_post_source(bus, "NetMap", &state_maker);
        assert_int_equal(made, 1);
        assert_true(hears(fd, "\"Engine\":null,\"BrowseToURL\":null,\"DriveShares\":null,\"NetMap\":0}\n"));
        notify_post_source(bus, "NetMap", &state_maker);
        assert_true(hears(fd, "\"NetMap\":1}\n"));
        close(fd);
        turn(20);
        /* Changes are told each. */
        fd = watcher(NOTIFY_PEER_CHANGES);
        made = 0;
        for (int i = 0; i < 3; i++)
                notify_post_source(bus, "PeersChanged", &change_maker);
        assert_int_equal(made, 3);
        assert_true(hears(fd, "\"PeersChanged\":2}\n"));
        close(fd);
        turn(20);
        notify_free(bus);
}

static void test_first(void **state)
{
        (void)state;
        const struct notify_member large[] = {{"NetMap", lapi_source_text(strdup("[1]"))},
                {"Extra", lapi_source_text(strdup("[2]"))}};
        t.extra = watch;
        bus = notify_new("1.2.3-test");
        first = notify_message(notify_object(bus), large, 2);
        mask = 0;
        int fd = dial();
        say(fd, "GET /localapi/v0/extra HTTP/1.1\r\n" HOST "\r\n");
        assert_true(hears(fd, "\"DriveShares\":null,\"NetMap\":[1],\"Extra\":[2]}\n"));
        close(fd);
        turn(20);
        first = (struct lapi_source){0};
        notify_free(bus);
}

int main(void)
{
        quiet();
        const struct CMUnitTest tests[] = {
                CASE(test_an_event_is_written_once), CASE(test_a_map_is_made_when_it_is_read), CASE(test_first),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
