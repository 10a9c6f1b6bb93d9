/* Known answers computed with independent primitives (a live handshake with another implementation was
 * completed by the same program), then the properties that the handshake must keep. */
#include "base/crypto.h"
#include "base/mono.h"
#include "tests/unit/check.h"
#include "wg/cookie.h"
#include "wg/noise.h"

#define SI "0001010101010101010101010101010101010101010101010101010101010141"
#define SR "0002020202020202020202020202020202020202020202020202020202020242"
#define EI "0003030303030303030303030303030303030303030303030303030303030343"
#define ER "0004040404040404040404040404040404040404040404040404040404040444"
#define INITIATION                                                                                             \
        "01000000443322115dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef220a26599fb2188bb7"     \
        "23276fc173af67616c817fc32fd04d686d87ec152fac10eed2bda3bb3b6f1eded6977684082284d817fb46b3a99b6be3"     \
        "ba273ed6bd1d8fe1a4439e0750c0497239b13139ad92e2cb3c0f93af703ee3e17e1291b8000000000000000000000000"     \
        "00000000"
#define RESPONSE                                                                                               \
        "020000008877665544332211ac01b2209e86354fb853237b5de0f4fab13c7fcbf433a61c019369617fecf10b2782d6e4"     \
        "4b378393f919fcb69a8685cdf607330f33e17a33d19b8b2646196e9300000000000000000000000000000000"

struct pair {
        struct noise_local us[2];       /* 0 initiates */
        struct noise_remote them[2];    /* as seen by 0 and by 1 */
        struct key_private ephemeral[2];
        struct noise_initiation init;
        struct noise_call call;
        struct noise_keys keys[2];
        uint8_t stamp[STAMP_LEN];
        uint8_t initiation[MSG_INITIATION_LEN];
        uint8_t response[MSG_RESPONSE_LEN];
};

static void pair_init(struct pair *p)
{
        static const char *const hex[2] = {SI, SR};
        struct key_private k;
        memset(p, 0, sizeof(*p));
        for (int i = 0; i < 2; i++) {
                assert_int_equal(check_unhex(hex[i], k.b, KEY_LEN), KEY_LEN);
                noise_local_set(&p->us[i], &k);
        }
        for (int i = 0; i < 2; i++) {
                noise_remote_set(&p->them[i], &p->us[1 - i].pub);
                check_count_up(p->them[i].psk, 32, 0);
        }
        assert_int_equal(check_unhex(EI, p->ephemeral[0].b, KEY_LEN), KEY_LEN);
        assert_int_equal(check_unhex(ER, p->ephemeral[1].b, KEY_LEN), KEY_LEN);
        assert_int_equal(check_unhex("400000006553f10a07000000", p->stamp, STAMP_LEN), STAMP_LEN);
}

static enum err initiate(struct pair *p)
{
        return noise_initiate(&p->init, &p->us[0], &p->them[0], &p->ephemeral[0], 0x11223344, p->stamp, p->initiation);
}

static enum err consume_initiation(struct pair *p)
{
        enum err e = noise_peek(&p->call, &p->us[1], p->initiation);
        if (e != ERR_NONE)
                return e;
        e = noise_accept(&p->call, &p->us[1], &p->them[1], p->initiation);
        if (e != ERR_NONE)
                return e;
        return noise_respond(&p->call, &p->them[1], &p->ephemeral[1], 0x55667788, p->response, &p->keys[1]);
}

static enum err finish(struct pair *p)
{
        return noise_finish(&p->init, &p->us[0], &p->them[0], p->response, &p->keys[0]);
}

