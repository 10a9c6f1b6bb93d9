/* base/aead_mb.h - ChaCha20-Poly1305 by Intel's libipsec-mb, where it is installed and worth it.
 *
 * The library is not linked: it is looked for when the program runs, and only a processor with AVX-512 has a use for it, as
 * our own code is ahead of it with AVX2.  Behind base/aead.c, which checks it before it is used.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/crypto.h"

bool aead_mb_gains(void);       /* this processor is one that it was written for */
bool aead_mb_available(void);   /* loads it, once; false: not installed, or not built in */
/* After aead_mb_available().  In any thread. */
void aead_mb_seal(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n);
void aead_mb_open(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n);
