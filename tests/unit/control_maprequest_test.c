/* Map requests, the frames of the answer, plain and compressed, and Hostinfo. */
#include "tests/unit/check.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/reader.h"
#include "daemon/control/maprequest.h"

static unsigned count;
static char last[64];
static enum err answer;

static enum err on_message(void *arg, const char *json, size_t len)
{
        (void)arg;
        count++;
        assert_true(len < sizeof(last));
        memcpy(last, json, len);
        last[len] = '\0';
        return answer;
}

static void start(struct map_frames *f, bool compressed)
{
        map_frames_init(f);
        f->compressed = compressed;
        count = 0;
        answer = ERR_NONE;
        last[0] = '\0';
}

static const char PLAIN[] = "\x12\0\0\0{\"KeepAlive\":true}";
enum { PLAIN_LEN = sizeof(PLAIN) - 1 };

static void test_frames(void **state)
{
        (void)state;
        struct map_frames f;
        start(&f, false);
        for (size_t i = 0; i < PLAIN_LEN; i++) {
                assert_int_equal(count, 0);
                assert_int_equal(map_frames_feed(&f, PLAIN + i, 1, on_message, NULL), ERR_NONE);
        }
        assert_int_equal(count, 1);
        assert_string_equal(last, "{\"KeepAlive\":true}");

        /* Several in one piece, the last one cut. */
        char many[3 * PLAIN_LEN];
        for (size_t i = 0; i < 3; i++)
                memcpy(many + i * PLAIN_LEN, PLAIN, PLAIN_LEN);
        assert_int_equal(map_frames_feed(&f, many, sizeof(many) - 3, on_message, NULL), ERR_NONE);
        assert_int_equal(count, 3);
        assert_int_equal(map_frames_feed(&f, many + sizeof(many) - 3, 3, on_message, NULL), ERR_NONE);
        assert_int_equal(count, 4);

        answer = ERR_FORMAT; /* a refused message stops the rest */
        assert_int_equal(map_frames_feed(&f, many, sizeof(many), on_message, NULL), ERR_FORMAT);
        assert_int_equal(count, 5);
        map_frames_done(&f);
}

static void test_bad_lengths(void **state)
{
        (void)state;
        struct map_frames f;
        start(&f, false);
        assert_int_equal(map_frames_feed(&f, "\0\0\0\0", 4, on_message, NULL), ERR_FORMAT);
        map_frames_done(&f);
        start(&f, false);
        assert_int_equal(map_frames_feed(&f, "\x01\0\0\x04", 4, on_message, NULL), ERR_FULL);
        map_frames_done(&f);
}

static const uint8_t ZSTD[] = {
        0x1f, 0,    0,    0,    0x28, 0xb5, 0x2f, 0xfd, 0x24, 0x12, 0x91, 0x00,
        0x00, 0x7b, 0x22, 0x4b, 0x65, 0x65, 0x70, 0x41, 0x6c, 0x69, 0x76, 0x65,
        0x22, 0x3a, 0x74, 0x72, 0x75, 0x65, 0x7d, 0x0e, 0x26, 0x0c, 0x10,
};

