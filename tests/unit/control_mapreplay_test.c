/* Full against delta by random replay, and a large map in little memory. */
#include <malloc.h>

#include "tests/unit/control_maplife.h"

static uint32_t rng_state;

static uint32_t rng(void)
{
        rng_state ^= rng_state << 13;
        rng_state ^= rng_state >> 17;
        rng_state ^= rng_state << 5;
        return rng_state;
}

enum { MODEL_MAX = 24, MODEL_FILTERS = 3 };

/* What decides who may reach us is here in every form the server has for it: keys and their expiry, the addresses a
 * peer may use, peers without a signature, named filters. */
struct model_peer {
        bool there, unsigned_only;
        unsigned key, endpoint, home, online, allowed, expiry;
};

struct model {
        struct model_peer peers[MODEL_MAX];
        unsigned filters[MODEL_FILTERS];   /* which rules are under each name; 0 = none */
};

/* Both sides of the time at which the test looks. */
static const char *const MODEL_EXPIRY[] = {"0001-01-01T00:00:00Z", "2031-01-01T00:00:00Z", "2026-11-01T00:00:00Z"};
static const char *const MODEL_ALLOWED[] = {"", ",\"AllowedIPs\":[]", ",\"AllowedIPs\":[\"10.3.0.0/16\"]",
                                            ",\"AllowedIPs\":[\"0.0.0.0/0\",\"100.64.1.1/32\"]"};
static const char *const MODEL_RULES[] = {
        "null",
        "[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":22,\"Last\":22}}],\"IPProto\":[6]}]",
        ("[{\"SrcIPs\":[\"100.64.1.0/24\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":65535}}]},"
         "{\"SrcIPs\":[\"100.64.1.9\"],\"DstPorts\":[{\"IP\":\"10.0.0.1\",\"Ports\":{\"First\":1,\"Last\":2}}]}]"),
        "[]",
};

static void model_node(struct buf *b, size_t id, const struct model_peer *p)
{
        buf_printf(b,
                   "{\"ID\":%zu,\"Name\":\"n%zu.x.\",\"Key\":\"nodekey:%064x\",\"Addresses\":[\"100.64.1.%zu/"
                   "32\"],"
                   "\"Endpoints\":[\"192.0.2.1:%u\"],\"HomeDERP\":%u,\"Online\":%s,\"KeyExpiry\":\"%s\","
                   "\"UnsignedPeerAPIOnly\":%s%s}",
                   id + 10, id, p->key + 1, id, p->endpoint + 1, p->home + 1, p->online ? "true" : "false",
                   MODEL_EXPIRY[p->expiry], p->unsigned_only ? "true" : "false", MODEL_ALLOWED[p->allowed]);
}

static void model_full(struct buf *b, const struct model *m)
{
        buf_puts(b, "{\"Node\":{\"ID\":1,\"Name\":\"a.x.\",\"Key\":\"" KEY_A "\"},\"Peers\":[");
        bool first = true;
        for (size_t i = 0; i < MODEL_MAX; i++) {
                if (!m->peers[i].there)
                        continue;
                if (!first)
                        buf_puts(b, ",");
                first = false;
                model_node(b, i, &m->peers[i]);
        }
        buf_puts(b, "],\"PacketFilters\":{\"*\":null");
        for (size_t i = 0; i < MODEL_FILTERS; i++)
                if (m->filters[i] != 0)
                        buf_printf(b, ",\"f%zu\":%s", i, MODEL_RULES[m->filters[i]]);
        buf_puts(b, "}}");
}

static void model_patch(struct buf *b, size_t id, struct model_peer *p)
{
        p->key = rng() % 4;
        p->endpoint = rng() % 4;
        p->home = rng() % 4;
        p->expiry = 1 + rng() % 2;
        buf_printf(b,
                   "{\"PeersChangedPatch\":[{\"NodeID\":%zu,\"Key\":\"nodekey:%064x\",\"Endpoints\":["
                   "\"192.0.2.1:%u\"],\"DERPRegion\":%u,\"KeyExpiry\":\"%s\"}]}",
                   id, p->key + 1, p->endpoint + 1, p->home + 1, MODEL_EXPIRY[p->expiry]);
}

static void model_step(struct buf *b, struct model *m)
{
        size_t i = rng() % MODEL_MAX;
        struct model_peer *p = &m->peers[i];
        unsigned form = rng() % 5;
        if (form == 4) {
                size_t f = rng() % MODEL_FILTERS;
                m->filters[f] = rng() % 4;
                buf_printf(b, "{\"PacketFilters\":{\"f%zu\":%s}}", f, MODEL_RULES[m->filters[f]]);
        } else if (!p->there || form == 0) {
                *p = (struct model_peer){true, rng() % 4 == 0, rng() % 4, rng() % 4, rng() % 4, rng() % 2,
                                         rng() % 4, rng() % 3};
                buf_puts(b, "{\"PeersChanged\":[");
                model_node(b, i, p);
                buf_puts(b, "]}");
        } else if (form == 1) {
                p->there = false;
                buf_printf(b, "{\"PeersRemoved\":[%zu]}", i + 10);
        } else if (form == 2) {
                p->online = rng() % 2;
                buf_printf(b, "{\"OnlineChange\":{\"%zu\":%s}}", i + 10, p->online ? "true" : "false");
        } else {
                model_patch(b, i + 10, p);
        }
}

