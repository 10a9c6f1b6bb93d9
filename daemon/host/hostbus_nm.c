#include <errno.h>
#include <ifaddrs.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/host/hostbus_sd.h"
#include "daemon/host/patience.h"

#define WHO         "NetworkManager"
#define NM          "org.freedesktop.NetworkManager"
#define NM_PATH     "/org/freedesktop/NetworkManager"
#define NM_DNS      "org.freedesktop.NetworkManager.DnsManager"
#define NM_DNS_PATH "/org/freedesktop/NetworkManager/DnsManager"
#define NM_DEVICE   "org.freedesktop.NetworkManager.Device"

enum {
        /* A device can be set once NetworkManager has seen its address, a moment after the kernel has. */
        TRIES = 10,
        TRY_AGAIN_MS = 100,
        PATH_SIZE = 128,
        /* The less, the sooner asked; a negative one silences all others. */
        PRIORITY_ALONE = INT32_MIN,
        PRIORITY_SPLIT = 1,
        PRIORITY_NOTHING = 200,
};

/* ---- asking ---- */

static bool get_string(struct hostbus *b, const char *path, const char *interface, const char *name,
                       char *out, size_t cap)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL, *reply = NULL;
        const char *s = NULL;
        int rc = b->sd.sd_bus_message_new_method_call(b->bus, &m, NM, path, "org.freedesktop.DBus.Properties",
                                                      "Get");
        if (rc >= 0)
                rc = b->sd.sd_bus_message_append(m, "ss", interface, name);
        rc = hostbus_call(b, m, rc, &error, &reply);
        if (rc >= 0)
                rc = b->sd.sd_bus_message_enter_container(reply, 'v', "s");
        if (rc >= 0)
                rc = b->sd.sd_bus_message_read(reply, "s", &s);
        bool ok = rc >= 0 && s != NULL && snprintf(out, cap, "%s", s) < (int)cap;
        b->sd.sd_bus_message_unref(reply);
        b->sd.sd_bus_error_free(&error);
        return ok;
}

void hostbus_ask_nm(struct hostbus *b, struct nm_facts *ret)
{
        char text[64];
        memset(ret, 0, sizeof(*ret));
        if (b == NULL || !hostbus_ping(b, NM, NM_DNS_PATH))
                return;
        ret->answers = true;
        ret->uses_resolved = get_string(b, NM_DNS_PATH, NM_DNS, "Mode", text, sizeof(text)) &&
                             strcmp(text, "systemd-resolved") == 0;
        if (get_string(b, NM_PATH, NM, "Version", text, sizeof(text)))
                (void)nm_parse_version(text, ret);
}

/* ---- one property of a family's settings ---- */

/* The caller appends the value and closes two containers: end_entry(). */
static int begin_entry(struct hostbus *b, sd_bus_message *m, const char *key, const char *type)
{
        int rc = b->sd.sd_bus_message_open_container(m, 'e', "sv");
        if (rc >= 0)
                rc = b->sd.sd_bus_message_append(m, "s", key);
        return rc >= 0 ? b->sd.sd_bus_message_open_container(m, 'v', type) : rc;
}

static int end_entry(struct hostbus *b, sd_bus_message *m, int rc)
{
        if (rc >= 0)
                rc = b->sd.sd_bus_message_close_container(m);
        return rc >= 0 ? b->sd.sd_bus_message_close_container(m) : rc;
}

static int add_value(struct hostbus *b, sd_bus_message *m, int rc, const char *key, const char *type, ...)
{
        va_list args;
        va_start(args, type);
        if (rc >= 0)
                rc = begin_entry(b, m, key, type);
        if (rc >= 0)
                rc = b->sd.sd_bus_message_appendv(m, type, args);
        va_end(args);
        return end_entry(b, m, rc);
}

