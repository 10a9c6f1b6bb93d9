#include "tun/device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buf.h"

/* One direction of a pair in memory: a ring of packets and an eventfd that is readable while it has any. */
struct mem_queue {
        int fd;
        size_t cap, head, count;
        int refs;                /* the two ends */
        struct mem_slot {
                uint16_t len;
                uint8_t data[PKT_DATA_MAX];
        } slot[];
};

struct tun {
        int fd;                  /* the device, or the read end's eventfd */
        struct mem_queue *in;    /* NULL for a real device */
        struct mem_queue *out;
        char name[IFNAMSIZ];
        bool gone;
        struct tun_counters counters;
};

static const char *open_advice(int error)
{
        switch (error) {
        case ENOENT:
                return "/dev/net/tun is missing: load the kernel module with 'modprobe tun'";
        case ENODEV:
                return "the kernel has no TUN driver: load it with 'modprobe tun'";
        case EPERM:
        case EACCES:
                return "no permission to open a TUN device: run as root or with CAP_NET_ADMIN";
        case EBUSY:
                return "the interface is in use by another process: stop it or choose another name with --tun";
        case EINVAL:
                return "an interface of that name exists and is no TUN device: choose another name with --tun";
        default:
                return strerror(error);
        }
}

enum err tun_open(const char *name, struct tun **ret, const char **ret_why)
{
        struct ifreq ifr = {0};
        if (name[0] == '\0' || !str_copy(ifr.ifr_name, sizeof(ifr.ifr_name), name)) {
                *ret_why = "an interface name has 1 to 15 characters";
                return ERR_FORMAT;
        }
        struct tun *t = calloc(1, sizeof(*t));
        if (t == NULL) {
                *ret_why = "out of memory";
                return ERR_FULL;
        }
        t->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (t->fd < 0)
                goto fail;
        ifr.ifr_flags = IFF_TUN | IFF_NO_PI;
        if (ioctl(t->fd, TUNSETIFF, &ifr) < 0)
                goto fail;
        (void)str_copy(t->name, sizeof(t->name), ifr.ifr_name);
        *ret = t;
        return ERR_NONE;
fail:;
        int error = errno;
        *ret_why = open_advice(error);
        if (t->fd >= 0)
                close(t->fd);
        free(t);
        errno = error;
        return error == EPERM || error == EACCES ? ERR_PERMISSION : ERR_IO;
}

static struct mem_queue *queue_new(size_t cap)
{
        struct mem_queue *q = calloc(1, sizeof(*q) + cap * sizeof(q->slot[0]));
        if (q == NULL)
                return NULL;
        q->cap = cap;
        q->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (q->fd < 0) {
                free(q);
                return NULL;
        }
        return q;
}

/* The end that stays is woken, to find out that it is alone. */
static void queue_unref(struct mem_queue *q)
{
        uint64_t one = 1;
        if (q == NULL)
                return;
        if (--q->refs > 0) {
                ssize_t ignored = write(q->fd, &one, sizeof(one));
                (void)ignored;
                return;
        }
        close(q->fd);
        free(q);
}

static struct tun *mem_end(const char *name, struct mem_queue *in, struct mem_queue *out)
{
        struct tun *t = calloc(1, sizeof(*t));
        if (t == NULL)
                return NULL;
        t->in = in;
        t->out = out;
        in->refs++;
        out->refs++;
        t->fd = in->fd;
        (void)str_copy(t->name, sizeof(t->name), name);
        return t;
}

enum err tun_pair(size_t ring, struct tun **ret_a, struct tun **ret_b)
{
        struct mem_queue *ab = queue_new(ring), *ba = queue_new(ring);
        struct tun *a = ab != NULL && ba != NULL ? mem_end("mem0", ba, ab) : NULL;
        struct tun *b = a != NULL ? mem_end("mem1", ab, ba) : NULL;
        if (b == NULL) {
                if (a != NULL) {
                        tun_close(a);   /* drops both queues */
                        return ERR_FULL;
                }
                queue_unref(ab);
                queue_unref(ba);
                return ERR_FULL;
        }
        *ret_a = a;
        *ret_b = b;
        return ERR_NONE;
}

void tun_close(struct tun *t)
{
        if (t == NULL)
                return;
        if (t->in != NULL) {
                queue_unref(t->in);
                queue_unref(t->out);
        } else {
                close(t->fd);
        }
        free(t);
}

int tun_fd(const struct tun *t)
{
        return t->fd;
}

const char *tun_name(const struct tun *t)
{
        return t->name;
}

static ssize_t mem_read(struct mem_queue *q, uint8_t *buf, size_t cap)
{
        uint64_t woken;
        if (q->count == 0) {
                if (read(q->fd, &woken, sizeof(woken)) < 0 && errno != EAGAIN)
                        return -1;
                errno = q->refs < 2 ? EBADFD : EAGAIN;
                return -1;
        }
        const struct mem_slot *s = &q->slot[q->head];
        size_t n = s->len < cap ? s->len : cap;
        memcpy(buf, s->data, n);
        q->head = (q->head + 1) % q->cap;
        q->count--;
        return (ssize_t)n;
}

static ssize_t mem_write(struct mem_queue *q, const uint8_t *data, size_t len)
{
        if (q->count == q->cap) {   /* the oldest is lost, as in a kernel queue that overran */
                q->head = (q->head + 1) % q->cap;
                q->count--;
        }
        struct mem_slot *s = &q->slot[(q->head + q->count) % q->cap];
        memcpy(s->data, data, len);
        s->len = (uint16_t)len;
        q->count++;
        uint64_t one = 1;
        if (write(q->fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
                return -1;
        return (ssize_t)len;
}

size_t tun_read(struct tun *t, struct pkt_pool *pool, struct pkt **ret_pkts, size_t max)
{
        size_t n = 0;
        while (n < max) {
                struct pkt *p = pkt_get(pool);
                if (p == NULL)
                        break;
                /* One byte more than a packet may have shows that the kernel's was longer. */
                enum { ROOM = PKT_DATA_MAX + 1 };
                uint8_t *dst = p->storage + PKT_HEADROOM;
                ssize_t got = t->in != NULL ? mem_read(t->in, dst, ROOM) : read(t->fd, dst, ROOM);
                if (got <= 0) {
                        pkt_release(pool, p);
                        if (got < 0 && errno == EINTR)
                                continue;
                        t->gone = got < 0 && errno != EAGAIN;
                        break;
                }
                if (got > PKT_DATA_MAX) {
                        t->counters.read_dropped++;
                        pkt_release(pool, p);
                        continue;
                }
                p->len = (uint16_t)got;
                t->counters.read++;
                ret_pkts[n++] = p;
        }
        return n;
}

bool tun_is_gone(const struct tun *t)
{
        return t->gone;
}

size_t tun_write(struct tun *t, struct pkt *const *pkts, size_t n)
{
        size_t taken = 0;
        for (size_t i = 0; i < n; i++) {
                const uint8_t *data = pkt_cdata(pkts[i]);
                size_t len = pkts[i]->len;
                ssize_t put = t->out != NULL ? mem_write(t->out, data, len) : write(t->fd, data, len);
                if (put == (ssize_t)len) {
                        taken++;
                        t->counters.written++;
                } else {
                        t->counters.write_dropped++;
                }
        }
        return taken;
}

struct tun_counters tun_counters(const struct tun *t)
{
        return t->counters;
}
