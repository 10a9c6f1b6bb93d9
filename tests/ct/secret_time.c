/* Does the time of an operation tell of its secrets?  Run under valgrind's memcheck: secrets are marked as undefined,
 * and memcheck then complains of each branch and each address that depends on one.  Results that are public are
 * marked as defined again before they are looked at.
 *
 *   secret_time         all operations; memcheck must find nothing
 *   secret_time leak    a compare that gives up early; memcheck must find it
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/memcheck.h>

#include "base/crypto.h"
#include "base/key.h"
#include "wg/cookie.h"
#include "wg/message.h"

static void must(bool held, const char *what)
{
        if (held)
                return;
        fprintf(stderr, "%s: wrong result\n", what);
        exit(2);
}

static void make_secret(void *p, size_t n)
{
        (void)VALGRIND_MAKE_MEM_UNDEFINED(p, n);
}

static void make_public(void *p, size_t n)
{
        (void)VALGRIND_MAKE_MEM_DEFINED(p, n);
}

static void fill(uint8_t *p, size_t n, uint8_t first)
{
        for (size_t i = 0; i < n; i++)
                p[i] = (uint8_t)(first + 7 * i);
}

/* The compare behind every check of a code or key: equal, different at each end. */
static void compares(void)
{
        uint8_t a[32], b[32];
        for (int differ = 0; differ < 3; differ++) {
                fill(a, sizeof(a), 3);
                memcpy(b, a, sizeof(b));
                if (differ > 0)
                        b[differ == 1 ? 0 : 31] ^= 1;
                make_secret(a, sizeof(a));
                make_secret(b, sizeof(b));
                bool same = crypto_eq(a, b, sizeof(a));
                make_public(&same, sizeof(same));
                must(same == (differ == 0), "crypto_eq");
        }
}

static void primitives(void)
{
        uint8_t key[32], pub[32], out[3][32], mac[16], sealed[64 + 16], plain[64], nonce[24];
        struct box_key box;
        fill(key, sizeof(key), 1);
        fill(pub, sizeof(pub), 9);
        fill(plain, sizeof(plain), 4);
        fill(nonce, sizeof(nonce), 5);
        /* libsodium itself looks whether the other side's point is of low order: that much is public. */
        must(box_precompute(&box, pub, key) == ERR_NONE, "box_precompute");
        make_secret(&box, sizeof(box));
        make_secret(key, sizeof(key));
        make_secret(plain, sizeof(plain));
        blake2s(out[0], key, sizeof(key), plain, sizeof(plain));
        blake2s_mac16(mac, key, sizeof(key), plain, sizeof(plain));
        hmac_blake2s(out[0], key, sizeof(key), plain, sizeof(plain), NULL, 0);
        hkdf_blake2s(key, plain, 32, out[0], out[1], out[2]);
        x25519_base(out[0], key);
        aead_seal(key, nonce, pub, sizeof(pub), plain, sizeof(plain), sealed);
        xaead_seal(key, nonce, pub, sizeof(pub), plain, sizeof(plain), sealed);
        struct aead *a = aead_new(key);
        must(a != NULL, "aead_new");
        struct aead_op op = {.counter = 1, .src = plain, .dst = sealed, .len = sizeof(plain)};
        aead_seal_burst(a, &op, 1);
        aead_free(a);
        enum err e = x25519(out[0], key, pub);
        make_public(&e, sizeof(e));
        must(e == ERR_NONE, "x25519");
        box_seal(&box, nonce, plain, 48, sealed);
}

/* A private key on its way into the state file. */
static void key_text(void)
{
        struct key_private k, again;
        char text[KEY_TEXT_MAX];
        key_generate(&k);
        make_secret(&k, sizeof(k));
        key_private_text(&k, text);
        make_public(&k, sizeof(k));
        make_public(text, sizeof(text));
        must(key_private_parse(text, &again) == ERR_NONE && crypto_eq(&k, &again, sizeof(k)), "key text");
}

/* What an attacker can send a thousand times a second: codes over a message, with the secret of each kind. */
static void cookies(void)
{
        mono_t now = mono_now();
        uint8_t mac1_key[32], cookie_key[32], nonce[24], msg[MSG_INITIATION_LEN], reply[MSG_COOKIE_LEN];
        struct cookie_source src = {.b = {192, 0, 2, 1}, .len = 6};
        struct cookie_checker checker = {0};
        struct cookie_jar jar = {0};
        fill(mac1_key, sizeof(mac1_key), 2);
        fill(cookie_key, sizeof(cookie_key), 3);
        fill(nonce, sizeof(nonce), 5);
        fill(msg, sizeof(msg), 6);
        make_secret(mac1_key, sizeof(mac1_key));
        cookie_add_macs(mac1_key, &jar, msg, sizeof(msg), now);
        make_public(msg, sizeof(msg));   /* it is on the wire */
        for (int damaged = 0; damaged < 2; damaged++) {
                if (damaged)
                        msg[msg_mac1_at(sizeof(msg))] ^= 1;
                bool ok = cookie_mac1_ok(mac1_key, msg, sizeof(msg));
                make_public(&ok, sizeof(ok));
                must(ok == !damaged, "cookie_mac1_ok");
        }
        cookie_reply(&checker, cookie_key, &src, msg, sizeof(msg), nonce, now, reply);
        enum err e = cookie_consume(&jar, cookie_key, msg + msg_mac1_at(sizeof(msg)), reply, now);
        must(e == ERR_NONE, "cookie_consume");
        make_secret(checker.secret, sizeof(checker.secret));
        make_secret(jar.cookie, sizeof(jar.cookie));
        cookie_add_macs(mac1_key, &jar, msg, sizeof(msg), now);
        make_public(msg, sizeof(msg));
        for (int damaged = 0; damaged < 2; damaged++) {
                if (damaged)
                        msg[msg_mac2_at(sizeof(msg)) + MSG_MAC_LEN - 1] ^= 1;
                bool ok = cookie_mac2_ok(&checker, &src, msg, sizeof(msg), now);
                make_public(&ok, sizeof(ok));
                must(ok == !damaged, "cookie_mac2_ok");
        }
}

/* What nobody should write; here it shows that memcheck would see it. */
static void leak(void)
{
        volatile uint8_t a[32] = {1}, b[32] = {1};
        make_secret((void *)(uintptr_t)a, sizeof(a));
        for (size_t i = 0; i < sizeof(a); i++)
                if (a[i] != b[i])
                        return;
}

int main(int argc, char **argv)
{
        if (!RUNNING_ON_VALGRIND) {
                fputs("run it under valgrind\n", stderr);
                return 2;
        }
        if (argc > 1 && strcmp(argv[1], "leak") == 0) {
                leak();
                return VALGRIND_COUNT_ERRORS > 0 ? 0 : 1;
        }
        must(crypto_init() == ERR_NONE, "crypto_init");
        compares();
        primitives();
        key_text();
        cookies();
        return 0;
}
