/* What the login server says before there is a map: its key, the upgrade's head, the registration's answer. */
#include <stdlib.h>
#include <string.h>

#include "daemon/control/c2n.h"
#include "daemon/control/register.h"
#include "daemon/control/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_text(const uint8_t *data, size_t size)
{
        char text[600];
        struct server_url u;
        size_t n = size < sizeof(text) - 1 ? size : sizeof(text) - 1;
        memcpy(text, data, n);
        text[n] = '\0';
        if (server_url_parse(text, &u) == ERR_NONE)
                (void)server_auth_url_ok(&u, text);
        (void)register_fault_of(text);
        (void)register_retry_ms(text, 0, 1);
        char key[64];
        enum err e = register_trim_key(text, key, sizeof(key));
        (void)e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct register_answer answer;
        struct upgrade_answer upgrade;
        struct machine_public key;
        struct buf out;
        char *text = strndup((const char *)data, size); /* bodies are terminated where they come from */
        enum err e = register_parse((const char *)data, size, &answer);
        e = server_upgrade_parse(data, size, &upgrade);
        if (text != NULL && strlen(text) == size)
                e = server_key_parse(text, size, &key);
        size_t early = 0;
        e = server_early_parse(data, size, &early);
        if (e == ERR_NONE && early > size)
                abort();
        buf_init(&out, 1 << 20);
        e = c2n_answer((const char *)data, size, &out);
        (void)e;
        buf_done(&out);
        as_text(data, size);
        free(text);
        return 0;
}
