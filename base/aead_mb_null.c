/* Built without libipsec-mb. */
#include "base/aead_mb.h"

bool aead_mb_gains(void)
{
        return false;
}

bool aead_mb_available(void)
{
        return false;
}

void aead_mb_seal(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n)
{
        (void)key;
        for (size_t i = 0; i < n; i++)
                ops[i].ok = false;
}

void aead_mb_open(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n)
{
        aead_mb_seal(key, ops, n);
}
