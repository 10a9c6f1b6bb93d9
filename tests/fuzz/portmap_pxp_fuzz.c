/* Answers of NAT-PMP and PCP routers: what is accepted is whole and of a kind that we ask for. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "portmap/pxp.h"
#include "portmap/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
        if (!held)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct pxp_reply r;
        char words[PORTMAP_TRACE_MAX];
        portmap_trace_packet(ip_v4(192, 168, 1, 1), (struct addr){ip_v4(192, 168, 1, 1), PXP_PORT}, data, size, words);
        for (const char *p = words; *p != '\0'; p++)
                must(*p >= ' ' && *p <= '~');
        if (pxp_parse(data, size, &r) != ERR_NONE)
                return 0;
        must(size >= 8 && size <= PXP_REPLY_MAX);
        must(r.kind == PXP_PMP_ADDRESS || r.kind == PXP_PMP_MAP || r.kind == PXP_PCP_ANNOUNCE || r.kind == PXP_PCP_MAP);
        must((data[0] == 2) == (r.kind == PXP_PCP_ANNOUNCE || r.kind == PXP_PCP_MAP));
        if (r.result != PXP_OK)
                must(!ip_is_set(r.outside) && r.inner == 0 && r.outer == 0);
        else if (r.kind == PXP_PMP_ADDRESS || r.kind == PXP_PCP_MAP)
                must(ip_is_set(r.outside));
        return 0;
}
