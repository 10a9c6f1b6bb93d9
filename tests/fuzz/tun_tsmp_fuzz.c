/* Messages of the mesh in arbitrary packets: no crash, and an answer is whole and goes back where it came from. */
#include <stdlib.h>
#include <string.h>

#include "tun/tsmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_answer(const uint8_t *data, size_t size, const uint8_t *out, size_t n)
{
        struct packet asked = packet_parse(data, size), told = packet_parse(out, n);
        struct tsmp m;
        if (n == 0)
                return;
        if (told.kind != PACKET_WHOLE || tsmp_parse(out, n, &m) != ERR_NONE ||
            memcmp(told.dst, asked.src, 16) != 0 || memcmp(told.src, asked.dst, 16) != 0)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint8_t out[TSMP_PACKET_MAX];
        struct tsmp m;
        if (tsmp_parse(data, size, &m) == ERR_NONE && packet_parse(data, size).proto != PROTO_TSMP)
                abort();
        check_answer(data, size, out, tsmp_reject(data, size, TSMP_REASON_ACL, out));
        check_answer(data, size, out, tsmp_pong(data, size, 443, out));
        return 0;
}
