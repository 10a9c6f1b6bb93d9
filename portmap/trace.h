/* portmap/trace.h - the talk with a router in words, for a person who wonders why there is no mapping.  Pure. */
#pragma once

#include <stddef.h>

#include "portmap/portmap.h"

enum { PORTMAP_TRACE_MAX = 400 };

/* What a PORTMAP_SEND or PORTMAP_FETCH asks: "-> 192.168.1.1:5351 NAT-PMP: which address do you have outside?" */
const char *portmap_trace_action(const struct portmap_action *a, char out[PORTMAP_TRACE_MAX]);
/* What a datagram answers, or why it is not listened to.  No byte of it is shown but as a number or as printable ASCII. */
const char *portmap_trace_packet(struct ip router, struct addr from, const void *data, size_t len, char out[PORTMAP_TRACE_MAX]);
