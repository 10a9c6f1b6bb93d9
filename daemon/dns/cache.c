#include "daemon/dns/cache.h"

#include <stdlib.h>
#include <string.h>

enum { WAYS = DNS_CACHE_WAYS };

struct entry {
        uint8_t *msg;          /* NULL: free */
        size_t len;
        uint8_t name_len;
        uint16_t type, flags;
        bool edns, dnssec_ok;
        bool failure;          /* nobody answers for this name and type, however it is asked */
        mono_t since, until;
};

struct dns_cache {
        uint32_t seed;
        size_t set_count;
        struct entry sets[][WAYS];
};

enum { KEY_FLAGS = DNS_RD | DNS_AD | DNS_CD };

struct dns_cache *dns_cache_new(uint32_t seed, size_t answers)
{
        struct dns_cache *c = calloc(1, sizeof(*c) + answers / WAYS * sizeof(c->sets[0]));
        if (c == NULL)
                return NULL;
        c->seed = seed;
        c->set_count = answers / WAYS;
        return c;
}

static void drop(struct entry *e)
{
        free(e->msg);
        *e = (struct entry){0};
}

void dns_cache_flush(struct dns_cache *c)
{
        for (size_t i = 0; i < c->set_count; i++)
                for (size_t k = 0; k < WAYS; k++)
                        drop(&c->sets[i][k]);
}

void dns_cache_free(struct dns_cache *c)
{
        if (c == NULL)
                return;
        dns_cache_flush(c);
        free(c);
}

static struct entry *set_of(struct dns_cache *c, const struct dns_query *q)
{
        uint32_t h = 2166136261u ^ c->seed ^ q->type;
        for (size_t i = 0; i < q->name.len; i++)
                h = (h ^ q->name.b[i]) * 16777619u;
        return c->sets[(h ^ h >> 16) % c->set_count];
}

static bool may_be_kept(const struct dns_query *q)
{
        return q->class == DNS_IN && !(q->flags & DNS_OPCODE) && q->type < DNS_AXFR - 1;
}

static bool entry_is_for(const struct entry *e, const struct dns_query *q)
{
        struct dns_name name;
        if (e->msg == NULL || e->name_len != q->name.len || e->type != q->type)
                return false;
        /* Options ask for something of their own: an area, a cookie, padding. */
        if (!e->failure && (q->edns_options || e->flags != (q->flags & KEY_FLAGS) || e->edns != q->edns ||
                e->dnssec_ok != q->dnssec_ok))
                return false;
        struct rd r = rd_init(e->msg + DNS_HEADER, e->len - DNS_HEADER);
        return dns_name_read(&r, &name) && dns_name_eq(&name, &q->name);
}

static void age(uint8_t *msg, size_t len, uint32_t seconds)
{
        struct dns_walk w;
        struct dns_rr rr;
        if (!dns_walk_start(&w, msg, len))
                return;
        while (dns_walk_next(&w, &rr))
                if (rr.type != DNS_OPT)
                        store_be32(msg + rr.ttl_at, rr.ttl > seconds ? rr.ttl - seconds : 0);
}

size_t dns_cache_get(struct dns_cache *c, const struct dns_query *q, uint8_t out[DNS_CACHE_MSG_MAX], mono_t now)
{
        struct entry *set = set_of(c, q);
        for (size_t i = 0; may_be_kept(q) && i < WAYS; i++) {
                struct entry *e = &set[i];
                if (!entry_is_for(e, q))
                        continue;
                if (mono_reached(now, e->until)) {
                        drop(e);
                        return 0;
                }
                if (e->failure)
                        return dns_reply_error(out, DNS_CACHE_MSG_MAX, q, DNS_RA, DNS_SERVFAIL);
                memcpy(out, e->msg, e->len);
                store_be16(out, q->id);
                memcpy(out + DNS_HEADER, q->msg + DNS_HEADER, q->question_len);
                age(out, e->len, (uint32_t)(mono_diff_ms(now, e->since) / 1000));
                return e->len;
        }
        return 0;
}

/* The place of an older answer, a free one, or the one that ends first. */
static struct entry *place_for(struct entry *set, const struct dns_query *q)
{
        struct entry *best = &set[0];
        for (size_t i = 0; i < WAYS; i++) {
                if (entry_is_for(&set[i], q))
                        return &set[i];
                if (set[i].until.ns < best->until.ns)
                        best = &set[i];
        }
        return best;
}

static void keep(struct dns_cache *c, const struct dns_query *q, const uint8_t *msg, size_t len, uint32_t ttl,
        bool failure, mono_t now)
{
        uint8_t *copy = malloc(len);
        if (copy == NULL)
                return;
        memcpy(copy, msg, len);
        struct entry *e = place_for(set_of(c, q), q);
        drop(e);
        *e = (struct entry){
                .msg = copy,
                .len = len,
                .name_len = q->name.len,
                .type = q->type,
                .flags = q->flags & KEY_FLAGS,
                .edns = q->edns,
                .dnssec_ok = q->dnssec_ok,
                .failure = failure,
                .since = now,
                .until = mono_add_ms(now, (int64_t)ttl * 1000),
        };
}

/* The last four bytes of an SOA are for how long its absence may be believed. */
static uint32_t soa_minimum(const uint8_t *msg, const struct dns_rr *rr)
{
        return rr->data_len >= 22 ? load_be32(msg + rr->end - 4) : 0;
}

/* Seconds that all of the message may be kept; 0: not at all. */
static uint32_t ttl_of(const uint8_t *msg, size_t len)
{
        struct dns_walk w;
        struct dns_rr rr;
        uint32_t ttl = DNS_CACHE_TTL_MAX;
        bool answers = false, soa = false;
        if (!dns_walk_start(&w, msg, len))
                return 0;
        while (dns_walk_next(&w, &rr)) {
                if (rr.type == DNS_OPT)
                        continue;
                uint32_t t = rr.ttl;
                answers = answers || rr.section == 1;
                if (rr.section == 2 && rr.type == DNS_SOA) {
                        soa = true;
                        t = t < soa_minimum(msg, &rr) ? t : soa_minimum(msg, &rr);
                }
                ttl = t < ttl ? t : ttl;
        }
        bool positive = answers && dns_rcode(msg) == DNS_NOERROR;
        return !w.failed && (positive || soa) ? ttl : 0;
}

void dns_cache_put(struct dns_cache *c, const struct dns_query *q, const uint8_t *msg, size_t len, mono_t now)
{
        if (!may_be_kept(q) || q->edns_options || len > DNS_CACHE_MSG_MAX || len < DNS_HEADER + q->question_len || dns_truncated(msg) ||
                load_be16(msg + 4) != 1 || (dns_rcode(msg) != DNS_NOERROR && dns_rcode(msg) != DNS_NXDOMAIN))
                return;
        uint32_t ttl = ttl_of(msg, len);
        if (ttl > 0 && ttl <= DNS_CACHE_TTL_MAX)
                keep(c, q, msg, len, ttl, false, now);
}

void dns_cache_put_failure(struct dns_cache *c, const struct dns_query *q, mono_t now)
{
        uint8_t msg[DNS_HEADER + DNS_NAME_MAX + 4];
        size_t len = dns_reply_error(msg, sizeof(msg), q, DNS_RA, DNS_SERVFAIL);
        if (may_be_kept(q) && len > 0)
                keep(c, q, msg, len, DNS_CACHE_FAILURE_TTL, true, now);
}
