/* magicsock/localaddr.h - what addresses this host has, from the kernel.  Glue. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "magicsock/endpoints.h"

struct localaddrs {
        struct ip ip[MS_LOCAL_MAX];   /* worth telling a peer: see endpoints_filter_local() */
        size_t count;
        bool have_v4, have_v6;        /* something that can reach the Internet in that family */
};

/* tun_name: our own tunnel, left out; NULL = none.  False: the kernel would not say; *ret untouched. */
bool localaddr_list(const char *tun_name, struct localaddrs *ret);
/* The kernel does IPv6 at all. */
bool localaddr_os_has_ipv6(void);
