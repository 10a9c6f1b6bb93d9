#include "daemon/control/peerset.h"

#include <stdlib.h>
#include <string.h>

/* Index of the first node with at least this id. */
static size_t lower_bound(struct netmap_node *const *at, size_t count, int64_t id)
{
        size_t lo = 0;
        size_t hi = count;
        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;
                if (at[mid]->id < id)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo;
}

static struct netmap_node *find_in(struct netmap_node *const *at, size_t count, int64_t id)
{
        size_t i = lower_bound(at, count, id);
        return i < count && at[i]->id == id ? at[i] : NULL;
}

struct netmap_node *peerset_find(const struct peerset *p, int64_t id)
{
        return find_in(p->next, p->next_count, id);
}

size_t peerset_index(const struct peerset *p, int64_t id)
{
        return lower_bound(p->at, p->count, id);
}

static void note_expiry(struct peerset *p, const struct netmap_node *n)
{
        if (n->key_expiry_ns != 0 && n->key_expiry_ns < p->expiry_floor)
                p->expiry_floor = n->key_expiry_ns;
}

/* Frees a block that left `next`, unless the committed set still has it. */
static void drop(const struct peerset *p, struct netmap_node *n)
{
        if (find_in(p->at, p->count, n->id) != n)
                free(n);
}

static void list_drop(const struct node_list *l, struct netmap_node *n)
{
        if (l->shares != NULL)
                drop(l->shares, n);
        else
                free(n);
}

enum err node_list_add(struct node_list *l, struct netmap_node *n)
{
        if (l->count == l->cap) {
                size_t cap = l->cap == 0 ? 16 : l->cap * 2;
                struct netmap_node **at =
                        l->count < NETMAP_PEERS_MAX ? realloc(l->at, cap * sizeof(*at)) : NULL;
                if (at == NULL) {
                        list_drop(l, n);
                        return ERR_FULL;
                }
                l->at = at;
                l->cap = cap;
        }
        l->at[l->count++] = n;
        return ERR_NONE;
}

void node_list_done(struct node_list *l)
{
        for (size_t i = 0; i < l->count; i++)
                list_drop(l, l->at[i]);
        free(l->at);
        *l = (struct node_list){.shares = l->shares};
}

void peerset_rollback(struct peerset *p)
{
        for (size_t i = 0; i < p->next_count; i++)
                drop(p, p->next[i]);
        free(p->next);
        p->next = NULL;
        p->next_count = 0;
        if (p->floor_before < p->expiry_floor)
                p->expiry_floor = p->floor_before;
}

void peerset_told(struct peerset *p)
{
        for (size_t i = 0; i < p->old_count; i++)
                free(p->old[i]);
        free(p->changes);
        p->changes = NULL;
        p->change_count = p->old_count = 0;
}

void peerset_done(struct peerset *p)
{
        peerset_rollback(p);
        peerset_told(p);
        for (size_t i = 0; i < p->count; i++)
                free(p->at[i]);
        free(p->at);
        *p = (struct peerset){0};
}

enum err peerset_begin(struct peerset *p, bool empty)
{
        size_t n = empty ? 0 : p->count;
        if (p->at == NULL)
                p->expiry_floor = INT64_MAX;
        p->floor_before = p->expiry_floor;
        if (empty)
                p->expiry_floor = INT64_MAX;
        p->next = malloc((n + 1) * sizeof(*p->next));
        if (p->next == NULL)
                return ERR_FULL;
        if (n > 0)
                memcpy(p->next, p->at, n * sizeof(*p->next));
        p->next_count = n;
        return ERR_NONE;
}

void peerset_put(struct peerset *p, struct netmap_node *n)
{
        size_t i = lower_bound(p->next, p->next_count, n->id);
        drop(p, p->next[i]);
        p->next[i] = n;
        note_expiry(p, n);
}

void peerset_remove(struct peerset *p, int64_t id)
{
        size_t i = lower_bound(p->next, p->next_count, id);
        if (i == p->next_count || p->next[i]->id != id)
                return;
        drop(p, p->next[i]);
        memmove(p->next + i, p->next + i + 1, (p->next_count - i - 1) * sizeof(*p->next));
        p->next_count--;
}

struct ranked {
        struct netmap_node *node;
        size_t rank;
};

static int ranked_cmp(const void *va, const void *vb)
{
        const struct ranked *a = va;
        const struct ranked *b = vb;
        if (a->node->id != b->node->id)
                return a->node->id < b->node->id ? -1 : 1;
        return a->rank < b->rank ? -1 : a->rank > b->rank;
}

