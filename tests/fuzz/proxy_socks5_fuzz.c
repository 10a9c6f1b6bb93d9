/* SOCKS 5: what is understood stays the same when more follows, and every beginning of it asks for more. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/proxy/socks5.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
        if (!held)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct socks5_request r, again;
        enum socks5_code code;
        const uint8_t *payload;
        size_t used = 0, used2 = 0, len;
        if (socks5_greeting(data, size, &used) == SOCKS5_DONE) {
                must(used <= size && used >= 3);
                must(socks5_greeting(data, used, &used2) == SOCKS5_DONE && used2 == used);
                must(socks5_greeting(data, used - 1, &used2) == SOCKS5_MORE);
        }
        if (socks5_request(data, size, &used, &r, &code) == SOCKS5_DONE) {
                must(used <= size && strlen(r.host) > 0);
                must(socks5_request(data, used, &used2, &again, &code) == SOCKS5_DONE && used2 == used);
                must(strcmp(r.host, again.host) == 0 && r.port == again.port && r.command == again.command);
                must(socks5_request(data, used - 1, &used2, &again, &code) == SOCKS5_MORE);
        }
        if (socks5_datagram(data, size, &r, &payload, &len))
                must(payload >= data && payload + len == data + size && strlen(r.host) > 0);
        return 0;
}
