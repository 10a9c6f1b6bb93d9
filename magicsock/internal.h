/* magicsock/internal.h - what the files behind magicsock.h share.  Nobody else includes it.
 *
 *      magicsock.c   the packet's walk out and in, and the whole
 *      renew.c       the sockets, and new ones in their place
 *      slots.c       the table of peers
 *      disco_io.c    disco in, and the actions of the path machines out
 *      hardnat_io.c  the sockets of the search through a hard NAT, and those it found
 *      counts.c      what was carried and what was dropped
 *      unasked.c     what a ping says of our NAT
 *      second.c      the socket that stands for another host behind our NAT
 *      reach.c       who we are to others: netcheck, endpoints, changes of network
 *      home.c        the home relay
 */
#pragma once

#include "base/crypto.h"
#include "base/loop.h"
#include "magicsock/derp_manager.h"
#include "magicsock/disco.h"
#include "magicsock/hardnat.h"
#include "magicsock/history.h"
#include "magicsock/keymap.h"
#include "magicsock/magicsock.h"
#include "magicsock/mapper.h"
#include "magicsock/netrun.h"
#include "magicsock/peer.h"
#include "magicsock/sock.h"
#include "netcheck/stun.h"

/* WireGuard packets of one round from a relay, handed over together: opened as a burst, written to the host joined. */
enum { MS_RELAYED_MAX = DERP_MGR_BURST_MAX };
struct ms_relayed {
        size_t count;
        struct pkt *pkts[MS_RELAYED_MAX];
        struct ms_source srcs[MS_RELAYED_MAX];
};

enum { MS_DISCO_MAX = 9000 };   /* largest datagram of a padded ping */

/* What control says of a peer. */
struct ms_known {
        bool used;
        bool plain;
        bool expired;
        uint16_t ep_count;           /* 0 once it is awake: its paths have them */
        int home;                    /* 0 = unknown */
        uint32_t same_disco;         /* next slot with this disco key, or MS_SLOT_NONE */
        struct addr *eps;
        struct node_public key;
        struct disco_public disco;   /* zero = none */
};

/* The rest of it comes with the first that is sent to it or heard of it, and stays: of thousands of peers a host
 * talks to few. */
struct ms_slot {
        struct timer timer;          /* at the machine's deadline */
        struct ms *ms;
        uint32_t slot;
        struct ms_peer peer;
        struct node_public key;
        struct disco_public disco;   /* zero = none */
        struct box_key box;          /* with disco; made at first use */
        bool has_box;
        bool bad_disco;              /* no box can be made with it */
        bool asks;                   /* its last ping by relay had a hello: so does the answer */
        uint32_t learned_conn;       /* the relay connection peer.learned is about */
        mono_t learned_at;           /* when it was last heard there */
        int absent;                  /* the region that said last that the peer, whose home it is, is not there; 0 = none */
        struct ms_route shown;       /* as of the last line of the log and of the history */
        struct history history;
        struct hn_peer hardnat;
        struct ms_pin {
                struct ms_udp *udp;  /* the socket that reaches the peer at `to`; NULL = none */
                struct addr to;
                struct addr outside; /* as which the peer sees it; none = not heard yet */
        } pin;
        mono_t heard;
        uint64_t tx_direct, tx_relay;
};

struct ms_udp {
        struct watch watch;
        struct sock sock;
        struct ms *ms;
        struct ms_udp *next;
        mono_t heard;
        bool met;                    /* a ping of the peer that is searched for came by it, or it was a pinned one */
        unsigned number;             /* in the search for a path through a hard NAT, from 1; 0 = one of the two for all */
};

/* magicsock/hardnat.h with its sockets. */
struct ms_hardnat {
        struct ms *ms;
        struct hardnat m;
        struct timer timer;
        struct hn_actions out;
        bool is_running;             /* out is being carried out */
        struct ms_udp *sockets[HN_SOCKETS];   /* of the try under way; NULL = none */
        struct stun_txid asked[HN_SOCKETS];   /* what each asked a STUN server; zero = nothing */
        struct addr stun[2];         /* servers of the last report, the newest first */
        struct ms_udp *met;          /* of tries that are over, and pinned no more: a peer got there lately, and may go on */
        struct ms_udp *closed;       /* may be in use further up the stack; freed later */
        size_t pins;
};

struct ms {
        struct loop *loop;
        struct pkt_pool *pool;
        struct dialer *dialer;
        struct ms_callbacks cb;
        void *arg;
        char tun_name[16];
        uint16_t want_port;
        uint32_t mark;
        bool no_udp;

        bool has_key;
        struct key_private node_key;
        struct node_public node_public;
        struct key_private disco_key;
        struct disco_public disco_public;
        bool active;
        bool polling;

