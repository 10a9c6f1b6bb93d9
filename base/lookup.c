#include "base/lookup.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/thread.h"

struct lookup {
        struct watch watch;
        struct loop *loop;
        lookup_fn fn;
        void *arg;
        int fd[2]; /* answers: we read [0], each helper has its own copy of [1] */
        unsigned running;
        struct job *first, **last; /* waiting for their turn, oldest first */
        size_t waiting;
};

struct answer {
        uint32_t id;
        struct ip ip;
};

/* All that a helper has; it never sees the struct lookup. */
struct job {
        struct job *next;
        int fd;
        uint32_t id;
        int family;
        char host[LOOKUP_HOST_MAX];
};

static void *run(void *arg)
{
        struct job *j = arg;
        struct answer a = {.id = j->id};
        struct addrinfo hints = {.ai_family = j->family, .ai_socktype = SOCK_DGRAM}, *list = NULL;
        if (getaddrinfo(j->host, NULL, &hints, &list) == 0 && list) {
                a.ip = addr_from_sockaddr(list->ai_addr).ip;
                freeaddrinfo(list);
        }
        (void)send(j->fd, &a, sizeof(a), MSG_NOSIGNAL);
        close(j->fd);
        free(j);
        return NULL;
}

/* False: no thread could be had; the job is gone. */
static bool launch(struct lookup *k, struct job *j)
{
        j->fd = fcntl(k->fd[1], F_DUPFD_CLOEXEC, 0);
        if (j->fd >= 0 && thread_start_detached(run, j) == 0) {
                k->running++;
                return true;
        }
        if (j->fd >= 0)
                close(j->fd);
        free(j);
        return false;
}

static struct job *take_waiting(struct lookup *k)
{
        struct job *j = k->first;
        if (j == NULL)
                return NULL;
        k->first = j->next;
        if (k->first == NULL)
                k->last = &k->first;
        k->waiting--;
        return j;
}

static void on_ready(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        struct lookup *k = container_of(w, struct lookup, watch);
        struct answer a;
        if (recv(k->fd[0], &a, sizeof(a), MSG_DONTWAIT) != sizeof(a))
                return;
        k->running--;
        for (struct job *j; k->running < LOOKUP_MAX && (j = take_waiting(k)) != NULL;) {
                uint32_t id = j->id;
                if (!launch(k, j))
                        k->fn(k->arg, id, (struct ip){.family = IP_NONE}, now);
        }
        k->fn(k->arg, a.id, a.ip, now);
}

struct lookup *lookup_new(struct loop *l, lookup_fn fn, void *arg)
{
        struct lookup *k = calloc(1, sizeof(*k));
        if (!k)
                return NULL;
        k->loop = l;
        k->fn = fn;
        k->arg = arg;
        k->last = &k->first;
        watch_init(&k->watch, on_ready);
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, k->fd) != 0) {
                free(k);
                return NULL;
        }
        if (loop_watch(l, &k->watch, k->fd[0], LOOP_READ) != ERR_NONE) {
                close(k->fd[0]);
                close(k->fd[1]);
                free(k);
                return NULL;
        }
        return k;
}

void lookup_free(struct lookup *k)
{
        if (!k)
                return;
        lookup_forget(k);
        loop_unwatch(&k->watch);
        close(k->fd[0]);
        close(k->fd[1]);
        free(k);
}

void lookup_forget(struct lookup *k)
{
        for (struct job *j; (j = take_waiting(k)) != NULL;)
                free(j);
}

enum err lookup_start(struct lookup *k, uint32_t id, const char *host, enum ip_family f)
{
        size_t len = strlen(host);
        if (k->waiting == LOOKUP_WAITING_MAX || len >= LOOKUP_HOST_MAX)
                return ERR_FULL;
        struct job *j = calloc(1, sizeof(*j));
        if (!j)
                return ERR_FULL;
        j->id = id;
        j->family = f == IP_V6 ? AF_INET6 : AF_INET;
        memcpy(j->host, host, len);
        if (k->running < LOOKUP_MAX)
                return launch(k, j) ? ERR_NONE : ERR_FULL;
        *k->last = j;
        k->last = &j->next;
        k->waiting++;
        return ERR_NONE;
}
