#include "daemon/harden.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

const char *harden(void)
{
        const struct rlimit none = {0, 0};
        const struct rlimit any = {RLIM_INFINITY, RLIM_INFINITY};
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)prctl(PR_SET_DUMPABLE, 0);

        /* Under a limit, whatever is mapped beyond it fails: better to be swapped than to break down.  With
         * a limit of zero only those may lock to whom no limit applies. */
        if (setrlimit(RLIMIT_MEMLOCK, &any) != 0)
                (void)setrlimit(RLIMIT_MEMLOCK, &none);
        if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
                return strerror(errno);
        return NULL;
}
