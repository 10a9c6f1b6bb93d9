#include "daemon/dns/wire.h"

#include <string.h>

/* OPT has its own meaning of class and TTL: size and flags. */
static void note_opt(struct dns_query *q, const struct dns_rr *rr)
{
        q->edns = true;
        q->udp_size = rr->class > DNS_UDP_MIN ? rr->class : DNS_UDP_MIN;
        q->dnssec_ok = (rr->ttl & 0x8000) != 0;
        q->edns_options = rr->data_len > 0;
}

enum dns_parsed dns_query_parse(const uint8_t *msg, size_t len, struct dns_query *ret)
{
        struct rd r = rd_init(msg, len);
        *ret = (struct dns_query){.msg = msg, .len = len, .udp_size = DNS_UDP_MIN};
        ret->id = rd_be16(&r);
        ret->flags = rd_be16(&r);
        if (!rd_ok(&r) || (ret->flags & DNS_QR))
                return DNS_PARSED_NOTHING;
        uint16_t questions = rd_be16(&r);
        rd_skip(&r, DNS_HEADER - 6);
        if (!rd_ok(&r) || questions != 1 || !dns_name_read(&r, &ret->name))
                return DNS_PARSED_MALFORMED;
        ret->type = rd_be16(&r);
        ret->class = rd_be16(&r);
        if (!rd_ok(&r))
                return DNS_PARSED_MALFORMED;
        ret->question_len = (size_t)(r.at - msg) - DNS_HEADER;
        struct dns_walk w;
        struct dns_rr rr;
        if (!dns_walk_start(&w, msg, len))
                return DNS_PARSED_MALFORMED;
        while (dns_walk_next(&w, &rr))
                if (rr.section == 3 && rr.type == DNS_OPT && !ret->edns)
                        note_opt(ret, &rr);
        if (!w.failed)
                return DNS_PARSED;
        ret->question_len = 0;
        return DNS_PARSED_MALFORMED;
}

size_t dns_query_make(void *buf, size_t cap, const struct dns_name *name, uint16_t type)
{
        struct wr w = wr_init(buf, cap);
        wr_be16(&w, 1);
        wr_be16(&w, DNS_RD);
        wr_be16(&w, 1);
        wr_zero(&w, 6);
        wr_copy(&w, name->b, name->len);
        wr_be16(&w, type);
        wr_be16(&w, DNS_IN);
        return wr_ok(&w) ? w.len : 0;
}

bool dns_walk_start(struct dns_walk *w, const uint8_t *msg, size_t len)
{
        struct rd r = rd_init(msg, len);
        *w = (struct dns_walk){.msg = msg, .len = len};
        rd_skip(&r, 4);
        for (size_t i = 0; i < 4; i++)
                w->left[i] = rd_be16(&r);
        for (; rd_ok(&r) && w->left[0] > 0; w->left[0]--) {
                if (!dns_name_skip(&r))
                        return false;
                rd_skip(&r, 4);
        }
        w->at = (size_t)(r.at - msg);
        return rd_ok(&r);
}

bool dns_walk_next(struct dns_walk *w, struct dns_rr *ret)
{
        int section = 1;
        while (section < 4 && w->left[section] == 0)
                section++;
        if (section == 4 || w->failed)
                return false;
        w->left[section]--;
        struct rd r = rd_init(w->msg + w->at, w->len - w->at);
        *ret = (struct dns_rr){.at = w->at, .section = section};
        w->failed = !dns_name_skip(&r);
        ret->type = rd_be16(&r);
        ret->class = rd_be16(&r);
        ret->ttl_at = w->len - r.left;
        ret->ttl = rd_be32(&r);
        ret->data_len = rd_be16(&r);
        ret->data_at = w->len - r.left;
        rd_skip(&r, ret->data_len);
        w->failed = w->failed || !rd_ok(&r);
        ret->end = w->at = w->len - r.left;
        return !w->failed;
}

/* ---- building ---- */

void dns_reply_begin(struct dns_reply *r, void *buf, size_t cap, const struct dns_query *q, unsigned flags,
        enum dns_rcode rcode)
{
        *r = (struct dns_reply){.w = wr_init(buf, cap)};
        wr_be16(&r->w, q->id);
        wr_be16(&r->w, (uint16_t)(DNS_QR | (q->flags & (DNS_OPCODE | DNS_RD | DNS_AD)) | flags | (unsigned)rcode));
        wr_be16(&r->w, q->question_len > 0);
        wr_zero(&r->w, DNS_HEADER - 6);
        if (q->question_len > 0)
                wr_copy(&r->w, q->msg + DNS_HEADER, q->question_len);
}

