/* daemon/data.h - the data thread: owns TUN, sockets, relays, WireGuard, paths, filter and packet pool.
 *
 * Made and freed by the engine on the control thread while the thread does not run; in between everything
 * happens in data_run(), and the outside is the rings: messages (daemon/dpmsg.h), and packets to and from the service
 * addresses.
 */
#pragma once

#include "base/key.h"
#include "base/pktring.h"
#include "base/ring.h"
#include "daemon/engine.h"

struct data;

struct data_rings {
        struct ring *in, *out;
        struct pktring *to_service, *from_service;
};

/* Borrows the rings.  NULL: errno says why. */
struct data *data_new(const struct engine_opts *opts, const struct data_rings *rings);
void data_free(struct data *d);   /* NULL is fine */
struct disco_public data_disco_public(const struct data *d);
void data_run(struct data *d);    /* until DP_STOP */
