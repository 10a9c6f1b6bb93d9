#include "daemon/host/firewall.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "daemon/host/firewalld.h"
#include "daemon/host/forwarding.h"
#include "daemon/host/limiter.h"
#include "daemon/host/nft.h"

#include "daemon/host/router.h"

static const char table[] = "tailscale";

enum {
        MARK_FORWARDED = 0x40000,   /* came out of the tunnel */
        /* Before the host's own chains, whose priority is 0 (filter) and 100 (source NAT). */
        PRIORITY_FILTER = -10,
        PRIORITY_NAT = 99,
        PRIORITY_MANGLE = -150,
        HOST_CHAINS_MAX = 16,
        FOREIGN_MAX = 8,
        HOST_RULES_MAX = 64,
};

/* A chain of the host that gets our accept rules. */
struct host_chain {
        enum nft_family family;
        enum nft_hook hook;
        char table[64], chain[64];
};

struct foreign {
        enum nft_family family;
        bool firewalld;
        char table[64], chain[64];
};

struct firewall {
        struct nft *nft;
        struct loop *loop;
        struct watch watch;
        struct timer check;
        struct limiter limit;
        struct hostfile *host;
        struct firewalld *firewalld;   /* NULL: not to be asked */
        char ifname[IFNAMSIZ];
        struct firewall_config want;
        bool applied;               /* `want` is in force */
        bool marks;                 /* marks of connections are kept */
        bool owner;                 /* the kernel knows tables with an owner */
        size_t own_rules;           /* in our table, when it is as it should be */
        size_t host_count;
        struct host_chain at[HOST_CHAINS_MAX];
        size_t foreign_count;
        struct foreign foreign[FOREIGN_MAX];
        char warning[512], why[256];
};

static enum firewall_mode mode(const struct firewall *f)
{
        return f->want.mode;
}

/* ---- our table ---- */

static struct nft_at in_table(const char *chain)
{
        return (struct nft_at){NFT_INET, table, chain};
}

static struct nft_rule *rule(struct firewall *f, const char *chain)
{
        f->own_rules++;
        return nft_rule_begin(f->nft, in_table(chain));
}

static void end(struct firewall *f, struct nft_rule *r)
{
        nft_rule_end(f->nft, r, false);
}

static void accept_from(struct firewall *f, const char *chain, const char *ifname)
{
        struct nft_rule *r = rule(f, chain);
        nft_match_in(r, ifname, true);
        nft_accept(r);
        end(f, r);
}

static void source_rule(struct firewall *f, const char *chain, const char *out, const char *source, bool drop)
{
        struct nft_rule *r = rule(f, chain);
        if (out != NULL)
                nft_match_out(r, out, true);
        nft_match_source(r, prefix_const(source), true);
        (drop ? nft_drop : nft_accept)(r);
        end(f, r);
}

/* Nobody outside the tunnel may pretend to be in the tailnet. */
static void input_rules(struct firewall *f)
{
        nft_chain_add(f->nft, in_table("input"), "filter", NFT_INPUT, PRIORITY_FILTER);
        accept_from(f, "input", f->ifname);
        accept_from(f, "input", "lo");
        if (f->want.port != 0) {   /* peers in the same provider's network; WireGuard knows who they are */
                struct nft_rule *r = rule(f, "input");
                nft_match_udp_port(r, f->want.port);
                nft_accept(r);
                end(f, r);
        }
        source_rule(f, "input", NULL, "100.115.92.0/23", false);   /* guests of ChromeOS */
        if (!f->want.allow_foreign)
                source_rule(f, "input", NULL, "100.64.0.0/10", true);
        source_rule(f, "input", NULL, "fd7a:115c:a1e0::/48", true);
}

static void forward_rules(struct firewall *f, bool divert)
{
        nft_chain_add(f->nft, in_table("forward"), "filter", NFT_FORWARD, PRIORITY_FILTER);
        struct nft_rule *r = rule(f, "forward");
        nft_match_in(r, f->ifname, true);
        nft_set_mark(r, MARK_FORWARDED, ROUTER_MARK_MASK);
        nft_accept(r);
        end(f, r);
        if (!divert)
                return;
        if (!f->want.allow_foreign)
                source_rule(f, "forward", f->ifname, "100.64.0.0/10", true);
        source_rule(f, "forward", f->ifname, "fd7a:115c:a1e0::/48", true);
        if (f->want.stateful) {
                r = rule(f, "forward");
                nft_match_out(r, f->ifname, true);
                nft_match_state(r, NFT_CT_ESTABLISHED_RELATED | NFT_CT_UNTRACKED, false);
                nft_drop(r);
                end(f, r);
        }
}

