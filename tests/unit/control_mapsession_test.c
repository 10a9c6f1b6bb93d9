/* Recorded lives of three nodes, every form of delta, damage, and full against delta by random replay. */
#include "daemon/control/mapsession.h"

#include <dirent.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mono.h"

/* 2026-11-23T06:38:20Z, in the middle of the recorded lives */
#define RECORDED_NS (INT64_C(1795415900) * NS_PER_SEC)

/* --- helpers --- */

static char *read_fixture(const char *dir, const char *name, size_t *ret_len)
{
        char path[512];
        const char *root = getenv("TESTS_DIR");
        (void)snprintf(path, sizeof(path), "%s/fixtures/maps/%s%s%s", root != NULL ? root : "tests", dir,
                       dir[0] != '\0' ? "/" : "", name);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        char *text = malloc(1 << 20);
        assert_non_null(text);
        *ret_len = fread(text, 1, (1 << 20) - 1, f);
        fclose(f);
        text[*ret_len] = '\0';
        return text;
}

/* The file names of a recorded life, in order; the number of them. */
static size_t list_life(const char *life, char names[64][64])
{
        char path[512];
        const char *root = getenv("TESTS_DIR");
        struct dirent **list;
        (void)snprintf(path, sizeof(path), "%s/fixtures/maps/%s", root != NULL ? root : "tests", life);
        int n = scandir(path, &list, NULL, alphasort);
        size_t count = 0;
        assert_true(n > 2);
        for (int i = 0; i < n; i++) {
                if (list[i]->d_name[0] != '.' && count < 64)
                        (void)snprintf(names[count++], 64, "%.63s", list[i]->d_name);
                free(list[i]);
        }
        free(list);
        return count;
}

/* Applies the first n messages of a life (0 = all). */
static struct mapsession *play(const char *life, size_t n)
{
        char names[64][64];
        size_t count = list_life(life, names);
        struct mapsession *s = mapsession_new();
        assert_non_null(s);
        for (size_t i = 0; i < count && (n == 0 || i < n); i++) {
                struct map_news news;
                size_t len;
                char *text = read_fixture(life, names[i], &len);
                assert_int_equal(mapsession_apply(s, text, len, RECORDED_NS, &news), ERR_NONE);
                assert_int_equal(news.delta.first, i == 0);
                free(text);
        }
        return s;
}

static enum err apply(struct mapsession *s, const char *text, struct map_news *news)
{
        return mapsession_apply(s, text, strlen(text), RECORDED_NS, news);
}

static void must(struct mapsession *s, const char *text, struct map_news *news)
{
        assert_int_equal(apply(s, text, news), ERR_NONE);
}

#define KEY_A   "nodekey:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define KEY_B   "nodekey:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define KEY_C   "nodekey:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define KEY_D   "nodekey:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
#define DISCO_1 "discokey:1111111111111111111111111111111111111111111111111111111111111111"
#define DISCO_0 "discokey:0000000000000000000000000000000000000000000000000000000000000000"

