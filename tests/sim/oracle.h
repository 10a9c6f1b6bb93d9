/* tests/sim/oracle.h - whether two hosts can have a direct path, from what stands between them and nothing else. */
#pragma once

#include "tests/sim/net.h"

/* The better the later. */
enum oracle_path {
        ORACLE_NO,
        ORACLE_FLUKE,  /* both sides guess a thousand ports of 64,000, each: in one world of 50,000 two of them meet */
        ORACLE_LUCK,   /* it depends on which ports come up */
        ORACLE_YES,
};

enum oracle_path oracle_path(const struct host *a, const struct host *b);
const char *oracle_str(enum oracle_path p);
