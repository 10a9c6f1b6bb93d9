#include "daemon/host/osdns_worker.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "daemon/host/hostbus.h"
#include "daemon/host/limiter.h"
#include "daemon/host/osdns_direct.h"
#include "daemon/host/osdns_dnsmasq.h"
#include "daemon/host/osdns_resolvconf.h"
#include "daemon/host/patience.h"

enum { SETTLE_MS = 100, RETRY_FIRST_MS = 1000, RETRY_MAX_MS = 30000 };

static const struct limiter no_turn_used = {.burst = 9, .every_ms = 10000};

struct worker {
        struct loop *loop;
        struct watch socket;
        struct watch inotify;
        int watched[2];    /* inotify's numbers of the file and the kept one; -1 = none */
        struct timer look; /* something changed: look at all of it */
        int64_t retry_ms;
        char ifname[IFNAMSIZ];
        struct hostbus *bus; /* NULL: none at the moment */
        struct dnsmasq_setup dnsmasq;
        enum osdns_mode mode;
        enum resolvconf_kind resolvconf;
        struct osdns_config wanted;
        bool placed;                  /* something of ours may be in place, by `mode` */
        bool reset;                   /* what was placed may be lost without a trace */
        struct osdns_config applied;
        struct limiter limit; /* a DHCP client now and then is answered at once, a fight now and then */
        const char *note; /* of the decision; NULL = none */
        struct osdns_report report, sent;
};

static void look_in(struct worker *w, int64_t ms)
{
        if (!timer_is_armed(&w->look) || mono_diff_ms(w->look.at, loop_now(w->loop)) > ms)
                loop_timer_in(w->loop, &w->look, ms);
}

/* ---- the back-ends ---- */

static enum err place(struct worker *w, char why[OSDNS_TROUBLE_MAX])
{
        const struct osdns_config *c = &w->wanted;
        int ifindex;
        switch (w->mode) {
        case OSDNS_MODE_RESOLVED:
                ifindex = (int)if_nametoindex(w->ifname);
                if (ifindex == 0) {
                        snprintf(why, OSDNS_TROUBLE_MAX, "there is no interface %s to set DNS on", w->ifname);
                        return ERR_NOT_FOUND;
                }
                return hostbus_resolved_set(w->bus, ifindex, c, why);
        case OSDNS_MODE_NM:
                return hostbus_nm_set(w->bus, w->ifname, c, why);
        case OSDNS_MODE_DEBIAN:
        case OSDNS_MODE_OPENRESOLV:
                return resolvconf_set(w->resolvconf, c, why);
        case OSDNS_MODE_DNSMASQ:
                return dnsmasq_set(&w->dnsmasq, c, why);
        case OSDNS_MODE_DIRECT:
                return direct_set(&direct_default_paths, c, why);
        case OSDNS_MODE_UNKNOWN:
                break;
        }
        return ERR_STATE;
}

static enum err take_back(struct worker *w, char why[OSDNS_TROUBLE_MAX])
{
        int ifindex;
        switch (w->mode) {
        case OSDNS_MODE_RESOLVED:
                ifindex = (int)if_nametoindex(w->ifname);
                return ifindex != 0 ? hostbus_resolved_revert(w->bus, ifindex, why) : ERR_NONE;
        case OSDNS_MODE_NM:
                return if_nametoindex(w->ifname) != 0 ? hostbus_nm_revert(w->bus, w->ifname, why) : ERR_NONE;
        case OSDNS_MODE_DEBIAN:
        case OSDNS_MODE_OPENRESOLV:
                return resolvconf_restore(w->resolvconf, why);
        case OSDNS_MODE_DNSMASQ:
                return dnsmasq_restore(w->dnsmasq.conf_dir, why);
        case OSDNS_MODE_DIRECT:
                return direct_restore(&direct_default_paths, why);
        case OSDNS_MODE_UNKNOWN:
                break;
        }
        return ERR_NONE;
}