        struct ms_udp udp[2];         /* IPv4, IPv6 */
        struct ms_udp second;         /* IPv4, open only while netcheck wants it */
        struct ms_udp retired[2];     /* those before the last rebind, read for a moment longer */
        struct timer retired_timer;
        struct ms_hardnat *hardnat;
        struct ms_udp *via;           /* the socket whose datagram is being handled; NULL = none */
        struct addr via_src;          /* and its sender, set for disco */
        struct derp_mgr *derp;
        struct netrun *netrun;
        struct mapper *mapper;
        struct addr statics[MS_STATIC_MAX];
        size_t static_count;
        unsigned portmap;             /* PORTMAP_BITs that the administrator leaves on */
        const struct derpmap *map;    /* borrowed */

        struct ms_known *known;
        struct ms_slot **slots;       /* NULL = no such peer, or asleep */
        size_t slot_cap;
        size_t peer_count;
        struct keymap by_key;         /* node key -> slot */
        struct keymap by_disco;       /* disco key -> first slot of its chain */

        struct timer restun_timer;    /* the periodic one */
        struct timer publish_timer;   /* endpoints of a report that is not done yet */
        struct timer home_timer;      /* no answer yet: settle for any home */
        bool restun_again, restun_full;
        bool stun_refused;            /* by the IPv4 socket, of this report or the last, and not because the host knows no way */
        uint32_t home_seed;           /* the same arbitrary home for the life of the process */
        struct timer home_down_timer;
        bool home_doubted;            /* it was not up for a while */
        int home_held;                /* the choice of the last report, while the server did not hear us; 0 = none */
        unsigned home_looks;          /* so often the others were looked at, or moved to, in vain since one was up */
        int shunned;                  /* a region that was home and took no connection; 0 = none */
        mono_t shunned_until;
        struct addr seen4, seen6;     /* as which STUN saw us last; none = not since the network changed */
        bool saw_udp;                 /* when somebody answered last; false = not since the network changed */
        bool saw_nobody;              /* the last report had no answer at all */
        mono_t last_traffic;
        mono_t rebound;               /* because of an error */
        mono_t portmap_restun;        /* because of another mapping: the last, or the next */
        mono_t unasked_at;            /* the last ping that was looked at for it: unasked.c */
        struct endpoint_tracker tracker;
        struct ms_endpoint eps[MS_ENDPOINTS_MAX];
        size_t ep_count;
        mono_t eps_at;                /* built then */

        struct ms_relayed relayed;
        uint64_t drops[MS_DROP_COUNT];
        struct ms_traffic in_by[MS_WAYS], out_by[MS_WAYS];
        struct sock_rx *rx;
        struct ms_actions out;
        struct disco_msg msg;
        uint8_t inner[MS_DISCO_MAX];
        uint8_t datagram[MS_DISCO_MAX];
};

/* ---- slots.c ---- */
void ms_slots_init(struct ms *ms);
void ms_slots_done(struct ms *ms);
/* Wakes it if it is asleep.  NULL: no such peer, or no memory. */
struct ms_slot *ms_slot_find(struct ms *ms, uint32_t slot);

/* ---- magicsock.c ---- */
bool ms_can_send(const struct ms *ms);   /* active, with a key, network up */
struct ms_udp *ms_udp_for(struct ms *ms, struct addr to);           /* NULL: no socket of that family */
void ms_on_udp(struct watch *w, unsigned events, mono_t now);       /* a socket is ready to read */
/* The region to reach the peer by now; 0 = none. */
int ms_relay_for(struct ms *ms, struct ms_slot *s);

/* ---- renew.c ---- */
void ms_sockets_init(struct ms *ms, int buffer_bytes);   /* 0: as large as can be */
void ms_sockets_done(struct ms *ms);
/* Anew, if there are some; on an error, with errno, those stay. */
ERR_CHECK enum err ms_open_sockets(struct ms *ms);

/* ---- disco_io.c ---- */
void ms_disco_udp(struct ms *ms, struct addr src, const uint8_t *data, size_t len, mono_t now);
/* s: the peer whose node key the relay named. */
void ms_disco_relay(struct ms *ms, struct ms_slot *s, int region, const uint8_t *data, size_t len, mono_t now);
/* After every event of a machine: does what is in ms->out, and arms its timer.  A callback may have removed s when it
 * returns. */
void ms_settle(struct ms *ms, struct ms_slot *s, mono_t now);
void ms_on_slot_timer(struct timer *t, mono_t now);

/* Our endpoints, as far as there is room, and `more` others, by relay; n: at most HN_GUESSES. */
void ms_send_call(struct ms *ms, struct ms_slot *s, const struct addr *more, size_t n, mono_t now);
/* inner: what disco_encode() made of ms->msg is sealed and sent from that socket.  False: not sent. */
bool ms_disco_send(struct ms *ms, struct ms_slot *s, struct ms_udp *from, struct addr to);

