/* Whether our NAT lets in whom nobody sent anything to: endpoint-independent filtering.  No relay can tell, as each is asked
 * before it answers; a peer's ping can, if it comes before any of ours. */
#include "magicsock/internal.h"

/* Something may have gone to that host from our port, so that a filter by address would let it in as well. */
static bool may_be_asked(const struct ms *ms, struct ip ip)
{
        for (size_t i = 0; i < ms->slot_cap; i++) {
                const struct ms_slot *s = ms->slots[i];
                if (!s)
                        continue;
                for (size_t k = 0; k < s->peer.paths.count; k++) {
                        const struct path *p = &s->peer.paths.p[k];
                        bool sent = mono_is_set(s->peer.round_started) || mono_is_set(p->pinged) || mono_is_set(p->proven);
                        if (sent && ip_eq(p->addr.ip, ip))
                                return true;
                }
        }
        return false;
}

static bool is_relay(const struct derpmap *map, struct ip ip)
{
        for (size_t i = 0; map && i < map->region_count; i++)
                for (size_t k = 0; k < map->regions[i].node_count; k++) {
                        struct ip own;
                        if (ip_parse(map->regions[i].nodes[k].ipv4, &own) == ERR_NONE && ip_eq(own, ip))
                                return true;
                }
        return false;
}

bool ms_unasked_proves(const struct ms *ms, const struct netcheck_report *r, struct addr src)
{
        return r->translated == NC_TRUE && src.ip.family == IP_V4 && ip_is_public(src.ip) &&
               !ip_eq(src.ip, r->global_v4.ip) && !may_be_asked(ms, src.ip) && !is_relay(ms->map, src.ip);
}

void ms_unasked_ping(struct ms *ms, struct addr src)
{
        const struct netcheck_report *r = netrun_last(ms->netrun);
        if (ms->via && ms->via->number)   /* not our port */
                return;
        if (!r || r->unasked_in || !mono_older(ms->unasked_at, NS_PER_SEC, loop_now(ms->loop)))
                return;
        ms->unasked_at = loop_now(ms->loop);   /* it looks at every peer */
        if (ms_unasked_proves(ms, r, src))
                netrun_on_unasked(ms->netrun, src.ip);
}
