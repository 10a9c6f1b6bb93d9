/* Echo replies: what is accepted is whole, and its word lies in the datagram. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "magicsock/echo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
        if (!held)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        for (int i = 0; i < 2; i++) {
                struct echo_reply r;
                size_t head = i == 0 ? 8 : 28;
                if (echo_parse(data, size, i == 1, &r) != ERR_NONE)
                        continue;
                must(size >= head && r.word >= data + head && r.word + r.word_len == data + size);
        }
        return 0;
}
