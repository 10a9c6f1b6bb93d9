/* Who hears what on the bus, over the LocalAPI. */
#include "tests/unit/daemon_client.h"

struct watcher {
        int fd;
        struct answer a;
};

static void watch(struct watcher *x, const char *mask)
{
        char what[64];
        memset(&x->a, 0, sizeof(x->a));
        snprintf(what, sizeof(what), "watch-ipn-bus?mask=%s", mask);
        x->fd = say("GET", what, "");
        hear(x->fd, &x->a, 20);
        assert_int_equal(x->a.status, 200);   /* the headers come at once */
}

/* Did an event with that member come?  Forgets what came. */
static bool heard(struct watcher *x, const char *member)
{
        hear(x->fd, &x->a, 20);
        bool found = false;
        for (char *line = (char *)(uintptr_t)x->a.body, *nl; (nl = strchr(line, '\n')) != NULL; line = nl + 1) {
                json_t *j = json_parse(line, (size_t)(nl - line));
                if (!json_is_object(j)) {   /* the size of a chunk */
                        json_decref(j);
                        continue;
                }
                assert_true(json_has(j, "Version") && json_object_get(j, "ErrMessage") != NULL && json_object_get(j, "Prefs") != NULL);
                found |= json_has(j, member);
                json_decref(j);
        }
        memcpy(x->a.text, "HTTP/1.1 200\r\n\r\n", 17);
        return found;
}

static void each_watcher_hears_what_it_asked_for(void **state)
{
        (void)state;
        static struct watcher none, initial, engine, no_map, peers, status;
        run_node();
        watch(&none, "0");
        assert_string_equal(none.a.body, "");
        watch(&initial, "14");
        watch(&engine, "1");
        watch(&no_map, "8192");
        watch(&peers, "4096");
        watch(&status, "16384");
        assert_non_null(strstr(initial.a.body, "\"SessionID\":\""));
        assert_non_null(strstr(initial.a.body, "\"State\":6"));
        assert_non_null(strstr(initial.a.body, "\"SelfNode\""));
        assert_non_null(strstr(initial.a.body, "\"ControlURL\":\"http://h\""));
        assert_null(strstr(initial.a.body, "07070707"));
        assert_non_null(strstr(status.a.body, "\"InitialStatus\":{\"Version\":\"1.2.3\""));
        struct watcher *all[] = {&none, &initial, &engine, &no_map, &peers, &status};
        for (size_t i = 0; i < 6; i++)
                (void)heard(all[i], "");
        static const struct {
                const char *event;
                bool hears[6];   /* in the order of all[] */
        } rows[] = {
                {"State", {true, true, true, true, true, true}},
                {"Prefs", {true, true, true, true, true, true}},
                {"ErrMessage", {true, true, true, true, true, true}},
                {"NetMap", {true, true, true, false, true, true}},
                {"Engine", {false, false, true, false, false, false}},
                {"PeersChanged", {false, false, false, false, true, false}},
                {"PeersRemoved", {false, false, false, false, true, false}},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                notify_post(w.notify, rows[i].event, json_string("x"));
                assert_true(notify_wanted(w.notify, rows[i].event));
                for (size_t k = 0; k < 6; k++)
                        if (heard(all[k], rows[i].event) != rows[i].hears[k])
                                fail_msg("%s, watcher %zu", rows[i].event, k);
        }
        /* Real events, in order: down is State, then Prefs. */
        expect("PATCH", "prefs", "{\"WantRunningSet\":true}", 200, "");
        hear(none.fd, &none.a, 20);
        const char *st = strstr(none.a.body, "\"State\":4"), *pr = strstr(none.a.body, "\"WantRunning\":false");
        assert_true(st != NULL && pr != NULL && st < pr);
        close(peers.fd);
        close(engine.fd);
        for (int i = 0; i < 20; i++)
                loop_once(w.loop, 1);
        assert_false(notify_wanted(w.notify, "PeersChanged") || notify_wanted(w.notify, "Engine"));
        assert_true(notify_wanted(w.notify, "State"));
        close(none.fd);
        close(initial.fd);
        close(no_map.fd);
        close(status.fd);
        for (int i = 0; i < 20; i++)
                loop_once(w.loop, 1);
        assert_false(notify_wanted(w.notify, "State"));
}

static void masks(void **state)
{
        (void)state;
        static const struct {
                uint64_t mask;
                bool ok;
        } rows[] = {{0, true}, {4095, true}, {256, true}, {65536, false}, {256 | 4096, false}, {256 | 8192, false},
                {256 | 16384, false}, {256 | 32768, false}, {4096 | 8192 | 16384 | 32768, true}, {1ull << 40, true}};
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                assert_int_equal(notify_mask_ok(rows[i].mask), rows[i].ok);
}

int main(void)
{
        if (crypto_init() != ERR_NONE)
                return 1;
        const struct CMUnitTest tests[] = {
                TEST(each_watcher_hears_what_it_asked_for), cmocka_unit_test(masks),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
