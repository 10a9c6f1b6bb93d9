/* The whole way of a policy, from the server's JSON to the verdict on a packet, against an oracle that reads the same
 * JSON slowly and shares no code with it.
 *
 * FILTER_PACKETS says how many packets, FILTER_SEED where to begin. */
#include "tests/unit/check.h"
#include "tests/unit/fixture.h"
#include "tests/unit/policy_oracle.h"

#include <dirent.h>
#include <stdio.h>

#include "base/crypto.h"
#include "daemon/control/mapsession.h"
#include "daemon/netsync.h"

enum { POLICIES = 200, PACKETS = 300000, NAMES = 4 };

static uint64_t rnd_state;

static unsigned rnd(unsigned n)
{
        rnd_state ^= rnd_state << 13;
        rnd_state ^= rnd_state >> 7;
        rnd_state ^= rnd_state << 17;
        return (unsigned)(rnd_state >> 33) % n;
}

static bool one_in(unsigned n)
{
        return rnd(n) == 0;
}

/* ---- random packets ---- */

static const uint16_t PORTS[] = {0, 1, 2, 3, 22, 80, 81, 82, 65534, 65535};

static uint16_t random_port(void)
{
        return PORTS[rnd(sizeof(PORTS) / sizeof(PORTS[0]))];
}

static const char *const PLACES4[] = {"192.168.7.",   "192.168.8.", "10.0.0.",  "8.8.8.",      "224.0.0.",
                                      "169.254.169.", "203.0.113.", "127.0.0.", "255.255.255."};
static const char *const PLACES6[] = {
        "fd00:7::", "2001:db8::", "fe80::", "ff02::", "2620:fe::", "::", "::ffff:100.64.0."};

static const char *random_address(int v, bool near, char out[64])
{
        static const char *const last4[] = {"1", "2", "3", "4", "5", "6", "7", "8", "254", "255"};
        const char *place = v == 4 ? "100.64.0." : "fd7a:115c:a1e0::";
        if (!near)
                place = v == 4 ? PLACES4[rnd(9)] : PLACES6[rnd(7)];
        snprintf(out, 64, "%s%s", place, last4[rnd(near ? 8 : 10)]);
        return out;
}

static void random_sample(struct sample *s, bool in)
{
        static const uint8_t protos[] = {6, 6, 6, 17, 17, 17, 132, 1, 58, 47, 50, 99, 0, 43, 255, 59};
        static const uint8_t flags[] = {TCP_SYN,           TCP_SYN, TCP_SYN, TCP_ACK,
                                        TCP_SYN | TCP_ACK, TCP_RST, 0,       TCP_SYN | TCP_FIN};
        static const uint8_t types[] = {0, 3, 8, 8, 11, 12, 18, 1, 2, 4, 128, 128, 129, 133};
        char text[64];
        *s = (struct sample){.v = one_in(2) ? 6 : 4};
        s->proto = one_in(40) ? (uint8_t)rnd(256) : protos[rnd(sizeof(protos))];
        if (s->proto == PROTO_FRAGMENT6) /* what build() puts behind is no fragment header */
                s->proto = 50;
        if (s->proto == PROTO_ICMP && s->v == 6 && !one_in(5))
                s->proto = PROTO_ICMPV6;
        s->sport = random_port();
        s->dport = random_port();
        s->flags = flags[rnd(sizeof(flags))];
        s->type = types[rnd(sizeof(types))];
        s->code = one_in(4);
        s->frag = WHOLE;
        if (one_in(6))
                s->frag = rnd(5);
        s->extension = s->v == 6 && one_in(40);
        uint8_t *theirs = in ? s->src : s->dst, *ours = in ? s->dst : s->src;
        (void)o_address(random_address(s->v, !one_in(8), text), theirs);
        if (one_in(3))
                (void)o_address(random_address(s->v, one_in(3), text), ours);
        else
                (void)o_address(s->v == 4 ? "100.64.0.1" : "fd7a:115c:a1e0::1", ours);
        build(s);
}

struct rig {
        struct mapsession *deltas; /* fed change by change */
        struct netsync_prefs prefs;
        struct prefix advertised[5], interfaces[2];
        struct oracle oracle;
        struct filter *filter, *fresh; /* fresh: of a map that came whole */
        struct filter_state *state, *fresh_state;
        json_t *chunks; /* name -> rules, as they should be */
        uint64_t seen[FILTER_VERDICTS];
};