static void test_known_answers(void **state)
{
        struct pair p;
        struct cookie_jar none = {0};
        mono_t now = {1};
        (void)state;
        pair_init(&p);
        check_hex(p.us[0].pub.b, 32, "a4e09292b651c278b9772c569f5fa9bb13d906b46ab68c9df9dc2b4409f8a209");
        check_hex(p.us[1].pub.b, 32, "ce8d3ad1ccb633ec7b70c17814a5c76ecd029685050d344745ba05870e587d59");
        check_hex(p.us[1].mac1_key, 32, "8ac7c2b7fb4ed59b7e3ab6ef7a5949c7ab308f5ba01a2a15d6dfa872d8af0f43");
        check_hex(p.us[1].cookie_key, 32, "39623c72c0367f5b460dccec5e4d92c918d0917d7fba9aea33119c4e3c9ae0d2");
        assert_memory_equal(p.them[0].mac1_key, p.us[1].mac1_key, 32);
        assert_memory_equal(p.them[0].cookie_key, p.us[1].cookie_key, 32);

        assert_int_equal(initiate(&p), ERR_NONE);
        cookie_add_macs(p.them[0].mac1_key, &none, p.initiation, sizeof(p.initiation), now);
        check_hex(p.initiation, sizeof(p.initiation), INITIATION);
        check_hex(p.them[0].ss, 32, "2ed76ab549b1e73c031eb49c9448f0798aea81b698279a0c3dc3e49fbfc4b953");
        check_hex(p.init.hash, 32, "b7d29f18bb8f011b04f23f9431c251fd1744bb27493041e68038ebe5e0f7b6ed");
        check_hex(p.init.chain, 32, "4696b0ed00cff9c62cf447eb5f9c899d508e66b889a8cef23c4ae5c60f902b5e");

        assert_int_equal(consume_initiation(&p), ERR_NONE);
        cookie_add_macs(p.them[1].mac1_key, &none, p.response, sizeof(p.response), now);
        check_hex(p.response, sizeof(p.response), RESPONSE);
        assert_int_equal(finish(&p), ERR_NONE);
        check_hex(p.keys[0].send, 32, "fabf2974d2119dba6cf6c427de7e432fbece8bd9c7b5c548e0a19d24b4242e3e");
        check_hex(p.keys[0].recv, 32, "946b6be48024f591049d4519af550b2b94a754615cc30d0ea84789b8d350a418");
        assert_memory_equal(p.keys[0].send, p.keys[1].recv, 32);
        assert_memory_equal(p.keys[0].recv, p.keys[1].send, 32);
}

/* Every byte before the MACs, turned: refused, and nobody's state has moved. */
static void test_every_byte_counts(void **state)
{
        struct pair p;
        (void)state;
        pair_init(&p);
        assert_int_equal(initiate(&p), ERR_NONE);
        assert_int_equal(noise_remote_ready(&p.them[1], &p.us[1]), ERR_NONE);
        struct noise_remote before = p.them[1];
        for (size_t at = MSG_INITIATION_EPHEMERAL; at < msg_mac1_at(MSG_INITIATION_LEN); at++) {
                p.initiation[at] ^= 0xff;
                assert_int_equal(consume_initiation(&p), ERR_AUTH);
                p.initiation[at] ^= 0xff;
                assert_memory_equal(&p.them[1], &before, sizeof(before));
        }
        assert_int_equal(consume_initiation(&p), ERR_NONE);

        struct noise_initiation open = p.init;
        for (size_t at = MSG_RESPONSE_EPHEMERAL; at < msg_mac1_at(MSG_RESPONSE_LEN); at++) {
                p.response[at] ^= 0xff;
                assert_int_equal(finish(&p), ERR_AUTH);
                p.response[at] ^= 0xff;
                assert_memory_equal(&p.init, &open, sizeof(open));
        }
        assert_int_equal(finish(&p), ERR_NONE);
}

static void test_stamps_only_rise(void **state)
{
        struct pair p;
        (void)state;
        pair_init(&p);
        assert_int_equal(initiate(&p), ERR_NONE);
        assert_int_equal(consume_initiation(&p), ERR_NONE);
        assert_memory_equal(p.them[1].stamp_seen, p.stamp, STAMP_LEN);
        assert_int_equal(consume_initiation(&p), ERR_REPLAY);
        p.stamp[11]++;   /* one nanosecond is enough */
        assert_int_equal(initiate(&p), ERR_NONE);
        assert_int_equal(consume_initiation(&p), ERR_NONE);
        p.stamp[0]--;
        assert_int_equal(initiate(&p), ERR_NONE);
        assert_int_equal(consume_initiation(&p), ERR_REPLAY);
}

/* Two calls in flight: the older may not be answered after the newer. */
static void test_respond_rechecks(void **state)
{
        struct pair p;
        struct noise_call old;
        (void)state;
        pair_init(&p);
        assert_int_equal(initiate(&p), ERR_NONE);
        assert_int_equal(noise_peek(&old, &p.us[1], p.initiation), ERR_NONE);
        assert_int_equal(noise_respond(&old, &p.them[1], &p.ephemeral[1], 1, p.response, &p.keys[1]), ERR_STATE);
        assert_int_equal(noise_accept(&old, &p.us[1], &p.them[1], p.initiation), ERR_NONE);
        p.stamp[9]++;
        assert_int_equal(initiate(&p), ERR_NONE);
        assert_int_equal(consume_initiation(&p), ERR_NONE);
        assert_int_equal(noise_respond(&old, &p.them[1], &p.ephemeral[1], 1, p.response, &p.keys[1]), ERR_STATE);
}

