#include "daemon/pingprog.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/thread.h"
#include "daemon/host/runprog.h"

enum { PING_MS = 4000 };

struct pingprog {
        struct watch watch;     /* answers: we read fd[0], each helper has its own copy of fd[1] */
        int fd[2];
        unsigned running;
        char path[RUNPROG_PATH_MAX];
        bool complained;
        void (*answered)(void *arg, uint16_t number);
        void *arg;
};

struct verdict {
        uint16_t number;
        bool ok, failed;        /* it could not even ask */
};

/* All that a helper has. */
struct job {
        int fd;
        uint16_t number;
        char path[RUNPROG_PATH_MAX], to[IP_STR_MAX];
};

static void *run(void *arg)
{
        struct job *j = arg;
        const char *const argv[] = {j->path, "-n", "-c", "1", "-W", "3", j->to, NULL};
        struct runprog r = {.argv = argv, .timeout_ms = PING_MS};
        struct verdict v = {.number = j->number};
        struct buf out;
        int status = -1;
        buf_init(&out, 1024);
        v.ok = runprog(&r, &out, &status) == ERR_NONE && status == 0;
        v.failed = status > 1;   /* 1 is silence */
        buf_done(&out);
        (void)send(j->fd, &v, sizeof(v), MSG_NOSIGNAL);
        close(j->fd);
        free(j);
        return NULL;
}

static void complain(struct pingprog *p, const char *why)
{
        if (!p->complained)
                log_info("peers cannot ping what is behind this node: %s; 'sysctl net.ipv4.ping_group_range=\"0 2147483647\"' "
                        "lets every user", why);
        p->complained = true;
}

static void on_ready(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct pingprog *p = container_of(w, struct pingprog, watch);
        struct verdict v;
        if (recv(w->fd, &v, sizeof(v), MSG_DONTWAIT) != sizeof(v))
                return;
        p->running--;
        if (v.ok)
                p->answered(p->arg, v.number);
        else if (v.failed)
                complain(p, "the program ping may not");
}

void pingprog_ask(struct pingprog *p, uint16_t number, struct ip to)
{
        struct job *j = p->running < PINGPROG_MAX ? calloc(1, sizeof(*j)) : NULL;
        if (p->path[0] == '\0')
                complain(p, "there is no program ping");
        if (j == NULL || p->path[0] == '\0') {
                free(j);
                return;
        }
        j->number = number;
        memcpy(j->path, p->path, sizeof(j->path));
        (void)ip_str(to, j->to);
        j->fd = fcntl(p->fd[1], F_DUPFD_CLOEXEC, 0);
        if (j->fd >= 0 && thread_start_detached(run, j) == 0) {
                p->running++;
                return;
        }
        if (j->fd >= 0)
                close(j->fd);
        free(j);
}

struct pingprog *pingprog_new(struct loop *l, void (*answered)(void *arg, uint16_t number), void *arg)
{
        struct pingprog *p = calloc(1, sizeof(*p));
        if (p == NULL)
                return NULL;
        p->answered = answered;
        p->arg = arg;
        watch_init(&p->watch, on_ready);
        if (runprog_find("ping", p->path) != ERR_NONE)
                p->path[0] = '\0';
        /* It blocks: a helper waits until there is room for what it has to say. */
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p->fd) != 0) {
                free(p);
                return NULL;
        }
        if (loop_watch(l, &p->watch, p->fd[0], LOOP_READ) == ERR_NONE)
                return p;
        pingprog_free(p);
        return NULL;
}

void pingprog_free(struct pingprog *p)
{
        if (p == NULL)
                return;
        loop_unwatch(&p->watch);
        close(p->fd[0]);
        close(p->fd[1]);
        free(p);
}
