/* tests/lab/fakeclock.c - a suspend, as a program sees it: a library to preload.
 *
 * The file that FAKECLOCK names holds eight bytes, how many nanoseconds the host has slept.  A test stops the program,
 * writes them, and lets it go on: the clocks that go on in a suspend have jumped, timers that were due meanwhile ring, and
 * whoever asked to be told when the wall clock is set is told.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { FDS_MAX = 1024, SECOND = 1000000000 };

static const volatile int64_t *slept;   /* NULL: clocks as they are */
static struct {
        int clock;                      /* 0: no timer (that is CLOCK_REALTIME, kept one higher) */
        int flags;
        struct itimerspec when;
} timers[FDS_MAX];

static void *next_of(const char *name)
{
        return dlsym(RTLD_NEXT, name);
}

static void add(struct timespec *t, int64_t ns)
{
        int64_t all = (int64_t)t->tv_sec * SECOND + t->tv_nsec + ns;
        if (all < 1)
                all = 1;   /* 0 would stop a timer */
        *t = (struct timespec){.tv_sec = all / SECOND, .tv_nsec = all % SECOND};
}

static bool goes_on(clockid_t clock)
{
        return slept != NULL && (clock == CLOCK_BOOTTIME || clock == CLOCK_REALTIME);
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
        int (*real)(clockid_t, struct timespec *);
        *(void **)&real = next_of("clock_gettime");
        int rc = real(clock, ret);
        if (rc == 0 && goes_on(clock))
                add(ret, *slept);
        return rc;
}

int timerfd_create(int clock, int flags)
{
        int (*real)(int, int);
        *(void **)&real = next_of("timerfd_create");
        int fd = real(clock, flags);
        if (fd >= 0 && fd < FDS_MAX && goes_on(clock)) {
                timers[fd].when = (struct itimerspec){.it_value.tv_sec = 0};
                timers[fd].clock = clock + 1;
        }
        return fd;
}

static int set(int fd, int flags, const struct itimerspec *when, struct itimerspec *old)
{
        int (*real)(int, int, const struct itimerspec *, struct itimerspec *);
        *(void **)&real = next_of("timerfd_settime");
        struct itimerspec w = *when;
        bool stops = w.it_value.tv_sec == 0 && w.it_value.tv_nsec == 0, is_never = w.it_value.tv_sec > INT32_MAX;
        if ((flags & TFD_TIMER_ABSTIME) && !stops && !is_never)
                add(&w.it_value, -*slept);
        return real(fd, flags, &w, old);
}

int timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old)
{
        if (fd >= 0 && fd < FDS_MAX && timers[fd].clock != 0) {
                timers[fd].flags = flags;
                timers[fd].when = *when;
                return set(fd, flags, when, old);
        }
        int (*real)(int, int, const struct itimerspec *, struct itimerspec *);
        *(void **)&real = next_of("timerfd_settime");
        return real(fd, flags, when, old);
}

static void wake(int sig)
{
        int error = errno;
        (void)sig;
        for (int fd = 0; fd < FDS_MAX; fd++) {
                const struct itimerspec at_once = {.it_value.tv_nsec = 1};
                if (timers[fd].clock == 0 || timers[fd].flags == 0)
                        continue;
                bool tells = timers[fd].flags & TFD_TIMER_CANCEL_ON_SET;
                (void)set(fd, tells ? 0 : timers[fd].flags, tells ? &at_once : &timers[fd].when, NULL);
        }
        errno = error;
}

__attribute__((constructor)) static void start(void)
{
        const char *path = getenv("FAKECLOCK");
        int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        if (fd < 0)
                return;
        void *p = mmap(NULL, sizeof(*slept), PROT_READ, MAP_SHARED, fd, 0);
        close(fd);
        if (p == MAP_FAILED)
                return;
        struct sigaction a = {.sa_handler = wake, .sa_flags = SA_RESTART};
        sigaction(SIGCONT, &a, NULL);
        slept = p;
}
