#include "daemon/host/osdns_resolvconf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "daemon/host/runprog.h"

enum { PROBE_MS = 2000, RUN_MS = 15000, OUTPUT_MAX = 16 * 1024, TEXT_MAX = 64 * 1024 };

#define DEBIAN_NAME     "tun-tailscale.inet" /* "tun": Debian's interface-order(5) puts it before network cards */
#define OPENRESOLV_NAME "tailscale"
#define DEBIAN_RECORDS  "/run/resolvconf/interface"
#define DEBIAN_FILE     "/run/resolvconf/resolv.conf"
#define HOOK_FOLDER     "/etc/resolvconf/update-libc.d"
#define HOOK            HOOK_FOLDER "/tailscale"

/* Run by resolvconf after each change of its file; harmless when the record is gone. */
static const char hook_text[] =
        "#!/bin/sh\n"
        "# Installed by tailscaled, removed when it stops: its record excludes the others.\n"
        "record=" DEBIAN_RECORDS "/" DEBIAN_NAME "\n"
        "[ -s \"$record\" ] || exit 0\n"
        "new=" DEBIAN_FILE ".tailscale-new\n"
        "{\n"
        "\techo '# Dynamic file, put together by resolvconf(8) and tailscaled'\n"
        "\tcat \"$record\"\n"
        "} >\"$new\" && mv -f \"$new\" " DEBIAN_FILE "\n";

static enum err run(const char *const argv[], const char *dir, const struct buf *input, struct buf *out,
                    int timeout_ms, int *status)
{
        char path[RUNPROG_PATH_MAX];
        const char *args[16] = {path};
        enum err e = runprog_find(argv[0], path);
        if (e != ERR_NONE)
                return e;
        for (size_t i = 1; i + 1 < sizeof(args) / sizeof(args[0]) && argv[i] != NULL; i++)
                args[i] = argv[i];
        struct runprog r = {.argv = args, .dir = dir, .timeout_ms = timeout_ms};
        r.may_finish = input == NULL && timeout_ms == RUN_MS;   /* taking back is never called off */
        if (input != NULL) {
                r.input = input->data;
                r.input_len = input->len;
        }
        return runprog(&r, out, status);
}

/* Runs for its effect; why gets the first line of what it said. */
static enum err run_or_say(const char *const argv[], const struct buf *input, char why[RESOLVCONF_WHY_MAX])
{
        struct buf out;
        int status = 0;
        buf_init(&out, OUTPUT_MAX);
        enum err e = run(argv, NULL, input, &out, RUN_MS, &status);
        if (e == ERR_NONE && status == 0) {
                buf_done(&out);
                return ERR_NONE;
        }
        const char *said = out.data != NULL ? out.data : "";
        if (e == ERR_NONE)
                snprintf(why, RESOLVCONF_WHY_MAX, "resolvconf %s failed with status %d: %.*s", argv[1],
                         status, (int)strcspn(said, "\n"), said);
        else if (e == ERR_TIMEOUT)
                snprintf(why, RESOLVCONF_WHY_MAX, "resolvconf %s did not end within %d s", argv[1],
                         RUN_MS / 1000);
        else
                snprintf(why, RESOLVCONF_WHY_MAX, "cannot run resolvconf: %s",
                         e == ERR_IO ? strerror(errno) : err_str(e));
        buf_done(&out);
        return e == ERR_NONE ? ERR_STATE : e;
}

static bool is_resolvectl(const char *path)
{
        char *real = realpath(path, NULL);
        const char *slash = real != NULL ? strrchr(real, '/') : NULL;
        bool is = slash != NULL &&
                  (strcmp(slash, "/resolvectl") == 0 || strcmp(slash, "/systemd-resolve") == 0);
        free(real);
        return is;
}

enum resolvconf_kind resolvconf_probe(void)
{
        char path[RUNPROG_PATH_MAX];
        if (runprog_find("resolvconf", path) != ERR_NONE)
                return RESOLVCONF_NONE;
        if (is_resolvectl(path))
                return RESOLVCONF_RESOLVECTL;
        struct buf out;
        int status = 0;
        buf_init(&out, OUTPUT_MAX);
        const char *const argv[] = {"resolvconf", "--version", NULL};
        enum resolvconf_kind k = RESOLVCONF_NONE;
        if (run(argv, NULL, NULL, &out, PROBE_MS, &status) == ERR_NONE) {
                bool debian =
                        status == 99 || (out.data != NULL && strstr(out.data, "Debian resolvconf") != NULL);
                k = debian ? RESOLVCONF_DEBIAN : RESOLVCONF_OPENRESOLV;
        }
        buf_done(&out);
        return k;
}

