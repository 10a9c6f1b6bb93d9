#include "wg/ratelimit.h"

#include "base/crypto.h"
#include "base/reader.h"

bool ratelimit_allow(struct ratelimit *r, const uint8_t *source, size_t len, mono_t now)
{
        const int64_t cost_ns = NS_PER_SEC / RATELIMIT_PER_S;
        uint8_t hash[16];
        if (!r->keyed) {
                crypto_random(r->key, sizeof(r->key));
                r->keyed = true;
        }
        blake2s_mac16(hash, r->key, sizeof(r->key), source, len);
        size_t at = load_le32(hash) % RATELIMIT_SLOTS;
        uint32_t tag = load_le32(hash + 4);

        mono_t full = now;   /* a bucket not seen lately is full */
        if (r->slot[at].tag == tag && r->slot[at].full_at.ns > now.ns)
                full = r->slot[at].full_at;
        full = mono_add_ns(full, cost_ns);
        if (mono_diff_ns(full, now) > RATELIMIT_BURST * cost_ns)
                return false;
        r->slot[at].tag = tag;
        r->slot[at].full_at = full;
        return true;
}
