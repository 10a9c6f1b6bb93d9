#include "wg/cookie.h"

#include <string.h>

#include "base/crypto.h"

static bool fresh(mono_t since, mono_t now, int seconds)
{
        return mono_is_set(since) && mono_diff_ns(now, since) < seconds * NS_PER_SEC;
}

bool cookie_mac1_ok(const uint8_t mac1_key[32], const uint8_t *msg, size_t len)
{
        uint8_t mac[MSG_MAC_LEN];
        size_t at = msg_mac1_at(len);
        blake2s_mac16(mac, mac1_key, 32, msg, at);
        return crypto_eq(mac, msg + at, sizeof(mac));
}

void cookie_add_macs(const uint8_t mac1_key[32], const struct cookie_jar *jar, uint8_t *msg, size_t len, mono_t now)
{
        size_t at1 = msg_mac1_at(len);
        size_t at2 = msg_mac2_at(len);
        blake2s_mac16(msg + at1, mac1_key, 32, msg, at1);
        if (fresh(jar->at, now, COOKIE_USE_S))
                blake2s_mac16(msg + at2, jar->cookie, COOKIE_LEN, msg, at2);
        else
                memset(msg + at2, 0, MSG_MAC_LEN);
}

static void cookie_of(const struct cookie_checker *c, const struct cookie_source *src, uint8_t ret[COOKIE_LEN])
{
        blake2s_mac16(ret, c->secret, sizeof(c->secret), src->b, src->len);
}

bool cookie_mac2_ok(const struct cookie_checker *c, const struct cookie_source *src, const uint8_t *msg,
        size_t len, mono_t now)
{
        uint8_t cookie[COOKIE_LEN];
        uint8_t mac[MSG_MAC_LEN];
        size_t at = msg_mac2_at(len);
        if (!fresh(c->secret_at, now, COOKIE_SECRET_S))
                return false;
        cookie_of(c, src, cookie);
        blake2s_mac16(mac, cookie, sizeof(cookie), msg, at);
        bool ok = crypto_eq(mac, msg + at, sizeof(mac));
        crypto_wipe(cookie, sizeof(cookie));
        return ok;
}

void cookie_reply(struct cookie_checker *c, const uint8_t cookie_key[32], const struct cookie_source *src,
        const uint8_t *msg, size_t len, const uint8_t nonce[24], mono_t now, uint8_t ret_reply[MSG_COOKIE_LEN])
{
        uint8_t cookie[COOKIE_LEN];
        if (!fresh(c->secret_at, now, COOKIE_SECRET_S)) {
                crypto_random(c->secret, sizeof(c->secret));
                c->secret_at = now;
        }
        cookie_of(c, src, cookie);
        store_le32(ret_reply, MSG_COOKIE);
        memcpy(ret_reply + MSG_RECEIVER, msg + MSG_SENDER, 4);
        memcpy(ret_reply + MSG_COOKIE_NONCE, nonce, 24);
        /* Bound to mac1, so that only who saw the question can forge an answer. */
        xaead_seal(cookie_key, nonce, msg + msg_mac1_at(len), MSG_MAC_LEN, cookie, sizeof(cookie),
                ret_reply + MSG_COOKIE_SEALED);
        crypto_wipe(cookie, sizeof(cookie));
}

enum err cookie_consume(struct cookie_jar *jar, const uint8_t cookie_key[32], const uint8_t mac1[MSG_MAC_LEN],
        const uint8_t reply[MSG_COOKIE_LEN], mono_t now)
{
        uint8_t cookie[COOKIE_LEN];
        enum err e = xaead_open(cookie_key, reply + MSG_COOKIE_NONCE, mac1, MSG_MAC_LEN,
                reply + MSG_COOKIE_SEALED, COOKIE_LEN + MSG_TAG_LEN, cookie);
        if (e == ERR_NONE) {
                memcpy(jar->cookie, cookie, sizeof(cookie));
                jar->at = now;
        }
        crypto_wipe(cookie, sizeof(cookie));
        return e;
}
