#include "base/key.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"

void key_generate(struct key_private *ret)
{
        crypto_random(ret->b, sizeof(ret->b));
        ret->b[0] &= 248;
        ret->b[31] = (uint8_t)((ret->b[31] & 127) | 64);
}

void key_wipe(struct key_private *k)
{
        crypto_wipe(k, sizeof(*k));
}

bool key_private_is_zero(const struct key_private *k)
{
        return sodium_is_zero(k->b, sizeof(k->b)) == 1;
}

struct node_public key_node_public(const struct key_private *k)
{
        struct node_public p;
        x25519_base(p.b, k->b);
        return p;
}

struct disco_public key_disco_public(const struct key_private *k)
{
        struct disco_public p;
        x25519_base(p.b, k->b);
        return p;
}

struct machine_public key_machine_public(const struct key_private *k)
{
        struct machine_public p;
        x25519_base(p.b, k->b);
        return p;
}

bool node_public_eq(const struct node_public *a, const struct node_public *b)
{
        return memcmp(a->b, b->b, KEY_LEN) == 0;
}

bool node_public_is_zero(const struct node_public *k)
{
        return sodium_is_zero(k->b, KEY_LEN) == 1;
}

bool disco_public_eq(const struct disco_public *a, const struct disco_public *b)
{
        return memcmp(a->b, b->b, KEY_LEN) == 0;
}

bool disco_public_is_zero(const struct disco_public *k)
{
        return sodium_is_zero(k->b, KEY_LEN) == 1;
}

/* Hexadecimal by libsodium, whose time does not depend on the digits. */
static enum err parse(const char *s, const char *head, uint8_t ret[KEY_LEN])
{
        size_t n = strlen(head), got;
        uint8_t b[KEY_LEN];
        if (strncmp(s, head, n) != 0 || strlen(s + n) != 2 * (size_t)KEY_LEN)
                return ERR_FORMAT;
        int bad = sodium_hex2bin(b, sizeof(b), s + n, 2 * (size_t)KEY_LEN, NULL, &got, NULL);
        bool whole = bad == 0 && got == sizeof(b);
        if (whole)
                memcpy(ret, b, sizeof(b));
        crypto_wipe(b, sizeof(b));
        return whole ? ERR_NONE : ERR_FORMAT;
}

static const char *text(const uint8_t b[KEY_LEN], const char *head, char out[KEY_TEXT_MAX])
{
        size_t n = strlen(head);
        memcpy(out, head, n);
        sodium_bin2hex(out + n, KEY_TEXT_MAX - n, b, KEY_LEN);
        return out;
}

enum err key_private_parse(const char *s, struct key_private *ret)
{
        return parse(s, "privkey:", ret->b);
}

enum err node_public_parse(const char *s, struct node_public *ret)
{
        return parse(s, "nodekey:", ret->b);
}

enum err disco_public_parse(const char *s, struct disco_public *ret)
{
        return parse(s, "discokey:", ret->b);
}

enum err machine_public_parse(const char *s, struct machine_public *ret)
{
        return parse(s, "mkey:", ret->b);
}

void key_private_text(const struct key_private *k, char out[KEY_TEXT_MAX])
{
        (void)text(k->b, "privkey:", out);
}

const char *node_public_text(const struct node_public *k, char out[KEY_TEXT_MAX])
{
        return text(k->b, "nodekey:", out);
}

const char *disco_public_text(const struct disco_public *k, char out[KEY_TEXT_MAX])
{
        return text(k->b, "discokey:", out);
}

const char *machine_public_text(const struct machine_public *k, char out[KEY_TEXT_MAX])
{
        return text(k->b, "mkey:", out);
}

const char *node_public_short(const struct node_public *k, char out[KEY_SHORT_MAX])
{
        char all[sodium_base64_ENCODED_LEN(KEY_LEN, sodium_base64_VARIANT_ORIGINAL)];
        sodium_bin2base64(all, sizeof(all), k->b, KEY_LEN, sodium_base64_VARIANT_ORIGINAL);
        snprintf(out, KEY_SHORT_MAX, "[%.5s]", all);
        return out;
}
