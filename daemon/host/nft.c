#include "daemon/host/nft_rule.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Every rule carries this as its comment: `nft list ruleset` shows it, and we know our own by it. */
#define TAG "tailscale"

enum { BATCH_MAX = 64 * 1024, DUMP_MAX = 64 * 1024 };

#ifndef NFT_TABLE_F_OWNER
#define NFT_TABLE_F_OWNER 2
#endif

struct nft {
        struct mnl_socket *sk, *watch;
        uint32_t seq;
        int error;                 /* errno of the last failure */
        /* the transaction */
        uint8_t *buf;
        struct mnl_nlmsg_batch *batch;
        bool failed;               /* memory or room ran out */
};

/* ---- life ---- */

struct nft *nft_open(void)
{
        struct nft *n = calloc(1, sizeof(*n));
        if (n == NULL)
                return NULL;
        n->buf = calloc(2, BATCH_MAX);   /* the gaps between attributes go to the kernel as well */
        n->sk = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
        if (n->buf == NULL || n->sk == NULL || mnl_socket_bind(n->sk, 0, MNL_SOCKET_AUTOPID) < 0) {
                int error = errno;
                nft_close(n);
                errno = error;
                return NULL;
        }
        int group = NFNLGRP_NFTABLES;
        n->watch = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (n->watch != NULL && (mnl_socket_bind(n->watch, 0, MNL_SOCKET_AUTOPID) < 0 ||
                mnl_socket_setsockopt(n->watch, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)) {
                mnl_socket_close(n->watch);
                n->watch = NULL;
        }
        return n;
}

void nft_close(struct nft *n)
{
        if (n == NULL)
                return;
        if (n->batch != NULL)
                mnl_nlmsg_batch_stop(n->batch);
        if (n->watch != NULL)
                mnl_socket_close(n->watch);
        if (n->sk != NULL)
                mnl_socket_close(n->sk);
        free(n->buf);
        free(n);
}

const char *nft_error(const struct nft *n)
{
        return strerror(n->error);
}

int nft_watch_fd(struct nft *n)
{
        return n->watch != NULL ? mnl_socket_get_fd(n->watch) : -1;
}

void nft_watch_drain(struct nft *n)
{
        uint8_t buf[8192];
        /* What changed is not read: whoever cares looks at the whole.  An overrun says the same. */
        for (int i = 0; i < 64; i++)
                if (recv(nft_watch_fd(n), buf, sizeof(buf), MSG_DONTWAIT) < 0 && errno != ENOBUFS)
                        break;
}

static enum err err_of(int error)
{
        switch (error) {
        case 0:
                return ERR_NONE;
        case EPERM:
        case EACCES:
                return ERR_PERMISSION;
        case ENOENT:
        case EINTR:   /* of a dump: the ruleset changed meanwhile */
                return ERR_NOT_FOUND;
        case EOPNOTSUPP:
        case EPROTONOSUPPORT:
        case EAFNOSUPPORT:
                return ERR_UNSUPPORTED;
        case ENOMEM:
                return ERR_FULL;
        default:
                return ERR_IO;
        }
}

/* ---- the transaction ---- */

static void advance(struct nft *n)
{
        if (!mnl_nlmsg_batch_next(n->batch))
                n->failed = true;
}

void nft_begin(struct nft *n)
{
        n->failed = false;
        n->batch = mnl_nlmsg_batch_start(n->buf, BATCH_MAX);
        if (n->batch == NULL) {
                n->failed = true;
                return;
        }
        nftnl_batch_begin(mnl_nlmsg_batch_current(n->batch), n->seq++);
        advance(n);
}

static struct nlmsghdr *header(struct nft *n, uint16_t type, enum nft_family f, uint16_t flags)
{
        return nftnl_nlmsg_build_hdr(mnl_nlmsg_batch_current(n->batch), type, (uint16_t)f, flags, n->seq++);
}

/* The kernel has worked a batch off when sendto() returns: whatever it has to say waits to be read. */
static int first_error(struct nft *n)
{
        uint8_t buf[8192];
        int error = 0;
        for (;;) {
                ssize_t got = recv(mnl_socket_get_fd(n->sk), buf, sizeof(buf), MSG_DONTWAIT);
                if (got < 0)
                        return error != 0 ? error : errno == EAGAIN ? 0 : errno;
                int len = (int)got;
                for (struct nlmsghdr *h = (struct nlmsghdr *)(void *)buf; mnl_nlmsg_ok(h, len);
                        h = mnl_nlmsg_next(h, &len)) {
                        const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
                        if (h->nlmsg_type == NLMSG_ERROR && mnl_nlmsg_get_payload_len(h) >= sizeof(*e) &&
                                e->error != 0 && error == 0)
                                error = -e->error;
                }
        }
}

enum err nft_commit(struct nft *n)
{
        n->error = ENOMEM;
        if (n->batch == NULL)
                return ERR_FULL;
        nftnl_batch_end(mnl_nlmsg_batch_current(n->batch), n->seq++);
        advance(n);
        if (!n->failed)
                n->error = mnl_socket_sendto(n->sk, mnl_nlmsg_batch_head(n->batch),
                        mnl_nlmsg_batch_size(n->batch)) < 0 ? errno : first_error(n);
        mnl_nlmsg_batch_stop(n->batch);
        n->batch = NULL;
        return err_of(n->error);
}

static void table_message(struct nft *n, uint16_t type, enum nft_family f, const char *table, uint32_t flags)
{
        struct nftnl_table *t = nftnl_table_alloc();
        if (t == NULL || n->batch == NULL) {
                n->failed = true;
        } else {
                nftnl_table_set_str(t, NFTNL_TABLE_NAME, table);
                nftnl_table_set_u32(t, NFTNL_TABLE_FLAGS, flags);
                nftnl_table_nlmsg_build_payload(header(n, type, f, NLM_F_CREATE | NLM_F_ACK), t);
                advance(n);
        }
        if (t != NULL)
                nftnl_table_free(t);
}

void nft_table_add(struct nft *n, enum nft_family f, const char *table, bool owner)
{
        table_message(n, NFT_MSG_NEWTABLE, f, table, owner ? NFT_TABLE_F_OWNER : 0);
}

void nft_table_del(struct nft *n, enum nft_family f, const char *table)
{
        table_message(n, NFT_MSG_DELTABLE, f, table, 0);
}

void nft_chain_add(struct nft *n, struct nft_at at, const char *type, enum nft_hook hook, int priority)
{
        struct nftnl_chain *c = nftnl_chain_alloc();
        if (c == NULL || n->batch == NULL) {
                n->failed = true;
        } else {
                nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, at.table);
                nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, at.chain);
                nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, type);
                nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, hook);
                nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, priority);
                nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, NF_ACCEPT);
                nftnl_chain_nlmsg_build_payload(header(n, NFT_MSG_NEWCHAIN, at.family, NLM_F_CREATE | NLM_F_ACK), c);
                advance(n);
        }
        if (c != NULL)
                nftnl_chain_free(c);
}

