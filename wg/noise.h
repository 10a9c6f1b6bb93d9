/* wg/noise.h - WireGuard's Noise_IKpsk2 handshake: state in, message bytes out.
 *
 * No clock, socket, log or heap.  The caller owns every struct and draws ephemeral keys and indices.
 * Each function works on a copy and commits at its end: on an error its arguments are as before.
 * MACs at the end of a message are wg/cookie.h's; here they are left zero.  Source: WireGuard paper
 * 5.4.1 to 5.4.5, Noise 34 (IK, psk2).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/key.h"
#include "wg/message.h"

/* Us.  A zeroed struct is nobody. */
struct noise_local {
        struct key_private priv;
        struct node_public pub;
        uint8_t mac1_key[32];     /* of messages to us */
        uint8_t cookie_key[32];   /* of cookie replies by us */
        bool is_set;
};

/* One peer: what is known about it before and between handshakes. */
struct noise_remote {
        struct node_public pub;
        uint8_t psk[32];
        uint8_t mac1_key[32];           /* of messages to it */
        uint8_t cookie_key[32];         /* of cookie replies by it */
        uint8_t ss[32];                 /* static-static, computed on first use */
        enum { NOISE_SS_UNKNOWN, NOISE_SS_READY, NOISE_SS_REFUSED } ss_state;
        uint8_t stamp_seen[STAMP_LEN];  /* greatest accepted from it */
        uint8_t stamp_sent[STAMP_LEN];  /* greatest sent to it */
};

/* An initiation of ours that may still be answered.  A zeroed struct is none. */
struct noise_initiation {
        struct key_private ephemeral;
        uint8_t hash[32];
        uint8_t chain[32];
};

/* An initiation received, between noise_peek() and noise_respond(); wipe with noise_call_wipe(). */
struct noise_call {
        struct node_public from;   /* who claims to call; proven by noise_accept() */
        struct node_public ephemeral;
        uint32_t sender_index;
        uint8_t hash[32];
        uint8_t chain[32];
        uint8_t stamp[STAMP_LEN];
        bool accepted;
};

/* Transport keys; wipe after use. */
struct noise_keys {
        uint8_t send[32];
        uint8_t recv[32];
};

void noise_local_set(struct noise_local *us, const struct key_private *key);   /* NULL, zero: nobody */
void noise_remote_set(struct noise_remote *them, const struct node_public *pub);
/* Static-static with a new identity is another one. */
void noise_remote_forget_ss(struct noise_remote *them);
/* ERR_AUTH: their key is of low order; never talk to them. */
ERR_CHECK enum err noise_remote_ready(struct noise_remote *them, const struct noise_local *us);

/* TAI64N of wall_ns, rounded down to 2^24 ns so that it is no fingerprint of the clock, but always at
 * least one such step after `last`. */
void noise_stamp(uint8_t ret[STAMP_LEN], int64_t wall_ns, const uint8_t last[STAMP_LEN]);

/* ERR_AUTH: low-order key.  Commits stamp to them->stamp_sent. */
ERR_CHECK enum err noise_initiate(struct noise_initiation *ret, const struct noise_local *us,
        struct noise_remote *them, const struct key_private *ephemeral, uint32_t index,
        const uint8_t stamp[STAMP_LEN], uint8_t ret_msg[MSG_INITIATION_LEN]);

/* Learns who claims to call, so that the peer can be looked up.  Proves nothing.  ERR_AUTH. */
ERR_CHECK enum err noise_peek(struct noise_call *ret, const struct noise_local *us,
        const uint8_t msg[MSG_INITIATION_LEN]);
/* Proves it.  ERR_AUTH, or ERR_REPLAY if the stamp is not greater than them->stamp_seen.  them changes
 * only in its cached static-static. */
ERR_CHECK enum err noise_accept(struct noise_call *call, const struct noise_local *us,
        struct noise_remote *them, const uint8_t msg[MSG_INITIATION_LEN]);
/* ERR_STATE without noise_accept(); ERR_AUTH: low-order ephemeral.  Commits the stamp to
 * them->stamp_seen and wipes call. */
ERR_CHECK enum err noise_respond(struct noise_call *call, struct noise_remote *them,
        const struct key_private *ephemeral, uint32_t index, uint8_t ret_msg[MSG_RESPONSE_LEN],
        struct noise_keys *ret_keys);
/* ERR_AUTH: not the answer to init.  The caller wipes init once it adopts the keys. */
ERR_CHECK enum err noise_finish(const struct noise_initiation *init, const struct noise_local *us,
        const struct noise_remote *them, const uint8_t msg[MSG_RESPONSE_LEN], struct noise_keys *ret_keys);

void noise_call_wipe(struct noise_call *call);