static const char FIRST[] =
        "{\"Node\":{\"ID\":1,\"StableID\":\"1\",\"Name\":\"alpha.tail.example.org.\",\"User\":1,\"Key\":"
        "\"" KEY_A "\","
        "\"Addresses\":[\"100.64.0.1/32\"],\"MachineAuthorized\":true,"
        "\"Capabilities\":[\"https://tailscale.com/cap/ssh\"],\"CapMap\":{\"x\":null}},"
        "\"Peers\":["
        "{\"ID\":2,\"StableID\":\"2\",\"Name\":\"beta.tail.example.org.\",\"User\":1,\"Key\":\"" KEY_B
        "\",\"DiscoKey\":\"" DISCO_1 "\",\"Addresses\":[\"100.64.0.2/"
                                     "32\"],\"Endpoints\":[\"192.0.2.2:1\"],\"HomeDERP\":7,\"Online\":true},"
        "{\"ID\":9007199254740995,\"Name\":\"gamma.tail.example.org.\",\"Key\":\"" KEY_C "\","
        "\"Addresses\":[\"100.64.0.3/32\"],\"AllowedIPs\":[],\"DERP\":\"127.3.3.40:12\"}],"
        "\"DERPMap\":{\"Regions\":{\"1\":{\"RegionID\":1,\"RegionCode\":\"a\",\"Nodes\":[{\"Name\":\"1a\","
        "\"RegionID\":1,"
        "\"HostName\":\"a.example\"}]},\"2\":null}},"
        "\"DNSConfig\":{\"Proxied\":true},\"Domain\":\"hs.example.org\","
        "\"PacketFilters\":{\"base\":[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,"
        "\"Last\":"
        "65535}}]}]},\"UserProfiles\":[{\"ID\":1,\"LoginName\":\"alice\",\"DisplayName\":\"Alice\"}],"
        "\"Health\":[\"one\"]}";

enum { BETA = 2 };
static const int64_t GAMMA = INT64_C(9007199254740995);

static struct mapsession *started(void)
{
        struct map_news news;
        struct mapsession *s = mapsession_new();
        assert_non_null(s);
        must(s, FIRST, &news);
        return s;
}

static unsigned changed(const struct netmap_delta *d, int64_t id)
{
        for (size_t i = 0; i < d->peer_count; i++)
                if (d->peers[i].id == id)
                        return d->peers[i].what;
        return 0;
}

/* --- recorded --- */

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
                char name[64];
                const struct netmap_node *n = netmap_peer(m, json_int(v, "ID", 0));
                assert_node(n, v);
                assert_string_equal(netmap_display_name(m, n, name, sizeof(name)),
                                    json_str(v, "ComputedName", ""));
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
                        for (size_t n = 0; n < len; n++)
                                assert_int_equal(mapsession_apply(s, text, n, RECORDED_NS, &news),
                                                 ERR_FORMAT);
                        assert_null(mapsession_map(s)->self);
                        mapsession_free(s);
                        free(text);
                }
        }
}

/* --- each form of delta --- */

static void test_first(void **state)
{
        (void)state;
        struct map_news news;
        struct mapsession *s = mapsession_new();
        must(s, "{\"KeepAlive\":true}", &news); /* may come before, and says nothing */
        assert_true(news.keepalive);
        assert_int_equal(apply(s, "{\"Domain\":\"x\"}", &news),
                         ERR_FORMAT); /* a stream begins with our node */
        must(s, FIRST, &news);
        assert_true(news.delta.first);
        assert_int_equal(news.delta.peer_count, 2);
        assert_int_equal(changed(&news.delta, BETA), NETMAP_PEER_ADDED);
        assert_int_equal(news.delta.parts, NETMAP_SELF | NETMAP_DERPMAP | NETMAP_DNS | NETMAP_FILTER |
                                                   NETMAP_USERS | NETMAP_DOMAIN | NETMAP_HEALTH);
        const struct netmap *m = mapsession_map(s);
        assert_string_equal(m->magic_dns_suffix, "tail.example.org");
        assert_true(netmap_node_has_cap(m->self, "https://tailscale.com/cap/ssh"));
        assert_true(netmap_node_has_cap(m->self, "x"));
        assert_false(netmap_node_has_cap(m->self, "y"));
        const struct netmap_node *beta = netmap_peer(m, BETA);
        const struct netmap_node *gamma = netmap_peer(m, GAMMA);
        assert_int_equal(beta->allowed_count, 1);  /* absent: the addresses */
        assert_int_equal(gamma->allowed_count, 0); /* empty stays empty */
        assert_int_equal(gamma->home_derp, 12);    /* the legacy form */
        assert_int_equal(gamma->online, NETMAP_UNKNOWN);
        assert_ptr_equal(netmap_by_key(m, &beta->key), beta);
        assert_ptr_equal(netmap_by_ip(m, ip_v4(100, 64, 0, 3)), gamma);
        assert_null(netmap_by_ip(m, ip_v4(100, 64, 0, 9)));
        assert_int_equal(m->derpmap->region_count, 1);
        assert_string_equal(m->health[0], "one");
        mapsession_free(s);
}

