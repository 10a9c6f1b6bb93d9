/* MACs and cookies: known answers, then what a cookie is bound to. */
#include "base/crypto.h"
#include "tests/unit/check.h"
#include "wg/cookie.h"

#define COOKIE_KEY "39623c72c0367f5b460dccec5e4d92c918d0917d7fba9aea33119c4e3c9ae0d2"
#define MAC1_KEY "8ac7c2b7fb4ed59b7e3ab6ef7a5949c7ab308f5ba01a2a15d6dfa872d8af0f43"
#define INITIATION                                                                                             \
        "01000000443322115dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef220a26599fb2188bb7"     \
        "23276fc173af67616c817fc32fd04d686d87ec152fac10eed2bda3bb3b6f1eded6977684082284d817fb46b3a99b6be3"     \
        "ba273ed6bd1d8fe1a4439e0750c0497239b13139ad92e2cb3c0f93af703ee3e17e1291b8000000000000000000000000"     \
        "00000000"
#define REPLY                                                                                                  \
        "0300000044332211404142434445464748494a4b4c4d4e4f5051525354555657218f8923a7f521886063eb80de471216"     \
        "7271d8f77459adb851b698dda654ab34"

struct world {
        struct cookie_checker checker;
        struct cookie_jar jar;
        struct cookie_source src;
        uint8_t mac1_key[32], cookie_key[32], nonce[24];
        uint8_t msg[MSG_INITIATION_LEN];
        uint8_t reply[MSG_COOKIE_LEN];
        mono_t now;
};

static void world_init(struct world *w)
{
        static const uint8_t source[6] = {192, 0, 2, 1, 0xca, 0x6c};
        memset(w, 0, sizeof(*w));
        w->now = (mono_t){1000 * NS_PER_SEC};
        check_unhex(MAC1_KEY, w->mac1_key, 32);
        check_unhex(COOKIE_KEY, w->cookie_key, 32);
        check_unhex(INITIATION, w->msg, sizeof(w->msg));
        check_count_up(w->nonce, 24, 0x40);
        check_count_up(w->checker.secret, 32, 0x20);
        w->checker.secret_at = w->now;
        memcpy(w->src.b, source, 6);
        w->src.len = 6;
}

static void reply(struct world *w)
{
        cookie_reply(&w->checker, w->cookie_key, &w->src, w->msg, sizeof(w->msg), w->nonce, w->now, w->reply);
}

static enum err consume(struct world *w)
{
        return cookie_consume(&w->jar, w->cookie_key, w->msg + msg_mac1_at(sizeof(w->msg)), w->reply, w->now);
}

static bool mac2_ok(const struct world *w)
{
        return cookie_mac2_ok(&w->checker, &w->src, w->msg, sizeof(w->msg), w->now);
}

static void test_known_answers(void **state)
{
        struct world w;
        (void)state;
        world_init(&w);
        assert_true(cookie_mac1_ok(w.mac1_key, w.msg, sizeof(w.msg)));
        reply(&w);
        check_hex(w.reply, sizeof(w.reply), REPLY);
        assert_int_equal(consume(&w), ERR_NONE);
        check_hex(w.jar.cookie, COOKIE_LEN, "43e8afc193b0a02280b8727a5c7e75b3");
        assert_false(mac2_ok(&w));
        cookie_add_macs(w.mac1_key, &w.jar, w.msg, sizeof(w.msg), w.now);
        check_hex(w.msg + msg_mac2_at(sizeof(w.msg)), MSG_MAC_LEN, "1d5b5f1cdb082a19636566552a42424a");
        assert_true(mac2_ok(&w));
}

static void test_mac1_covers_all(void **state)
{
        struct world w;
        (void)state;
        world_init(&w);
        for (size_t at = 0; at < msg_mac2_at(sizeof(w.msg)); at++) {
                w.msg[at] ^= 1;
                assert_false(cookie_mac1_ok(w.mac1_key, w.msg, sizeof(w.msg)));
                w.msg[at] ^= 1;
        }
}

static void test_reply_is_bound(void **state)
{
        struct world w;
        (void)state;
        world_init(&w);
        reply(&w);
        for (size_t at = MSG_COOKIE_NONCE; at < MSG_COOKIE_LEN; at++) {
                w.reply[at] ^= 0x80;
                assert_int_equal(consume(&w), ERR_AUTH);
                w.reply[at] ^= 0x80;
        }
        w.msg[msg_mac1_at(sizeof(w.msg))] ^= 1;   /* a reply to another message */
        assert_int_equal(consume(&w), ERR_AUTH);
        assert_false(mono_is_set(w.jar.at));
}

static void test_cookie_is_bound(void **state)
{
        struct world w;
        (void)state;
        world_init(&w);
        reply(&w);
        assert_int_equal(consume(&w), ERR_NONE);
        cookie_add_macs(w.mac1_key, &w.jar, w.msg, sizeof(w.msg), w.now);
        for (size_t at = 0; at < w.src.len; at++) {   /* another address, another port */
                w.src.b[at] ^= 1;
                assert_false(mac2_ok(&w));
                w.src.b[at] ^= 1;
        }
        w.src.len = 4;   /* the address alone */
        assert_false(mac2_ok(&w));
        w.src.len = 6;
        assert_true(mac2_ok(&w));
        w.checker.secret[0] ^= 1;
        assert_false(mac2_ok(&w));
}

static void test_times(void **state)
{
        struct world w;
        struct cookie_jar jar;
        static const uint8_t zero[MSG_MAC_LEN];
        uint8_t secret[32];
        (void)state;
        world_init(&w);
        memcpy(secret, w.checker.secret, 32);
        reply(&w);
        assert_int_equal(consume(&w), ERR_NONE);
        jar = w.jar;
        cookie_add_macs(w.mac1_key, &w.jar, w.msg, sizeof(w.msg), w.now);
        mono_t start = w.now;
        w.now = mono_add_ms(start, 119999);
        assert_true(mac2_ok(&w));
        w.now = mono_add_ms(start, 120000);
        assert_false(mac2_ok(&w));
        reply(&w);   /* makes a new secret */
        assert_memory_not_equal(w.checker.secret, secret, 32);
        assert_false(mac2_ok(&w));

        const uint8_t *mac2 = w.msg + msg_mac2_at(sizeof(w.msg));
        cookie_add_macs(w.mac1_key, &jar, w.msg, sizeof(w.msg), mono_add_ms(start, 114999));
        assert_memory_not_equal(mac2, zero, sizeof(zero));
        cookie_add_macs(w.mac1_key, &jar, w.msg, sizeof(w.msg), mono_add_ms(start, 115000));
        assert_memory_equal(mac2, zero, sizeof(zero));
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
                cmocka_unit_test(test_mac1_covers_all),
                cmocka_unit_test(test_reply_is_bound),
                cmocka_unit_test(test_cookie_is_bound),
                cmocka_unit_test(test_times),
        };
        return cmocka_run_group_tests(tests, setup, NULL);
}
