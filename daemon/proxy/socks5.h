/* daemon/proxy/socks5.h - the messages of SOCKS 5, without authentication.  Pure.
 *
 * Source: RFC 1928.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum { SOCKS5_VERSION = 5, SOCKS5_HOST_MAX = 256, SOCKS5_REPLY_MAX = 22 };

enum socks5_command { SOCKS5_CONNECT = 1, SOCKS5_BIND = 2, SOCKS5_ASSOCIATE = 3 };

enum socks5_code {
        SOCKS5_SUCCEEDED = 0,
        SOCKS5_FAILURE = 1,
        SOCKS5_NET_UNREACHABLE = 3,
        SOCKS5_HOST_UNREACHABLE = 4,
        SOCKS5_REFUSED = 5,
        SOCKS5_COMMAND_UNKNOWN = 7,
        SOCKS5_ADDRESS_UNKNOWN = 8,
};

enum socks5_parsed { SOCKS5_MORE, SOCKS5_DONE, SOCKS5_BAD };

/* What the client offers to begin with.  DONE: *ret_used bytes were read, and it can do without authentication; BAD: it
 * speaks another version, or insists on a method. */
enum socks5_parsed socks5_greeting(const uint8_t *data, size_t len, size_t *ret_used);
size_t socks5_choice(bool accepted, uint8_t out[2]);

struct socks5_request {
        uint8_t command;
        char host[SOCKS5_HOST_MAX];   /* address or name as text, of printing characters */
        uint16_t port;
};
/* BAD: *ret_code is what to answer. */
enum socks5_parsed socks5_request(const uint8_t *data, size_t len, size_t *ret_used, struct socks5_request *ret,
        enum socks5_code *ret_code);
/* Without an address 0.0.0.0:0 is written. */
size_t socks5_reply(enum socks5_code code, struct addr bound, uint8_t out[SOCKS5_REPLY_MAX]);

/* A datagram of an association: where it goes, and its data within the input.  False: malformed, or a fragment. */
bool socks5_datagram(const uint8_t *data, size_t len, struct socks5_request *ret, const uint8_t **ret_data, size_t *ret_len);
size_t socks5_datagram_header(struct addr from, uint8_t out[SOCKS5_REPLY_MAX]);