static void run_packets(struct rig *g, size_t n, const char *what)
{
        for (size_t i = 0; i < n; i++) {
                struct sample s;
                bool in = !one_in(8);
                random_sample(&s, in);
                enum filter_verdict want = in ? o_in_verdict(&g->oracle, &s) : o_out_verdict(&s);
                for (int k = 0; k < 2; k++) {
                        const struct filter *f = k ? g->fresh : g->filter;
                        struct filter_state *st = k ? g->fresh_state : g->state;
                        if (f == NULL)
                                continue;
                        enum filter_verdict got =
                                in ? filter_in(f, st, s.bytes, s.len) : filter_out(f, st, s.bytes, s.len);
                        if (got == want)
                                continue;
                        char src[64], dst[64], *rules = json_dumps(g->chunks, 0);
                        inet_ntop(s.v == 4 ? AF_INET : AF_INET6, s.src, src, sizeof(src));
                        inet_ntop(s.v == 4 ? AF_INET : AF_INET6, s.dst, dst, sizeof(dst));
                        fail_msg("%s, packet %zu, %s, %s map: %s:%u > %s:%u proto %u flags %u type %u frag "
                                 "%d: %s, want %s\n%s",
                                 what, i, in ? "in" : "out", k ? "full" : "delta", src, s.sport, dst, s.dport,
                                 s.proto, s.flags, s.type, (int)s.frag, filter_verdict_str(got),
                                 filter_verdict_str(want), rules);
                }
                if (in)
                        g->seen[want]++;
        }
}

/* ---- random policies ---- */

static json_t *random_source(bool caps)
{
        char text[160], a[64], b[64];
        int v = one_in(2) ? 6 : 4, bits = v == 4 ? 32 : 128;
        random_address(v, !one_in(5), a);
        switch (rnd(caps ? 12 : 10)) {
        case 0:
                return json_string("*");
        case 1: /* often with host bits, then it is void */
                snprintf(text, sizeof(text), "%s/%d", a, bits - (int)rnd(4));
                break;
        case 2:
                snprintf(text, sizeof(text), "%s/%d",
                         v == 4 ? "100.64.0.0" : "fd7a:115c:a1e0::", bits - (int)rnd(5));
                break;
        case 3:
                return json_string(v == 4 ? "0.0.0.0/0" : "::/0");
        case 4:
        case 5: /* half of them the wrong way round */
                snprintf(text, sizeof(text), "%s-%s", a, random_address(v, true, b));
                break;
        case 6:
                if (one_in(3))
                        return json_string(one_in(2) ? "nonsense" : "100.64.0.1-fd7a::1");
                snprintf(text, sizeof(text), "::ffff:100.64.0.%u", 1 + rnd(8));
                break;
        case 10:
                return json_string("cap:cap/a");
        case 11:
                return json_string("cap:cap/b");
        default:
                snprintf(text, sizeof(text), "%s", a);
        }
        return json_string(text);
}

static json_t *random_destination(void)
{
        static const char *const own[] = {"100.64.0.1",     "fd7a:115c:a1e0::1", "192.168.7.0/24",
                                          "192.168.7.4/30", "fd00:7::/64",       "192.168.7.2-192.168.7.6",
                                          "8.8.8.0/24",     "10.0.0.0/8"};
        json_t *d = json_object(), *ip = one_in(3) ? random_source(false) : json_string(own[rnd(8)]);
        unsigned first = random_port(), last = random_port();
        json_object_set_new(d, "IP", ip);
        if (one_in(3)) {
                first = 0;
                last = 65535;
        } else if (one_in(2)) {
                last = first;
        }
        json_object_set_new(d, "Ports", json_pack("{s:i, s:i}", "First", (int)first, "Last", (int)last));
        if (one_in(20))
                json_object_del(d, "Ports");
        return d;
}

static json_t *random_rule(void)
{
        static const int protos[] = {6, 17, 132, 1, 58, 47, 50, 59, -1, 256, 255, 0, 99};
        json_t *r = json_object(), *src = json_array(), *dst = json_array(), *proto = json_array();
        for (unsigned i = rnd(5); i-- > 0;)
                json_array_append_new(src, random_source(true));
        for (unsigned i = rnd(4); i-- > 0;)
                json_array_append_new(dst, random_destination());
        if (one_in(3)) /* neighbours but for one port, at one address */
                for (int p = 80; p <= 82; p += 2)
                        json_array_append_new(dst, json_pack("{s:s, s:{s:i, s:i}}", "IP", "100.64.0.1",
                                                             "Ports", "First", p, "Last", p));
        for (unsigned i = one_in(2) ? 0 : rnd(4); i-- > 0;)
                json_array_append_new(proto, json_integer(protos[rnd(13)]));
        json_object_set_new(r, "SrcIPs", src);
        json_object_set_new(r, "DstPorts", dst);
        if (json_array_size(proto) > 0 || one_in(2))
                json_object_set(r, "IPProto", proto);
        json_decref(proto);
        if (one_in(6))
                json_object_set_new(r, "CapGrant",
                                    json_loads("[{\"Dsts\":[\"0.0.0.0/0\"],\"Caps\":[\"x\"]}]", 0, NULL));
        return r;
}