/* Ascending id, each once, the later of two kept. */
static enum err sort_unique(struct node_list *l)
{
        struct ranked *r = malloc(l->count * sizeof(*r));
        if (r == NULL)
                return ERR_FULL;
        for (size_t i = 0; i < l->count; i++)
                r[i] = (struct ranked){l->at[i], i};
        qsort(r, l->count, sizeof(*r), ranked_cmp);
        size_t n = 0;
        for (size_t i = 0; i < l->count; i++) {
                if (i + 1 < l->count && r[i + 1].node->id == r[i].node->id)
                        list_drop(l, r[i].node);
                else
                        l->at[n++] = r[i].node;
        }
        l->count = n;
        free(r);
        return ERR_NONE;
}

/* Where the search for id ends that starts at i: mostly there, in a list of them all. */
static size_t upto(const struct peerset *p, size_t i, int64_t id)
{
        if (i == p->next_count || p->next[i]->id >= id)
                return i;
        return i + lower_bound(p->next + i, p->next_count - i, id);
}

static size_t append(struct netmap_node **to, size_t n, struct netmap_node *const *from, size_t count)
{
        if (count > 0)
                memcpy(to + n, from, count * sizeof(*to));
        return n + count;
}

enum err peerset_merge(struct peerset *p, struct node_list *l)
{
        if (l->count == 0)
                return ERR_NONE;
        enum err e = sort_unique(l);
        if (e != ERR_NONE)
                return e;
        if (p->next_count + l->count > NETMAP_PEERS_MAX)
                return ERR_FULL;
        struct netmap_node **merged = malloc((p->next_count + l->count) * sizeof(*merged));
        if (merged == NULL)
                return ERR_FULL;
        size_t n = 0;
        size_t i = 0;
        for (size_t k = 0; k < l->count; k++) {
                size_t stay = upto(p, i, l->at[k]->id) - i;
                n = append(merged, n, p->next + i, stay);
                i += stay;
                if (i < p->next_count && p->next[i]->id == l->at[k]->id)
                        drop(p, p->next[i++]);
                note_expiry(p, l->at[k]);
                merged[n++] = l->at[k];
        }
        n = append(merged, n, p->next + i, p->next_count - i);
        free(p->next);
        p->next = merged;
        p->next_count = n;
        l->count = 0;
        return ERR_NONE;
}

/* old, which may be NULL, is kept or freed. */
static void note(struct peerset *p, int64_t id, unsigned what, struct netmap_node *old)
{
        struct netmap_peer_change *c = &p->changes[p->change_count++];
        *c = (struct netmap_peer_change){.id = id, .what = what};
        if (old == NULL)
                return;
        c->old_key = old->key;
        if (p->keeps_old)
                c->old = p->old[p->old_count++] = old;
        else
                free(old);
}

/* The same state in another block is no change: the old block stays. */
static void compare(struct peerset *p, struct netmap_node *before, struct netmap_node **after)
{
        unsigned what = netmap_node_diff(before, *after);
        if (what != 0) {
                note(p, before->id, what, before);
        } else {
                before->text_hash = (*after)->text_hash;
                free(*after);
                *after = before;
        }
}

/* Looked at first: of most peers nothing but the place of the block is touched. */
static bool same_block(const struct peerset *p, size_t i, size_t k)
{
        return i < p->count && k < p->next_count && p->at[i] == p->next[k];
}

static size_t count_differences(const struct peerset *p)
{
        size_t n = 0;
        for (size_t i = 0, k = 0; i < p->count || k < p->next_count; n++) {
                if (same_block(p, i, k)) {
                        i++;
                        k++;
                        n--;
                } else if (k == p->next_count || (i < p->count && p->at[i]->id < p->next[k]->id)) {
                        i++;
                } else if (i == p->count || p->next[k]->id < p->at[i]->id) {
                        k++;
                } else {
                        i++;
                        k++;
                }
        }
        return n;
}

enum err peerset_commit(struct peerset *p)
{
        size_t most = count_differences(p);
        struct netmap_peer_change *changes = malloc((most + 1) * sizeof(*changes));
        if (changes == NULL) {
                peerset_rollback(p);
                return ERR_FULL;
        }
        peerset_told(p);
        p->changes = changes;
        p->keeps_old = most <= PEERSET_OLD_MAX;
        size_t i = 0;
        size_t k = 0;
        while (i < p->count || k < p->next_count) {
                if (same_block(p, i, k)) {
                        i++;
                        k++;
                } else if (k == p->next_count || (i < p->count && p->at[i]->id < p->next[k]->id)) {
                        note(p, p->at[i]->id, NETMAP_PEER_REMOVED, p->at[i]);
                        i++;
                } else if (i == p->count || p->next[k]->id < p->at[i]->id) {
                        note(p, p->next[k++]->id, NETMAP_PEER_ADDED, NULL);
                } else {
                        compare(p, p->at[i++], &p->next[k]);
                        k++;
                }
        }
        free(p->at);
        p->at = p->next;
        p->count = p->next_count;
        p->next = NULL;
        p->next_count = 0;
        return ERR_NONE;
}
