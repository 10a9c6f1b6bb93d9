/* tests/sim/main.c - runs seeds, one world each, and tells which of them failed and how to see it again.
 *
 *      sim [-s SEED] [-n COUNT] [-j JOBS] [-x] [-p] [-v]
 *
 * Seeds SEED to SEED + COUNT - 1, shared out to JOBS processes.  -x ends each of these at its first failure, else it
 * goes on to the tenth.  -p prints what came of each seed: a change that should change nothing must leave it alone.
 * -v prints what happens, and runs one seed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/crypto.h"
#include "tests/sim/rng.h"
#include "tests/sim/world.h"

enum {
        FAILURES_MAX = 10,
        TWICE_EVERY = 50,
        FLUKE_EVERY = 5000,   /* ten times what was seen; more, and paths are proven that are none */
        JOBS_MAX = 64,
};

/* What a worker is at, for its parent to know. */
struct progress {
        uint64_t seed, flukes;
};

struct options {
        uint64_t seed, count;
        unsigned jobs;
        unsigned failures;   /* enough to stop */
        bool print, verbose;
};

static const char *program;

static void report(uint64_t seed, const char *why)
{
        printf("FAIL seed %llu: %s\n     again: %s -s %llu -v\n", (unsigned long long)seed, why, program, (unsigned long long)seed);
        fflush(stdout);
}

/* One in so many is run a second time: the same must happen. */
static bool run_seed(uint64_t seed, bool print, bool verbose, uint64_t *flukes)
{
        struct run_result r = world_run(seed, verbose);
        *flukes += r.flukes > 0;
        if (print)
                printf("seed %llu: %d nodes, %.0f s, hash %016llx\n", (unsigned long long)seed, r.nodes, r.seconds,
                        (unsigned long long)r.hash);
        if (!r.ok) {
                report(seed, r.why);
                return false;
        }
        if (seed % TWICE_EVERY == 0 && !verbose && world_run(seed, false).hash != r.hash) {
                report(seed, "the second run was another one");
                return false;
        }
        return true;
}

static bool tell(int progress, unsigned worker, const struct progress *p)
{
        return pwrite(progress, p, sizeof(*p), (off_t)(worker * sizeof(*p))) == sizeof(*p);
}

/* Each jobs-th seed from the worker's first. */
static int work(const struct options *o, unsigned worker, int progress)
{
        unsigned failures = 0;
        struct progress p = {0};
        for (uint64_t i = worker; i < o->count && failures < o->failures; i += o->jobs) {
                p.seed = o->seed + i;
                if (!tell(progress, worker, &p))
                        return 2;
                failures += !run_seed(p.seed, o->print, false, &p.flukes);
        }
        fflush(stdout);
        if (!tell(progress, worker, &p))
                return 2;
        return failures > 0;
}

static int run_all(const struct options *o)
{
        FILE *progress = tmpfile();
        pid_t pid[JOBS_MAX];
        int bad = 0;
        uint64_t flukes = 0;
        if (progress == NULL) {
                fprintf(stderr, "sim: no temporary file: %s\n", strerror(errno));
                return 2;
        }
        for (unsigned w = 0; w < o->jobs; w++) {
                fflush(stdout);
                pid[w] = fork();
                if (pid[w] == 0)
                        _exit(work(o, w, fileno(progress)));
        }
        for (unsigned w = 0; w < o->jobs; w++) {
                int status;
                struct progress p = {0};
                if (pid[w] < 0 || waitpid(pid[w], &status, 0) < 0) {
                        fprintf(stderr, "sim: a worker could not be run: %s\n", strerror(errno));
                        bad = 2;
                        continue;
                }
                (void)!pread(fileno(progress), &p, sizeof(p), (off_t)(w * sizeof(p)));
                flukes += p.flukes;
                if (!WIFEXITED(status) || WEXITSTATUS(status) > 1) {
                        char why[64];
                        snprintf(why, sizeof(why), "the process died (status %#x)", (unsigned)status);
                        report(p.seed, why);
                        bad = 1;
                } else if (WEXITSTATUS(status) == 1) {
                        bad = 1;
                }
        }
        if (flukes > 0)
                printf("%llu worlds had a direct path by a fluke\n", (unsigned long long)flukes);
        if (flukes > 1 + o->count / FLUKE_EVERY) {
                printf("FAIL: no more than %llu may\n", (unsigned long long)(1 + o->count / FLUKE_EVERY));
                bad = 1;
        }
        fclose(progress);
        return bad;
}

static int usage(void)
{
        fprintf(stderr, "usage: %s [-s SEED] [-n COUNT] [-j JOBS] [-x] [-p] [-v]\n", program);
        return 2;
}

static bool number(const char *s, uint64_t *ret)
{
        char *end;
        errno = 0;
        *ret = strtoull(s, &end, 10);
        return errno == 0 && end != s && *end == '\0';
}

int main(int argc, char **argv)
{
        struct options o = {.seed = 1, .failures = FAILURES_MAX};
        uint64_t jobs = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
        bool one = false;
        uint64_t flukes = 0;
        program = argv[0];
        for (int c; (c = getopt(argc, argv, "s:n:j:xpv")) != -1;) {
                bool good = true;
                if (c == 's')
                        one = good = number(optarg, &o.seed);
                else if (c == 'n')
                        good = number(optarg, &o.count);
                else if (c == 'j')
                        good = number(optarg, &jobs) && jobs > 0;
                else if (c == 'x')
                        o.failures = 1;
                else if (c == 'p')
                        o.print = true;
                else if (c == 'v')
                        o.verbose = true;
                else
                        good = false;
                if (!good)
                        return usage();
        }
        if (optind != argc)
                return usage();
        o.jobs = jobs > JOBS_MAX ? JOBS_MAX : (unsigned)jobs;
        rng_own_crypto(0);
        if (crypto_init() != ERR_NONE) {
                fprintf(stderr, "sim: no crypto\n");
                return 2;
        }
        if (o.verbose || (one && o.count == 0))
                return run_seed(o.seed, o.print || o.verbose, o.verbose, &flukes) ? 0 : 1;
        if (o.count == 0)
                o.count = 1000;
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        int rc = run_all(&o);
        clock_gettime(CLOCK_MONOTONIC, &b);
        printf("%llu seeds from %llu, %.1f s\n", (unsigned long long)o.count, (unsigned long long)o.seed,
                (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
        return rc;
}
