/* Answers to the search for a UPnP router, and URLs in descriptions: what comes out is a URL of the router and nothing
 * that could be read in another way. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "portmap/ssdp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
        if (!held)
                abort();
}

static void check_url(const struct upnp_url *u)
{
        must(u->port != 0 && u->path[0] == '/' && strlen(u->path) < UPNP_PATH_MAX);
        for (const char *p = u->path; *p != '\0'; p++)
                must(*p > ' ' && *p < 127);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct upnp_url base = {.port = 1900, .path = "/desc.xml"};
        struct ip router = ip_v4(192, 168, 1, 1);
        struct ssdp_reply r;
        struct upnp_url u, again;
        char text[UPNP_URL_MAX];
        if (ssdp_parse(data, size, &r) == ERR_NONE) {
                check_url(&r.location);
                must(r.version == 1 || r.version == 2);
        }
        if (upnp_url_parse((const char *)data, size, router, &base, &u) != ERR_NONE)
                return 0;
        check_url(&u);
        upnp_url_str(&u, router, text);
        must(upnp_url_parse(text, strlen(text), router, NULL, &again) == ERR_NONE);
        must(again.port == u.port && strcmp(again.path, u.path) == 0);
        return 0;
}
