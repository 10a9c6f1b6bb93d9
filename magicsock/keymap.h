/* magicsock/keymap.h - 32-byte public keys to slot numbers, one probe for a stranger's key.
 *
 * Open addressing with a secret seed, as peers choose their keys.  Holds slot numbers alone: the key of a slot that
 * is in it is asked of the owner, and must not change while it is.  Grows only in keymap_set().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define KEYMAP_NONE UINT32_MAX

typedef const uint8_t *(*keymap_key_fn)(const void *arg, uint32_t slot);   /* 32 bytes */

struct keymap {
        uint32_t *e;             /* KEYMAP_NONE = free */
        size_t cap;              /* power of two; 0 = empty */
        size_t count;
        uint64_t seed;
        keymap_key_fn key_of;
        const void *arg;
};

void keymap_init(struct keymap *m, uint64_t seed, keymap_key_fn key_of, const void *arg);
void keymap_done(struct keymap *m);
uint32_t keymap_get(const struct keymap *m, const uint8_t key[32]);   /* KEYMAP_NONE: not in it */
/* The slot has that key already.  ERR_FULL: no memory. */
ERR_CHECK enum err keymap_set(struct keymap *m, const uint8_t key[32], uint32_t slot);
void keymap_remove(struct keymap *m, const uint8_t key[32]);