static void test_compressed(void **state)
{
        (void)state;
        struct map_frames f;
        if (!map_can_decompress())
                skip_because("built without libzstd");
        start(&f, true);
        assert_int_equal(map_frames_feed(&f, ZSTD, sizeof(ZSTD), on_message, NULL), ERR_NONE);
        assert_int_equal(count, 1);
        assert_string_equal(last, "{\"KeepAlive\":true}");
        /* A server that does not compress although asked to. */
        assert_int_equal(map_frames_feed(&f, PLAIN, PLAIN_LEN, on_message, NULL), ERR_NONE);
        assert_int_equal(count, 2);
        map_frames_done(&f);

        /* A server that does not compress answers as it is used to. */
        static const uint8_t AS_IT_IS[] = "\x12\0\0\0{\"KeepAlive\":true}";
        start(&f, true);
        assert_int_equal(map_frames_feed(&f, AS_IT_IS, sizeof(AS_IT_IS) - 1, on_message, NULL), ERR_NONE);
        assert_int_equal(count, 1);
        assert_string_equal(last, "{\"KeepAlive\":true}");
        map_frames_done(&f);

        /* Every single damaged byte is found; only the checksum is exact enough for the content. */
        for (size_t i = 4; i < sizeof(ZSTD); i++) {
                uint8_t bad[sizeof(ZSTD)];
                memcpy(bad, ZSTD, sizeof(bad));
                bad[i] ^= 0xff;
                start(&f, true);
                assert_int_not_equal(map_frames_feed(&f, bad, sizeof(bad), on_message, NULL), ERR_NONE);
                assert_int_equal(count, 0);
                map_frames_done(&f);
        }
        /* A frame that is shorter than it says. */
        for (size_t n = 1; n < sizeof(ZSTD) - 4; n++) {
                uint8_t cut[sizeof(ZSTD)];
                memcpy(cut, ZSTD, sizeof(cut));
                cut[0] = (uint8_t)n;
                start(&f, true);
                assert_int_equal(map_frames_feed(&f, cut, 4 + n, on_message, NULL), ERR_FORMAT);
                map_frames_done(&f);
        }
}

/* A few kilobytes that unpack to more than any map; and a window that alone would take 128 MiB. */
static void test_bomb(void **state)
{
        (void)state;
        enum { BLOCK = 128 * 1024, BLOCKS = MAP_FRAME_MAX / BLOCK + 1 };
        static uint8_t bomb[4 + 6 + 4 * BLOCKS];
        struct map_frames f;
        if (!map_can_decompress())
                skip_because("built without libzstd");
        for (int large_window = 0; large_window < 2; large_window++) {
                size_t blocks = large_window ? 1 : BLOCKS, n = 4;
                store_le32(bomb + n, 0xfd2fb528);   /* the magic number */
                bomb[n + 4] = 0;
                bomb[n + 5] = large_window ? 17 << 3 : 7 << 3;   /* 2^27 or 2^17 bytes */
                n += 6;
                for (size_t i = 0; i < blocks; i++, n += 4) {
                        uint32_t head = (uint32_t)(i + 1 == blocks) | 1 << 1 | BLOCK << 3;   /* one byte, repeated */
                        store_le32(bomb + n, head);
                        bomb[n + 3] = ' ';
                }
                store_le32(bomb, (uint32_t)(n - 4));
                start(&f, true);
                assert_int_equal(map_frames_feed(&f, bomb, n, on_message, NULL), large_window ? ERR_FORMAT : ERR_FULL);
                assert_int_equal(count, 0);
                map_frames_done(&f);
        }
}

static void test_request(void **state)
{
        (void)state;
        json_t *host = json_pack("{s:s}", "Hostname", "alpha");
        struct control_endpoint eps[2] = {
                {{ip_v4(192, 0, 2, 10), 41641}, CONTROL_ENDPOINT_LOCAL},
                {{ip_v4(203, 0, 113, 7), 41641}, CONTROL_ENDPOINT_STUN},
        };
        struct map_request rq = {
                .version = 138,
                .node_key = {{1}},
                .disco = {{2}},
                .hostinfo = host,
                .endpoints = eps,
                .endpoint_count = 2,
                .stream = true,
        };
        char *text = map_request_build(&rq);
        json_t *o = json_parse(text, strlen(text));
        assert_true(json_bool(o, "Stream", false));
        assert_false(json_has(o, "OmitPeers"));
        assert_string_equal(json_string_value(json_array_get(json_arr(o, "Endpoints"), 1)),
                            "203.0.113.7:41641");
        assert_int_equal(json_integer_value(json_array_get(json_arr(o, "EndpointTypes"), 1)), 2);
        assert_string_equal(json_str(o, "Compress", ""), map_can_decompress() ? "zstd" : "");
        assert_true(json_has(o, "DiscoKey"));
        json_decref(o);
        free(text);
        rq.stream = false;
        rq.endpoint_count = 0;
        text = map_request_build(&rq);
        o = json_parse(text, strlen(text));
        assert_false(json_has(o, "Stream"));
        assert_true(json_bool(o, "OmitPeers", false));
        assert_true(json_has(o, "Endpoints")); /* an empty list clears what the server has */
        assert_true(json_has(o, "DiscoKey"));
        json_decref(o);
        free(text);
        json_decref(host);
}