static json_t *random_rules(void)
{
        json_t *a = json_array();
        for (unsigned i = one_in(4) ? rnd(15) : rnd(5); i-- > 0;)
                json_array_append_new(a, random_rule());
        return a;
}

static json_t *node_json(int id, const struct o_node *n)
{
        char ip4[32], ip6[64], key[96];
        snprintf(ip4, sizeof(ip4), "100.64.0.%d/32", id);
        snprintf(ip6, sizeof(ip6), "fd7a:115c:a1e0::%d/128", id);
        snprintf(key, sizeof(key), "nodekey:%064d", id);
        json_t *caps = json_object();
        if (n != NULL && n->has_a)
                json_object_set_new(caps, "cap/a", json_null());
        if (n != NULL && n->has_b)
                json_object_set_new(caps, "cap/b", json_array());
        return json_pack("{s:i, s:s, s:s, s:s, s:[s,s], s:[s,s], s:i, s:b, s:o}", "ID", id, "StableID", "n",
                         "Name", "n.example.", "Key", key, "Addresses", ip4, ip6, "AllowedIPs", ip4, ip6,
                         "HomeDERP", 1, "IsJailed", n != NULL && n->jailed, "CapMap", caps);
}

static void random_peer(struct o_node *n, int id)
{
        char text[64];
        *n = (struct o_node){.there = true, .jailed = one_in(8), .has_a = one_in(3), .has_b = one_in(4)};
        snprintf(text, sizeof(text), "100.64.0.%d", id);
        n->ip[0] = o_cidr(text, 32);
        snprintf(text, sizeof(text), "fd7a:115c:a1e0::%d", id);
        n->ip[1] = o_cidr(text, 128);
}

/* The peers have the ids 2 to PEERS + 1. */
static json_t *peers_json(const struct rig *g)
{
        json_t *a = json_array();
        for (int i = 0; i < PEERS; i++)
                if (g->oracle.peers[i].there)
                        json_array_append_new(a, node_json(i + 2, &g->oracle.peers[i]));
        return a;
}

static void apply(struct mapsession *s, json_t *msg)
{
        struct map_news news;
        char *text = json_dumps(msg, 0);
        assert_non_null(text);
        assert_int_equal(mapsession_apply(s, text, strlen(text), 1, &news), ERR_NONE);
        free(text);
        json_decref(msg);
}

static json_t *full_map(const struct rig *g)
{
        return json_pack("{s:o, s:o, s:O}", "Node", node_json(1, NULL), "Peers", peers_json(g),
                         "PacketFilters", g->chunks);
}

/* One change of the rules or of a peer; what it should lead to is noted in g. */
static json_t *random_delta(struct rig *g)
{
        static const char *const names[NAMES] = {"base", "a", "cc", "zz"};
        const char *name = names[rnd(NAMES)];
        int peer = (int)rnd(PEERS);
        json_t *rules = random_rules(), *m = json_object();
        switch (rnd(7)) {
        case 0: /* the old form is the chunk "base" */
                json_object_set(g->chunks, "base", rules);
                json_object_set(m, "PacketFilter", rules);
                break;
        case 1: /* all that was, goes first */
                json_object_clear(g->chunks);
                json_object_set(g->chunks, name, rules);
                json_object_set_new(m, "PacketFilters", json_pack("{s:n, s:O}", "*", name, rules));
                break;
        case 2:
                json_object_del(g->chunks, name);
                json_object_set_new(m, "PacketFilters", json_pack("{s:n}", name));
                break;
        case 3:
                random_peer(&g->oracle.peers[peer], peer + 2);
                json_object_set_new(m, "PeersChanged",
                                    json_pack("[o]", node_json(peer + 2, &g->oracle.peers[peer])));
                break;
        case 4:
                g->oracle.peers[peer].there = false;
                json_object_set_new(m, "PeersRemoved", json_pack("[i]", peer + 2));
                break;
        default:
                json_object_set(g->chunks, name, rules);
                json_object_set_new(m, "PacketFilters", json_pack("{s:O}", name, rules));
        }
        json_decref(rules);
        return m;
}

static struct prefix pfx(const char *s)
{
        struct prefix p;
        assert_int_equal(prefix_parse(s, &p), ERR_NONE);
        return p;
}