static void test_patch(void **state)
{
        (void)state;
        struct map_news news;
        struct mapsession *s = started();
        const struct netmap *m = mapsession_map(s);

        must(s,
             "{\"PeersChangedPatch\":[{\"NodeID\":2,\"DERPRegion\":1,\"Endpoints\":[\"198.51.100.4:41641\","
             "\"[2001:db8::1]:1024\"]}]}",
             &news);
        assert_int_equal(changed(&news.delta, BETA), NETMAP_PEER_HOME | NETMAP_PEER_ENDPOINTS);
        assert_int_equal(netmap_peer(m, BETA)->endpoint_count, 2);
        assert_int_equal(netmap_peer(m, BETA)->home_derp, 1);

        must(s,
             "{\"PeersChangedPatch\":[{\"NodeID\":2,\"Online\":false,\"LastSeen\":\"2026-11-23T06:00:00Z\"}]"
             "}",
             &news);
        assert_int_equal(changed(&news.delta, BETA), NETMAP_PEER_ONLINE);
        assert_int_equal(netmap_peer(m, BETA)->online, NETMAP_NO);
        assert_true(netmap_peer(m, BETA)->last_seen_ns > 0);

        must(s, "{\"PeersChangedPatch\":[{\"NodeID\":2,\"DiscoKey\":\"" DISCO_0 "\"}]}", &news);
        assert_int_equal(changed(&news.delta, BETA), NETMAP_PEER_DISCO);
        assert_true(disco_public_is_zero(&netmap_peer(m, BETA)->disco));

        must(s, "{\"PeersChangedPatch\":[{\"NodeID\":2,\"Cap\":140,\"CapMap\":{\"a\":[1]}}]}", &news);
        assert_int_equal(changed(&news.delta, BETA), NETMAP_PEER_INFO);
        assert_string_equal(netmap_peer(m, BETA)->cap_map, "{\"a\":[1]}");

        /* Unknown peers, zero values and null fields say nothing. */
        must(s,
             "{\"PeersChangedPatch\":[{\"NodeID\":77,\"Online\":true},{\"NodeID\":2,\"DERPRegion\":0,\"Cap\":"
             "0,"
             "\"Endpoints\":null,\"Key\":null,\"CapMap\":null}]}",
             &news);
        assert_int_equal(news.delta.peer_count, 0);
        mapsession_free(s);
}

static void test_new_key(void **state)
{
        (void)state;
        struct map_news news;
        struct mapsession *s = started();
        const struct netmap *m = mapsession_map(s);
        struct node_public old = netmap_peer(m, BETA)->key;
        must(s, "{\"PeersChangedPatch\":[{\"NodeID\":2,\"KeyExpiry\":\"2026-11-23T06:38:10Z\"}]}", &news);
        assert_true(netmap_peer(m, BETA)->expired);
        assert_int_equal(netmap_peer(m, BETA)->endpoint_count, 0);
        assert_int_equal(netmap_peer(m, BETA)->home_derp, 0);
        /* The patch of a new login cannot say that the expiry is gone: the past date goes with the old key. */
        must(s,
             "{\"PeersChangedPatch\":[{\"NodeID\":2,\"Key\":\"" KEY_D "\",\"Endpoints\":[\"192.0.2.2:1\"]}]}",
             &news);
        assert_int_equal(changed(&news.delta, BETA),
                         NETMAP_PEER_KEY | NETMAP_PEER_EXPIRY | NETMAP_PEER_ENDPOINTS);
        assert_memory_equal(news.delta.peers[0].old_key.b, old.b, KEY_LEN);
        assert_false(netmap_peer(m, BETA)->expired);
        assert_int_equal(netmap_peer(m, BETA)->key_expiry_ns, 0);
        mapsession_free(s);
}