static void masquerade_rules(struct firewall *f)
{
        nft_chain_add(f->nft, in_table("postrouting"), "nat", NFT_POSTROUTING, PRIORITY_NAT);
        struct nft_rule *r = rule(f, "postrouting");
        nft_match_mark(r, MARK_FORWARDED, ROUTER_MARK_MASK);
        nft_masquerade(r);
        end(f, r);
}

/* Strict reverse-path filtering looks up the way back of an answer to our own socket: with the mark of the
 * question it finds the real network, without it the tunnel, and drops the answer.  Every packet marks its
 * connection, not only the first: there are connections older than these rules. */
static void mark_rules(struct firewall *f)
{
        nft_chain_add(f->nft, in_table("prerouting"), "filter", NFT_PREROUTING, PRIORITY_MANGLE);
        struct nft_rule *r = rule(f, "prerouting");
        nft_match_state(r, NFT_CT_ESTABLISHED_RELATED, true);
        nft_match_conn_mark(r, ROUTER_MARK, ROUTER_MARK_MASK);
        nft_set_mark(r, ROUTER_MARK, ROUTER_MARK_MASK);
        end(f, r);
        nft_chain_add(f->nft, in_table("output"), "route", NFT_OUTPUT, PRIORITY_MANGLE);
        r = rule(f, "output");
        nft_match_mark(r, ROUTER_MARK, ROUTER_MARK_MASK);
        nft_set_conn_mark(r, ROUTER_MARK, ROUTER_MARK_MASK);
        end(f, r);
}

/* ---- the host's chains ---- */

/* Chains that decide after us, and whose decision an accept of ours does not overrule. */
static void note_foreign(struct firewall *f, const struct nft_base_chain *c)
{
        bool firewalld = strcmp(c->table, "firewalld") == 0;
        struct foreign *x = &f->foreign[f->foreign_count];
        if (c->hook != NFT_INPUT || (!c->drops && !firewalld) || f->foreign_count == FOREIGN_MAX ||
                !str_copy(x->table, sizeof(x->table), c->table) || !str_copy(x->chain, sizeof(x->chain), c->chain))
                return;
        x->family = c->family;
        x->firewalld = firewalld;
        f->foreign_count++;
}

/* Where no rule knows our interface, the administrator has not yet said what is to pass. */
static void warn_of(struct firewall *f, const struct foreign *c)
{
        bool known = false;
        if (f->warning[0] != '\0' || nft_names_interface(f->nft, c->family, c->table, f->ifname, &known) != ERR_NONE || known)
                return;
        if (c->firewalld && f->firewalld != NULL && firewalld_is_asking(f->firewalld))
                return;
        if (c->firewalld) {
                snprintf(f->warning, sizeof(f->warning), "firewalld rejects what comes out of the tunnel: run 'firewall-cmd "
                        "--permanent --zone=trusted --add-interface=%s' and 'firewall-cmd --reload'", f->ifname);
                return;
        }
        snprintf(f->warning, sizeof(f->warning),
                "the firewall drops what no rule of chain %s accepts, and this chain is not ours to change: run 'nft insert "
                "rule %s %s %s iifname \"%s\" accept' and make it permanent", c->chain,
                c->family == NFT_INET ? "inet" : c->family == NFT_IP ? "ip" : "ip6", c->table, c->chain, f->ifname);
}

static void find_host_chain(void *arg, const struct nft_base_chain *c)
{
        struct firewall *f = arg;
        bool local = c->family == NFT_IP || c->family == NFT_IP6;
        bool hook = c->hook == NFT_INPUT || c->hook == NFT_FORWARD;
        if (!hook || strcmp(c->type, "filter") != 0 || (c->family == NFT_INET && strcmp(c->table, table) == 0))
                return;
        if (!local || strcmp(c->table, "filter") != 0) {
                if (local || c->family == NFT_INET)
                        note_foreign(f, c);
                return;
        }
        struct host_chain *h = &f->at[f->host_count];
        if (f->host_count < HOST_CHAINS_MAX && str_copy(h->table, sizeof(h->table), c->table) &&
                str_copy(h->chain, sizeof(h->chain), c->chain)) {
                h->family = c->family;
                h->hook = c->hook;
                f->host_count++;
        }
}

static void ask_firewalld(struct firewall *f)
{
        bool there = false;
        for (size_t i = 0; i < f->foreign_count; i++)
                there = f->foreign[i].firewalld || there;
        if (f->firewalld != NULL && there && mode(f) == FIREWALL_ON)
                firewalld_want(f->firewalld, f->want.port);
}

static enum err find_host_chains(struct firewall *f)
{
        f->host_count = f->foreign_count = 0;
        f->warning[0] = '\0';
        enum err e = nft_each_base_chain(f->nft, find_host_chain, f);
        ask_firewalld(f);
        for (size_t i = 0; e == ERR_NONE && i < f->foreign_count; i++)
                warn_of(f, &f->foreign[i]);
        return e;
}