static void test_os_release(void **state)
{
        (void)state;
        static const char text[] = "PRETTY_NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\nVERSION_CODENAME='"
                                   "bookworm'\r\nID_LIKE=x";
        struct hostinfo_os os = {0};
        hostinfo_parse_os_release(&os, text, sizeof(text) - 1);
        assert_string_equal(os.distro, "debian");
        assert_string_equal(os.distro_version, "12");
        assert_string_equal(os.distro_code_name, "bookworm");
        for (size_t n = 0; n < sizeof(text); n++) {
                char *copy = malloc(n > 0 ? n : 1);
                memcpy(copy, text, n);
                memset(&os, 0, sizeof(os));
                hostinfo_parse_os_release(&os, copy, n);
                assert_true(strlen(os.distro) <= 6);
                free(copy);
        }
}

static void test_hostinfo(void **state)
{
        (void)state;
        struct prefix routes[4];
        static const char *const tags[] = {"tag:a"};
        assert_int_equal(prefix_parse("10.1.2.3/16", &routes[0]), ERR_NONE);
        assert_int_equal(prefix_parse("0.0.0.0/0", &routes[1]), ERR_NONE);
        assert_int_equal(prefix_parse("10.1.0.0/16", &routes[2]), ERR_NONE);
        assert_int_equal(prefix_parse("::/0", &routes[3]), ERR_NONE);
        struct hostinfo_service services[] = {{"peerapi4", 1234}};
        struct hostinfo h = {
                .hostname = "alpha",
                .routable_ips = routes,
                .routable_count = 4,
                .request_tags = tags,
                .tag_count = 1,
                .services = services,
                .service_count = 1,
                .shields_up = true,
                .userspace = TRI_FALSE,
        };
        json_t *o = hostinfo_to_json(&h);
        char *text = json_dumps(json_object_get(o, "RoutableIPs"), JSON_COMPACT);
        assert_string_equal(text, "[\"0.0.0.0/0\",\"10.1.0.0/16\",\"::/0\"]"); /* masked, sorted, once each */
        free(text);
        assert_string_equal(json_str(o, "OS", ""), "linux");
        assert_string_equal(json_str(o, "Hostname", ""), "alpha");
        assert_true(json_bool(o, "ShieldsUp", false));
        assert_true(json_is_false(json_object_get(o, "Userspace")));
        assert_false(json_has(o, "UserspaceRouter"));
        assert_false(json_has(o, "NetInfo"));
        json_decref(o);
}

static void test_netinfo(void **state)
{
        (void)state;
        struct netinfo_latency l[2] = {{900, false, 0.021}, {900, true, 0.5}};
        struct netinfo a = {.working_udp = TRI_TRUE, .preferred_derp = 900, .latency = l, .latency_count = 1};
        struct netinfo b = a;
        b.latency_count = 2;
        json_t *x = netinfo_to_json(&a);
        json_t *y = netinfo_to_json(&b);
        assert_true(json_num(json_obj(y, "DERPLatency"), "900-v6", 0) > 0.4);
        assert_true(netinfo_json_same(x, y)); /* latency alone is no news */
        json_decref(y);
        b.preferred_derp = 901;
        y = netinfo_to_json(&b);
        assert_false(netinfo_json_same(x, y));
        json_decref(x);
        json_decref(y);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_frames),     cmocka_unit_test(test_bad_lengths),
                cmocka_unit_test(test_compressed), cmocka_unit_test(test_bomb), cmocka_unit_test(test_request),
                cmocka_unit_test(test_os_release), cmocka_unit_test(test_hostinfo),
                cmocka_unit_test(test_netinfo),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
