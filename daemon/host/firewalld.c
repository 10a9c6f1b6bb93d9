#include "daemon/host/firewalld.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/thread.h"
#include "daemon/host/hostbus.h"
#include "daemon/host/patience.h"

#define NOTE "firewalld"

enum task { TASK_LOOK, TASK_ADD, TASK_REMOVE };

/* All that a thread has, and sends back when it is done. */
struct job {
        enum task task;
        struct firewalld_part part;
        enum err result;
        char why[HOSTBUS_WHY_MAX];
};

struct firewalld {
        struct watch watch;
        struct loop *loop;
        int far;                       /* the threads' end of the socket */
        pthread_t thread;
        bool running;                  /* until its answer is taken */
        struct job job;                /* of the thread, while it runs */
        bool want, again;              /* again: the answer may be of the past */
        uint16_t port;
        char ifname[IFNAMSIZ];
        struct firewalld_part ours;    /* what we may have added */
        struct hostfile *host;
        void (*on_done)(void *arg);
        void *arg;
};

/* ---- the note ---- */

static bool is_empty(const struct firewalld_part *p)
{
        return p->ifname[0] == '\0' && p->port == 0;
}

/* "tailscale0 41641 public"; a '-' for no interface, a 0 for no port. */
static bool write_note(struct firewalld *d)
{
        char text[HOSTFILE_NOTE_MAX];
        const struct firewalld_part *p = &d->ours;
        snprintf(text, sizeof(text), "%s %u %s", p->ifname[0] != '\0' ? p->ifname : "-", p->port, p->zone);
        return d->host == NULL || hostfile_note(d->host, NOTE, is_empty(p) ? NULL : text) == ERR_NONE;
}

static void read_note(const struct hostfile *host, struct firewalld_part *ret)
{
        const char *text = host != NULL ? hostfile_noted(host, NOTE) : NULL;
        unsigned port = 0;
        memset(ret, 0, sizeof(*ret));
        if (text == NULL || sscanf(text, "%15s %5u %63s", ret->ifname, &port, ret->zone) < 2)
                return;
        ret->port = (uint16_t)port;
        if (strcmp(ret->ifname, "-") == 0)
                ret->ifname[0] = '\0';
}

/* ---- the thread ---- */

static void work(struct job *j)
{
        struct hostbus *b = hostbus_open(NULL, NULL, NULL, j->why);
        j->result = ERR_CLOSED;
        if (b != NULL && j->task == TASK_LOOK)
                j->result = hostbus_firewalld_look(b, &j->part, j->why);
        else if (b != NULL && j->task == TASK_ADD)
                j->result = hostbus_firewalld_add(b, &j->part, j->why);
        else if (b != NULL)
                j->result = hostbus_firewalld_remove(b, &j->part, j->why);
        hostbus_close(b);
}

static void *thread_main(void *arg)
{
        struct firewalld *d = arg;
        work(&d->job);
        (void)send(d->far, "", 1, MSG_NOSIGNAL);
        return NULL;
}

static void start(struct firewalld *d, enum task task, const struct firewalld_part *part)
{
        d->job = (struct job){.task = task, .part = *part};
        int rc = thread_start(&d->thread, thread_main, d);
        d->running = rc == 0;
        if (rc != 0)
                log_warn("firewalld is not asked: %s", strerror(rc));
}

static void next(struct firewalld *d)
{
        struct firewalld_part part = {.port = d->port};
        if (d->running)
                return;
        d->again = false;
        if (!d->want) {
                if (!is_empty(&d->ours))
                        start(d, TASK_REMOVE, &d->ours);
                return;
        }
        (void)str_copy(part.ifname, sizeof(part.ifname), d->ifname);
        start(d, TASK_LOOK, &part);
}

/* ---- answers ---- */

