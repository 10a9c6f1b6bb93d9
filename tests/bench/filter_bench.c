/* What a packet costs in the filter: rules walked one by one, compiled, and remembered.  Prints, judges nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/crypto.h"
#include "base/reader.h"
#include "tun/filter.h"
#include "tun/packet.h"

enum { PEERS = 10000, ROUNDS = 2000000, WALK_ROUNDS = 2000, KINDS = 256 };

struct policy {
        const char *name;
        struct filter_allow *allow;
        size_t count;
        uint16_t port;     /* where the sample packets go ... */
        bool port_by_peer; /* ... plus the number of the peer */
};

static const uint8_t usual[] = {PROTO_TCP, PROTO_UDP, PROTO_ICMP, PROTO_ICMPV6};
static const struct ip us = {.family = IP_V4, .b = {100, 127, 255, 1}};

/* Scattered, as of a server that gives random addresses: nothing to be joined. */
static struct ip peer_ip(size_t i)
{
        return ip_v4(100, (uint8_t)(64 + i % 48), (uint8_t)(i / 48 % 256),
                     (uint8_t)(i / 48 / 256 * 2 + i % 7 * 16));
}

static void *need(size_t n, size_t size)
{
        void *p = calloc(n, size);
        if (p == NULL)
                abort();
        return p;
}

static struct filter_range *sources(size_t first, size_t n)
{
        struct filter_range *r = need(n, sizeof(*r));
        for (size_t i = 0; i < n; i++)
                r[i] = (struct filter_range){peer_ip(first + i), peer_ip(first + i)};
        return r;
}

static struct filter_ports *destination(uint16_t first, uint16_t last)
{
        struct filter_ports *d = need(1, sizeof(*d));
        *d = (struct filter_ports){{us, us}, first, last};
        return d;
}

static struct policy few(void)
{
        struct filter_allow *a = need(4, sizeof(*a));
        struct filter_range *any = need(1, sizeof(*any));
        *any = (struct filter_range){ip_v4(100, 64, 0, 0), ip_v4(100, 127, 255, 255)};
        static const uint16_t ports[] = {22, 80, 443, 7000};
        for (size_t i = 0; i < 4; i++)
                a[i] = (struct filter_allow){any, 1, destination(ports[i], ports[i]), 1, usual, 4};
        return (struct policy){"4 rules from everybody", a, 4, 7000, false};
}

static struct policy one_long(void)
{
        struct filter_allow *a = need(1, sizeof(*a));
        a[0] = (struct filter_allow){sources(0, PEERS), PEERS, destination(7000, 7000), 1, usual, 4};
        return (struct policy){"1 rule from 10000 addresses", a, 1, 7000, false};
}

static struct policy one_each(void)
{
        struct filter_allow *a = need(PEERS, sizeof(*a));
        for (size_t i = 0; i < PEERS; i++)
                a[i] = (struct filter_allow){
                        sources(i, 1), 1, destination((uint16_t)(7000 + i), (uint16_t)(7000 + i)), 1,
                        usual,         4};
        return (struct policy){"10000 rules, an address and a port each", a, PEERS, 7000, true};
}

/* ---- the walk that the compiled rules replace ---- */

static bool walk(const struct policy *pol, const struct packet *p)
{
        struct ip src = ip_from_bytes4(p->src), dst = ip_from_bytes4(p->dst);
        for (size_t i = 0; i < pol->count; i++) {
                const struct filter_allow *a = &pol->allow[i];
                bool from = false;
                if (memchr(a->protos, p->proto, a->proto_count) == NULL)
                        continue;
                for (size_t k = 0; k < a->src_count && !from; k++)
                        from = ip_cmp(a->srcs[k].first, src) <= 0 && ip_cmp(src, a->srcs[k].last) <= 0;
                for (size_t k = 0; k < a->dst_count && from; k++)
                        if (ip_cmp(a->dsts[k].dst.first, dst) <= 0 && ip_cmp(dst, a->dsts[k].dst.last) <= 0 &&
                            a->dsts[k].first <= p->dst_port && p->dst_port <= a->dsts[k].last)
                                return true;
        }
        return false;
}

/* ---- samples ---- */

struct sample {
        uint8_t b[40];
};

