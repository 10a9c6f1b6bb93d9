#include "daemon/host/osdns.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/thread.h"
#include "daemon/host/hostbus.h"
#include "daemon/host/osdns_direct.h"
#include "daemon/host/osdns_dnsmasq.h"
#include "daemon/host/osdns_resolvconf.h"
#include "daemon/host/osdns_worker.h"
#include "daemon/host/patience.h"

struct osdns {
        struct watch watch;
        int worker_fd;
        pthread_t thread;
        char ifname[IFNAMSIZ];
        struct osdns_callbacks cb;
        void *arg;
        /* One request is under way at most, so that its socket never fills; the newest wish waits. */
        struct osdns_request next;
        bool waiting;
        bool under_way;
        uint32_t seq;
        struct osdns_report report; /* the newest */
};

static void *thread_main(void *arg)
{
        struct osdns *o = arg;
        osdns_worker_run(o->worker_fd, o->ifname);
        return NULL;
}

static void ask(struct osdns *o)
{
        if (!o->waiting || o->under_way)
                return;
        o->next.seq = ++o->seq != 0 ? o->seq : ++o->seq;
        o->waiting = false;
        if (send(o->watch.fd, &o->next, sizeof(o->next), MSG_NOSIGNAL | MSG_DONTWAIT) ==
            (ssize_t)sizeof(o->next)) {
                o->under_way = true;
        } else {
                log_err("DNS: the helper cannot be reached: %s", strerror(errno));
                osdns_config_clear(&o->next.config);
        }
        o->next = (struct osdns_request){0};
}

static void take(struct osdns *o, const struct osdns_report *r)
{
        struct osdns_report old = o->report;
        o->report = *r;
        if (r->seq != 0 && r->seq == o->seq)
                o->under_way = false;
        ask(o);
        bool changed =
                old.mode != r->mode || old.has_base != r->has_base || !osdns_config_eq(&old.base, &r->base);
        osdns_config_clear(&old.base);
        if (strcmp(old.trouble, r->trouble) != 0)
                o->cb.on_trouble(o->arg, o->report.trouble);
        if (changed)
                o->cb.on_change(o->arg);
        if (osdns_is_settled(o) && o->cb.on_settled != NULL)
                o->cb.on_settled(o->arg);
}

static void on_report(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct osdns *o = container_of(w, struct osdns, watch);
        struct osdns_report r;
        ssize_t n = recv(w->fd, &r, sizeof(r), MSG_DONTWAIT);
        if (n == (ssize_t)sizeof(r))
                take(o, &r);
        else if (n >= 0)
                loop_change(w, 0); /* it ended; it has said why */
}

struct osdns *osdns_open(struct loop *l, const char *ifname, const struct osdns_callbacks *cb, void *arg)
{
        int pair[2] = {-1, -1};
        struct osdns *o = calloc(1, sizeof(*o));
        if (o == NULL)
                return NULL;
        o->cb = *cb;
        o->arg = arg;
        (void)str_copy(o->ifname, sizeof(o->ifname), ifname);
        watch_init(&o->watch, on_report);
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
                goto fail;
        o->worker_fd = pair[1];
        if (loop_watch(l, &o->watch, pair[0], LOOP_READ) != ERR_NONE)
                goto fail;
        int rc = thread_start(&o->thread, thread_main, o);
        if (rc != 0) {
                errno = rc;
                goto fail;
        }
        osdns_recheck(o);
        return o;
fail:
        rc = errno;
        loop_unwatch(&o->watch);
        if (pair[0] >= 0) {
                close(pair[0]);
                close(pair[1]);
        }
        free(o);
        errno = rc;
        return NULL;
}

void osdns_free(struct osdns *o)
{
        if (o == NULL)
                return;
        struct osdns_report unread;
        int fd = o->watch.fd;
        loop_unwatch(&o->watch);
        patience_ends(mono_add_ms(mono_now(), PATIENCE_UNDER_WAY_MS));
        (void)shutdown(fd, SHUT_WR);   /* the worker cleans up and ends */
        while (recv(fd, &unread, sizeof(unread), 0) == (ssize_t)sizeof(unread))
                osdns_config_clear(&unread.base);
        pthread_join(o->thread, NULL);
        patience_ends(MONO_NEVER);
        close(fd);
        osdns_config_clear(&o->next.config);
        osdns_config_clear(&o->report.base);
        free(o);
}

void osdns_set(struct osdns *o, struct osdns_config *c)
{
        osdns_config_clear(&o->next.config);
        o->next.has_config = true;
        o->next.config = *c;
        *c = (struct osdns_config){0};
        o->waiting = true;
        ask(o);
}

void osdns_recheck(struct osdns *o)
{
        o->waiting = true;
        ask(o);
}

enum osdns_mode osdns_mode(const struct osdns *o)
{
        return o->report.mode;
}

bool osdns_can_split(const struct osdns *o)
{
        return osdns_mode_can_split(o->report.mode);
}

const struct osdns_config *osdns_base(const struct osdns *o)
{
        return o->report.has_base ? &o->report.base : NULL;
}

const char *osdns_trouble(const struct osdns *o)
{
        return o->report.trouble;
}

bool osdns_is_settled(const struct osdns *o)
{
        return !o->waiting && !o->under_way;
}

/* Settings of an interface go with it; one that others made persistent keeps them. */
static void revert_link(const char *ifname)
{
        char why[HOSTBUS_WHY_MAX];
        struct nm_facts nm;
        int ifindex = (int)if_nametoindex(ifname);
        struct hostbus *b = ifindex != 0 ? hostbus_open(NULL, NULL, NULL, why) : NULL;
        if (b != NULL && hostbus_resolved_revert(b, ifindex, why) != ERR_NONE)
                log_debug(1, "%s", why);
        hostbus_ask_nm(b, &nm);
        if (nm_overrides_resolved(&nm) && hostbus_nm_revert(b, ifname, why) != ERR_NONE)
                log_debug(1, "%s", why);
        hostbus_close(b);
}

void osdns_cleanup(const char *ifname)
{
        static const enum resolvconf_kind kinds[] = {RESOLVCONF_DEBIAN, RESOLVCONF_OPENRESOLV};
        char why[OSDNS_TROUBLE_MAX];
        if (direct_restore(&direct_default_paths, why) != ERR_NONE)
                log_warn("DNS: %s", why);
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
                if (resolvconf_has_leftovers(kinds[i]) && resolvconf_restore(kinds[i], why) != ERR_NONE)
                        log_warn("DNS: %s", why);
        dnsmasq_cleanup();
        revert_link(ifname);
}
