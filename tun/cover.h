/* tun/cover.h - which of many prefixes cover an address: an index for one family, immutable once built.
 *
 * A look-up is one binary search for the longest prefix; the wider ones follow by `parent`.  Memory is linear in the
 * number of prefixes however they are nested.  Any thread once built.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

struct cover;

#define COVER_NONE UINT32_MAX

struct cover_node {          /* one distinct prefix */
        uint32_t parent;     /* the next wider prefix that has it, or COVER_NONE */
        uint32_t begin, end; /* where it stands in the list given */
};

/* The order cover_new() wants: family, first address, wide before narrow. */
int cover_prefix_cmp(struct prefix a, struct prefix b);

/* p: masked prefixes of one family in that order, repetitions allowed.  NULL: out of memory. */
struct cover *cover_new(const struct prefix *p, size_t n);
void cover_free(struct cover *c); /* NULL is fine */
/* The narrowest prefix that has ip (4 or 16 bytes, by the family of the index), else COVER_NONE. */
uint32_t cover_find(const struct cover *c, const uint8_t *ip);
const struct cover_node *cover_node(const struct cover *c, uint32_t node);
size_t cover_bytes(const struct cover *c);

enum { COVER_SPLIT_MAX = 254 }; /* prefixes that one range of addresses can need */
/* The fewest prefixes that make up first..last (one family, first <= last); returns how many. */
size_t cover_split(struct ip first, struct ip last, struct prefix out[COVER_SPLIT_MAX]);
