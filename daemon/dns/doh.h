/* daemon/dns/doh.h - which way a resolver of the map is asked: DNS over HTTPS where its provider is known to speak
 * it, plain DNS otherwise or a little later.  Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum {
        DNS_URL_MAX = 256,
        DNS_TRIES_MAX = 16,         /* ways of asking in one race */
        DNS_DOH_HEAD_START_MS = 500,
        DNS_NEXT_ADDRESS_MS = 200,
};

/* One way of asking in a race of upstreams. */
struct dns_try {
        struct addr addr;           /* plain DNS, UDP then TCP; none if by URL */
        char url[DNS_URL_MAX];      /* POST of the message; "" = plain */
        struct ip url4, url6;       /* where the URL's host is, so that nobody has to be asked; none if a literal */
        uint32_t delay_ms;          /* from the start of the race */
};

/* A resolver as the map names it. */
struct dns_upstream {
        const char *text;           /* "9.9.9.9", "[2620:fe::9]:5353", "https://dns.quad9.net/dns-query" */
        struct ip boot4, boot6;     /* BootstrapResolution */
};

enum doh_use {
        DOH_PLAIN,                  /* an address that is asked by plain DNS, perhaps after DNS over HTTPS */
        DOH_URL,                    /* only by HTTP */
        DOH_UNUSABLE,               /* neither address nor a URL whose host we can find */
};
/* Adds the ways to ask one resolver to tries[*n]; ways that are there already are not added again. */
enum doh_use doh_add(const struct dns_upstream *u, struct dns_try tries[DNS_TRIES_MAX], size_t *n);
/* An address of a provider that the operating system must not ask by plain DNS. */
bool doh_is_not_plain(struct ip ip);