static void test_stamp_of_time(void **state)
{
        uint8_t last[STAMP_LEN] = {0};
        uint8_t s[STAMP_LEN];
        const int64_t t = 1700000000 * NS_PER_SEC;
        (void)state;
        noise_stamp(s, t + 123456789, last);
        check_hex(s, STAMP_LEN, "400000006553f10a07000000");
        memcpy(last, s, sizeof(last));
        static const struct {
                int row;
                int64_t ns;
                const char *want;
        } rows[] = {
                {1, 123456789, "400000006553f10a08000000"},    /* the same moment: a step on */
                {2, -3600000000000, "400000006553f10a09000000"}, /* the clock went back */
                {3, 999999999, "400000006553f10a3b000000"},    /* low bits never show */
                {4, 999999999, "400000006553f10b00000000"},    /* a step on across the second */
                {5, 1000000000, "400000006553f10b01000000"},
                {6, -1700000000000000000 - 5, "400000006553f10b02000000"},   /* before 1970 */
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                uint8_t want[STAMP_LEN];
                noise_stamp(s, t + rows[i].ns, last);
                check_unhex(rows[i].want, want, sizeof(want));
                if (memcmp(s, want, sizeof(want)) != 0)
                        fail_msg("row %d", rows[i].row);
                memcpy(last, s, sizeof(last));
        }
}

/* Keys that make a Diffie-Hellman result of zero never get an answer, nor a call. */
static void test_low_order_keys(void **state)
{
        static const char *const low[] = {
                "0000000000000000000000000000000000000000000000000000000000000000",
                "0100000000000000000000000000000000000000000000000000000000000000",
                "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
                "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
                "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        };
        (void)state;
        for (size_t i = 0; i < sizeof(low) / sizeof(low[0]); i++) {
                struct pair p;
                struct node_public pub;
                pair_init(&p);
                check_unhex(low[i], pub.b, KEY_LEN);
                assert_int_equal(initiate(&p), ERR_NONE);
                uint8_t good[MSG_INITIATION_LEN];
                memcpy(good, p.initiation, sizeof(good));
                memcpy(p.initiation + MSG_INITIATION_EPHEMERAL, pub.b, KEY_LEN);
                assert_int_equal(consume_initiation(&p), ERR_AUTH);

                memcpy(p.initiation, good, sizeof(good));
                assert_int_equal(consume_initiation(&p), ERR_NONE);
                memcpy(p.response + MSG_RESPONSE_EPHEMERAL, pub.b, KEY_LEN);
                assert_int_equal(finish(&p), ERR_AUTH);

                noise_remote_set(&p.them[0], &pub);
                assert_int_equal(noise_remote_ready(&p.them[0], &p.us[0]), ERR_AUTH);
                assert_int_equal(initiate(&p), ERR_AUTH);
        }
}

static bool all_zero(const void *p, size_t n)
{
        const uint8_t *b = p;
        uint8_t any = 0;
        for (size_t i = 0; i < n; i++)
                any |= b[i];
        return any == 0;
}

static void test_wiping(void **state)
{
        struct pair p;
        struct key_private none = {0};
        (void)state;
        pair_init(&p);
        assert_int_equal(initiate(&p), ERR_NONE);
        assert_int_equal(consume_initiation(&p), ERR_NONE);
        assert_true(all_zero(&p.call, sizeof(p.call)));   /* by noise_respond() */
        noise_local_set(&p.us[0], &none);
        assert_false(p.us[0].is_set);
        assert_true(all_zero(&p.us[0], sizeof(p.us[0])));
        noise_remote_forget_ss(&p.them[0]);
        assert_true(all_zero(p.them[0].ss, 32));
}

static int setup(void **state)
{
        (void)state;
        return crypto_init() == ERR_NONE ? 0 : -1;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_known_answers),
                cmocka_unit_test(test_every_byte_counts),
                cmocka_unit_test(test_stamps_only_rise),
                cmocka_unit_test(test_respond_rechecks),
                cmocka_unit_test(test_stamp_of_time),
                cmocka_unit_test(test_low_order_keys),
                cmocka_unit_test(test_wiping),
        };
        return cmocka_run_group_tests(tests, setup, NULL);
}
