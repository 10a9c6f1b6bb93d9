#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crypto.h"

/* Keeps the reason over a call that has one of its own. */
static void close_quietly(int fd)
{
        int error = errno;
        (void)close(fd);
        errno = error;
}

static void unlink_quietly(const char *path)
{
        int error = errno;
        (void)unlink(path);
        errno = error;
}

void file_keep_standard(void)
{
        int fd;
        while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
                ;
        if (fd >= 0)
                (void)close(fd);
}

static ssize_t read_some(int fd, void *to, size_t n)
{
        ssize_t got;
        while ((got = read(fd, to, n)) < 0 && errno == EINTR)
                ;
        return got;
}

enum err file_read_fd(int fd, struct buf *ret)
{
        char chunk[8192];
        ssize_t n = 0;
        while (buf_ok(ret) && (n = read_some(fd, chunk, sizeof(chunk))) > 0)
                buf_add(ret, chunk, (size_t)n);
        int error = errno;
        crypto_wipe(chunk, sizeof(chunk));
        errno = n < 0 ? error : EFBIG;
        return n < 0 ? ERR_IO : buf_ok(ret) ? ERR_NONE : ERR_FULL;
}

enum err file_read(const char *path, struct buf *ret)
{
        struct stat st;
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
        enum err e;
        if (fstat(fd, &st) != 0) {
                e = ERR_IO;
        } else if (S_ISREG(st.st_mode)) {
                e = file_read_fd(fd, ret);
        } else {
                e = ERR_FORMAT;
                errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
        }
        close_quietly(fd);
        return e;
}

size_t file_head(const char *path, char *out, size_t cap)
{
        size_t len = 0;
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        for (ssize_t n = 1; fd >= 0 && n > 0 && len < cap - 1; len += n > 0 ? (size_t)n : 0)
                n = read_some(fd, out + len, cap - 1 - len);
        if (fd >= 0)
                (void)close(fd);
        out[len] = '\0';
        return len;
}

static bool write_all(int fd, const char *data, size_t len)
{
        while (len > 0) {
                ssize_t n = write(fd, data, len);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return false;
                data += n;
                len -= (size_t)n;
        }
        return true;
}

/* Nobody else may open it before it has its mode. */
enum err file_write_new(const char *path, const void *data, size_t len, mode_t mode)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return ERR_IO;
        bool ok = write_all(fd, data, len) && fchmod(fd, mode) == 0 && fsync(fd) == 0;
        close_quietly(fd);
        if (!ok)
                unlink_quietly(path);
        return ok ? ERR_NONE : ERR_IO;
}

/* The name is on disk too; where that cannot be, it will be there a little later. */
static void sync_folder_of(const char *path)
{
        char dir[4096];
        const char *slash = strrchr(path, '/');
        size_t len = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
        if (len >= sizeof(dir))
                return;
        memcpy(dir, path, len);
        dir[len] = '\0';
        int fd = open(len > 0 ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return;
        (void)fsync(fd);
        (void)close(fd);
}

enum err file_replace(const char *path, const char *temp, const void *data, size_t len, mode_t mode)
{
        (void)unlink(temp);
        enum err e = file_write_new(temp, data, len, mode);
        if (e != ERR_NONE)
                return e;
        if (rename(temp, path) != 0) {
                unlink_quietly(temp);
                return ERR_IO;
        }
        sync_folder_of(path);
        return ERR_NONE;
}