/* What we placed is still there, unharmed. */
static bool is_intact(struct worker *w)
{
        switch (w->mode) {
        case OSDNS_MODE_DEBIAN:
        case OSDNS_MODE_OPENRESOLV:
                return resolvconf_is_set(&w->applied);
        case OSDNS_MODE_DNSMASQ:
                return w->applied.server_count == 0 || dnsmasq_is_set(w->dnsmasq.conf_dir, &w->applied);
        case OSDNS_MODE_DIRECT:
                return direct_is_set(&direct_default_paths, &w->applied);
        case OSDNS_MODE_RESOLVED:
        case OSDNS_MODE_NM:
                return !w->reset;
        case OSDNS_MODE_UNKNOWN:
                break;
        }
        return true;
}

/* ---- looking ---- */

static bool nss_asks_resolved(void)
{
        enum { NSSWITCH_MAX = 16384 };   /* not on the stack, where it would stay */
        char *text = malloc(NSSWITCH_MAX);
        size_t n = text != NULL ? file_head("/etc/nsswitch.conf", text, NSSWITCH_MAX) : 0;
        bool asks = n > 0 && nsswitch_asks_resolved(text, n);
        free(text);
        return asks;
}

static void on_bus_change(void *arg)
{
        struct worker *w = arg;
        w->reset = true;
        look_in(w, SETTLE_MS);
}

static void open_bus(struct worker *w)
{
        char why[HOSTBUS_WHY_MAX];
        if (w->bus != NULL && !hostbus_is_open(w->bus)) {
                hostbus_close(w->bus);
                w->bus = NULL;
                w->reset = true;
        }
        if (w->bus == NULL)
                w->bus = hostbus_open(w->loop, on_bus_change, w, why);
        if (w->bus == NULL)
                log_debug(1, "D-Bus: %s", why);
}

/* The bus first: a systemd-resolved that it starts writes resolv.conf. */
static enum osdns_mode decide(struct worker *w)
{
        struct osdns_facts f = {0};
        struct resolvfile file = {0};
        open_bus(w);
        f.resolved_answers = hostbus_resolved_answers(w->bus);
        if (direct_base(&direct_default_paths, &file) != ERR_NONE)
                log_warn("/etc/resolv.conf cannot be read: %s", strerror(errno));
        f.owner = file.owner;
        f.resolvconf_signed = file.resolvconf_signed;
        f.only_stub = file.only_stub;
        f.only_loopback = file.only_loopback;
        resolvfile_done(&file);
        f.nss_resolve = nss_asks_resolved();
        if (f.owner == RESOLV_OWNER_RESOLVED || f.owner == RESOLV_OWNER_NETWORKMANAGER)
                hostbus_ask_nm(w->bus, &f.nm);
        /* While our hook or our record is in force the file may not say so. */
        bool ours = w->placed && (w->mode == OSDNS_MODE_DEBIAN || w->mode == OSDNS_MODE_OPENRESOLV);
        if (f.resolvconf_signed)
                f.resolvconf = ours ? w->resolvconf : resolvconf_probe();
        if (f.only_loopback && !f.only_stub)
                f.dnsmasq_usable = dnsmasq_probe(&w->dnsmasq);
        w->resolvconf = f.resolvconf;
        return osdns_decide(&f, w->mode, &w->note);
}

static void read_base(struct worker *w)
{
        struct resolvfile base = {0};
        enum err e = ERR_UNSUPPORTED;
        if (w->mode == OSDNS_MODE_DIRECT)
                e = direct_base(&direct_default_paths, &base);
        else if (w->mode == OSDNS_MODE_DEBIAN || w->mode == OSDNS_MODE_OPENRESOLV)
                e = resolvconf_base(w->resolvconf, &base);
        if (e == ERR_NONE) {
                w->report.has_base = true;
                osdns_config_clear(&w->report.base);
                w->report.base = base.config;
        } else if (e != ERR_UNSUPPORTED) {   /* what was known still counts */
                log_warn("DNS: what this host uses without us cannot be read: %s", err_str(e));
                look_in(w, RETRY_MAX_MS);
        }
}

/* inotify follows a link to the file it names, so a DHCP client that writes only there is seen too. */
static void watch_file(struct worker *w, size_t i, const char *path)
{
        int wd = inotify_add_watch(w->inotify.fd, path, IN_CLOSE_WRITE | IN_DELETE_SELF | IN_ATTRIB);
        if (w->watched[i] >= 0 && w->watched[i] != wd && w->watched[1 - i] != w->watched[i])
                (void)inotify_rm_watch(w->inotify.fd, w->watched[i]);
        w->watched[i] = wd;
}