/* Looked: what is left in the answer is missing. */
static void add_missing(struct firewalld *d)
{
        struct firewalld_part *missing = &d->job.part;
        struct firewalld_part before = d->ours;
        if (is_empty(missing))
                return;
        if (missing->ifname[0] != '\0')
                memcpy(d->ours.ifname, missing->ifname, sizeof(d->ours.ifname));
        if (missing->port != 0) {
                d->ours.port = missing->port;
                memcpy(d->ours.zone, missing->zone, sizeof(d->ours.zone));
        }
        if (write_note(d)) {
                start(d, TASK_ADD, missing);
                return;
        }
        log_warn("firewalld is left alone: what is added there cannot be noted: %s", strerror(errno));
        d->ours = before;
}

static void take_answer(struct firewalld *d)
{
        pthread_join(d->thread, NULL);
        d->running = false;
        if (d->job.result != ERR_NONE)
                log_warn("firewalld: %s", d->job.why);
        else if (d->job.task == TASK_ADD)
                log_info("firewalld: the tunnel is trusted");
        if (d->job.task == TASK_REMOVE) {   /* if firewalld is gone, so is what it was told; if silent, the note stays */
                memset(&d->ours, 0, sizeof(d->ours));
                if (d->job.result != ERR_TIMEOUT && !write_note(d))
                        log_warn("the note on firewalld stays: %s", strerror(errno));
        } else if (d->job.result == ERR_NONE && d->job.task == TASK_LOOK && d->want) {
                add_missing(d);
        }
}

static void on_answer(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct firewalld *d = container_of(w, struct firewalld, watch);
        char c;
        if (recv(w->fd, &c, 1, MSG_DONTWAIT) != 1)
                return;
        take_answer(d);
        if (!d->running && (d->again || (!d->want && !is_empty(&d->ours))))
                next(d);
        if (!d->running)
                d->on_done(d->arg);
}

/* ---- ---- */

struct firewalld *firewalld_new(struct loop *l, const char *ifname, struct hostfile *host, void (*on_done)(void *arg),
        void *arg)
{
        int pair[2];
        struct firewalld *d = calloc(1, sizeof(*d));
        if (d == NULL)
                return NULL;
        d->loop = l;
        d->host = host;
        d->on_done = on_done;
        d->arg = arg;
        (void)str_copy(d->ifname, sizeof(d->ifname), ifname);
        read_note(host, &d->ours);
        watch_init(&d->watch, on_answer);
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
                free(d);
                return NULL;
        }
        d->far = pair[1];
        if (loop_watch(l, &d->watch, pair[0], LOOP_READ) == ERR_NONE)
                return d;
        close(pair[0]);
        close(pair[1]);
        free(d);
        return NULL;
}

void firewalld_want(struct firewalld *d, uint16_t port)
{
        d->want = d->again = true;
        d->port = port;
        next(d);
}

void firewalld_leave(struct firewalld *d)
{
        d->want = d->again = false;
        next(d);
}

bool firewalld_is_asking(const struct firewalld *d)
{
        return d->running;
}

void firewalld_free(struct firewalld *d)
{
        if (d == NULL)
                return;
        patience_ends(mono_add_ms(mono_now(), PATIENCE_STOP_MS));
        d->want = d->again = false;
        for (next(d); d->running; next(d))
                take_answer(d);
        patience_ends(MONO_NEVER);
        int fd = d->watch.fd;
        loop_unwatch(&d->watch);
        close(fd);
        close(d->far);
        free(d);
}

void firewalld_cleanup(struct hostfile *host)
{
        struct job j = {.task = TASK_REMOVE};
        read_note(host, &j.part);
        if (is_empty(&j.part))
                return;
        work(&j);
        if (j.result != ERR_NONE)
                log_warn("firewalld: %s", j.why);
        if (j.result != ERR_TIMEOUT && hostfile_note(host, NOTE, NULL) != ERR_NONE)
                log_warn("the note on firewalld stays: %s", strerror(errno));
}
