/* DERP frames: what is understood lies within its payload; a ServerInfo not sealed for us is refused. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "magicsock/derp_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
        if (!held)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct box_key box = {{1}};
        struct derp_server_info info;
        struct derp_head h;
        struct derp_msg m;
        if (derp_head_parse(data, size, &h) != ERR_NONE)
                return 0;
        must(h.len <= DERP_FRAME_MAX);
        const uint8_t *payload = data + DERP_HEAD_LEN;
        size_t len = size - DERP_HEAD_LEN < h.len ? size - DERP_HEAD_LEN : h.len;
        if (derp_msg_parse(h.type, payload, len, &m) != ERR_NONE)
                return 0;
        must(m.type == (enum derp_type)h.type);
        must(m.len == 0 || (m.data >= payload && m.data + m.len <= payload + len));
        if (m.type == DERP_SERVER_INFO)
                must(derp_server_info_open(&box, m.data, m.len, &info) != ERR_NONE);
        return 0;
}
