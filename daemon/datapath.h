/* daemon/datapath.h - the packet's walk, out and in.  Data thread.
 *
 * Joins what may not know each other: TUN and filter, WireGuard, magicsock.  Nothing here allocates but packets from
 * the pool, and there is no log line a packet: drops are counted by whoever drops.  A peer is told that its TCP
 * connection is refused (TSMP), and a refusal of one of ours is logged, both at a limited rate.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mono.h"
#include "base/pkt.h"
#include "base/pktring.h"
#include "daemon/meshping.h"
#include "magicsock/magicsock.h"
#include "magicsock/sock.h"
#include "tun/device.h"
#include "tun/filter.h"
#include "wg/device.h"

/* What leaves next: inner packets, each with room around it for what sealing adds, so that sealed neighbours lie back to
 * back.  As much as the kernel sends at once. */
struct out_burst {
        size_t count, used;
        struct pkt view[SOCK_TRAIN_MAX];
};

/* One burst is on its way at a time, out or in, so both ways have the same memory: what is read and what leaves, or what
 * sockets receive. */
union datapath_room {
        struct {
                uint8_t unit[TUN_ROOM];
                uint8_t burst[65504];
        } out;
        uint8_t in[SOCK_ROOM];
};

struct datapath {
        struct pkt_pool *pool;
        struct tun *tun;               /* NULL: the control thread's stack is the host */
        struct wg *wg;
        struct ms *ms;
        struct filter *filter;         /* NULL: nothing may come in */
        struct filter_state *flows;
        uint64_t in_verdicts[FILTER_VERDICTS];
        uint64_t out_verdicts[FILTER_VERDICTS];
        uint64_t out_no_peer;          /* nobody has that destination */
        uint64_t rejects_sent, rejects_heard;   /* TSMP: we refused a connection, a peer refused ours */
        mono_t reject_refilled;
        unsigned reject_tokens;
        struct pktring *service;       /* to the control thread: packets for the service addresses, or for its stack */
        uint64_t service_dropped;      /* the queue was full */
        uint64_t handshakes;           /* handshake messages that verified, as a sign of life */
        struct meshpings pings;        /* on their way through the tunnel */
        void (*on_ping)(void *arg, const struct meshping *p, uint16_t service_port, mono_t now);   /* answered */
        void *arg;
        union datapath_room *room;
        struct out_burst out;
        struct gro in;
};

/* The TUN is readable: at most a few bursts, so that the sockets get their turn. */
void datapath_out(struct datapath *dp, mono_t now);
/* Packets from the service addresses, for the host, or from the stack, for peers.  False: there are more. */
bool datapath_from_service(struct datapath *dp, struct pktring *from, mono_t now);
/* WireGuard packets from the network, consumed.  True, only if may_keep: the last wait to be joined by others, until the
 * next call, which comes in the same round; n may be 0. */
bool datapath_in(struct datapath *dp, struct pkt **pkts, const struct ms_source *srcs, size_t n, bool may_keep, mono_t now);
/* Sends a ping through the tunnel; false: too many are on their way. */
bool datapath_ping(struct datapath *dp, const struct meshping *ask, mono_t now);
/* Timers that are due, and what WireGuard itself wants to send.  Call at the end of each round and at wg_deadline(). */
void datapath_service(struct datapath *dp, mono_t now);
