/* Every form of delta, damage, and what the clock does to expiry. */
#include "tests/unit/control_maplife.h"

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

/* Of few changes it is kept what the peers were, until everybody was told. */
static void test_as_it_was(void **state)
{
        (void)state;
        struct map_news news;
        struct mapsession *s = started();
        must(s, "{\"PeersChangedPatch\":[{\"NodeID\":2,\"DERPRegion\":8}],\"PeersRemoved\":[9007199254740995]}", &news);
        assert_int_equal(news.delta.peer_count, 2);
        assert_int_equal(news.delta.peers[0].old->id, BETA);
        assert_int_not_equal(news.delta.peers[0].old->home_derp, 8);
        assert_int_equal(news.delta.peers[1].old->id, GAMMA);
        assert_int_equal(news.delta.peers[1].old->home_derp, 12);
        mapsession_told(s);
        must(s, "{\"PeersChanged\":[{\"ID\":9,\"Key\":\"" KEY_B "\"}]}", &news);
        assert_int_equal(news.delta.peer_count, 1);
        assert_null(news.delta.peers[0].old);
        /* Many: they are only named. */
        struct buf b;
        buf_init(&b, 1 << 16);
        for (unsigned round = 0; round < 2; round++) {
                buf_clear(&b);
                buf_puts(&b, "{\"PeersChanged\":[");
                for (unsigned i = 0; i < 100; i++)
                        buf_printf(&b, "%s{\"ID\":%u,\"Key\":\"" KEY_B "\",\"HomeDERP\":%u}", i > 0 ? "," : "", 100 + i, round);
                buf_puts(&b, "]}");
                must(s, b.data, &news);
                assert_int_equal(news.delta.peer_count, 100);
                for (size_t i = 0; i < 100; i++)
                        assert_null(news.delta.peers[i].old);
        }
        buf_done(&b);
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

#define PEER_2 "{\"ID\":2,\"Key\":\"" KEY_B "\",\"Online\":true,\"Name\":\"two.\"}"
#define PEER_3 "{\"ID\":3,\"Key\":\"" KEY_C "\",\"Online\":true,\"Name\":\"three.\"}"

/* What a full list says in the same words as before is not read again; what has changed since, is. */
static void test_list_again(void **state)
{
        (void)state;
        static const char both[] = "{\"Peers\":[" PEER_2 "," PEER_3 "]}";
        static const char *const changes[] = {
                "{\"PeersChangedPatch\":[{\"NodeID\":3,\"Online\":false}]}",
                "{\"OnlineChange\":{\"3\":false}}",
                "{\"PeersChanged\":[{\"ID\":3,\"Key\":\"" KEY_C "\",\"Online\":false,\"Name\":\"three.\"}]}",
                "{\"PeersRemoved\":[3]}",
                "{\"PeersRemoved\":[2,3]}",
                "{\"Peers\":[" PEER_3 "]}",
                "{\"Peers\":[" PEER_3 "," PEER_2 "," PEER_3 "," PEER_2 "," PEER_2 "]}",
                "{\"Peers\":[" PEER_3 "," PEER_2 ",{\"ID\":3,\"Key\":\"" KEY_D "\"}]}",
                "{\"PeersChangedPatch\":[{\"NodeID\":3,\"KeyExpiry\":\"2020-01-01T00:00:00Z\"}]}",
        };
        struct map_news news;
        struct mapsession *s = started();
        const struct netmap *m = mapsession_map(s);
        must(s, both, &news);
        for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
                const struct netmap_node *two = netmap_peer(m, 2), *three = netmap_peer(m, 3);
                must(s, both, &news);
                assert_int_equal(news.delta.peer_count, 0);
                assert_ptr_equal(netmap_peer(m, 2), two);
                assert_ptr_equal(netmap_peer(m, 3), three);

                must(s, changes[i], &news);
                must(s, both, &news);
                assert_int_equal(m->peer_count, 2);
                assert_int_equal(netmap_peer(m, 2)->online, NETMAP_YES);
                assert_string_equal(netmap_peer(m, 2)->name, "two.");
                assert_int_equal(netmap_peer(m, 3)->online, NETMAP_YES);
                assert_string_equal(netmap_peer(m, 3)->name, "three.");
                assert_int_equal(netmap_peer(m, 3)->key_expiry_ns, 0);
        }
        /* A list that is refused behind peers that were taken from before leaves all as it was. */
        assert_int_equal(apply(s, "{\"Peers\":[" PEER_2 "," PEER_3 ",{\"ID\":0}]}", &news), ERR_FORMAT);
        assert_int_equal(m->peer_count, 2);
        assert_string_equal(netmap_peer(m, 3)->name, "three.");
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

/* By its name in full, however JSON writes it, and not by what is said of another. */
static void test_capabilities(void **state)
{
        (void)state;
        static const struct {
                const char *map, *cap;
                bool has;
        } rows[] = {
                {"{\"a\":null,\"b/c\":[1]}", "a", true},        {"{\"a\":null,\"b/c\":[1]}", "b/c", true},
                {"{\"a\":null,\"b/c\":[1]}", "b", false},       {"{\"a\":[\"b\",{\"c\":1}]}", "b", false},
                {"{\"a\":[\"b\",{\"c\":1}]}", "c", false},      {"{\"a\":null}", "", false},
                {"{\"x\\\"y\":null}", "x\"y", true},            {"{\"x\\\\y\":null}", "x\\y", true},
                {"{\"x\\ny\":null}", "x\ny", true},             {"", "a", false},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct netmap_node n = {.cap_map = rows[i].map};
                if (netmap_node_has_cap(&n, rows[i].cap) != rows[i].has)
                        fail_msg("%s in %s", rows[i].cap, rows[i].map);
        }
}

/* Dates at both ends of what 64 bits hold: no sum of them goes over, and nobody's key runs out by such a clock. */
static void test_a_clock_out_of_all_reason(void **state)
{
        (void)state;
        static const char *const clocks[] = {"0001-01-01T00:00:01Z", "1700-01-01T00:00:00Z", "1970-01-01T00:00:01Z",
                                             "2262-01-01T00:00:00Z", "9999-12-31T00:00:00Z"};
        static const char *const ends[] = {"2262-04-01T00:00:00Z", "1678-01-01T00:00:00Z"};
        enum { YEARS = 3 };
        for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
                struct map_news news;
                struct netmap_delta d;
                struct mapsession *s = started();
                char text[256];
                snprintf(text, sizeof(text),
                         "{\"ControlTime\":\"%s\",\"PeersChangedPatch\":[{\"NodeID\":2,\"KeyExpiry\":\"%s\"}]}",
                         clocks[i], ends[0]);
                must(s, text, &news);
                for (int64_t year = 0; year < YEARS; year++) {
                        int64_t now = RECORDED_NS + year * 365 * 86400 * NS_PER_SEC;
                        assert_true(mapsession_next_expiry(s, now) > now);
                        assert_int_equal(mapsession_expire(s, now, &d), ERR_NONE);
                        assert_int_equal(d.peer_count, 0);
                }
                assert_false(netmap_peer(mapsession_map(s), BETA)->expired);
                /* What ran out long ago is either said to have, or not waited for. */
                snprintf(text, sizeof(text), "{\"PeersChangedPatch\":[{\"NodeID\":2,\"KeyExpiry\":\"%s\"}]}", ends[1]);
                must(s, text, &news);
                assert_true(mapsession_next_expiry(s, RECORDED_NS) > RECORDED_NS);
                mapsession_free(s);
        }
}

