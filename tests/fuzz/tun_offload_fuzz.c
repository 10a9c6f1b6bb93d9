/* A virtio header and what is behind it: cut as far as it makes sense, joined again, and no byte out of place.  The last
 * packet is what joining makes of input that was not cut before. */
#include <stdlib.h>
#include <string.h>

#include "tun/gro.h"
#include "tun/gso.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void join(struct gro *g, struct pkt *p)
{
        if (!gro_append(g, p) && !gro_start(g, p))
                abort();
}

static void look(const struct gro *g)
{
        struct vnet v;
        uint8_t head[GRO_HEAD_MAX];
        struct iovec iov[GRO_IOV_MAX];
        for (size_t i = 0; i < g->count; i++) {
                size_t n = gro_vector(&g->item[i], &v, head, iov), len = 0;
                volatile uint8_t byte;
                for (size_t k = 0; k < n; k++)
                        for (size_t at = 0; at < iov[k].iov_len; at++, len++)
                                byte = ((const uint8_t *)iov[k].iov_base)[at];
                (void)byte;
                if (len > VNET_PACKET_MAX || (v.gso_type == VNET_GSO_NONE) != (g->item[i].count == 1))
                        abort();
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        enum { PACKETS = 100 };
        struct vnet v;
        struct gso g;
        struct pkt p[PACKETS + 1];
        uint8_t *made[PACKETS + 1] = {NULL};
        static struct gro joined;
        size_t n = 0, total = 0;
        if (size < sizeof(v) + 1)
                return 0;
        memcpy(&v, data, sizeof(v));
        size -= sizeof(v);
        uint8_t *unit = malloc(size);
        made[PACKETS] = malloc(size);
        memcpy(unit, data + sizeof(v), size);
        memcpy(made[PACKETS], unit, size);
        joined.tcp = joined.udp = true;
        if (gso_begin(&g, &v, unit, size) == ERR_NONE) {
                size_t head = g.size == 0 ? 0 : g.head;
                for (size_t len; n < PACKETS && (len = gso_next_len(&g)) > 0; n++) {
                        made[n] = malloc(len);
                        gso_cut(&g, made[n]);
                        pkt_view(&p[n], made[n], len, 0, len);
                        join(&joined, &p[n]);
                        total += len - head;
                }
                if (gso_next_len(&g) == 0 && total + head != size)
                        abort();
        }
        if (size <= UINT16_MAX) {
                pkt_view(&p[PACKETS], made[PACKETS], size, 0, size);
                join(&joined, &p[PACKETS]);
        }
        look(&joined);
        gro_drop(&joined, joined.count);
        for (size_t i = 0; i <= PACKETS; i++)
                free(made[i]);
        free(unit);
        return 0;
}