/* IPv4 addresses are numbers with the bytes as they travel, IPv6 ones are bytes. */
static int add_servers(struct hostbus *b, sd_bus_message *m, int rc, const struct osdns_config *c, bool v6)
{
        const char *item = v6 ? "ay" : "u";
        if (rc >= 0)
                rc = begin_entry(b, m, "dns", v6 ? "aay" : "au");
        if (rc >= 0)
                rc = b->sd.sd_bus_message_open_container(m, 'a', item);
        for (size_t i = 0; i < c->server_count && rc >= 0; i++) {
                uint32_t v4;
                const struct ip *ip = &c->servers[i];
                memcpy(&v4, ip->b, sizeof(v4));
                if ((ip->family == IP_V6) != v6)
                        continue;
                rc = v6 ? b->sd.sd_bus_message_append_array(m, 'y', ip->b, 16)
                        : b->sd.sd_bus_message_append(m, "u", v4);
        }
        if (rc >= 0)
                rc = b->sd.sd_bus_message_close_container(m);
        return end_entry(b, m, rc);
}

/* A '~' before a name: only questions below it, not a domain to search in. */
static int add_domains(struct hostbus *b, sd_bus_message *m, int rc, const struct osdns_config *c)
{
        char text[OSDNS_NAME_MAX + 3];
        if (rc >= 0)
                rc = begin_entry(b, m, "dns-search", "as");
        if (rc >= 0)
                rc = b->sd.sd_bus_message_open_container(m, 'a', "s");
        for (const char *s = osdns_names_next(&c->search, NULL); s != NULL && rc >= 0;
             s = osdns_names_next(&c->search, s))
                rc = b->sd.sd_bus_message_append(m, "s", s);
        for (const char *s = osdns_names_next(&c->match, NULL); s != NULL && rc >= 0;
             s = osdns_names_next(&c->match, s)) {
                snprintf(text, sizeof(text), "~%s", s);
                if (!osdns_names_has(&c->search, s))
                        rc = b->sd.sd_bus_message_append(m, "s", text);
        }
        if (rc >= 0 && c->match.count == 0)
                rc = b->sd.sd_bus_message_append(m, "s", "~.");
        if (rc >= 0)
                rc = b->sd.sd_bus_message_close_container(m);
        return end_entry(b, m, rc);
}

static int32_t priority(const struct osdns_config *c, bool v6)
{
        for (size_t i = 0; i < c->server_count; i++)
                if ((c->servers[i].family == IP_V6) == v6)
                        return c->match.count > 0 ? PRIORITY_SPLIT : PRIORITY_ALONE;
        return PRIORITY_NOTHING;
}

static int add_address(struct hostbus *b, sd_bus_message *m, const char *text)
{
        int rc = b->sd.sd_bus_message_open_container(m, 'a', "{sv}");
        if (rc >= 0)
                rc = b->sd.sd_bus_message_append(m, "{sv}{sv}", "address", "s", text, "prefix", "u",
                                                 (uint32_t)128);
        return rc >= 0 ? b->sd.sd_bus_message_close_container(m) : rc;
}

/* The interface keeps those IPv6 addresses that are named here, and no others. */
static int add_addresses(struct hostbus *b, sd_bus_message *m, int rc, const char *ifname)
{
        char text[IP_STR_MAX];
        struct ifaddrs *list = NULL;
        if (rc >= 0)
                rc = begin_entry(b, m, "address-data", "aa{sv}");
        if (rc >= 0)
                rc = b->sd.sd_bus_message_open_container(m, 'a', "a{sv}");
        if (rc >= 0 && getifaddrs(&list) != 0)
                rc = -ENOMEM;
        for (const struct ifaddrs *i = list; i != NULL && rc >= 0; i = i->ifa_next) {
                if (i->ifa_addr == NULL || strcmp(i->ifa_name, ifname) != 0)
                        continue;
                struct ip ip = addr_from_sockaddr(i->ifa_addr).ip;
                if (ip.family == IP_V6 && ip_is_tailnet(ip))
                        rc = add_address(b, m, ip_str(ip, text));
        }
        if (list != NULL)
                freeifaddrs(list);
        if (rc >= 0)
                rc = b->sd.sd_bus_message_close_container(m);
        return end_entry(b, m, rc);
}

/* Methods but "auto" and "manual" take no servers, and only "auto" works without an address.  So: automatic,
 * and nothing that it finds is used. */
static int add_method(struct hostbus *b, sd_bus_message *m, int rc, const char *ifname)
{
        rc = add_value(b, m, rc, "method", "s", "auto");
        rc = add_value(b, m, rc, "ignore-auto-routes", "b", true);
        rc = add_value(b, m, rc, "ignore-auto-dns", "b", true);
        rc = add_value(b, m, rc, "never-default", "b", true);
        return add_addresses(b, m, rc, ifname);
}

