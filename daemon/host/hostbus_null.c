/* Built without libsystemd's headers: there is no bus. */
#include "daemon/host/hostbus.h"

#include <stdio.h>
#include <string.h>

struct hostbus *hostbus_open(struct loop *l, void (*on_change)(void *arg), void *arg,
                             char why[HOSTBUS_WHY_MAX])
{
        (void)l;
        (void)on_change;
        (void)arg;
        snprintf(why, HOSTBUS_WHY_MAX, "this program was built without D-Bus");
        return NULL;
}

void hostbus_close(struct hostbus *b)
{
        (void)b;
}

bool hostbus_is_open(const struct hostbus *b)
{
        (void)b;
        return false;
}

bool hostbus_resolved_answers(struct hostbus *b)
{
        (void)b;
        return false;
}

void hostbus_ask_nm(struct hostbus *b, struct nm_facts *ret)
{
        (void)b;
        memset(ret, 0, sizeof(*ret));
}

enum err hostbus_resolved_set(struct hostbus *b, int ifindex, const struct osdns_config *c,
                              char why[HOSTBUS_WHY_MAX])
{
        (void)ifindex;
        (void)c;
        return hostbus_resolved_revert(b, ifindex, why);
}

enum err hostbus_resolved_revert(struct hostbus *b, int ifindex, char why[HOSTBUS_WHY_MAX])
{
        (void)b;
        (void)ifindex;
        snprintf(why, HOSTBUS_WHY_MAX, "this program was built without D-Bus");
        return ERR_UNSUPPORTED;
}

enum err hostbus_nm_set(struct hostbus *b, const char *ifname, const struct osdns_config *c,
                        char why[HOSTBUS_WHY_MAX])
{
        (void)ifname;
        (void)c;
        return hostbus_resolved_revert(b, 0, why);
}

enum err hostbus_nm_revert(struct hostbus *b, const char *ifname, char why[HOSTBUS_WHY_MAX])
{
        (void)ifname;
        return hostbus_resolved_revert(b, 0, why);
}

enum err hostbus_firewalld_look(struct hostbus *b, struct firewalld_part *p, char why[HOSTBUS_WHY_MAX])
{
        (void)p;
        return hostbus_resolved_revert(b, 0, why);
}

enum err hostbus_firewalld_add(struct hostbus *b, const struct firewalld_part *p, char why[HOSTBUS_WHY_MAX])
{
        (void)p;
        return hostbus_resolved_revert(b, 0, why);
}

enum err hostbus_firewalld_remove(struct hostbus *b, const struct firewalld_part *p, char why[HOSTBUS_WHY_MAX])
{
        (void)p;
        return hostbus_resolved_revert(b, 0, why);
}
