#include "magicsock/pings.h"

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

void pings_done(struct pings *s)
{
        free(s->p);
        *s = (struct pings){.count = 0};
}

static void drop(struct pings *s, size_t i)
{
        s->count--;
        memmove(&s->p[i], &s->p[i + 1], (s->count - i) * sizeof(s->p[0]));
}

const struct ping *pings_add(struct pings *s, struct ping g)
{
        if (s->count == PINGS_MAX)
                drop(s, 0);
        if (s->count == s->cap) {
                size_t cap = s->cap ? s->cap * 2 : 8;
                struct ping *p = realloc(s->p, cap * sizeof(*p));
                if (!p)
                        return NULL;
                s->p = p;
                s->cap = cap;
        }
        crypto_random(g.txid.b, sizeof(g.txid.b));
        s->p[s->count] = g;
        return &s->p[s->count++];
}

bool pings_take(struct pings *s, const struct disco_txid *txid, struct ping *ret)
{
        for (size_t i = 0; i < s->count; i++) {
                if (!disco_txid_eq(&s->p[i].txid, txid))
                        continue;
                *ret = s->p[i];
                drop(s, i);
                return true;
        }
        return false;
}

bool pings_take_sent(struct pings *s, mono_t before, struct ping *ret)
{
        if (s->count == 0 || !mono_reached(before, s->p[0].sent))
                return false;
        *ret = s->p[0];
        drop(s, 0);
        return true;
}
