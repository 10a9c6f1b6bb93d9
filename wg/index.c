#include "wg/index.h"

#include <stdlib.h>

#include "base/crypto.h"

enum { FIRST_CAP = 64 };

/* Where index is, or the free place where its search ends.  The table is never more than half full. */
static size_t place_of(const struct index_table *t, uint32_t index)
{
        size_t i = index & (t->cap - 1);
        while (t->entry[i].index != 0 && t->entry[i].index != index)
                i = (i + 1) & (t->cap - 1);
        return i;
}

static enum err grow(struct index_table *t)
{
        struct index_table bigger = {.cap = t->cap != 0 ? t->cap * 2 : FIRST_CAP, .count = t->count};
        bigger.entry = calloc(bigger.cap, sizeof(*bigger.entry));
        if (bigger.entry == NULL)
                return ERR_FULL;
        for (size_t i = 0; i < t->cap; i++)
                if (t->entry[i].index != 0)
                        bigger.entry[place_of(&bigger, t->entry[i].index)] = t->entry[i];
        free(t->entry);
        *t = bigger;
        return ERR_NONE;
}

void index_done(struct index_table *t)
{
        free(t->entry);
        *t = (struct index_table){0};
}

enum err index_add(struct index_table *t, uint32_t slot, uint32_t *ret_index)
{
        if (2 * (t->count + 1) > t->cap) {
                enum err e = grow(t);
                if (e != ERR_NONE)
                        return e;
        }
        uint32_t index;
        size_t at;
        do {
                index = crypto_random_u32();
                at = place_of(t, index);
        } while (index == 0 || t->entry[at].index == index);
        t->entry[at] = (struct index_entry){.index = index, .slot = slot};
        t->count++;
        *ret_index = index;
        return ERR_NONE;
}

uint32_t index_find(const struct index_table *t, uint32_t index)
{
        if (t->cap == 0 || index == 0)
                return INDEX_NONE;
        const struct index_entry *e = &t->entry[place_of(t, index)];
        return e->index == index ? e->slot : INDEX_NONE;
}

void index_remove(struct index_table *t, uint32_t index)
{
        if (index_find(t, index) == INDEX_NONE)
                return;
        size_t mask = t->cap - 1;
        size_t hole = place_of(t, index);
        /* Move back whatever would no longer be found across the hole. */
        for (size_t i = (hole + 1) & mask; t->entry[i].index != 0; i = (i + 1) & mask) {
                size_t home = t->entry[i].index & mask;
                if (((i - home) & mask) >= ((i - hole) & mask)) {
                        t->entry[hole] = t->entry[i];
                        hole = i;
                }
        }
        t->entry[hole] = (struct index_entry){0};
        t->count--;
}
