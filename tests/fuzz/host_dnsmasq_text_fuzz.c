/* dnsmasq's arguments and configuration of any content: paths found are whole and absolute. */
#include <stdlib.h>
#include <string.h>

#include "daemon/host/dnsmasq_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct dnsmasq_setup *s)
{
        bool ends = memchr(s->conf_dir, '\0', sizeof(s->conf_dir)) != NULL &&
                    memchr(s->conf_file, '\0', sizeof(s->conf_file)) != NULL;
        if (!ends || (s->conf_dir[0] != '\0' && s->conf_dir[0] != '/'))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct dnsmasq_setup s = {0};
        dnsmasq_read_conf((const char *)data, size, &s);
        check(&s);
        dnsmasq_read_args((const char *)data, size, &s);
        check(&s);
        return 0;
}
