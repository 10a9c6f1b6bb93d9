/* tests/sim/node.h - an agent: the data side as it is, and of the control side what it tells and is told.
 *
 * What a node says of itself reaches the server after a while, and each other node after another while; both only while
 * the node has a network.
 */
#pragma once

#include "base/key.h"
#include "base/ring.h"
#include "daemon/data.h"
#include "tests/sim/vtun.h"

enum { NODES_MAX = 512, NODE_ENDPOINTS_MAX = 64 };

/* What the server knows of a node. */
struct record {
        unsigned version;        /* 0: nothing yet */
        bool removed;
        struct disco_public disco;
        int home;
        struct addr eps[NODE_ENDPOINTS_MAX];
        size_t ep_count;
};

struct node {
        int index;
        struct host *host;
        struct key_private key;
        struct node_public pub;
        struct ip ip;
        struct data *data;       /* NULL: not running */
        struct tun *tun;
        struct ring *in, *out;
        struct pktring *to_service, *from_service;
        struct watch out_watch;

        struct record mine;      /* to be told */
        struct record known;     /* the server's */
        struct timer tell, hear, poll;
        int64_t tell_ms, hear_ms;   /* how long that takes */
        unsigned *heard;         /* version of each node that it was told; 0: none */
        bool (*may_know)(int a, int b);
        int64_t stamp_ns;        /* of the wall clock, highest seen */
        mono_t started;
        unsigned restarts;
};

void nodes_reset(void);
void nodes_done(void);
struct node *node_add(struct host *h, int64_t tell_ms, int64_t hear_ms);
struct node *node_at(int index);
int node_count(void);
struct node *node_of(const struct host *h);   /* NULL: the host has none */

void node_start(struct node *n);
void node_stop(struct node *n);
void node_link_changed(struct node *n, int64_t slept_ms);   /* the monitor saw it; 0: it did not sleep */
/* The server has it no more, or again; the others hear of it in time. */
void node_set_removed(struct node *n, bool removed);
void nodes_set_control(bool up);              /* the server of all can be reached */
bool node_knows(const struct node *n, const struct node *peer);   /* it was told of the peer's present process */
