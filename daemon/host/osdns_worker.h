/* daemon/host/osdns_worker.h - the side of osdns.h that touches the host, behind a socket.
 *
 * Runs a loop of its own on whatever thread calls it and may block for seconds in programs and D-Bus calls.  One request
 * is answered by one report with its number; more reports come when the host changes.  The names in both are the
 * receiver's.  When the other side writes no more, the host gets its own DNS back and the function returns.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/host/osdns_decide.h"

enum { OSDNS_TROUBLE_MAX = 256 };

struct osdns_request {
        uint32_t seq;    /* not 0 */
        bool has_config; /* false: only look at the host again */
        struct osdns_config config;
};

struct osdns_report {
        uint32_t seq; /* of the request it answers; 0: unasked */
        enum osdns_mode mode;
        bool has_base;
        struct osdns_config base;        /* the host's own servers and search domains */
        char trouble[OSDNS_TROUBLE_MAX]; /* a sentence for a person; "" = fine */
};

/* fd: one end of a SOCK_SEQPACKET pair; closed at the end.  Nothing is changed before the first request
 * with a configuration. */
void osdns_worker_run(int fd, const char *ifname);