/* ---- the settings of a device, ours put in ---- */

/* What we say ourselves, and old forms of other settings, which are read but not taken back. */
static bool is_replaced(const char *key, bool v6)
{
        static const char *const both[] = {"addresses", "routes", "dns", "dns-data", "dns-search", "dns-priority"};
        static const char *const only_v6[] = {"method", "address-data", "ignore-auto-routes", "ignore-auto-dns",
                                              "never-default"};
        for (size_t i = 0; i < sizeof(both) / sizeof(both[0]); i++)
                if (strcmp(key, both[i]) == 0)
                        return true;
        for (size_t i = 0; v6 && i < sizeof(only_v6) / sizeof(only_v6[0]); i++)
                if (strcmp(key, only_v6[i]) == 0)
                        return true;
        return false;
}

/* The next property of `from`, into `m` if it stays.  0: there is none. */
static int copy_entry(struct hostbus *b, sd_bus_message *m, sd_bus_message *from, bool v6)
{
        const char *key;
        int rc = b->sd.sd_bus_message_enter_container(from, 'e', "sv");
        if (rc <= 0)
                return rc;
        rc = b->sd.sd_bus_message_read(from, "s", &key);
        if (rc >= 0 && is_replaced(key, v6)) {
                rc = b->sd.sd_bus_message_skip(from, "v");
        } else if (rc >= 0) {
                rc = b->sd.sd_bus_message_open_container(m, 'e', "sv");
                if (rc >= 0)
                        rc = b->sd.sd_bus_message_append(m, "s", key);
                if (rc >= 0)
                        rc = b->sd.sd_bus_message_copy(m, from, false);
                if (rc >= 0)
                        rc = b->sd.sd_bus_message_close_container(m);
        }
        if (rc >= 0)
                rc = b->sd.sd_bus_message_exit_container(from);
        return rc < 0 ? rc : 1;
}

static int copy_family(struct hostbus *b, sd_bus_message *m, sd_bus_message *from, const char *ifname,
                       const struct osdns_config *c, bool v6)
{
        int rc = b->sd.sd_bus_message_enter_container(from, 'a', "{sv}");
        if (rc >= 0)
                rc = b->sd.sd_bus_message_open_container(m, 'a', "{sv}");
        while (rc >= 0 && (rc = copy_entry(b, m, from, v6)) > 0)
                ;
        if (v6)
                rc = add_method(b, m, rc, ifname);
        rc = add_servers(b, m, rc, c, v6);
        rc = add_domains(b, m, rc, c);
        rc = add_value(b, m, rc, "dns-priority", "i", priority(c, v6));
        if (rc >= 0)
                rc = b->sd.sd_bus_message_exit_container(from);
        return rc >= 0 ? b->sd.sd_bus_message_close_container(m) : rc;
}

/* The next group of settings.  0: there is none. */
static int copy_group(struct hostbus *b, sd_bus_message *m, sd_bus_message *from, const char *ifname,
                      const struct osdns_config *c)
{
        const char *name;
        int rc = b->sd.sd_bus_message_enter_container(from, 'e', "sa{sv}");
        if (rc <= 0)
                return rc;
        rc = b->sd.sd_bus_message_read(from, "s", &name);
        if (rc >= 0)
                rc = b->sd.sd_bus_message_open_container(m, 'e', "sa{sv}");
        if (rc >= 0)
                rc = b->sd.sd_bus_message_append(m, "s", name);
        if (rc >= 0) {
                bool v6 = strcmp(name, "ipv6") == 0;
                rc = v6 || strcmp(name, "ipv4") == 0 ? copy_family(b, m, from, ifname, c, v6)
                                                     : b->sd.sd_bus_message_copy(m, from, false);
        }
        if (rc >= 0)
                rc = b->sd.sd_bus_message_close_container(m);
        if (rc >= 0)
                rc = b->sd.sd_bus_message_exit_container(from);
        return rc < 0 ? rc : 1;
}

/* m: a call of Reapply.  from: the answer of GetAppliedConnection; its version makes sure that nobody changed
 * the device in between. */
