#include "magicsock/keymap.h"

#include <stdlib.h>
#include <string.h>

enum { CAP_MIN = 16 };

void keymap_init(struct keymap *m, uint64_t seed)
{
        *m = (struct keymap){.seed = seed};
}

void keymap_done(struct keymap *m)
{
        free(m->e);
        *m = (struct keymap){.seed = m->seed};
}

/* Multiply and fold, each word mixed with what came before. */
static size_t home_of(const struct keymap *m, const uint8_t key[32])
{
        uint64_t h = m->seed;
        for (size_t i = 0; i < 4; i++) {
                uint64_t w;
                memcpy(&w, key + 8 * i, sizeof(w));
                h = (h ^ w) * UINT64_C(0x9e3779b97f4a7c15);
                h ^= h >> 29;
        }
        return (size_t)h & (m->cap - 1);
}

/* The entry of the key, or the free one where it would go.  There always is a free one. */
static struct keymap_entry *place(const struct keymap *m, const uint8_t key[32])
{
        size_t i = home_of(m, key);
        while (m->e[i].slot != KEYMAP_NONE && memcmp(m->e[i].key, key, 32) != 0)
                i = (i + 1) & (m->cap - 1);
        return &m->e[i];
}

uint32_t keymap_get(const struct keymap *m, const uint8_t key[32])
{
        return m->count ? place(m, key)->slot : KEYMAP_NONE;
}

static enum err grow(struct keymap *m)
{
        size_t cap = m->cap ? m->cap * 2 : CAP_MIN;
        struct keymap bigger = {.cap = cap, .seed = m->seed, .e = malloc(cap * sizeof(*bigger.e))};
        if (!bigger.e)
                return ERR_FULL;
        for (size_t i = 0; i < cap; i++)
                bigger.e[i].slot = KEYMAP_NONE;
        for (size_t i = 0; i < m->cap; i++)
                if (m->e[i].slot != KEYMAP_NONE)
                        *place(&bigger, m->e[i].key) = m->e[i];
        free(m->e);
        m->e = bigger.e;
        m->cap = cap;
        return ERR_NONE;
}

enum err keymap_set(struct keymap *m, const uint8_t key[32], uint32_t slot)
{
        if (m->count * 2 >= m->cap) {
                enum err e = grow(m);
                if (e)
                        return e;
        }
        struct keymap_entry *at = place(m, key);
        if (at->slot == KEYMAP_NONE) {
                memcpy(at->key, key, 32);
                m->count++;
        }
        at->slot = slot;
        return ERR_NONE;
}

/* What follows in the run moves up, so that no lookup stops early. */
void keymap_remove(struct keymap *m, const uint8_t key[32])
{
        if (!m->count)
                return;
        struct keymap_entry *gone = place(m, key);
        if (gone->slot == KEYMAP_NONE)
                return;
        gone->slot = KEYMAP_NONE;
        m->count--;
        size_t i = (size_t)(gone - m->e);
        for (;;) {
                i = (i + 1) & (m->cap - 1);
                if (m->e[i].slot == KEYMAP_NONE)
                        return;
                struct keymap_entry moved = m->e[i];
                m->e[i].slot = KEYMAP_NONE;
                *place(m, moved.key) = moved;
        }
}
