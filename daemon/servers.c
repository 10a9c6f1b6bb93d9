#include "daemon/servers.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

/* Ours alone: {"host": ["address", ...], ...} */
#define SERVERS_KEY "_server-addresses"

/* New reference; an empty object when nothing of use is there. */
static json_t *load(const struct state_file *store)
{
        size_t len;
        const char *text = state_file_get(store, SERVERS_KEY, &len);
        json_t *all = text != NULL ? json_parse(text, len) : NULL;
        if (json_is_object(all) && json_object_size(all) <= SERVERS_MAX)
                return all;
        json_decref(all);
        return json_object();
}

void servers_load(const struct state_file *store, struct dialer *d)
{
        const char *host;
        json_t *all = load(store), *list;
        json_object_foreach(all, host, list) {
                struct ip ip;
                for (size_t i = json_array_size(list); i-- > 0;) {   /* the newest last */
                        const char *text = json_string_value(json_array_get(list, i));
                        if (text != NULL && ip_parse(text, &ip) == ERR_NONE)
                                dialer_remember(d, host, ip);
                }
        }
        json_decref(all);
}

void servers_save(struct state_file *store, const struct dialer *d, const char *host)
{
        struct ip ips[LASTGOOD_ADDRS];
        size_t n = dialer_remembered(d, host, ips);
        if (n == 0)
                return;
        json_t *all = load(store), *list = json_array();
        for (size_t i = 0; i < n; i++) {
                char text[IP_STR_MAX];
                json_array_append_new(list, json_string(ip_str(ips[i], text)));
        }
        if (json_object_get(all, host) == NULL && json_object_size(all) == SERVERS_MAX)
                json_object_clear(all);
        json_object_set_new(all, host, list);
        char *text = json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS);
        json_decref(all);
        if (text == NULL)
                return;
        if (state_file_set(store, SERVERS_KEY, text, strlen(text)) == ERR_NONE)
                state_file_save_later(store);
        free(text);
}
