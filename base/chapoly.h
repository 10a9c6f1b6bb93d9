/* base/chapoly.h - ChaCha20-Poly1305 over a whole burst at once, for processors with AVX2 and BMI2.
 *
 * One packet leaves vectors half empty at its end and in front, where its one-time key is made; the blocks of many packets
 * fill them.  Eight ChaCha20 blocks of whatever packets run side by side, and beside them, in what a processor has for
 * numbers, the Poly1305 of two packets of another eight.  No dst may overlap what another op reads.  Constant time.  Behind
 * base/aead.c, which checks it against another implementation before it is used.  Source: RFC 8439.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/crypto.h"

bool chapoly_available(void);   /* on this processor */
void chapoly_seal(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n);
void chapoly_open(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n);
