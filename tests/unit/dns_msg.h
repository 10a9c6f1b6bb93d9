/* tests/unit/dns_msg.h - DNS queries for the tests of daemon/dns. */
#pragma once

#include <stdlib.h>

#include "base/writer.h"
#include "tests/unit/check.h"

/* A name as it is asked, case kept. */
static inline void msg_name(struct wr *w, const char *name)
{
        while (*name != '\0' && strcmp(name, ".") != 0) {
                size_t n = strcspn(name, ".");
                wr_u8(w, (uint8_t)n);
                wr_copy(w, name, n);
                name += n + (name[n] == '.');
        }
        wr_u8(w, 0);
}

/* A query with RD and AD as dig sends it; udp_size 0: without EDNS. */
static inline size_t msg_query(uint8_t *out, size_t cap, uint16_t id, const char *name, uint16_t type, uint16_t udp_size)
{
        struct wr w = wr_init(out, cap);
        wr_be16(&w, id);
        wr_be16(&w, 0x0120);
        wr_be16(&w, 1);
        wr_be32(&w, 0);
        wr_be16(&w, udp_size != 0);
        msg_name(&w, name);
        wr_be16(&w, type);
        wr_be16(&w, 1);
        if (udp_size != 0) {
                wr_u8(&w, 0);
                wr_be16(&w, 41);
                wr_be16(&w, udp_size);
                wr_be32(&w, 0);
                wr_be16(&w, 0);
        }
        assert_true(wr_ok(&w));
        return w.len;
}

/* An answer to that query: one record of the type with the given data. */
static inline size_t msg_answer(uint8_t *out, size_t cap, const uint8_t *query, size_t question_len, uint16_t id,
        uint16_t flags, uint16_t type, uint32_t ttl, const void *data, size_t len)
{
        struct wr w = wr_init(out, cap);
        wr_be16(&w, id);
        wr_be16(&w, flags);
        wr_be16(&w, 1);
        wr_be16(&w, data != NULL);
        wr_be32(&w, 0);
        wr_copy(&w, query + 12, question_len);
        if (data != NULL) {
                wr_be16(&w, 0xc00c);
                wr_be16(&w, type);
                wr_be16(&w, 1);
                wr_be32(&w, ttl);
                wr_be16(&w, (uint16_t)len);
                wr_copy(&w, data, len);
        }
        assert_true(wr_ok(&w));
        return w.len;
}
