/* Recorded lives of three nodes: what the official client showed, their ends, and every truncation. */
#include "tests/unit/control_maplife.h"

/* Every member of want that we keep must be there and equal. */
static void assert_node(const struct netmap_node *n, json_t *want)
{
        static const char *const SKIPPED[] = {"ComputedName", "ComputedNameWithHost", "Hostinfo"};
        assert_non_null(n);
        json_t *copy = json_copy(want);
        json_t *got = netmap_node_to_json(n);
        for (size_t i = 0; i < sizeof(SKIPPED) / sizeof(SKIPPED[0]); i++)
                (void)json_object_del(copy, SKIPPED[i]);
        (void)json_object_del(got, "Hostinfo");
        if (!json_equal(copy, got)) {
                char *a = json_dumps(copy, JSON_SORT_KEYS);
                char *b = json_dumps(got, JSON_SORT_KEYS);
                print_message("want %s\ngot  %s\n", a, b);
                free(a);
                free(b);
        }
        assert_true(json_equal(copy, got));
        const json_t *host = json_object_get(want, "Hostinfo");
        assert_string_equal(n->hostname, json_str(host, "Hostname", ""));
        assert_string_equal(n->os, json_str(host, "OS", ""));
        json_decref(copy);
        json_decref(got);
}

/* What the official client showed when it had been sent the first 22 messages. */
static void test_recorded_netmap(void **state)
{
        (void)state;
        size_t len;
        char *text = read_fixture("", "node1-netmap.json", &len);
        json_t *want = json_parse(text, len);
        assert_non_null(want);
        struct mapsession *s = play("node1", 22);
        const struct netmap *m = mapsession_map(s);
        size_t i;
        json_t *v;
        assert_node(m->self, json_object_get(want, "SelfNode"));
        assert_int_equal(m->peer_count, json_array_size(json_object_get(want, "Peers")));
        json_array_foreach(json_object_get(want, "Peers"), i, v)
        {
                assert_node(netmap_peer(m, json_int(v, "ID", 0)), v);
        }
        assert_true(json_equal(m->packet_filter, json_object_get(want, "PacketFilterRules")));
        assert_true(json_equal(m->dns, json_object_get(want, "DNS")));
        assert_true(json_equal(m->ssh_policy, json_object_get(want, "SSHPolicy")));
        assert_string_equal(m->domain, json_str(want, "Domain", ""));
        assert_string_equal(m->magic_dns_suffix, "mesh.example");
        json_t *relays = derpmap_to_json(m->derpmap);
        assert_non_null(json_object_get(json_object_get(relays, "Regions"), "901"));
        json_decref(relays);
        const char *id;
        json_object_foreach(json_object_get(want, "UserProfiles"), id, v)
        {
                const struct netmap_user *u = netmap_user(m, strtoll(id, NULL, 10));
                assert_non_null(u);
                assert_string_equal(u->login_name, json_str(v, "LoginName", ""));
                assert_string_equal(u->display_name, json_str(v, "DisplayName", ""));
        }
        assert_int_equal(m->user_count, 2);
        mapsession_free(s);
        json_decref(want);
        free(text);
}

static void test_recorded_rules(void **state)
{
        (void)state;
        struct mapsession *s = play("node1", 22);
        const struct netmap *m = mapsession_map(s);
        assert_int_equal(m->rule_count, 2);
        assert_int_equal(m->rules[0]->src_count, 4);
        assert_int_equal(m->rules[0]->dst_count, 6); /* three ports, "*" twice each */
        assert_int_equal(m->rules[0]->proto_count, 4);
        assert_int_equal(m->rules[1]->proto_count, 1);
        assert_int_equal(m->rules[1]->protos[0], 1);
        char text[IP_STR_MAX];
        assert_string_equal(ip_str(m->rules[0]->srcs[0].first, text), "100.64.0.0");
        assert_string_equal(ip_str(m->rules[0]->srcs[0].last, text), "100.115.91.255");
        assert_string_equal(ip_str(m->rules[0]->srcs[2].last, text),
                            "fd7a:115c:a1e0:ffff:ffff:ffff:ffff:ffff");
        assert_string_equal(ip_str(m->rules[0]->srcs[3].last, text), "10.33.255.255");
        assert_int_equal(m->rules[0]->dsts[0].port_first, 22);
        assert_int_equal(m->rules[0]->dsts[5].port_last, 443);
        mapsession_free(s);
}

/* How each of the three lives ended. */
static void test_recorded_ends(void **state)
{
        (void)state;
        struct mapsession *s = play("node1", 0);
        const struct netmap *m = mapsession_map(s);
        assert_int_equal(m->peer_count, 1); /* beta was renamed, expired and deleted */
        assert_null(netmap_peer(m, 2));
        assert_string_equal(netmap_peer(m, 3)->name, "gamma.mesh.example.");
        assert_true(mapsession_self_expired(s, RECORDED_NS + 60 * NS_PER_SEC));
        mapsession_free(s);

        s = play("node2", 0);
        m = mapsession_map(s);
        assert_int_equal(m->peer_count, 2);
        assert_true(mapsession_self_expired(s, RECORDED_NS + 60 * NS_PER_SEC));
        mapsession_free(s);

        s = play("node3", 0);
        m = mapsession_map(s);
        assert_int_equal(m->peer_count, 1);
        assert_true(netmap_peer(m, 1)->expired);
        assert_int_equal(netmap_peer(m, 1)->endpoint_count, 2); /* the clock stands before the expiry */
        mapsession_free(s);
}

/* The same message again is no news at all. */
static void test_recorded_again(void **state)
{
        (void)state;
        char names[64][64];
        size_t count = list_life("node1", names);
        struct mapsession *s = mapsession_new();
        for (size_t i = 0; i < count; i++) {
                struct map_news news;
                size_t len;
                char *text = read_fixture("node1", names[i], &len);
                assert_int_equal(mapsession_apply(s, text, len, RECORDED_NS, &news), ERR_NONE);
                uint64_t generation = mapsession_map(s)->generation;
                assert_int_equal(mapsession_apply(s, text, len, RECORDED_NS, &news), ERR_NONE);
                assert_int_equal(news.delta.peer_count, 0);
                assert_int_equal(news.delta.parts, 0);
                assert_int_equal(mapsession_map(s)->generation, generation);
                free(text);
        }
        mapsession_free(s);
}

/* No shorter text is taken for a message, and none of them changes the map. */
static void test_truncations(void **state)
{
        (void)state;
        static const char *const LIVES[] = {"node1", "node2", "node3"};
        size_t step = check_is_valgrind() ? 7 : 1; /* a minute there */
        for (size_t l = 0; l < 3; l++) {
                char names[64][64];
                size_t count = list_life(LIVES[l], names);
                for (size_t i = 0; i < count; i++) {
                        struct map_news news;
                        size_t len;
                        char *text = read_fixture(LIVES[l], names[i], &len);
                        struct mapsession *s = mapsession_new();
                        while (len > 0 && text[len - 1] == '\n')
                                len--;
                        for (size_t n = 0; n < len; n += step)
                                assert_int_equal(mapsession_apply(s, text, n, RECORDED_NS, &news),
                                                 ERR_FORMAT);
                        assert_null(mapsession_map(s)->self);
                        mapsession_free(s);
                        free(text);
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_recorded_netmap),
                cmocka_unit_test(test_recorded_rules),
                cmocka_unit_test(test_recorded_ends),
                cmocka_unit_test(test_recorded_again),
                cmocka_unit_test(test_truncations),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
