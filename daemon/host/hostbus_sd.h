/* daemon/host/hostbus_sd.h - hostbus.h over libsystemd: what its files share, and nobody else sees. */
#pragma once

#include <systemd/sd-bus.h>

#include "daemon/host/hostbus.h"

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
        X(sd_bus_message_set_auto_start)                                                                     \
        X(sd_bus_message_appendv)                                                                            \
        X(sd_bus_message_append_array)                                                                       \
        X(sd_bus_message_open_container)                                                                     \
        X(sd_bus_message_close_container)                                                                    \
        X(sd_bus_message_read)                                                                               \
        X(sd_bus_message_enter_container)                                                                    \
        X(sd_bus_message_exit_container)                                                                     \
        X(sd_bus_message_skip)                                                                               \
        X(sd_bus_message_copy)                                                                               \
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
        int64_t call_ms; /* how long a call may wait */
        bool changed;
        bool closed;
};

/* Sends m (may be NULL: building it failed with rc), takes its reference, waits and hands out the answer. */
int hostbus_call(struct hostbus *b, sd_bus_message *m, int rc, sd_bus_error *error, sd_bus_message **ret_reply);
/* Asks an object whether it is there; starts its program, where it is set up to be started by the bus. */
bool hostbus_ping(struct hostbus *b, const char *dest, const char *path);
/* How a call went, in words; frees the error. */
enum err hostbus_said(struct hostbus *b, const char *who, const char *method, int rc, sd_bus_error *error,
                      char why[HOSTBUS_WHY_MAX]);
/* b is NULL: says so. */
bool hostbus_is_there(const struct hostbus *b, char why[HOSTBUS_WHY_MAX]);