static struct nft_at at_host(const struct host_chain *h)
{
        return (struct nft_at){h->family, h->table, h->chain};
}

/* Rules each chain gets: two ways through, or in from the tunnel and in to our UDP port. */
static size_t host_rules(const struct firewall *f, const struct host_chain *h)
{
        return h->hook == NFT_FORWARD || f->want.port != 0 ? 2 : 1;
}

static void add_host_rules(struct firewall *f, const struct host_chain *h)
{
        struct nft_rule *r = nft_rule_begin(f->nft, at_host(h));
        nft_match_in(r, f->ifname, true);
        nft_accept(r);
        nft_rule_end(f->nft, r, true);
        if (host_rules(f, h) < 2)
                return;
        r = nft_rule_begin(f->nft, at_host(h));
        if (h->hook == NFT_FORWARD)
                nft_match_out(r, f->ifname, true);
        else
                nft_match_udp_port(r, f->want.port);
        nft_accept(r);
        nft_rule_end(f->nft, r, true);
}

struct handles {
        uint64_t at[HOST_RULES_MAX];
        size_t count;
};

static void collect_handle(void *arg, const char *chain, uint64_t handle)
{
        (void)chain;
        struct handles *h = arg;
        if (h->count < HOST_RULES_MAX)
                h->at[h->count++] = handle;
}

static size_t count_rules(struct nft *n, struct nft_at at)
{
        struct handles h = {0};
        if (nft_each_own_rule(n, at, collect_handle, &h) != ERR_NONE)
                return 0;
        return h.count;
}

/* ---- making it so ---- */

static bool wants_marks(const struct firewall *f)
{
        return mode(f) != FIREWALL_OFF && f->want.own_routes && forwarding_rp_filter_strict();
}

/* Everything in one transaction: our table anew, our rules in the host's chains anew. */
static enum err transact(struct firewall *f)
{
        struct handles old[HOST_CHAINS_MAX] = {0};
        enum err e = find_host_chains(f);
        f->marks = wants_marks(f);
        for (size_t i = 0; e == ERR_NONE && i < f->host_count; i++)
                e = nft_each_own_rule(f->nft, at_host(&f->at[i]), collect_handle, &old[i]);
        if (e != ERR_NONE)
                return e;
        nft_begin(f->nft);
        f->own_rules = 0;
        nft_table_add(f->nft, NFT_INET, table, f->owner);
        nft_table_del(f->nft, NFT_INET, table);
        if (mode(f) != FIREWALL_OFF) {
                nft_table_add(f->nft, NFT_INET, table, f->owner);
                if (mode(f) == FIREWALL_ON)
                        input_rules(f);
                forward_rules(f, mode(f) == FIREWALL_ON);
                if (f->want.masquerade)
                        masquerade_rules(f);
                if (f->marks)
                        mark_rules(f);
        }
        for (size_t i = 0; i < f->host_count; i++) {
                for (size_t k = 0; k < old[i].count; k++)
                        nft_rule_del(f->nft, at_host(&f->at[i]), old[i].at[k]);
                if (mode(f) == FIREWALL_ON)
                        add_host_rules(f, &f->at[i]);
        }
        return nft_commit(f->nft);
}

static enum err apply(struct firewall *f)
{
        enum { TRIES = 8 };
        enum err e = transact(f);
        for (int i = 1; e == ERR_NOT_FOUND && i < TRIES; i++)   /* somebody changed the ruleset in between */
                e = transact(f);
        if (e == ERR_UNSUPPORTED && f->owner) {
                f->owner = false;
                e = transact(f);
        }
        if (f->host != NULL && hostfile_set(f->host, "net/ipv4/conf/all/src_valid_mark",
                f->marks && e == ERR_NONE ? "1" : NULL) != ERR_NONE)
                log_warn("net.ipv4.conf.all.src_valid_mark could not be set: %s", strerror(errno));
        return e;
}

static const char *reason(struct firewall *f, enum err e)
{
        snprintf(f->why, sizeof(f->why), "the firewall rules could not be set: %s%s", nft_error(f->nft),
                e == ERR_PERMISSION ? " (another process owns table inet tailscale, or CAP_NET_ADMIN is missing)" :
                e == ERR_UNSUPPORTED ? " (the kernel lacks nf_tables or a part of it: use --netfilter-mode=off)" : "");
        return f->why;
}

static bool same_config(const struct firewall_config *a, const struct firewall_config *b)
{
        return a->mode == b->mode && (a->mode == FIREWALL_OFF || (a->masquerade == b->masquerade &&
                a->stateful == b->stateful && a->allow_foreign == b->allow_foreign && a->own_routes == b->own_routes &&
                a->port == b->port));
}

