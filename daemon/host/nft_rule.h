/* daemon/host/nft_rule.h - a rule on its way into a transaction, as nft.c and nft_rule.c share it. */
#pragma once

#include <libnftnl/rule.h>
#include <stdbool.h>

#include "daemon/host/nft.h"

struct nft_rule {
        struct nftnl_rule *r;
        bool failed;   /* memory ran out: the transaction will not do */
};
