/* STUN answers: an accepted one is STUN, has an address, and survives bytes added behind it; a request is none. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "netcheck/stun.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
        if (!held)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct stun_txid id, id2;
        struct addr addr, addr2;
        bool is_request = stun_parse_request(data, size, &id) == ERR_NONE;
        must(!is_request || stun_is(data, size));
        if (stun_parse_response(data, size, &id, &addr) != ERR_NONE)
                return 0;
        must(stun_is_binding(data, size));
        must(addr_is_set(addr) && !is_request);
        uint8_t *longer = calloc(1, size + 7);
        must(longer != NULL);
        memcpy(longer, data, size);
        must(stun_parse_response(longer, size + 7, &id2, &addr2) == ERR_NONE);
        must(memcmp(&id, &id2, sizeof(id)) == 0 && addr_eq(addr, addr2));
        free(longer);
        return 0;
}
