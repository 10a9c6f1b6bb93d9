/* daemon/control/server.h - the login server: its URL, its published key, and the upgrade to the Noise channel.
 *
 * Pure: text in, values and text out.  Source: Tailscale ts2021, /key and /ts2021.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/key.h"
#include "daemon/control/noise.h"

enum { SERVER_HEAD_MAX = 16384, SERVER_EARLY_MAX = 65536 };

struct server_url {
        bool tls;
        uint16_t port;       /* of the URL; 443 or 80 by default */
        char host[256];      /* without the brackets of an IPv6 literal */
        char authority[272]; /* host:port as a Host header wants it */
        char base[512];      /* the URL without trailing slashes */
};

/* "" is the hosted service.  ERR_FORMAT: not http or https, no host, user name in it, odd characters. */
ERR_CHECK enum err server_url_parse(const char *text, struct server_url *ret);
/* "BASE/key?v=N" */
void server_key_url(const struct server_url *u, unsigned version, struct buf *out);
/* ERR_FORMAT: no JSON; ERR_UNSUPPORTED: a server too old to have such a key. */
ERR_CHECK enum err server_key_parse(const char *text, size_t len, struct machine_public *ret);

/* The HTTP/1.1 request that carries the initiation. */
void server_upgrade_request(const struct server_url *u, const uint8_t initiation[CNOISE_INITIATION_LEN],
                            struct buf *out);

struct upgrade_answer {
        int status;
        bool upgraded; /* 101 to our protocol: what follows head_len is Noise */
        size_t head_len;
};
/* ERR_SHORT: the head is not complete yet; ERR_FORMAT: not HTTP/1; ERR_FULL: too long. */
ERR_CHECK enum err server_upgrade_parse(const void *data, size_t len, struct upgrade_answer *ret);

/* The early payload that may stand before the HTTP/2 frames: *ret_len is its whole length, 0 if there is none.
 * ERR_SHORT: cannot tell yet, or not whole; ERR_FULL: longer than SERVER_EARLY_MAX. */
ERR_CHECK enum err server_early_parse(const void *data, size_t len, size_t *ret_len);

/* Can this be shown to a person and opened: https (http only from an http server), no control characters? */
bool server_auth_url_ok(const struct server_url *u, const char *url);
