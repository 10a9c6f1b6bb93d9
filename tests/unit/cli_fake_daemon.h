/* tests/unit/cli_fake_daemon.h - a daemon that answers from a table, on a socket of its own.
 *
 * One thread; each connection is served until the client closes it.  What was asked is kept, to be looked at
 * when the client is done.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/command.h"
#include "tests/unit/check.h"

struct fake_answer {
        const char *ask;        /* "METHOD path", the path below /localapi/v0/ with its query */
        int status;
        const char *body;       /* NULL: none; "hang": no answer; "hangup": closes instead */
        bool stream;            /* the connection is closed behind the body, else kept */
        const char *after;      /* the body waits until something of this method was asked; NULL: it does not */
};

struct fake_daemon {
        const struct fake_answer *answers;   /* ends with ask NULL */
        char path[64];
        int listener;
        pthread_t thread;
        pthread_mutex_t lock;
        char asked[4096];       /* one a line, with the body behind a blank */
        int held[16];           /* connections left hanging */
        size_t held_count;
};

static inline bool fake_read_request(int fd, char *buf, size_t cap, char **ret_body)
{
        size_t n = 0, want = 0;
        *ret_body = NULL;
        for (;;) {
                char *end = n > 0 ? strstr(buf, "\r\n\r\n") : NULL;
                if (end != NULL && *ret_body == NULL) {
                        const char *len = strcasestr(buf, "content-length:");
                        want = len != NULL && len < end ? (size_t)atoi(len + 15) : 0;
                        *ret_body = end + 4;
                }
                if (*ret_body != NULL && n - (size_t)(*ret_body - buf) >= want)
                        return true;
                ssize_t got = read(fd, buf + n, cap - n - 1);
                if (got <= 0)
                        return false;
                n += (size_t)got;
                buf[n] = '\0';
        }
}

static inline bool fake_was_asked(struct fake_daemon *d, const char *method)
{
        pthread_mutex_lock(&d->lock);
        bool yes = strstr(d->asked, method) != NULL;
        pthread_mutex_unlock(&d->lock);
        return yes;
}

static inline const struct fake_answer *fake_find(const struct fake_daemon *d, const char *ask)
{
        for (const struct fake_answer *a = d->answers; a->ask != NULL; a++)
                if (strcmp(a->ask, ask) == 0)
                        return a;
        return NULL;
}

/* False: the connection is done with. */
static inline bool fake_serve_one(struct fake_daemon *d, int fd)
{
        static const struct fake_answer unknown = {"", 404, "no such thing\n", false, NULL};
        char buf[16384] = "", method[16] = "", path[512] = "", ask[600], head[256], *body;
        if (!fake_read_request(fd, buf, sizeof(buf), &body))
                return false;
        if (sscanf(buf, "%15s /localapi/v0/%511s", method, path) != 2)
                return false;
        snprintf(ask, sizeof(ask), "%s %s", method, path);
        pthread_mutex_lock(&d->lock);
        size_t used = strlen(d->asked);
        snprintf(d->asked + used, sizeof(d->asked) - used, "%s%s%s\n", ask, body[0] ? " " : "", body);
        pthread_mutex_unlock(&d->lock);
        const struct fake_answer *a = fake_find(d, ask);
        if (a == NULL)
                a = &unknown;
        const char *text = a->body != NULL ? a->body : "";
        if (strcmp(text, "hangup") == 0)
                return false;
        if (strcmp(text, "hang") == 0) {
                assert_true(d->held_count < 16);
                d->held[d->held_count++] = dup(fd);
                return false;
        }
        int n = a->stream ? snprintf(head, sizeof(head), "HTTP/1.1 %d X\r\nConnection: close\r\n\r\n", a->status) :
                a->status == 204 ? snprintf(head, sizeof(head), "HTTP/1.1 204 X\r\n\r\n") :
                snprintf(head, sizeof(head), "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n", a->status, strlen(text));
        if (send(fd, head, (size_t)n, MSG_NOSIGNAL) != n)
                return false;
        for (int i = 0; a->after != NULL && i < 500 && !fake_was_asked(d, a->after); i++)
                usleep(10000);
        if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
                return false;
        return !a->stream;
}

