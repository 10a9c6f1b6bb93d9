/* The best exit node: who may be chosen, what decides, and what is no reason to change. */
#include "daemon/exitchoice.h"

#include "tests/unit/check.h"

enum { PEERS = 4 };

static struct prefix both[2];
static struct netmap_node at[PEERS];
static const struct netmap_node *choice(const struct netcheck_report *r, const char *previous)
{
        static struct netmap_node *peers[PEERS];
        for (size_t i = 0; i < PEERS; i++)
                peers[i] = &at[i];
        struct netmap nm = {.peers = peers, .peer_count = PEERS};
        return exit_choice(&nm, r, previous);
}

/* Nodes 1 to 4 at home in regions 1 to 4; all are exit nodes and online. */
static int everybody(void **state)
{
        static const char *const ids[PEERS] = {"a", "b", "c", "d"};
        (void)state;
        assert_int_equal(prefix_parse("0.0.0.0/0", &both[0]), ERR_NONE);
        assert_int_equal(prefix_parse("::/0", &both[1]), ERR_NONE);
        for (size_t i = 0; i < PEERS; i++)
                at[i] = (struct netmap_node){.id = (int64_t)i + 1, .stable_id = ids[i], .name = ids[i], .cap_map = "",
                        .home_derp = (int)i + 1, .online = NETMAP_YES, .allowed = both, .allowed_count = 2};
        return 0;
}

static struct netcheck_report report(const int *ms)
{
        struct netcheck_report r = {.latency_count = PEERS};
        for (int i = 0; i < PEERS; i++)
                r.latency[i] = (struct nc_latency){.region = i + 1, .any_ns = ms[i] * (int64_t)NS_PER_MS};
        return r;
}

static const char *name_of(const struct netmap_node *n)
{
        return n != NULL ? n->stable_id : "none";
}

static void who_may_be_chosen(void **state)
{
        (void)state;
        struct netcheck_report r = report((const int[]){10, 20, 30, 40});
        assert_string_equal(name_of(choice(&r, "")), "a");
        at[0].online = NETMAP_NO;
        assert_string_equal(name_of(choice(&r, "")), "b");
        assert_string_equal(name_of(choice(&r, "a")), "b");   /* also if it was the one before */
        at[1].expired = true;
        assert_string_equal(name_of(choice(&r, "")), "c");
        at[2].allowed_count = 1;                              /* one family is half an exit node */
        assert_string_equal(name_of(choice(&r, "")), "d");
        at[3].online = NETMAP_UNKNOWN;                        /* no word is no bad word */
        assert_string_equal(name_of(choice(&r, "")), "d");
        at[3].allowed_count = 0;
        assert_null(choice(&r, "d"));
}

/* Where the server names some, the others are not for everybody. */
static void those_that_the_server_names(void **state)
{
        (void)state;
        struct netcheck_report r = report((const int[]){10, 20, 30, 40});
        at[2].cap_map = "{\"suggest-exit-node\":null}";
        assert_string_equal(name_of(choice(&r, "")), "c");
        assert_string_equal(name_of(choice(&r, "a")), "c");
        at[2].online = NETMAP_NO;
        assert_null(choice(&r, "a"));
}

static void the_least_latency_decides(void **state)
{
        (void)state;
        struct netcheck_report r = report((const int[]){90, 0, 30, 31});
        assert_string_equal(name_of(choice(&r, "")), "c");
        at[2].home_derp = 4;                                  /* the same region: the older node */
        assert_string_equal(name_of(choice(&r, "")), "c");
        assert_string_equal(name_of(choice(&r, "d")), "d");   /* or the one there was */
        at[2].home_derp = at[3].home_derp = 0;
        assert_string_equal(name_of(choice(&r, "")), "a");
        at[0].online = NETMAP_NO;
        assert_string_equal(name_of(choice(&r, "")), "b");    /* not measured, but it has a relay */
        assert_string_equal(name_of(choice(NULL, "")), "b");
}

static void a_change_needs_a_reason(void **state)
{
        (void)state;
        static const struct {
                int ms[PEERS];
                const char *previous, *want;
        } rows[] = {
                {{50, 41, 90, 90}, "a", "a"},     /* 9 ms */
                {{50, 36, 90, 90}, "a", "a"},     /* 14 ms, but not a third */
                {{12, 4, 90, 90}, "a", "a"},      /* two thirds, but 8 ms */
                {{50, 30, 90, 90}, "a", "b"},
                {{50, 30, 90, 90}, "x", "b"},     /* it is no more */
                {{0, 30, 90, 90}, "a", "a"},      /* not measured this time */
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct netcheck_report r = report(rows[i].ms);
                assert_string_equal(name_of(choice(&r, rows[i].previous)), rows[i].want);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(who_may_be_chosen, everybody),
                cmocka_unit_test_setup(those_that_the_server_names, everybody),
                cmocka_unit_test_setup(the_least_latency_decides, everybody),
                cmocka_unit_test_setup(a_change_needs_a_reason, everybody),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
