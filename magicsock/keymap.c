#include "magicsock/keymap.h"

#include <stdlib.h>
#include <string.h>

enum { CAP_MIN = 16 };

void keymap_init(struct keymap *m, uint64_t seed, keymap_key_fn key_of, const void *arg)
{
        *m = (struct keymap){.seed = seed, .key_of = key_of, .arg = arg};
}

void keymap_done(struct keymap *m)
{
        free(m->e);
        keymap_init(m, m->seed, m->key_of, m->arg);
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
static uint32_t *place(const struct keymap *m, const uint8_t key[32])
{
        size_t i = home_of(m, key);
        while (m->e[i] != KEYMAP_NONE && memcmp(m->key_of(m->arg, m->e[i]), key, 32) != 0)
                i = (i + 1) & (m->cap - 1);
        return &m->e[i];
}

uint32_t keymap_get(const struct keymap *m, const uint8_t key[32])
{
        return m->count ? *place(m, key) : KEYMAP_NONE;
}

static enum err grow(struct keymap *m)
{
        struct keymap bigger = *m;
        bigger.cap = m->cap ? m->cap * 2 : CAP_MIN;
        bigger.e = malloc(bigger.cap * sizeof(*bigger.e));
        if (!bigger.e)
                return ERR_FULL;
        for (size_t i = 0; i < bigger.cap; i++)
                bigger.e[i] = KEYMAP_NONE;
        for (size_t i = 0; i < m->cap; i++)
                if (m->e[i] != KEYMAP_NONE)
                        *place(&bigger, m->key_of(m->arg, m->e[i])) = m->e[i];
        free(m->e);
        *m = bigger;
        return ERR_NONE;
}

enum err keymap_set(struct keymap *m, const uint8_t key[32], uint32_t slot)
{
        if (m->count * 2 >= m->cap && keymap_get(m, key) == KEYMAP_NONE) {
                enum err e = grow(m);
                if (e)
                        return e;
        }
        uint32_t *at = place(m, key);
        m->count += *at == KEYMAP_NONE;
        *at = slot;
        return ERR_NONE;
}

/* What follows in the run moves up, so that no lookup stops early. */
void keymap_remove(struct keymap *m, const uint8_t key[32])
{
        if (!m->count)
                return;
        uint32_t *gone = place(m, key);
        if (*gone == KEYMAP_NONE)
                return;
        *gone = KEYMAP_NONE;
        m->count--;
        size_t i = (size_t)(gone - m->e);
        for (;;) {
                i = (i + 1) & (m->cap - 1);
                uint32_t moved = m->e[i];
                if (moved == KEYMAP_NONE)
                        return;
                m->e[i] = KEYMAP_NONE;
                *place(m, m->key_of(m->arg, moved)) = moved;
        }
}
