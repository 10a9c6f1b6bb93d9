#include "daemon/sizes.h"

#include <string.h>

const struct sizes sizes_normal = {
        .word = "normal",
        .packets = 1024,
        .socket_bytes = 7 << 20,
        .service_bytes = 256 * 1024,
        .stack_bytes = 4 << 20,
        .dns_answers = 256,
        .forwarded = 1024,
};

/* For a router of 32 MiB of memory or so. */
const struct sizes sizes_small = {
        .word = "small",
        .packets = 256,
        .socket_bytes = 1 << 20,
        .service_bytes = 32 * 1024,
        .stack_bytes = 512 * 1024,
        .dns_answers = 64,
        .forwarded = 128,
};

const struct sizes *sizes_by_word(const char *word)
{
        static const struct sizes *const all[] = {&sizes_normal, &sizes_small};
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                if (strcmp(word, all[i]->word) == 0)
                        return all[i];
        return NULL;
}
