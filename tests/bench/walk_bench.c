/* The packet's walk without any system call: super-packets cut and sealed by one side, opened and joined by the other.
 *
 * usage: walk_bench [out|both [SUPER-PACKETS]].  Prints ns of this thread for a packet, judges nothing.  Under callgrind,
 * the difference of two runs is the instructions of a packet (tests/bench/datapath.py does that).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/checksum.h"
#include "base/crypto.h"
#include "base/reader.h"
#include "tun/filter.h"
#include "tun/gro.h"
#include "tun/gso.h"
#include "tun/packet.h"
#include "wg/device.h"

enum { MTU = 1280, HEAD = 40, PAYLOAD = MTU - HEAD, SEGMENTS = 48, SLOT = 1, SEALED_MAX = 16 + MTU + 16, USUAL = 20000 };

static uint8_t unit[HEAD + SEGMENTS * PAYLOAD];
static uint8_t room[SEGMENTS][SEALED_MAX];

struct side {
        struct pkt_pool *pool;
        struct wg *wg;
        struct filter *filter;
        struct filter_state *flows;
};

static void must(bool good, const char *what)
{
        if (good)
                return;
        fprintf(stderr, "walk_bench: %s failed\n", what);
        exit(1);
}

static struct prefix prefix(const char *text)
{
        struct prefix p;
        must(prefix_parse(text, &p) == ERR_NONE, "a prefix");
        return p;
}

static void side_init(struct side *s, const struct key_private *key, const struct key_private *peer, const char *us,
                      const char *them)
{
        struct prefix own = prefix(us), other = prefix(them);
        struct node_public pub = key_node_public(peer);
        s->pool = pkt_pool_new(64);
        s->wg = wg_new(s->pool, 8);
        s->filter = filter_new(NULL, 0, &own, 1, false);
        s->flows = filter_state_new();
        must(s->wg != NULL && s->filter != NULL && s->flows != NULL, "memory");
        wg_set_identity(s->wg, key);
        wg_set_mtu(s->wg, MTU);
        must(wg_peer_set(s->wg, SLOT, &pub, &other, 1) == ERR_NONE, "a peer");
}

/* One message from a to b; false: there was none. */
static bool carry(struct side *a, struct side *b, mono_t now)
{
        struct wg_source from = {.addr = {.ip = ip_v4(192, 0, 2, 1), .port = 1}};
        struct wg_out out;
        wg_expire(a->wg, now, wall_now_ns());
        if (!wg_next_out(a->wg, &out))
                return false;
        struct wg_in in = {.p = out.p, .src = &from};
        wg_open(b->wg, &in, 1, now);
        pkt_release(a->pool, out.p);
        return true;
}

static void shake_hands(struct side *a, struct side *b, mono_t now)
{
        struct pkt *p = pkt_get(a->pool);
        memcpy(pkt_put(p, HEAD), unit, HEAD);
        (void)wg_seal(a->wg, SLOT, &p, 1, now);
        must(carry(a, b, now) && carry(b, a, now) && carry(a, b, now), "the handshake");
}

static void make_unit(void)
{
        memset(unit, 0x5a, sizeof(unit));
        memset(unit, 0, HEAD);
        unit[0] = 0x45;
        store_be16(unit + 2, sizeof(unit));
        unit[8] = 64;
        unit[9] = PROTO_TCP;
        memcpy(unit + 12, (uint8_t[]){10, 0, 0, 1, 10, 0, 0, 2}, 8);
        store_be16(unit + 20, 1000);
        store_be16(unit + 22, 2000);
        unit[32] = 0x50;
        unit[33] = TCP_ACK;
        ip4_checksum(unit, 20);
}

static size_t walk_out(struct side *s, struct pkt *views, mono_t now)
{
        static const struct vnet vnet = {.flags = VNET_NEEDS_CSUM, .gso_type = VNET_GSO_TCP4, .hdr_len = HEAD,
                .gso_size = PAYLOAD, .csum_start = 20, .csum_offset = 16};
        struct pkt *pkts[SEGMENTS];
        struct gso g;
        must(gso_begin(&g, &vnet, unit, sizeof(unit)) == ERR_NONE, "a super-packet");
        must(filter_out(s->filter, s->flows, unit, sizeof(unit)) == FILTER_ACCEPT, "the filter");
        must(wg_peer_for(s->wg, unit, sizeof(unit)) == SLOT, "the look-up");
        size_t n = 0;
        for (size_t len; (len = gso_next_len(&g)) > 0; n++) {
                pkts[n] = &views[n];
                pkt_view(&views[n], room[n], SEALED_MAX, 16, len);
                gso_cut(&g, pkt_data(&views[n]));
        }
        return wg_seal(s->wg, SLOT, pkts, n, now);
}

static void walk_in(struct side *s, struct pkt *views, size_t n, struct gro *g, mono_t now)
{
        struct wg_source from = {.addr = {.ip = ip_v4(192, 0, 2, 1), .port = 1}};
        struct wg_in in[SEGMENTS];
        for (size_t i = 0; i < n; i++)
                in[i] = (struct wg_in){.p = &views[i], .src = &from};
        wg_open(s->wg, in, n, now);
        for (size_t i = 0; i < n; i++) {
                must(in[i].verdict == WG_DATA, "opening");
                if (!gro_append(g, &views[i]))
                        must(filter_in(s->filter, s->flows, pkt_cdata(&views[i]), views[i].len) == FILTER_ACCEPT &&
                                     gro_start(g, &views[i]), "joining");
        }
        struct vnet vnet;
        uint8_t head[GRO_HEAD_MAX];
        struct iovec iov[GRO_IOV_MAX];
        must(g->count == 1 && gro_vector(&g->item[0], &vnet, head, iov) == n + 1, "the whole");
        gro_drop(g, 1);
}

static double cpu_ns(void)
{
        struct timespec t;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
        static struct gro gro = {.tcp = true};
        static struct pkt views[SEGMENTS];
        bool both = argc < 2 || strcmp(argv[1], "out") != 0;
        long units = argc > 2 ? strtol(argv[2], NULL, 10) : USUAL;
        struct key_private a_key, b_key;
        struct side a, b;
        mono_t now = mono_now();
        must(crypto_init() == ERR_NONE, "crypto");
        key_generate(&a_key);
        key_generate(&b_key);
        make_unit();
        side_init(&a, &a_key, &b_key, "10.0.0.1/32", "10.0.0.2/32");
        side_init(&b, &b_key, &a_key, "10.0.0.2/32", "10.0.0.1/32");
        struct filter_range all = {ip_v4(0, 0, 0, 0), ip_v4(255, 255, 255, 255)};
        struct filter_ports to = {all, 0, 65535};
        static const uint8_t protos[] = {PROTO_TCP};
        struct filter_allow allow = {&all, 1, &to, 1, protos, 1};
        struct prefix us = prefix("10.0.0.2/32");
        filter_free(b.filter);
        b.filter = filter_new(&allow, 1, &us, 1, false);
        shake_hands(&a, &b, now);
        double out = 0, in = 0;
        for (long i = 0; i < units; i++) {
                double start = cpu_ns();
                size_t n = walk_out(&a, views, now);
                double turn = cpu_ns();
                must(n == SEGMENTS, "sealing");
                if (both)
                        walk_in(&b, views, n, &gro, now);
                out += turn - start;
                in += cpu_ns() - turn;
        }
        if (units > 0)
                printf("ns a packet of %d bytes: out %.0f, in %.0f\n", MTU, out / (double)units / SEGMENTS,
                       in / (double)units / SEGMENTS);
        return 0;
}
