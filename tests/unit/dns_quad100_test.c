/* The service addresses, packet by packet: UDP, echo, and TCP with a client of a few lines. */
#include "daemon/dns/quad100.h"

#include "base/crypto.h"
#include "base/json.h"
#include "tests/unit/dns_msg.h"

enum { SYN = 2, RST = 4, ACK = 16, FIN = 1, PUSH = 8 };

struct fixture {
        struct loop *loop;
        struct dns_service *service;
        struct quad100 *q;
        struct ip me, to;
        uint8_t pkt[1300];       /* the last packet that came */
        size_t len;
        int packets;
        /* our end of one TCP connection */
        uint16_t port;
        uint32_t seq, ack;
        uint8_t stream[4000];
        size_t stream_len;
        bool fin, rst;
};

static uint16_t sum(const uint8_t *p, size_t n, uint32_t s)
{
        for (; n > 1; n -= 2, p += 2)
                s += load_be16(p);
        s += n ? (uint32_t)*p << 8 : 0;
        while (s >> 16)
                s = (s & 0xffff) + (s >> 16);
        return (uint16_t)s;
}

static uint16_t pseudo(struct ip a, struct ip b, uint8_t proto, const uint8_t *p, size_t n)
{
        size_t w = a.family == IP_V4 ? 4 : 16;
        return sum(p, n, (uint32_t)sum(a.b, w, 0) + sum(b.b, w, 0) + proto + (uint32_t)n);
}

static size_t make_ip(struct fixture *f, uint8_t *pkt, uint8_t proto, const void *payload, size_t n)
{
        if (f->me.family == IP_V4) {
                uint8_t h[20] = {0x45, [8] = 64, [9] = proto};
                store_be16(h + 2, (uint16_t)(20 + n));
                memcpy(h + 12, f->me.b, 4);
                memcpy(h + 16, f->to.b, 4);
                store_be16(h + 10, (uint16_t)~sum(h, 20, 0));
                memcpy(pkt, h, 20);
                memcpy(pkt + 20, payload, n);
                return 20 + n;
        }
        uint8_t h[40] = {0x60, [6] = proto, [7] = 64};
        store_be16(h + 4, (uint16_t)n);
        memcpy(h + 8, f->me.b, 16);
        memcpy(h + 24, f->to.b, 16);
        memcpy(pkt, h, 40);
        memcpy(pkt + 40, payload, n);
        return 40 + n;
}

/* What came back: the right way round, with good checksums.  Returns its payload. */
static const uint8_t *payload_of(struct fixture *f, uint8_t proto, size_t *ret_len)
{
        size_t h = f->me.family == IP_V4 ? 20 : 40, at = f->me.family == IP_V4 ? 12 : 8, w = f->me.family == IP_V4 ? 4 : 16;
        assert_true(f->len > h);
        assert_int_equal(f->pkt[f->me.family == IP_V4 ? 9 : 6], proto);
        assert_memory_equal(f->pkt + at, f->to.b, w);
        assert_memory_equal(f->pkt + at + w, f->me.b, w);
        if (f->me.family == IP_V4) {
                assert_int_equal(sum(f->pkt, 20, 0), 0xffff);
                assert_int_equal(load_be16(f->pkt + 2), f->len);
        } else {
                assert_int_equal(load_be16(f->pkt + 4), f->len - 40);
        }
        *ret_len = f->len - h;
        if (proto == 1)
                assert_int_equal(sum(f->pkt + h, *ret_len, 0), 0xffff);
        else
                assert_int_equal(pseudo(f->to, f->me, proto, f->pkt + h, *ret_len), 0xffff);
        return f->pkt + h;
}

static void send_tcp(struct fixture *f, uint8_t flags, const void *data, size_t n, uint16_t dst);

