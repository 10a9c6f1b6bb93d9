/* tun/flows.h - the flows we opened, so that their replies may come in: a bounded LRU set.  Data thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct flows;

struct flow {   /* as the reply will look */
        uint8_t proto;
        uint8_t version;
        uint16_t src_port, dst_port;
        uint8_t src[16], dst[16];
};

struct flows *flows_new(uint16_t max);   /* NULL: out of memory */
void flows_free(struct flows *f);
void flows_add(struct flows *f, const struct flow *flow);         /* newest now; the oldest may go */
bool flows_has(struct flows *f, const struct flow *flow);         /* a hit makes it newest */
