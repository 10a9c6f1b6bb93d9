/* tests/sim/relay.h - relays as far as their clients can see: STUN, and packets by node key over a stream. */
#pragma once

#include "base/derpmap.h"
#include "base/key.h"
#include "tests/sim/tcp.h"

enum { RELAYS_MAX = 8 };

struct relay_conn;

struct relay {
        struct tcp_server tcp;   /* first: see tcp.h */
        int region;
        struct ip v4, v6;
        bool stun_stays;         /* answers STUN even while it is stopped: to be set */
        struct key_private key;
        struct relay_conn *conns;   /* newest first */
};

void relay_reset(void);
struct relay *relay_add(int region);
struct relay *relay_at(int region);    /* NULL: none */
int relay_count(void);
void relay_done(void);
/* All regions as the network map tells them. */
struct derpmap *relay_map(void);
/* loud: clients are told, and refused while it is down. */
void relay_stop(struct relay *r, bool loud);
void relay_start(struct relay *r);
/* A client with this key is logged in. */
bool relay_knows(const struct relay *r, const struct node_public *key);
/* One of them has taken a connection of this host and not let it in yet. */
bool relay_greets(const struct host *h);

/* To be set: WireGuard or disco went from one node to another by a relay. */
extern void (*relay_seen)(struct host *from, struct host *to, const uint8_t *data, size_t len);
