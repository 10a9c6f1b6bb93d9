/* magicsock/plain.h - the path to a peer that is plain WireGuard (IsWireGuardOnly in the network map): it knows neither disco
 * nor relays, and is reached at the addresses of the map alone.
 *
 * Pure, part of magicsock/peer.c, for peers with `plain` set.  What a plain peer answers is a handshake, so each goes to the
 * next address until something authentic comes back, and that source is used from then on, wherever it is: the peer may
 * roam.  Silence is borne as long as WireGuard bears it, then the round begins again.  The reference chooses by the latency
 * of ICMP echoes; this needs no raw socket and finds only addresses at which WireGuard is, not those where a host is.
 */
#pragma once

#include "magicsock/peer.h"

#define PLAIN_TRUST_NS (5 * NS_PER_SEC)       /* shown as direct after each packet of the peer's */
#define PLAIN_TRY_NS NS_PER_SEC               /* for an address from which nothing came yet */
#define PLAIN_SILENCE_NS (15 * NS_PER_SEC)    /* KEEPALIVE_TIMEOUT + REKEY_TIMEOUT: a live peer answers sooner */

/* Data for it: p->best is where it goes, none if there is no address at all. */
void plain_on_send(struct ms_peer *p, mono_t now);
/* One of its packets was authenticated; src none: it came some other way. */
void plain_on_proof(struct ms_peer *p, struct addr src, mono_t now);
/* We are in another network: the address in use is the first to be tried from there. */
void plain_on_rebind(struct ms_peer *p);
/* The address in use cannot be sent to: another one.  False: there is none. */
bool plain_next(struct ms_peer *p, mono_t now);
