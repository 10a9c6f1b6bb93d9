#include "daemon/host/hostbus.h"

#include <dlfcn.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "base/log.h"

#define RESOLVE1      "org.freedesktop.resolve1"
#define RESOLVE1_PATH "/org/freedesktop/resolve1"
#define MANAGER       "org.freedesktop.resolve1.Manager"
#define NM            "org.freedesktop.NetworkManager"
#define NM_PATH       "/org/freedesktop/NetworkManager"
#define NM_DNS        "org.freedesktop.NetworkManager.DnsManager"
#define NM_DNS_PATH   "/org/freedesktop/NetworkManager/DnsManager"
#define SYSTEMD_LIB   "libsystemd.so.0"

/* One list for declaring, loading and calling. */
#define SD_FUNCTIONS(X)                                                                                      \
        X(sd_bus_open_system)                                                                                \
        X(sd_bus_flush_close_unref)                                                                          \
        X(sd_bus_is_open)                                                                                    \
        X(sd_bus_get_fd)                                                                                     \
        X(sd_bus_process)                                                                                    \
        X(sd_bus_call)                                                                                       \
        X(sd_bus_add_match)                                                                                  \
        X(sd_bus_message_new_method_call)                                                                    \
        X(sd_bus_message_append)                                                                             \
        X(sd_bus_message_append_array)                                                                       \
        X(sd_bus_message_open_container)                                                                     \
        X(sd_bus_message_close_container)                                                                    \
        X(sd_bus_message_read)                                                                               \
        X(sd_bus_message_enter_container)                                                                    \
        X(sd_bus_message_unref)                                                                              \
        X(sd_bus_error_free)                                                                                 \
        X(sd_bus_error_has_name)

struct sd {
#define X(f) __typeof__(f) *f;
        SD_FUNCTIONS(X)
#undef X
};

struct hostbus {
        struct sd sd;
        sd_bus *bus;
        struct loop *loop;
        struct watch watch;
        struct timer later; /* signals that arrived while a call waited lie in the library's queue */
        void (*on_change)(void *arg);
        void *arg;
        bool changed;
        bool closed;
};

static bool load(struct hostbus *b, char why[HOSTBUS_WHY_MAX])
{
        void *lib = dlopen(SYSTEMD_LIB, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        if (lib == NULL) {
                snprintf(why, HOSTBUS_WHY_MAX, SYSTEMD_LIB " is not installed");
                return false;
        }
        bool ok = true;
/* POSIX's way to turn dlsym()'s result into a function. */
#define X(f) ok = (*(void **)(void *)&b->sd.f = dlsym(lib, #f)) != NULL && ok;
        SD_FUNCTIONS(X)
#undef X
        if (!ok)
                snprintf(why, HOSTBUS_WHY_MAX, SYSTEMD_LIB " is too old");
        return ok;
}

static int on_owner_changed(sd_bus_message *m, void *arg, sd_bus_error *error)
{
        (void)m;
        (void)error;
        struct hostbus *b = arg;
        b->changed = true;
        return 0;
}

static void drain(struct hostbus *b)
{
        int n;
        do {
                n = b->sd.sd_bus_process(b->bus, NULL);
        } while (n > 0);
        if (n < 0 || b->sd.sd_bus_is_open(b->bus) <= 0) {
                b->closed = b->changed = true;
                loop_unwatch(&b->watch);
        }
        if (b->changed) {
                b->changed = false;
                b->on_change(b->arg);
        }
}

static void on_readable(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        drain(container_of(w, struct hostbus, watch));
}

static void on_later(struct timer *t, mono_t now)
{
        (void)now;
        struct hostbus *b = container_of(t, struct hostbus, later);
        if (!b->closed)
                drain(b);
}

static bool watch_bus(struct hostbus *b)
{
        if (b->loop == NULL)
                return true;
        static const char match[] =
                "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" RESOLVE1 "'";
        if (b->sd.sd_bus_add_match(b->bus, NULL, match, on_owner_changed, b) < 0)
                return false;
        return loop_watch(b->loop, &b->watch, b->sd.sd_bus_get_fd(b->bus), LOOP_READ) == ERR_NONE;
}

struct hostbus *hostbus_open(struct loop *l, void (*on_change)(void *arg), void *arg,
                             char why[HOSTBUS_WHY_MAX])
{
        struct hostbus *b = calloc(1, sizeof(*b));
        if (b == NULL) {
                snprintf(why, HOSTBUS_WHY_MAX, "out of memory");
                return NULL;
        }
        b->loop = l;
        b->on_change = on_change;
        b->arg = arg;
        watch_init(&b->watch, on_readable);
        timer_init(&b->later, on_later);
        if (!load(b, why))
                goto fail;
        int rc = b->sd.sd_bus_open_system(&b->bus);
        if (rc < 0) {
                snprintf(why, HOSTBUS_WHY_MAX, "no system bus: %s", strerror(-rc));
                b->bus = NULL;
                goto fail;
        }
        if (watch_bus(b))
                return b;
        snprintf(why, HOSTBUS_WHY_MAX, "the system bus cannot be watched");
fail:
        hostbus_close(b);
        return NULL;
}

void hostbus_close(struct hostbus *b)
{
        if (b == NULL)
                return;
        loop_timer_stop(&b->later);
        loop_unwatch(&b->watch);
        if (b->bus != NULL)
                b->sd.sd_bus_flush_close_unref(b->bus);
        free(b); /* the library stays loaded: it keeps data by thread and was not made to be unloaded */
}

bool hostbus_is_open(const struct hostbus *b)
{
        return !b->closed;
}

/* Sends m (may be NULL: building it failed with rc), takes its reference, hands out the answer. */
static int call(struct hostbus *b, sd_bus_message *m, int rc, sd_bus_error *error, sd_bus_message **ret_reply)
{
        if (rc >= 0 && b->closed)
                rc = -ENOTCONN;
        if (rc >= 0)
                rc = b->sd.sd_bus_call(b->bus, m, (uint64_t)HOSTBUS_CALL_MS * 1000, error, ret_reply);
        b->sd.sd_bus_message_unref(m);
        if (b->loop != NULL && !b->closed)
                loop_timer_in(b->loop, &b->later, 0);
        return rc;
}

static bool ping(struct hostbus *b, const char *dest, const char *path)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        int rc = b->sd.sd_bus_message_new_method_call(b->bus, &m, dest, path, "org.freedesktop.DBus.Peer",
                                                      "Ping");
        rc = call(b, m, rc, &error, NULL);
        b->sd.sd_bus_error_free(&error);
        return rc >= 0;
}

