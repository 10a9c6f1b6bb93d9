#include "daemon/host/osdns_decide.h"

#include <stdio.h>
#include <string.h>

bool nm_overrides_resolved(const struct nm_facts *nm)
{
        return nm->answers && nm->uses_resolved && nm->major == 1 && nm->minor == 26 && nm->micro <= 5;
}

static bool resolved_resolves(const struct osdns_facts *f)
{
        return f->nss_resolve || f->only_stub;
}

/* current: a resolver that restarts does not answer for a moment; its file is still there. */
static enum osdns_mode when_resolved(const struct osdns_facts *f, enum osdns_mode current, const char **note)
{
        if (!resolved_resolves(f)) {
                /* The head of Debian's resolvconf explains what resolved's address is. */
                if (f->resolvconf_signed && f->resolvconf == RESOLVCONF_DEBIAN)
                        return OSDNS_MODE_DEBIAN;
                return f->resolvconf_signed && f->resolvconf == RESOLVCONF_OPENRESOLV ? OSDNS_MODE_OPENRESOLV
                                                                                      : OSDNS_MODE_DIRECT;
        }
        if (!f->resolved_answers && current != OSDNS_MODE_RESOLVED) {
                *note = "/etc/resolv.conf belongs to systemd-resolved, which does not answer on D-Bus; the "
                        "file is "
                        "replaced instead";
                return OSDNS_MODE_DIRECT;
        }
        if (nm_overrides_resolved(&f->nm))
                return OSDNS_MODE_NM;
        return OSDNS_MODE_RESOLVED;
}

static enum osdns_mode when_networkmanager(const struct osdns_facts *f, enum osdns_mode current,
                                           const char **note)
{
        if (!resolved_resolves(f))
                return OSDNS_MODE_DIRECT;
        if (f->nm.answers && !f->nm.uses_resolved)
                return OSDNS_MODE_DIRECT;
        enum osdns_mode m = when_resolved(f, current, note);
        if (m == OSDNS_MODE_RESOLVED && f->nm.answers && *note == NULL)
                *note = "NetworkManager writes /etc/resolv.conf but leaves resolving to systemd-resolved; "
                        "make the "
                        "file a link to /run/systemd/resolve/stub-resolv.conf";
        return m;
}

static enum osdns_mode when_resolvconf(const struct osdns_facts *f, enum osdns_mode current,
                                       const char **note)
{
        switch (f->resolvconf) {
        case RESOLVCONF_DEBIAN:
                return OSDNS_MODE_DEBIAN;
        case RESOLVCONF_OPENRESOLV:
                return OSDNS_MODE_OPENRESOLV;
        case RESOLVCONF_RESOLVECTL:
                return when_resolved(f, current, note);
        case RESOLVCONF_NONE:
                break;
        }
        return OSDNS_MODE_DIRECT;
}

enum osdns_mode osdns_decide(const struct osdns_facts *f, enum osdns_mode current, const char **ret_note)
{
        *ret_note = NULL;
        enum osdns_mode m = OSDNS_MODE_DIRECT;
        switch (f->owner) {
        case RESOLV_OWNER_RESOLVED:
                m = when_resolved(f, current, ret_note);
                break;
        case RESOLV_OWNER_NETWORKMANAGER:
                m = when_networkmanager(f, current, ret_note);
                break;
        case RESOLV_OWNER_RESOLVCONF:
                m = when_resolvconf(f, current, ret_note);
                break;
        case RESOLV_OWNER_NONE:
                break;
        }
        if (m == OSDNS_MODE_DIRECT && f->only_loopback && f->dnsmasq_usable)
                m = OSDNS_MODE_DNSMASQ;
        return m;
}

const char *osdns_mode_str(enum osdns_mode m)
{
        switch (m) {
        case OSDNS_MODE_UNKNOWN:
                break;
        case OSDNS_MODE_DIRECT:
                return "direct";
        case OSDNS_MODE_RESOLVED:
                return "systemd-resolved";
        case OSDNS_MODE_NM:
                return "network-manager";
        case OSDNS_MODE_DEBIAN:
                return "debian-resolvconf";
        case OSDNS_MODE_OPENRESOLV:
                return "openresolv";
        case OSDNS_MODE_DNSMASQ:
                return "dnsmasq";
        }
        return "unknown";
}

bool osdns_mode_can_split(enum osdns_mode m)
{
        return m == OSDNS_MODE_RESOLVED || m == OSDNS_MODE_NM || m == OSDNS_MODE_DNSMASQ;
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\r';
}

static bool word_is(const char *p, size_t n, const char *word)
{
        return n == strlen(word) && memcmp(p, word, n) == 0;
}

bool nsswitch_asks_resolved(const char *text, size_t len)
{
        const char *end = text + len;
        for (const char *line = text; line < end;) {
                const char *nl = memchr(line, '\n', (size_t)(end - line));
                const char *stop = nl != NULL ? nl : end;
                const char *p = line;
                line = stop + 1;
                const char *hash = memchr(p, '#', (size_t)(stop - p));
                if (hash != NULL)
                        stop = hash;
                while (p < stop && is_blank(*p))
                        p++;
                if (stop - p < 6 || memcmp(p, "hosts:", 6) != 0)
                        continue;
                for (p += 6; p < stop;) {
                        const char *start = p;
                        while (p < stop && !is_blank(*p))
                                p++;
                        if (word_is(start, (size_t)(p - start), "resolve"))
                                return true;
                        if (word_is(start, (size_t)(p - start), "dns"))
                                return false;
                        while (p < stop && is_blank(*p))
                                p++;
                }
        }
        return false;
}

bool nm_parse_version(const char *s, struct nm_facts *nm)
{
        unsigned a, b, c;
        if (sscanf(s, "%4u.%4u.%4u", &a, &b, &c) != 3)
                return false;
        nm->major = a;
        nm->minor = b;
        nm->micro = c;
        return true;
}
