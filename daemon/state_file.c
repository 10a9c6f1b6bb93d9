#include "daemon/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/state_writer.h"

enum { STATE_MAX = 16 << 20, PATH_BYTES = 512, TEMP_MAX = PATH_BYTES + 8, VALUE_VARIANT = sodium_base64_VARIANT_ORIGINAL };

struct state_file {
        char path[PATH_BYTES];   /* "" = memory only; never a link */
        bool linked;        /* a link led to path */
        json_t *values;     /* key -> base64 text */
        bool dirty;
        char *borrowed;     /* what the last get decoded */
        size_t borrowed_len;
        char trouble[PATH_BYTES + 256];   /* of the last save; "" = none */
        struct state_writer *writer;      /* NULL: not needed yet */
};

static void forget_borrowed(struct state_file *s)
{
        if (s->borrowed != NULL)
                crypto_wipe(s->borrowed, s->borrowed_len);
        free(s->borrowed);
        s->borrowed = NULL;
}

static void complain(const char **ret_why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void complain(const char **ret_why, const char *fmt, ...)
{
        static char why[2 * PATH_BYTES + 512];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(why, sizeof(why), fmt, ap);
        va_end(ap);
        *ret_why = why;
}

/* Through what anybody else made, we might be led anywhere. */
static bool is_trusted(const struct stat *st)
{
        return st->st_uid == 0 || st->st_uid == geteuid();
}

/* s->path becomes what the link there names in the end, which need not exist. */
static enum err follow(struct state_file *s, const char **ret_why)
{
        enum { DEPTH_MAX = 16 };
        struct stat st;
        for (int depth = 0; lstat(s->path, &st) == 0 && S_ISLNK(st.st_mode); depth++) {
                char to[PATH_BYTES], next[2 * PATH_BYTES];
                ssize_t n = readlink(s->path, to, sizeof(to) - 1);
                to[n > 0 ? n : 0] = '\0';
                const char *slash = strrchr(s->path, '/');
                int folder = to[0] == '/' || slash == NULL ? 0 : (int)(slash + 1 - s->path);
                snprintf(next, sizeof(next), "%.*s%s", folder, s->path, to);
                bool ours = is_trusted(&st);
                if (!ours || n <= 0 || n == sizeof(to) - 1 || depth == DEPTH_MAX || strlen(next) >= sizeof(s->path)) {
                        complain(ret_why, "the state file %s is a link that is not followed: %s", s->path,
                                !ours ? "it belongs to neither root nor this user" : "it leads too far");
                        return ERR_IO;
                }
                (void)str_copy(s->path, sizeof(s->path), next);
                s->linked = true;
        }
        return ERR_NONE;
}

static const char *kind_of(mode_t mode)
{
        return S_ISDIR(mode) ? "it is a folder: give its path with --statedir, or that of a file with --state" :
                S_ISFIFO(mode) ? "it is a pipe: give the path of a file with --state" :
                                 "it is a device or a socket: give the path of a file with --state";
}

static const char *advice(int error)
{
        return error == EACCES || error == EPERM ? ": run as root, or check owner and mode of the file and its folders" :
                error == ENOTDIR || error == ENAMETOOLONG || error == ELOOP ? ": give another path with --state or --statedir" :
                                                                              "";
}

static enum err unreadable(const struct state_file *s, int error, const char **ret_why)
{
        complain(ret_why, "the state file %s cannot be read: %s%s", s->path, strerror(error), advice(error));
        return ERR_IO;
}

/* The whole file; ERR_NOT_FOUND: there is none. */
static enum err read_all(const struct state_file *s, struct buf *ret, const char **ret_why)
{
        int fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
                return errno == ENOENT ? ERR_NOT_FOUND : unreadable(s, errno, ret_why);
        struct stat st = {0};
        bool ok = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (!s->linked || is_trusted(&st));
        if (!ok) {
                complain(ret_why, "the state file %s cannot be read: %s", s->path, !S_ISREG(st.st_mode) ? kind_of(st.st_mode) :
                        "a link leads to it, but it belongs to neither root nor this user: change its owner");
                close(fd);
                return ERR_IO;
        }
        enum err e = file_read_fd(fd, ret);
        int error = errno;
        close(fd);
        return e == ERR_NONE ? ERR_NONE : unreadable(s, error, ret_why);
}

static bool is_base64(const char *text)
{
        size_t room = strlen(text) / 4 * 3 + 4, len;
        unsigned char *out = malloc(room);
        bool ok = out != NULL &&
                sodium_base642bin(out, room, text, strlen(text), NULL, &len, NULL, VALUE_VARIANT) == 0;
        if (out != NULL)
                crypto_wipe(out, room);
        free(out);
        return ok;
}

static bool damaged(const struct state_file *s, const char *what, const char *key, const char **ret_why)
{
        complain(ret_why, "the state file %s is damaged: %s%.64s: restore it from a backup, or move it away and log in again",
                s->path, what, key);
        return true;
}

/* False: ours to read.  A value that does not decode would else be taken for missing and replaced. */
static bool is_faulty(const struct state_file *s, const char **ret_why)
{
        const char *k;
        json_t *v, *o = s->values;
        if (!json_is_object(o))
                return damaged(s, "it is no JSON object", "", ret_why);
        json_object_foreach(o, k, v)
        {
                if (!json_is_string(v) || !is_base64(json_string_value(v)))
                        return damaged(s, "no base64 text in ", k, ret_why);
        }
        if (json_object_size(o) == 3 && json_object_get(o, "key") != NULL && json_object_get(o, "nonce") != NULL &&
                json_object_get(o, "data") != NULL) {
                complain(ret_why, "the state file %s is sealed by the machine's TPM, which only the program that sealed it can "
                                  "undo: turn sealing off there first (--encrypt-state=false), or move the file away and log in again",
                        s->path);
                return true;
        }
        return false;
}

static void wipe_values(json_t *o)
{
        const char *k;
        json_t *v;
        json_object_foreach(o, k, v)
        {
                const char *text = json_string_value(v);
                if (text != NULL)
                        crypto_wipe((char *)(uintptr_t)text, strlen(text));
        }
}

/* A link's target gets none: a link to a place that is not there is rather a disk that is not mounted. */
static bool make_folders(char *dir, bool linked)
{
        if (linked)
                return access(dir, F_OK) == 0;
        for (char *p = dir + 1; (p = strchr(p, '/')) != NULL; p++) {
                *p = '\0';
                if (mkdir(dir, 0755) < 0 && errno != EEXIST)
                        return false;
                *p = '/';
        }
        return mkdir(dir, 0700) == 0 || errno == EEXIST;
}

static enum err make_folder(const struct state_file *s, const char **ret_why)
{
        char dir[PATH_BYTES];
        (void)str_copy(dir, sizeof(dir), s->path);
        char *slash = strrchr(dir, '/');
        if (slash == NULL || slash == dir)
                return ERR_NONE;
        *slash = '\0';
        if (make_folders(dir, s->linked))
                return ERR_NONE;
        int error = errno;   /* dir is cut where it failed */
        complain(ret_why, "the state file %s cannot be made: folder %s: %s%s", s->path, dir, strerror(error), advice(error));
        return ERR_IO;
}

static void temp_path(const struct state_file *s, char ret[TEMP_MAX])
{
        snprintf(ret, TEMP_MAX, "%s.tmp", s->path);
}

static enum err load(struct state_file *s, const char **ret_why)
{
        struct buf text;
        char temp[TEMP_MAX];
        buf_init(&text, STATE_MAX);
        enum err e = follow(s, ret_why);
        if (e != ERR_NONE)
                return e;
        e = read_all(s, &text, ret_why);
        size_t blanks = text.data != NULL ? strspn(text.data, " \t\r\n") : 0;
        if (e == ERR_NOT_FOUND || (e == ERR_NONE && blanks == text.len)) {
                s->values = json_object();
                e = make_folder(s, ret_why);
        } else if (e == ERR_NONE) {
                s->values = json_parse(text.data, text.len);
                if (is_faulty(s, ret_why))
                        e = ERR_FORMAT;
        }
        temp_path(s, temp);
        if (e == ERR_NONE)
                (void)unlink(temp);   /* of a writer that was killed half-way: it has our keys in it */
        buf_done(&text);
        return e;
}

enum err state_file_open(const char *path, struct state_file **ret, const char **ret_why)
{
        struct state_file *s = calloc(1, sizeof(*s));
        if (s == NULL) {
                *ret_why = "out of memory";
                return ERR_FULL;
        }
        enum err e = ERR_NONE;
        if (strcmp(path, "mem:") == 0) {
                s->values = json_object();
        } else if (!str_copy(s->path, sizeof(s->path), path)) {
                complain(ret_why, "the path of the state file is too long: %.64s...", path);
                e = ERR_FORMAT;
        } else {
                e = load(s, ret_why);
        }
        if (e != ERR_NONE) {
                state_file_free(s);
                return e;
        }
        *ret = s;
        return ERR_NONE;
}

const char *state_file_path(const struct state_file *s)
{
        return s->path[0] != '\0' ? s->path : "mem:";
}

void state_file_free(struct state_file *s)
{
        if (s == NULL)
                return;
        state_writer_free(s->writer);
        forget_borrowed(s);
        wipe_values(s->values);
        json_decref(s->values);
        free(s);
}

const char *state_file_get(const struct state_file *cs, const char *key, size_t *ret_len)
{
        struct state_file *s = (struct state_file *)(uintptr_t)cs;   /* only its scratch changes */
        const char *b64 = json_string_value(json_object_get(s->values, key));
        if (b64 == NULL)
                return NULL;
        size_t room = strlen(b64) / 4 * 3 + 4, len;
        char *out = malloc(room);
        if (out == NULL ||
                sodium_base642bin((unsigned char *)out, room - 1, b64, strlen(b64), NULL, &len, NULL,
                        VALUE_VARIANT) != 0) {
                free(out);
                return NULL;
        }
        out[len] = '\0';
        forget_borrowed(s);
        s->borrowed = out;
        s->borrowed_len = len;
        *ret_len = len;
        return out;
}

enum err state_file_set(struct state_file *s, const char *key, const void *value, size_t len)
{
        if (value == NULL) {
                s->dirty |= json_object_del(s->values, key) == 0;
                return ERR_NONE;
        }
        size_t room = sodium_base64_encoded_len(len, VALUE_VARIANT);
        char *b64 = malloc(room);
        if (b64 == NULL)
                return ERR_FULL;
        sodium_bin2base64(b64, room, value, len, VALUE_VARIANT);
        const char *old = json_string_value(json_object_get(s->values, key));
        int rc = 0;
        if (old == NULL || strcmp(old, b64) != 0) {
                rc = json_object_set_new(s->values, key, json_string(b64));
                s->dirty = true;
        }
        crypto_wipe(b64, room);
        free(b64);
        return rc == 0 ? ERR_NONE : ERR_FULL;
}

/* error 0: it went well. */
static void note_result(struct state_file *s, int error)
{
        s->trouble[0] = '\0';
        s->dirty = error != 0;
        if (error != 0)
                snprintf(s->trouble, sizeof(s->trouble), "the state file %s cannot be written: %s%s", s->path,
                        strerror(error), advice(error));
}

/* Any thread; of s only the path, which never changes. */
static enum err write_text(const void *arg, const char *text, size_t len)
{
        const struct state_file *s = arg;
        char temp[TEMP_MAX];
        temp_path(s, temp);
        return file_replace(s->path, temp, text, len, 0600);
}

/* NULL: no memory, said so. */
static char *dump(struct state_file *s)
{
        char *text = json_dumps(s->values, JSON_INDENT(2) | JSON_SORT_KEYS);
        if (text == NULL)
                snprintf(s->trouble, sizeof(s->trouble), "the state file %s cannot be written: out of memory", s->path);
        return text;
}

enum err state_file_save(struct state_file *s)
{
        if (s->path[0] == '\0')
                return ERR_NONE;
        if (s->writer != NULL && !state_writer_stop(s->writer))
                s->dirty = true;
        if (!s->dirty)
                return ERR_NONE;
        char *text = dump(s);
        if (text == NULL)
                return ERR_FULL;
        enum err e = write_text(s, text, strlen(text));
        int error = errno;
        crypto_wipe(text, strlen(text));
        free(text);
        note_result(s, e == ERR_NONE ? 0 : error);
        errno = error;
        return e;
}

static void hear_writer(struct state_file *s)
{
        int error = s->writer != NULL ? state_writer_failed(s->writer) : 0;
        if (error != 0)
                note_result(s, error);
}

void state_file_save_later(struct state_file *s)
{
        hear_writer(s);
        char *text = s->dirty && s->path[0] != '\0' ? dump(s) : NULL;
        if (text == NULL)
                return;
        if (s->writer == NULL)
                s->writer = state_writer_new(write_text, s);
        if (s->writer != NULL) {
                state_writer_put(s->writer, text);
                note_result(s, 0);
                return;
        }
        crypto_wipe(text, strlen(text));
        free(text);
        if (state_file_save(s) != ERR_NONE)
                log_warn("%s", s->trouble);
}

const char *state_file_trouble(const struct state_file *cs)
{
        struct state_file *s = (struct state_file *)(uintptr_t)cs;   /* what its writer says */
        hear_writer(s);
        return s->trouble;
}
