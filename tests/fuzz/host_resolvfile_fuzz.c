/* A resolv.conf or nsswitch.conf of any content: what is read can be written, and is then read the same. */
#include <stdlib.h>
#include <string.h>

#include "daemon/host/osdns_decide.h"
#include "daemon/host/resolvfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool ok)
{
        if (!ok)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct resolvfile f, again;
        struct buf b;
        (void)nsswitch_asks_resolved((const char *)data, size);
        resolvfile_parse((const char *)data, size, &f);
        expect(f.config.server_count <= OSDNS_SERVERS_MAX && f.config.search.len <= OSDNS_NAMES_BYTES);
        buf_init(&b, 64 * 1024);
        resolvfile_write(&b, &f.config, f.options, f.sortlist);
        expect(buf_ok(&b));
        resolvfile_parse(b.data, b.len, &again);
        expect(again.ours && !again.names_us && osdns_config_eq(&f.config, &again.config));
        expect(strcmp(f.options, again.options) == 0 && strcmp(f.sortlist, again.sortlist) == 0);
        buf_done(&b);
        resolvfile_done(&f);
        resolvfile_done(&again);
        return 0;
}