static void test_lists(void **state)
{
        (void)state;
        struct map_news news;
        struct mapsession *s = started();
        const struct netmap *m = mapsession_map(s);

        /* An empty list is no list of nobody. */
        must(s, "{\"Peers\":[]}", &news);
        assert_int_equal(m->peer_count, 2);

        must(s, "{\"PeersChanged\":[{\"ID\":5,\"Name\":\"e.\",\"Key\":\"" KEY_D "\"}]}", &news);
        assert_int_equal(changed(&news.delta, 5), NETMAP_PEER_ADDED);
        assert_int_equal(m->peers[1]->id, 5); /* ordered by id */

        must(s, "{\"PeersRemoved\":[2,44]}", &news);
        assert_int_equal(news.delta.peer_count, 1);
        assert_int_equal(changed(&news.delta, BETA), NETMAP_PEER_REMOVED);

        /* Removed first, then changed: it is there. */
        must(s, "{\"PeersChanged\":[{\"ID\":5,\"Name\":\"f.\",\"Key\":\"" KEY_D "\"}],\"PeersRemoved\":[5]}",
             &news);
        assert_int_equal(changed(&news.delta, 5), NETMAP_PEER_INFO);
        assert_string_equal(netmap_peer(m, 5)->name, "f.");

        /* A full list makes all else about peers void. */
        must(s,
             "{\"Peers\":[{\"ID\":2,\"Name\":\"b.\",\"Key\":\"" KEY_B "\"}],\"PeersRemoved\":[2],"
             "\"PeersChanged\":[{\"ID\":8,\"Key\":\"" KEY_C "\"}],\"OnlineChange\":{\"2\":true}}",
             &news);
        assert_int_equal(m->peer_count, 1);
        assert_int_equal(netmap_peer(m, 2)->online, NETMAP_UNKNOWN);
        assert_int_equal(news.delta.peer_count, 3);

        must(s, "{\"PeersRemoved\":[2]}", &news);
        assert_int_equal(m->peer_count, 0);
        /* One bad node spoils the message. */
        assert_int_equal(apply(s, "{\"PeersChanged\":[{\"ID\":6,\"Key\":\"" KEY_B "\"},{\"ID\":7}]}", &news),
                         ERR_FORMAT);
        assert_int_equal(m->peer_count, 0);
        /* The later of two with one id counts. */
        must(s,
             "{\"PeersChanged\":[{\"ID\":6,\"Name\":\"x.\",\"Key\":\"" KEY_B
             "\"},{\"ID\":6,\"Name\":\"y.\",\"Key\":\"" KEY_B "\"}]}",
             &news);
        assert_string_equal(netmap_peer(m, 6)->name, "y.");
        mapsession_free(s);
}

static void test_seen(void **state)
{
        (void)state;
        struct map_news news;
        struct mapsession *s = started();
        const struct netmap *m = mapsession_map(s);
        must(s, "{\"OnlineChange\":{\"2\":false,\"99\":true},\"PeerSeenChange\":{\"9007199254740995\":true}}",
             &news);
        assert_int_equal(news.delta.peer_count, 2);
        assert_int_equal(netmap_peer(m, BETA)->online, NETMAP_NO);
        assert_true(netmap_peer(m, GAMMA)->last_seen_ns == RECORDED_NS);
        must(s, "{\"PeerSeenChange\":{\"9007199254740995\":false}}", &news);
        assert_true(netmap_peer(m, GAMMA)->last_seen_ns == 0);
        /* A patch in the same message comes last. */
        must(s, "{\"OnlineChange\":{\"2\":true},\"PeersChangedPatch\":[{\"NodeID\":2,\"Online\":false}]}",
             &news);
        assert_int_equal(news.delta.peer_count, 0);
        mapsession_free(s);
}

