/* daemon/meshping.h - pings through the tunnel: TSMP, which the other agent answers, and ICMP, which its host answers.
 *
 * Which ones wait, and what answers them.  Pure; data thread.  Sources: Tailscale, TSMP; RFC 792, 4443.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/mono.h"

enum { MESHPINGS_MAX = 32, MESHPING_PACKET_MAX = 64, MESHPING_PATIENCE_MS = 10000 };

enum meshping_kind { MESHPING_TSMP, MESHPING_ICMP };

struct meshping {
        uint32_t id;              /* of the one who asked */
        uint32_t peer;            /* slot */
        enum meshping_kind kind;
        struct ip src, dst;       /* of one family: our address, the one that is asked */
        uint8_t data[8];          /* random, by which the answer is known */
        mono_t sent;
};

struct meshpings {
        size_t count;
        struct meshping at[MESHPINGS_MAX];
};

/* Remembers a ping that leaves now and makes its packet; returns its length, 0 when too many wait. */
size_t meshping_start(struct meshpings *m, const struct meshping *ask, mono_t now, uint8_t out[MESHPING_PACKET_MAX]);
/* A packet that came out of the peer's tunnel: is it the answer to one of them?  Then that is forgotten here. */
bool meshping_answered(struct meshpings *m, uint32_t peer, const uint8_t *pkt, size_t len, struct meshping *ret,
        uint16_t *ret_service_port /* as the answer to TSMP says; 0: it does not */);
/* One that waits in vain, forgotten; false: none. */
bool meshping_expired(struct meshpings *m, mono_t now, struct meshping *ret);
mono_t meshping_deadline(const struct meshpings *m);
