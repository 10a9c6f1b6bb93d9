#include "daemon/control/peercaps.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

/* The only one that a node without a signature may have: it lets in requests over the PeerAPI and no more. */
static const char CAP_INGRESS[] = "https://tailscale.com/cap/ingress";

static bool is_source(const struct filter_rule *r, struct ip src)
{
        for (uint32_t i = 0; i < r->src_count; i++)
                if (r->srcs[i].first.family == src.family && ip_cmp(r->srcs[i].first, src) <= 0 &&
                    ip_cmp(src, r->srcs[i].last) <= 0)
                        return true;
        return false;
}

/* The first grant decides between null and a list; later ones add to it. */
static void grant(json_t *caps, const char *cap, const json_t *values)
{
        json_t *have = json_object_get(caps, cap);
        if (cap[0] == '\0')
                return;
        if (have == NULL)
                (void)json_object_set_new(caps, cap,
                                          json_is_array(values) ? json_copy((json_t *)(uintptr_t)values)
                                                                : json_null());
        else if (json_array_size(values) > 0 && json_is_array(have))
                (void)json_array_extend(have, (json_t *)(uintptr_t)values);
        else if (json_array_size(values) > 0)
                (void)json_object_set_new(caps, cap, json_copy((json_t *)(uintptr_t)values));
}

static void grant_all(json_t *caps, const json_t *g)
{
        size_t i;
        json_t *v;
        const char *cap;
        json_array_foreach(json_arr(g, "Caps"), i, v)
        {
                if (json_is_string(v))
                        grant(caps, json_string_value(v), NULL);
        }
        json_object_foreach(json_obj(g, "CapMap"), cap, v) grant(caps, cap, v);
}

static void grant_rule(json_t *caps, const struct filter_rule *r, struct ip dst)
{
        size_t i, k;
        json_t *g, *to;
        json_array_foreach(r->grants, i, g)
        {
                json_array_foreach(json_arr(g, "Dsts"), k, to)
                {
                        struct prefix p;
                        if (json_is_string(to) && prefix_parse(json_string_value(to), &p) == ERR_NONE &&
                            prefix_contains(p, dst))
                                grant_all(caps, g);
                }
        }
}

static bool is_unsigned(const struct netmap *nm, struct ip src)
{
        const struct netmap_node *n = netmap_by_ip(nm, src);
        return n != NULL && n->unsigned_peerapi_only;
}

static int name_cmp(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Consumes caps; the names in order, as the reference writes them.  NULL for an empty one. */
static json_t *sorted(json_t *caps)
{
        size_t n = json_object_size(caps), i = 0;
        const char **names = malloc((n + 1) * sizeof(*names)), *name;
        json_t *out = n > 0 && names != NULL ? json_object() : NULL, *v;
        if (out != NULL) {
                json_object_foreach(caps, name, v) names[i++] = name;
                qsort(names, n, sizeof(*names), name_cmp);
                for (i = 0; i < n; i++)
                        (void)json_object_set(out, names[i], json_object_get(caps, names[i]));
        }
        free(names);
        json_decref(caps);
        return out;
}

json_t *peercaps(const struct netmap *nm, struct ip src, struct ip dst)
{
        json_t *caps = json_object();
        for (size_t i = 0; caps != NULL && i < nm->rule_count; i++)
                if (nm->rules[i]->grants != NULL && is_source(nm->rules[i], src))
                        grant_rule(caps, nm->rules[i], dst);
        if (json_object_size(caps) > 0 && is_unsigned(nm, src)) {
                json_t *only = json_object(), *ingress = json_object_get(caps, CAP_INGRESS);
                if (ingress != NULL)
                        (void)json_object_set(only, CAP_INGRESS, ingress);
                json_decref(caps);
                caps = only;
        }
        return sorted(caps);
}

json_t *peercaps_self(const struct netmap *nm, struct ip src)
{
        for (uint32_t i = 0; nm->self != NULL && i < nm->self->address_count; i++)
                if (nm->self->addresses[i].ip.family == src.family)
                        return peercaps(nm, src, nm->self->addresses[i].ip);
        return NULL;
}