static void test_filter(void **state)
{
        (void)state;
        struct map_news news;
        struct mapsession *s = started();
        const struct netmap *m = mapsession_map(s);
        assert_int_equal(m->rule_count, 1);
        assert_int_equal(m->rules[0]->src_count, 2);

        must(s,
             "{\"PacketFilters\":{\"a\":[{\"SrcIPs\":[\"cap:foo\",\"10.0.0.1\",\"10.0.0.1/"
             "8\",\"bad\",\"fd00::/8\","
             "\"10.0.0.9-10.0.0.2\"],\"DstPorts\":[{\"IP\":\"10.1.0.0/"
             "16\",\"Ports\":{\"First\":5,\"Last\":6}}],"
             "\"IPProto\":[6,300]}]}}",
             &news);
        assert_int_equal(news.delta.parts, NETMAP_FILTER);
        assert_int_equal(m->rule_count, 2); /* "a" before "base" */
        assert_int_equal(m->rules[0]->src_cap_count, 1);
        assert_string_equal(m->rules[0]->src_caps[0], "foo");
        assert_int_equal(m->rules[0]->src_count,
                         2); /* host bits, nonsense and a backward range are skipped */
        assert_int_equal(m->rules[0]->proto_count, 1);

        must(s, "{\"PacketFilters\":{\"a\":null}}", &news);
        assert_int_equal(m->rule_count, 1);
        must(s, "{\"PacketFilter\":[]}", &news); /* empty is a command: nothing is allowed */
        assert_int_equal(m->rule_count, 0);
        assert_int_equal(news.delta.parts, NETMAP_FILTER);
        must(s, "{\"PacketFilter\":null}", &news);
        assert_int_equal(news.delta.parts, 0);
        must(s,
             "{\"PacketFilters\":{\"*\":null,\"b\":[{\"SrcIPs\":[\"*\"],\"IPProto\":[999],\"DstPorts\":[]}]}"
             "}",
             &news);
        assert_int_equal(m->rule_count, 1);
        assert_int_equal(m->rules[0]->proto_count, 0); /* nothing usable matches nothing */

        /* Bit counts are refused as a whole; so is the rule beside them. */
        must(s, "{\"PacketFilters\":{\"c\":[{\"SrcIPs\":[\"10.0.0.0\"],\"SrcBits\":[8]}]}}", &news);
        assert_int_equal(m->rule_count, 0);
        must(s,
             "{\"PacketFilters\":{\"c\":[{\"CapGrant\":[{\"Dsts\":[\"0.0.0.0/"
             "0\"],\"CapMap\":{\"x\":[]}}],\"SrcIPs\":"
             "[\"*\"]}]}}",
             &news);
        assert_int_equal(m->rule_count, 2);
        assert_int_equal(json_array_size(m->rules[1]->grants), 1);
        assert_int_equal(m->rules[1]->dst_count, 0);
        mapsession_free(s);
}

static void test_derp_deltas(void **state)
{
        (void)state;
        struct map_news news;
        struct mapsession *s = started();
        const struct netmap *m = mapsession_map(s);
        must(s, "{\"DERPMap\":{\"HomeParams\":{\"RegionScore\":{\"1\":0.5}}}}", &news);
        assert_int_equal(news.delta.parts, NETMAP_DERPMAP);
        assert_int_equal(m->derpmap->region_count, 1);
        assert_true(derpmap_region(m->derpmap, 1)->score < 0.6);
        must(s, "{\"DERPMap\":{\"HomeParams\":{}}}", &news); /* scores stay */
        assert_int_equal(news.delta.parts, 0);
        must(s,
             "{\"DERPMap\":{\"Regions\":{\"3\":{\"RegionID\":3,\"Nodes\":[{\"Name\":\"3a\",\"RegionID\":3,"
             "\"HostName\":\"c.example\"}]}}}}",
             &news);
        assert_int_equal(m->derpmap->region_count, 1);
        assert_null(derpmap_region(m->derpmap, 1));
        assert_non_null(derpmap_region(m->derpmap, 3));
        must(s, "{\"DERPMap\":{\"HomeParams\":{\"RegionScore\":{}}}}", &news);
        assert_true(derpmap_region(m->derpmap, 3)->score > 0.99);
        mapsession_free(s);
}

