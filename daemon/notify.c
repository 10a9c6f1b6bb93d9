#include "daemon/notify.h"

#include <stdlib.h>
#include <string.h>

struct watcher {
        struct lapi_stream *stream;
        uint64_t mask;
        struct notify *owner;
        struct watcher *next;
};

struct notify {
        const char *version;
        struct watcher *watchers;
};

static const char *const fixed[] = {
        "ErrMessage", "LoginFinished", "State", "Prefs", "NetMap", "Engine", "BrowseToURL", "DriveShares",
};

struct notify *notify_new(const char *version)
{
        struct notify *n = calloc(1, sizeof(*n));
        if (n != NULL)
                n->version = version;
        return n;
}

void notify_free(struct notify *n)
{
        if (n == NULL)
                return;
        for (struct watcher *w; (w = n->watchers) != NULL;) {
                n->watchers = w->next;
                free(w);
        }
        free(n);
}

json_t *notify_object(const struct notify *n)
{
        json_t *o = json_object();
        json_object_set_new(o, "Version", json_string(n->version));
        for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
                json_object_set_new(o, fixed[i], json_null());
        return o;
}

bool notify_mask_ok(uint64_t mask)
{
        const uint64_t needs_order = NOTIFY_PEER_CHANGES | NOTIFY_NO_NETMAP | NOTIFY_INITIAL_STATUS |
                NOTIFY_PEER_PATCHES;
        if (mask & NOTIFY_IN_PROCESS)
                return false;
        return !((mask & NOTIFY_RATE_LIMIT) && (mask & needs_order));
}

static void on_gone(void *arg)
{
        struct watcher *w = arg;
        struct watcher **at = &w->owner->watchers;
        while (*at != w)
                at = &(*at)->next;
        *at = w->next;
        free(w);
}

void notify_watch(struct notify *n, struct lapi_req *r, uint64_t mask, json_t *first)
{
        struct watcher *w = calloc(1, sizeof(*w));
        if (w == NULL) {
                json_decref(first);
                lapi_reply_text(r, 500, "out of memory");
                return;
        }
        w->mask = mask;
        w->owner = n;
        w->next = n->watchers;
        n->watchers = w;
        w->stream = lapi_stream_start(r, on_gone, w);
        char *line = first != NULL ? lapi_stream_line(first) : NULL;
        if (w->stream == NULL)
                on_gone(w);
        else if (line != NULL)
                (void)lapi_stream_send(w->stream, line);
        free(line);
        json_decref(first);
}

static bool wants(const struct watcher *w, const char *key)
{
        if (strcmp(key, "NetMap") == 0)
                return !(w->mask & NOTIFY_NO_NETMAP);
        if (strcmp(key, "Engine") == 0)
                return (w->mask & NOTIFY_ENGINE) != 0;
        if (strcmp(key, "PeersChanged") == 0 || strcmp(key, "PeersRemoved") == 0)
                return (w->mask & NOTIFY_PEER_CHANGES) != 0;
        return true;
}

bool notify_wanted(const struct notify *n, const char *key)
{
        for (const struct watcher *w = n->watchers; w != NULL; w = w->next)
                if (wants(w, key))
                        return true;
        return false;
}

void notify_post(struct notify *n, const char *key, json_t *value)
{
        json_t *o = notify_object(n);
        json_object_set_new(o, key, value);
        char *line = notify_wanted(n, key) ? lapi_stream_line(o) : NULL;   /* once: a map may be megabytes */
        for (struct watcher *w = n->watchers, *next; w != NULL && line != NULL; w = next) {
                next = w->next;
                if (wants(w, key))
                        (void)lapi_stream_send(w->stream, line);
        }
        free(line);
        json_decref(o);
}
