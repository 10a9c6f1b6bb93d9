/* magicsock/derp_frame.h - the frames of the DERP relay protocol, version 2: bytes to values and back.
 *
 * A frame is type u8, length u32 big-endian, payload.  Pure: no state, no I/O, nothing allocated; parsed
 * values borrow the payload.  Any thread.  Source: the reference relay's protocol description.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/crypto.h"
#include "base/err.h"
#include "base/key.h"
#include "base/writer.h"

enum {
        DERP_HEAD_LEN = 5,
        DERP_SEND_HEAD_LEN = DERP_HEAD_LEN + KEY_LEN,   /* in front of each packet we send */
        DERP_PACKET_MAX = 65536,                        /* payload of Send and Recv, without the key */
        DERP_FRAME_MAX = 1 << 20,                       /* a longer one ends the connection */
        DERP_SERVER_KEY_MAX = 1024,
        DERP_PING_LEN = 8,
};

enum derp_type {
        DERP_SERVER_KEY = 0x01,
        DERP_CLIENT_INFO = 0x02,
        DERP_SERVER_INFO = 0x03,
        DERP_SEND_PACKET = 0x04,
        DERP_RECV_PACKET = 0x05,
        DERP_KEEP_ALIVE = 0x06,
        DERP_NOTE_PREFERRED = 0x07,
        DERP_PEER_GONE = 0x08,
        DERP_PEER_PRESENT = 0x09,
        DERP_PING = 0x12,
        DERP_PONG = 0x13,
        DERP_HEALTH = 0x14,
        DERP_RESTARTING = 0x15,
};

struct derp_head {
        uint8_t type;   /* enum derp_type, or one we do not know */
        uint32_t len;   /* of the payload */
};

/* ERR_SHORT: fewer than 5 bytes.  ERR_FORMAT: longer than DERP_FRAME_MAX. */
ERR_CHECK enum err derp_head_parse(const void *data, size_t len, struct derp_head *ret);

/* One frame from a server, understood.  Pointers lead into the payload. */
struct derp_msg {
        enum derp_type type;
        struct node_public key;   /* SERVER_KEY; RECV_PACKET: source; PEER_GONE: who */
        const uint8_t *data;      /* RECV_PACKET, HEALTH (not terminated); SERVER_INFO: nonce and box */
        size_t len;
        uint8_t reason;           /* PEER_GONE */
        uint8_t ping[DERP_PING_LEN];   /* PING, PONG */
        uint32_t reconnect_in_ms, try_for_ms;   /* RESTARTING */
};

/* ERR_UNSUPPORTED: a type clients have no use for: skip it.  ERR_SHORT, ERR_FORMAT: damaged. */
ERR_CHECK enum err derp_msg_parse(uint8_t type, const void *payload, size_t len, struct derp_msg *ret);

/* Appended whole or, if there is no room, latched in w. */
void derp_put_client_info(struct wr *w, const struct node_public *us, const struct box_key *to_server,
        const uint8_t nonce[BOX_NONCE_LEN]);
void derp_put_note_preferred(struct wr *w, bool home);
void derp_put_ping(struct wr *w, enum derp_type ping_or_pong, const uint8_t data[DERP_PING_LEN]);
/* What goes in front of packet_len bytes for dst. */
void derp_send_head(uint8_t out[DERP_SEND_HEAD_LEN], const struct node_public *dst, size_t packet_len);

struct derp_server_info {
        int64_t bytes_per_sec;   /* 0 = no limit on what we send */
        int64_t burst;
};
/* nonce_box: of SERVER_INFO.  ERR_AUTH: not sealed for us; ERR_FORMAT: not the JSON it must be;
 * ERR_FULL: longer than any real one. */
ERR_CHECK enum err derp_server_info_open(const struct box_key *from_server, const void *nonce_box, size_t len,
        struct derp_server_info *ret);