static void record(struct dns_reply *r, uint16_t type, uint32_t ttl, size_t data_len)
{
        wr_be16(&r->w, 0xc000 | DNS_HEADER);   /* the name of the question */
        wr_be16(&r->w, type);
        wr_be16(&r->w, DNS_IN);
        wr_be32(&r->w, ttl);
        wr_be16(&r->w, (uint16_t)data_len);
        r->answers++;
}

void dns_reply_address(struct dns_reply *r, struct ip ip, uint32_t ttl)
{
        size_t len = ip.family == IP_V4 ? 4 : 16;
        record(r, ip.family == IP_V4 ? DNS_A : DNS_AAAA, ttl, len);
        wr_copy(&r->w, ip.b, len);
}

void dns_reply_ptr(struct dns_reply *r, const struct dns_name *target, uint32_t ttl)
{
        record(r, DNS_PTR, ttl, target->len);
        wr_copy(&r->w, target->b, target->len);
}

void dns_reply_soa(struct dns_reply *r, const struct dns_name *zone, uint32_t serial, uint32_t timers, uint32_t ttl)
{
        wr_copy(&r->w, zone->b, zone->len);
        wr_be16(&r->w, DNS_SOA);
        wr_be16(&r->w, DNS_IN);
        wr_be32(&r->w, ttl);
        wr_be16(&r->w, (uint16_t)(2u * zone->len + 20));
        wr_copy(&r->w, zone->b, zone->len);
        wr_copy(&r->w, zone->b, zone->len);
        wr_be32(&r->w, serial);
        for (int i = 0; i < 4; i++)
                wr_be32(&r->w, timers);
        r->authority++;
}

size_t dns_reply_end(struct dns_reply *r)
{
        if (!wr_ok(&r->w))
                return 0;
        store_be16(r->w.start + 6, r->answers);
        store_be16(r->w.start + 8, r->authority);
        return r->w.len;
}

size_t dns_reply_error(void *buf, size_t cap, const struct dns_query *q, unsigned flags, enum dns_rcode rcode)
{
        struct dns_reply r;
        dns_reply_begin(&r, buf, cap, q, flags, rcode);
        return dns_reply_end(&r);
}

/* ---- what comes from upstream ---- */

bool dns_answers(const uint8_t *resp, size_t len, const struct dns_query *q, uint16_t id)
{
        struct rd r = rd_init(resp, len);
        uint16_t got = rd_be16(&r), flags = rd_be16(&r), questions = rd_be16(&r);
        rd_skip(&r, DNS_HEADER - 6);
        if (!rd_ok(&r) || got != id || !(flags & DNS_QR) || (flags & DNS_OPCODE) != (q->flags & DNS_OPCODE))
                return false;
        if (questions == 0)
                return (flags & DNS_RCODE) != DNS_NOERROR && (flags & DNS_RCODE) != DNS_NXDOMAIN;
        struct dns_name name;
        if (questions != 1 || !dns_name_read(&r, &name))
                return false;
        uint16_t type = rd_be16(&r), class = rd_be16(&r);
        return rd_ok(&r) && type == q->type && class == q->class && dns_name_eq(&name, &q->name);
}

enum dns_rcode dns_rcode(const uint8_t *resp)
{
        return (enum dns_rcode)(load_be16(resp + 2) & DNS_RCODE);
}

bool dns_truncated(const uint8_t *resp)
{
        return (load_be16(resp + 2) & DNS_TC) != 0;
}

size_t dns_truncate(uint8_t *msg, size_t len, size_t max)
{
        struct dns_walk w;
        struct dns_rr rr, opt = {0};
        if (len <= max || len < DNS_HEADER || max < DNS_HEADER)
                return len;
        bool good = dns_walk_start(&w, msg, len);
        size_t end = good && w.at <= max ? w.at : DNS_HEADER;
        while (good && dns_walk_next(&w, &rr))
                if (rr.section == 3 && rr.type == DNS_OPT && end + (rr.end - rr.at) <= max)
                        opt = rr;
        memmove(msg + end, msg + opt.at, opt.end - opt.at);
        store_be16(msg + 2, load_be16(msg + 2) | DNS_TC);
        store_be16(msg + 4, end > DNS_HEADER ? load_be16(msg + 4) : 0);
        store_be16(msg + 6, 0);
        store_be16(msg + 8, 0);
        store_be16(msg + 10, opt.end > 0);
        return end + (opt.end - opt.at);
}

void dns_limit_edns(uint8_t *msg, size_t len, uint16_t max)
{
        struct dns_walk w;
        struct dns_rr rr;
        if (!dns_walk_start(&w, msg, len))
                return;
        while (dns_walk_next(&w, &rr))
                if (rr.section == 3 && rr.type == DNS_OPT && rr.class > max)
                        store_be16(msg + rr.ttl_at - 2, max);
}
