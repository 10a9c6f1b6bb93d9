/* portmap/upnp_xml.h - the two kinds of XML that a UPnP router answers with, read by libminiupnpc.
 *
 * The library is loaded when the first router answers, so that it costs nothing where there is none; only its parsers
 * are used, as its own HTTP knows no limits.  Any thread after upnp_xml_ready().  Source: UPnP IGD:1 and IGD:2,
 * WANIPConnection:1 2.4.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "portmap/ssdp.h"

/* Starts to load it, in a thread of its own as it comes from the disk. */
void upnp_xml_load(void);
bool upnp_xml_ready(void);

enum { UPNP_SERVICES_MAX = 2 };

struct upnp_service {
        struct upnp_url control;
        const char *type;    /* one of a few, static: safe to write into a request */
        bool picks_port;     /* WANIPConnection:2: it may give us another port than we asked for */
};
/* The services of a description that make mappings, those at the router itself only.  desc: where it came from. */
size_t upnp_xml_services(const char *body, size_t len, struct ip router, const struct upnp_url *desc,
        struct upnp_service ret[UPNP_SERVICES_MAX]);
/* The text in the element of that name, as cut off at cap.  ERR_NOT_FOUND. */
ERR_CHECK enum err upnp_xml_value(const char *body, size_t len, const char *name, char *ret, size_t cap);
