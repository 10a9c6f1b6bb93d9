#include "portmap/upnp_xml.h"

void upnp_xml_load(void)
{
}

bool upnp_xml_ready(void)
{
        return false;
}

size_t upnp_xml_services(const char *body, size_t len, struct ip router, const struct upnp_url *desc,
                         struct upnp_service ret[UPNP_SERVICES_MAX])
{
        (void)body;
        (void)len;
        (void)router;
        (void)desc;
        (void)ret;
        return 0;
}

enum err upnp_xml_value(const char *body, size_t len, const char *name, char *ret, size_t cap)
{
        (void)body;
        (void)len;
        (void)name;
        (void)ret;
        (void)cap;
        return ERR_NOT_FOUND;
}
