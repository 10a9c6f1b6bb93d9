/* tests/sim/net.h - an internet in memory: hosts in sites, sites behind sites or at the core, datagrams between them.
 *
 *      host -- (its firewall) -- site: LAN, NAT, link -- [another site: CGNAT] -- core -- server
 *
 * A datagram is judged by what it passes on its way out when it leaves, and by what it passes on its way in when it
 * arrives.  Addresses lead back to who has them: 5.0.0.0/8 and 2001:db8::/32 are handed out by number.
 */
#pragma once

#include "base/addr.h"
#include "tests/sim/clock.h"
#include "tests/sim/nat.h"

struct vsock;
enum { SOCK_BUCKETS = 64, NET_DATA_LENGTHS = 128 };

struct link {
        int64_t delay_ns, jitter_ns;   /* one way */
        double loss, duplicate, reorder;
        size_t mtu;
};

struct site {
        int id;
        struct site *up;        /* NULL: the core */
        struct ip wan;          /* its outer IPv4 address; none: its hosts have addresses of the core */
        struct nat nat, nat6;   /* IPv4; what filters IPv6 */
        struct link link;       /* to what is above */
        bool udp_blocked;
        bool isolates;          /* its hosts do not see each other */
        bool offline;
        mono_t restarted;
        mono_t starved;         /* the last time that the NAT had no port left */
        uint8_t lan;            /* 192.168.lan.0/24 */
        uint8_t lan_next;
};

struct host {
        int id;
        char name[8];
        struct site *site;
        struct ip v4, v6;       /* either may be none */
        struct nat fw;          /* its own firewall, both families */
        struct link link;
        bool unplugged, asleep;
        unsigned generation;    /* of its addresses: connections do not survive another one, and nobody is told */
        unsigned nat_generation;   /* of what translates it: whoever sends on an older connection gets a reset */
        int64_t clock_offset, wall_offset;
        int64_t frozen_ns;      /* its code does not run before that time of the world */
        struct vsock *socks[SOCK_BUCKETS];   /* by port */
        unsigned sock_count;
        void *owner;
        uint64_t lost_handshakes;                 /* that it sent and that the links lost by chance */
        uint32_t lost_data[NET_DATA_LENGTHS];     /* the same, by length in blocks of 16 bytes */
};

struct net_pair {
        const struct site *a, *b;
};

enum wire_class { WIRE_STUN, WIRE_DISCO, WIRE_HANDSHAKE, WIRE_DATA, WIRE_OTHER, WIRE_CLASSES };
enum wire_class wire_class_of(const uint8_t *data, size_t len);

void net_reset(struct rng rng);
void net_done(void);
struct site *net_site(struct site *up, const struct link *l, const struct nat_conf *nat, const struct nat_conf *nat6);
/* All that it translated is forgotten; it may have another outer address. */
void net_restart_nat(struct site *s, bool renumber);
struct host *net_host(const char *name, struct site *s, bool v4, bool v6, const struct nat_conf *fw, const struct link *l);
/* Plugged in elsewhere, or again: new addresses. */
void net_move_host(struct host *h, struct site *s, bool v4, bool v6);
void net_server(struct ip *ret_v4, struct ip *ret_v6, void *owner);
void *net_server_owner(struct ip ip);   /* NULL: no server has it */
bool net_is_behind(const struct host *h, const struct site *s);
bool net_is_lossless(const struct host *h);   /* as far as the core */
bool net_is_udp_blocked(const struct host *h);
bool net_is_starved(const struct host *h, mono_t since);   /* its NAT had no port left for somebody */
bool net_host_online(const struct host *h);
struct site *site_top(struct site *s);   /* the one at the core */

/* Nothing goes directly between the two, in either direction. */
void net_cut(struct site *a, struct site *b, bool cut);
bool net_is_cut(const struct site *a, const struct site *b);

extern uint64_t net_count[WIRE_CLASSES];   /* datagrams that hosts sent so far */
extern mono_t net_last_wg;                 /* the last of WireGuard's, data or not */
/* 0 or an errno. */
int net_send(struct host *h, uint16_t port, struct addr dst, const void *data, size_t len);
/* Later than it would by so much. */
void net_send_from_server(struct addr src, struct addr dst, const void *data, size_t len, int64_t far_ns);
int64_t net_delay_to_core(const struct host *h);
struct rng *net_rng(void);

/* To be set: a datagram for a server, and one that reached a host (false: nobody listens there). */
extern void (*net_to_server)(void *owner, struct addr src, struct addr dst, const uint8_t *data, size_t len);
extern void (*net_seen)(struct host *from, struct host *to, enum wire_class c, size_t len);
bool vsock_deliver(struct host *h, struct addr src, struct addr dst, const uint8_t *data, size_t len);
