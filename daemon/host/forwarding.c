#include "daemon/host/forwarding.h"

#include <dirent.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"

/* First digit of a setting; -1: not there. */
static int setting(const char *path)
{
        char text[16];
        return file_head(path, text, sizeof(text)) > 0 && text[0] >= '0' && text[0] <= '9' ? text[0] - '0' : -1;
}

static int interface_setting(const char *ifname, const char *name)
{
        char path[128];
        snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%.64s/%s", ifname, name);
        return setting(path);
}

typedef bool (*interface_fn)(void *arg, const char *ifname);   /* false: enough */

static void each_interface(interface_fn fn, void *arg)
{
        DIR *d = opendir("/proc/sys/net/ipv4/conf");
        struct dirent *e;
        while (d != NULL && (e = readdir(d)) != NULL)
                if (e->d_name[0] != '.' && strcmp(e->d_name, "all") != 0 && strcmp(e->d_name, "default") != 0 &&
                        strcmp(e->d_name, "lo") != 0 && !fn(arg, e->d_name))
                        break;
        if (d != NULL)
                closedir(d);
}

/* The greater of the two values counts. */
static bool find_strict(void *arg, const char *ifname)
{
        int all = interface_setting("all", "rp_filter"), own = interface_setting(ifname, "rp_filter");
        *(bool *)arg = (own > all ? own : all) == 1;
        return !*(bool *)arg;
}

bool forwarding_rp_filter_strict(void)
{
        bool strict = false;
        each_interface(find_strict, &strict);
        return strict;
}

/* ---- forwarding ---- */

struct off {
        char first[IFNAMSIZ];
        size_t count, seen;
};

static bool find_off(void *arg, const char *ifname)
{
        struct off *o = arg;
        o->seen++;
        if (interface_setting(ifname, "forwarding") == 0 && o->count++ == 0)
                (void)str_copy(o->first, sizeof(o->first), ifname);
        return true;
}

void forwarding_check(const struct prefix *routes, size_t count, char out[FORWARDING_TEXT_MAX])
{
        static const char stay[] = "and write that to /etc/sysctl.d/99-tailscale.conf so that it stays";
        bool need4 = false, need6 = false;
        out[0] = '\0';
        for (size_t i = 0; i < count; i++)
                *(routes[i].ip.family == IP_V6 ? &need6 : &need4) = true;
        need4 &= setting("/proc/sys/net/ipv4/ip_forward") < 1;
        need6 &= setting("/proc/sys/net/ipv6/conf/all/forwarding") < 1;
        struct off o = {0};
        if (!need4 && count > 0)
                each_interface(find_off, &o);
        if (need4 || need6) {
                snprintf(out, FORWARDING_TEXT_MAX,
                        "advertising routes, but IP forwarding is disabled, so that subnet routing and exit nodes will not work: "
                        "run 'sysctl -w%s%s' %s", need4 ? " net.ipv4.ip_forward=1" : "",
                        need6 ? " net.ipv6.conf.all.forwarding=1" : "", stay);
        } else if (o.count > 0) {
                snprintf(out, FORWARDING_TEXT_MAX,
                        "advertising routes, but IP forwarding is disabled on interface %s%s: run 'sysctl -w "
                        "net.ipv4.conf.%s.forwarding=1' %s", o.first, o.count > 1 ? " and others" : "", o.first, stay);
        }
}

/* ---- UDP gathering ---- */

bool forwarding_default_interface(const char *text, char *out, size_t cap)
{
        for (const char *line = text; *line != '\0'; line += strcspn(line, "\n"), line += *line != '\0') {
                char name[32], dst[16], mask[16];
                if (sscanf(line, "%31s %15s %*s %*s %*s %*s %*s %15s", name, dst, mask) == 3 &&
                        strcmp(dst, "00000000") == 0 && strcmp(mask, "00000000") == 0)
                        return str_copy(out, cap, name);
        }
        return false;
}

static bool default_interface(char out[IFNAMSIZ])
{
        char text[4096];
        (void)file_head("/proc/net/route", text, sizeof(text));
        return forwarding_default_interface(text, out, IFNAMSIZ);
}

static bool ethtool(int fd, const char *ifname, void *request)
{
        struct ifreq r = {0};
        (void)str_copy(r.ifr_name, sizeof(r.ifr_name), ifname);
        r.ifr_data = request;
        return ioctl(fd, SIOCETHTOOL, &r) == 0;
}

struct features {
        struct ethtool_gstrings *names;
        struct ethtool_gfeatures *values;
};