static void set_prefs(struct rig *g)
{
        struct oracle *o = &g->oracle;
        bool was_up = o->shields;
        o->shields = one_in(10);
        if (o->shields && !was_up)
                flow_count = 0; /* the flows are forgotten */
        o->exit_node = one_in(3);
        g->prefs.shields_up = o->shields;
        g->prefs.advertised_count = o->exit_node ? 5 : 3;
}

static void rig_start(struct rig *g)
{
        memset(g, 0, sizeof(*g));
        g->chunks = json_object();
        g->deltas = mapsession_new();
        g->state = filter_state_new();
        g->fresh_state = filter_state_new();
        flow_count = 0;
        static const char *const advertised[5] = {"192.168.7.0/24", "fd00:7::/64", "10.0.0.0/30", "0.0.0.0/0",
                                                  "::/0"};
        for (int i = 0; i < 5; i++)
                g->advertised[i] = pfx(advertised[i]);
        g->interfaces[0] = pfx("203.0.113.5/24");
        g->interfaces[1] = pfx("2001:db8::5/64");
        g->prefs = (struct netsync_prefs){.advertised = g->advertised,
                                          .advertised_count = 3,
                                          .interfaces = g->interfaces,
                                          .interface_count = 2};
        struct oracle *o = &g->oracle;
        o->own[0] = o_cidr("100.64.0.1", 32);
        o->own[1] = o_cidr("fd7a:115c:a1e0::1", 128);
        o->advertised[0] = o_cidr("192.168.7.0", 24);
        o->advertised[1] = o_cidr("fd00:7::", 64);
        o->advertised[2] = o_cidr("10.0.0.0", 30);
        o->lan[0] = o_cidr("203.0.113.0", 24);
        o->lan[1] = o_cidr("2001:db8::", 64);
        o->lan_ip[0] = o_cidr("203.0.113.5", 32);
        o->lan_ip[1] = o_cidr("2001:db8::5", 128);
        for (int i = 0; i < PEERS; i++)
                random_peer(&o->peers[i], i + 2);
}

static void rig_end(struct rig *g)
{
        filter_free(g->filter);
        filter_free(g->fresh);
        filter_state_free(g->state);
        filter_state_free(g->fresh_state);
        mapsession_free(g->deltas);
        json_decref(g->chunks);
}

static void generated_policies_equal_the_oracle(void **state)
{
        (void)state;
        struct rig *g = malloc(sizeof(*g));
        const char *env = getenv("FILTER_PACKETS");
        size_t packets = env != NULL ? strtoul(env, NULL, 10) : check_rounds(PACKETS);
        rig_start(g);
        apply(g->deltas, full_map(g));
        for (int i = 0; i < POLICIES; i++) {
                char what[64];
                snprintf(what, sizeof(what), "policy %d", i);
                apply(g->deltas, random_delta(g));
                o_read_rules(&g->oracle, g->chunks);
                set_prefs(g);
                struct mapsession *whole = mapsession_new();
                apply(whole, full_map(g));
                filter_free(g->filter);
                filter_free(g->fresh);
                g->filter = netsync_filter(mapsession_map(g->deltas), &g->prefs);
                g->fresh = netsync_filter(mapsession_map(whole), &g->prefs);
                assert_non_null(g->filter);
                assert_non_null(g->fresh);
                run_packets(g, packets / POLICIES, what);
                mapsession_free(whole);
        }
        printf("%zu packets, %d policies:", packets / POLICIES * POLICIES, POLICIES);
        for (int v = 0; v < FILTER_VERDICTS; v++) {
                printf(" %s %llu", filter_verdict_str((enum filter_verdict)v),
                       (unsigned long long)g->seen[v]);
                assert_true(g->seen[v] > 0); /* the samples reach everything */
        }
        printf("\n");
        rig_end(g);
        free(g);
}

/* ---- what a Headscale sent ---- */