static struct nftnl_rule *rule_at(struct nft_at at)
{
        struct nftnl_rule *r = nftnl_rule_alloc();
        if (r == NULL)
                return NULL;
        nftnl_rule_set_u32(r, NFTNL_RULE_FAMILY, at.family);
        nftnl_rule_set_str(r, NFTNL_RULE_TABLE, at.table);
        if (at.chain != NULL)
                nftnl_rule_set_str(r, NFTNL_RULE_CHAIN, at.chain);
        return r;
}

void nft_rule_del(struct nft *n, struct nft_at at, uint64_t handle)
{
        struct nftnl_rule *r = rule_at(at);
        if (r == NULL || n->batch == NULL) {
                n->failed = true;
        } else {
                nftnl_rule_set_u64(r, NFTNL_RULE_HANDLE, handle);
                nftnl_rule_nlmsg_build_payload(header(n, NFT_MSG_DELRULE, at.family, NLM_F_ACK), r);
                advance(n);
        }
        if (r != NULL)
                nftnl_rule_free(r);
}

/* ---- rules ---- */

struct nft_rule *nft_rule_begin(struct nft *n, struct nft_at at)
{
        struct nft_rule *r = calloc(1, sizeof(*r));
        if (r == NULL || (r->r = rule_at(at)) == NULL) {
                n->failed = true;
                free(r);
                return NULL;
        }
        return r;
}

