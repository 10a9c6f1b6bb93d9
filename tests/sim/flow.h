/* tests/sim/flow.h - traffic between two nodes, each packet numbered and accounted for.
 *
 * A flow sends at an interval, or not at all; its packets may be answered.  What neither arrived nor was lost by chance on
 * a link has to lie in a time that was excused: shortly after something broke.
 */
#pragma once

#include "tests/sim/node.h"

enum { FLOWS_MAX = 64 };

struct flow {
        int id;
        struct node *a, *b;
        int64_t gap_ns;
        size_t bytes;             /* of an inner packet */
        bool answered;
        mono_t from, until;
        mono_t first_direct;      /* a packet of data from a to b */
        mono_t last_got;          /* either way */
        struct timer timer;
        struct flow_packet *sent;
        size_t count, cap;
        uint64_t relayed[2];      /* data of a to b, of b to a, since flows_watch(): by relay ... */
        uint64_t direct[2];       /* ... and directly */
};

struct flow_packet {
        mono_t at;
        mono_t got, back;         /* unset: not */
};

void flows_reset(void);
void flows_done(void);
struct flow *flow_add(struct node *a, struct node *b, int64_t gap_ms, size_t bytes, bool answered);
void flow_run(struct flow *f, mono_t from, mono_t until);   /* until then it sends */
void flows_pause(mono_t from, mono_t until);   /* nobody sends meanwhile */
void flows_slow(mono_t from, mono_t until);    /* everybody sends seldom */
struct flow *flow_at(int i);
int flow_count(void);
uint64_t flows_sent_at_all(void);   /* datagrams of all nodes so far, by relay or not */
bool flows_talk(const struct node *n);   /* packets from or to it arrived lately */
/* Counts ways from here on. */
void flows_watch(void);

enum excuse { EXCUSE_SENT = 1, EXCUSE_TO_IT = 2, EXCUSE_ALL = 3 };
/* Between these, losses of what this node sent, or of what was sent to it, are nobody's fault; NULL: of any node. */
void excuse(const struct node *n, enum excuse what, mono_t from, mono_t until);
/* The same for all that goes between two. */
void excuse_pair(const struct node *a, const struct node *b, mono_t from, mono_t until);
/* The same where a path broke at `at`: who was not sending then finds out by the first packet that it sends, so that `ms` count
 * from that one. */
void excuse_path(const struct node *n, enum excuse what, mono_t from, mono_t at, int64_t ms);
/* After everything: faults are reported. */
void flows_judge(void);
