/* daemon/dns/wire.h - DNS messages: a bounded look at a query, and answers built from it.
 *
 * Only what a forwarder and an authority for addresses need is parsed: header, one question, the frames of the
 * records behind.  The libraries of Debian 12 that read DNS either parse answers only (c-ares before 1.22) or
 * build a tree of heap objects for each message (ldns), so base/reader does it.  Pure; borrows the bytes.
 * Sources: RFC 1035 section 4, RFC 6891 (EDNS), RFC 2308 (negative answers), RFC 5966 (truncation).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/writer.h"
#include "daemon/dns/name.h"

enum {
        DNS_HEADER = 12,
        DNS_MSG_MAX = 65535,
        DNS_UDP_MIN = 512,         /* what a client without EDNS takes */
        DNS_UDP_MAX = 4095,        /* what we take from an upstream, and so announce at most */
        DNS_QUERY_MAX = 4096,      /* longer questions are refused */
};

enum {   /* flags of the header */
        DNS_QR = 0x8000,
        DNS_OPCODE = 0x7800,
        DNS_AA = 0x0400,
        DNS_TC = 0x0200,
        DNS_RD = 0x0100,
        DNS_RA = 0x0080,
        DNS_AD = 0x0020,
        DNS_CD = 0x0010,
        DNS_RCODE = 0x000f,
};

enum dns_rcode {
        DNS_NOERROR = 0,
        DNS_FORMERR = 1,
        DNS_SERVFAIL = 2,
        DNS_NXDOMAIN = 3,
        DNS_NOTIMP = 4,
        DNS_REFUSED = 5,
};

enum {
        DNS_A = 1,
        DNS_NS = 2,
        DNS_CNAME = 5,
        DNS_SOA = 6,
        DNS_PTR = 12,
        DNS_HINFO = 13,
        DNS_MX = 15,
        DNS_TXT = 16,
        DNS_AAAA = 28,
        DNS_SRV = 33,
        DNS_OPT = 41,
        DNS_AXFR = 252,
        DNS_ANY = 255,
        DNS_IN = 1,
};

struct dns_query {
        const uint8_t *msg;        /* borrowed */
        size_t len;
        uint16_t id, flags;
        struct dns_name name;      /* folded; the bytes as asked stay in msg */
        uint16_t type, class;
        size_t question_len;       /* from DNS_HEADER on */
        bool edns, dnssec_ok, edns_options;
        uint16_t udp_size;         /* what the client takes by UDP, DNS_UDP_MIN at least */
};

enum dns_parsed {
        DNS_PARSED,
        DNS_PARSED_MALFORMED,      /* id and flags are valid: FORMERR can be said */
        DNS_PARSED_NOTHING,        /* no query at all: silence */
};
enum dns_parsed dns_query_parse(const uint8_t *msg, size_t len, struct dns_query *ret);

/* A question of our own, recursion desired; length, 0: it does not fit.  Its id is 1: who sends it picks another. */
size_t dns_query_make(void *buf, size_t cap, const struct dns_name *name, uint16_t type);

/* One resource record's frame, walking a message behind its question. */
struct dns_rr {
        uint16_t type, class;
        uint32_t ttl;
        size_t at, ttl_at, data_at, data_len, end;   /* offsets in the message */
        int section;                                 /* 1 answer, 2 authority, 3 additional */
};
struct dns_walk {
        const uint8_t *msg;
        size_t len, at;
        uint16_t left[4];
        bool failed;
};
/* False: header or question is malformed. */
bool dns_walk_start(struct dns_walk *w, const uint8_t *msg, size_t len);
bool dns_walk_next(struct dns_walk *w, struct dns_rr *ret);   /* false: at the end, or w->failed */

/* The answer begun: header and the question as it was asked.  Then records, then dns_reply_end(). */
struct dns_reply {
        struct wr w;
        uint16_t answers, authority;
};
void dns_reply_begin(struct dns_reply *r, void *buf, size_t cap, const struct dns_query *q, unsigned flags,
        enum dns_rcode rcode);
void dns_reply_address(struct dns_reply *r, struct ip ip, uint32_t ttl);
void dns_reply_ptr(struct dns_reply *r, const struct dns_name *target, uint32_t ttl);
/* SOA of zone in the authority section; all names in it are the zone's. */
void dns_reply_soa(struct dns_reply *r, const struct dns_name *zone, uint32_t serial, uint32_t timers, uint32_t ttl);
size_t dns_reply_end(struct dns_reply *r);   /* length; 0: did not fit */
/* An answer of nothing but header and question (the question is left out if it could not be read). */
size_t dns_reply_error(void *buf, size_t cap, const struct dns_query *q, unsigned flags, enum dns_rcode rcode);

/* Is resp an answer to q sent with this id?  Names may differ in case.  An error without any question, as old
 * servers send it to EDNS, counts. */
bool dns_answers(const uint8_t *resp, size_t len, const struct dns_query *q, uint16_t id);
enum dns_rcode dns_rcode(const uint8_t *resp);   /* of a message with a header */
bool dns_truncated(const uint8_t *resp);
/* Cuts msg, in place, to at most max bytes: question and OPT stay, TC is set.  Returns the new length. */
size_t dns_truncate(uint8_t *msg, size_t len, size_t max);
/* Lowers the size that an OPT record of msg announces to at most max, in place. */
void dns_limit_edns(uint8_t *msg, size_t len, uint16_t max);
