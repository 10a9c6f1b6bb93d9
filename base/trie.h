/* base/trie.h - longest-prefix match, IPv4 and IPv6, from prefix to a 32-bit value.
 *
 * One thread owns it.  Look-up walks at most one node a bit that differs and allocates nothing; set and
 * remove may allocate.  A path-compressed binary trie.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

struct trie;

#define TRIE_NONE UINT32_MAX   /* "no value"; not storable */

struct trie *trie_new(void);       /* NULL: out of memory */
void trie_free(struct trie *t);
/* Sets or replaces the value of p (masked first).  ERR_FULL: out of memory; ERR_FORMAT: p is none or too
 * long, or the value is TRIE_NONE. */
ERR_CHECK enum err trie_set(struct trie *t, struct prefix p, uint32_t value);
/* Value of exactly p, else TRIE_NONE. */
uint32_t trie_get(const struct trie *t, struct prefix p);
/* Removes exactly p; returns whether it was there. */
bool trie_remove(struct trie *t, struct prefix p);
/* Value of the longest prefix that contains ip, else TRIE_NONE. */
uint32_t trie_find(const struct trie *t, struct ip ip);
/* The same for raw bytes of a packet header: 4 or 16 bytes. */
uint32_t trie_find4(const struct trie *t, const uint8_t ip[4]);
uint32_t trie_find16(const struct trie *t, const uint8_t ip[16]);
size_t trie_count(const struct trie *t);
