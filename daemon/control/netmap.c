#include "daemon/control/netmap.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

void netmap_init(struct netmap *m)
{
        memset(m, 0, sizeof(*m));
}

void netmap_done(struct netmap *m)
{
        free(m->self);
        for (size_t i = 0; i < m->peer_count; i++)
                free(m->peers[i]);
        free(m->peers);
        for (size_t i = 0; i < m->user_count; i++)
                free(m->users[i]);
        free(m->users);
        for (size_t i = 0; i < m->rule_count; i++)
                free(m->rules[i]);
        free(m->rules);
        for (char **h = m->health; h != NULL && *h != NULL; h++)
                free(*h);
        free(m->health);
        derpmap_free(m->derpmap);
        json_decref(m->packet_filter);
        json_decref(m->dns);
        json_decref(m->ssh_policy);
        json_decref(m->display_messages);
        free(m->domain);
        free(m->magic_dns_suffix);
        memset(m, 0, sizeof(*m));
}

/* Index of the first peer with at least this id; of the first user below. */
static size_t peer_bound(const struct netmap *m, int64_t id)
{
        size_t lo = 0;
        size_t hi = m->peer_count;
        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;
                if (m->peers[mid]->id < id)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo;
}

static size_t user_bound(const struct netmap *m, int64_t id)
{
        size_t lo = 0;
        size_t hi = m->user_count;
        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;
                if (m->users[mid]->id < id)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo;
}

const struct netmap_node *netmap_peer(const struct netmap *m, int64_t id)
{
        size_t i = peer_bound(m, id);
        return i < m->peer_count && m->peers[i]->id == id ? m->peers[i] : NULL;
}

const struct netmap_node *netmap_peer_after(const struct netmap *m, int64_t id)
{
        size_t i = id < INT64_MAX ? peer_bound(m, id + 1) : m->peer_count;
        return i < m->peer_count ? m->peers[i] : NULL;
}

const struct netmap_user *netmap_user(const struct netmap *m, int64_t id)
{
        size_t i = user_bound(m, id);
        return i < m->user_count && m->users[i]->id == id ? m->users[i] : NULL;
}

const struct netmap_user *netmap_user_after(const struct netmap *m, int64_t id)
{
        size_t i = id < INT64_MAX ? user_bound(m, id + 1) : m->user_count;
        return i < m->user_count ? m->users[i] : NULL;
}

const struct netmap_node *netmap_by_key(const struct netmap *m, const struct node_public *key)
{
        if (m->self != NULL && node_public_eq(&m->self->key, key))
                return m->self;
        for (size_t i = 0; i < m->peer_count; i++)
                if (node_public_eq(&m->peers[i]->key, key))
                        return m->peers[i];
        return NULL;
}

static bool has_address(const struct netmap_node *n, struct ip ip)
{
        for (uint32_t i = 0; i < n->address_count; i++)
                if (ip_eq(n->addresses[i].ip, ip))
                        return true;
        return false;
}

const struct netmap_node *netmap_by_ip(const struct netmap *m, struct ip ip)
{
        if (m->self != NULL && has_address(m->self, ip))
                return m->self;
        for (size_t i = 0; i < m->peer_count; i++)
                if (has_address(m->peers[i], ip))
                        return m->peers[i];
        return NULL;
}

/* Parsing every peer's capabilities for one that few have costs more than all that is done with it.  A name that JSON writes
 * in another way is looked for by the parser. */
static bool may_name(const char *json, const char *cap)
{
        for (const char *p = cap; *p != '\0'; p++)
                if ((unsigned char)*p < ' ' || *p == '"' || *p == '\\')
                        return true;
        return strstr(json, cap) != NULL;
}

bool netmap_node_has_cap(const struct netmap_node *n, const char *cap)
{
        if (!may_name(n->cap_map, cap))
                return false;
        json_t *caps = json_parse(n->cap_map, strlen(n->cap_map));
        bool has = json_object_get(caps, cap) != NULL;
        json_decref(caps);
        return has;
}