bool hostbus_resolved_answers(struct hostbus *b)
{
        return b != NULL && ping(b, RESOLVE1, RESOLVE1_PATH);
}

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
        rc = call(b, m, rc, &error, &reply);
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
        if (b == NULL || !ping(b, NM, NM_DNS_PATH))
                return;
        ret->answers = true;
        ret->uses_resolved = get_string(b, NM_DNS_PATH, NM_DNS, "Mode", text, sizeof(text)) &&
                             strcmp(text, "systemd-resolved") == 0;
        if (get_string(b, NM_PATH, NM, "Version", text, sizeof(text)))
                (void)nm_parse_version(text, ret);
}

static int add_servers(struct hostbus *b, sd_bus_message *m, const struct osdns_config *c)
{
        int rc = b->sd.sd_bus_message_open_container(m, 'a', "(iay)");
        for (size_t i = 0; i < c->server_count && rc >= 0; i++) {
                const struct ip *ip = &c->servers[i];
                rc = b->sd.sd_bus_message_open_container(m, 'r', "iay");
                if (rc >= 0)
                        rc = b->sd.sd_bus_message_append(m, "i", ip->family == IP_V4 ? AF_INET : AF_INET6);
                if (rc >= 0)
                        rc = b->sd.sd_bus_message_append_array(m, 'y', ip->b, ip->family == IP_V4 ? 4 : 16);
                if (rc >= 0)
                        rc = b->sd.sd_bus_message_close_container(m);
        }
        return rc >= 0 ? b->sd.sd_bus_message_close_container(m) : rc;
}

static bool is_reverse(const char *name)
{
        size_t n = strlen(name);
        return n >= 5 && strcmp(name + n - 5, ".arpa") == 0;
}

static int add_domains(struct hostbus *b, sd_bus_message *m, const struct osdns_config *c, bool reverse)
{
        int rc = b->sd.sd_bus_message_open_container(m, 'a', "(sb)");
        for (const char *s = osdns_names_next(&c->search, NULL); s != NULL && rc >= 0;
             s = osdns_names_next(&c->search, s))
                rc = b->sd.sd_bus_message_append(m, "(sb)", s, 0);
        for (const char *s = osdns_names_next(&c->match, NULL); s != NULL && rc >= 0;
             s = osdns_names_next(&c->match, s))
                if ((reverse || !is_reverse(s)) && !osdns_names_has(&c->search, s))
                        rc = b->sd.sd_bus_message_append(m, "(sb)", s, 1);
        if (rc >= 0 && c->server_count > 0 && c->match.count == 0)
                rc = b->sd.sd_bus_message_append(m, "(sb)", ".", 1); /* every name comes to this link */
        return rc >= 0 ? b->sd.sd_bus_message_close_container(m) : rc;
}

/* A method of resolved's manager about a link; m gets the index as its first argument. */
static int new_call(struct hostbus *b, const char *method, int ifindex, sd_bus_message **m)
{
        int rc = b->sd.sd_bus_message_new_method_call(b->bus, m, RESOLVE1, RESOLVE1_PATH, MANAGER, method);
        return rc >= 0 ? b->sd.sd_bus_message_append(*m, "i", ifindex) : rc;
}

