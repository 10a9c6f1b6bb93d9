#include "daemon/host/hostfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"

enum { SETTINGS_MAX = 8, NAME_MAX_LEN = 96, VALUE_MAX = HOSTFILE_NOTE_MAX };

/* Or a note, whose name has no '/'. */
struct setting {
        char name[NAME_MAX_LEN];
        char before[VALUE_MAX];
};

struct hostfile {
        int fd;
        char path[256], temp[264];
        struct setting at[SETTINGS_MAX];
        size_t count;
};

static bool read_setting(const char *name, char out[VALUE_MAX])
{
        char path[NAME_MAX_LEN + 16];
        snprintf(path, sizeof(path), "/proc/sys/%s", name);
        bool is_there = file_head(path, out, VALUE_MAX) > 0;
        out[strcspn(out, "\n")] = '\0';
        return is_there;
}

static enum err write_setting(const char *name, const char *value)
{
        char path[NAME_MAX_LEN + 16];
        snprintf(path, sizeof(path), "/proc/sys/%s", name);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        ssize_t n = fd >= 0 ? write(fd, value, strlen(value)) : -1;
        int error = errno;
        if (fd >= 0)
                close(fd);
        errno = error;
        return n == (ssize_t)strlen(value) ? ERR_NONE : error == EACCES || error == EPERM ? ERR_PERMISSION : ERR_IO;
}

static bool is_note(const char *name)
{
        return strchr(name, '/') == NULL;
}

/* Only settings of the network, and no way out of there. */
static bool is_allowed(const char *name)
{
        return name[0] != '\0' && (is_note(name) || (strncmp(name, "net/", 4) == 0 && strstr(name, "..") == NULL));
}

