#include "daemon/host/osdns_dnsmasq.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "daemon/host/runprog.h"

enum { TEXT_MAX = 128 * 1024, RESTART_MS = 20000 };

static bool is_dir(const char *path)
{
        struct stat st;
        return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Neither the last part nor any above it can be changed by others; in a shared folder (/tmp) what is below it belongs
 * to whoever made it. */
static bool is_safe(char *real)
{
        bool safe = is_dir(real);
        for (char *slash = real; safe && slash != NULL;) {
                struct stat st = {0};
                slash = strchr(slash + 1, '/');
                if (slash != NULL)
                        *slash = '\0';
                bool open = lstat(real, &st) != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0;
                bool shared = slash != NULL && (st.st_mode & S_ISVTX) != 0;
                safe = (!open || shared) && (st.st_uid == 0 || st.st_uid == geteuid());
                if (slash != NULL)
                        *slash = '/';
        }
        return safe;
}

bool dnsmasq_safe_folder(const char *path, char ret[DNSMASQ_PATH_MAX])
{
        char *real = realpath(path, NULL);
        bool safe = real != NULL && dnsmasq_is_service_folder(real) && str_copy(ret, DNSMASQ_PATH_MAX, real) && is_safe(real);
        free(real);
        return safe;
}

/* How this host restarts services; false: it has no way that we know. */
static bool restart_argv(const char *argv[4], char path[RUNPROG_PATH_MAX])
{
        memset(argv, 0, 4 * sizeof(argv[0]));
        if (is_dir("/run/systemd/system") && runprog_find("systemctl", path) == ERR_NONE) {
                argv[0] = path;
                argv[1] = "restart";
                argv[2] = "dnsmasq.service";
                return true;
        }
        if (access("/etc/init.d/dnsmasq", X_OK) != 0)
                return false;
        argv[0] = "/etc/init.d/dnsmasq";
        argv[1] = "restart";
        return true;
}

static enum err restart(char why[DNSMASQ_WHY_MAX])
{
        const char *argv[4];
        char path[RUNPROG_PATH_MAX];
        int status = 0;
        if (!restart_argv(argv, path)) {
                snprintf(why, DNSMASQ_WHY_MAX, "dnsmasq is not a service of this host; restart it by hand");
                return ERR_UNSUPPORTED;
        }
        struct buf out;
        /* Killed half-way, it could leave the host without dnsmasq. */
        struct runprog r = {.argv = argv, .timeout_ms = RESTART_MS, .may_finish = true};
        buf_init(&out, 4096);
        enum err e = runprog(&r, &out, &status);
        if (e != ERR_NONE || status != 0) {
                const char *said = out.data != NULL ? out.data : "";
                snprintf(why, DNSMASQ_WHY_MAX, "dnsmasq could not be restarted: %s %.*s",
                         e == ERR_NONE ? "" : err_str(e), (int)strcspn(said, "\n"), said);
                e = e != ERR_NONE ? e : ERR_STATE;
        }
        buf_done(&out);
        return e;
}

static bool same_network(const char *pid)
{
        char path[64];
        struct stat a, b;
        snprintf(path, sizeof(path), "/proc/%s/ns/net", pid);
        return stat(path, &a) == 0 && stat("/proc/self/ns/net", &b) == 0 && a.st_ino == b.st_ino &&
               a.st_dev == b.st_dev;
}

static bool is_dnsmasq(const char *pid)
{
        char path[64];
        struct buf comm;
        snprintf(path, sizeof(path), "/proc/%s/comm", pid);
        buf_init(&comm, 64);
        bool is = file_read(path, &comm) == ERR_NONE && comm.data != NULL && strcmp(comm.data, "dnsmasq\n") == 0;
        buf_done(&comm);
        return is;
}

/* Adds what one file says. */
static void read_conf_file(const char *path, struct dnsmasq_setup *s)
{
        struct buf text;
        buf_init(&text, TEXT_MAX);
        if (file_read(path, &text) == ERR_NONE)
                dnsmasq_read_conf(text.data, text.len, s);
        buf_done(&text);
}

static void read_conf_folder(struct dnsmasq_setup *s)
{
        DIR *d = opendir(s->conf_dir);
        if (d == NULL)
                return;
        for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
                char path[DNSMASQ_PATH_MAX + 256 + 2];
                int n = snprintf(path, sizeof(path), "%s/%s", s->conf_dir, e->d_name);
                bool ours = strcmp(e->d_name, DNSMASQ_FILE) == 0;
                if (e->d_name[0] != '.' && !ours && n > 0 && (size_t)n < sizeof(path))
                        read_conf_file(path, s);
        }
        closedir(d);
}

static bool find_setup(const char *pid, struct dnsmasq_setup *s)
{
        char path[64];
        struct buf text;
        memset(s, 0, sizeof(*s));
        snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
        buf_init(&text, TEXT_MAX);
        if (file_read(path, &text) == ERR_NONE)
                dnsmasq_read_args(text.data, text.len, s);
        buf_done(&text);
        if (s->conf_file[0] != '\0')
                read_conf_file(s->conf_file, s);
        char real[DNSMASQ_PATH_MAX];
        if (s->conf_dir[0] == '\0' || !dnsmasq_safe_folder(s->conf_dir, real))
                return false;
        memcpy(s->conf_dir, real, sizeof(real));
        read_conf_folder(s);
        return true;
}