static struct sample sample(uint8_t proto, struct ip src, uint16_t dport, uint8_t flags)
{
        struct sample s = {{0x45, 0, 0, 40}};
        s.b[9] = proto;
        memcpy(s.b + 12, src.b, 4);
        memcpy(s.b + 16, us.b, 4);
        store_be16(s.b + 20, 50000);
        store_be16(s.b + 22, dport);
        s.b[33] = flags;
        return s;
}

/* Spread over all peers. */
static void samples(struct sample out[KINDS], const struct policy *pol, uint8_t proto, uint8_t flags)
{
        for (size_t i = 0; i < KINDS; i++) {
                size_t peer = i * (PEERS / KINDS);
                out[i] = sample(proto, peer_ip(peer), (uint16_t)(pol->port + (pol->port_by_peer ? peer : 0)),
                                flags);
        }
}

/* Of the processor: others on this host do not count. */
static double now_s(void)
{
        struct timespec t;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Nanoseconds a packet. */
static double measure(const struct filter *f, struct filter_state *s, const struct sample *p, size_t kinds)
{
        size_t accepted = 0;
        double start = now_s();
        for (size_t i = 0; i < ROUNDS; i++)
                accepted += filter_in(f, s, p[i % kinds].b, sizeof(p->b)) == FILTER_ACCEPT;
        double ns = (now_s() - start) * 1e9 / ROUNDS;
        if (accepted != ROUNDS) {
                fprintf(stderr, "%zu of %d packets accepted: these samples measure something else\n",
                        accepted, ROUNDS);
                exit(1);
        }
        return ns;
}

static double measure_walk(const struct policy *pol, const struct sample *p)
{
        size_t accepted = 0;
        double start = now_s();
        for (size_t i = 0; i < WALK_ROUNDS; i++) {
                struct packet k = packet_parse(p[i % KINDS].b, sizeof(p->b));
                accepted += walk(pol, &k);
        }
        if (accepted != WALK_ROUNDS)
                exit(1);
        return (now_s() - start) * 1e9 / WALK_ROUNDS;
}

static void run(const struct policy *pol)
{
        struct sample syn[KINDS], data[KINDS], udp[KINDS];
        struct prefix local = prefix_of(us);
        struct filter_state *s = filter_state_new();
        double start = now_s();
        struct filter *f = filter_new(pol->allow, pol->count, &local, 1, false);
        double compile_ms = (now_s() - start) * 1e3;
        if (f == NULL || s == NULL)
                abort();
        samples(syn, pol, PROTO_TCP, TCP_SYN);
        samples(data, pol, PROTO_TCP, TCP_ACK);
        samples(udp, pol, PROTO_UDP, 0);
        printf("%s: compiled in %.1f ms, %zu KiB\n", pol->name, compile_ms, filter_bytes(f) / 1024);
        printf("  rules walked one by one %10.0f ns\n", measure_walk(pol, syn));
        printf("  compiled: TCP SYN       %10.0f ns\n", measure(f, s, syn, KINDS));
        printf("  TCP of an open flow     %10.0f ns\n", measure(f, s, data, KINDS));
        printf("  UDP of 256 flows heard  %10.0f ns\n", measure(f, s, udp, KINDS));
        printf("  UDP of 1 flow heard     %10.0f ns\n", measure(f, s, udp, 1));
        for (size_t i = 0; i < KINDS; i++) {
                struct sample back = udp[i];
                memcpy(back.b + 12, udp[i].b + 16, 4);
                memcpy(back.b + 16, udp[i].b + 12, 4);
                memcpy(back.b + 20, udp[i].b + 22, 2);
                memcpy(back.b + 22, udp[i].b + 20, 2);
                if (filter_out(f, s, back.b, sizeof(back.b)) != FILTER_ACCEPT)
                        abort();
        }
        printf("  UDP of 256 flows answered %8.0f ns\n", measure(f, s, udp, KINDS));
        filter_free(f);
        filter_state_free(s);
}

int main(void)
{
        if (crypto_init() != ERR_NONE)
                return 1;
        struct policy all[] = {few(), one_long(), one_each()};
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
                run(&all[i]);
                for (size_t k = 0; k < all[i].count; k++) {
                        free((void *)(uintptr_t)all[i].allow[k].dsts);
                        if (i > 0 || k == 0) /* the few share their sources */
                                free((void *)(uintptr_t)all[i].allow[k].srcs);
                }
                free(all[i].allow);
        }
        return 0;
}
