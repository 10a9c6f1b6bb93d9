/* What waits for a relay until that has let us in. */
#include <string.h>

#include "magicsock/classify.h"
#include "magicsock/derp_conn.h"

void derp_wait_drop(struct derp_conn *c)
{
        pkt_release(c->mgr->pool, pkt_queue_pop(&c->queue));
        c->mgr->queued--;
}

/* Whose queue gives way when all together hold too much: never that of a relay which takes what it gets. */
static struct derp_conn *fullest(const struct derp_mgr *m)
{
        struct derp_conn *most = m->conns;
        for (struct derp_conn *c = m->conns; c != NULL; c = c->next)
                if (c->queue.count > most->queue.count)
                        most = c;
        return most;
}

/* Initiations that waited would all arrive in one moment, when only the first is answered, which by then may be one that its
 * sender has forgotten.  So of those for one peer the newest waits.  head: what derp_send_head() made for it. */
static void drop_older(struct derp_conn *c, const uint8_t head[DERP_SEND_HEAD_LEN])
{
        struct pkt_queue all = c->queue;
        c->queue = (struct pkt_queue){0};
        for (struct pkt *p; (p = pkt_queue_pop(&all)) != NULL;) {
                const uint8_t *frame = pkt_cdata(p);
                bool is_older = ms_is_initiation(frame + DERP_SEND_HEAD_LEN, p->len - (size_t)DERP_SEND_HEAD_LEN) &&
                                memcmp(frame, head, DERP_SEND_HEAD_LEN) == 0;
                if (!is_older) {
                        pkt_queue_push(&c->queue, p);
                        continue;
                }
                pkt_release(c->mgr->pool, p);
                c->mgr->queued--;
                c->mgr->stats.dropped_queue++;
        }
}

enum err derp_wait_put(struct derp_conn *c, const struct node_public *dst, struct pkt *pkt)
{
        struct derp_mgr *m = c->mgr;
        size_t len = pkt->len;
        pkt = pkt_keep(m->pool, pkt);
        uint8_t *head = pkt != NULL ? pkt_push(pkt, DERP_SEND_HEAD_LEN) : NULL;
        if (head == NULL) {
                pkt_release(m->pool, pkt);
                return ERR_FULL;
        }
        derp_send_head(head, dst, len);
        if (ms_is_initiation(head + DERP_SEND_HEAD_LEN, len))
                drop_older(c, head);
        if (c->queue.count >= DERP_MGR_QUEUE_MAX) {
                derp_wait_drop(c);
                m->stats.dropped_queue++;
        } else if (m->queued >= m->queue_limit) {
                derp_wait_drop(fullest(m));
                m->stats.dropped_queue++;
        }
        pkt_queue_push(&c->queue, pkt);
        m->queued++;
        return ERR_NONE;
}
