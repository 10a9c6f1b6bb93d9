/* base/via6.h - 4via6: the IPv4 networks of numbered sites, each as a part of one IPv6 network, fd7a:115c:a1e0:b1a::/64.
 *
 * Site in the next 32 bits, IPv4 address in the last ones; so the same 10.0.0.0/8 behind two routers has two names.
 * Pure; any thread.  Source: Tailscale, 4via6 subnet routers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

enum { VIA6_BITS = 96, VIA6_SITE_MAX = 65535 /* of what is advertised; larger ones are reserved */ };

bool via6_is(struct ip ip);
uint32_t via6_site(struct ip via);
struct ip via6_to_v4(struct ip via);
struct ip via6_from_v4(uint32_t site, struct ip v4);
