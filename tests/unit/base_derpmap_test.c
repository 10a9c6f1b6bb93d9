#include "base/derpmap.h"

#include "base/json.h"
#include "tests/unit/fixture.h"

static struct derpmap *parse(const char *text)
{
        json_t *obj = json_parse(text, strlen(text));
        struct derpmap *m = NULL;
        assert_non_null(obj);
        assert_int_equal(derpmap_from_json(obj, &m), ERR_NONE);
        json_decref(obj);
        return m;
}

static void check_json(const struct derpmap *m, const char *want)
{
        json_t *out = derpmap_to_json(m);
        char *text = json_dumps(out, JSON_COMPACT);
        assert_string_equal(text, want);
        free(text);
        json_decref(out);
}

static const char full[] =
        "{\"HomeParams\":{\"RegionScore\":{\"2\":0.5,\"10\":-1,\"77\":3}},\"Regions\":{"
        "\"10\":{\"RegionID\":10,\"RegionCode\":\"ten\",\"RegionName\":\"Ten\",\"Avoid\":true,\"Nodes\":["
        "{\"Name\":\"10a\",\"RegionID\":10,\"HostName\":\"a.example\",\"CertName\":\"sha256-raw:ab\",\"IPv4\":\"192.0.2.1\","
        "\"IPv6\":\"none\",\"STUNPort\":-1,\"STUNOnly\":true,\"DERPPort\":8443,\"InsecureForTests\":true,"
        "\"STUNTestIP\":\"192.0.2.9\",\"CanPort80\":true},"
        "{\"Name\":\"10b\",\"HostName\":\"b.example\",\"STUNPort\":3479}]},"
        "\"2\":{\"RegionID\":2,\"RegionCode\":\"two\",\"RegionName\":\"Two\",\"NoMeasureNoHome\":true,\"Nodes\":[]},"
        "\"3\":null}}";

static void test_fields(void **state)
{
        (void)state;
        struct derpmap *m = parse(full);
        assert_int_equal(m->region_count, 2);
        assert_int_equal(m->regions[0].id, 2);   /* by number, not by text */
        assert_int_equal(m->regions[1].id, 10);
        const struct derp_region *two = derpmap_region(m, 2);
        assert_string_equal(two->code, "two");
        assert_true(two->no_measure_no_home && !two->avoid);
        assert_int_equal(two->node_count, 0);
        assert_true(two->score > 0.49 && two->score < 0.51);
        const struct derp_region *ten = derpmap_region(m, 10);
        assert_true(ten->avoid && !ten->no_measure_no_home);
        assert_true(ten->score > 0.99 && ten->score < 1.01);   /* not above zero: not applied */
        assert_int_equal(ten->node_count, 2);
        const struct derp_node *a = &ten->nodes[0];
        assert_string_equal(a->name, "10a");
        assert_string_equal(a->hostname, "a.example");
        assert_string_equal(a->cert_name, "sha256-raw:ab");
        assert_string_equal(a->ipv4, "192.0.2.1");
        assert_string_equal(a->ipv6, "none");
        assert_string_equal(a->stun_test_ip, "192.0.2.9");
        assert_int_equal(a->stun_port, 0);
        assert_int_equal(a->derp_port, 8443);
        assert_true(a->stun_only && a->insecure && a->can_port80);
        const struct derp_node *b = &ten->nodes[1];
        assert_int_equal(b->stun_port, 3479);
        assert_int_equal(b->derp_port, 443);
        assert_false(b->stun_only || b->insecure || b->can_port80);
        assert_null(derpmap_region(m, 3));
        assert_null(derpmap_region(m, 0));
        assert_null(derpmap_region(NULL, 2));
        derpmap_free(m);
        derpmap_free(NULL);
}

static void test_back_to_json(void **state)
{
        (void)state;
        struct derpmap *m = parse(full);
        check_json(m,
                "{\"HomeParams\":{\"RegionScore\":{\"2\":0.5}},\"Regions\":{"
                "\"2\":{\"RegionID\":2,\"RegionCode\":\"two\",\"RegionName\":\"Two\",\"NoMeasureNoHome\":true,\"Nodes\":[]},"
                "\"10\":{\"RegionID\":10,\"RegionCode\":\"ten\",\"RegionName\":\"Ten\",\"Avoid\":true,\"Nodes\":["
                "{\"Name\":\"10a\",\"RegionID\":10,\"HostName\":\"a.example\",\"CertName\":\"sha256-raw:ab\","
                "\"IPv4\":\"192.0.2.1\",\"IPv6\":\"none\",\"STUNPort\":-1,\"STUNOnly\":true,\"DERPPort\":8443,"
                "\"InsecureForTests\":true,\"STUNTestIP\":\"192.0.2.9\",\"CanPort80\":true},"
                "{\"Name\":\"10b\",\"RegionID\":10,\"HostName\":\"b.example\",\"STUNPort\":3479}]}}}");
        json_t *out = derpmap_to_json(m);
        struct derpmap *again = NULL;
        assert_int_equal(derpmap_from_json(out, &again), ERR_NONE);
        assert_true(derpmap_eq(m, again));
        json_decref(out);
        derpmap_free(again);
        derpmap_free(m);
        m = parse("{}");
        assert_int_equal(m->region_count, 0);
        check_json(m, "{\"Regions\":{}}");
        derpmap_free(m);
}

