/* Packets of anything to the service addresses: each input is a row of packets, length in front, the addresses
 * put right so that most get through the door. */
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/reader.h"
#include "daemon/dns/quad100.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
        if (!held)
                abort();
}

/* What comes out is an IP packet from one of the service addresses. */
static void on_packet(void *arg, const uint8_t *pkt, size_t len)
{
        (void)arg;
        must(len >= 28 && len <= QUAD100_PACKET_MAX);
        struct ip from = pkt[0] >> 4 == 4 ? ip_from_bytes4(pkt + 12) : ip_from_bytes16(pkt + 8);
        must(ip_is_service(from));
        must(pkt[0] >> 4 == 4 ? load_be16(pkt + 2) == len : load_be16(pkt + 4) + 40u == len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct loop *l;
        static struct dns_service *s;
        if (l == NULL) {
                must(crypto_init() == ERR_NONE);
                l = loop_new();
                s = dns_service_new(l, 256);
        }
        struct quad100 *q = quad100_new(l, s, on_packet, NULL);
        must(q != NULL);
        struct rd r = rd_init(data, size);
        while (r.left > 0 && rd_ok(&r)) {
                size_t n = rd_be16(&r) % 1500;
                if (n > r.left)
                        n = r.left;
                uint8_t *pkt = malloc(n + 1);
                must(pkt != NULL);
                rd_copy(&r, pkt, n);
                if (n >= 20 && pkt[0] >> 4 == 4)
                        memset(pkt + 16, 100, 4);
                else if (n >= 40 && pkt[0] >> 4 == 6)
                        memcpy(pkt + 24, ip_service6.b, 16);
                quad100_in(q, pkt, n, mono_now());
                free(pkt);
        }
        loop_once(l, 0);
        quad100_free(q);
        return 0;
}
