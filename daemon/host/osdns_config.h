/* daemon/host/osdns_config.h - what the host's resolver is told, as a plain value.
 *
 * A zeroed struct is empty.  The names are on the heap: a plain assignment moves them, or lends them to a value that is
 * not cleared.  Names are kept in lower case, without the final dot, one '\0' after each; only what can be a host name
 * gets in, so that a name from the network can be written into any configuration file.  Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

enum { OSDNS_SERVERS_MAX = 8, OSDNS_NAMES_BYTES = 6144, OSDNS_NAME_MAX = 253 };

struct osdns_names {
        uint16_t count;
        uint16_t len; /* bytes of text in use */
        char *text;   /* OSDNS_NAMES_BYTES at most; NULL: none */
};

struct osdns_config {
        uint16_t server_count;
        struct ip servers[OSDNS_SERVERS_MAX]; /* in order; port 53 */
        struct osdns_names search;            /* in order */
        struct osdns_names match;             /* names below these go to our servers; none: all names do */
};

/* A name that is there already is not added twice.  ERR_FORMAT: not a domain name; ERR_FULL, or out of memory. */
ERR_CHECK enum err osdns_names_add(struct osdns_names *n, const char *name);
/* The name after `at`, the first for NULL; NULL at the end.  Borrowed from n. */
const char *osdns_names_next(const struct osdns_names *n, const char *at);
bool osdns_names_has(const struct osdns_names *n, const char *name);
void osdns_names_clear(struct osdns_names *n);

ERR_CHECK enum err osdns_add_server(struct osdns_config *c, struct ip ip); /* ERR_FULL */
/* Nothing to tell the host: what was there before counts. */
bool osdns_config_is_empty(const struct osdns_config *c);
void osdns_config_clear(struct osdns_config *c);
/* ERR_FULL: out of memory; dst is empty then. */
ERR_CHECK enum err osdns_config_copy(struct osdns_config *dst, const struct osdns_config *src);
bool osdns_config_eq(const struct osdns_config *a, const struct osdns_config *b);