static void on_packet(void *arg, const uint8_t *pkt, size_t len)
{
        struct fixture *f = arg;
        assert_true(len <= sizeof(f->pkt));
        memcpy(f->pkt, pkt, len);
        f->len = len;
        f->packets++;
        size_t n;
        if (pkt[f->me.family == IP_V4 ? 9 : 6] != 6)
                return;
        const uint8_t *tcp = payload_of(f, 6, &n);
        size_t header = 4u * (tcp[12] >> 4);
        if (tcp[13] & RST) {
                f->rst = true;
                return;
        }
        if (tcp[13] & SYN)
                f->ack = load_be32(tcp + 4) + 1;
        if (load_be32(tcp + 4) != f->ack - ((tcp[13] & SYN) ? 1 : 0))
                return;   /* seen before */
        assert_true(f->stream_len + n - header <= sizeof(f->stream));
        memcpy(f->stream + f->stream_len, tcp + header, n - header);
        f->stream_len += n - header;
        f->ack += (uint32_t)(n - header);
        if (tcp[13] & FIN) {
                f->ack++;
                f->fin = true;
        }
}

static void send_tcp(struct fixture *f, uint8_t flags, const void *data, size_t n, uint16_t dst)
{
        uint8_t seg[1300] = {0}, pkt[1400];
        store_be16(seg, f->port);
        store_be16(seg + 2, dst);
        store_be32(seg + 4, f->seq);
        store_be32(seg + 8, (flags & ACK) ? f->ack : 0);
        seg[12] = 5 << 4;
        seg[13] = flags;
        store_be16(seg + 14, 8000);
        if (n > 0)
                memcpy(seg + 20, data, n);
        store_be16(seg + 16, (uint16_t)~pseudo(f->me, f->to, 6, seg, 20 + n));
        f->seq += (uint32_t)n + ((flags & (SYN | FIN)) ? 1 : 0);
        quad100_in(f->q, pkt, make_ip(f, pkt, 6, seg, 20 + n), mono_now());
}

static void connect_tcp(struct fixture *f, uint16_t dst)
{
        f->port++;
        f->seq = 1000;
        f->stream_len = 0;
        f->fin = f->rst = false;
        send_tcp(f, SYN, NULL, 0, dst);
        if (!f->rst)
                send_tcp(f, ACK, NULL, 0, dst);
}

static void pump(struct fixture *f, bool (*until)(const struct fixture *))
{
        for (int i = 0; i < 300 && !until(f); i++)
                loop_once(f->loop, 20);
        assert_true(until(f));
}

static int setup(void **state)
{
        static const char text[] = "{\"Proxied\":true,\"Resolvers\":[{\"Addr\":\"127.0.0.1:1\"}]}";
        static const struct prefix address = {{IP_V4, {100, 64, 0, 1}}, 32};
        static const struct dns_node self = {.name = "alpha.mesh.example", .addresses = &address, .address_count = 1};
        struct fixture *f = calloc(1, sizeof(*f));
        struct dns_os_config os;
        assert_int_equal(crypto_init(), ERR_NONE);
        f->loop = loop_new();
        f->service = dns_service_new(f->loop, 256);
        f->q = quad100_new(f->loop, f->service, on_packet, f);
        assert_non_null(f->q);
        json_t *map = json_parse(text, strlen(text));
        struct dns_input in = {.map = map, .self = &self, .suffix = "mesh.example", .accept_dns = true};
        dns_service_set(f->service, dns_compile(&in, &os));
        dns_os_config_free(&os);
        json_decref(map);
        f->me = ip_v4(100, 64, 0, 1);
        f->to = ip_service4;
        f->port = 40000;
        *state = f;
        return 0;
}

static void use_v6(struct fixture *f)
{
        assert_int_equal(ip_parse("fd7a:115c:a1e0::1", &f->me), ERR_NONE);
        f->to = ip_service6;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        quad100_free(f->q);
        dns_service_free(f->service);
        loop_free(f->loop);
        free(f);
        return 0;
}