/* What is wrong in one place costs that place only. */
static void test_forgives(void **state)
{
        (void)state;
        char text[4096];
        char longest[300];
        memset(longest, 'x', sizeof(longest));
        longest[299] = '\0';
        snprintf(text, sizeof(text),
                "{\"HomeParams\":null,\"Regions\":{\"x\":{},\"0\":{},\"-1\":{},\"65536\":{},\"01\":{},\"4\":{\"RegionID\":5},"
                "\"6\":7,\"65535\":{\"RegionCode\":\"%s\",\"Nodes\":[null,7,{},{\"HostName\":\"%s\"},"
                "{\"HostName\":\"p\",\"DERPPort\":70000},{\"HostName\":\"p\",\"DERPPort\":-1},"
                "{\"HostName\":\"p\",\"STUNPort\":65536},{\"HostName\":\"good\",\"Name\":5}]}}}",
                longest, longest);
        struct derpmap *m = parse(text);
        assert_int_equal(m->region_count, 1);
        const struct derp_region *r = derpmap_region(m, 65535);
        assert_int_equal(strlen(r->code), sizeof(r->code) - 1);
        assert_int_equal(r->node_count, 1);
        assert_string_equal(r->nodes[0].hostname, "good");
        assert_string_equal(r->nodes[0].name, "");
        derpmap_free(m);
        /* A name is cut between characters, so that it stays text. */
        m = parse("{\"Regions\":{\"1\":{\"RegionCode\":\"0123456789012345678901234567\xe2\x82\xac\xe2\x82\xac\"}}}");
        assert_string_equal(m->regions[0].code, "0123456789012345678901234567\xe2\x82\xac");
        derpmap_free(m);

        static const char *const bad[] = {"[]", "null", "7", "{\"Regions\":[]}", "{\"Regions\":\"x\"}"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                json_t *obj = json_parse(bad[i], strlen(bad[i]));
                m = NULL;
                assert_int_equal(derpmap_from_json(obj, &m), ERR_FORMAT);
                assert_null(m);
                json_decref(obj);
        }
        assert_int_equal(derpmap_from_json(NULL, &m), ERR_FORMAT);
}

static void test_bounds(void **state)
{
        (void)state;
        json_t *obj = json_object();
        json_t *regions = json_object();
        json_object_set_new(obj, "Regions", regions);
        for (int i = 1; i <= 300; i++) {
                char key[16];
                snprintf(key, sizeof(key), "%d", i);
                json_object_set_new(regions, key, json_object());
        }
        json_t *nodes = json_array();
        for (int i = 0; i < 20; i++)
                json_array_append_new(nodes, json_pack("{s:s}", "HostName", "h"));
        json_object_set_new(json_object_get(regions, "1"), "Nodes", nodes);
        struct derpmap *m = NULL;
        assert_int_equal(derpmap_from_json(obj, &m), ERR_NONE);
        assert_int_equal(m->region_count, DERPMAP_REGIONS_MAX);
        assert_int_equal(derpmap_region(m, 1)->node_count, DERPMAP_NODES_MAX);
        derpmap_free(m);
        json_decref(obj);
}

static void test_copy_and_equality(void **state)
{
        (void)state;
        struct derpmap *m = parse(full);
        struct derpmap *c = derpmap_copy(m);
        assert_true(derpmap_eq(m, c));
        assert_true(derpmap_eq(NULL, NULL));
        assert_false(derpmap_eq(m, NULL));
        assert_false(derpmap_eq(NULL, m));
        struct derp_node *n = &c->regions[1].nodes[1];
        n->derp_port++;
        assert_false(derpmap_eq(m, c));
        n->derp_port--;
        assert_true(derpmap_eq(m, c));
        n->ipv6[0] = 'x';
        assert_false(derpmap_eq(m, c));
        n->ipv6[0] = '\0';
        c->regions[0].score = 2;
        assert_false(derpmap_eq(m, c));
        c->regions[0].score = m->regions[0].score;
        c->regions[1].node_count--;
        assert_false(derpmap_eq(m, c));
        derpmap_free(c);
        derpmap_free(m);
}

static void test_recorded(void **state)
{
        (void)state;
        size_t len;
        char *text = fixture_read("fixtures/maps/json_sample_full.json", &len);
        json_t *map = json_parse(text, len);
        struct derpmap *m = NULL;
        assert_int_equal(derpmap_from_json(json_obj(map, "DERPMap"), &m), ERR_NONE);
        assert_int_equal(m->region_count, 1);
        const struct derp_region *r = derpmap_region(m, 901);
        assert_string_equal(r->name, "Region 901");
        assert_string_equal(r->nodes[0].ipv4, "203.0.113.6");
        assert_int_equal(r->nodes[0].stun_port, 3478);
        assert_int_equal(r->nodes[0].derp_port, 443);
        assert_true(r->nodes[0].insecure);
        derpmap_free(m);
        json_decref(map);
        free(text);
}

static void test_who_may_be_home(void **state)
{
        (void)state;
        struct derp_node nodes[2] = {{.stun_only = true}, {.stun_only = false}};
        struct derp_region r = {.id = 1, .nodes = nodes, .node_count = 2};
        assert_true(derp_region_has_relay(&r) && derp_region_may_be_home(&r));
        r.node_count = 1;
        assert_false(derp_region_has_relay(&r) || derp_region_may_be_home(&r));
        r.node_count = 0;
        assert_false(derp_region_has_relay(&r) || derp_region_may_be_home(&r));
        r.node_count = 2;
        r.avoid = true;
        assert_true(derp_region_has_relay(&r) && !derp_region_may_be_home(&r));
        r.avoid = false;
        r.no_measure_no_home = true;
        assert_true(derp_region_has_relay(&r) && !derp_region_may_be_home(&r));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_who_may_be_home),
                cmocka_unit_test(test_fields),
                cmocka_unit_test(test_back_to_json),
                cmocka_unit_test(test_forgives),
                cmocka_unit_test(test_bounds),
                cmocka_unit_test(test_copy_and_equality),
                cmocka_unit_test(test_recorded),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
