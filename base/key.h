/* base/key.h - the X25519 keys of the mesh, each kind with a type of its own, and their text forms.
 *
 * Text: "privkey:", "nodekey:", "mkey:", "discokey:" + 64 lower-case hex digits; the machine private key
 * too is "privkey:".  The private types have no formatter but key_private_text(), which only the state
 * file uses.  Short form of node keys for logs: "[AbCdE]" (five base64 digits).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { KEY_LEN = 32, KEY_TEXT_MAX = 80, KEY_SHORT_MAX = 24 };

struct key_private {   /* any X25519 private key, clamped */
        uint8_t b[KEY_LEN];
};
struct node_public {
        uint8_t b[KEY_LEN];
};
struct disco_public {
        uint8_t b[KEY_LEN];
};
struct machine_public {
        uint8_t b[KEY_LEN];
};

void key_generate(struct key_private *ret);
void key_wipe(struct key_private *k);
bool key_private_is_zero(const struct key_private *k);   /* constant time */
struct node_public key_node_public(const struct key_private *k);
struct disco_public key_disco_public(const struct key_private *k);
struct machine_public key_machine_public(const struct key_private *k);

bool node_public_eq(const struct node_public *a, const struct node_public *b);
bool node_public_is_zero(const struct node_public *k);
bool disco_public_eq(const struct disco_public *a, const struct disco_public *b);
bool disco_public_is_zero(const struct disco_public *k);

enum { AUTH_KEY_MAX = 511 };   /* characters of an auth key, without what follows "--TL" */

/* Parsers want exactly prefix + 64 hex digits of either case; anything else is ERR_FORMAT.  A zero key
 * is legal: it means "none". */
ERR_CHECK enum err key_private_parse(const char *s, struct key_private *ret);
ERR_CHECK enum err node_public_parse(const char *s, struct node_public *ret);
ERR_CHECK enum err disco_public_parse(const char *s, struct disco_public *ret);
ERR_CHECK enum err machine_public_parse(const char *s, struct machine_public *ret);
void key_private_text(const struct key_private *k, char out[KEY_TEXT_MAX]);
const char *node_public_text(const struct node_public *k, char out[KEY_TEXT_MAX]);
const char *disco_public_text(const struct disco_public *k, char out[KEY_TEXT_MAX]);
const char *machine_public_text(const struct machine_public *k, char out[KEY_TEXT_MAX]);
const char *node_public_short(const struct node_public *k, char out[KEY_SHORT_MAX]);
