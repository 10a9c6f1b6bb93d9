/* daemon/host/nft.h - nf_tables by netlink: rules as matches and a verdict, changes as one transaction.
 *
 * nft_begin(), any number of additions and removals, nft_commit(): all of it takes effect at once or none
 * does.  Nothing between them can fail visibly; the first error is kept for the commit.  Control thread;
 * libnftnl and libmnl stay behind this.  Dumps are not to be called inside a transaction.
 * A table with owner belongs to this connection: others cannot change it, `flush ruleset` passes it by, and
 * the kernel removes it when the connection closes, however that happens (Linux 5.12).
 * Sources: nft(8), Linux uapi nf_tables.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

struct nft;
struct nft_rule;

struct nft *nft_open(void);   /* NULL: errno */
void nft_close(struct nft *n);
const char *nft_error(const struct nft *n);   /* text of the last failure */
/* A second descriptor that becomes readable when somebody changes the ruleset; -1: not to be had. */
int nft_watch_fd(struct nft *n);
void nft_watch_drain(struct nft *n);

enum nft_family { NFT_IP = 2, NFT_IP6 = 10, NFT_INET = 1 };
enum nft_hook { NFT_PREROUTING = 0, NFT_INPUT = 1, NFT_FORWARD = 2, NFT_OUTPUT = 3, NFT_POSTROUTING = 4 };

struct nft_at {   /* where a rule lives */
        enum nft_family family;
        const char *table, *chain;
};

/* ---- a transaction ---- */
void nft_begin(struct nft *n);
/* ERR_PERMISSION, ERR_UNSUPPORTED (the kernel lacks something), ERR_NOT_FOUND (a rule or table was gone), ERR_IO. */
ERR_CHECK enum err nft_commit(struct nft *n);
void nft_table_add(struct nft *n, enum nft_family f, const char *table, bool owner);
void nft_table_del(struct nft *n, enum nft_family f, const char *table);
/* type: "filter", "nat" or "route"; policy accept. */
void nft_chain_add(struct nft *n, struct nft_at at, const char *type, enum nft_hook hook, int priority);
void nft_rule_del(struct nft *n, struct nft_at at, uint64_t handle);

/* A rule of ours: matches in the order of the calls, then what it does.  nft_rule_end() consumes it. */
struct nft_rule *nft_rule_begin(struct nft *n, struct nft_at at);
void nft_rule_end(struct nft *n, struct nft_rule *r, bool first_in_chain);
void nft_match_in(struct nft_rule *r, const char *ifname, bool equal);
void nft_match_out(struct nft_rule *r, const char *ifname, bool equal);
void nft_match_source(struct nft_rule *r, struct prefix p, bool inet_table);
void nft_match_udp_port(struct nft_rule *r, uint16_t port);
void nft_match_mark(struct nft_rule *r, uint32_t value, uint32_t mask);       /* of the packet */
void nft_match_conn_mark(struct nft_rule *r, uint32_t value, uint32_t mask);  /* of its connection */
enum { NFT_CT_ESTABLISHED_RELATED = 2 | 4, NFT_CT_UNTRACKED = 64 };
void nft_match_state(struct nft_rule *r, uint32_t states, bool any_of);       /* false: none of them */
void nft_set_mark(struct nft_rule *r, uint32_t value, uint32_t mask);         /* other bits stay */
void nft_set_conn_mark(struct nft_rule *r, uint32_t value, uint32_t mask);
void nft_masquerade(struct nft_rule *r);
void nft_accept(struct nft_rule *r);
void nft_drop(struct nft_rule *r);

/* ---- looking ----
 * ERR_NOT_FOUND: there is no such table, or the ruleset changed while it was read; what fn was told is then of no use. */
struct nft_base_chain {
        enum nft_family family;
        const char *table, *chain, *type;
        enum nft_hook hook;
        bool drops;   /* policy drop */
};
typedef void (*nft_chain_fn)(void *arg, const struct nft_base_chain *c);
ERR_CHECK enum err nft_each_base_chain(struct nft *n, nft_chain_fn fn, void *arg);
/* Rules of ours in a chain (chain NULL: in the table): those that nft_rule_end() made, in this or an earlier
 * process. */
typedef void (*nft_rule_fn)(void *arg, const char *chain, uint64_t handle);
ERR_CHECK enum err nft_each_own_rule(struct nft *n, struct nft_at at, nft_rule_fn fn, void *arg);
/* Whether a rule of the table, whoever made it, compares an interface's name with this one. */
ERR_CHECK enum err nft_names_interface(struct nft *n, enum nft_family f, const char *table, const char *ifname,
        bool *ret);
