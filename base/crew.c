#include "base/crew.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mono.h"
#include "base/thread.h"

enum {
        CACHE_LINE = 64,
        SPIN_US = 50,        /* about what the rest of a burst's walk takes */
        SPIN_LOOKS = 32,     /* between two looks at the clock */
        LIVELY = 4,          /* that many runs close to each other pay for a wake-up */
};

#define STOP UINT_MAX                      /* as the number of pieces: go home */
#define OWNER_SLEEPS (UINT_MAX / 2 + 1)    /* in the count of done pieces */

struct helper {
        struct crew *crew;
        unsigned who;
        pthread_t thread;
};

/* Whoever lowers `left` from n to n - 1 has taken piece n - 1.  fn and arg are read by those alone who have taken a piece,
 * and written by the owner only when every piece is done. */
struct crew {
        crew_fn *fn;
        void *arg;
        mono_t ended;                /* the last run */
        unsigned lively;             /* runs that came soon after the one before */
        unsigned helpers;
        struct helper *helper;
        _Alignas(CACHE_LINE) atomic_uint left;   /* helpers sleep on it */
        _Alignas(CACHE_LINE) atomic_uint done;   /* by helpers, and OWNER_SLEEPS */
        atomic_uint asleep;
};

static void futex_wait(atomic_uint *word, unsigned seen)
{
        (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(atomic_uint *word, int n)
{
        (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
}

/* Looks at the word until (it == value) is as wanted, for SPIN_US at most.  Returns what it saw last. */
static unsigned spin(atomic_uint *word, unsigned value, bool wanted)
{
        for (mono_t until = {0};;) {
                unsigned seen = 0;
                for (int i = 0; i < SPIN_LOOKS; i++) {
                        seen = atomic_load_explicit(word, memory_order_acquire);
                        if ((seen == value) == wanted)
                                return seen;
                        pause_briefly();
                }
                mono_t now = mono_now();
                if (!mono_is_set(until))
                        until = mono_add_ns(now, SPIN_US * NS_PER_US);
                else if (mono_reached(now, until))
                        return seen;
        }
}

/* Acquire: what the owner wrote before it set `left`, whoever lowered it since. */
static bool take(struct crew *c, unsigned *ret_piece)
{
        unsigned left = atomic_load_explicit(&c->left, memory_order_relaxed);
        while (left != 0 && left != STOP) {
                if (atomic_compare_exchange_weak_explicit(&c->left, &left, left - 1, memory_order_acquire,
                            memory_order_relaxed)) {
                        *ret_piece = left - 1;
                        return true;
                }
        }
        return false;
}

/* ---- a helper ---- */

static void help_once(struct crew *c, unsigned who)
{
        unsigned piece;
        while (take(c, &piece)) {
                c->fn(c->arg, who, piece);
                if ((atomic_fetch_add_explicit(&c->done, 1, memory_order_release) & OWNER_SLEEPS) != 0)
                        futex_wake(&c->done, 1);
        }
}

static void *help(void *arg)
{
        const struct helper *h = arg;
        struct crew *c = h->crew;
        unsigned left;
        (void)pthread_setname_np(pthread_self(), "helper");   /* as top shows it */
        while ((left = spin(&c->left, 0, false)) != STOP) {
                if (left != 0) {
                        help_once(c, h->who);
                } else {
                        atomic_fetch_add(&c->asleep, 1);
                        futex_wait(&c->left, 0);
                        atomic_fetch_sub(&c->asleep, 1);
                }
        }
        return NULL;
}

/* ---- the owner ---- */

struct crew *crew_new(unsigned helpers)
{
        int error = 0;
        struct helper *all = calloc(helpers + 1, sizeof(*all));
        struct crew *c = aligned_alloc(CACHE_LINE, sizeof(*c));
        if (all == NULL || c == NULL) {
                free(all);
                free(c);
                errno = ENOMEM;
                return NULL;
        }
        *c = (struct crew){.helper = all};
        for (; c->helpers < helpers && error == 0; c->helpers += error == 0) {
                struct helper *h = &all[c->helpers];
                *h = (struct helper){.crew = c, .who = c->helpers + 1};
                error = thread_start(&h->thread, help, h);
        }
        if (error == 0)
                return c;
        crew_free(c);
        errno = error;
        return NULL;
}

void crew_free(struct crew *c)
{
        if (c == NULL)
                return;
        atomic_store(&c->left, STOP);
        futex_wake(&c->left, INT_MAX);
        for (unsigned i = 0; i < c->helpers; i++)
                (void)pthread_join(c->helper[i].thread, NULL);
        free(c->helper);
        free(c);
}

/* A helper that was interrupted may be long in coming; then it needs the processor more than we do. */
static void await(struct crew *c, unsigned theirs)
{
        unsigned seen = spin(&c->done, theirs, true);
        while ((seen & ~OWNER_SLEEPS) != theirs) {
                seen = atomic_fetch_or_explicit(&c->done, OWNER_SLEEPS, memory_order_acquire) | OWNER_SLEEPS;
                if (seen != (theirs | OWNER_SLEEPS))
                        futex_wait(&c->done, seen);
                seen = atomic_load_explicit(&c->done, memory_order_acquire);
        }
}

void crew_run(struct crew *c, unsigned pieces, crew_fn *fn, void *arg)
{
        unsigned mine = 0, piece;
        bool soon = mono_diff_ns(mono_now(), c->ended) < SPIN_US * NS_PER_US;
        c->lively = !soon ? 0 : c->lively < LIVELY ? c->lively + 1 : LIVELY;
        c->fn = fn;
        c->arg = arg;
        atomic_store_explicit(&c->done, 0, memory_order_relaxed);
        atomic_store(&c->left, pieces);
        if (c->lively == LIVELY && atomic_load(&c->asleep) > 0)
                futex_wake(&c->left, 1);
        for (; take(c, &piece); mine++)
                fn(arg, 0, piece);
        await(c, pieces - mine);
        c->ended = mono_now();
}