void nft_rule_end(struct nft *n, struct nft_rule *r, bool first_in_chain)
{
        if (r == NULL)
                return;
        struct nftnl_udata_buf *u = nftnl_udata_buf_alloc(NFT_USERDATA_MAXLEN);
        if (u == NULL || r->failed || n->batch == NULL || !nftnl_udata_put_strz(u, NFTNL_UDATA_RULE_COMMENT, TAG)) {
                n->failed = true;
        } else {
                nftnl_rule_set_data(r->r, NFTNL_RULE_USERDATA, nftnl_udata_buf_data(u), nftnl_udata_buf_len(u));
                uint16_t flags = NLM_F_CREATE | NLM_F_ACK;
                if (!first_in_chain)
                        flags |= NLM_F_APPEND;
                uint32_t family = nftnl_rule_get_u32(r->r, NFTNL_RULE_FAMILY);
                nftnl_rule_nlmsg_build_payload(header(n, NFT_MSG_NEWRULE, family, flags), r->r);
                advance(n);
        }
        if (u != NULL)
                nftnl_udata_buf_free(u);
        nftnl_rule_free(r->r);
        free(r);
}

/* ---- looking ---- */

static bool ends_dump(uint8_t *buf, int len)
{
        for (struct nlmsghdr *h = (struct nlmsghdr *)(void *)buf; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len))
                if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
                        return true;
        return false;
}

/* Sends one request for a dump and hands every message of the answer to cb.  An answer that went wrong is read to
 * its end all the same: what stays in the socket would be taken for the answer to the next request. */
static enum err dump(struct nft *n, struct nlmsghdr *request, mnl_cb_t cb, void *arg)
{
        uint8_t *buf = malloc(DUMP_MAX);
        uint32_t seq = request->nlmsg_seq, port = mnl_socket_get_portid(n->sk);
        n->error = buf == NULL ? ENOMEM : 0;
        if (buf != NULL && mnl_socket_sendto(n->sk, request, request->nlmsg_len) < 0)
                n->error = errno;
        for (bool over = n->error != 0; !over;) {
                ssize_t got = mnl_socket_recvfrom(n->sk, buf, DUMP_MAX);
                if ((got < 0 || (n->error == 0 && mnl_cb_run(buf, (size_t)got, seq, port, cb, arg) < 0)) && n->error == 0)
                        n->error = errno;
                over = got <= 0 || ends_dump(buf, (int)got);
        }
        if (n->error != 0)
                (void)first_error(n);
        free(buf);
        return err_of(n->error);
}

struct chain_walk {
        nft_chain_fn fn;
        void *arg;
};

static int on_chain(const struct nlmsghdr *h, void *arg)
{
        struct chain_walk *w = arg;
        struct nftnl_chain *c = nftnl_chain_alloc();
        if (c == NULL)
                return MNL_CB_OK;
        if (nftnl_chain_nlmsg_parse(h, c) == 0 && nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM) &&
                nftnl_chain_is_set(c, NFTNL_CHAIN_TYPE)) {
                struct nft_base_chain out = {
                        .family = nftnl_chain_get_u32(c, NFTNL_CHAIN_FAMILY),
                        .table = nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE),
                        .chain = nftnl_chain_get_str(c, NFTNL_CHAIN_NAME),
                        .type = nftnl_chain_get_str(c, NFTNL_CHAIN_TYPE),
                        .hook = nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM),
                        .drops = nftnl_chain_get_u32(c, NFTNL_CHAIN_POLICY) == NF_DROP,
                };
                w->fn(w->arg, &out);
        }
        nftnl_chain_free(c);
        return MNL_CB_OK;
}

enum err nft_each_base_chain(struct nft *n, nft_chain_fn fn, void *arg)
{
        uint8_t buf[256] = {0};
        struct chain_walk w = {fn, arg};
        struct nlmsghdr *h = nftnl_nlmsg_build_hdr((char *)buf, NFT_MSG_GETCHAIN, NFPROTO_UNSPEC, NLM_F_DUMP, n->seq++);
        return dump(n, h, on_chain, &w);
}

