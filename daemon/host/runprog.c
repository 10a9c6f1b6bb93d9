#include "daemon/host/runprog.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mono.h"
#include "daemon/host/patience.h"

enum err runprog_find(const char *name, char path[RUNPROG_PATH_MAX])
{
        static const char *const folders[] = {"/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"};
        for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
                int n = snprintf(path, RUNPROG_PATH_MAX, "%s/%s", folders[i], name);
                if (n > 0 && n < RUNPROG_PATH_MAX && access(path, X_OK) == 0)
                        return ERR_NONE;
        }
        return ERR_NOT_FOUND;
}

/* Files in memory rather than pipes: nothing can block on them, and a daemon that the program leaves
 * running does not keep us waiting for the end of its output. */
static int memory_file(const char *data, size_t len)
{
        int fd = memfd_create("runprog", MFD_CLOEXEC);
        if (fd < 0)
                return -1;
        if (len > 0 && (write(fd, data, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET) != 0)) {
                close(fd);
                return -1;
        }
        return fd;
}

static int spawn(const struct runprog *r, int in, int out, pid_t *ret_pid)
{
        static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        static char *const env[] = {path, NULL};
        posix_spawn_file_actions_t fa;
        posix_spawnattr_t attr;
        sigset_t none, usual;
        sigemptyset(&none);
        sigemptyset(&usual);
        sigaddset(&usual, SIGPIPE);
        posix_spawn_file_actions_init(&fa);
        posix_spawnattr_init(&attr);
        posix_spawn_file_actions_adddup2(&fa, in, 0);
        posix_spawn_file_actions_adddup2(&fa, out, 1);
        posix_spawn_file_actions_adddup2(&fa, out, 2);
        posix_spawn_file_actions_addchdir_np(&fa, r->dir != NULL ? r->dir : "/");
        posix_spawnattr_setflags(&attr,
                                 POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
        posix_spawnattr_setsigmask(&attr, &none);
        posix_spawnattr_setsigdefault(&attr, &usual);
        posix_spawnattr_setpgroup(&attr, 0);
        /* posix_spawn() takes the strings as writable and does not write them. */
        union {
                const char *const *given;
                char *const *taken;
        } argv = {.given = r->argv};
        int rc = posix_spawn(ret_pid, r->argv[0], &fa, &attr, argv.taken, env);
        posix_spawn_file_actions_destroy(&fa);
        posix_spawnattr_destroy(&attr);
        return rc;
}

/* False: it did not end in time. */
static bool wait_for(pid_t pid, int timeout_ms, bool may_finish, int *status)
{
        enum {
                LOOK_MS = 20,      /* without pidfd (before Linux 5.3) there is nothing to poll */
                HURRY_MS = 100,    /* to see that patience ends */
        };
        int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        mono_t end = mono_add_ms(mono_now(), timeout_ms);
        bool ended = waitpid(pid, status, WNOHANG) == pid;
        while (!ended) {
                int64_t left = patience_ms(mono_diff_ms(end, mono_now()) + 1), slice = fd >= 0 ? HURRY_MS : LOOK_MS;
                if (left <= 0)
                        break;
                (void)poll(&p, fd >= 0 ? 1 : 0, (int)(left < slice ? left : slice));
                ended = waitpid(pid, status, WNOHANG) == pid;
        }
        if (fd >= 0)
                close(fd);
        if (ended || may_finish)
                return ended;
        (void)kill(-pid, SIGKILL);
        while (waitpid(pid, status, 0) < 0 && errno == EINTR)
                ;
        return false;
}

static void collect(int fd, struct buf *out)
{
        char chunk[1024];
        ssize_t n;
        off_t at = 0;
        while (out->len < out->max && (n = pread(fd, chunk, sizeof(chunk), at)) > 0) {
                size_t room = out->max - out->len;
                buf_add(out, chunk, (size_t)n < room ? (size_t)n : room);
                at += n;
        }
}

enum err runprog(const struct runprog *r, struct buf *out, int *ret_status)
{
        enum err e = ERR_IO;
        int status = 0, rc = 0;
        pid_t pid;
        int in = memory_file(r->input, r->input != NULL ? r->input_len : 0);
        int to = memory_file(NULL, 0);
        if (in < 0 || to < 0)
                goto out;
        rc = spawn(r, in, to, &pid);
        if (rc != 0) {
                errno = rc;
                goto out;
        }
        e = wait_for(pid, r->timeout_ms, r->may_finish, &status) ? ERR_NONE : ERR_TIMEOUT;
        collect(to, out);
        if (e == ERR_NONE)
                *ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
out:
        rc = errno;
        if (in >= 0)
                close(in);
        if (to >= 0)
                close(to);
        errno = rc;
        return e;
}
