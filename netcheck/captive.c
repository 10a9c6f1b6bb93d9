#include "netcheck/captive.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/addr.h"

static bool literal_of(const struct derp_node *n, enum ip_family f, struct ip *ret)
{
        return n->can_port80 && ip_parse(f == IP_V4 ? n->ipv4 : n->ipv6, ret) == ERR_NONE && ret->family == f;
}

static bool find_in(const struct derp_region *r, enum ip_family f, struct ip *ret)
{
        for (size_t i = 0; i < r->node_count; i++)
                if (literal_of(&r->nodes[i], f, ret))
                        return true;
        return false;
}

static bool find(const struct derpmap *map, int home, enum ip_family f, struct ip *ret)
{
        const struct derp_region *own = home != 0 ? derpmap_region(map, home) : NULL;
        if (own != NULL && find_in(own, f, ret))
                return true;
        for (size_t i = 0; i < map->region_count; i++)
                if (!map->regions[i].avoid && !map->regions[i].no_measure_no_home && find_in(&map->regions[i], f, ret))
                        return true;
        return false;
}

bool nc_captive_pick(const struct derpmap *map, int home, bool have_v4, bool have_v6, unsigned nonce, struct nc_captive *ret)
{
        struct ip ip;
        char text[IP_STR_MAX];
        if (!(have_v4 && find(map, home, IP_V4, &ip)) && !(have_v6 && find(map, home, IP_V6, &ip)))
                return false;
        ip_str(ip, text);
        bool v6 = ip.family == IP_V6;
        snprintf(ret->url, sizeof(ret->url), "http://%s%s%s/generate_204?t=%u", v6 ? "[" : "", text, v6 ? "]" : "", nonce);
        snprintf(ret->challenge, sizeof(ret->challenge), "ts_%s", text);
        for (char *p = ret->challenge; *p != '\0'; p++)   /* what a relay repeats */
                if (!isalnum((unsigned char)*p) && *p != '.' && *p != '_')
                        *p = '-';
        return true;
}

bool nc_captive_is_portal(const struct nc_captive *c, long status, const char *response)
{
        char want[NC_CAPTIVE_CHALLENGE_MAX + 16];
        snprintf(want, sizeof(want), "response %s", c->challenge);
        return status != 204 || strcmp(response, want) != 0;
}
