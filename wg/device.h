/* wg/device.h - the WireGuard engine as the datapath sees it: packets in, packets out.
 *
 * No socket, no clock, no log.  One thread owns a struct wg and everything it hands out.  Time comes in
 * as `now` (base/mono.h) and, where a TAI64N stamp or a date is needed, as `wall_ns` (since 1970).
 *
 * The walk, once per batch:
 *         wg_open() and wg_seal() with what arrived,
 *         wg_expire() if wg_deadline() has come (both of the above may have brought it forward to now),
 *         wg_next_out() until it says false: these are to be transmitted too,
 *         sleep until wg_deadline().
 *
 * Packets belong to the pool given to wg_new().  Allocation happens when a peer is set, with the
 * first packet to or from it, and once per handshake, never per data packet.  Source: the WireGuard paper, Noise_IKpsk2.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/key.h"
#include "base/mono.h"
#include "base/pkt.h"

struct wg;

#define WG_NO_PEER UINT32_MAX

enum {
        /* Packets a peer keeps while its handshake runs; the oldest goes first.  All together keep half the pool: beyond it
         * the peer with the most makes room for another one's first. */
        WG_STAGED_MAX = 128,
        WG_OVERHEAD = 32,      /* header and tag; up to 15 bytes of padding come on top */
};

/* max_peers bounds the slot numbers.  Borrows the pool.  NULL: out of memory. */
struct wg *wg_new(struct pkt_pool *pool, uint32_t max_peers);
void wg_free(struct wg *wg);   /* wipes every secret; NULL is fine */

/* All sessions go; peers and their allowed IPs stay.  NULL or a zero key: silent until a key comes. */
void wg_set_identity(struct wg *wg, const struct key_private *key);
/* Padding never goes beyond the inner MTU; 0 = not known. */
void wg_set_mtu(struct wg *wg, uint16_t mtu);
/* Sessions to come seal and open with its help.  Borrowed until wg_free(). */
void wg_set_crew(struct wg *wg, struct aead_crew *c);

/* An earlier process sent stamps up to this moment; initiations to all peers will be later. */
void wg_set_stamp_floor(struct wg *wg, int64_t wall_ns);

/* ---- Peers, in slots that the caller numbers ---- */

/* Creates or updates.  New allowed IPs keep the session; a new key starts from nothing.  A prefix that
 * another peer has moves here.  ERR_FULL: slot number or memory; ERR_STATE: another slot has this key,
 * or it is our own.  On an error the slot is as before, but empty if its key was to change. */
ERR_CHECK enum err wg_peer_set(struct wg *wg, uint32_t slot, const struct node_public *key,
        const struct prefix *allowed, size_t n);
void wg_peer_remove(struct wg *wg, uint32_t slot);   /* its queued packets go too; empty slot is fine */
/* Takes effect at the next handshake.  Zeros: none. */
void wg_peer_set_psk(struct wg *wg, uint32_t slot, const uint8_t psk[KEY_LEN]);
/* Seconds between keepalives that are sent whatever happens; 0 = off, which is what a tailnet wants. */
void wg_peer_set_persistent(struct wg *wg, uint32_t slot, uint16_t interval_s, mono_t now);

/* The peer seems to be a new process, which knows nothing of our session: a handshake at once.  The session
 * is used until that is answered, in case the peer is not.  Nothing happens without a session. */
void wg_peer_refresh(struct wg *wg, uint32_t slot, mono_t now);
/* The peer has known our key, or has been where it is sent to, since `since` at the latest: an initiation sent before that is
 * not waited for. */
void wg_peer_known(struct wg *wg, uint32_t slot, mono_t since, mono_t now);

size_t wg_peer_count(const struct wg *wg);
uint32_t wg_peer_by_ip(const struct wg *wg, const uint8_t *ip, size_t len /* 4 or 16 */);
uint32_t wg_peer_by_key(const struct wg *wg, const struct node_public *key);
/* By the destination of an inner packet; WG_NO_PEER also if it is no IP packet. */
uint32_t wg_peer_for(const struct wg *wg, const uint8_t *packet, size_t len);

struct wg_peer_stats {
        int64_t last_handshake_ns;   /* wall clock; 0 = never */
        uint64_t rx_bytes, tx_bytes; /* whole WireGuard messages */
        uint32_t staged;
        bool session;                /* data can be sent at once */
};
/* False: empty slot. */
bool wg_peer_stats(const struct wg *wg, uint32_t slot, mono_t now, int64_t wall_ns, struct wg_peer_stats *ret);

