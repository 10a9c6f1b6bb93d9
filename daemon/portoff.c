#include "daemon/portoff.h"

#include "base/buf.h"
#include "daemon/control/netmap.h"

static bool is_true(const char *v)
{
        bool b = false;
        return v != NULL && str_bool(v, &b) && b;
}

unsigned portoff_by_env(const char *(*env)(const char *))
{
        if (is_true(env("TS_DISABLE_PORTMAPPER")))
                return PORTMAP_ALL;
        return is_true(env("TS_DISABLE_UPNP")) ? PORTMAP_BIT(PORTMAP_UPNP) : 0;
}

unsigned portoff_by_node(const struct netmap_node *self)
{
        return netmap_node_has_cap(self, "debug-disable-upnp") ? PORTMAP_BIT(PORTMAP_UPNP) : 0;
}
