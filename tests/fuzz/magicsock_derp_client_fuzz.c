/* A whole conversation with a hostile relay.  The first byte says how it starts (bit 0: fast start) and in pieces
 * of how many bytes the rest arrives.  The client must neither stall with room to read nor outgrow its buffers. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "magicsock/derp_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
        if (!held)
                abort();
}

static struct derp_client c;

/* The keys of the known answers, so that a seed gets past the greeting. */
static const struct key_private client_key = {{
        0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45,
        0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a}};
static const struct node_public server_key = {{
        0xde, 0x9e, 0xdb, 0x7d, 0x7b, 0x7d, 0xc1, 0xb4, 0xd3, 0x5b, 0x61, 0xc2, 0xec, 0xe4, 0x35, 0x37,
        0x3f, 0x83, 0x43, 0xc8, 0x5b, 0x78, 0x67, 0x4d, 0xad, 0xfc, 0x7e, 0x14, 0x6f, 0x88, 0x2b, 0x4f}};

/* False: the connection is over. */
static bool drain(size_t fed, mono_t now)
{
        static const uint8_t head[DERP_SEND_HEAD_LEN] = {DERP_SEND_PACKET, 0, 0, 0, KEY_LEN};
        size_t events = 0, out;
        struct derp_event ev;
        while ((ev = derp_client_next(&c, now)).kind != DERP_EV_NONE) {
                if (ev.kind == DERP_EV_FAILED)
                        return false;
                must(++events <= 2 * fed + DERP_IN_MAX);
                if (ev.msg.len > 0)
                        must(ev.msg.data >= c.in && ev.msg.data + ev.msg.len <= c.in + c.in_end);
                if (ev.kind == DERP_EV_RECV)
                        (void)derp_client_put(&c, head, NULL, 0, now);
        }
        (void)derp_client_out(&c, &out);
        must(out <= DERP_OUT_MAX);
        if (fed % 2 == 0)
                derp_client_sent(&c, out);
        return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const uint8_t nonce[BOX_NONCE_LEN] = {1};
        mono_t now = {NS_PER_SEC};
        if (size == 0)
                return 0;
        size_t piece = data[0] >> 1 == 0 ? size : data[0] >> 1;
        derp_client_init(&c, &(struct derp_client_opts){.host = "relay.example", .port = 443,
                .server = data[0] & 1 ? &server_key : NULL, .node = &client_key, .nonce = nonce, .home = true});
        for (size_t at = 1; at < size;) {
                size_t cap, n = size - at < piece ? size - at : piece;
                uint8_t *in = derp_client_in(&c, &cap);
                must(cap > 0);
                n = n < cap ? n : cap;
                memcpy(in, data + at, n);
                derp_client_fed(&c, n);
                at += n;
                now = mono_add_ms(now, 7);
                if (!drain(n, now))
                        break;
        }
        derp_client_done(&c);
        return 0;
}
