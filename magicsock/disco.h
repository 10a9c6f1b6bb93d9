/* magicsock/disco.h - the messages by which two peers look for a path: codec and box.
 *
 * Pure bytes.  A datagram is magic, the sender's disco key, a nonce and a NaCl box around the inner message
 * (one type byte, one version byte, a body).  Ping, pong and call-me-maybe are understood; the messages of
 * peer relays are recognised and left alone.  A disco_msg is large (it holds the addresses of a
 * call-me-maybe): one per thread, not one per peer.
 * Errors: ERR_SHORT, ERR_FORMAT from the parser, ERR_AUTH from disco_open().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/key.h"

enum {
        DISCO_MAGIC_LEN = 6,
        DISCO_WRAPPER_MIN = 62,   /* magic, key, nonce: what looks like disco at all */
        DISCO_OVERHEAD = 78,
        DISCO_TXID_LEN = 12,
        DISCO_CMM_MAX = 128,      /* addresses read from one call-me-maybe; the rest is ignored */
        DISCO_PING_LEN = 46,      /* inner, with the node key, without padding */
        DISCO_PONG_LEN = 32,
        DISCO_HELLO_LEN = 4,      /* behind either of them: "HN", 1, flags; others take it for padding, or ignore it */
};
extern const uint8_t disco_magic[DISCO_MAGIC_LEN];

enum disco_type {
        DISCO_PING = 1,
        DISCO_PONG = 2,
        DISCO_CALL_ME_MAYBE = 3,
        DISCO_RELAY_FIRST = 4,   /* the messages of peer relays: 4 to 9 */
        DISCO_RELAY_LAST = 9,
};

struct disco_txid {
        uint8_t b[DISCO_TXID_LEN];
};

struct disco_msg {
        uint8_t type;      /* enum disco_type, or one between the RELAY bounds */
        uint8_t version;
        union {
                struct {
                        struct disco_txid txid;
                        bool has_key;
                        struct node_public key;   /* the sender's; a hint, proves nothing */
                        bool has_hello;           /* what the sender says of itself: magicsock/hardnat.h */
                        uint8_t hello;
                        size_t padding;           /* bytes behind the key; a hello is part of it, or all of it */
                } ping;
                struct {
                        struct disco_txid txid;
                        struct addr seen;         /* where the ping came from */
                        bool has_hello;
                        uint8_t hello;
                } pong;
                struct {
                        size_t count;
                        struct addr eps[DISCO_CMM_MAX];
                } cmm;
        };
};

bool disco_txid_eq(const struct disco_txid *a, const struct disco_txid *b);

/* How a pong names the relay its ping came by: 127.3.3.40, port = region. */
struct addr disco_relay_addr(int region);
bool disco_is_relay_addr(struct addr a);

/* The inner message; 0 if it does not fit or is of no type we send. */
size_t disco_encode(const struct disco_msg *m, uint8_t *out, size_t cap);
/* *ret is undefined on failure. */
ERR_CHECK enum err disco_parse(const uint8_t *inner, size_t len, struct disco_msg *ret);

/* Reads who claims to have sent it.  False: not disco. */
bool disco_sender(const uint8_t *data, size_t len, struct disco_public *ret);
/* Whole datagram into out; returns its length, len + DISCO_OVERHEAD, or 0 if cap is too small. */
size_t disco_seal(const struct box_key *k, const struct disco_public *self, const uint8_t nonce[BOX_NONCE_LEN],
        const uint8_t *inner, size_t len, uint8_t *out, size_t cap);
/* ret_inner has room for len - DISCO_OVERHEAD bytes. */
ERR_CHECK enum err disco_open(const struct box_key *k, const uint8_t *data, size_t len, uint8_t *ret_inner,
        size_t *ret_len);

/* Padding of a ping so that its IP packet has wire_mtu bytes; 0 if it is larger already. */
size_t disco_ping_padding(size_t wire_mtu, enum ip_family f);
