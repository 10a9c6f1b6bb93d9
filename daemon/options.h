/* daemon/options.h - the command line of tailscaled.  Flags as in the reference: -x, --x, -x=v, -x v. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "daemon/sizes.h"

struct options {
        char state[512];       /* path of the state file, or "mem:" */
        char socket[108];
        char tun[64];
        bool userspace;        /* --tun=userspace-networking: no device */
        bool or_userspace;     /* --tun=NAME,userspace-networking: none if there can be none */
        struct addr socks5, http_proxy;   /* to listen at; port 0: any; no IP: not wanted */
        const struct sizes *memory;
        uint16_t port;
        int verbose;
        int threads;           /* that help to seal and open; -1: not given */
        bool cleanup, version, help;
};

/* env: PORT, TS_LOG_VERBOSITY and the XDG folders are read through it (getenv in production).
 * ERR_FORMAT: *ret_why says which flag and what is wrong (static storage); *ret_exit is the exit code the
 * reference uses: 2 for flags, 1 for stray words. */
ERR_CHECK enum err options_parse(int argc, char *const *argv, const char *(*env)(const char *), bool root,
        struct options *ret, const char **ret_why, int *ret_exit);
const char *options_usage(void);
/* How many threads help to seal and open on a host with so many processors. */
unsigned options_threads(const struct options *o, unsigned processors);
