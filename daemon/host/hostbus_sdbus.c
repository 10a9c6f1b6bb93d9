#include "daemon/host/hostbus_sd.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/host/patience.h"

#define SYSTEMD_LIB   "libsystemd.so.0"

/* Where there is no bus the library, which brings five others, would take memory for nothing. */
static bool has_bus(char why[HOSTBUS_WHY_MAX])
{
        const char *set = getenv("DBUS_SYSTEM_BUS_ADDRESS");
        if (set != NULL && set[0] != '\0')
                return true;
        if (access("/run/dbus/system_bus_socket", F_OK) == 0 || access("/var/run/dbus/system_bus_socket", F_OK) == 0)
                return true;
        snprintf(why, HOSTBUS_WHY_MAX, "no system bus: there is no /run/dbus/system_bus_socket");
        return false;
}

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
#define OWNER_OF(name)                                                                                       \
        "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"                          \
        "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" name "'"
        static const char *const match[] = {OWNER_OF("org.freedesktop.resolve1"),
                                            OWNER_OF("org.freedesktop.NetworkManager")};
        for (size_t i = 0; i < sizeof(match) / sizeof(match[0]); i++)
                if (b->sd.sd_bus_add_match(b->bus, NULL, match[i], on_owner_changed, b) < 0)
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
        b->call_ms = HOSTBUS_CALL_MS;
        b->on_change = on_change;
        b->arg = arg;
        watch_init(&b->watch, on_readable);
        timer_init(&b->later, on_later);
        if (!has_bus(why) || !load(b, why))
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

int hostbus_call(struct hostbus *b, sd_bus_message *m, int rc, sd_bus_error *error, sd_bus_message **ret_reply)
{
        if (rc >= 0 && b->closed)
                rc = -ENOTCONN;
        int64_t ms = patience_ms(b->call_ms);
        if (rc >= 0)
                rc = ms > 0 ? b->sd.sd_bus_call(b->bus, m, (uint64_t)ms * 1000, error, ret_reply) : -ETIMEDOUT;
        b->sd.sd_bus_message_unref(m);
        if (b->loop != NULL && !b->closed)
                loop_timer_in(b->loop, &b->later, 0);
        return rc;
}

bool hostbus_ping(struct hostbus *b, const char *dest, const char *path)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        int rc = b->sd.sd_bus_message_new_method_call(b->bus, &m, dest, path, "org.freedesktop.DBus.Peer",
                                                      "Ping");
        rc = hostbus_call(b, m, rc, &error, NULL);
        b->sd.sd_bus_error_free(&error);
        return rc >= 0;
}

enum err hostbus_said(struct hostbus *b, const char *who, const char *method, int rc, sd_bus_error *error,
                      char why[HOSTBUS_WHY_MAX])
{
        if (rc < 0)
                snprintf(why, HOSTBUS_WHY_MAX, "%s refused %s: %s", who, method,
                         error->message != NULL ? error->message : strerror(-rc));
        b->sd.sd_bus_error_free(error);
        return rc >= 0 ? ERR_NONE : rc == -ETIMEDOUT ? ERR_TIMEOUT : ERR_IO;
}

bool hostbus_is_there(const struct hostbus *b, char why[HOSTBUS_WHY_MAX])
{
        if (b == NULL)
                snprintf(why, HOSTBUS_WHY_MAX, "the system bus cannot be reached");
        return b != NULL;
}