static void watch_files(struct worker *w)
{
        if (w->inotify.fd < 0)
                return;
        watch_file(w, 0, direct_default_paths.file);
        watch_file(w, 1, direct_default_paths.backup);
}

/* ---- doing ---- */

/* False: some of what was placed may still be there. */
static bool leave(struct worker *w, char why[OSDNS_TROUBLE_MAX])
{
        if (w->placed && take_back(w, why) != ERR_NONE) {
                w->reset = true;
                return false;
        }
        w->placed = false;
        return true;
}

static void leave_for_good(struct worker *w)
{
        char why[OSDNS_TROUBLE_MAX] = "";
        if (!leave(w, why))
                log_warn("DNS: %s", why);
        w->placed = false;
}

static void enter_mode(struct worker *w, enum osdns_mode m)
{
        if (m == w->mode)
                return;
        leave_for_good(w);
        log_info("DNS of this host: %s", osdns_mode_str(m));
        w->mode = m;
        w->report.has_base = false;
        osdns_config_clear(&w->report.base);
        w->limit = no_turn_used;
}

static void trouble(struct worker *w, const char *text)
{
        (void)str_copy(w->report.trouble, sizeof(w->report.trouble), text);
}

/* False: others overwrite ours faster than it is worth putting back; looks again when it may be. */
static bool may_put_back(struct worker *w)
{
        mono_t now = loop_now(w->loop), turn = limiter_next(&w->limit, now);
        if (mono_reached(now, turn))
                return true;
        trouble(w, "another program keeps overwriting the DNS settings of this host, so names of the tailnet "
                   "may not resolve; stop it, or run `tailscale set --accept-dns=false`");
        look_in(w, mono_diff_ms(turn, now) + 1);
        return false;
}

static void try_again_later(struct worker *w, const char *why)
{
        trouble(w, why);
        look_in(w, w->retry_ms);
        w->retry_ms = w->retry_ms * 2 < RETRY_MAX_MS ? w->retry_ms * 2 : RETRY_MAX_MS;
}

static void apply(struct worker *w)
{
        char why[OSDNS_TROUBLE_MAX] = "";
        trouble(w, w->note != NULL ? w->note : "");
        if (osdns_config_is_empty(&w->wanted)) {
                if (!leave(w, why))
                        try_again_later(w, why);
                return;
        }
        bool same = w->placed && osdns_config_eq(&w->applied, &w->wanted), calm = may_put_back(w);
        if (same && is_intact(w))
                return;
        bool by_bus = w->mode == OSDNS_MODE_RESOLVED || w->mode == OSDNS_MODE_NM;   /* reset, not overwritten */
        if (same && !by_bus) {
                if (!calm)
                        return;
                log_info("DNS: the settings were overwritten; putting them back");
                limiter_take(&w->limit, loop_now(w->loop));
        }
        enum err e = place(w, why);
        if (e == ERR_NONE) {
                w->placed = true;
                w->reset = false;
                if (osdns_config_copy(&w->applied, &w->wanted) != ERR_NONE)
                        log_err("DNS: out of memory: the next look sets all of it again");
                w->retry_ms = RETRY_FIRST_MS;
                return;
        }
        w->reset = true;
        try_again_later(w, why);
}

static bool is_news(const struct osdns_report *r, const struct osdns_report *sent)
{
        return r->mode != sent->mode || r->has_base != sent->has_base || !osdns_config_eq(&r->base, &sent->base) ||
               strcmp(r->trouble, sent->trouble) != 0;
}

