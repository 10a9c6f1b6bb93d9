/* tests/unit/netstack_net.h - the stack on a loop, and the last packet that it sent into the tunnel. */
#pragma once

#include "base/checksum.h"
#include "base/crypto.h"
#include "base/reader.h"
#include "daemon/netstack/netstack.h"
#include "tests/unit/check.h"

static struct {
        struct loop *loop;
        struct netstack *stack;
        unsigned sent;
        uint8_t pkt[2048];
        size_t len;
} net;

static bool net_send(void *arg, const uint8_t *pkt, size_t len)
{
        (void)arg;
        assert_true(len <= sizeof(net.pkt));
        memcpy(net.pkt, pkt, len);
        net.len = len;
        net.sent++;
        return true;
}

static void net_syn(void *arg, struct stack_syn *s)
{
        (void)arg;
        stack_refuse(s);
}

static const struct netstack_ops net_ops = {.send = net_send, .syn = net_syn};

static int net_up(void)
{
        memset(&net, 0, sizeof(net));
        net.loop = loop_new();
        net.stack = net.loop != NULL ? netstack_new(net.loop, &net_ops, NULL) : NULL;
        return net.stack != NULL ? 0 : -1;
}

static void net_down(void)
{
        netstack_free(net.stack);
        loop_free(net.loop);
}

static bool net_sum_is_good(size_t head, uint8_t proto)
{
        size_t n = net.len - head, ip_len = head == 20 ? 4 : 16;
        const uint8_t *src = net.pkt + (ip_len == 4 ? 12 : 8);
        uint64_t sum = proto == 1 ? 0 : sum_add_u16(sum_pseudo(src, src + ip_len, ip_len, proto), (uint16_t)n);
        return sum_fold(sum_add(sum, net.pkt + head, n)) == 0xffff;
}

/* That one packet more was sent, whole and from there to here; returns where its payload begins. */
static const uint8_t *net_expect(unsigned sent, uint8_t proto, struct ip from, struct ip to, size_t payload)
{
        assert_int_equal(net.sent, sent);
        bool v4 = from.family == IP_V4;
        size_t head = v4 ? 20 : 40;
        assert_int_equal(net.len, head + payload);
        assert_int_equal(net.pkt[0] >> 4, v4 ? 4 : 6);
        assert_int_equal(net.pkt[v4 ? 9 : 6], proto);
        const uint8_t *src = net.pkt + (v4 ? 12 : 8), *dst = src + (v4 ? 4 : 16);
        assert_true(ip_eq(v4 ? ip_from_bytes4(src) : ip_from_bytes16(src), from));
        assert_true(ip_eq(v4 ? ip_from_bytes4(dst) : ip_from_bytes16(dst), to));
        assert_true(net_sum_is_good(head, proto));
        return net.pkt + head;
}
