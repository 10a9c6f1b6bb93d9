#include "daemon/host/patience.h"

#include <stdatomic.h>

static _Atomic int64_t end_ns = INT64_MAX;

void patience_ends(mono_t at)
{
        atomic_store(&end_ns, at.ns);
}

int64_t patience_ms(int64_t most)
{
        int64_t end = atomic_load(&end_ns);
        int64_t left = end == INT64_MAX ? most : mono_diff_ms((mono_t){end}, mono_now());
        return left < 0 ? 0 : left < most ? left : most;
}
