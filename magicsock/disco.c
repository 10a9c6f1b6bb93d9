#include "magicsock/disco.h"

#include <string.h>

#include "base/reader.h"
#include "base/writer.h"

const uint8_t disco_magic[DISCO_MAGIC_LEN] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};

static const uint8_t hello_magic[DISCO_HELLO_LEN - 1] = {'H', 'N', 1};

enum { HEADER_KEY = 6, HEADER_NONCE = 38, ADDR_LEN = 18, RELAY_FIXED = 124 };

bool disco_txid_eq(const struct disco_txid *a, const struct disco_txid *b)
{
        return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

struct addr disco_relay_addr(int region)
{
        return (struct addr){.ip = ip_v4(127, 3, 3, 40), .port = (uint16_t)region};
}

bool disco_is_relay_addr(struct addr a)
{
        return ip_eq(a.ip, ip_v4(127, 3, 3, 40));
}

static void put_addr(struct wr *w, struct addr a)
{
        uint8_t b[16];
        ip_to_bytes16(a.ip, b);
        wr_copy(w, b, sizeof(b));
        wr_be16(w, a.port);
}

static struct addr read_addr(struct rd *r)
{
        uint8_t b[16];
        rd_copy(r, b, sizeof(b));
        return (struct addr){.ip = ip_from_bytes16(b), .port = rd_be16(r)};
}

static void put_hello(struct wr *w, uint8_t flags)
{
        wr_copy(w, hello_magic, sizeof(hello_magic));
        wr_u8(w, flags);
}

/* Looks ahead. */
static bool read_hello(struct rd r, uint8_t *ret)
{
        const uint8_t *b = rd_take(&r, DISCO_HELLO_LEN);
        bool is_hello = b != NULL && memcmp(b, hello_magic, sizeof(hello_magic)) == 0;
        *ret = is_hello ? b[sizeof(hello_magic)] : 0;
        return is_hello;
}

size_t disco_encode(const struct disco_msg *m, uint8_t *out, size_t cap)
{
        struct wr w = wr_init(out, cap);
        wr_u8(&w, m->type);
        wr_u8(&w, 0);
        switch (m->type) {
        case DISCO_PING:
                wr_copy(&w, m->ping.txid.b, sizeof(m->ping.txid.b));
                if (m->ping.has_key)
                        wr_copy(&w, m->ping.key.b, sizeof(m->ping.key.b));
                size_t padding = m->ping.padding;
                if (m->ping.has_key && m->ping.has_hello) {
                        put_hello(&w, m->ping.hello);
                        padding = padding > DISCO_HELLO_LEN ? padding - DISCO_HELLO_LEN : 0;
                }
                wr_zero(&w, padding);
                break;
        case DISCO_PONG:
                wr_copy(&w, m->pong.txid.b, sizeof(m->pong.txid.b));
                put_addr(&w, m->pong.seen);
                if (m->pong.has_hello)
                        put_hello(&w, m->pong.hello);
                break;
        case DISCO_CALL_ME_MAYBE:
                for (size_t i = 0; i < m->cmm.count && i < DISCO_CMM_MAX; i++)
                        put_addr(&w, m->cmm.eps[i]);
                break;
        default:
                return 0;
        }
        return wr_ok(&w) ? w.len : 0;
}

static enum err parse_ping(struct rd *r, struct disco_msg *m)
{
        memset(&m->ping, 0, sizeof(m->ping));
        rd_copy(r, m->ping.txid.b, sizeof(m->ping.txid.b));
        if (!rd_ok(r))
                return ERR_SHORT;
        /* A keyless ping with this much padding reads as one with an all-zero key: no harm, as no
         * peer has that key. */
        if (r->left >= KEY_LEN) {
                rd_copy(r, m->ping.key.b, KEY_LEN);
                m->ping.has_key = true;
                m->ping.has_hello = read_hello(*r, &m->ping.hello);
        }
        m->ping.padding = r->left;
        return ERR_NONE;
}

static enum err parse_pong(struct rd *r, struct disco_msg *m)
{
        memset(&m->pong, 0, sizeof(m->pong));
        rd_copy(r, m->pong.txid.b, sizeof(m->pong.txid.b));
        m->pong.seen = read_addr(r);
        m->pong.has_hello = read_hello(*r, &m->pong.hello);
        return rd_ok(r) ? ERR_NONE : ERR_SHORT;
}

/* Another version, no address or a crooked length is a valid message that names nothing. */
static void parse_cmm(struct rd *r, struct disco_msg *m)
{
        m->cmm.count = 0;
        if (m->version != 0 || r->left % ADDR_LEN != 0)
                return;
        while (r->left > 0 && m->cmm.count < DISCO_CMM_MAX)
                m->cmm.eps[m->cmm.count++] = read_addr(r);
}

/* A relay record is a fixed part and at least one address. */
static bool relay_record_ok(size_t len)
{
        return len >= RELAY_FIXED + ADDR_LEN && (len - RELAY_FIXED) % ADDR_LEN == 0;
}

/* These are only told apart from damage, so that it can be counted. */
static enum err parse_relay(const struct rd *r, const struct disco_msg *m)
{
        switch (m->type) {
        case 4:
        case 5:
        case 6:
                return r->left >= 72 ? ERR_NONE : ERR_SHORT;
        case 7:
                return m->version != 0 || relay_record_ok(r->left) ? ERR_NONE : ERR_FORMAT;
        case 8:
                return m->version != 0 || r->left >= 68 ? ERR_NONE : ERR_SHORT;
        default:
                if (m->version != 0)
                        return ERR_NONE;
                return r->left >= 4 && relay_record_ok(r->left - 4) ? ERR_NONE : ERR_FORMAT;
        }
}

enum err disco_parse(const uint8_t *inner, size_t len, struct disco_msg *ret)
{
        struct rd r = rd_init(inner, len);
        ret->type = rd_u8(&r);
        ret->version = rd_u8(&r);
        if (!rd_ok(&r))
                return ERR_SHORT;
        switch (ret->type) {
        case DISCO_PING:
                return parse_ping(&r, ret);
        case DISCO_PONG:
                return parse_pong(&r, ret);
        case DISCO_CALL_ME_MAYBE:
                parse_cmm(&r, ret);
                return ERR_NONE;
        default:
                if (ret->type < DISCO_RELAY_FIRST || ret->type > DISCO_RELAY_LAST)
                        return ERR_FORMAT;
                return parse_relay(&r, ret);
        }
}

bool disco_sender(const uint8_t *data, size_t len, struct disco_public *ret)
{
        if (len < DISCO_WRAPPER_MIN || memcmp(data, disco_magic, DISCO_MAGIC_LEN) != 0)
                return false;
        memcpy(ret->b, data + HEADER_KEY, sizeof(ret->b));
        return true;
}

size_t disco_seal(const struct box_key *k, const struct disco_public *self,
                  const uint8_t nonce[BOX_NONCE_LEN], const uint8_t *inner, size_t len, uint8_t *out,
                  size_t cap)
{
        if (cap < DISCO_OVERHEAD || len > cap - DISCO_OVERHEAD)
                return 0;
        memcpy(out, disco_magic, DISCO_MAGIC_LEN);
        memcpy(out + HEADER_KEY, self->b, sizeof(self->b));
        memcpy(out + HEADER_NONCE, nonce, BOX_NONCE_LEN);
        box_seal(k, nonce, inner, len, out + DISCO_WRAPPER_MIN);
        return len + DISCO_OVERHEAD;
}

enum err disco_open(const struct box_key *k, const uint8_t *data, size_t len, uint8_t *ret_inner,
                    size_t *ret_len)
{
        if (len < DISCO_OVERHEAD)
                return ERR_SHORT;
        enum err e = box_open(k, data + HEADER_NONCE, data + DISCO_WRAPPER_MIN, len - DISCO_WRAPPER_MIN,
                              ret_inner);
        if (e)
                return e;
        *ret_len = len - DISCO_OVERHEAD;
        return ERR_NONE;
}

size_t disco_ping_padding(size_t wire_mtu, enum ip_family f)
{
        size_t ip_udp = f == IP_V6 ? 48 : 28;
        size_t plain = ip_udp + DISCO_OVERHEAD + DISCO_PING_LEN;
        return wire_mtu > plain ? wire_mtu - plain : 0;
}
