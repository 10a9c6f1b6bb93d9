/* Against the kernel's nf_tables, in a network namespace of the test's own. */
#include "tests/unit/check.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mono.h"
#include "daemon/host/nft.h"

enum { BATCHES = 10, RULES_EACH = 100 };

static const struct nft_at at = {NFT_IP, "filter", "INPUT"};

static enum err add_rules(struct nft *n, int count)
{
        nft_begin(n);
        nft_table_add(n, NFT_IP, "filter", false);
        nft_chain_add(n, at, "filter", NFT_INPUT, 0);
        for (int i = 0; i < count; i++) {
                struct nft_rule *r = nft_rule_begin(n, at);
                nft_match_udp_port(r, (uint16_t)(i + 1));
                nft_accept(r);
                nft_rule_end(n, r, false);
        }
        return nft_commit(n);
}

/* Changes the ruleset without end. */
static pid_t start_disturber(void)
{
        pid_t pid = fork();
        if (pid != 0)
                return pid;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct nft *n = nft_open();
        if (n == NULL)
                _exit(1);
        for (;;) {
                nft_begin(n);
                nft_table_add(n, NFT_IP6, "disturbed", false);
                nft_table_del(n, NFT_IP6, "disturbed");
                if (nft_commit(n) != ERR_NONE)
                        _exit(1);
        }
}

static void count(void *arg, const char *chain, uint64_t handle)
{
        (void)chain;
        (void)handle;
        ++*(int *)arg;
}

/* What is left of an answer that the kernel broke off must not be taken for the next one. */
static void a_dump_that_was_disturbed_is_got_over(void **state)
{
        (void)state;
        if (unshare(CLONE_NEWNET) != 0)
                skip_because("a network of its own needs root");
        struct nft *n = nft_open();
        assert_non_null(n);
        for (int i = 0; i < BATCHES; i++)
                assert_int_equal(add_rules(n, RULES_EACH), ERR_NONE);
        pid_t pid = start_disturber();
        assert_true(pid > 0);
        enum err e = ERR_NONE;
        mono_t end = mono_add_ms(mono_now(), 20000);
        int got;
        while (e == ERR_NONE && !mono_reached(mono_now(), end)) {
                got = 0;
                e = nft_each_own_rule(n, at, count, &got);
        }
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(e, ERR_NOT_FOUND);   /* it was disturbed, and says so */
        got = 0;
        assert_int_equal(nft_each_own_rule(n, at, count, &got), ERR_NONE);
        assert_int_equal(got, BATCHES * RULES_EACH);
        nft_close(n);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_dump_that_was_disturbed_is_got_over),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
