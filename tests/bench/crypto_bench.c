/* What sealing and opening a packet costs in each backend, by length and by burst.  Prints, judges nothing. */
#include <stdio.h>
#include <time.h>

#include "base/aead.h"
#include "base/crypto.h"

enum { BURST = 48, ROOM = 1500, REPEATS = 30, PACKETS = 1920 };

static uint8_t text[BURST][ROOM], copy[BURST][ROOM];

/* Of the processor: others on this host do not count. */
static double now_ns(void)
{
        struct timespec t;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void fill(struct aead_op *ops, size_t n, size_t len, bool open)
{
        for (size_t i = 0; i < n; i++)
                ops[i] = (struct aead_op){.counter = i, .src = open ? copy[i] : text[i], .dst = open ? text[i] : copy[i],
                        .len = open ? len + AEAD_TAG_LEN : len};
}

/* Nanoseconds a packet, the best of many. */
static double measure(struct aead *a, size_t n, size_t len, bool open)
{
        struct aead_op ops[BURST];
        double best = 1e12;
        fill(ops, n, len, false);
        aead_seal_burst(a, ops, n);
        fill(ops, n, len, open);
        for (int r = 0; r < REPEATS; r++) {
                double start = now_ns();
                for (size_t k = 0; k < PACKETS / n; k++) {
                        if (open)
                                aead_open_burst(a, ops, n);
                        else
                                aead_seal_burst(a, ops, n);
                }
                double each = (now_ns() - start) / PACKETS;
                best = each < best ? each : best;
        }
        return best;
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
        return 0;
}