static int edit(struct hostbus *b, sd_bus_message *m, sd_bus_message *from, const char *ifname,
                const struct osdns_config *c)
{
        uint64_t version;
        int rc = b->sd.sd_bus_message_enter_container(from, 'a', "{sa{sv}}");
        if (rc >= 0)
                rc = b->sd.sd_bus_message_open_container(m, 'a', "{sa{sv}}");
        while (rc >= 0 && (rc = copy_group(b, m, from, ifname, c)) > 0)
                ;
        if (rc >= 0)
                rc = b->sd.sd_bus_message_exit_container(from);
        if (rc >= 0)
                rc = b->sd.sd_bus_message_close_container(m);
        if (rc >= 0)
                rc = b->sd.sd_bus_message_read(from, "t", &version);
        return rc >= 0 ? b->sd.sd_bus_message_append(m, "tu", version, 0) : rc;
}

/* ---- ---- */

static enum err find_device(struct hostbus *b, const char *ifname, char ret[PATH_SIZE], char why[HOSTBUS_WHY_MAX])
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL, *reply = NULL;
        const char *path = "";
        int rc = b->sd.sd_bus_message_new_method_call(b->bus, &m, NM, NM_PATH, NM, "GetDeviceByIpIface");
        if (rc >= 0)
                rc = b->sd.sd_bus_message_append(m, "s", ifname);
        rc = hostbus_call(b, m, rc, &error, &reply);
        if (rc >= 0)
                rc = b->sd.sd_bus_message_read(reply, "o", &path);
        if (rc >= 0 && snprintf(ret, PATH_SIZE, "%s", path) >= PATH_SIZE)
                rc = -ENAMETOOLONG;
        b->sd.sd_bus_message_unref(reply);
        return hostbus_said(b, WHO, "GetDeviceByIpIface", rc, &error, why);
}

static enum err get_applied(struct hostbus *b, const char *device, sd_bus_message **ret, char why[HOSTBUS_WHY_MAX])
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        int rc = b->sd.sd_bus_message_new_method_call(b->bus, &m, NM, device, NM_DEVICE, "GetAppliedConnection");
        if (rc >= 0)
                rc = b->sd.sd_bus_message_append(m, "u", 0);
        return hostbus_said(b, WHO, "GetAppliedConnection", hostbus_call(b, m, rc, &error, ret), &error, why);
}

static enum err try_set(struct hostbus *b, const char *ifname, const struct osdns_config *c,
                        char why[HOSTBUS_WHY_MAX])
{
        char device[PATH_SIZE];
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL, *applied = NULL;
        enum err e = find_device(b, ifname, device, why);
        if (e == ERR_NONE)
                e = get_applied(b, device, &applied, why);
        if (e != ERR_NONE)
                return e;
        int rc = b->sd.sd_bus_message_new_method_call(b->bus, &m, NM, device, NM_DEVICE, "Reapply");
        if (rc >= 0)
                rc = edit(b, m, applied, ifname, c);
        b->sd.sd_bus_message_unref(applied);
        return hostbus_said(b, WHO, "Reapply", hostbus_call(b, m, rc, &error, NULL), &error, why);
}

enum err hostbus_nm_set(struct hostbus *b, const char *ifname, const struct osdns_config *c,
                        char why[HOSTBUS_WHY_MAX])
{
        if (!hostbus_is_there(b, why))
                return ERR_CLOSED;
        enum err e = try_set(b, ifname, c, why);
        for (int i = 1; i < TRIES && e == ERR_IO; i++) {
                (void)poll(NULL, 0, (int)patience_ms(TRY_AGAIN_MS));
                e = try_set(b, ifname, c, why);
        }
        return e;
}

/* Without settings it takes those of the device's own profile. */
enum err hostbus_nm_revert(struct hostbus *b, const char *ifname, char why[HOSTBUS_WHY_MAX])
{
        char device[PATH_SIZE];
        if (!hostbus_is_there(b, why))
                return ERR_CLOSED;
        enum err e = find_device(b, ifname, device, why);
        if (e != ERR_NONE)
                return e;
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        int rc = b->sd.sd_bus_message_new_method_call(b->bus, &m, NM, device, NM_DEVICE, "Reapply");
        if (rc >= 0)
                rc = b->sd.sd_bus_message_append(m, "a{sa{sv}}tu", 0, (uint64_t)0, 0);
        return hostbus_said(b, WHO, "Reapply", hostbus_call(b, m, rc, &error, NULL), &error, why);
}
