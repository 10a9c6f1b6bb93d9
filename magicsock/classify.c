#include "magicsock/classify.h"

#include <string.h>

#include "base/reader.h"
#include "magicsock/disco.h"
#include "netcheck/stun.h"

enum {
        GENEVE_LEN = 8,
        GENEVE_DISCO = 0x7a11,
        GENEVE_WIREGUARD = 0x7a12,
        DISCO_SHAPE_MIN = 38,
        WIREGUARD_MIN = 32,
        WIREGUARD_INITIATION = 1,   /* types, in the first byte */
        WIREGUARD_DATA = 4,
};

static bool is_disco(const uint8_t *b, size_t len)
{
        return len >= DISCO_SHAPE_MIN && memcmp(b, disco_magic, DISCO_MAGIC_LEN) == 0;
}

/* RFC 8926 without options; the protocol numbers are what tells it from WireGuard, whose bytes 1 to 3
 * are zero. */
static bool is_geneve(const uint8_t *b, size_t len)
{
        if (len < GENEVE_LEN || (b[0] & 0xc0) != 0 || (b[1] & 0x3f) != 0 || b[7] != 0)
                return false;
        uint16_t protocol = load_be16(b + 2);
        if (protocol == GENEVE_DISCO)
                return is_disco(b + GENEVE_LEN, len - GENEVE_LEN);
        return protocol == GENEVE_WIREGUARD;
}

enum ms_class ms_classify_relayed(const uint8_t *data, size_t len)
{
        if (is_disco(data, len))
                return MS_CLASS_DISCO;
        return len >= WIREGUARD_MIN ? MS_CLASS_WIREGUARD : MS_CLASS_JUNK;
}

enum ms_class ms_classify(const uint8_t *data, size_t len)
{
        if (stun_is_binding(data, len))
                return MS_CLASS_STUN;
        if (is_geneve(data, len))
                return MS_CLASS_GENEVE;
        return ms_classify_relayed(data, len);
}

bool ms_is_handshake(const uint8_t *data, size_t len)
{
        return len >= WIREGUARD_MIN && data[0] < WIREGUARD_DATA;
}

bool ms_is_initiation(const uint8_t *data, size_t len)
{
        return len >= WIREGUARD_MIN && data[0] == WIREGUARD_INITIATION;
}
