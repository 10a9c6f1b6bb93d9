/* magicsock/classify.h - tells by its first bytes what a datagram is.  Pure; never reads past len. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ms_class {
        MS_CLASS_JUNK,        /* too short for anything */
        MS_CLASS_STUN,        /* a binding message: for netcheck, never for WireGuard */
        MS_CLASS_DISCO,
        MS_CLASS_GENEVE,      /* peer relay traffic, which we do not take part in */
        MS_CLASS_WIREGUARD,   /* a candidate: WireGuard itself decides */
};

/* From a UDP socket. */
enum ms_class ms_classify(const uint8_t *data, size_t len);
/* From a relay: STUN and Geneve mean nothing there. */
enum ms_class ms_classify_relayed(const uint8_t *data, size_t len);
/* Of MS_CLASS_WIREGUARD: a message of a handshake, whose sender waits for the answer. */
bool ms_is_handshake(const uint8_t *data, size_t len);
bool ms_is_initiation(const uint8_t *data, size_t len);   /* its first message */
