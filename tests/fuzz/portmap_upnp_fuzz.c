/* A whole conversation with a UPnP router that answers whatever it likes: each answer is a byte of status, two of length and
 * that many bytes.  It ends, and every request on the way is one to the router. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/reader.h"
#include "portmap/upnp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
        if (!held)
                abort();
}

static void ones(void *out, size_t n)
{
        memset(out, 0x11, n);
}

static void check_request(const struct upnp *u)
{
        struct upnp_request r;
        must(upnp_request(u, &r));
        must(strncmp(r.url, "http://192.168.1.1:", 19) == 0);
        must(strpbrk(r.url, "\r\n ") == NULL && strpbrk(r.action, "\r\n") == NULL);
        must(strlen(r.action) < UPNP_HEADER_MAX - 1 && strlen(r.body) < UPNP_BODY_MAX - 1);
        must((r.body[0] == '\0') == (u->step == UPNP_DESCRIBE));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct upnp_url location = {.port = 5000, .path = "/desc.xml"};
        struct upnp u = {.router = ip_v4(192, 168, 1, 1), .self = ip_v4(192, 168, 1, 50), .inner = 41641, .random = ones};
        upnp_xml_load();
        for (int i = 0; i < 100 && !upnp_xml_ready(); i++)
                usleep(10000);
        struct rd r = rd_init(data, size);
        upnp_ask(&u, &location, NULL, 0);
        enum upnp_news news = UPNP_MORE;
        for (int steps = 0; news == UPNP_MORE; steps++) {
                must(steps < 40);
                check_request(&u);
                long status = rd_u8(&r) & 1 ? 200 : 500;
                struct rd body = rd_sub(&r, rd_be16(&r));
                news = upnp_answer(&u, rd_ok(&r) ? status : 0, rd_ok(&body) ? (const char *)body.at : "", body.left);
        }
        must(u.step == UPNP_QUIET);
        if (news == UPNP_MAPPED)
                must(u.outer != 0 && ip_is_public(u.outside) && u.at < u.count);
        return 0;
}
