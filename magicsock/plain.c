#include "magicsock/plain.h"

/* The one that was tried longest ago. */
bool plain_next(struct ms_peer *p, mono_t now)
{
        struct path *next = NULL;
        path_prune(&p->paths, p->best.addr, now);
        for (size_t i = 0; i < p->paths.count; i++) {
                struct path *c = &p->paths.p[i];
                if (!addr_eq(c->addr, p->best.addr) && (!next || c->pinged.ns < next->pinged.ns))
                        next = c;
        }
        p->knows_us = false;
        p->unanswered = now;
        p->trust_until = (mono_t){0};
        if (!next)
                return false;
        next->pinged = now;
        p->best = (struct path_best){.addr = next->addr};
        return true;
}

void plain_on_send(struct ms_peer *p, mono_t now)
{
        if (!mono_is_set(p->unanswered))
                p->unanswered = now;
        if (!addr_is_set(p->best.addr) || mono_older(p->unanswered, p->knows_us ? PLAIN_SILENCE_NS : PLAIN_TRY_NS, now))
                (void)plain_next(p, now);
}

void plain_on_rebind(struct ms_peer *p)
{
        p->knows_us = false;
        p->unanswered = p->trust_until = (mono_t){0};
}

void plain_on_proof(struct ms_peer *p, struct addr src, mono_t now)
{
        if (!addr_is_set(src))
                return;
        p->knows_us = true;
        p->unanswered = (mono_t){0};
        p->best = (struct path_best){.addr = src};
        p->trust_until = mono_add_ns(now, PLAIN_TRUST_NS);
        struct path *c = path_add(&p->paths, src, PATH_FROM_PING, src, now);
        if (c)
                c->pinged = now;
}
