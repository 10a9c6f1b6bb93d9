#include "tun/device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/buf.h"
#include "tun/packet.h"

/* Of Linux 6.2; older headers lack them. */
enum { OFFLOAD_USO4 = 0x20, OFFLOAD_USO6 = 0x40 };

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
        bool vnet;               /* a virtio header comes with every packet */
        unsigned offloads;       /* that are on */
        struct tun_counters counters;
        struct vnet head;        /* of the last read */
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
        ifr.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
        t->vnet = ioctl(t->fd, TUNSETIFF, &ifr) == 0;
        if (!t->vnet) {
                ifr.ifr_flags = IFF_TUN | IFF_NO_PI;
                if (errno != EINVAL || ioctl(t->fd, TUNSETIFF, &ifr) < 0)
                        goto fail;
        }
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

/* What the kernel may send us follows from what we say that we can take; every super-packet needs TUN_F_CSUM. */
static bool set_receive(const struct tun *t, unsigned wanted)
{
        unsigned long flags = 0;
        if (wanted & TUN_TCP_GSO)
                flags |= TUN_F_TSO4 | TUN_F_TSO6;
        if (wanted & TUN_UDP_GSO)
                flags |= OFFLOAD_USO4 | OFFLOAD_USO6;
        return ioctl(t->fd, TUNSETOFFLOAD, flags ? flags | TUN_F_CSUM : 0) == 0;
}

/* A kernel that knows USO takes it both ways. */
static bool knows_uso(const struct tun *t)
{
        return ioctl(t->fd, TUNSETOFFLOAD, (unsigned long)(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | OFFLOAD_USO4 | OFFLOAD_USO6)) == 0;
}

unsigned tun_set_offloads(struct tun *t, unsigned wanted)
{
        t->offloads = 0;
        if (!t->vnet)
                return 0;
        if (wanted & (TUN_UDP_GSO | TUN_UDP_GRO) && !knows_uso(t))
                wanted &= ~(unsigned)(TUN_UDP_GSO | TUN_UDP_GRO);
        if (!set_receive(t, wanted)) {
                wanted &= ~(unsigned)(TUN_TCP_GSO | TUN_UDP_GSO);
                (void)set_receive(t, 0);
        }
        t->offloads = wanted & TUN_OFFLOADS;
        return t->offloads;
}

unsigned tun_offloads(const struct tun *t)
{
        return t->offloads;
}

static ssize_t device_read(struct tun *t, uint8_t room[TUN_ROOM])
{
        struct iovec iov[2] = {{&t->head, sizeof(t->head)}, {room, TUN_ROOM}};
        if (!t->vnet)
                return read(t->fd, room, TUN_ROOM);
        ssize_t got = readv(t->fd, iov, 2);
        return got < (ssize_t)sizeof(t->head) ? got : got - (ssize_t)sizeof(t->head);
}

bool tun_next(struct tun *t, uint8_t room[TUN_ROOM], struct gso *ret)
{
        for (;;) {
                ssize_t got = t->in != NULL ? mem_read(t->in, room, TUN_ROOM) : device_read(t, room);
                if (got < 0 && errno == EINTR)
                        continue;
                if (got <= 0) {
                        t->gone = got < 0 && errno != EAGAIN;
                        return false;
                }
                t->counters.read++;
                if (gso_begin(ret, &t->head, room, (size_t)got) == ERR_NONE && gso_next_len(ret) <= PKT_DATA_MAX)
                        return true;
                t->counters.read_dropped++;
        }
}

bool tun_is_gone(const struct tun *t)
{
        return t->gone;
}

static bool count_write(struct tun *t, bool taken, size_t packets)
{
        if (taken)
                t->counters.written++;
        else
                t->counters.write_dropped += packets;
        return taken;
}

bool tun_write_one(struct tun *t, const struct pkt *p)
{
        struct vnet none = {0};
        struct iovec iov[2] = {{&none, sizeof(none)}, {p->storage + p->off, p->len}};
        ssize_t put;
        if (t->out != NULL)
                put = mem_write(t->out, pkt_cdata(p), p->len);
        else
                put = writev(t->fd, t->vnet ? iov : iov + 1, t->vnet ? 2 : 1);
        return count_write(t, put >= 0, 1);
}

static void write_singly(struct tun *t, const struct gro_item *it)
{
        for (const struct pkt *p = it->first; p != NULL; p = p->next)
                (void)tun_write_one(t, p);
}

static void write_joined(struct tun *t, const struct gro_item *it)
{
        struct vnet vnet;
        uint8_t head[GRO_HEAD_MAX];
        struct iovec iov[1 + GRO_IOV_MAX] = {{&vnet, sizeof(vnet)}};
        size_t n = gro_vector(it, &vnet, head, iov + 1);
        if (writev(t->fd, iov, (int)(n + 1)) >= 0) {
                (void)count_write(t, true, it->count);
        } else if (errno == EINVAL) {   /* some kernels refuse what they said they could */
                t->offloads &= it->proto == PROTO_UDP ? ~(unsigned)TUN_UDP_GRO : ~(unsigned)TUN_TCP_GRO;
                write_singly(t, it);
        } else {
                (void)count_write(t, false, it->count);
        }
}

void tun_write(struct tun *t, const struct gro *g, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (g->item[i].count > 1 && t->vnet)
                        write_joined(t, &g->item[i]);
                else
                        write_singly(t, &g->item[i]);
        }
}

struct tun_counters tun_counters(const struct tun *t)
{
        return t->counters;
}
