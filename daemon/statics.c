#include "daemon/statics.h"

#include <string.h>

#include "base/log.h"

/* That a peer can send to, and that is not in the tunnel. */
static bool is_of_use(struct addr a)
{
        return a.port != 0 && !ip_is_unspecified(a.ip) && !ip_is_multicast(a.ip) && !ip_is_tailnet(a.ip);
}

static bool parse(const char *s, size_t len, struct addr *ret)
{
        char text[ADDR_STR_MAX];
        if (len >= sizeof(text))
                return false;
        memcpy(text, s, len);
        text[len] = '\0';
        return addr_parse(text, ret) == ERR_NONE && is_of_use(*ret);
}

static bool has(const struct addr *a, size_t n, struct addr x)
{
        for (size_t i = 0; i < n; i++)
                if (addr_eq(a[i], x))
                        return true;
        return false;
}

size_t statics_by_env(const char *(*env)(const char *), struct addr ret[MS_STATIC_MAX])
{
        static const char name[] = "TS_DEBUG_PRETENDPOINT";
        const char *at = env(name);
        size_t n = 0;
        if (at == NULL || *at == '\0')
                return 0;
        for (unsigned i = 1;; i++) {
                size_t len = strcspn(at, ",");
                struct addr a;
                if (!parse(at, len, &a))
                        log_warn("%s: entry %u is left out: want IP:PORT at which others reach this host, such as 203.0.113.9:41641",
                                 name, i);
                else if (n == MS_STATIC_MAX)
                        log_warn("%s: entry %u is left out: want up to %d", name, i, MS_STATIC_MAX);
                else if (!has(ret, n, a))
                        ret[n++] = a;
                if (at[len] == '\0')
                        return n;
                at += len + 1;
        }
}
