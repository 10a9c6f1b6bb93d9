/* The packet filter on arbitrary bytes: no crash, and nothing is accepted that is not meant for us. */
#include <stdlib.h>

#include "base/crypto.h"
#include "tun/filter.h"
#include "tun/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct filter *f;
        static struct filter_state *s;
        if (s == NULL) {
                if (crypto_init() != ERR_NONE)
                        abort();
                static const uint8_t protos[] = {PROTO_TCP, PROTO_UDP, PROTO_ICMP, PROTO_ICMPV6};
                struct filter_range any = {ip_v4(0, 0, 0, 0), ip_v4(255, 255, 255, 255)};
                struct filter_ports dst = {any, 0, 65535};
                struct filter_allow allow = {&any, 1, &dst, 1, protos, 4};
                struct prefix local = {.ip = ip_v4(100, 64, 0, 1), .bits = 32};
                f = filter_new(&allow, 1, &local, 1, false);
                s = filter_state_new();
        }
        if (filter_in(f, s, data, size) == FILTER_ACCEPT) {
                struct packet p = packet_parse(data, size);
                if (p.version != 4 || p.dst[0] != 100 || p.dst[1] != 64 || p.dst[2] != 0 || p.dst[3] != 1)
                        abort();
        }
        (void)filter_out(f, s, data, size);
        return 0;
}
