#include "daemon/proxy/socks5.h"

#include <string.h>

#include "base/reader.h"

enum { NO_AUTH = 0, NO_METHOD = 255, ATYP_IP4 = 1, ATYP_NAME = 3, ATYP_IP6 = 4 };

enum socks5_parsed socks5_greeting(const uint8_t *data, size_t len, size_t *ret_used)
{
        struct rd r = rd_init(data, len);
        if (len > 0 && data[0] != SOCKS5_VERSION)
                return SOCKS5_BAD;
        rd_skip(&r, 1);
        uint8_t n = rd_u8(&r);
        const uint8_t *methods = rd_take(&r, n);
        if (!rd_ok(&r))
                return SOCKS5_MORE;
        *ret_used = len - r.left;
        return n > 0 && memchr(methods, NO_AUTH, n) != NULL ? SOCKS5_DONE : SOCKS5_BAD;
}

size_t socks5_choice(bool accepted, uint8_t out[2])
{
        out[0] = SOCKS5_VERSION;
        out[1] = accepted ? NO_AUTH : NO_METHOD;
        return 2;
}

static bool is_text(const uint8_t *p, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (p[i] <= ' ' || p[i] >= 0x7f)
                        return false;
        return n > 0;
}

/* Type, address and port. */
static enum socks5_parsed read_target(struct rd *r, struct socks5_request *ret, enum socks5_code *ret_code)
{
        const uint8_t *p;
        size_t n = 0;
        uint8_t type = rd_u8(r);
        if (!rd_ok(r))
                return SOCKS5_MORE;
        ret->host[0] = '\0';
        *ret_code = SOCKS5_ADDRESS_UNKNOWN;
        switch (type) {
        case ATYP_IP4:
                if ((p = rd_take(r, 4)) != NULL)
                        (void)ip_str(ip_from_bytes4(p), ret->host);
                break;
        case ATYP_IP6:
                if ((p = rd_take(r, 16)) != NULL)
                        (void)ip_str(ip_from_bytes16(p), ret->host);
                break;
        case ATYP_NAME:
                n = rd_u8(r);
                if ((p = rd_take(r, n)) == NULL)
                        break;
                if (!is_text(p, n))
                        return SOCKS5_BAD;
                memcpy(ret->host, p, n);
                ret->host[n] = '\0';
                break;
        default:
                return SOCKS5_BAD;
        }
        ret->port = rd_be16(r);
        return rd_ok(r) ? SOCKS5_DONE : SOCKS5_MORE;
}

enum socks5_parsed socks5_request(const uint8_t *data, size_t len, size_t *ret_used, struct socks5_request *ret,
        enum socks5_code *ret_code)
{
        struct rd r = rd_init(data, len);
        *ret_code = SOCKS5_FAILURE;
        if (len > 0 && data[0] != SOCKS5_VERSION)
                return SOCKS5_BAD;
        rd_skip(&r, 1);
        ret->command = rd_u8(&r);
        rd_skip(&r, 1);
        enum socks5_parsed p = rd_ok(&r) ? read_target(&r, ret, ret_code) : SOCKS5_MORE;
        if (p != SOCKS5_DONE)
                return p;
        *ret_used = len - r.left;
        if (ret->command == SOCKS5_CONNECT || ret->command == SOCKS5_ASSOCIATE)
                return SOCKS5_DONE;
        *ret_code = SOCKS5_COMMAND_UNKNOWN;
        return SOCKS5_BAD;
}

static size_t write_addr(struct addr a, uint8_t *out)
{
        size_t n = a.ip.family == IP_V6 ? 16 : 4;
        out[0] = a.ip.family == IP_V6 ? ATYP_IP6 : ATYP_IP4;
        memcpy(out + 1, a.ip.b, n);
        store_be16(out + 1 + n, a.port);
        return 3 + n;
}

size_t socks5_reply(enum socks5_code code, struct addr bound, uint8_t out[SOCKS5_REPLY_MAX])
{
        out[0] = SOCKS5_VERSION;
        out[1] = (uint8_t)code;
        out[2] = 0;
        return 3 + write_addr(bound, out + 3);
}

bool socks5_datagram(const uint8_t *data, size_t len, struct socks5_request *ret, const uint8_t **ret_data, size_t *ret_len)
{
        struct rd r = rd_init(data, len);
        enum socks5_code code;
        ret->command = SOCKS5_ASSOCIATE;
        if (rd_be16(&r) != 0 || rd_u8(&r) != 0 || read_target(&r, ret, &code) != SOCKS5_DONE)
                return false;
        *ret_data = r.at;
        *ret_len = r.left;
        return true;
}

size_t socks5_datagram_header(struct addr from, uint8_t out[SOCKS5_REPLY_MAX])
{
        memset(out, 0, 3);
        return 3 + write_addr(from, out + 3);
}
