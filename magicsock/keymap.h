/* magicsock/keymap.h - 32-byte public keys to slot numbers, one probe for a stranger's key.
 *
 * Open addressing with a secret seed, as peers choose their keys.  Grows only in keymap_set().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define KEYMAP_NONE UINT32_MAX

struct keymap {
        struct keymap_entry {
                uint8_t key[32];
                uint32_t slot;   /* KEYMAP_NONE = free */
        } *e;
        size_t cap;              /* power of two; 0 = empty */
        size_t count;
        uint64_t seed;
};

void keymap_init(struct keymap *m, uint64_t seed);
void keymap_done(struct keymap *m);
uint32_t keymap_get(const struct keymap *m, const uint8_t key[32]);   /* KEYMAP_NONE: not in it */
ERR_CHECK enum err keymap_set(struct keymap *m, const uint8_t key[32], uint32_t slot);   /* ERR_FULL: no memory */
void keymap_remove(struct keymap *m, const uint8_t key[32]);
