#include "wg/staged.h"

#include <assert.h>

#include "wg/engine.h"

static void leave(struct wg_peer *p)
{
        if (p->staged.count == 0)
                return;
        if (p->staged_next != NULL)
                p->staged_next->staged_link = p->staged_link;
        *p->staged_link = p->staged_next;
}

static void join(struct staged *s, struct wg_peer *p)
{
        if (p->staged.count == 0)
                return;
        struct wg_peer **first = &s->first[p->staged.count];
        p->staged_next = *first;
        p->staged_link = first;
        if (*first != NULL)
                (*first)->staged_link = &p->staged_next;
        *first = p;
}

void staged_push(struct staged *s, struct wg_peer *p, struct pkt *pkt)
{
        assert(p->staged.count < WG_STAGED_MAX);
        leave(p);
        pkt_queue_push(&p->staged, pkt);
        s->total++;
        join(s, p);
        if (p->staged.count > s->most)
                s->most = p->staged.count;
}

struct pkt *staged_pop(struct staged *s, struct wg_peer *p)
{
        if (p->staged.count == 0)
                return NULL;
        leave(p);
        struct pkt *pkt = pkt_queue_pop(&p->staged);
        s->total--;
        join(s, p);
        if (s->most > 0 && s->first[s->most] == NULL)
                s->most--;   /* p itself is there now, or it was not the highest */
        return pkt;
}

struct wg_peer *staged_fullest(const struct staged *s)
{
        return s->first[s->most];
}