static void test_other_parts(void **state)
{
        (void)state;
        struct map_news news;
        struct mapsession *s = started();
        const struct netmap *m = mapsession_map(s);
        must(s, "{\"DNSConfig\":{}}", &news);
        assert_int_equal(news.delta.parts, NETMAP_DNS);
        assert_int_equal(json_object_size(m->dns), 0);
        must(s, "{\"Health\":null,\"Domain\":\"\"}", &news);
        assert_int_equal(news.delta.parts, 0);
        must(s, "{\"Health\":[]}", &news);
        assert_int_equal(news.delta.parts, NETMAP_HEALTH);
        assert_null(m->health[0]);
        must(s, "{\"DisplayMessages\":{\"a\":{\"Title\":\"t\"},\"b\":{\"Title\":\"u\"}}}", &news);
        assert_int_equal(json_object_size(m->display_messages), 2);
        must(s, "{\"DisplayMessages\":{\"a\":null}}", &news);
        assert_int_equal(json_object_size(m->display_messages), 1);
        must(s, "{\"DisplayMessages\":{\"*\":null}}", &news);
        assert_null(m->display_messages);
        must(s, "{\"SSHPolicy\":{\"rules\":null}}", &news);
        assert_int_equal(news.delta.parts, NETMAP_SSH);
        must(s,
             "{\"UserProfiles\":[{\"ID\":2147455555,\"LoginName\":\"tagged-devices\"},{\"ID\":1,"
             "\"LoginName\":"
             "\"alice\",\"DisplayName\":\"A\"}]}",
             &news);
        assert_int_equal(news.delta.parts, NETMAP_USERS);
        assert_int_equal(m->user_count, 2);
        assert_string_equal(netmap_user(m, 1)->display_name, "A");
        must(s, "{\"TKAInfo\":{\"Head\":\"abc\"}}", &news);
        assert_true(m->tailnet_lock);
        must(s, "{\"TKAInfo\":{\"Head\":\"abc\",\"Disabled\":true}}", &news);
        assert_false(m->tailnet_lock);
        must(s, "{\"Node\":{\"ID\":1,\"Name\":\"solo\",\"Key\":\"" KEY_A "\",\"Expired\":true}}", &news);
        assert_int_equal(news.delta.parts, NETMAP_SELF);
        assert_string_equal(m->magic_dns_suffix, "");
        assert_true(mapsession_self_expired(s, 0));
        must(s,
             "{\"PingRequest\":{\"URL\":\"http://h/"
             "p\",\"Types\":\"c2n\",\"Payload\":\"eA==\"},\"KeepAlive\":true,"
             "\"PopBrowserURL\":\"https://x\"}",
             &news);
        assert_true(news.keepalive);
        assert_string_equal(news.ping_url, "http://h/p");
        assert_string_equal(news.ping_types, "c2n");
        assert_string_equal(news.browser_url, "https://x");
        mapsession_free(s);
}

