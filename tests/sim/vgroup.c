/* base/crypto.h: Diffie-Hellman in a group in which it costs nothing, for it is most of a world's cost.
 *
 * Who has the keys gets the same secret, and who has others gets another one, which is all that the code under test can
 * see of it: eight products modulo a prime.  All other cryptography is as it is.  That the numbers of a node are hidden
 * from who knows its public key is the business of other tests.
 */
#include <string.h>

#include "base/crypto.h"

enum { LANES = 8 };
#define PRIME ((UINT64_C(1) << 31) - 1)

enum err group_product(uint8_t out[32], const uint8_t priv[32], const uint8_t pub[32]) __asm__("__wrap_x25519");
void group_public(uint8_t out[32], const uint8_t priv[32]) __asm__("__wrap_x25519_base");
enum err group_box(struct box_key *ret, const uint8_t pub[32], const uint8_t priv[32]) __asm__("__wrap_box_precompute");

enum err group_product(uint8_t out[32], const uint8_t priv[32], const uint8_t pub[32])
{
        uint32_t a[LANES], b[LANES], seen = 0;
        memcpy(a, priv, sizeof(a));
        memcpy(b, pub, sizeof(b));
        for (int i = 0; i < LANES; i++) {
                a[i] = (uint32_t)(a[i] % PRIME * (b[i] % PRIME) % PRIME);
                seen |= a[i];
        }
        memcpy(out, a, sizeof(a));
        return seen != 0 ? ERR_NONE : ERR_AUTH;
}

void group_public(uint8_t out[32], const uint8_t priv[32])
{
        uint8_t base[32];
        memset(base, 9, sizeof(base));
        (void)!group_product(out, priv, base);
}

enum err group_box(struct box_key *ret, const uint8_t pub[32], const uint8_t priv[32])
{
        return group_product(ret->b, priv, pub);
}
