/* daemon/dns/nametab.h - from a domain name to a number: a hash table over names kept in one block.
 *
 * What is removed leaves its name in the block: who removes much makes a new one now and then.  One owner, any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/dns/name.h"

struct nametab;

#define NAMETAB_NONE UINT32_MAX

struct nametab *nametab_new(void);     /* NULL: out of memory */
void nametab_free(struct nametab *t);
/* Keeps the first value of a name; *ret_value is the value that stands.  False: out of memory. */
bool nametab_add(struct nametab *t, const struct dns_name *n, uint32_t value, uint32_t *ret_value);
void nametab_remove(struct nametab *t, const struct dns_name *n);   /* one that is not there is well */
uint32_t nametab_get(const struct nametab *t, const struct dns_name *n);
/* The value of the longest name that n is within; NAMETAB_NONE: none. */
uint32_t nametab_longest(const struct nametab *t, const struct dns_name *n);
