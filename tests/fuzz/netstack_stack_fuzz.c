/* Packets of peers into the stack: each is two bytes of length and itself.  Every other connection is accepted, its bytes are
 * read and written back; datagrams go back to where they came from. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/netstack/stack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
        unsigned asked;
        struct stack_conn *last;
} t;

static void must(bool held)
{
        if (!held)
                abort();
}

static bool send_packet(void *arg, const uint8_t *pkt, size_t len)
{
        (void)arg;
        must(len <= STACK_MTU && len >= 20 && (pkt[0] >> 4 == 4 || pkt[0] >> 4 == 6));
        return true;
}

static void on_change(void *user)
{
        (void)user;
}

static void on_syn(void *arg, struct stack_syn *s)
{
        (void)arg;
        struct stack_end from, to;
        stack_syn_ends(s, &from, &to);
        must(from.family == to.family && from.port != 0 && to.port != 0);
        switch (t.asked++ % 4) {
        case 0:
                stack_refuse(s);
                break;
        case 1:
                stack_ignore(s);
                break;
        default:
                if (t.last != NULL)
                        stack_close(t.last);
                t.last = stack_accept(s, on_change, NULL);
        }
}

static void on_datagram(void *arg, uint8_t proto, const struct stack_end *from, const struct stack_end *to, const uint8_t *data,
        size_t len)
{
        (void)arg;
        must(len > 0 && from->family == to->family);
        stack_send(proto, to, from, data, len, SIZE_MAX);
}

static void on_wake(void *arg)
{
        (void)arg;
}

static const struct stack_ops ops = {send_packet, on_syn, on_datagram, on_wake};

static void echo(struct stack_conn *c)
{
        struct iovec v[2];
        int n = stack_peek(c, v);
        for (int i = 0; i < n; i++) {
                (void)stack_write(c, v[i].iov_base, v[i].iov_len);
                stack_consume(c, v[i].iov_len);
        }
        if (stack_eof(c))
                stack_shut(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        t.asked = 0;
        t.last = NULL;
        must(stack_start(&ops, NULL));
        while (size >= 2) {
                size_t n = (size_t)(data[0] << 8 | data[1]);
                data += 2;
                size -= 2;
                n = n < size ? n : size;
                stack_in(data, n);
                (void)stack_run();
                if (t.last != NULL)
                        echo(t.last);
                data += n;
                size -= n;
        }
        stack_stop();
        return 0;
}