static inline void *fake_connection(void *arg)
{
        struct fake_daemon *d = ((void **)arg)[0];
        int fd = *(int *)((void **)arg)[1];
        free(((void **)arg)[1]);
        free(arg);
        while (fake_serve_one(d, fd))
                ;
        close(fd);
        return NULL;
}

/* A thread a connection: `up` reads the bus on one while it asks on another. */
static inline void *fake_run(void *arg)
{
        struct fake_daemon *d = arg;
        for (;;) {
                int fd = accept(d->listener, NULL, NULL);
                if (fd < 0)
                        return NULL;
                pthread_t t;
                void **both = calloc(2, sizeof(*both));
                int *copy = malloc(sizeof(*copy));
                assert_true(both != NULL && copy != NULL);
                *copy = fd;
                both[0] = d;
                both[1] = copy;
                assert_int_equal(pthread_create(&t, NULL, fake_connection, both), 0);
                assert_int_equal(pthread_detach(t), 0);
        }
}

static inline void fake_start(struct fake_daemon *d, const struct fake_answer *answers)
{
        static int number;
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        *d = (struct fake_daemon){.answers = answers, .lock = PTHREAD_MUTEX_INITIALIZER};
        snprintf(d->path, sizeof(d->path), "/tmp/cli-fake-%d-%d.sock", (int)getpid(), number++);
        snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", d->path);
        d->listener = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_true(d->listener >= 0);
        assert_int_equal(bind(d->listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
        assert_int_equal(listen(d->listener, 16), 0);
        assert_int_equal(pthread_create(&d->thread, NULL, fake_run, d), 0);
}

static inline void fake_stop(struct fake_daemon *d)
{
        (void)shutdown(d->listener, SHUT_RDWR);
        pthread_join(d->thread, NULL);
        close(d->listener);
        unlink(d->path);
        for (size_t i = 0; i < d->held_count; i++)
                close(d->held[i]);
}

/* ---- running a command as a person would ---- */

struct said {
        int code;
        char out[8192], err[8192];
};

static inline void fake_slurp(FILE *f, char *to, size_t cap)
{
        rewind(f);
        size_t n = fread(to, 1, cap - 1, f);
        to[n] = '\0';
        fclose(f);
}

/* line: words behind "tailscale", parted by blanks; socket NULL: the default. */
static inline void fake_cli(const char *socket_path, const char *line, struct said *ret)
{
        char words[1024], socket_flag[128], name[] = "tailscale", *argv[24] = {name};
        int argc = 1, old_out = dup(STDOUT_FILENO), old_err = dup(STDERR_FILENO);
        FILE *out = tmpfile(), *err = tmpfile();
        assert_true(out != NULL && err != NULL);
        if (socket_path != NULL) {
                snprintf(socket_flag, sizeof(socket_flag), "--socket=%s", socket_path);
                argv[argc++] = socket_flag;
        }
        snprintf(words, sizeof(words), "%s", line);
        for (char *save, *w = strtok_r(words, " ", &save); w != NULL && argc < 23; w = strtok_r(NULL, " ", &save))
                argv[argc++] = w;
        fflush(stdout);
        dup2(fileno(out), STDOUT_FILENO);
        dup2(fileno(err), STDERR_FILENO);
        ret->code = cli_main(argc, argv);
        fflush(stdout);
        dup2(old_out, STDOUT_FILENO);
        dup2(old_err, STDERR_FILENO);
        close(old_out);
        close(old_err);
        fake_slurp(out, ret->out, sizeof(ret->out));
        fake_slurp(err, ret->err, sizeof(ret->err));
}
