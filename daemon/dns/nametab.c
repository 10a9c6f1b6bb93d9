#include "daemon/dns/nametab.h"

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

struct entry {
        uint32_t hash, value;
        uint32_t at;           /* of the name in the block */
        uint32_t len;          /* 0 = free */
};

struct nametab {
        struct entry *entries;
        size_t count, cap;     /* cap: a power of two, more than count */
        uint8_t *block;
        size_t block_len, block_cap;
        uint8_t key[SHORT_HASH_KEY_LEN];
};

/* Users choose the names of their nodes. */
static uint32_t hash_of(const struct nametab *t, const uint8_t *b, size_t n)
{
        return (uint32_t)crypto_short_hash(t->key, b, n);
}

struct nametab *nametab_new(void)
{
        struct nametab *t = calloc(1, sizeof(*t));
        if (t == NULL)
                return NULL;
        crypto_random(t->key, sizeof(t->key));
        t->cap = 64;
        t->entries = calloc(t->cap, sizeof(*t->entries));
        if (t->entries != NULL)
                return t;
        free(t);
        return NULL;
}

void nametab_free(struct nametab *t)
{
        if (t == NULL)
                return;
        free(t->entries);
        free(t->block);
        free(t);
}

/* The entry of the name, or the free one where it belongs. */
static struct entry *find(const struct nametab *t, const uint8_t *b, size_t n, uint32_t hash)
{
        for (size_t i = hash & (t->cap - 1);; i = (i + 1) & (t->cap - 1)) {
                struct entry *e = &t->entries[i];
                if (e->len == 0 || (e->hash == hash && e->len == n && memcmp(t->block + e->at, b, n) == 0))
                        return e;
        }
}

static bool grow(struct nametab *t)
{
        size_t cap = t->cap * 2;
        struct entry *bigger = calloc(cap, sizeof(*bigger));
        if (bigger == NULL)
                return false;
        for (size_t i = 0; i < t->cap; i++) {
                if (t->entries[i].len == 0)
                        continue;
                size_t at = t->entries[i].hash & (cap - 1);
                while (bigger[at].len != 0)
                        at = (at + 1) & (cap - 1);
                bigger[at] = t->entries[i];
        }
        free(t->entries);
        t->entries = bigger;
        t->cap = cap;
        return true;
}

static bool keep(struct nametab *t, const struct dns_name *n, uint32_t *ret_at)
{
        if (t->block_len + n->len > t->block_cap) {
                size_t cap = t->block_cap ? t->block_cap * 2 : 4096;
                uint8_t *p = cap < UINT32_MAX ? realloc(t->block, cap) : NULL;
                if (p == NULL)
                        return false;
                t->block = p;
                t->block_cap = cap;
        }
        *ret_at = (uint32_t)t->block_len;
        memcpy(t->block + t->block_len, n->b, n->len);
        t->block_len += n->len;
        return true;
}

bool nametab_add(struct nametab *t, const struct dns_name *n, uint32_t value, uint32_t *ret_value)
{
        if (2 * (t->count + 1) > t->cap && !grow(t))
                return false;
        uint32_t hash = hash_of(t, n->b, n->len), at;
        struct entry *e = find(t, n->b, n->len, hash);
        if (e->len == 0) {
                if (!keep(t, n, &at))
                        return false;
                *e = (struct entry){.hash = hash, .value = value, .at = at, .len = n->len};
                t->count++;
        }
        *ret_value = e->value;
        return true;
}

/* Whoever stands behind it only because its place was taken moves up. */
void nametab_remove(struct nametab *t, const struct dns_name *n)
{
        size_t mask = t->cap - 1;
        struct entry *e = find(t, n->b, n->len, hash_of(t, n->b, n->len));
        if (e->len == 0)
                return;
        size_t hole = (size_t)(e - t->entries);
        for (size_t i = (hole + 1) & mask; t->entries[i].len != 0; i = (i + 1) & mask) {
                size_t home = t->entries[i].hash & mask;
                if (((i - home) & mask) < ((i - hole) & mask))
                        continue;   /* it would stand before its home */
                t->entries[hole] = t->entries[i];
                hole = i;
        }
        t->entries[hole].len = 0;
        t->count--;
}

uint32_t nametab_get(const struct nametab *t, const struct dns_name *n)
{
        const struct entry *e = find(t, n->b, n->len, hash_of(t, n->b, n->len));
        return e->len != 0 ? e->value : NAMETAB_NONE;
}

uint32_t nametab_longest(const struct nametab *t, const struct dns_name *n)
{
        for (size_t at = 0; at < n->len; at += 1u + n->b[at]) {
                size_t len = n->len - at;
                const struct entry *e = find(t, n->b + at, len, hash_of(t, n->b + at, len));
                if (e->len != 0)
                        return e->value;
        }
        return NAMETAB_NONE;
}