/* "net/ipv4/conf/all/src_valid_mark 0", one a line.  A line that is no such pair is passed over. */
static void load(struct hostfile *h)
{
        char text[SETTINGS_MAX * (NAME_MAX_LEN + VALUE_MAX)], *line = text;
        ssize_t n = pread(h->fd, text, sizeof(text) - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        while (*line != '\0' && h->count < SETTINGS_MAX) {
                char *next = line + strcspn(line, "\n");
                if (*next != '\0')
                        *next++ = '\0';
                char *space = strchr(line, ' ');
                struct setting *s = &h->at[h->count];
                if (space != NULL)
                        *space = '\0';
                if (space != NULL && is_allowed(line))
                        h->count += str_copy(s->name, sizeof(s->name), line) &&
                                str_copy(s->before, sizeof(s->before), space + 1);
                line = next;
        }
}

/* The lock is on what open() found, so the new file is locked before it gets the name. */
static enum err store(struct hostfile *h)
{
        int fd = open(h->temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return ERR_IO;
        struct buf b;
        buf_init(&b, SETTINGS_MAX * (NAME_MAX_LEN + VALUE_MAX));
        for (size_t i = 0; i < h->count; i++)
                buf_printf(&b, "%s %s\n", h->at[i].name, h->at[i].before);
        bool ok = flock(fd, LOCK_EX | LOCK_NB) == 0 && (b.len == 0 || write(fd, b.data, b.len) == (ssize_t)b.len) &&
                rename(h->temp, h->path) == 0;
        buf_done(&b);
        int error = errno;
        if (!ok)
                (void)unlink(h->temp);
        close(ok ? h->fd : fd);
        if (ok)
                h->fd = fd;
        errno = error;
        return ok ? ERR_NONE : ERR_IO;
}

/* Notes stay. */
static void restore_all(struct hostfile *h)
{
        size_t kept = 0;
        for (size_t i = 0; i < h->count; i++) {
                const struct setting *s = &h->at[i];
                if (is_note(s->name))
                        h->at[kept++] = *s;
                else if (write_setting(s->name, s->before) != ERR_NONE)
                        log_warn("%s could not be set back to %s: %s", s->name, s->before, strerror(errno));
        }
        bool same = kept == h->count;
        h->count = kept;
        if (!same && store(h) != ERR_NONE)
                log_warn("%s: %s", h->path, strerror(errno));
}

/* The lock is worth something only on the file that has the name now. */
static bool is_current(const struct hostfile *h)
{
        struct stat a, b;
        return fstat(h->fd, &a) == 0 && stat(h->path, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

enum err hostfile_open(const char *folder, struct hostfile **ret, const char **ret_why)
{
        static char why[512];
        struct stat ns;
        struct hostfile *h = calloc(1, sizeof(*h));
        *ret_why = "out of memory";
        if (h == NULL)
                return ERR_FULL;
        if (stat("/proc/self/ns/net", &ns) != 0)
                ns.st_ino = 0;
        (void)mkdir(folder, 0755);
        snprintf(h->path, sizeof(h->path), "%s/host-%llu", folder, (unsigned long long)ns.st_ino);
        snprintf(h->temp, sizeof(h->temp), "%s.new", h->path);
        do {
                h->fd = open(h->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
                if (h->fd >= 0 && flock(h->fd, LOCK_EX | LOCK_NB) == 0)
                        continue;
                enum err e = h->fd >= 0 && errno == EWOULDBLOCK ? ERR_STATE : ERR_IO;
                if (e == ERR_STATE)
                        snprintf(why, sizeof(why), "another tailscaled is at work in this network namespace (it holds %s): "
                                "stop it first, or give each one a network namespace of its own", h->path);
                else
                        snprintf(why, sizeof(why), "%s: %s", h->path, strerror(errno));
                *ret_why = why;
                if (h->fd >= 0)
                        close(h->fd);
                free(h);
                return e;
        } while (!is_current(h) && close(h->fd) == 0);
        load(h);
        restore_all(h);
        *ret = h;
        return ERR_NONE;
}

void hostfile_free(struct hostfile *h)
{
        if (h == NULL)
                return;
        restore_all(h);
        (void)unlink(h->temp);   /* of a process that died while it wrote */
        if (h->count == 0)
                (void)unlink(h->path);
        close(h->fd);
        free(h);
}

static size_t find(const struct hostfile *h, const char *name)
{
        size_t i = 0;
        while (i < h->count && strcmp(h->at[i].name, name) != 0)
                i++;
        return i;
}

static enum err forget(struct hostfile *h, size_t i)
{
        enum err e = write_setting(h->at[i].name, h->at[i].before);
        h->at[i] = h->at[--h->count];
        enum err e2 = store(h);
        return e != ERR_NONE ? e : e2;
}

/* On disk before anything relies on it. */
static enum err remember(struct hostfile *h, const struct setting *s)
{
        if (h->count == SETTINGS_MAX)
                return ERR_FULL;
        h->at[h->count++] = *s;
        enum err e = store(h);
        if (e != ERR_NONE)
                h->count--;
        return e;
}

enum err hostfile_set(struct hostfile *h, const char *setting, const char *value)
{
        size_t i = find(h, setting);
        if (value == NULL)
                return i < h->count ? forget(h, i) : ERR_NONE;
        struct setting s = {0};
        if (!read_setting(setting, s.before))
                return ERR_NOT_FOUND;
        if (strcmp(s.before, value) == 0)
                return ERR_NONE;
        if (i == h->count) {
                enum err e = str_copy(s.name, sizeof(s.name), setting) ? remember(h, &s) : ERR_FULL;
                if (e != ERR_NONE)
                        return e;
        }
        return write_setting(setting, value);
}

enum err hostfile_note(struct hostfile *h, const char *name, const char *text)
{
        size_t i = find(h, name), count = h->count;
        struct setting s = {0}, old = {0};
        if (text != NULL && (!str_copy(s.name, sizeof(s.name), name) || !str_copy(s.before, sizeof(s.before), text)))
                return ERR_FULL;
        if (i == count)
                return text != NULL ? remember(h, &s) : ERR_NONE;
        old = h->at[i];
        h->at[i] = text != NULL ? s : h->at[--h->count];   /* the last one takes the place */
        enum err e = store(h);
        if (e != ERR_NONE) {
                h->at[i] = old;
                h->count = count;
        }
        return e;
}

const char *hostfile_noted(const struct hostfile *h, const char *name)
{
        size_t i = find(h, name);
        return i < h->count ? h->at[i].before : NULL;
}
