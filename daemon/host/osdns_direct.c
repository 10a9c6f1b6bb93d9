#include "daemon/host/osdns_direct.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/file.h"

const struct direct_paths direct_default_paths = {
        .file = "/etc/resolv.conf",
        .backup = "/etc/resolv.pre-tailscale-backup.conf",
        .temp = "/etc/.resolv.conf.tailscale-new",
};

enum { FILE_MAX = 64 * 1024 };

/* What stands under a name. */
struct look {
        bool exists, regular;
        struct buf text; /* of the target, for a link; empty if that is missing */
        struct stat st;  /* of the name itself */
};

static enum err look_at(const char *path, struct look *k)
{
        memset(k, 0, sizeof(*k));
        buf_init(&k->text, FILE_MAX);
        if (lstat(path, &k->st) != 0)
                return errno == ENOENT ? ERR_NONE : ERR_IO;
        k->exists = true;
        k->regular = S_ISREG(k->st.st_mode);
        enum err e = file_read(path, &k->text);
        if (e == ERR_NOT_FOUND) /* a link to nowhere */
                return ERR_NONE;
        if (e == ERR_FORMAT && errno != EISDIR) /* /dev/null and the like: nothing is configured */
                return ERR_NONE;
        return e == ERR_NONE ? ERR_NONE : ERR_IO;
}

static void look_done(struct look *k)
{
        buf_done(&k->text);
}

