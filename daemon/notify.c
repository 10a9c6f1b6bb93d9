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

struct lapi_source notify_message(json_t *o, const struct notify_member *members, size_t n)
{
        struct lapi_source parts[2 + 2 * NOTIFY_MEMBERS_MAX];
        size_t count = 1;
        for (size_t i = 0; i < n; i++) {
                json_object_del(o, members[i].name);
                struct buf name;
                buf_init(&name, 256);
                buf_printf(&name, ",\"%s\":", members[i].name);
                parts[count++] = lapi_source_text(buf_take(&name));
                parts[count++] = members[i].source;
        }
        char *head = lapi_stream_line(o);
        json_decref(o);
        if (n > 0 && head != NULL)
                head[strlen(head) - 1] = '\0';   /* which has members: it goes on */
        parts[0] = lapi_source_text(head);
        if (n > 0)
                parts[count++] = lapi_source_text(strdup("}"));
        return lapi_source_join(parts, count);
}

void notify_watch(struct notify *n, struct lapi_req *r, uint64_t mask, struct lapi_source first)
{
        struct watcher *w = calloc(1, sizeof(*w));
        if (w == NULL) {
                lapi_source_done(&first);
                lapi_reply_text(r, 500, "out of memory");
                return;
        }
        w->mask = mask;
        w->owner = n;
        w->next = n->watchers;
        n->watchers = w;
        w->stream = lapi_stream_start(r, on_gone, w);
        if (w->stream == NULL) {
                on_gone(w);
                lapi_source_done(&first);
        } else if (first.arg != NULL) {
                (void)lapi_stream_send_source(w->stream, first, 0, NULL);
        }
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

void notify_post_source(struct notify *n, const char *key, const struct notify_maker *m)
{
        for (struct watcher *w = n->watchers, *next; w != NULL; w = next) {
                next = w->next;
                if (!wants(w, key) || (m->is_state && lapi_stream_waits(w->stream, key)))
                        continue;
                struct notify_member member = {key, m->make(m->arg)};
                (void)lapi_stream_send_source(w->stream, notify_message(notify_object(n), &member, 1), m->weight, key);
        }
}
