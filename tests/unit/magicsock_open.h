/* tests/unit/magicsock_open.h - one magicsock with its sockets open, and somebody on the loopback who sends to them. */
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/dial.h"
#include "magicsock/internal.h"
#include "tests/unit/check.h"

enum { WG_LEN = 100, POOL = 256 };

static struct {
        struct loop *loop;
        struct dialer *dialer;
        struct pkt_pool *pool;
        struct ms *ms;
        unsigned got;
        uint8_t last;
} t;

static inline bool on_wg(void *arg, struct pkt **pkts, const struct ms_source *srcs, size_t n, bool may_keep, mono_t now)
{
        (void)may_keep;
        (void)now;
        assert_ptr_equal(arg, &t);
        for (size_t i = 0; i < n; i++) {
                assert_true(addr_is_set(srcs[i].addr));
                t.last = pkt_cdata(pkts[i])[8];
                t.got++;
                pkt_release(t.pool, pkts[i]);
        }
        return false;
}

static inline mono_t now(void)
{
        return loop_now(t.loop);
}

static inline int set_up(void **state)
{
        (void)state;
        static uint8_t room[SOCK_ROOM];
        static const struct ms_callbacks cb = {.on_wg = on_wg};
        struct key_private us;
        memset(&t, 0, sizeof(t));
        t.loop = loop_new();
        t.dialer = dialer_new(t.loop);
        t.pool = pkt_pool_new(POOL);
        t.ms = ms_new(t.loop, t.pool, t.dialer, &(struct ms_opts){.room = room, .cb = &cb, .arg = &t});
        assert_non_null(t.ms);
        key_generate(&us);
        ms_set_keys(t.ms, &us);
        ms_set_active(t.ms, true, now());
        return 0;
}

static inline int tear_down(void **state)
{
        (void)state;
        ms_free(t.ms);
        bool whole = pkt_pool_free_count(t.pool) == POOL;
        pkt_pool_free(t.pool);
        dialer_free(t.dialer);
        loop_free(t.loop);
        return whole ? 0 : -1;
}

/* A socket of somebody else's, and its port. */
static inline int outsider(uint16_t *ret_port)
{
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(at);
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
        *ret_port = ntohs(at.sin_port);
        return fd;
}

/* What looks like WireGuard, with a number in it. */
static inline void send_to(int fd, uint16_t port, uint8_t number)
{
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        uint8_t data[WG_LEN] = {4, [8] = number};
        assert_int_equal(sendto(fd, data, sizeof(data), 0, (struct sockaddr *)&to, sizeof(to)), WG_LEN);
}

static inline void until_got(unsigned n)
{
        mono_t end = mono_add_ms(mono_now(), 20000);
        while (t.got < n && !mono_reached(mono_now(), end))
                loop_once(t.loop, 20);
        assert_int_equal(t.got, n);
}