static bool append_file(const char *path, struct buf *text)
{
        enum err e = file_read(path, text);
        buf_puts(text, "\n");
        return e == ERR_NONE;
}

/* list-records prints the names in order of precedence, for the folder it is run in. */
static enum err debian_base(struct buf *text)
{
        const char *list = access("/lib/resolvconf/list-records", X_OK) == 0
                                   ? "/lib/resolvconf/list-records"
                                   : "/usr/lib/resolvconf/list-records";
        const char *const argv[] = {list, NULL};
        struct runprog r = {.argv = argv, .dir = DEBIAN_RECORDS, .timeout_ms = PROBE_MS};
        struct buf out;
        int status = 0;
        buf_init(&out, OUTPUT_MAX);
        enum err e = runprog(&r, &out, &status);
        char *save = NULL;
        if (e == ERR_NONE && out.data != NULL) {
                for (char *name = strtok_r(out.data, "\n", &save); name != NULL;
                     name = strtok_r(NULL, "\n", &save)) {
                        char path[512];
                        if (strcmp(name, DEBIAN_NAME) == 0 || strchr(name, '/') != NULL)
                                continue;
                        int n = snprintf(path, sizeof(path), "%s/%s", DEBIAN_RECORDS, name);
                        if (n > 0 && (size_t)n < sizeof(path))
                                (void)append_file(path, text); /* may have gone meanwhile */
                }
        }
        buf_done(&out);
        /* libc's file has this one's lines too, last. */
        (void)append_file("/etc/resolvconf/resolv.conf.d/base", text);
        return e;
}

static enum err openresolv_base(struct buf *text)
{
        const char *const list[] = {"resolvconf", "-i", NULL};
        struct buf names;
        int status = 0;
        buf_init(&names, OUTPUT_MAX);
        enum err e = run(list, NULL, NULL, &names, PROBE_MS, &status);
        char *save = NULL;
        if (e == ERR_NONE && names.data != NULL) {
                for (char *name = strtok_r(names.data, " \n", &save); name != NULL && e == ERR_NONE;
                     name = strtok_r(NULL, " \n", &save)) {
                        const char *const show[] = {"resolvconf", "-l", name, NULL};
                        if (strcmp(name, OPENRESOLV_NAME) != 0 && name[0] != '-')
                                e = run(show, NULL, NULL, text, PROBE_MS, &status);
                }
        }
        buf_done(&names);
        return e;
}

/* Each record may have a search line of its own, and all of them count: they become one. */
static void join_search(const struct buf *text, struct osdns_names *all)
{
        osdns_names_clear(all);
        const char *end = text->data + text->len;
        for (const char *line = text->data; line != NULL && line < end;) {
                const char *nl = memchr(line, '\n', (size_t)(end - line));
                size_t len = nl != NULL ? (size_t)(nl - line) : (size_t)(end - line);
                struct resolvfile one;
                resolvfile_parse(line, len, &one);
                bool room = true;
                for (const char *s = osdns_names_next(&one.config.search, NULL); s != NULL && room;
                     s = osdns_names_next(&one.config.search, s))
                        room = osdns_names_add(all, s) == ERR_NONE;
                resolvfile_done(&one);
                if (!room)
                        return;
                line = nl != NULL ? nl + 1 : NULL;
        }
}

enum err resolvconf_base(enum resolvconf_kind k, struct resolvfile *ret)
{
        struct buf text;
        buf_init(&text, TEXT_MAX);
        enum err e = k == RESOLVCONF_DEBIAN ? debian_base(&text) : openresolv_base(&text);
        if (e == ERR_NONE) {
                resolvfile_parse(text.data, text.len, ret);
                join_search(&text, &ret->config.search);
        }
        buf_done(&text);
        return e;
}