bool dnsmasq_probe(struct dnsmasq_setup *ret)
{
        const char *argv[4];
        char path[RUNPROG_PATH_MAX];
        bool found = false;
        DIR *d = restart_argv(argv, path) ? opendir("/proc") : NULL;
        if (d == NULL)
                return false;
        for (struct dirent *e = readdir(d); e != NULL && !found; e = readdir(d))
                if (isdigit((unsigned char)e->d_name[0]) && strlen(e->d_name) < 12)
                        found = is_dnsmasq(e->d_name) && same_network(e->d_name) &&
                                find_setup(e->d_name, ret);
        closedir(d);
        return found;
}

static bool file_path(const char *dir, char out[DNSMASQ_PATH_MAX + 32])
{
        int n = snprintf(out, DNSMASQ_PATH_MAX + 32, "%s/" DNSMASQ_FILE, dir);
        return n > 0 && n < DNSMASQ_PATH_MAX + 32;
}

bool dnsmasq_is_set(const char *dir, const struct osdns_config *c)
{
        char path[DNSMASQ_PATH_MAX + 32];
        struct buf want, have;
        buf_init(&want, TEXT_MAX);
        buf_init(&have, TEXT_MAX);
        dnsmasq_write(&want, c);
        bool is = file_path(dir, path) && file_read(path, &have) == ERR_NONE && want.len == have.len &&
                  memcmp(want.data, have.data, want.len) == 0;
        buf_done(&want);
        buf_done(&have);
        return is;
}

static enum err write_file(const char *dir, const struct osdns_config *c)
{
        char path[DNSMASQ_PATH_MAX + 32], temp[DNSMASQ_PATH_MAX + 32];
        struct buf text;
        enum err e = ERR_IO;
        /* dnsmasq passes over names that begin with a dot. */
        snprintf(temp, sizeof(temp), "%s/.tailscale-new", dir);
        buf_init(&text, TEXT_MAX);
        dnsmasq_write(&text, c);
        if (buf_ok(&text) && file_path(dir, path))
                e = file_replace(path, temp, text.data, text.len, 0644);
        buf_done(&text);
        return e;
}

enum err dnsmasq_set(const struct dnsmasq_setup *s, const struct osdns_config *c, char why[DNSMASQ_WHY_MAX])
{
        const char *dir = s->conf_dir;
        if (c->server_count == 0) /* search domains alone say nothing to a forwarder */
                return dnsmasq_restore(dir, why);
        if (dnsmasq_is_set(dir, c))
                return ERR_NONE;
        if (c->match.count == 0 && s->own_servers) {
                snprintf(why, DNSMASQ_WHY_MAX,
                         "dnsmasq is told DNS servers of its own, which it would ask as well; remove its "
                         "server= lines");
                return ERR_UNSUPPORTED;
        }
        if (write_file(dir, c) != ERR_NONE) {
                snprintf(why, DNSMASQ_WHY_MAX, "cannot write a file into %s: %s", dir, strerror(errno));
                return ERR_IO;
        }
        enum err e = restart(why);
        if (e != ERR_NONE) {
                char ignored[DNSMASQ_WHY_MAX];
                if (dnsmasq_restore(dir, ignored) != ERR_NONE)
                        log_warn("dnsmasq: %s", ignored);
        }
        return e;
}

enum err dnsmasq_restore(const char *dir, char why[DNSMASQ_WHY_MAX])
{
        char path[DNSMASQ_PATH_MAX + 32];
        if (!file_path(dir, path))
                return ERR_NONE;
        if (unlink(path) != 0) {
                if (errno == ENOENT)
                        return ERR_NONE;
                snprintf(why, DNSMASQ_WHY_MAX, "cannot remove %s: %s", path, strerror(errno));
                return ERR_IO;
        }
        return restart(why);
}

static bool is_left_in(const char *dir)
{
        char path[DNSMASQ_PATH_MAX + 32];
        struct buf text;
        buf_init(&text, TEXT_MAX);
        bool is = file_path(dir, path) && file_read(path, &text) == ERR_NONE && text.len >= strlen(DNSMASQ_MARK) &&
                  memcmp(text.data, DNSMASQ_MARK, strlen(DNSMASQ_MARK)) == 0;
        buf_done(&text);
        return is;
}

void dnsmasq_cleanup(void)
{
        struct dnsmasq_setup found = {0};
        char why[DNSMASQ_WHY_MAX], real[DNSMASQ_PATH_MAX];
        (void)dnsmasq_probe(&found);
        const char *const dirs[] = {found.conf_dir, "/etc/dnsmasq.d", "/tmp/dnsmasq.d"};
        for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
                if (dnsmasq_safe_folder(dirs[i], real) && is_left_in(real) && dnsmasq_restore(real, why) != ERR_NONE)
                        log_warn("%s", why);
}
