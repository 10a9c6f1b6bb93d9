/* tests/unit/stun_answer.h - what a STUN server says to a request of ours. */
#pragma once

#include "base/writer.h"
#include "netcheck/stun.h"
#include "tests/unit/check.h"

enum { STUN_ANSWER_MAX = 64 };

/* "You were seen at this address"; the length of it. */
static inline size_t stun_answer(const uint8_t request[STUN_REQUEST_LEN], struct addr seen,
        uint8_t out[STUN_ANSWER_MAX])
{
        bool v4 = seen.ip.family == IP_V4;
        struct wr w = wr_init(out, STUN_ANSWER_MAX);
        wr_be16(&w, 0x0101);
        wr_be16(&w, v4 ? 12 : 24);
        wr_be32(&w, 0x2112a442);
        wr_copy(&w, request + 8, STUN_TXID_LEN);
        wr_be16(&w, 0x0001);
        wr_be16(&w, v4 ? 8 : 20);
        wr_be16(&w, v4 ? 1 : 2);
        wr_be16(&w, seen.port);
        wr_copy(&w, seen.ip.b, v4 ? 4 : 16);
        assert_true(wr_ok(&w));
        return w.len;
}
