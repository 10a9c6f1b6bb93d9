/* A map message to a packet filter and to granted capabilities: no crash, and what is let in comes from a rule that can
 * be shown or from nobody. */
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "daemon/control/mapsession.h"
#include "daemon/control/peercaps.h"
#include "daemon/netsync.h"
#include "tun/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t SYN[40] = {0x45, 0,  0, 40, 0,   0,  0, 0, 64,   PROTO_TCP, 0, 0,
                                100,  64, 0, 2,  100, 64, 0, 1, 0x12, 0x34,      0, 80,
                                0,    0,  0, 0,  0,   0,  0, 0, 0x50, TCP_SYN};

static void check(const struct netmap *nm, struct filter_state *state)
{
        struct prefix advertised[2] = {{.ip.family = IP_V4}, {.ip.family = IP_V6}};
        struct netsync_prefs prefs = {.advertised = advertised, .advertised_count = 2};
        struct filter *f = netsync_filter(nm, &prefs);
        if (f == NULL)
                abort();
        if (filter_in(f, state, SYN, sizeof(SYN)) == FILTER_ACCEPT &&
            (nm->rule_count == 0 || netsync_filter_is_forged(nm)))
                abort();
        filter_free(f);
        json_decref(peercaps_self(nm, ip_v4(100, 64, 0, 2)));
        json_decref(peercaps(nm, ip_v4(100, 64, 0, 2), ip_v4(192, 168, 7, 1)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char FIRST[] = "{\"Node\":{\"ID\":1,\"Key\":\"nodekey:"
                                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\","
                                    "\"Addresses\":[\"100.64.0.1/"
                                    "32\"]},\"Peers\":[{\"ID\":2,\"CapMap\":{\"c\":null},\"Addresses\":"
                                    "[\"100.64.0.2/"
                                    "32\"],\"Key\":\"nodekey:"
                                    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"}]}";
        struct map_news news;
        struct mapsession *s = mapsession_new();
        if (crypto_init() != ERR_NONE)
                abort();
        struct filter_state *state = filter_state_new();
        if (s == NULL || state == NULL || mapsession_apply(s, FIRST, sizeof(FIRST) - 1, 1, &news) != ERR_NONE)
                abort();
        if (mapsession_apply(s, (const char *)data, size, 1, &news) == ERR_NONE)
                check(mapsession_map(s), state);
        filter_state_free(state);
        mapsession_free(s);
        return 0;
}
