/* base/aead.h - who seals and opens packets: the backends behind struct aead of base/crypto.h.
 *
 * The first one that is there, gains by this processor and passes its test is taken at start.  All give the same bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

ERR_CHECK enum err aead_init(void);   /* by crypto_init(); ERR_UNSUPPORTED: none works */

size_t aead_backend_count(void);
const char *aead_backend_name(size_t i);
/* False: not on this processor, or not installed. */
bool aead_backend_works(size_t i);
/* For every struct aead made from now on; those that are there stay with theirs.  For tests and measurements, one thread. */
void aead_backend_choose(size_t i);
size_t aead_backend_chosen(void);
