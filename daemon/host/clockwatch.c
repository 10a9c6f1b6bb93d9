#include "daemon/host/clockwatch.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct clockwatch {
        struct watch watch;
        struct clocks then;
        struct clockwatch_callbacks cb;
        void *arg;
};

int64_t clocks_slept_ms(const struct clocks *then, const struct clocks *now)
{
        int64_t ms = ((now->boot_ns - then->boot_ns) - (now->mono_ns - then->mono_ns)) / NS_PER_MS;
        return ms >= CLOCKWATCH_SLEPT_MS ? ms : 0;
}

int64_t clocks_stepped_ms(const struct clocks *then, const struct clocks *now)
{
        int64_t ms = ((now->wall_ns - then->wall_ns) - (now->boot_ns - then->boot_ns)) / NS_PER_MS;
        return ms >= CLOCKWATCH_STEPPED_MS || ms <= -CLOCKWATCH_STEPPED_MS ? ms : 0;
}

static int64_t read_clock(clockid_t id)
{
        struct timespec ts = {0};
        clock_gettime(id, &ts);
        return (int64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static struct clocks read_clocks(void)
{
        return (struct clocks){read_clock(CLOCK_BOOTTIME), read_clock(CLOCK_MONOTONIC), read_clock(CLOCK_REALTIME)};
}

/* A time that never comes, also by a clock gone mad; what ends the wait is that the clock is set, or was set anew after a suspend. */
static bool arm(int fd)
{
        struct itimerspec never = {.it_value.tv_sec = (time_t)(sizeof(time_t) > 4 ? INT64_MAX / NS_PER_SEC : INT32_MAX)};
        return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) == 0;
}

static void on_ready(struct watch *watch, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct clockwatch *w = container_of(watch, struct clockwatch, watch);
        uint64_t n;
        (void)!read(watch->fd, &n, sizeof(n));   /* ECANCELED, once */
        (void)arm(watch->fd);
        struct clocks then = w->then;
        w->then = read_clocks();
        int64_t slept = clocks_slept_ms(&then, &w->then), stepped = clocks_stepped_ms(&then, &w->then);
        if (stepped != 0)
                w->cb.on_stepped(w->arg, stepped);
        if (slept != 0)
                w->cb.on_slept(w->arg, slept);
}

struct clockwatch *clockwatch_new(struct loop *l, const struct clockwatch_callbacks *cb, void *arg)
{
        struct clockwatch *w = calloc(1, sizeof(*w));
        if (w == NULL)
                return NULL;
        w->cb = *cb;
        w->arg = arg;
        watch_init(&w->watch, on_ready);
        int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
        w->then = read_clocks();
        if (fd >= 0 && arm(fd) && loop_watch(l, &w->watch, fd, LOOP_READ) == ERR_NONE)
                return w;
        int saved = errno;
        if (fd >= 0)
                close(fd);
        free(w);
        errno = saved;
        return NULL;
}

void clockwatch_free(struct clockwatch *w)
{
        if (w == NULL)
                return;
        int fd = w->watch.fd;
        loop_unwatch(&w->watch);
        close(fd);
        free(w);
}
