/* daemon/sizes.h - how much the daemon may hold at a time, by --memory.
 *
 * Constant values, chosen once at start and given to whoever makes the things they bound; any thread.  What is not here
 * has the same bound everywhere.
 */
#pragma once

#include <stddef.h>

struct sizes {
        const char *word;       /* of --memory */
        size_t packets;         /* of 2 KiB: that wait for a handshake or a relay */
        int socket_bytes;       /* what the kernel may hold for a UDP socket, each way */
        size_t service_bytes;   /* packets to and from the service addresses, each way; a power of two */
        size_t stack_bytes;     /* the same without a TUN device, where it is all of them */
        size_t dns_answers;     /* that a resolver keeps */
        size_t forwarded;       /* TCP connections that go on from the stack to the kernel */
};

extern const struct sizes sizes_normal, sizes_small;

/* NULL: there is no such word. */
const struct sizes *sizes_by_word(const char *word);
