#include "daemon/control/hostinfo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"

/* --- facts about the machine --- */

/* The value of "KEY=value" or KEY="value" at the start of a line; false: there is none. */
static bool os_release_value(const char *text, size_t len, const char *key, char *out, size_t cap)
{
        const char *end = text + len;
        size_t key_len = strlen(key);
        for (const char *line = text; line < end;) {
                const char *eol = memchr(line, '\n', (size_t)(end - line));
                const char *stop = eol != NULL ? eol : end;
                if ((size_t)(stop - line) > key_len && memcmp(line, key, key_len) == 0 &&
                    line[key_len] == '=') {
                        const char *v = line + key_len + 1;
                        while (stop > v && (stop[-1] == '\r' || stop[-1] == ' '))
                                stop--;
                        if (stop - v >= 2 && (*v == '"' || *v == '\'') && stop[-1] == *v) {
                                v++;
                                stop--;
                        }
                        size_t n = (size_t)(stop - v);
                        if (n >= cap)
                                n = cap - 1;
                        memcpy(out, v, n);
                        out[n] = '\0';
                        return true;
                }
                line = stop + 1;
        }
        return false;
}

void hostinfo_parse_os_release(struct hostinfo_os *h, const char *text, size_t len)
{
        (void)os_release_value(text, len, "ID", h->distro, sizeof(h->distro));
        (void)os_release_value(text, len, "VERSION_ID", h->distro_version, sizeof(h->distro_version));
        (void)os_release_value(text, len, "VERSION_CODENAME", h->distro_code_name,
                               sizeof(h->distro_code_name));
}

static const char *go_arch(const char *machine)
{
        static const char *const NAMES[][2] = {
                {"x86_64", "amd64"},    {"aarch64", "arm64"}, {"i686", "386"},
                {"i386", "386"},        {"mips64", "mips64"}, {"riscv64", "riscv64"},
                {"ppc64le", "ppc64le"}, {"s390x", "s390x"},   {"loongarch64", "loong64"},
        };
        for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
                if (strcmp(machine, NAMES[i][0]) == 0)
                        return NAMES[i][1];
        return strncmp(machine, "arm", 3) == 0 ? "arm" : machine;
}

void hostinfo_os_read(struct hostinfo_os *ret)
{
        struct utsname u;
        static char text[8192];
        *ret = (struct hostinfo_os){0};
        if (uname(&u) == 0) {
                (void)str_copy(ret->os_version, sizeof(ret->os_version), u.release);
                (void)str_copy(ret->machine, sizeof(ret->machine), u.machine);
                (void)str_copy(ret->go_arch, sizeof(ret->go_arch), go_arch(u.machine));
                u.nodename[strcspn(u.nodename, ".")] = '\0';
                (void)str_copy(ret->hostname, sizeof(ret->hostname), u.nodename);
        }
        size_t n = file_head("/etc/os-release", text, sizeof(text));
        if (n == 0)
                n = file_head("/usr/lib/os-release", text, sizeof(text));
        hostinfo_parse_os_release(ret, text, n);
        ret->container = access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0 ||
                         getenv("container") != NULL;
}

/* --- JSON --- */

static void set_str(json_t *o, const char *key, const char *value)
{
        if (value != NULL && value[0] != '\0')
                (void)json_object_set_new(o, key, json_string(value));
}

static void set_tri(json_t *o, const char *key, enum tri t)
{
        if (t != TRI_UNSET)
                (void)json_object_set_new(o, key, json_boolean(t == TRI_TRUE));
}

static void set_flag(json_t *o, const char *key, bool on)
{
        if (on)
                (void)json_object_set_new(o, key, json_true());
}

static void set_strings(json_t *o, const char *key, const char *const *list, size_t n)
{
        if (n == 0)
                return;
        json_t *a = json_array();
        for (size_t i = 0; i < n; i++)
                (void)json_array_append_new(a, json_string(list[i]));
        (void)json_object_set_new(o, key, a);
}

static int prefix_cmp(const void *va, const void *vb)
{
        const struct prefix *a = va;
        const struct prefix *b = vb;
        int c = ip_cmp(a->ip, b->ip);
        return c != 0 ? c : (int)a->bits - (int)b->bits;
}