static bool same_rule(const struct filter_rule *a, const struct filter_rule *b)
{
        return a->src_count == b->src_count && a->dst_count == b->dst_count && a->proto_count == b->proto_count &&
               memcmp(a->srcs, b->srcs, a->src_count * sizeof(a->srcs[0])) == 0 &&
               memcmp(a->dsts, b->dsts, a->dst_count * sizeof(a->dsts[0])) == 0 &&
               memcmp(a->protos, b->protos, a->proto_count) == 0;
}

static void assert_same_map(const struct netmap *a, const struct netmap *b)
{
        assert_int_equal(a->peer_count, b->peer_count);
        for (size_t i = 0; i < a->peer_count; i++) {
                assert_true(a->peers[i]->id == b->peers[i]->id);
                assert_int_equal(netmap_node_diff(a->peers[i], b->peers[i]), 0);
        }
        assert_int_equal(a->rule_count, b->rule_count);
        for (size_t i = 0; i < a->rule_count; i++)
                assert_true(same_rule(a->rules[i], b->rules[i]));
}

static void test_replay(void **state)
{
        (void)state;
        for (uint32_t seed = 1; seed <= 20; seed++) {
                struct model model = {.peers = {{.there = true}}};
                struct netmap_delta d;
                struct mapsession *by_delta = mapsession_new();
                struct map_news news;
                struct buf b;
                rng_state = seed * 2654435761U;
                buf_init(&b, 1 << 20);
                model_full(&b, &model);
                must(by_delta, b.data, &news);
                for (size_t step = 0; step < 300; step++) {
                        buf_clear(&b);
                        model_step(&b, &model);
                        must(by_delta, b.data, &news);
                        if (step % 30 != 29)
                                continue;
                        struct mapsession *by_full = mapsession_new();
                        buf_clear(&b);
                        model_full(&b, &model);
                        must(by_full, b.data, &news);
                        assert_int_equal(mapsession_expire(by_delta, RECORDED_NS, &d), ERR_NONE);
                        assert_int_equal(mapsession_expire(by_full, RECORDED_NS, &d), ERR_NONE);
                        assert_same_map(mapsession_map(by_delta), mapsession_map(by_full));
                        mapsession_free(by_full);
                }
                buf_done(&b);
                mapsession_free(by_delta);
        }
}

/* A realistic peer is about a kilobyte of JSON; its tree would be several. */
static void big_map(struct buf *b, size_t n)
{
        buf_puts(b, "{\"Node\":{\"ID\":1,\"Name\":\"a.x.\",\"Key\":\"" KEY_A "\"},\"Peers\":[");
        for (size_t i = 0; i < n; i++)
                buf_printf(b,
                           "%s{\"ID\":%zu,\"StableID\":\"%zu\",\"Name\":\"node-%zu.tail.example.org.\","
                           "\"User\":1,"
                           "\"Key\":\"nodekey:%064zx\",\"Machine\":\"mkey:%064zx\",\"DiscoKey\":\"discokey:%"
                           "064zx\","
                           "\"Addresses\":[\"100.64.%zu.%zu/32\",\"fd7a:115c:a1e0::%zx/128\"],"
                           "\"AllowedIPs\":[\"100.64.%zu.%zu/32\",\"fd7a:115c:a1e0::%zx/128\"],"
                           "\"Endpoints\":[\"192.0.2.10:41641\",\"203.0.113.7:41641\",\"[2001:db8::%zx]:"
                           "41641\"],"
                           "\"HomeDERP\":900,\"Hostinfo\":{\"IPNVersion\":\"1.98.0-t0123456789\",\"OS\":"
                           "\"linux\","
                           "\"OSVersion\":\"6.1.0\",\"Distro\":\"debian\",\"Hostname\":\"node-%zu\","
                           "\"Machine\":\"x86_64\","
                           "\"Services\":[{\"Proto\":\"peerapi4\",\"Port\":39021},{\"Proto\":\"peerapi6\","
                           "\"Port\":39021}]},"
                           "\"Created\":\"2026-01-02T03:05:00Z\",\"Cap\":138,\"Online\":true,"
                           "\"MachineAuthorized\":true}",
                           i > 0 ? "," : "", i + 2, i + 2, i, i + 1, i + 1, i + 1, i / 250, i % 250, i + 1,
                           i / 250, i % 250, i + 1, i + 1, i);
        buf_puts(b, "]}");
}

static void test_ten_thousand(void **state)
{
        (void)state;
        enum { PEERS = 10000, BYTES_A_PEER = 1200 };
        struct map_news news;
        struct buf b;
        struct mapsession *s = mapsession_new();
        buf_init(&b, 64 << 20);
        big_map(&b, PEERS);
        assert_true(buf_ok(&b));
        size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
        must(s, b.data, &news);
        size_t after = mallinfo2().uordblks + mallinfo2().hblkhd;
        assert_int_equal(mapsession_map(s)->peer_count, PEERS);
        assert_int_equal(news.delta.peer_count, PEERS);
        /* Under a sanitizer the allocator does not tell: both are 0 then. */
        assert_true(after - before < (size_t)PEERS * BYTES_A_PEER);
        must(s, "{\"PeersChangedPatch\":[{\"NodeID\":5000,\"DERPRegion\":3}]}", &news);
        assert_int_equal(news.delta.peer_count, 1);
        mapsession_free(s);
        buf_done(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_replay),
                cmocka_unit_test(test_ten_thousand),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