static bool same_text(const struct buf *a, const struct buf *b)
{
        return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* A link is never ours: we only write regular files. */
static bool is_ours(const struct look *k)
{
        struct resolvfile f;
        if (!k->exists || !k->regular)
                return false;
        resolvfile_parse(k->text.data, k->text.len, &f);
        resolvfile_done(&f);
        return f.ours;
}

/* direct_restore() was cut off after its write in place: the original, then line ends as filling. */
static bool is_half_restored(const struct look *file, const struct look *backup)
{
        size_t n = backup->text.len;
        if (!file->regular || file->text.len < n ||
            (n > 0 && memcmp(file->text.data, backup->text.data, n) != 0))
                return false;
        for (size_t i = n; i < file->text.len; i++)
                if (file->text.data[i] != '\n')
                        return false;
        return true;
}

/* One write covers all that was there, with line ends as filling, so that a reader or a crash between the
 * two calls finds whole lines of the new text and none of the old. */
static enum err write_in_place(const char *path, const struct buf *text)
{
        int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return ERR_IO;
        struct stat st;
        struct buf all;
        buf_init(&all, 2 * FILE_MAX);
        buf_add(&all, text->data, text->len);
        enum err e = ERR_IO;
        if (fstat(fd, &st) != 0)
                goto out;
        while (buf_ok(&all) && (off_t)all.len < st.st_size && st.st_size <= FILE_MAX)
                buf_puts(&all, "\n");
        if (!buf_ok(&all) || pwrite(fd, all.data, all.len, 0) != (ssize_t)all.len ||
            ftruncate(fd, (off_t)text->len) != 0 || fsync(fd) != 0)
                goto out;
        e = ERR_NONE;
out:
        close(fd);
        buf_done(&all);
        return e;
}

/* A file under SELinux keeps the label of the one it replaces, or confined programs cannot read it. */
static void copy_label(const char *from, const char *to)
{
        char label[256];
        ssize_t n = getxattr(from, "security.selinux", label, sizeof(label));
        if (n > 0)
                (void)lsetxattr(to, "security.selinux", label, (size_t)n, 0);
}

static enum err write_new(const struct direct_paths *p, const struct buf *text, mode_t mode)
{
        (void)unlink(p->temp); /* of a process that was killed */
        enum err e = file_write_new(p->temp, text->data, text->len, mode);
        if (e == ERR_NONE)
                copy_label(p->file, p->temp);
        return e;
}

/* The original under a second name; then nothing is ever missing.  Across mounts and on file systems
 * without links, a copy. */
static enum err keep_original(const struct direct_paths *p, const struct look *file)
{
        (void)unlink(p->temp);
        if (linkat(AT_FDCWD, p->file, AT_FDCWD, p->temp, 0) != 0) {
                char target[4096];
                ssize_t n = file->regular ? -1 : readlink(p->file, target, sizeof(target) - 1);
                if (n >= 0) {
                        target[n] = '\0';
                        if (symlink(target, p->temp) != 0)
                                return ERR_IO;
                } else if (write_new(p, &file->text, file->st.st_mode & 07777) != ERR_NONE) {
                        return ERR_IO;
                } else if (chown(p->temp, file->st.st_uid, file->st.st_gid) != 0) {
                        (void)unlink(p->temp);
                        return ERR_IO;
                }
        }
        if (rename(p->temp, p->backup) == 0) {
                (void)unlink(p->temp); /* rename does nothing when both are one inode */
                return ERR_NONE;
        }
        int saved = errno;
        (void)unlink(p->temp);
        errno = saved;
        return ERR_IO;
}

static enum err put(const struct direct_paths *p, const struct buf *text)
{
        if (write_new(p, text, 0644) == ERR_NONE) {
                if (rename(p->temp, p->file) == 0)
                        return ERR_NONE;
                (void)unlink(p->temp);
        }
        return write_in_place(p->file, text);
}

/* The host's own: the file, or the kept one if ours lies over it. */
static enum err look_at_base(const struct direct_paths *p, struct look *k)
{
        enum err e = look_at(p->file, k);
        if (e == ERR_NONE && k->exists && !is_ours(k))
                return ERR_NONE;
        if (e == ERR_NONE) {
                look_done(k);
                e = look_at(p->backup, k);
        }
        return e;
}

enum err direct_base(const struct direct_paths *p, struct resolvfile *ret)
{
        struct look k;
        enum err e = look_at_base(p, &k);
        if (e == ERR_NONE)
                resolvfile_parse(k.text.data, k.text.len, ret);
        look_done(&k);
        return e;
}

static enum err compose(const struct direct_paths *p, const struct osdns_config *c, struct buf *text)
{
        struct resolvfile base;
        enum err e = direct_base(p, &base);
        if (e != ERR_NONE)
                return e;
        struct osdns_config all = *c;   /* lent */
        if (all.server_count == 0) {
                all.server_count = base.config.server_count;
                memcpy(all.servers, base.config.servers, sizeof(all.servers));
        }
        resolvfile_done(&base);
        if (all.server_count == 0)
                return ERR_STATE;
        resolvfile_write(text, &all, base.options, base.sortlist);
        return buf_ok(text) ? ERR_NONE : ERR_FULL;
}

static enum err explain(const struct direct_paths *p, enum err e, char why[DIRECT_WHY_MAX])
{
        int saved = errno;
        if (e == ERR_STATE)
                snprintf(why, DIRECT_WHY_MAX,
                         "%s was left alone: neither it nor the tailnet names a nameserver", p->file);
        else if (e == ERR_FULL)
                snprintf(why, DIRECT_WHY_MAX, "%s was left alone: there are too many search domains",
                         p->file);
        else
                snprintf(why, DIRECT_WHY_MAX,
                         "cannot change %s: %s; make it writable, or run `tailscale set --accept-dns=false`",
                         p->file, strerror(saved));
        errno = saved;
        return e;
}

enum err direct_set(const struct direct_paths *p, const struct osdns_config *c, char why[DIRECT_WHY_MAX])
{
        struct look file = {0}, backup = {0};
        struct buf text;
        bool kept = false;
        buf_init(&text, FILE_MAX);
        enum err e = compose(p, c, &text);
        if (e == ERR_NONE)
                e = look_at(p->file, &file);
        if (e == ERR_NONE)
                e = look_at(p->backup, &backup);
        if (e != ERR_NONE)
                goto out;
        bool ours = is_ours(&file);
        if (ours && same_text(&file.text, &text))
                goto out;
        if (file.exists && !ours && !(backup.exists && is_half_restored(&file, &backup))) {
                e = keep_original(p, &file);
                if (e != ERR_NONE)
                        goto out;
                kept = true;
        }
        e = put(p, &text);
        if (e != ERR_NONE && kept) {
                int saved = errno;
                (void)unlink(p->backup);
                errno = saved;
        }
out:
        if (e != ERR_NONE)
                (void)explain(p, e, why);
        look_done(&file);
        look_done(&backup);
        buf_done(&text);
        return e;
}

bool direct_is_set(const struct direct_paths *p, const struct osdns_config *c)
{
        struct look file = {0};
        struct buf text;
        buf_init(&text, FILE_MAX);
        bool is = compose(p, c, &text) == ERR_NONE && look_at(p->file, &file) == ERR_NONE && is_ours(&file) &&
                  same_text(&file.text, &text);
        look_done(&file);
        buf_done(&text);
        return is;
}

/* The kept one goes back: by its name, or where that cannot be, by its bytes. */
static enum err put_back(const struct direct_paths *p, const struct look *file, const struct look *backup)
{
        if (file->exists && file->st.st_ino == backup->st.st_ino && file->st.st_dev == backup->st.st_dev)
                return unlink(p->backup) == 0 ? ERR_NONE : ERR_IO;
        if (rename(p->backup, p->file) == 0)
                return ERR_NONE;
        if (!file->exists || write_in_place(p->file, &backup->text) != ERR_NONE)
                return ERR_IO;
        return unlink(p->backup) == 0 ? ERR_NONE : ERR_IO;
}

enum err direct_restore(const struct direct_paths *p, char why[DIRECT_WHY_MAX])
{
        struct look file = {0}, backup = {0};
        enum err e = look_at(p->file, &file);
        if (e == ERR_NONE)
                e = look_at(p->backup, &backup);
        if (e != ERR_NONE)
                goto out;
        (void)unlink(p->temp);
        bool ours = is_ours(&file);
        if (backup.exists) {
                if (ours || !file.exists || is_half_restored(&file, &backup))
                        e = put_back(p, &file, &backup);
                else if (unlink(p->backup) != 0) /* theirs is newer */
                        e = ERR_IO;
        } else if (ours && unlink(p->file) != 0) { /* there was none before us */
                e = ERR_IO;
        }
out:
        if (e != ERR_NONE) {
                snprintf(why, DIRECT_WHY_MAX, "cannot give %s back: %s; what it was is in %s", p->file,
                         strerror(errno), p->backup);
        }
        look_done(&file);
        look_done(&backup);
        return e;
}