struct rule_walk {
        nft_rule_fn fn;
        void *arg;
        const char *chain;
};

static int on_udata(const struct nftnl_udata *a, void *arg)
{
        const char *text = nftnl_udata_get(a);
        if (nftnl_udata_type(a) == NFTNL_UDATA_RULE_COMMENT && nftnl_udata_len(a) == sizeof(TAG) &&
                memcmp(text, TAG, sizeof(TAG)) == 0)
                *(bool *)arg = true;
        return 0;
}

static int on_rule(const struct nlmsghdr *h, void *arg)
{
        struct rule_walk *w = arg;
        struct nftnl_rule *r = nftnl_rule_alloc();
        bool ours = false;
        uint32_t len;
        if (r == NULL)
                return MNL_CB_OK;
        if (nftnl_rule_nlmsg_parse(h, r) == 0) {
                const void *data = nftnl_rule_get_data(r, NFTNL_RULE_USERDATA, &len);
                const char *chain = nftnl_rule_get_str(r, NFTNL_RULE_CHAIN);
                if (data != NULL)
                        (void)nftnl_udata_parse(data, len, on_udata, &ours);
                if (ours && (w->chain == NULL || strcmp(chain, w->chain) == 0))
                        w->fn(w->arg, chain, nftnl_rule_get_u64(r, NFTNL_RULE_HANDLE));
        }
        nftnl_rule_free(r);
        return MNL_CB_OK;
}

enum err nft_each_own_rule(struct nft *n, struct nft_at at, nft_rule_fn fn, void *arg)
{
        uint8_t buf[1024] = {0};   /* the library leaves what pads its strings as it was */
        struct rule_walk w = {fn, arg, at.chain};
        struct nftnl_rule *r = rule_at(at);
        if (r == NULL)
                return ERR_FULL;
        struct nlmsghdr *h = nftnl_nlmsg_build_hdr((char *)buf, NFT_MSG_GETRULE, (uint16_t)at.family, NLM_F_DUMP, n->seq++);
        nftnl_rule_nlmsg_build_payload(h, r);
        nftnl_rule_free(r);
        return dump(n, h, on_rule, &w);
}

struct name_search {
        const char *ifname;
        bool found;
};

/* "tailscale0" is compared with its padding, "tailscale*" without an end. */
static int on_expr(struct nftnl_expr *e, void *arg)
{
        struct name_search *s = arg;
        char padded[IFNAMSIZ] = {0};
        uint32_t len = 0;
        if (strcmp(nftnl_expr_get_str(e, NFTNL_EXPR_NAME), "cmp") != 0)
                return 0;
        const void *data = nftnl_expr_get(e, NFTNL_EXPR_CMP_DATA, &len);
        memcpy(padded, s->ifname, strnlen(s->ifname, IFNAMSIZ - 1));
        /* Shorter ones are marks, ports and addresses. */
        if (data != NULL && len > 8 && len <= sizeof(padded) && memcmp(data, padded, len) == 0)
                s->found = true;
        return 0;
}

static int on_searched_rule(const struct nlmsghdr *h, void *arg)
{
        struct nftnl_rule *r = nftnl_rule_alloc();
        if (r == NULL)
                return MNL_CB_OK;
        if (nftnl_rule_nlmsg_parse(h, r) == 0)
                (void)nftnl_expr_foreach(r, on_expr, arg);
        nftnl_rule_free(r);
        return MNL_CB_OK;
}

enum err nft_names_interface(struct nft *n, enum nft_family f, const char *table, const char *ifname, bool *ret)
{
        uint8_t buf[1024] = {0};
        struct name_search s = {.ifname = ifname};
        struct nftnl_rule *r = rule_at((struct nft_at){f, table, NULL});
        if (r == NULL)
                return ERR_FULL;
        struct nlmsghdr *h = nftnl_nlmsg_build_hdr((char *)buf, NFT_MSG_GETRULE, (uint16_t)f, NLM_F_DUMP, n->seq++);
        nftnl_rule_nlmsg_build_payload(h, r);
        nftnl_rule_free(r);
        enum err e = dump(n, h, on_searched_rule, &s);
        *ret = s.found;
        return e;
}
