#include "base/trie.h"

#include <stdlib.h>

#include "base/reader.h"

/* An address as two big-endian words; IPv4 stands in the top 32 bits of the first. */
struct word {
        uint64_t hi, lo;
};

/* A node covers every address that begins with the first `bits` bits of `key`; the bit after them picks
 * the child.  A node without a value has two children, else it would not be there: so there are fewer
 * than twice as many nodes as prefixes, and a path is at most as long as an address has bits. */
struct node {
        struct word key;   /* zero behind `bits` */
        uint8_t bits;
        uint32_t value;    /* TRIE_NONE: a fork only */
        struct node *child[2];
};

struct trie {
        struct node *root4, *root6;
        size_t count;
};

static struct word word_of(struct ip ip)
{
        return (struct word){load_be64(ip.b), load_be64(ip.b + 8)};
}

static struct word word_mask(struct word w, unsigned bits)
{
        if (bits == 0)
                return (struct word){0};
        if (bits <= 64)
                return (struct word){w.hi & UINT64_MAX << (64 - bits), 0};
        return (struct word){w.hi, w.lo & UINT64_MAX << (128 - bits)};
}

static unsigned word_bit(struct word w, unsigned i)
{
        return (unsigned)(i < 64 ? w.hi >> (63 - i) & 1 : w.lo >> (127 - i) & 1);
}

/* How many leading bits a and b share, at most max. */
static unsigned word_common(struct word a, struct word b, unsigned max)
{
        unsigned n = 128;
        if (a.hi != b.hi)
                n = (unsigned)__builtin_clzll(a.hi ^ b.hi);
        else if (a.lo != b.lo)
                n = 64 + (unsigned)__builtin_clzll(a.lo ^ b.lo);
        return n < max ? n : max;
}

static bool node_covers(const struct node *n, struct word w)
{
        struct word m = word_mask(w, n->bits);
        return m.hi == n->key.hi && m.lo == n->key.lo;
}

static struct node *node_new(struct word w, unsigned bits, uint32_t value)
{
        struct node *n = calloc(1, sizeof(*n));
        if (n == NULL)
                return NULL;
        n->key = word_mask(w, bits);
        n->bits = (uint8_t)bits;
        n->value = value;
        return n;
}

/* The depth is bounded by the bits of an address. */
static void node_free(struct node *n)
{
        if (n == NULL)
                return;
        node_free(n->child[0]);
        node_free(n->child[1]);
        free(n);
}

struct trie *trie_new(void)
{
        return calloc(1, sizeof(struct trie));
}

void trie_free(struct trie *t)
{
        if (t == NULL)
                return;
        node_free(t->root4);
        node_free(t->root6);
        free(t);
}

static struct node **root_of(struct trie *t, struct prefix p)
{
        if (p.ip.family == IP_NONE || p.bits > ip_bits(p.ip))
                return NULL;
        return p.ip.family == IP_V4 ? &t->root4 : &t->root6;
}

/* Puts a new node for w/bits in the place of *link, which covers something else (or nothing). */
static enum err insert_at(struct node **link, struct word w, unsigned bits, uint32_t value)
{
        struct node *old = *link, *leaf = node_new(w, bits, value);
        if (leaf == NULL)
                return ERR_FULL;
        if (old == NULL) {
                *link = leaf;
                return ERR_NONE;
        }
        unsigned common = word_common(w, old->key, bits < old->bits ? bits : old->bits);
        if (common == bits) {   /* the new one covers the old one */
                leaf->child[word_bit(old->key, bits)] = old;
                *link = leaf;
                return ERR_NONE;
        }
        struct node *fork = node_new(w, common, TRIE_NONE);
        if (fork == NULL) {
                free(leaf);
                return ERR_FULL;
        }
        fork->child[word_bit(w, common)] = leaf;
        fork->child[word_bit(old->key, common)] = old;
        *link = fork;
        return ERR_NONE;
}

enum err trie_set(struct trie *t, struct prefix p, uint32_t value)
{
        struct node **link = root_of(t, p);
        struct word w = word_of(p.ip);
        if (link == NULL || value == TRIE_NONE)
                return ERR_FORMAT;
        while (*link != NULL && (*link)->bits < p.bits && node_covers(*link, w))
                link = &(*link)->child[word_bit(w, (*link)->bits)];
        struct node *n = *link;
        if (n != NULL && n->bits == p.bits && node_covers(n, w)) {
                t->count += n->value == TRIE_NONE;
                n->value = value;
                return ERR_NONE;
        }
        enum err e = insert_at(link, w, p.bits, value);
        t->count += e == ERR_NONE;
        return e;
}

uint32_t trie_get(const struct trie *t, struct prefix p)
{
        if (p.bits > ip_bits(p.ip))
                return TRIE_NONE;
        const struct node *n = p.ip.family == IP_V4 ? t->root4 : p.ip.family == IP_V6 ? t->root6 : NULL;
        struct word w = word_of(p.ip);
        while (n != NULL && n->bits < p.bits && node_covers(n, w))
                n = n->child[word_bit(w, n->bits)];
        return n != NULL && n->bits == p.bits && node_covers(n, w) ? n->value : TRIE_NONE;
}

/* Takes *link out if it neither holds a value nor forks. */
static void prune(struct node **link)
{
        struct node *n = *link;
        if (n->value != TRIE_NONE || (n->child[0] != NULL && n->child[1] != NULL))
                return;
        *link = n->child[0] != NULL ? n->child[0] : n->child[1];
        free(n);
}

bool trie_remove(struct trie *t, struct prefix p)
{
        struct node **link = root_of(t, p), **parent = NULL;
        struct word w = word_of(p.ip);
        if (link == NULL)
                return false;
        while (*link != NULL && (*link)->bits < p.bits && node_covers(*link, w)) {
                parent = link;
                link = &(*link)->child[word_bit(w, (*link)->bits)];
        }
        struct node *n = *link;
        if (n == NULL || n->bits != p.bits || !node_covers(n, w) || n->value == TRIE_NONE)
                return false;
        n->value = TRIE_NONE;
        t->count--;
        prune(link);
        if (parent != NULL)
                prune(parent);
        return true;
}

static uint32_t find(const struct node *n, struct word w, unsigned bits)
{
        uint32_t best = TRIE_NONE;
        while (n != NULL && node_covers(n, w)) {
                if (n->value != TRIE_NONE)
                        best = n->value;
                if (n->bits == bits)
                        break;
                n = n->child[word_bit(w, n->bits)];
        }
        return best;
}

uint32_t trie_find(const struct trie *t, struct ip ip)
{
        if (ip.family == IP_V4)
                return find(t->root4, word_of(ip), 32);
        return ip.family == IP_V6 ? find(t->root6, word_of(ip), 128) : TRIE_NONE;
}

uint32_t trie_find4(const struct trie *t, const uint8_t ip[4])
{
        return find(t->root4, (struct word){(uint64_t)load_be32(ip) << 32, 0}, 32);
}

uint32_t trie_find16(const struct trie *t, const uint8_t ip[16])
{
        return find(t->root6, (struct word){load_be64(ip), load_be64(ip + 8)}, 128);
}

size_t trie_count(const struct trie *t)
{
        return t->count;
}
