#include "daemon/localapi/socket.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"

static char why_text[512];

static enum err complain(const char **ret_why, const char *path, const char *text)
{
        snprintf(why_text, sizeof(why_text), "%s: %s", path, text);
        *ret_why = why_text;
        return ERR_IO;
}

static enum err complain_errno(const char **ret_why, const char *path, int error)
{
        char text[200];
        snprintf(text, sizeof(text), "%s%s", strerror(error), error == EACCES || error == EPERM ?
                ": run as root (or give --socket and --statedir where this user may write)" :
                ": the socket cannot be made there, give a path in a folder with --socket");
        return complain(ret_why, path, text);
}

/* If not: errno. */
static bool somebody_listens(const struct sockaddr_un *sa)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return false;
        bool yes = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0;
        int error = errno;
        close(fd);
        errno = error;
        return yes;
}

void lapi_socket_remove_dead(const char *path)
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        struct stat st;
        if (!str_copy(sa.sun_path, sizeof(sa.sun_path), path) || lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode))
                return;
        if (!somebody_listens(&sa) && errno == ECONNREFUSED)
                (void)unlink(path);
}

static bool make_folder(const char *path)
{
        char dir[108];
        (void)str_copy(dir, sizeof(dir), path);
        for (char *p = dir + 1; (p = strchr(p, '/')) != NULL; p++) {
                *p = '\0';
                bool made = mkdir(dir, 0755) == 0;
                if (made ? chmod(dir, 0755) < 0 /* whatever the umask took */ : errno != EEXIST)
                        return false;
                *p = '/';
        }
        return true;
}

enum err lapi_socket_open(const char *path, int *ret_fd, const char **ret_why)
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        struct stat st;
        if (!str_copy(sa.sun_path, sizeof(sa.sun_path), path))
                return complain(ret_why, path, "the path is too long for a socket (107 characters)");
        if (somebody_listens(&sa))
                return complain(ret_why, path, "address already in use: another tailscaled is running");
        if (lstat(path, &st) == 0) {
                if (!S_ISSOCK(st.st_mode))
                        return complain(ret_why, path, "is there and no socket: move it away or use --socket");
                if (unlink(path) < 0)
                        return complain_errno(ret_why, path, errno);
        }
        if (!make_folder(path))
                return complain_errno(ret_why, path, errno);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return complain(ret_why, path, strerror(errno));
        if (bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 || chmod(path, 0666) < 0 || listen(fd, 128) < 0) {
                int error = errno;
                close(fd);
                return complain_errno(ret_why, path, error);
        }
        *ret_fd = fd;
        return ERR_NONE;
}

struct lapi_peer lapi_socket_peer(int fd)
{
        struct ucred c;
        socklen_t len = sizeof(c);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len) < 0)
                return (struct lapi_peer){0};
        return (struct lapi_peer){.known = true, .uid = c.uid, .pid = c.pid};
}

static bool is_user(uid_t uid, const char *name)
{
        struct passwd pw, *found = NULL;
        char room[4096];
        if (name == NULL || name[0] == '\0' || name[0] == '-' || strspn(name, "0123456789") == strlen(name))
                return false;
        return getpwnam_r(name, &pw, room, sizeof(room), &found) == 0 && found != NULL && found->pw_uid == uid;
}

bool lapi_peer_may_write(const struct lapi_peer *p, const char *operator_user)
{
        if (!p->known)
                return false;
        return p->uid == 0 || p->uid == geteuid() || is_user(p->uid, operator_user);
}
