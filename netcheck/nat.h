/* netcheck/nat.h - what kind of NAT stands between us and the others, as far as it was seen, and in words.
 *
 * Pure.  What one look cannot tell is unknown, not guessed, and the reason is said: one STUN address alone says nothing of
 * the mapping, and no relay sends from an address that was not asked, so of filtering only a peer that comes in unasked can
 * tell, or what we send to ourselves (hairpin.h).  Terms of RFC 4787 4.1, 5 and 6.
 */
#pragma once

#include <stddef.h>

#include "netcheck/report.h"

enum nc_nat_kind {
        NC_NAT_UNKNOWN,
        NC_NAT_BLOCKED,   /* no UDP at all, although a relay answers by TCP */
        NC_NAT_NONE,      /* others see an address of this host */
        NC_NAT_EASY,      /* one mapping for all destinations: hole punching works */
        NC_NAT_HARD,      /* a mapping for each destination */
};

enum nc_nat_kind nc_nat_kind(const struct netcheck_report *r);
const char *nc_nat_kind_str(enum nc_nat_kind k);                  /* "easy" */
const char *nc_nat_mapping(const struct netcheck_report *r);      /* "endpoint-independent"; NULL: unknown, or no NAT */
const char *nc_nat_filtering(const struct netcheck_report *r);    /* "address-dependent or stricter"; NULL: unknown */
const char *nc_nat_filtering_why(const struct netcheck_report *r);   /* how it is known, or why it is not */
const char *nc_nat_hairpin_why(const struct netcheck_report *r);     /* what follows from r->hairpin, or why it is not known */
/* Whether the NAT kept our port; NC_UNKNOWN also without a NAT. */
enum nc_tri nc_nat_port_kept(const struct netcheck_report *r);

enum { NC_NAT_WORDS_MAX = 400 };
/* What it is, what follows from it, and what to do: one line for a person. */
const char *nc_nat_words(const struct netcheck_report *r, char out[NC_NAT_WORDS_MAX]);
