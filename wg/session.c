#include "wg/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/unset.h"
#include "wg/message.h"

static bool older_than(const struct session *s, mono_t now, int seconds)
{
        return mono_diff_ns(now, s->born) > seconds * NS_PER_SEC;
}

struct session *session_new(const struct noise_keys *keys, uint32_t local_index, uint32_t remote_index,
        bool initiator, mono_t now)
{
        struct session *s = calloc(1, sizeof(*s));
        if (s == NULL)
                return NULL;
        s->send = aead_new(keys->send);
        s->recv = aead_new(keys->recv);
        s->local_index = local_index;
        s->remote_index = remote_index;
        s->initiator = initiator;
        s->born = s->heard = now;
        if (s->send == NULL || s->recv == NULL) {
                session_free(s);
                return NULL;
        }
        return s;
}

void session_share(struct session *s, struct aead_crew *c)
{
        aead_share(s->send, c);
        aead_share(s->recv, c);
}

void session_free(struct session *s)
{
        if (s == NULL)
                return;
        aead_free(s->send);
        aead_free(s->recv);
        crypto_wipe(s, sizeof(*s));
        free(s);
}

bool session_can_send(const struct session *s, size_t n, mono_t now)
{
        return !older_than(s, now, SEND_UNTIL_S) && s->next_counter <= REJECT_AFTER_MESSAGES &&
               n <= REJECT_AFTER_MESSAGES - s->next_counter;
}

bool session_can_receive(const struct session *s, mono_t now)
{
        return !older_than(s, now, REJECT_AFTER_TIME_S);
}

bool session_wants_rekey_sending(const struct session *s, mono_t now)
{
        return s->next_counter > REKEY_AFTER_MESSAGES || (s->initiator && older_than(s, now, REKEY_AFTER_TIME_S));
}

bool session_wants_rekey_receiving(const struct session *s, mono_t now)
{
        return s->initiator && !s->rekey_asked && older_than(s, now, REKEY_ON_RECEIVE_S);
}

static size_t padding(size_t len, uint16_t mtu)
{
        size_t last = mtu != 0 && len > mtu ? len % mtu : len;
        size_t padded = (last + MSG_PAD - 1) / MSG_PAD * MSG_PAD;
        if (mtu != 0 && padded > mtu)
                padded = mtu;
        return padded - last;
}

/* Header in front, zeros and room for the tag behind; false, and p as before, if there is no room. */
static bool wrap(struct pkt *p, uint16_t mtu)
{
        size_t len = p->len;
        size_t pad = padding(len, mtu);
        uint8_t *tail = pkt_put(p, pad + MSG_TAG_LEN);
        if (tail == NULL)
                return false;
        if (pkt_push(p, MSG_DATA_HEADER_LEN) == NULL) {
                (void)pkt_trim(p, len);
                return false;
        }
        memset(tail, 0, pad);
        return true;
}

size_t session_seal(struct session *s, struct pkt **pkts, size_t n, uint16_t mtu)
{
        UNSET struct aead_op ops[SESSION_BURST];
        UNSET struct pkt *refused[SESSION_BURST];
        size_t sealed = 0;
        size_t refused_count = 0;

        for (size_t i = 0; i < n; i++) {
                struct pkt *p = pkts[i];
                if (!wrap(p, mtu)) {
                        refused[refused_count++] = p;
                        continue;
                }
                uint8_t *msg = pkt_data(p);
                uint8_t *text = msg + MSG_DATA_HEADER_LEN;
                size_t len = p->len - (size_t)MSG_DATA_HEADER_LEN - MSG_TAG_LEN;
                uint64_t counter = s->next_counter++;
                store_le32(msg, MSG_DATA);
                store_le32(msg + MSG_RECEIVER, s->remote_index);
                store_le64(msg + MSG_COUNTER, counter);
                ops[sealed] = (struct aead_op){.counter = counter, .src = text, .dst = text, .len = len};
                pkts[sealed++] = p;
        }
        aead_seal_burst(s->send, ops, sealed);
        size_t good = 0;
        for (size_t i = 0; i < sealed; i++) {
                if (ops[i].ok)
                        pkts[good++] = pkts[i];
                else
                        refused[refused_count++] = pkts[i];   /* still plain text: must not leave */
        }
        for (size_t i = 0; i < refused_count; i++)
                pkts[good + i] = refused[i];
        return good;
}

void session_open(struct session *s, struct pkt *const *pkts, size_t n, mono_t now, enum session_opened *ret)
{
        UNSET struct aead_op ops[SESSION_BURST];
        UNSET size_t which[SESSION_BURST];
        size_t tried = 0;

        for (size_t i = 0; i < n; i++) {
                uint8_t *msg = pkt_data(pkts[i]);
                uint8_t *text = msg + MSG_DATA_HEADER_LEN;
                uint64_t counter = load_le64(msg + MSG_COUNTER);
                ret[i] = counter >= REJECT_AFTER_MESSAGES ? SESSION_EXPIRED : SESSION_REPLAYED;
                if (!replay_peek(&s->replay, counter))
                        continue;
                ops[tried] = (struct aead_op){.counter = counter, .src = text, .dst = text,
                        .len = (size_t)pkts[i]->len - MSG_DATA_HEADER_LEN};
                which[tried++] = i;
        }
        aead_open_burst(s->recv, ops, tried);
        for (size_t k = 0; k < tried; k++) {
                struct pkt *p = pkts[which[k]];
                enum session_opened *r = &ret[which[k]];
                if (!ops[k].ok) {
                        *r = SESSION_BAD_TAG;
                } else if (!replay_accept(&s->replay, ops[k].counter)) {
                        *r = SESSION_REPLAYED;   /* twice in this burst */
                } else {
                        *r = SESSION_OPENED;
                        s->heard = now;
                        (void)pkt_trim(p, p->len - (size_t)MSG_TAG_LEN);
                        (void)pkt_pull(p, MSG_DATA_HEADER_LEN);
                }
        }
}

