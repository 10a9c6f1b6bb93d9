/* The disco parser on an opened message, and the demultiplexer with the opener on a raw datagram. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "magicsock/classify.h"
#include "magicsock/disco.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_parse(const uint8_t *data, size_t size)
{
        static struct disco_msg m, again;
        static uint8_t out[65536];
        if (size > sizeof(out) || disco_parse(data, size, &m) != ERR_NONE)
                return;
        if (m.type > DISCO_CALL_ME_MAYBE)
                return;
        if (m.type == DISCO_CALL_ME_MAYBE && m.cmm.count > DISCO_CMM_MAX)
                abort();
        /* What we say again means the same. */
        size_t n = disco_encode(&m, out, sizeof(out));
        if (n == 0 || disco_parse(out, n, &again) != ERR_NONE || again.type != m.type)
                abort();
        if (m.type == DISCO_CALL_ME_MAYBE && again.cmm.count != m.cmm.count)
                abort();
}

static void check_datagram(const uint8_t *data, size_t size)
{
        static const struct box_key key = {{1, 2, 3}};
        static uint8_t inner[65536];
        struct disco_public from;
        size_t n;
        enum ms_class c = ms_classify(data, size), r = ms_classify_relayed(data, size);
        if (disco_sender(data, size, &from) && (c != MS_CLASS_DISCO || r != MS_CLASS_DISCO))
                abort();
        if (size <= sizeof(inner) && disco_open(&key, data, size, inner, &n) == ERR_NONE)
                check_parse(inner, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        check_parse(data, size);
        check_datagram(data, size);
        return 0;
}