static size_t udp_query(struct fixture *f, uint8_t *pkt, const char *name, uint16_t port)
{
        uint8_t udp[600] = {0};
        size_t n = 8 + msg_query(udp + 8, sizeof(udp) - 8, 77, name, DNS_A, 1232);
        store_be16(udp, 5555);
        store_be16(udp + 2, port);
        store_be16(udp + 4, (uint16_t)n);
        store_be16(udp + 6, (uint16_t)~pseudo(f->me, f->to, 17, udp, n));
        return make_ip(f, pkt, 17, udp, n);
}

static void check_udp(struct fixture *f)
{
        uint8_t pkt[700];
        size_t n = udp_query(f, pkt, "alpha.mesh.example", 53);
        quad100_in(f->q, pkt, n, mono_now());
        assert_int_equal(f->packets, 1);
        const uint8_t *udp = payload_of(f, 17, &n);
        assert_int_equal(load_be16(udp), 53);
        assert_int_equal(load_be16(udp + 2), 5555);
        assert_int_equal(load_be16(udp + 4), n);
        assert_int_equal(load_be16(udp + 8), 77);
        assert_memory_equal(udp + n - 4, ((uint8_t[]){100, 64, 0, 1}), 4);
        /* Every truncation of the packet, in a block of exactly that size, is nothing. */
        size_t whole = udp_query(f, pkt, "alpha.mesh.example", 53);
        for (size_t len = 0; len < whole; len++) {
                uint8_t *exact = malloc(len + 1);
                memcpy(exact, pkt, len);
                quad100_in(f->q, exact, len, mono_now());
                free(exact);
        }
        assert_int_equal(f->packets, 1);
        quad100_in(f->q, pkt, udp_query(f, pkt, "alpha.mesh.example", 54), mono_now());
        assert_int_equal(f->packets, 1);
}

static void udp4(void **state)
{
        struct fixture *f = *state;
        check_udp(f);
        uint8_t pkt[700];
        size_t n = udp_query(f, pkt, "alpha.mesh.example", 53);
        pkt[6] |= 0x20;   /* a fragment */
        quad100_in(f->q, pkt, n, mono_now());
        pkt[6] = 0;
        pkt[19] = 101;    /* another host */
        quad100_in(f->q, pkt, n, mono_now());
        pkt[19] = 100;
        pkt[0] = 0x44;
        quad100_in(f->q, pkt, n, mono_now());
        assert_int_equal(f->packets, 1);
}

static void udp6(void **state)
{
        use_v6(*state);
        check_udp(*state);
}

static bool one_more(const struct fixture *f)
{
        return f->packets == 1;
}

static void udp_forwarded(void **state)
{
        struct fixture *f = *state;
        uint8_t pkt[700];
        size_t n = udp_query(f, pkt, "public.example", 53);
        quad100_in(f->q, pkt, n, mono_now());
        pump(f, one_more);   /* nobody listens upstream: an error, and soon */
        const uint8_t *udp = payload_of(f, 17, &n);
        assert_int_equal(dns_rcode(udp + 8), DNS_SERVFAIL);
        quad100_in(f->q, pkt, udp_query(f, pkt, "other.example", 53), mono_now());
        /* The teardown finds it on its way. */
}

static void check_echo(struct fixture *f, uint8_t proto, uint8_t request, uint8_t reply)
{
        uint8_t icmp[40] = {request, 0, 0, 0, 1, 2, 3, 4}, pkt[200];
        check_count_up(icmp + 8, 32, 1);
        store_be16(icmp + 2, (uint16_t)~(proto == 1 ? sum(icmp, 40, 0) : pseudo(f->me, f->to, proto, icmp, 40)));
        quad100_in(f->q, pkt, make_ip(f, pkt, proto, icmp, 40), mono_now());
        assert_int_equal(f->packets, 1);
        size_t n;
        const uint8_t *got = payload_of(f, proto, &n);
        assert_int_equal(n, 40);
        assert_int_equal(got[0], reply);
        assert_memory_equal(got + 4, icmp + 4, 36);
        icmp[0] = reply;
        quad100_in(f->q, pkt, make_ip(f, pkt, proto, icmp, 40), mono_now());
        assert_int_equal(f->packets, 1);
}

