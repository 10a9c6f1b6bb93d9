/* Key text: what is taken must be written back as it was read, but for the case of its digits. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
        if (!held)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char text[KEY_TEXT_MAX];
        struct key_private k;
        struct node_public n;
        struct disco_public d;
        struct machine_public m;
        char *s = malloc(size + 1);
        must(s != NULL);
        if (size > 0)
                memcpy(s, data, size);
        s[size] = '\0';
        if (key_private_parse(s, &k) == ERR_NONE) {
                key_private_text(&k, text);
                must(strcasecmp(s, text) == 0);
        }
        if (node_public_parse(s, &n) == ERR_NONE)
                must(strcasecmp(s, node_public_text(&n, text)) == 0);
        if (disco_public_parse(s, &d) == ERR_NONE)
                must(strcasecmp(s, disco_public_text(&d, text)) == 0);
        if (machine_public_parse(s, &m) == ERR_NONE)
                must(strcasecmp(s, machine_public_text(&m, text)) == 0);
        free(s);
        return 0;
}