static void set_routes(json_t *o, const struct hostinfo *h)
{
        if (h->routable_count == 0)
                return;
        struct prefix *p = malloc(h->routable_count * sizeof(*p));
        if (p == NULL)
                return;
        for (size_t i = 0; i < h->routable_count; i++)
                p[i] = prefix_masked(h->routable_ips[i]);
        qsort(p, h->routable_count, sizeof(*p), prefix_cmp);
        json_t *a = json_array();
        for (size_t i = 0; i < h->routable_count; i++) {
                char text[PREFIX_STR_MAX];
                if (i == 0 || !prefix_eq(p[i], p[i - 1]))
                        (void)json_array_append_new(a, json_string(prefix_str(p[i], text)));
        }
        (void)json_object_set_new(o, "RoutableIPs", a);
        free(p);
}

static void set_services(json_t *o, const struct hostinfo *h)
{
        if (h->service_count == 0)
                return;
        json_t *a = json_array();
        for (size_t i = 0; i < h->service_count; i++)
                (void)json_array_append_new(a, json_pack("{s:s, s:i}", "Proto", h->services[i].proto, "Port",
                                                         (int)h->services[i].port));
        (void)json_object_set_new(o, "Services", a);
}

json_t *hostinfo_to_json(const struct hostinfo *h)
{
        json_t *o = json_object();
        if (o == NULL)
                return NULL;
        set_str(o, "IPNVersion", h->ipn_version);
        set_str(o, "BackendLogID", h->backend_log_id);
        set_str(o, "OS", "linux");
        set_str(o, "OSVersion", h->os.os_version);
        (void)json_object_set_new(o, "Container", json_boolean(h->os.container));
        set_str(o, "Distro", h->os.distro);
        set_str(o, "DistroVersion", h->os.distro_version);
        set_str(o, "DistroCodeName", h->os.distro_code_name);
        set_str(o, "Package", h->package);
        set_str(o, "Hostname", h->hostname != NULL && h->hostname[0] != '\0' ? h->hostname : h->os.hostname);
        set_flag(o, "ShieldsUp", h->shields_up);
        set_flag(o, "NoLogsNoSupport", h->no_logs);
        set_str(o, "Machine", h->os.machine);
        set_str(o, "GoArch", h->os.go_arch);
        set_routes(o, h);
        set_strings(o, "RequestTags", h->request_tags, h->tag_count);
        set_services(o, h);
        set_strings(o, "sshHostKeys", h->ssh_host_keys, h->ssh_key_count);
        set_tri(o, "Userspace", h->userspace);
        set_tri(o, "UserspaceRouter", h->userspace_router);
        return o;
}

json_t *netinfo_to_json(const struct netinfo *ni)
{
        json_t *o = json_object();
        if (o == NULL)
                return NULL;
        set_tri(o, "MappingVariesByDestIP", ni->mapping_varies);
        set_tri(o, "WorkingIPv6", ni->working_ipv6);
        set_tri(o, "OSHasIPv6", ni->os_has_ipv6);
        set_tri(o, "WorkingUDP", ni->working_udp);
        set_tri(o, "WorkingICMPv4", ni->working_icmp4);
        set_flag(o, "HavePortMap", ni->have_port_map);
        set_tri(o, "UPnP", ni->upnp);
        set_tri(o, "PMP", ni->pmp);
        set_tri(o, "PCP", ni->pcp);
        if (ni->preferred_derp != 0)
                (void)json_object_set_new(o, "PreferredDERP", json_integer(ni->preferred_derp));
        set_str(o, "LinkType", ni->link_type);
        if (ni->latency_count > 0) {
                json_t *latency = json_object();
                for (size_t i = 0; i < ni->latency_count; i++) {
                        char key[24];
                        (void)snprintf(key, sizeof(key), "%d-v%c", ni->latency[i].region,
                                       ni->latency[i].v6 ? '6' : '4');
                        (void)json_object_set_new(latency, key, json_real(ni->latency[i].seconds));
                }
                (void)json_object_set_new(o, "DERPLatency", latency);
        }
        set_str(o, "FirewallMode", ni->firewall_mode);
        return o;
}

bool netinfo_json_same(json_t *a, json_t *b)
{
        json_t *x = json_copy(a);
        json_t *y = json_copy(b);
        (void)json_object_del(x, "DERPLatency");
        (void)json_object_del(y, "DERPLatency");
        bool same = x != NULL && y != NULL ? json_equal(x, y) : x == y;
        json_decref(x);
        json_decref(y);
        return same;
}
