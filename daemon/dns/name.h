/* daemon/dns/name.h - domain names as they stand on the wire, folded to lower case.
 *
 * Labels with their length in front, the root's zero byte last.  Kept so, a suffix can only match on the border
 * of a label, whatever bytes the labels hold; text is made for people alone.  Pure values, any thread.
 * Sources: RFC 1035 sections 2.3.4 and 3.1, RFC 4343 (case).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/reader.h"

enum {
        DNS_NAME_MAX = 255,              /* bytes on the wire, the root's included */
        DNS_LABEL_MAX = 63,
        DNS_NAME_STR_MAX = 4 * 255 + 1,  /* every byte as \DDD */
};

struct dns_name {
        uint8_t len;                     /* 0 = none, 1 = the root */
        uint8_t b[DNS_NAME_MAX];
};

/* "host.example" or "host.example."; "." is the root.  ERR_FORMAT: an empty or too long label, a name too long, a
 * backslash (escapes are not read), a byte that is no printing character. */
ERR_CHECK enum err dns_name_parse(const char *text, struct dns_name *ret);
/* A name without compression, as questions have it.  False: malformed; the reader's place is then undefined. */
bool dns_name_read(struct rd *r, struct dns_name *ret);
/* Moves past a name that may end in a compression pointer, which is not followed. */
bool dns_name_skip(struct rd *r);

bool dns_name_eq(const struct dns_name *a, const struct dns_name *b);
/* Equal to, or below, suffix. */
bool dns_name_within(const struct dns_name *n, const struct dns_name *suffix);
/* Drops the first label; false at the root. */
bool dns_name_to_parent(struct dns_name *n);
/* The first label is exactly this text of lower case. */
bool dns_name_first_is(const struct dns_name *n, const char *label);
/* Without the final dot, but "." for the root; odd bytes escaped.  Returns out. */
const char *dns_name_str(const struct dns_name *n, char out[DNS_NAME_STR_MAX]);
