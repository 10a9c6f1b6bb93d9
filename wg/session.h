/* wg/session.h - one pair of transport keys, and those that a peer may have at a time.
 *
 * A session is made from the keys of one handshake, lives 180 s and is wiped when a newer one is made after that, at the
 * latest 540 s after the peer's last handshake.
 * It seals and opens packets in place and counts them; it knows nothing of peers or addresses.
 * Source: WireGuard paper 5.4.6, 6.1, 6.2.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/crypto.h"
#include "base/mono.h"
#include "base/pkt.h"
#include "wg/index.h"
#include "wg/noise.h"
#include "wg/replay.h"

enum {
        REKEY_AFTER_TIME_S = 120,
        REJECT_AFTER_TIME_S = 180,
        SEND_UNTIL_S = 175,         /* what we seal later could arrive when the other side rejects it already */
        REKEY_ON_RECEIVE_S = 165,   /* REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT */
        SESSION_BURST = 64,         /* packets in one call */
        KEYPAIRS_OLD = 3,
        KEYPAIRS_BEFORE = 3,
};
#define REKEY_AFTER_MESSAGES (UINT64_C(1) << 60)

struct session {
        struct aead *send;
        struct aead *recv;
        uint64_t next_counter;   /* of the next packet we seal */
        uint32_t local_index;    /* in packets to us */
        uint32_t remote_index;   /* in packets to them */
        bool initiator;          /* we sent the initiation: rekeying is our job */
        bool rekey_asked;        /* the one rekey that receiving may cause was asked for */
        mono_t born;
        mono_t heard;            /* when a packet was last opened; at first, as born */
        struct replay replay;
};

/* Copies keys; NULL: out of memory. */
struct session *session_new(const struct noise_keys *keys, uint32_t local_index, uint32_t remote_index,
        bool initiator, mono_t now);
void session_share(struct session *s, struct aead_crew *c);   /* its bursts, from now on */
void session_free(struct session *s);   /* wipes; NULL is fine */

/* May n more packets be sent? */
bool session_can_send(const struct session *s, size_t n, mono_t now);
bool session_can_receive(const struct session *s, mono_t now);
bool session_wants_rekey_sending(const struct session *s, mono_t now);
bool session_wants_rekey_receiving(const struct session *s, mono_t now);

/* Seals up to SESSION_BURST packets in place, padded to 16 but not beyond mtu (0 = unknown).  Needs
 * session_can_send().  Packets without room for that are moved behind the others, to be dropped;
 * returns how many were sealed. */
size_t session_seal(struct session *s, struct pkt **pkts, size_t n, uint16_t mtu);

enum session_opened { SESSION_OPENED, SESSION_BAD_TAG, SESSION_REPLAYED, SESSION_EXPIRED };
/* Opens up to SESSION_BURST data messages, each at least MSG_DATA_MIN_LEN long, in place: header, tag
 * and all but the plain text are cut off.  What failed holds garbage. */
void session_open(struct session *s, struct pkt *const *pkts, size_t n, mono_t now, enum session_opened *ret);

/* A peer's sessions (WireGuard paper 6.3, and more of the old).  Zero-initialised. */
struct keypairs {
        /* Receive what was under way, the newest first; offers that a newer one followed, too, as their initiator may have
         * used them before.  Where each side sends under the session that it asked for, and both ask for new ones at once,
         * three have to last for a trip.  Pushed out is that which was silent longest. */
        struct session *old[KEYPAIRS_OLD];
        struct session *current;    /* the only one that sends */
        struct session *next;       /* ours as responder, until the initiator's first packet */
        /* Those before next, the newest first: all that the initiator has while the answers after it are under way. */
        struct session *before[KEYPAIRS_BEFORE];
};

/* Those pushed out leave the index table and are freed. */
/* As initiator; asked: when the initiation that was answered had left. */
void keypairs_adopt(struct keypairs *k, struct session *s, mono_t asked, struct index_table *t);
void keypairs_offer(struct keypairs *k, struct session *s, struct index_table *t);    /* as responder */
/* True: s was an offer, was used by the initiator and is current now. */
bool keypairs_confirm(struct keypairs *k, struct session *s, struct index_table *t);
void keypairs_clear(struct keypairs *k, struct index_table *t);
struct session *keypairs_find(const struct keypairs *k, uint32_t local_index);        /* NULL: none */