/* A new stream replaces everything, but only when its first message is there. */
static void test_restart(void **state)
{
        (void)state;
        struct map_news news;
        struct mapsession *s = started();
        const struct netmap *m = mapsession_map(s);
        mapsession_restart(s);
        assert_int_equal(m->peer_count, 2);
        must(s, "{\"KeepAlive\":true}", &news);
        assert_int_equal(m->peer_count, 2);
        must(s, "{\"Node\":{\"ID\":1,\"Name\":\"alpha.tail.example.org.\",\"Key\":\"" KEY_A "\"}}", &news);
        assert_true(news.delta.first);
        assert_int_equal(m->peer_count, 0);
        assert_int_equal(news.delta.peer_count, 2);
        assert_int_equal(m->rule_count, 0);
        assert_null(m->dns);
        assert_null(m->derpmap);
        assert_int_equal(m->user_count, 0);
        mapsession_restart(s);
        must(s, FIRST, &news);
        mapsession_restart(s);
        must(s, FIRST, &news); /* the same again: first, and yet nothing new */
        assert_int_equal(news.delta.peer_count, 0);
        assert_int_equal(news.delta.parts, 0);
        mapsession_clear(s);
        assert_null(m->self);
        assert_int_equal(m->peer_count, 0);
        mapsession_free(s);
}

/* A message with a filter that cannot be read is refused; what else it brought is told with the next one. */
static void test_refused(void **state)
{
        (void)state;
        struct map_news news;
        struct mapsession *s = started();
        assert_int_equal(apply(s,
                               "{\"Domain\":\"other\",\"PeersRemoved\":[2],\"PeersChanged\":[{\"ID\":6,\"Key\":\"" KEY_B
                               "\"}],\"PacketFilter\":[null]}",
                               &news),
                         ERR_FORMAT);
        mapsession_restart(s);
        must(s,
             "{\"Node\":{\"ID\":1,\"Name\":\"alpha.tail.example.org.\",\"Key\":\"" KEY_A
             "\"},\"Domain\":\"other\",\"Peers\":[{\"ID\":6,\"Key\":\"" KEY_B "\"}]}",
             &news);
        assert_int_equal(changed(&news.delta, BETA), NETMAP_PEER_REMOVED);
        assert_int_equal(changed(&news.delta, 6), NETMAP_PEER_ADDED);
        assert_true(news.delta.parts & NETMAP_DOMAIN);
        must(s, "{\"PeersRemoved\":[6]}", &news);
        assert_int_equal(news.delta.parts, 0);
        mapsession_free(s);
}

/* Our own key runs out by the local clock, however wrong the server finds it. */
static void test_self_expiry_by_the_local_clock(void **state)
{
        (void)state;
        static const char *const clocks[] = {"2026-11-23T05:38:20Z", "2026-11-23T06:38:20Z", "2026-11-23T07:38:20Z"};
        for (size_t i = 0; i < 3; i++) {
                struct map_news news;
                struct mapsession *s = mapsession_new();
                char text[256];
                snprintf(text, sizeof(text),
                         "{\"ControlTime\":\"%s\",\"Node\":{\"ID\":1,\"Key\":\"" KEY_A
                         "\",\"KeyExpiry\":\"2026-11-23T06:48:20Z\"}}",
                         clocks[i]);
                must(s, text, &news);
                int64_t at = mapsession_next_expiry(s, RECORDED_NS);
                assert_true(at == RECORDED_NS + 600 * NS_PER_SEC);
                assert_false(mapsession_self_expired(s, at - 1));
                assert_true(mapsession_self_expired(s, at));
                mapsession_free(s);
        }
}

/* What a peer says of itself is passed on as it is; it must not cost us the map. */
static void test_odd_peer(void **state)
{
        (void)state;
        struct map_news news;
        struct mapsession *s = started();
        must(s,
             "{\"PeersChanged\":[{\"ID\":6,\"Key\":\"" KEY_B
             "\",\"Hostinfo\":{\"OS\":\"a\\u0000b\",\"NetInfo\":{\"DERPLatency\":{\"\\u0000\":1}},"
             "\"TPM\":{\"FirmwareVersion\":18446744073709551615}}}]}",
             &news);
        assert_int_equal(changed(&news.delta, 6), NETMAP_PEER_ADDED);
        mapsession_free(s);
}