static bool read_features(int fd, const char *ifname, struct features *f)
{
        uint32_t room[sizeof(struct ethtool_sset_info) / 4 + 1] = {0}, count;
        struct ethtool_sset_info *info = (struct ethtool_sset_info *)(void *)room;
        info->cmd = ETHTOOL_GSSET_INFO;
        info->sset_mask = UINT64_C(1) << ETH_SS_FEATURES;
        if (!ethtool(fd, ifname, info) || info->sset_mask == 0)
                return false;
        count = info->data[0];
        if (count > 4096)
                return false;
        uint32_t blocks = (count + 31) / 32;
        f->names = calloc(1, sizeof(*f->names) + (size_t)count * ETH_GSTRING_LEN);
        f->values = calloc(1, sizeof(*f->values) + blocks * sizeof(f->values->features[0]));
        if (f->names == NULL || f->values == NULL)
                return false;
        f->names->cmd = ETHTOOL_GSTRINGS;
        f->names->string_set = ETH_SS_FEATURES;
        f->names->len = count;
        f->values->cmd = ETHTOOL_GFEATURES;
        f->values->size = blocks;
        return ethtool(fd, ifname, f->names) && ethtool(fd, ifname, f->values) && f->names->len <= count &&
                f->values->size == blocks;
}

static int index_of(const struct features *f, const char *name)
{
        for (uint32_t i = 0; i < f->names->len; i++)
                if (strncmp((const char *)f->names->data + (size_t)i * ETH_GSTRING_LEN, name, ETH_GSTRING_LEN) == 0)
                        return (int)i;
        return -1;
}

/* -1: the card knows no such feature. */
static int feature(const struct features *f, const char *name)
{
        int i = index_of(f, name);
        return i >= 0 ? (int)(f->values->features[i / 32].active >> (i % 32)) & 1 : -1;
}

static void free_features(struct features *f)
{
        free(f->names);
        free(f->values);
}

static const char gather[] = "rx-udp-gro-forwarding", list[] = "rx-gro-list";

/* Unless the tunnel takes gathered packets, they would only be taken apart again before it. */
static bool tunnel_takes_them(int fd, const char *tun)
{
        struct features f = {0};
        bool yes = read_features(fd, tun, &f) && feature(&f, "tx-udp-segmentation") == 1;
        free_features(&f);
        return yes;
}

void forwarding_check_gro(const char *tun, char out[FORWARDING_TEXT_MAX])
{
        char ifname[IFNAMSIZ];
        struct features f = {0};
        out[0] = '\0';
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && default_interface(ifname) && tunnel_takes_them(fd, tun) && read_features(fd, ifname, &f)) {
                int forwarding = feature(&f, gather);
                if (forwarding == 0 || (forwarding == 1 && feature(&f, list) == 1))
                        snprintf(out, FORWARDING_TEXT_MAX,
                                "UDP GRO forwarding is not set up well on %s, which costs throughput of forwarded traffic: run "
                                "'ethtool -K %s %s on %s off'", ifname, ifname, gather, list);
        }
        free_features(&f);
        if (fd >= 0)
                close(fd);
}

/* Asks for one on and one off; the other features stay.  A positive answer of the kernel says what it did not do. */
static bool change(int fd, const char *ifname, const struct features *f)
{
        uint32_t blocks = f->values->size;
        struct ethtool_sfeatures *s = calloc(1, sizeof(*s) + blocks * sizeof(s->features[0]));
        int on = index_of(f, gather), off = index_of(f, list);
        bool ok = false;
        if (s != NULL && on >= 0) {
                s->cmd = ETHTOOL_SFEATURES;
                s->size = blocks;
                s->features[on / 32].valid |= UINT32_C(1) << (on % 32);
                s->features[on / 32].requested |= UINT32_C(1) << (on % 32);
                if (off >= 0)
                        s->features[off / 32].valid |= UINT32_C(1) << (off % 32);
                ok = ethtool(fd, ifname, s);
        }
        free(s);
        return ok;
}

void forwarding_set_gro(const char *tun, char out[FORWARDING_TEXT_MAX])
{
        char ifname[IFNAMSIZ] = "";
        struct features f = {0};
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        out[0] = '\0';
        if (!default_interface(ifname))
                snprintf(out, FORWARDING_TEXT_MAX, "UDP GRO forwarding is left as it is: there is no default route");
        else if (!tunnel_takes_them(fd, tun))
                snprintf(out, FORWARDING_TEXT_MAX, "UDP GRO forwarding is left as it is: UDP segmentation is off on %s", tun);
        else if (!read_features(fd, ifname, &f) || !change(fd, ifname, &f))
                snprintf(out, FORWARDING_TEXT_MAX, "UDP GRO forwarding cannot be changed on %s: %s", ifname, strerror(errno));
        free_features(&f);
        if (fd >= 0)
                close(fd);
        if (out[0] == '\0')
                forwarding_check_gro(tun, out);   /* the card may have refused without a word */
}
