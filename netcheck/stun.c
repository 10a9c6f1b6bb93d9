#include "netcheck/stun.h"

#include <string.h>

#include "base/reader.h"
#include "base/writer.h"

enum {
        HEAD_LEN = 20,
        BINDING_REQUEST = 0x0001,
        BINDING_SUCCESS = 0x0101,
        ATTR_MAPPED = 0x0001,
        ATTR_XOR_MAPPED = 0x0020,
        ATTR_XOR_MAPPED_OLD = 0x8020,   /* servers older than RFC 5389 */
        ATTR_SOFTWARE = 0x8022,
        ATTR_FINGERPRINT = 0x8028,
        FAMILY_V4 = 1,
        FAMILY_V6 = 2,
};

static const uint32_t COOKIE = 0x2112a442;
static const uint32_t FINGERPRINT_XOR = 0x5354554e;
static const char SOFTWARE[8] = {'t', 'a', 'i', 'l', 'n', 'o', 'd', 'e'};

bool stun_is(const void *data, size_t len)
{
        struct rd r = rd_init(data, len);
        uint16_t type = rd_be16(&r);
        rd_skip(&r, 2);
        uint32_t cookie = rd_be32(&r);
        return len >= HEAD_LEN && rd_ok(&r) && (type & 0xc000) == 0 && cookie == COOKIE;
}

bool stun_is_binding(const void *data, size_t len)
{
        const uint8_t *b = data;   /* every datagram is asked this: first what WireGuard has not */
        return len >= HEAD_LEN && b[1] == 0x01 && stun_is(data, len);
}

/* CRC-32 as in zlib; forty bytes a probe are not worth a table. */
static uint32_t crc32_of(const uint8_t *p, size_t n)
{
        uint32_t crc = UINT32_MAX;
        for (size_t i = 0; i < n; i++) {
                crc ^= p[i];
                for (int bit = 0; bit < 8; bit++)
                        crc = (crc >> 1) ^ (0xedb88320 & -(crc & 1));
        }
        return ~crc;
}

void stun_request(const struct stun_txid *txid, uint8_t out[STUN_REQUEST_LEN])
{
        struct wr w = wr_init(out, STUN_REQUEST_LEN);
        wr_be16(&w, BINDING_REQUEST);
        wr_be16(&w, STUN_REQUEST_LEN - HEAD_LEN);
        wr_be32(&w, COOKIE);
        wr_copy(&w, txid->b, STUN_TXID_LEN);
        wr_be16(&w, ATTR_SOFTWARE);
        wr_be16(&w, sizeof(SOFTWARE));
        wr_copy(&w, SOFTWARE, sizeof(SOFTWARE));
        uint32_t crc = crc32_of(out, w.len);
        wr_be16(&w, ATTR_FINGERPRINT);
        wr_be16(&w, 4);
        wr_be32(&w, crc ^ FINGERPRINT_XOR);
}

/* One address value; mask is the cookie and txid for the XOR forms, zeros for the plain one. */
static enum err parse_address(struct rd v, const uint8_t mask[16], struct addr *ret)
{
        uint8_t b[16] = {0};
        rd_skip(&v, 1);
        uint8_t family = rd_u8(&v);
        uint16_t port = rd_be16(&v);
        if (family != FAMILY_V4 && family != FAMILY_V6)
                return ERR_FORMAT;
        size_t n = family == FAMILY_V4 ? 4 : 16;
        rd_copy(&v, b, n);
        if (!rd_ok(&v))
                return ERR_FORMAT;
        for (size_t i = 0; i < n; i++)
                b[i] ^= mask[i];
        *ret = (struct addr){
                .ip = family == FAMILY_V4 ? ip_from_bytes4(b) : ip_from_bytes16(b),
                .port = port ^ load_be16(mask),
        };
        return ERR_NONE;
}

static enum err parse_attrs(struct rd r, const uint8_t mask[16], struct addr *ret)
{
        static const uint8_t NO_MASK[16];
        struct addr plain = {0}, xored = {0};
        enum err e = ERR_NONE;
        while (e == ERR_NONE && !rd_at_end(&r)) {
                uint16_t type = rd_be16(&r);
                uint16_t len = rd_be16(&r);
                struct rd value = rd_sub(&r, len);
                rd_skip(&r, (4u - len % 4u) % 4u);
                if (!rd_ok(&r))
                        return ERR_FORMAT;
                if (type == ATTR_XOR_MAPPED || type == ATTR_XOR_MAPPED_OLD)
                        e = parse_address(value, mask, &xored);
                else if (type == ATTR_MAPPED)
                        e = parse_address(value, NO_MASK, &plain);
        }
        if (e != ERR_NONE)
                return e;
        *ret = addr_is_set(xored) ? xored : plain;
        return addr_is_set(*ret) ? ERR_NONE : ERR_FORMAT;
}

enum err stun_parse_request(const void *data, size_t len, struct stun_txid *ret_txid)
{
        if (!stun_is(data, len))
                return ERR_FORMAT;
        struct rd r = rd_init(data, len);
        if (rd_be16(&r) != BINDING_REQUEST)
                return ERR_FORMAT;
        rd_skip(&r, 6);
        rd_copy(&r, ret_txid->b, STUN_TXID_LEN);
        return rd_ok(&r) ? ERR_NONE : ERR_FORMAT;
}

enum err stun_parse_response(const void *data, size_t len, struct stun_txid *ret_txid, struct addr *ret_addr)
{
        struct addr found = {0};
        struct stun_txid txid;
        uint8_t mask[16];
        if (!stun_is(data, len))
                return ERR_FORMAT;
        struct rd r = rd_init(data, len);
        uint16_t type = rd_be16(&r);
        uint16_t attr_len = rd_be16(&r);
        rd_copy(&r, mask, sizeof(mask));   /* the cookie and the txid: exactly what addresses are XORed with */
        memcpy(txid.b, mask + 4, STUN_TXID_LEN);
        struct rd attrs = rd_sub(&r, attr_len);
        if (!rd_ok(&r) || type != BINDING_SUCCESS)
                return ERR_FORMAT;
        enum err e = parse_attrs(attrs, mask, &found);
        if (e != ERR_NONE)
                return e;
        *ret_txid = txid;
        *ret_addr = found;
        return ERR_NONE;
}