enum err firewall_set(struct firewall *f, const struct firewall_config *c, const char **ret_why)
{
        *ret_why = "";
        if (c->mode != FIREWALL_ON && f->firewalld != NULL)
                firewalld_leave(f->firewalld);
        if (same_config(&f->want, c) && f->applied && f->marks == wants_marks(f))
                return ERR_NONE;
        f->want = *c;
        enum err e = apply(f);
        f->applied = e == ERR_NONE;
        if (e != ERR_NONE)
                *ret_why = reason(f, e);
        return e;
}

const char *firewall_warning(const struct firewall *f)
{
        return f->want.mode == FIREWALL_ON ? f->warning : "";
}

/* ---- putting back ---- */

static bool is_complete(struct firewall *f)
{
        if (!f->owner && count_rules(f->nft, in_table(NULL)) != f->own_rules)
                return false;
        if (mode(f) != FIREWALL_ON)
                return true;
        if (find_host_chains(f) != ERR_NONE)
                return true;   /* nothing to be known, nothing to be done */
        for (size_t i = 0; i < f->host_count; i++)
                if (count_rules(f->nft, at_host(&f->at[i])) != host_rules(f, &f->at[i]))
                        return false;
        return true;
}

static void on_check(struct timer *t, mono_t now)
{
        struct firewall *f = container_of(t, struct firewall, check);
        if (mode(f) == FIREWALL_OFF || is_complete(f))
                return;
        limiter_take(&f->limit, now);
        enum err e = apply(f);
        f->applied = e == ERR_NONE;
        if (e != ERR_NONE)
                log_warn("%s", reason(f, e));
        else
                log_info("another program removed firewall rules of ours: put back");
}

static void on_ruleset_changed(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        struct firewall *f = container_of(w, struct firewall, watch);
        nft_watch_drain(f->nft);
        if (!timer_is_armed(&f->check))
                loop_timer_at(f->loop, &f->check, limiter_next(&f->limit, now));
}

/* firewalld answered: it lets us through, or the administrator has to know that it does not. */
static void on_firewalld(void *arg)
{
        struct firewall *f = arg;
        f->warning[0] = '\0';
        for (size_t i = 0; mode(f) == FIREWALL_ON && i < f->foreign_count; i++)
                warn_of(f, &f->foreign[i]);
}

/* ---- life ---- */

enum err firewall_new(struct loop *l, const char *ifname, struct hostfile *host, struct firewall **ret,
        const char **ret_why)
{
        struct firewall *f = calloc(1, sizeof(*f));
        *ret_why = "out of memory";
        if (f == NULL)
                return ERR_FULL;
        f->loop = l;
        f->applied = true;   /* nothing is there, as wanted */
        f->host = host;
        f->owner = true;
        f->limit = (struct limiter){.settle_ms = 250, .burst = 10, .every_ms = 5000};
        (void)str_copy(f->ifname, sizeof(f->ifname), ifname);
        watch_init(&f->watch, on_ruleset_changed);
        timer_init(&f->check, on_check);
        f->nft = nft_open();
        if (f->nft == NULL) {
                *ret_why = "nf_tables cannot be reached: the host's firewall is left alone";
                free(f);
                return ERR_IO;
        }
        f->firewalld = firewalld_new(l, ifname, host, on_firewalld, f);
        if (nft_watch_fd(f->nft) < 0 || loop_watch(l, &f->watch, nft_watch_fd(f->nft), LOOP_READ) != ERR_NONE)
                log_warn("changes of the firewall by others go unnoticed: %s", strerror(errno));
        *ret = f;
        return ERR_NONE;
}

static enum err remove_all(struct firewall *f)
{
        f->want = (struct firewall_config){.mode = FIREWALL_OFF};
        return apply(f);
}

void firewall_free(struct firewall *f)
{
        if (f == NULL)
                return;
        loop_timer_stop(&f->check);
        loop_unwatch(&f->watch);
        if (f->want.mode != FIREWALL_OFF) {
                enum err e = remove_all(f);
                if (e != ERR_NONE)
                        log_warn("%s", reason(f, e));
        }
        firewalld_free(f->firewalld);
        nft_close(f->nft);
        free(f);
}

void firewall_cleanup(struct hostfile *host)
{
        if (host != NULL)
                firewalld_cleanup(host);
        struct firewall f = {.owner = false, .nft = nft_open()};
        enum err e = f.nft != NULL ? remove_all(&f) : ERR_NONE;
        if (e != ERR_NONE && e != ERR_UNSUPPORTED)
                log_warn("cleanup: %s", reason(&f, e));
        nft_close(f.nft);
}
