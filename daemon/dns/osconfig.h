/* daemon/dns/osconfig.h - what the operating system is told of DNS, as a value with lists of its own.  Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"

/* What the operating system is to use.  Names without final dot.  All empty: as it was without us. */
enum { DNS_OS_DOMAINS_MAX = 1024 };   /* of each list; no resolver of a host takes as many */
struct dns_os_config {
        struct ip *nameservers;
        size_t nameserver_count;
        char **search;
        size_t search_count;
        char **match;              /* only these suffixes go to the nameservers; none: everything */
        size_t match_count;
};
void dns_os_config_free(struct dns_os_config *c);   /* the contents; c is zero then */
bool dns_os_config_add_server(struct dns_os_config *c, struct ip ip);          /* false: out of memory */
bool dns_os_config_add_search(struct dns_os_config *c, const char *domain);
bool dns_os_config_eq(const struct dns_os_config *a, const struct dns_os_config *b);
bool dns_os_config_is_empty(const struct dns_os_config *c);

/* Lists of strings that need no spare room: they are short and made once. */
bool dns_strings_add(char ***list, size_t *count, const char *s);   /* false: out of memory */
void dns_strings_free(char **list, size_t count);
bool dns_strings_eq(char *const *a, size_t a_count, char *const *b, size_t b_count);
