#include "daemon/offload.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/control/netmap.h"

struct off_switch {
        const char *name;
        unsigned bit;
};

static const struct off_switch by_env[] = {
        {"TS_TUN_DISABLE_TCP_GSO", TUN_TCP_GSO},     {"TS_TUN_DISABLE_UDP_GSO", TUN_UDP_GSO},
        {"TS_TUN_DISABLE_TCP_GRO", TUN_TCP_GRO},     {"TS_TUN_DISABLE_UDP_GRO", TUN_UDP_GRO},
        {"TS_DEBUG_DISABLE_UDP_GSO", OFFLOAD_UDP_GSO}, {"TS_DEBUG_DISABLE_UDP_GRO", OFFLOAD_UDP_GRO},
};

/* never-gso-equal-tail asks for trains whose last datagram is shorter; none at all is the safe way to have no other. */
static const struct off_switch by_node[] = {
        {"disable-tun-tcp-gro", TUN_TCP_GRO},  {"disable-tun-udp-gro", TUN_UDP_GRO},
        {"disable-udp-gso", OFFLOAD_UDP_GSO},  {"disable-udp-gro", OFFLOAD_UDP_GRO},
        {"never-gso-equal-tail", OFFLOAD_UDP_GSO},
};

static bool is_true(const char *v)
{
        return v != NULL && (strcmp(v, "1") == 0 || strcasecmp(v, "t") == 0 || strcasecmp(v, "true") == 0);
}

unsigned offload_by_env(const char *(*env)(const char *))
{
        unsigned on = OFFLOAD_ALL;
        for (size_t i = 0; i < sizeof(by_env) / sizeof(by_env[0]); i++)
                if (is_true(env(by_env[i].name)))
                        on &= ~by_env[i].bit;
        return on;
}

/* Linux 7.0.0 to 7.1.4 damages trains whose datagrams are all of one size (Linux commit b10b446, mended in 78effd8). */
unsigned offload_by_kernel(const char *release)
{
        unsigned major = 0, minor = 0, patch = 0;
        (void)sscanf(release, "%u.%u.%u", &major, &minor, &patch);
        bool damages = major == 7 && (minor == 0 || (minor == 1 && patch <= 4));
        return damages ? OFFLOAD_ALL & ~(unsigned)OFFLOAD_UDP_GSO : OFFLOAD_ALL;
}

unsigned offload_by_node(const struct netmap_node *self)
{
        unsigned on = OFFLOAD_ALL;
        for (size_t i = 0; i < sizeof(by_node) / sizeof(by_node[0]); i++)
                if (netmap_node_has_cap(self, by_node[i].name))
                        on &= ~by_node[i].bit;
        return on;
}