static enum err install_hook(char why[RESOLVCONF_WHY_MAX])
{
        static const char temp[] = HOOK_FOLDER "/.tailscale-new"; /* run-parts passes over a dot */
        if (mkdir(HOOK_FOLDER, 0755) != 0 && errno != EEXIST)
                goto fail;
        if (file_replace(HOOK, temp, hook_text, sizeof(hook_text) - 1, 0755) == ERR_NONE)
                return ERR_NONE;
fail:
        snprintf(why, RESOLVCONF_WHY_MAX, "cannot install %s: %s", HOOK, strerror(errno));
        return ERR_IO;
}

static void remove_hook(void)
{
        if (unlink(HOOK) == 0)
                (void)rmdir(HOOK_FOLDER); /* the package comes without it */
}

enum err resolvconf_set(enum resolvconf_kind k, const struct osdns_config *c, char why[RESOLVCONF_WHY_MAX])
{
        static const char *const debian[] = {"resolvconf", "-a", DEBIAN_NAME, NULL};
        static const char *const openresolv[] = {"resolvconf", "-m", "0", "-x", "-a", OPENRESOLV_NAME, NULL};
        struct osdns_config all = *c;   /* lent */
        struct resolvfile base = {0};
        if (c->server_count == 0 && resolvconf_base(k, &base) == ERR_NONE) {
                all.server_count = base.config.server_count;
                memcpy(all.servers, base.config.servers, sizeof(all.servers));
        }
        resolvfile_done(&base);
        if (all.server_count == 0) {
                snprintf(why, RESOLVCONF_WHY_MAX, "resolvconf was left alone: nobody names a nameserver");
                return ERR_STATE;
        }
        if (k == RESOLVCONF_DEBIAN && install_hook(why) != ERR_NONE)
                return ERR_IO;
        struct buf text;
        buf_init(&text, TEXT_MAX);
        resolvfile_write_lines(&text, &all);
        enum err e = run_or_say(k == RESOLVCONF_DEBIAN ? debian : openresolv, &text, why);
        buf_done(&text);
        if (e != ERR_NONE && k == RESOLVCONF_DEBIAN)
                remove_hook();
        return e;
}

/* f: what the file says.  The parser leaves our own servers out: that they are there and alone is what counts. */
static bool says(const struct resolvfile *f, const struct osdns_config *c)
{
        struct osdns_config want = *c;   /* lent */
        want.match = (struct osdns_names){0};
        for (size_t i = 0; i < c->server_count; i++)
                if (ip_is_service(c->servers[i]))
                        return f->names_us && f->config.server_count == 0;
        if (c->server_count == 0) {
                want.server_count = f->config.server_count;
                memcpy(want.servers, f->config.servers, sizeof(want.servers));
        }
        return osdns_config_eq(&want, &f->config);
}

bool resolvconf_is_set(const struct osdns_config *c)
{
        struct buf text;
        struct resolvfile f;
        buf_init(&text, TEXT_MAX);
        bool is = append_file("/etc/resolv.conf", &text);
        resolvfile_parse(text.data, text.len, &f);
        buf_done(&text);
        is = is && says(&f, c);
        resolvfile_done(&f);
        return is;
}

enum err resolvconf_restore(enum resolvconf_kind k, char why[RESOLVCONF_WHY_MAX])
{
        static const char *const debian[] = {"resolvconf", "-d", DEBIAN_NAME, NULL};
        static const char *const openresolv[] = {"resolvconf", "-f", "-d", OPENRESOLV_NAME, NULL};
        if (k == RESOLVCONF_DEBIAN)
                remove_hook();
        return run_or_say(k == RESOLVCONF_DEBIAN ? debian : openresolv, NULL, why);
}

bool resolvconf_has_leftovers(enum resolvconf_kind k)
{
        static const char *const openresolv[] = {"/run/resolvconf/interfaces/" OPENRESOLV_NAME,
                                                 "/run/resolvconf/keys/" OPENRESOLV_NAME,
                                                 "/var/run/resolvconf/interfaces/" OPENRESOLV_NAME,
                                                 "/run/resolvconf/interfaces/0." OPENRESOLV_NAME};
        if (k == RESOLVCONF_DEBIAN)
                return access(HOOK, F_OK) == 0 || access(DEBIAN_RECORDS "/" DEBIAN_NAME, F_OK) == 0;
        for (size_t i = 0; i < sizeof(openresolv) / sizeof(openresolv[0]); i++)
                if (access(openresolv[i], F_OK) == 0)
                        return true;
        return false;
}
