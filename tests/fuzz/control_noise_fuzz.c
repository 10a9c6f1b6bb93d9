/* What follows the upgrade: the handshake response, then records under a known session. */
#include <string.h>

#include "base/crypto.h"
#include "daemon/control/noise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void open_records(const uint8_t *data, size_t size)
{
        static const uint8_t KEY[AEAD_KEY_LEN] = {
                0x16, 0x57, 0xd0, 0x25, 0x48, 0x68, 0x88, 0x64, 0x83, 0x86, 0xe4,
                0x6e, 0x37, 0xe6, 0x72, 0x2a, 0x42, 0xc6, 0x05, 0xd3, 0xf1, 0xb0,
                0xec, 0x24, 0x45, 0x41, 0x90, 0xa6, 0x45, 0x35, 0x50, 0x89,
        };
        struct cnoise_session s = {0};
        struct buf in, out;
        memcpy(s.recv_key, KEY, sizeof(KEY));
        buf_init(&in, 1 << 20);
        buf_init(&out, 1 << 20);
        /* In two pieces, so that a record is also seen in part. */
        buf_add(&in, data, size / 2);
        enum err e = cnoise_open(&s, &in, &out);
        buf_add(&in, data + size / 2, size - size / 2);
        if (e == ERR_NONE)
                e = cnoise_open(&s, &in, &out);
        (void)e;
        buf_done(&in);
        buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct cnoise_handshake hs = {.machine = {{1}}, .ephemeral = {{2}}};
        struct cnoise_session s;
        if (crypto_init() != ERR_NONE)
                return 0;
        enum err e = cnoise_finish(&hs, data, size, &s);
        (void)e;
        open_records(data, size);
        return 0;
}
