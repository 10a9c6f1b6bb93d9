/* wg/engine.h - the inside of struct wg, for the files of this folder and its tests.
 *
 * peer.c keeps the tables (slots, keys, allowed IPs, deadlines), handshake.c makes and takes the three
 * handshake messages, device.c is the data path and the clockwork that joins them.
 */
#pragma once

#include "base/trie.h"
#include "wg/cookie.h"
#include "wg/device.h"
#include "wg/index.h"
#include "wg/noise.h"
#include "wg/ratelimit.h"
#include "wg/session.h"
#include "wg/staged.h"
#include "wg/timers.h"

enum {
        OPEN_MAX = 6,             /* initiations of ours that may still be answered: all that are sent ... */
        OPEN_LIFE_MS = 10000,     /* ... while one may be */
        HOLD_SLACK_MS = 50,       /* see hold_until */
        HOLD_MOST_MS = 1000,      /* an answer that took longer was not under way so long: its reader was away */
        SPACING_MS = 20,          /* initiations that come faster than this are dropped, but for ... */
        SPACING_BURST = 24,       /* ... a whole series, which a relay kept while we slept: only its last is waited for */
        COOKIE_QUEUE_MAX = 64,
        LOAD_COST_US = 1000,      /* more than 1,000 handshake messages a second ... */
        LOAD_BURST_US = 256000,   /* ... after the first 256 are overload */
        LOAD_HOLD_MS = 1000,
        EXPIRE_BUDGET = 64,       /* peers served by one wg_expire() */
};

/* One initiation under way; index 0 = free. */
struct open_initiation {
        struct noise_initiation noise;
        uint32_t index;
        uint64_t order;           /* newer is greater */
        mono_t sent_at;
        uint8_t mac1[MSG_MAC_LEN];
        bool cookie_awaited;      /* a cookie reply is believed once */
};

/* Our last response, kept until it is confirmed, to be sent again if a cookie is asked for it. */
struct open_response {
        uint8_t msg[MSG_RESPONSE_LEN];
        bool cookie_awaited;
};

/* What is known of a peer from the start. */
struct wg_known {
        bool used;
        struct node_public pub;
        uint32_t allowed_count;
        struct prefix *allowed;
};

/* The rest of it comes with its first packet in either direction, and stays: of thousands of peers a host talks to
 * few. */
struct wg_peer {
        uint32_t slot;
        struct noise_remote noise;
        struct keypairs keys;
        struct timers timers;
        struct cookie_jar jar;
        struct open_initiation open[OPEN_MAX];
        uint64_t open_order;
        struct open_response response;
        mono_t accepted_at;       /* last initiation of theirs that was answered */
        mono_t spaced_until;      /* when those answered so far have had their time */
        mono_t completed_at;      /* last handshake */
        struct pkt_queue staged;               /* changed by staged.h alone, like these */
        struct wg_peer *staged_next, **staged_link;
        /* An older initiation was answered while a newer one is under way, whose answer will be due soon.
         * The peer may know only the newer session, so data waits for it, but not beyond this time. */
        mono_t hold_until;
        uint64_t rx_bytes, tx_bytes;

        uint8_t good_source[16];  /* passed the check last time ... */
        uint8_t good_len;         /* ... 4 or 16 bytes of it; 0 = none */
        uint32_t good_epoch;      /* ... under this state of the allowed IPs */

        mono_t heap_key;          /* never later than the peer's deadline */
        size_t heap_at;           /* place in the heap + 1; 0 = not in it */
};

struct cookie_answer {
        struct wg_source to;
        uint8_t msg[MSG_COOKIE_LEN];
};

struct wg {
        struct pkt_pool *pool;
        struct noise_local us;
        uint16_t mtu;
        struct aead_crew *crew;   /* NULL: none */
        uint32_t max_peers;

        struct wg_known *known;   /* by slot number */
        struct wg_peer **slot;    /* by slot number; NULL = empty, or nothing was ever sent either way */
        uint32_t slot_count;
        size_t peer_count;
        uint32_t *by_key;         /* open addressing of slot numbers */
        size_t by_key_cap;
        uint8_t by_key_seed[SHORT_HASH_KEY_LEN];
        struct trie *allowed;
        uint32_t allowed_epoch;
        struct index_table index;

        struct wg_peer **heap;    /* by heap_key, least first; room for slot_count */
        size_t heap_count;

        struct pkt_queue out;
        struct cookie_answer cookies[COOKIE_QUEUE_MAX];
        size_t cookie_first, cookie_count;
        struct staged staged;
        size_t staged_limit;      /* so that staging cannot eat the pool */

        uint8_t stamp_floor[STAMP_LEN];      /* greatest stamp sent to peers that are gone since */

        struct cookie_checker checker;
        struct ratelimit limiter;
        mono_t load_full_at;      /* bucket of handshake messages */
        mono_t load_until;

        uint64_t drops[WG_DROP_COUNT];
};

/* peer.c */
struct wg_peer *peer_at(const struct wg *wg, uint32_t slot);   /* NULL: empty, or nothing was ever sent either way */
struct wg_peer *peer_wake(struct wg *wg, uint32_t slot);       /* NULL: empty, or no memory */
/* True if this source address is one of the peer's, by longest prefix. */
bool peer_owns(struct wg *wg, struct wg_peer *p, const uint8_t *ip, uint8_t len);
bool peer_has_session(const struct wg_peer *p, mono_t now);
/* Sessions, open handshakes, cookies and staged packets go, with what is due for them. */
void peer_reset(struct wg *wg, struct wg_peer *p);
void peer_forget_keys(struct wg *wg, struct wg_peer *p);
void peer_drop_staged(struct wg *wg, struct wg_peer *p, enum wg_drop reason);
/* To be called after anything that may have brought a deadline nearer. */
void peer_touch(struct wg *wg, struct wg_peer *p);
/* The heap's head gets its true deadline, or leaves. */
void peer_settle_first(struct wg *wg);

/* handshake.c */
void open_forget(struct wg *wg, struct open_initiation *o);
void handshake_initiate(struct wg *wg, struct wg_peer *p, mono_t now, int64_t wall_ns);
enum wg_verdict handshake_on_initiation(struct wg *wg, struct pkt *p, const struct wg_source *src, mono_t now);
enum wg_verdict handshake_on_response(struct wg *wg, struct pkt *p, const struct wg_source *src, mono_t now);
enum wg_verdict handshake_on_cookie(struct wg *wg, struct pkt *p, mono_t now);

/* device.c */
enum wg_verdict wg_dropped(struct wg *wg, enum wg_drop reason);   /* counts; returns WG_DROP */
/* current may be used: what is staged goes out under it.  Returns false if nothing was. */
bool wg_release_staged(struct wg *wg, struct wg_peer *p, mono_t now);
void wg_queue_keepalive(struct wg *wg, struct wg_peer *p, mono_t now);   /* current must be able to send */
