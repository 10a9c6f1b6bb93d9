/* daemon/localapi/socket.h - the unix socket of the local API: making it, and who is at the other end. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/* Detects a live daemon, removes a stale file, makes the folder (0755), binds (0666) and listens.
 * *ret_why: a sentence, static storage. */
ERR_CHECK enum err lapi_socket_open(const char *path, int *ret_fd, const char **ret_why);

/* Removes a socket that a dead daemon left; anything else, or one that somebody listens on, stays. */
void lapi_socket_remove_dead(const char *path);

struct lapi_peer {
        bool known;
        uid_t uid;
        pid_t pid;
};
struct lapi_peer lapi_socket_peer(int fd);
/* Root, the daemon's own user, or the user of that name (looked up now; all digits is no name). */
bool lapi_peer_may_write(const struct lapi_peer *p, const char *operator_user);