static void drop(struct session **s, struct index_table *t)
{
        if (*s == NULL)
                return;
        index_remove(t, (*s)->local_index);
        session_free(*s);
        *s = NULL;
}

/* The answer to an initiation of ours came when a newer one was on its way already, and was never used: so the peer cannot
 * be sending under it. */
static bool is_overtaken(const struct session *s, mono_t asked)
{
        return s != NULL && s->initiator && asked.ns <= s->born.ns && s->next_counter == 0;
}

/* A free place, or that of the one that was silent longest. */
static size_t place_of(struct session *const *list, size_t n)
{
        size_t at = n - 1;
        for (size_t i = n; i-- > 0 && list[at] != NULL;)
                if (list[i] == NULL || list[i]->heard.ns < list[at]->heard.ns)
                        at = i;
        return at;
}

/* Makes s the first of n. */
static void push(struct session **list, size_t n, struct session *s, struct index_table *t)
{
        if (s == NULL)
                return;
        size_t at = place_of(list, n);
        drop(&list[at], t);
        memmove(&list[1], &list[0], at * sizeof(list[0]));
        list[0] = s;
}

static void retire(struct keypairs *k, struct session *s, struct index_table *t)
{
        push(k->old, KEYPAIRS_OLD, s, t);
}

/* The initiator, who had an older answer first, may have sent under it what comes by a slower way than what follows it. */
static void retire_before(struct keypairs *k, size_t from, struct index_table *t)
{
        for (size_t i = KEYPAIRS_BEFORE; i-- > from;) {
                retire(k, k->before[i], t);
                k->before[i] = NULL;
        }
}

static void drop_if_dead(struct session **s, mono_t now, struct index_table *t)
{
        if (*s != NULL && older_than(*s, now, REJECT_AFTER_TIME_S))
                drop(s, t);
}

/* Those that open nothing any more, which must not push out others that do. */
static void drop_dead(struct keypairs *k, mono_t now, struct index_table *t)
{
        for (size_t i = 0; i < KEYPAIRS_OLD; i++)
                drop_if_dead(&k->old[i], now, t);
        drop_if_dead(&k->current, now, t);
        drop_if_dead(&k->next, now, t);
        for (size_t i = 0; i < KEYPAIRS_BEFORE; i++)
                drop_if_dead(&k->before[i], now, t);
}

void keypairs_adopt(struct keypairs *k, struct session *s, mono_t asked, struct index_table *t)
{
        drop_dead(k, s->born, t);
        if (is_overtaken(k->current, asked))
                drop(&k->current, t);
        /* The peer, too, has started some and may be sending under one. */
        retire_before(k, 0, t);
        retire(k, k->next, t);
        k->next = NULL;
        retire(k, k->current, t);
        k->current = s;
}

void keypairs_offer(struct keypairs *k, struct session *s, struct index_table *t)
{
        drop_dead(k, s->born, t);
        /* The old stay until the new one is confirmed: after crossing initiations the peer may be
         * sending under it. */
        push(k->before, KEYPAIRS_BEFORE, k->next, t);
        k->next = s;
}

/* An older offer may be followed by a newer. */
bool keypairs_confirm(struct keypairs *k, struct session *s, struct index_table *t)
{
        size_t older = 0;
        if (s == k->next) {
                k->next = NULL;
        } else {
                while (older < KEYPAIRS_BEFORE && k->before[older] != s)
                        older++;
                if (older == KEYPAIRS_BEFORE)
                        return false;
                k->before[older++] = NULL;
        }
        retire_before(k, older, t);
        retire(k, k->current, t);
        k->current = s;
        return true;
}

void keypairs_clear(struct keypairs *k, struct index_table *t)
{
        for (size_t i = 0; i < KEYPAIRS_OLD; i++)
                drop(&k->old[i], t);
        drop(&k->current, t);
        drop(&k->next, t);
        for (size_t i = 0; i < KEYPAIRS_BEFORE; i++)
                drop(&k->before[i], t);
}

struct session *keypairs_find(const struct keypairs *k, uint32_t local_index)
{
        if (k->current != NULL && k->current->local_index == local_index)
                return k->current;
        if (k->next != NULL && k->next->local_index == local_index)
                return k->next;
        for (size_t i = 0; i < KEYPAIRS_BEFORE; i++)
                if (k->before[i] != NULL && k->before[i]->local_index == local_index)
                        return k->before[i];
        for (size_t i = 0; i < KEYPAIRS_OLD; i++)
                if (k->old[i] != NULL && k->old[i]->local_index == local_index)
                        return k->old[i];
        return NULL;
}