/* A peer's key runs out when the server's clock says so, whatever is done to ours meanwhile. */
static void test_expiry_after_the_clock_was_set(void **state)
{
        (void)state;
        static const int64_t steps[] = {3600 * NS_PER_SEC, -3600 * NS_PER_SEC, -1700000000 * NS_PER_SEC};
        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
                struct map_news news;
                struct netmap_delta d;
                struct mapsession *s = started();
                must(s, "{\"PeersChangedPatch\":[{\"NodeID\":2,\"KeyExpiry\":\"2026-11-23T06:40:00Z\"}]}", &news);
                int64_t at = mapsession_next_expiry(s, RECORDED_NS);
                mapsession_clock_stepped(s, steps[i]);
                assert_true(mapsession_next_expiry(s, RECORDED_NS + steps[i]) == at + steps[i]);
                assert_int_equal(mapsession_expire(s, at + steps[i] - 1, &d), ERR_NONE);
                assert_int_equal(d.peer_count, 0);
                assert_int_equal(mapsession_expire(s, at + steps[i], &d), ERR_NONE);
                assert_int_equal(d.peer_count, 1);
                mapsession_free(s);
        }
}

static void test_expiry(void **state)
{
        (void)state;
        struct map_news news;
        struct netmap_delta d;
        struct mapsession *s = started();
        const struct netmap *m = mapsession_map(s);
        assert_true(mapsession_next_expiry(s, RECORDED_NS) == INT64_MAX);
        must(s, "{\"PeersChangedPatch\":[{\"NodeID\":2,\"KeyExpiry\":\"2026-11-23T06:40:00Z\"}]}", &news);
        int64_t at = mapsession_next_expiry(s, RECORDED_NS);
        assert_true(at > RECORDED_NS && at < RECORDED_NS + 3600 * NS_PER_SEC);
        assert_int_equal(mapsession_expire(s, at - 1, &d), ERR_NONE);
        assert_int_equal(d.peer_count, 0);
        assert_int_equal(mapsession_expire(s, at, &d), ERR_NONE);
        assert_int_equal(changed(&d, BETA), NETMAP_PEER_EXPIRY | NETMAP_PEER_ENDPOINTS | NETMAP_PEER_HOME);
        assert_true(netmap_peer(m, BETA)->expired);
        assert_true(mapsession_next_expiry(s, at) == INT64_MAX);
        /* A clock of 2020 expires nobody, whatever the server's keys say. */
        must(s,
             "{\"ControlTime\":\"2020-08-03T00:00:00Z\",\"PeersChangedPatch\":[{\"NodeID\":9007199254740995,"
             "\"KeyExpiry\":\"2019-01-01T00:00:00Z\"}]}",
             &news);
        assert_false(netmap_peer(m, GAMMA)->expired);
        mapsession_free(s);
}

/* --- full against delta --- */

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

/* --- size --- */

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
                cmocka_unit_test(test_recorded_netmap), cmocka_unit_test(test_recorded_rules),
                cmocka_unit_test(test_recorded_ends),   cmocka_unit_test(test_recorded_again),
                cmocka_unit_test(test_truncations),     cmocka_unit_test(test_first),
                cmocka_unit_test(test_patch),           cmocka_unit_test(test_new_key),
                cmocka_unit_test(test_lists),           cmocka_unit_test(test_seen),
                cmocka_unit_test(test_filter),          cmocka_unit_test(test_derp_deltas),
                cmocka_unit_test(test_other_parts),     cmocka_unit_test(test_restart),
                cmocka_unit_test(test_refused), cmocka_unit_test(test_odd_peer),
                cmocka_unit_test(test_self_expiry_by_the_local_clock),
                cmocka_unit_test(test_expiry_after_the_clock_was_set),
                cmocka_unit_test(test_expiry),          cmocka_unit_test(test_replay),
                cmocka_unit_test(test_ten_thousand),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