static void send_report(struct worker *w, uint32_t seq)
{
        if (seq == 0 && !is_news(&w->report, &w->sent))
                return;
        if (strcmp(w->report.trouble, w->sent.trouble) != 0 && w->report.trouble[0] != '\0')
                log_warn("DNS: %s", w->report.trouble);
        osdns_config_clear(&w->sent.base);
        w->sent = w->report;
        w->sent.seq = seq;
        w->sent.base = (struct osdns_config){0};
        struct osdns_report r = w->sent;
        if (osdns_config_copy(&w->sent.base, &w->report.base) != ERR_NONE ||
            osdns_config_copy(&r.base, &w->report.base) != ERR_NONE)
                w->sent.has_base = r.has_base = false;   /* it is news again when there is memory */
        if (send(w->socket.fd, &r, sizeof(r), MSG_NOSIGNAL) != (ssize_t)sizeof(r))
                osdns_config_clear(&r.base);
}

static void look_and_do(struct worker *w, uint32_t seq)
{
        loop_timer_stop(&w->look);
        enter_mode(w, decide(w));
        apply(w);
        read_base(w);
        watch_files(w);
        w->report.mode = w->mode;
        send_report(w, seq);
}

static void on_look(struct timer *t, mono_t now)
{
        (void)now;
        look_and_do(container_of(t, struct worker, look), 0);
}

static bool concerns_us(const struct inotify_event *e)
{
        static const char *const names[] = {"resolv.conf", "nsswitch.conf"};
        for (size_t i = 0; e->len > 0 && i < sizeof(names) / sizeof(names[0]); i++)
                if (strcmp(e->name, names[i]) == 0)
                        return true;
        return e->len == 0; /* of a watched file, or events were lost */
}

static void on_inotify(struct watch *watch, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct worker *w = container_of(watch, struct worker, inotify);
        char data[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        ssize_t n = read(watch->fd, data, sizeof(data));
        for (char *p = data; n > 0 && p < data + n;) {
                const struct inotify_event *e = (const void *)p;
                if (concerns_us(e))
                        look_in(w, SETTLE_MS);
                p += sizeof(*e) + e->len;
        }
}

static void on_request(struct watch *watch, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct worker *w = container_of(watch, struct worker, socket);
        struct osdns_request r;
        ssize_t n = recv(watch->fd, &r, sizeof(r), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n != (ssize_t)sizeof(r)) {
                loop_stop(w->loop);
                return;
        }
        if (r.has_config) {
                osdns_config_clear(&w->wanted);
                w->wanted = r.config;
        }
        w->retry_ms = RETRY_FIRST_MS;
        look_and_do(w, r.seq);
}

static bool open_watches(struct worker *w, int fd)
{
        watch_init(&w->socket, on_request);
        watch_init(&w->inotify, on_inotify);
        timer_init(&w->look, on_look);
        if (loop_watch(w->loop, &w->socket, fd, LOOP_READ) != ERR_NONE)
                return false;
        int in = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (in < 0 ||
            inotify_add_watch(in, "/etc",
                              IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE) < 0 ||
            loop_watch(w->loop, &w->inotify, in, LOOP_READ) != ERR_NONE) {
                log_warn("changes of /etc/resolv.conf will go unnoticed: %s", strerror(errno));
                if (in >= 0)
                        close(in);
        }
        return true;
}

void osdns_worker_run(int fd, const char *ifname)
{
        struct worker *w = calloc(1, sizeof(*w));
        if (w == NULL || (w->loop = loop_new()) == NULL) {
                free(w);
                close(fd);
                return;
        }
        w->retry_ms = RETRY_FIRST_MS;
        w->limit = no_turn_used;
        w->watched[0] = w->watched[1] = -1;
        (void)str_copy(w->ifname, sizeof(w->ifname), ifname);
        if (open_watches(w, fd)) {
                loop_run(w->loop);
                patience_ends(mono_add_ms(mono_now(), PATIENCE_STOP_MS - PATIENCE_UNDER_WAY_MS));
                leave_for_good(w);
        }
        loop_timer_stop(&w->look);
        hostbus_close(w->bus);
        int in = w->inotify.fd;
        loop_unwatch(&w->inotify);
        if (in >= 0)
                close(in);
        loop_unwatch(&w->socket);
        close(fd);
        loop_free(w->loop);
        osdns_config_clear(&w->wanted);
        osdns_config_clear(&w->applied);
        osdns_config_clear(&w->report.base);
        osdns_config_clear(&w->sent.base);
        free(w);
}