/* ---- unasked.c ---- */
void ms_unasked_ping(struct ms *ms, struct addr src);   /* a peer's, before its machine sees it */
bool ms_unasked_proves(const struct ms *ms, const struct netcheck_report *r, struct addr src);

/* ---- second.c ---- */
void ms_second_init(struct ms *ms);
/* Opens it if need be.  False: not sent. */
bool ms_second_send(struct ms *ms, struct addr to, const void *data, size_t len);
void ms_second_close(struct ms *ms);

/* ---- hardnat_io.c ---- */
ERR_CHECK enum err ms_hn_init(struct ms *ms);
void ms_hn_done(struct ms *ms);                /* before the slots go */
/* The socket from which to send to that address of the peer: like ms_udp_for(). */
struct ms_udp *ms_hn_udp(struct ms *ms, const struct ms_slot *s, struct addr to);
/* What came in now from there came where data to there would leave; else it says nothing of how that fares. */
bool ms_hn_is_data_by(const struct ms *ms, const struct ms_slot *s, struct addr src);
void ms_hn_relayed(struct ms *ms, struct ms_slot *s, mono_t now);   /* traffic went by relay */
/* Part of ms_settle(): leaves ms->out alone. */
void ms_hn_settle(struct ms *ms, struct ms_slot *s, mono_t now);
/* Adds what is ours to a ping or pong in ms->msg, if we say anything. */
void ms_hn_say(struct ms *ms);
void ms_hn_hello(struct ms *ms, struct ms_slot *s, bool has_hello, uint8_t hello, mono_t now);
/* An authenticated ping of the peer came by the socket of a try, if ms->via is one. */
void ms_hn_ping(struct ms *ms, struct ms_slot *s, struct addr src, mono_t now);
/* True: it was for a ping of the try. */
bool ms_hn_pong(struct ms *ms, struct ms_slot *s, struct addr src, const struct disco_txid *txid, mono_t now);
/* A pong to a ping of the path machine's names `seen`. */
void ms_hn_seen(struct ms *ms, struct ms_slot *s, struct addr src, struct addr seen, mono_t now);
void ms_hn_stun(struct ms *ms, const struct pkt *p, mono_t now);    /* to the socket ms->via, one of a try */
void ms_hn_sent_stun(struct ms *ms, struct addr to);                /* netcheck asked there */
void ms_hn_report(struct ms *ms, const struct netcheck_report *r, mono_t now);
void ms_hn_stop(struct ms *ms, mono_t now);                         /* another network, or down */
void ms_hn_forget(struct ms *ms, struct ms_slot *s, mono_t now);    /* the slot goes away */
void ms_hn_restarted(struct ms *ms, struct ms_slot *s, mono_t now); /* the peer has another disco key */
void ms_hn_want_offloads(struct ms *ms, unsigned wanted);

/* ---- home.c ---- */
void ms_home_init(struct ms *ms);
void ms_home_stop(struct ms *ms);
bool ms_home_is_down(const struct ms *ms);       /* there is one, which has not let us in, or not again */
/* preferred: netcheck's choice, 0 = it has none.  settle: no better knowledge will come soon. */
void ms_home_choose(struct ms *ms, int preferred, bool settle, mono_t now);
void ms_home_on_answer(struct ms *ms, const struct netcheck_report *so_far, mono_t now);
void ms_home_on_report(struct ms *ms, const struct netcheck_report *r, mono_t now);
void ms_home_start_waiting(struct ms *ms);   /* without a home: for answers, but not long */
void ms_home_on_up(struct ms *ms, int region);   /* a relay let us in */
void ms_home_tell(struct ms *ms, mono_t now);    /* the last report, with the home that others should know */
void ms_home_on_state(struct ms *ms, mono_t now);   /* a relay's connection is up, or no more */
mono_t ms_home_heard(void *arg);             /* of struct netrun_callbacks */
void ms_reach_portmap_changed(void *arg, mono_t now);   /* of struct mapper_callbacks */

/* ---- reach.c ---- */
ERR_CHECK enum err ms_reach_init(struct ms *ms);
void ms_reach_done(struct ms *ms);
void ms_reach_start(struct ms *ms, mono_t now);   /* became active, or got what was missing for it */
void ms_reach_stop(struct ms *ms);
/* There is traffic: whatever sleeps for the lack of it wakes up. */
void ms_reach_traffic(struct ms *ms, mono_t now);
/* A call-me-maybe is about to tell our endpoints: are they fresh? */
void ms_reach_check_fresh(struct ms *ms, mono_t now);
/* A socket is beyond repair; at most every 5 s. */
void ms_reach_socket_error(struct ms *ms, mono_t now);
/* Asks the relays, should a report hint at another router than before. */
void ms_reach_note_seen(struct ms *ms, const struct netcheck_report *r, mono_t now);