static enum err said(struct hostbus *b, const char *method, int rc, sd_bus_error *error,
                     char why[HOSTBUS_WHY_MAX])
{
        if (rc < 0)
                snprintf(why, HOSTBUS_WHY_MAX, "systemd-resolved refused %s: %s", method,
                         error->message != NULL ? error->message : strerror(-rc));
        b->sd.sd_bus_error_free(error);
        return rc >= 0 ? ERR_NONE : rc == -ETIMEDOUT ? ERR_TIMEOUT : ERR_IO;
}

static enum err set_servers(struct hostbus *b, int ifindex, const struct osdns_config *c,
                            char why[HOSTBUS_WHY_MAX])
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        int rc = new_call(b, "SetLinkDNS", ifindex, &m);
        if (rc >= 0)
                rc = add_servers(b, m, c);
        return said(b, "SetLinkDNS", call(b, m, rc, &error, NULL), &error, why);
}

static enum err set_domains(struct hostbus *b, int ifindex, const struct osdns_config *c,
                            char why[HOSTBUS_WHY_MAX])
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        int rc = new_call(b, "SetLinkDomains", ifindex, &m);
        if (rc >= 0)
                rc = add_domains(b, m, c, true);
        rc = call(b, m, rc, &error, NULL);
        if (rc == -E2BIG) { /* old versions take few domains; reverse look-ups are the ones to spare */
                b->sd.sd_bus_error_free(&error);
                m = NULL;
                rc = new_call(b, "SetLinkDomains", ifindex, &m);
                if (rc >= 0)
                        rc = add_domains(b, m, c, false);
                rc = call(b, m, rc, &error, NULL);
        }
        return said(b, "SetLinkDomains", rc, &error, why);
}

/* systemd before 240 does not know it, and decides by the domains alone. */
static enum err set_default_route(struct hostbus *b, int ifindex, bool on, char why[HOSTBUS_WHY_MAX])
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        int rc = new_call(b, "SetLinkDefaultRoute", ifindex, &m);
        if (rc >= 0)
                rc = b->sd.sd_bus_message_append(m, "b", on);
        rc = call(b, m, rc, &error, NULL);
        if (rc < 0 && b->sd.sd_bus_error_has_name(&error, "org.freedesktop.DBus.Error.UnknownMethod") > 0)
                rc = 0;
        return said(b, "SetLinkDefaultRoute", rc, &error, why);
}

/* Nothing on our link answers these; names are found without them. */
static void turn_off(struct hostbus *b, int ifindex, const char *method)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        char why[HOSTBUS_WHY_MAX];
        int rc = new_call(b, method, ifindex, &m);
        if (rc >= 0)
                rc = b->sd.sd_bus_message_append(m, "s", "no");
        if (said(b, method, call(b, m, rc, &error, NULL), &error, why) != ERR_NONE)
                log_debug(1, "%s", why);
}

static void flush_caches(struct hostbus *b)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        char why[HOSTBUS_WHY_MAX];
        int rc = b->sd.sd_bus_message_new_method_call(b->bus, &m, RESOLVE1, RESOLVE1_PATH, MANAGER,
                                                      "FlushCaches");
        if (said(b, "FlushCaches", call(b, m, rc, &error, NULL), &error, why) != ERR_NONE)
                log_debug(1, "%s", why);
}

enum err hostbus_resolved_set(struct hostbus *b, int ifindex, const struct osdns_config *c,
                              char why[HOSTBUS_WHY_MAX])
{
        static const char *const unused[] = {"SetLinkLLMNR", "SetLinkMulticastDNS", "SetLinkDNSSEC",
                                             "SetLinkDNSOverTLS"};
        if (b == NULL) {
                snprintf(why, HOSTBUS_WHY_MAX, "the system bus cannot be reached");
                return ERR_CLOSED;
        }
        enum err e = set_servers(b, ifindex, c, why);
        if (e == ERR_NONE)
                e = set_domains(b, ifindex, c, why);
        if (e == ERR_NONE)
                e = set_default_route(b, ifindex, c->server_count > 0 && c->match.count == 0, why);
        if (e != ERR_NONE)
                return e;
        for (size_t i = 0; i < sizeof(unused) / sizeof(unused[0]); i++)
                turn_off(b, ifindex, unused[i]);
        flush_caches(b);
        return ERR_NONE;
}

enum err hostbus_resolved_revert(struct hostbus *b, int ifindex, char why[HOSTBUS_WHY_MAX])
{
        if (b == NULL) {
                snprintf(why, HOSTBUS_WHY_MAX, "the system bus cannot be reached");
                return ERR_CLOSED;
        }
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        int rc = new_call(b, "RevertLink", ifindex, &m);
        return said(b, "RevertLink", call(b, m, rc, &error, NULL), &error, why);
}