static void echo(void **state)
{
        struct fixture *f = *state;
        check_echo(f, 1, 8, 0);
        use_v6(f);
        f->packets = 0;
        check_echo(f, 58, 128, 129);
}

static size_t framed(uint8_t *out, uint16_t id, const char *name)
{
        size_t n = msg_query(out + 2, 300, id, name, DNS_A, 0);
        store_be16(out, (uint16_t)n);
        return n + 2;
}

static bool two_answers(const struct fixture *f)
{
        return f->stream_len > 2 && f->stream_len > 2u + load_be16(f->stream) + 2;
}

static void check_tcp(struct fixture *f)
{
        uint8_t two[700];
        connect_tcp(f, 81);
        assert_true(f->rst);
        connect_tcp(f, 53);
        assert_false(f->rst);
        size_t n = framed(two, 1, "alpha.mesh.example");
        n += framed(two + n, 2, "nosuch.mesh.example");
        for (size_t i = 0; i < n; i += 11)   /* in pieces that respect nothing */
                send_tcp(f, ACK | PUSH, two + i, n - i < 11 ? n - i : 11, 53);
        pump(f, two_answers);
        size_t first = load_be16(f->stream);
        assert_int_equal(load_be16(f->stream + 2), 1);
        assert_int_equal(dns_rcode(f->stream + 2), DNS_NOERROR);
        assert_int_equal(load_be16(f->stream + 2 + first + 2), 2);
        assert_int_equal(dns_rcode(f->stream + 2 + first + 2), DNS_NXDOMAIN);
        send_tcp(f, ACK | FIN, NULL, 0, 53);
        for (int i = 0; i < 3; i++)
                loop_once(f->loop, 1);
        assert_true(f->fin);
        send_tcp(f, ACK, NULL, 0, 53);
}

static void tcp4(void **state)
{
        check_tcp(*state);
}

static void tcp6(void **state)
{
        use_v6(*state);
        check_tcp(*state);
}

static bool fin_seen(const struct fixture *f)
{
        return f->fin || f->rst;
}

/* A client that shuts its side still gets what it asked for, then the end. */
static void tcp_half_closed(void **state)
{
        struct fixture *f = *state;
        uint8_t m[400];
        connect_tcp(f, 53);
        size_t n = framed(m, 9, "public.example");   /* goes to the upstream that is not there */
        send_tcp(f, ACK | PUSH | FIN, m, n, 53);
        f->seq = 1001 + (uint32_t)n + 1;
        pump(f, fin_seen);
        assert_true(f->fin && f->stream_len > 14);
        assert_int_equal(load_be16(f->stream + 2), 9);
        assert_int_equal(dns_rcode(f->stream + 2), DNS_SERVFAIL);
}

static void tcp_too_long_is_cut_off(void **state)
{
        struct fixture *f = *state;
        uint8_t m[4] = {0x10, 0x01};   /* 4097 bytes are announced */
        connect_tcp(f, 53);
        send_tcp(f, ACK | PUSH, m, 2, 53);
        pump(f, fin_seen);
        assert_int_equal(f->stream_len, 0);
}

static void tcp_many_connections(void **state)
{
        struct fixture *f = *state;
        int refused = 0;
        for (int i = 0; i < 64 + 10; i++) {
                connect_tcp(f, 53);
                refused += f->rst;
        }
        assert_int_equal(refused, 10);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(udp4), TEST(udp6), TEST(udp_forwarded), TEST(echo), TEST(tcp4), TEST(tcp6),
                TEST(tcp_half_closed), TEST(tcp_too_long_is_cut_off), TEST(tcp_many_connections),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
