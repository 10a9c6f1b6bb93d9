#include "daemon/sdnotify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"

static struct sockaddr_un target;
static socklen_t target_len;   /* 0: nobody listens */

void sdnotify_init(void)
{
        const char *path = getenv("NOTIFY_SOCKET");
        if (path == NULL || (path[0] != '/' && path[0] != '@'))
                return;
        target.sun_family = AF_UNIX;
        if (str_copy(target.sun_path, sizeof(target.sun_path), path)) {
                target_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
                if (path[0] == '@')   /* an abstract name */
                        target.sun_path[0] = '\0';
        }
        unsetenv("NOTIFY_SOCKET");
}

void sdnotify(const char *text)
{
        if (target_len == 0)
                return;
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return;
        (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&target, target_len);
        close(fd);
}
