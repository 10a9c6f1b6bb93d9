/* What sealing and opening a packet costs in each backend, by length and by burst.  Prints, judges nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/aead.h"
#include "base/crypto.h"

enum {
        BURST = 49,
        ROOM = 1500,
        REPEATS = 30,
        PACKETS = 1920,
        HELPERS_MAX = 3,
        SHARED_LEN = 1280,
        SHARED_BURSTS = 100,
        WALK_NS = 15000,   /* what the rest of a burst's walk takes, about */
};

static uint8_t text[BURST][ROOM], copy[BURST][ROOM];

static double now_ns(clockid_t clock)
{
        struct timespec t;
        clock_gettime(clock, &t);
        return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void fill(struct aead_op *ops, size_t n, size_t len, bool open)
{
        for (size_t i = 0; i < n; i++)
                ops[i] = (struct aead_op){.counter = i, .src = open ? copy[i] : text[i], .dst = open ? text[i] : copy[i],
                        .len = open ? len + AEAD_TAG_LEN : len};
}

/* Nanoseconds of the processor a packet, the best of many. */
static double measure(struct aead *a, size_t n, size_t len, bool open)
{
        struct aead_op ops[BURST];
        double best = 1e12;
        fill(ops, n, len, false);
        aead_seal_burst(a, ops, n);
        fill(ops, n, len, open);
        for (int r = 0; r < REPEATS; r++) {
                double start = now_ns(CLOCK_THREAD_CPUTIME_ID);
                for (size_t k = 0; k < PACKETS / n; k++) {
                        if (open)
                                aead_open_burst(a, ops, n);
                        else
                                aead_seal_burst(a, ops, n);
                }
                double each = (now_ns(CLOCK_THREAD_CPUTIME_ID) - start) / PACKETS;
                best = each < best ? each : best;
        }
        return best;
}

static int by_size(const void *a, const void *b)
{
        const double *x = a, *y = b;
        return *x < *y ? -1 : *x > *y;
}

/* Of sealing super-packets of BURST packets, each after gap_ns of other work: nanoseconds a packet until it is done, the
 * median of many, and those of all processors, spent on it and on waiting, on the average. */
static void measure_shared(struct aead *a, double gap_ns, double *ret_wall, double *ret_cpu)
{
        struct aead_op ops[BURST];
        fill(ops, BURST, SHARED_LEN, false);
        double cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
        double wall[REPEATS] = {0};
        for (int r = 0; r < REPEATS; r++) {
                double start = now_ns(CLOCK_MONOTONIC);
                for (int k = 0; k < SHARED_BURSTS; k++) {
                        double free_at = start + gap_ns;
                        do
                                start = now_ns(CLOCK_MONOTONIC);
                        while (start < free_at);
                        aead_seal_burst(a, ops, BURST);
                        double end = now_ns(CLOCK_MONOTONIC);
                        wall[r] += end - start;
                        start = end;
                }
        }
        cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        qsort(wall, REPEATS, sizeof(wall[0]), by_size);
        *ret_wall = wall[REPEATS / 2] / SHARED_BURSTS / BURST;
        *ret_cpu = (cpu / REPEATS / SHARED_BURSTS - gap_ns) / BURST;
}

static void show_shared(void)
{
        static const uint8_t key[AEAD_KEY_LEN] = {1};
        printf("\nns until a packet of %d B is sealed and (ns of all processors), super-packets of %d: one straight after "
               "the other, and each after %d us of other work\n%-12s", SHARED_LEN, BURST, WALK_NS / 1000, "");
        for (unsigned h = 0; h <= HELPERS_MAX; h++)
                printf(" %19u helper%s", h, h == 1 ? " " : "s");
        printf("\n");
        for (size_t b = 0; b < aead_backend_count(); b++) {
                if (!aead_backend_works(b))
                        continue;
                aead_backend_choose(b);
                printf("%-12s", aead_backend_name(b));
                for (unsigned h = 0; h <= HELPERS_MAX; h++) {
                        struct aead *a = aead_new(key);
                        struct aead_crew *crew = aead_crew_new(h);
                        double wall[2] = {0}, cpu[2] = {0};
                        if (a == NULL || crew == NULL)
                                break;
                        aead_share(a, h > 0 ? crew : NULL);
                        for (int g = 0; g < 2; g++)
                                measure_shared(a, g * WALK_NS, &wall[g], &cpu[g]);
                        printf("  %5.0f (%4.0f)  %5.0f (%4.0f)", wall[0], cpu[0], wall[1], cpu[1]);
                        aead_free(a);
                        aead_crew_free(crew);
                }
                printf("\n");
        }
}

int main(void)
{
        static const size_t lens[] = {0, 64, 96, 512, 1280, 1424}, bursts[] = {1, 8, 48};
        if (crypto_init() != ERR_NONE)
                return 1;
        size_t usual = aead_backend_chosen();
        printf("ns to seal / to open a packet, in bursts of 1, 8 and 48\n%-12s", "");
        for (size_t l = 0; l < sizeof(lens) / sizeof(lens[0]); l++)
                printf(" %29zu B", lens[l]);
        printf("\n");
        for (size_t b = 0; b < aead_backend_count(); b++) {
                static const uint8_t key[AEAD_KEY_LEN] = {1};
                printf("%-10s %c", aead_backend_name(b), b == usual ? '*' : ' ');
                if (!aead_backend_works(b)) {
                        printf(" not on this processor\n");
                        continue;
                }
                aead_backend_choose(b);
                struct aead *a = aead_new(key);
                for (size_t l = 0; a != NULL && l < sizeof(lens) / sizeof(lens[0]); l++) {
                        printf("  ");
                        for (size_t n = 0; n < sizeof(bursts) / sizeof(bursts[0]); n++)
                                printf(" %4.0f/%-4.0f", measure(a, bursts[n], lens[l], false),
                                       measure(a, bursts[n], lens[l], true));
                }
                printf("\n");
                aead_free(a);
        }
        printf("* in use\n");
        show_shared();
        return 0;
}