/* ---- Out ---- */

/* Plain inner packets for one peer, in order.  Returns how many, at the front of pkts, are now sealed in
 * place (p->peer set) and the caller's to send; wg has taken the others: staged for a session to come,
 * or dropped and counted.  So it is n with a session, 0 without. */
size_t wg_seal(struct wg *wg, uint32_t slot, struct pkt **pkts, size_t n, mono_t now);

/* Where a datagram came from: bound into cookies, and where a cookie reply goes.  Not believed. */
struct wg_source {
        struct addr addr;                /* unset if by relay */
        uint16_t relay_region;           /* 0 = direct */
        struct node_public relay_peer;   /* whom the relay named as the sender */
};

enum wg_out_kind { WG_OUT_DATA, WG_OUT_KEEPALIVE, WG_OUT_INITIATION, WG_OUT_RESPONSE, WG_OUT_COOKIE };

struct wg_out {
        enum wg_out_kind kind;
        struct pkt *p;         /* a whole WireGuard message, the caller's to send and release */
        uint32_t peer;         /* whom to send it to; WG_NO_PEER for WG_OUT_COOKIE ... */
        struct wg_source to;   /* ... which goes back to where the question came from */
};
/* The next message that wg itself made, or staged data that a new session has released.  False: none. */
bool wg_next_out(struct wg *wg, struct wg_out *ret);

/* ---- In ---- */

enum wg_verdict {
        WG_DROP,        /* counted by reason */
        WG_COOKIE,      /* a cookie reply, kept for the next handshake message */
        WG_HANDSHAKE,   /* authentic from here on: p->peer is the slot.  A handshake message */
        WG_KEEPALIVE,
        WG_DATA,        /* p is the inner packet, cut to its IP length, source allowed for the peer */
};

struct wg_in {
        struct pkt *p;                 /* stays the caller's, to release when it is not WG_DATA */
        const struct wg_source *src;
        enum wg_verdict verdict;       /* answer */
};
/* A burst in order of arrival; neighbours of one session are opened together. */
void wg_open(struct wg *wg, struct wg_in *in, size_t n, mono_t now);

/* ---- Time ---- */

/* MONO_NEVER: nothing pending.  May be early, never late. */
mono_t wg_deadline(const struct wg *wg);
/* Runs what is due.  Bounded work: with thousands of handshakes due at once some stay due. */
void wg_expire(struct wg *wg, mono_t now, int64_t wall_ns);
/* The caller's own sign of overload (a receive queue that is not getting shorter): for one second
 * handshake messages need a cookie.  wg also notices by itself when too many arrive. */
void wg_note_load(struct wg *wg, mono_t now);

/* ---- Why packets died ---- */

enum wg_drop {
        WG_DROP_NO_PEER,        /* no such slot, no identity, or a key that must never be used */
        WG_DROP_STAGED_FULL,    /* staged too long ago or too many */
        WG_DROP_GAVE_UP,        /* staged, but the handshake was never answered */
        WG_DROP_SIZE,           /* no room for header, padding and tag */
        WG_DROP_NO_BUFFER,      /* the pool is empty */
        WG_DROP_MALFORMED,      /* unknown type or wrong length */
        WG_DROP_MAC1,
        WG_DROP_COOKIE_SENT,    /* under load, no valid cookie: asked to come back with one */
        WG_DROP_RATE,           /* under load, valid cookie, but too often */
        WG_DROP_HANDSHAKE,      /* a handshake message that is damaged or from nobody we know */
        WG_DROP_STALE_STAMP,    /* a replayed initiation, or the next one too soon */
        WG_DROP_UNKNOWN_INDEX,
        WG_DROP_EXPIRED,        /* keypair too old or counter beyond the limit */
        WG_DROP_TAG,
        WG_DROP_REPLAY,
        WG_DROP_INNER,          /* authentic, but not a whole IP packet */
        WG_DROP_SOURCE,         /* authentic, but the inner source is not the peer's */
        WG_DROP_COUNT,
};
uint64_t wg_drops(const struct wg *wg, enum wg_drop reason);
const char *wg_drop_str(enum wg_drop reason);