static int name_cmp(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t list_files(const char *dir, char *names[64])
{
        char path[512];
        size_t n = 0;
        snprintf(path, sizeof(path), "%s/%s", getenv("TESTS_DIR"), dir);
        DIR *d = opendir(path);
        assert_non_null(d);
        for (struct dirent *e; (e = readdir(d)) != NULL && n < 64;)
                if (e->d_name[0] != '.')
                        names[n++] = strdup(e->d_name);
        closedir(d);
        qsort(names, n, sizeof(names[0]), name_cmp);
        return n;
}

/* The base chunk and the named ones, as the message changes them. */
static bool note_chunks(json_t *chunks, const json_t *msg)
{
        const char *name;
        json_t *v, *base = json_object_get(msg, "PacketFilter"),
                   *named = json_object_get(msg, "PacketFilters");
        if (json_is_array(base))
                json_object_set(chunks, "base", base);
        json_object_foreach(named, name, v)
        {
                assert_true(json_is_array(v)); /* no deletions in the recordings */
                json_object_set(chunks, name, v);
        }
        return json_is_array(base) || json_is_object(named);
}

static void recorded_policies_equal_the_oracle(void **state)
{
        (void)state;
        static const char *const lives[] = {"fixtures/maps/node1", "fixtures/maps/node2",
                                            "fixtures/maps/node3"};
        size_t policies = 0;
        for (size_t l = 0; l < 3; l++) {
                char *names[64];
                size_t n = list_files(lives[l], names);
                struct rig *g = malloc(sizeof(*g));
                rig_start(g);
                memset(g->oracle.peers, 0, sizeof(g->oracle.peers));
                for (size_t i = 0; i < n; i++) {
                        char path[512];
                        size_t len;
                        snprintf(path, sizeof(path), "%s/%s", lives[l], names[i]);
                        char *text = fixture_read(path, &len);
                        json_t *msg = json_loads(text, 0, NULL);
                        struct map_news news;
                        assert_non_null(msg);
                        assert_int_equal(mapsession_apply(g->deltas, text, len, 1, &news), ERR_NONE);
                        if (note_chunks(g->chunks, msg)) {
                                const struct netmap_node *self = mapsession_map(g->deltas)->self;
                                for (int k = 0; k < 2; k++) {
                                        char ip[IP_STR_MAX];
                                        ip_str(self->addresses[k].ip, ip);
                                        g->oracle.own[k] = o_cidr(ip, ip_bits(self->addresses[k].ip));
                                }
                                o_read_rules(&g->oracle, g->chunks);
                                filter_free(g->filter);
                                g->filter = netsync_filter(mapsession_map(g->deltas), &g->prefs);
                                assert_non_null(g->filter);
                                run_packets(g, 5000, path);
                                policies++;
                        }
                        json_decref(msg);
                        free(text);
                        free(names[i]);
                }
                rig_end(g);
                free(g);
        }
        printf("%zu recorded policies\n", policies);
        assert_true(policies >= 10);
}

/* ---- a server that lets in whom nobody signed for ---- */

static void forged_rules_are_not_used(void **state)
{
        (void)state;
        struct rig *g = malloc(sizeof(*g));
        struct filter_state *s = filter_state_new();
        rig_start(g);
        json_t *peer = node_json(3, NULL);
        json_object_set_new(peer, "UnsignedPeerAPIOnly", json_true());
        for (int forged = 0; forged < 2; forged++) {
                json_t *m = json_pack("{s:o, s:[O, o], s:{s:[{s:[s], s:[{s:s, s:{s:i, s:i}}]}]}}", "Node",
                                      node_json(1, NULL), "Peers", peer, node_json(2, NULL), "PacketFilters",
                                      "base", "SrcIPs", forged ? "100.64.0.2-100.64.0.4" : "100.64.0.2",
                                      "DstPorts", "IP", "*", "Ports", "First", 80, "Last", 80);
                struct mapsession *map = mapsession_new();
                apply(map, m);
                struct filter *f = netsync_filter(mapsession_map(map), &g->prefs);
                struct sample syn = {.v = 4, .proto = PROTO_TCP, .flags = TCP_SYN, .dport = 80};
                o_address("100.64.0.2", syn.src);
                o_address("100.64.0.1", syn.dst);
                build(&syn);
                assert_int_equal(netsync_filter_is_forged(mapsession_map(map)), forged);
                assert_true(netsync_filter_needs_peers(mapsession_map(map)));
                assert_int_equal(filter_in(f, s, syn.bytes, syn.len),
                                 forged ? FILTER_DROP_RULE : FILTER_ACCEPT);
                filter_free(f);
                mapsession_free(map);
        }
        json_decref(peer);
        filter_state_free(s);
        rig_end(g);
        free(g);
}

int main(void)
{
        assert_int_equal(crypto_init(), ERR_NONE);
        const char *env = getenv("FILTER_SEED");
        if (env != NULL)
                rnd_state = strtoull(env, NULL, 10);
        else
                crypto_random(&rnd_state, sizeof(rnd_state));
        rnd_state |= 1;
        printf("FILTER_SEED=%llu\n", (unsigned long long)rnd_state);
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(generated_policies_equal_the_oracle),
                cmocka_unit_test(recorded_policies_equal_the_oracle),
                cmocka_unit_test(forged_rules_are_not_used),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
