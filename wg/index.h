/* wg/index.h - the random 32-bit numbers by which messages find their peer.
 *
 * One table a device: index to slot number, for open initiations and sessions alike.  Indices are drawn
 * at random so that they tell nobody how many there were.  Grows by itself (on handshakes, never on data).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define INDEX_NONE UINT32_MAX   /* no slot */

struct index_entry {
        uint32_t index;   /* 0: free */
        uint32_t slot;
};

struct index_table {   /* zero-initialised */
        struct index_entry *entry;
        size_t cap;        /* a power of two, or 0 */
        size_t count;
};

void index_done(struct index_table *t);
/* Draws an unused index, never 0.  ERR_FULL: out of memory. */
ERR_CHECK enum err index_add(struct index_table *t, uint32_t slot, uint32_t *ret_index);
uint32_t index_find(const struct index_table *t, uint32_t index);   /* slot or INDEX_NONE */
void index_remove(struct index_table *t, uint32_t index);          /* 0 and unknown are fine */
