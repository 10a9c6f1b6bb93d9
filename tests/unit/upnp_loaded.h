/* tests/unit/upnp_loaded.h - libminiupnpc, which is loaded by a thread: for tests that are nothing without it. */
#pragma once

#include <stdio.h>
#include <unistd.h>

#include "portmap/upnp.h"
#include "portmap/upnp_xml.h"

static inline bool upnp_loaded(void)
{
        upnp_xml_load();
        for (int i = 0; i < 500 && !upnp_xml_ready(); i++)
                usleep(10000);
        if (!upnp_xml_ready())
                fprintf(stderr, "libminiupnpc is not installed, or not built in\n");
        return upnp_xml_ready();
}