/* However the server writes them, they are kept as the library writes them. */
static void test_capabilities_are_kept_in_one_form(void **state)
{
        (void)state;
        static const char *const texts[] = {"{}", "{ }", "{\"a\":null}", "{\"a\":null,\"b\":[]}", "{\"b\":[],\"a\":null}",
                "{\"a\": null}", "{\"a\":[\"x\",true,false,null,{\"c\":[],\"d\":{}}]}", "{\"a\":[{\"d\":1,\"c\":2}]}",
                "{\"a\":[{\"d\":null,\"c\":null}]}", "{\"a\":[\"\\u0041\"]}", "{\"\\u0061\":null}", "{\"a\":[1,-0,1.50,1e2]}",
                "{\"a\":null,\"a\":[]}", "{\"a\":[{\"b\":null,\"b\":[]}]}", "{\"a\":[ ]}", "{\"a\":[\"\\/\",\"\xc3\xa9\"]}", "{\"\":null}",
                "{\"ab\":null,\"b\":null,\"\xc3\xa9\":null}", "{\"b\":null,\"ab\":null}", "{\"a\":{\"\\ud83d\\ude00\":null}}"};
        struct jview_room room = {0};
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                char node[512];
                struct netmap_node *n;
                snprintf(node, sizeof(node), "{\"ID\":2,\"Key\":\"nodekey:%064d\",\"CapMap\":%s}", 1, texts[i]);
                assert_int_equal(netmap_node_read(&room, node, strlen(node), false, &n), ERR_NONE);
                json_t *tree = json_parse(texts[i], strlen(texts[i]));
                char *want = json_dumps(tree, JSON_COMPACT | JSON_SORT_KEYS);
                assert_string_equal(n->cap_map, json_object_size(tree) > 0 ? want : "");
                free(want);
                json_decref(tree);
                free(n);
        }
        jview_done(&room);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_first),
                cmocka_unit_test(test_patch),
                cmocka_unit_test(test_as_it_was), cmocka_unit_test(test_new_key),
                cmocka_unit_test(test_lists),
                cmocka_unit_test(test_list_again),
                cmocka_unit_test(test_seen),
                cmocka_unit_test(test_filter),
                cmocka_unit_test(test_derp_deltas),
                cmocka_unit_test(test_other_parts),
                cmocka_unit_test(test_restart),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_self_expiry_by_the_local_clock),
                cmocka_unit_test(test_odd_peer),
                cmocka_unit_test(test_expiry_after_the_clock_was_set),
                cmocka_unit_test(test_expiry),
                cmocka_unit_test(test_a_clock_out_of_all_reason),
                cmocka_unit_test(test_capabilities_are_kept_in_one_form),
                cmocka_unit_test(test_capabilities),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
