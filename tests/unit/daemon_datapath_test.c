/* What the datapath does besides passing packets on: it tells magicsock where they came from, refuses connections
 * with a word, and takes the mesh's own messages. */
#include "tests/unit/check.h"
#include "tests/unit/tun_packets.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/dial.h"
#include "base/loop.h"
#include "daemon/datapath.h"
#include "magicsock/internal.h"
#include "wg/message.h"

enum { SLOT = 3 };

static struct {
        struct loop *loop;
        struct dialer *dialer;
        struct pkt_pool *pool;
        struct tun *ours, *theirs;
        struct datapath dp;   /* we */
        struct wg *peer;      /* the other side, without any sockets */
        struct key_private key;
        struct ms_peer_config config;   /* of the peer */
        mono_t now;
        uint8_t room[TUN_ROOM];   /* the host's */
} w;

static union datapath_room dp_room;

static struct wg *device(const struct key_private *key, const struct node_public *other, const char *allowed)
{
        struct prefix p;
        struct wg *wg = wg_new(w.pool, 8);
        assert_non_null(wg);
        wg_set_identity(wg, key);
        assert_int_equal(prefix_parse(allowed, &p), ERR_NONE);
        assert_int_equal(wg_peer_set(wg, SLOT, other, &p, 1), ERR_NONE);
        return wg;
}

static int setup(void **state)
{
        struct key_private a, b;
        (void)state;
        assert_int_equal(crypto_init(), ERR_NONE);
        key_generate(&a);
        key_generate(&b);
        struct node_public pa = key_node_public(&a), pb = key_node_public(&b);
        w.now = mono_now();
        w.loop = loop_new();
        w.dialer = dialer_new(w.loop);
        w.pool = pkt_pool_new(64);
        assert_int_equal(tun_pair(512, &w.ours, &w.theirs), ERR_NONE);
        struct ms_callbacks cb = {0};
        struct ms_opts opts = {.cb = &cb, .no_udp = true};
        w.dp = (struct datapath){.pool = w.pool, .room = &dp_room, .tun = w.ours, .wg = device(&a, &pb, "10.0.0.2/32"),
                .ms = ms_new(w.loop, w.pool, w.dialer, &opts)};
        assert_non_null(w.dp.ms);
        w.peer = device(&b, &pa, "10.0.0.1/32");
        w.key = a;
        w.config = (struct ms_peer_config){.key = pb, .disco = {{1}}};
        ms_set_keys(w.dp.ms, &a);
        assert_int_equal(ms_peer_set(w.dp.ms, SLOT, &w.config, w.now), ERR_NONE);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        wg_free(w.dp.wg);
        wg_free(w.peer);
        ms_free(w.dp.ms);
        assert_int_equal(pkt_pool_free_count(w.pool), 64);
        pkt_pool_free(w.pool);
        tun_close(w.ours);
        tun_close(w.theirs);
        dialer_free(w.dialer);
        loop_free(w.loop);
        return 0;
}

/* Our initiation, as the other side would get it. */
static struct pkt *initiation(void)
{
        struct pkt *p = pkt_get(w.pool);
        struct wg_out out;
        memset(pkt_put(p, 20), 0, 20);
        assert_int_equal(wg_seal(w.dp.wg, SLOT, &p, 1, w.now), 0);
        wg_expire(w.dp.wg, w.now, wall_now_ns());
        assert_true(wg_next_out(w.dp.wg, &out));
        assert_int_equal(out.kind, WG_OUT_INITIATION);
        return out.p;
}

/* Gives wg a message. */
static void give(struct wg *wg, struct pkt *p, struct addr from)
{
        struct wg_source src = {.addr = from};
        struct wg_in in = {.p = p, .src = &src};
        wg_open(wg, &in, 1, w.now);
        pkt_release(w.pool, p);
}

/* What the other side answers to a message of ours. */
static struct pkt *answer_to(struct pkt *p, enum wg_out_kind kind)
{
        struct wg_out out;
        give(w.peer, p, (struct addr){.ip = ip_v4(192, 0, 2, 1), .port = 1});
        assert_true(wg_next_out(w.peer, &out));
        assert_int_equal(out.kind, kind);
        return out.p;
}

/* ... and it comes to us from that address. */
static void answer(struct pkt *p, struct addr from, enum wg_out_kind kind)
{
        struct ms_source back = {.addr = from, .slot = MS_SLOT_NONE};
        p = answer_to(p, kind);
        (void)datapath_in(&w.dp, &p, &back, 1, false, w.now);
}

static bool peer_was_heard(void)
{
        struct ms_peer_status s;
        assert_true(ms_peer_status(w.dp.ms, SLOT, &s, w.now));
        assert_false(addr_is_set(s.cur_addr));   /* only disco makes a path */
        return mono_is_set(s.last_heard);
}

/* A cookie reply proves nothing about its sender; a response does. */
static void test_cookie_reply_is_not_the_peer(void **state)
{
        struct addr stranger = {.ip = ip_v4(198, 51, 100, 66), .port = 666};
        struct wg_out none;
        (void)state;
        wg_note_load(w.peer, w.now);
        answer(initiation(), stranger, WG_OUT_COOKIE);
        assert_int_equal(wg_drops(w.dp.wg, WG_DROP_HANDSHAKE), 0);
        assert_int_equal(w.dp.handshakes, 0);
        assert_false(peer_was_heard());

        w.now = mono_add_ms(w.now, 300);   /* the next try, which has the cookie */
        answer(initiation(), stranger, WG_OUT_RESPONSE);
        assert_int_equal(w.dp.handshakes, 1);
        assert_false(wg_next_out(w.dp.wg, &none));   /* what it brought about has left with it */
        assert_true(peer_was_heard());
}

/* ---- messages of the mesh itself ---- */

static const struct addr PEER = {.ip = {.family = IP_V4, .b = {198, 51, 100, 2}}, .port = 2};

/* A session that both sides may send in. */
static void connect_both(void)
{
        struct wg_out out;
        give(w.dp.wg, answer_to(initiation(), WG_OUT_RESPONSE), PEER);
        assert_true(wg_next_out(w.dp.wg, &out));
        give(w.peer, out.p, PEER);
}

static void peer_sends(struct test_packet t)
{
        struct ms_source from = {.addr = PEER, .slot = MS_SLOT_NONE};
        struct pkt *p = pkt_get(w.pool);
        memcpy(pkt_put(p, t.len), t.b, t.len);
        assert_int_equal(wg_seal(w.peer, SLOT, &p, 1, w.now), 1);
        datapath_in(&w.dp, &p, &from, 1, false, w.now);
}

static uint64_t sent_bytes(void)
{
        struct wg_peer_stats st;
        assert_true(wg_peer_stats(w.dp.wg, SLOT, w.now, wall_now_ns(), &st));
        return st.tx_bytes;
}

static void let_nothing_in(bool shields_up)
{
        struct prefix us = prefix_of(ip_v4(10, 0, 0, 1));
        w.dp.filter = filter_new(NULL, 0, &us, 1, shields_up);
        w.dp.flows = filter_state_new();
        assert_non_null(w.dp.filter);
        assert_non_null(w.dp.flows);
}

static void let_go(void)
{
        filter_free(w.dp.filter);
        filter_state_free(w.dp.flows);
}

static void test_refusals_are_told_and_bounded(void **state)
{
        (void)state;
        let_nothing_in(false);
        connect_both();
        uint64_t before = sent_bytes();
        peer_sends(udp_packet("10.0.0.2", 1, "10.0.0.1", 80));
        peer_sends(icmp_packet("10.0.0.2", "10.0.0.1", 8));
        assert_int_equal(w.dp.in_verdicts[FILTER_DROP_RULE], 2);
        assert_int_equal(w.dp.rejects_sent, 0);
        assert_int_equal(sent_bytes(), before);
        for (int i = 0; i < 200; i++)
                peer_sends(tcp_packet("10.0.0.2", (uint16_t)(1000 + i), "10.0.0.1", 80, TCP_SYN));
        assert_int_equal(w.dp.rejects_sent, 50);
        assert_true(sent_bytes() > before);
        w.now = mono_add_ms(w.now, 1000);
        for (int i = 0; i < 200; i++)
                peer_sends(tcp_packet("10.0.0.2", (uint16_t)(1000 + i), "10.0.0.1", 80, TCP_SYN));
        assert_int_equal(w.dp.rejects_sent, 100);
        assert_int_equal(w.dp.in_verdicts[FILTER_DROP_RULE], 402);
        let_go();
}

/* Let in, each reaches the host once, in order; and is counted once. */
static void test_each_is_delivered_once(void **state)
{
        (void)state;
        static const uint8_t protos[] = {PROTO_UDP};
        struct filter_range all = {ip_v4(0, 0, 0, 0), ip_v4(255, 255, 255, 255)};
        struct filter_ports to = {all, 0, 65535};
        struct filter_allow allow = {&all, 1, &to, 1, protos, 1};
        struct prefix us = prefix_of(ip_v4(10, 0, 0, 1));
        w.dp.filter = filter_new(&allow, 1, &us, 1, false);
        w.dp.flows = filter_state_new();
        connect_both();
        struct gso got;
        for (uint16_t i = 1; i <= 5; i++)
                peer_sends(udp_packet("10.0.0.2", i, "10.0.0.1", 80));
        for (uint16_t i = 1; i <= 5; i++) {
                assert_true(tun_next(w.theirs, w.room, &got));
                assert_int_equal(load_be16(got.data + 20), i);
        }
        assert_false(tun_next(w.theirs, w.room, &got));
        assert_int_equal(w.dp.in_verdicts[FILTER_ACCEPT], 5);
        let_go();
}

/* From now on there is a path to the peer, which ends in this socket. */
static int open_path(void)
{
        struct ms_callbacks cb = {0};
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr((struct addr){ip_v4(127, 0, 0, 1), 0}, &sa);
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
        ms_free(w.dp.ms);
        w.dp.ms = ms_new(w.loop, w.pool, w.dialer, &(struct ms_opts){.room = w.dp.room->in, .cb = &cb});
        assert_non_null(w.dp.ms);
        ms_set_keys(w.dp.ms, &w.key);
        ms_set_active(w.dp.ms, true, w.now);
        assert_int_equal(ms_peer_set(w.dp.ms, SLOT, &w.config, w.now), ERR_NONE);
        struct ms_peer *p = &ms_slot_find(w.dp.ms, SLOT)->peer;
        p->best.addr = addr_from_sockaddr((struct sockaddr *)&sa);
        p->trust_until = mono_add_ms(w.now, 60000);
        return fd;
}

static struct pkt *arrived(int fd)
{
        struct pkt *p = pkt_get(w.pool);
        ssize_t n = recv(fd, pkt_put(p, PKT_DATA_MAX), PKT_DATA_MAX, 0);
        assert_true(n > 0 && pkt_trim(p, (size_t)n));
        return p;
}

static void host_writes(uint16_t from_port)
{
        struct test_packet t = udp_packet("10.0.0.1", from_port, "10.0.0.2", 80);
        struct pkt p;
        pkt_view(&p, t.b, t.len, 0, t.len);
        assert_true(tun_write_one(w.theirs, &p));
}

static void host_sends(uint16_t from_port)
{
        host_writes(from_port);
        datapath_out(&w.dp, w.now);
}

/* n messages with data, whose counters go on from there. */
static void assert_arrive(int fd, uint64_t from, uint64_t n)
{
        for (uint64_t i = 0; i < n; i++) {
                struct pkt *p = arrived(fd);
                assert_int_equal(msg_classify(pkt_cdata(p), p->len), MSG_DATA);
                assert_int_equal(load_le64(pkt_cdata(p) + MSG_COUNTER), from + i);
                pkt_release(w.pool, p);
        }
}

static void assert_quiet(int fd)
{
        uint8_t b;
        assert_int_equal(recv(fd, &b, 1, MSG_DONTWAIT), -1);
}

static uint64_t messages_sent(void)
{
        struct ms_traffic in[MS_WAYS], out[MS_WAYS];
        ms_traffic(w.dp.ms, in, out);
        return out[MS_WAY_DIRECT4].packets;
}

/* A new session lets out what waited for it before what comes after it, in the same round, too. */
static void test_what_waited_goes_first(void **state)
{
        (void)state;
        int fd = open_path();
        w.dp.flows = filter_state_new();
        host_sends(1);
        datapath_service(&w.dp, w.now);
        answer(arrived(fd), PEER, WG_OUT_RESPONSE);
        host_sends(2);
        datapath_service(&w.dp, w.now);
        assert_arrive(fd, 0, 2);
        assert_quiet(fd);
        filter_state_free(w.dp.flows);
        close(fd);
}

/* All of it leaves, in order, in several bursts, and in several rounds: the sockets get their turn in between. */
static void test_more_than_a_round(void **state)
{
        (void)state;
        enum { MANY = 400 };
        struct gso left;
        int fd = open_path();
        w.dp.flows = filter_state_new();
        host_sends(1);
        datapath_service(&w.dp, w.now);
        answer(arrived(fd), PEER, WG_OUT_RESPONSE);
        datapath_service(&w.dp, w.now);
        assert_arrive(fd, 0, 1);
        uint64_t before = messages_sent();
        for (uint16_t i = 0; i < MANY; i++)
                host_writes(i);
        datapath_out(&w.dp, w.now);
        uint64_t first = messages_sent() - before;
        assert_in_range(first, SOCK_TRAIN_MAX + 1, MANY - 1);
        assert_arrive(fd, 1, SOCK_TRAIN_MAX + 1);   /* what the kernel certainly has room for */
        datapath_out(&w.dp, w.now);
        assert_int_equal(messages_sent() - before, MANY);
        assert_false(tun_next(w.ours, w.room, &left));
        struct test_packet t = udp_packet("10.0.0.1", 1, "10.0.0.9", 80);   /* nobody has that address */
        struct pkt p;
        pkt_view(&p, t.b, t.len, 0, t.len);
        assert_true(tun_write_one(w.theirs, &p));
        datapath_out(&w.dp, w.now);
        assert_int_equal(messages_sent() - before, MANY);
        assert_int_equal(w.dp.out_no_peer, 1);
        filter_state_free(w.dp.flows);
        close(fd);
}

static void test_messages_are_taken(void **state)
{
        (void)state;
        let_nothing_in(true);
        connect_both();
        uint64_t before = sent_bytes();
        peer_sends(ip_packet("10.0.0.2", "10.0.0.1", PROTO_TSMP, "o12345678", 9));
        peer_sends(ip_packet("10.0.0.2", "10.0.0.1", PROTO_TSMP, "unknown!", 8));
        assert_int_equal(sent_bytes(), before);
        peer_sends(ip_packet("10.0.0.2", "10.0.0.1", PROTO_TSMP, "p12345678", 9));
        assert_true(sent_bytes() > before);

        /* A refusal is the end of what the host is opening, once, and nothing else is. */
        struct test_packet syn = tcp_packet("10.0.0.1", 0x1234, "10.0.0.2", 80, TCP_SYN);
        struct packet p = packet_parse(syn.b, syn.len);
        assert_int_equal(filter_out(w.dp.filter, w.dp.flows, syn.b, syn.len), FILTER_ACCEPT);
        peer_sends(ip_packet("10.0.0.2", "10.0.0.1", PROTO_TSMP, "!\6W\x12\x34\0\x50\1", 8));   /* a fear only */
        peer_sends(ip_packet("10.0.0.2", "10.0.0.1", PROTO_TSMP, "!\6A\x12\x34\0\x51", 7));   /* another port */
        assert_true(filter_take_open(w.dp.flows, &p));
        assert_int_equal(filter_out(w.dp.filter, w.dp.flows, syn.b, syn.len), FILTER_ACCEPT);
        peer_sends(ip_packet("10.0.0.2", "10.0.0.1", PROTO_TSMP, "!\6A\x12\x34\0\x50", 7));
        assert_false(filter_take_open(w.dp.flows, &p));
        assert_int_equal(w.dp.rejects_heard, 3);
        assert_int_equal(w.dp.in_verdicts[FILTER_DROP_TSMP], 6);
        let_go();
}

static struct {
        int answers;
        uint32_t id;
        uint16_t port;
} heard;

static void on_ping(void *arg, const struct meshping *p, uint16_t port, mono_t now)
{
        (void)now;
        assert_ptr_equal(arg, &heard);
        heard.answers++;
        heard.id = p->id;
        heard.port = port;
}

static void test_pings_are_answered_to_us(void **state)
{
        (void)state;
        uint8_t pong[11] = "o";
        let_nothing_in(true);
        connect_both();
        w.dp.on_ping = on_ping;
        w.dp.arg = &heard;
        uint64_t before = sent_bytes();
        struct meshping ask = {.id = 9, .peer = SLOT, .kind = MESHPING_TSMP, .src = ip_v4(10, 0, 0, 1), .dst = ip_v4(10, 0, 0, 2)};
        assert_true(datapath_ping(&w.dp, &ask, w.now));
        assert_true(sent_bytes() > before);
        memcpy(pong + 1, w.dp.pings.at[0].data, 8);
        pong[9] = 0x12;
        pong[10] = 0x34;
        peer_sends(ip_packet("10.0.0.2", "10.0.0.1", PROTO_TSMP, "o12345678", 9));   /* somebody else's */
        assert_int_equal(heard.answers, 0);
        peer_sends(ip_packet("10.0.0.2", "10.0.0.1", PROTO_TSMP, pong, sizeof(pong)));
        peer_sends(ip_packet("10.0.0.2", "10.0.0.1", PROTO_TSMP, pong, sizeof(pong)));
        assert_int_equal(heard.answers, 1);
        assert_int_equal(heard.id, 9);
        assert_int_equal(heard.port, 0x1234);
        let_go();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_cookie_reply_is_not_the_peer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_refusals_are_told_and_bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_each_is_delivered_once, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_waited_goes_first, setup, teardown),
                cmocka_unit_test_setup_teardown(test_more_than_a_round, setup, teardown),
                cmocka_unit_test_setup_teardown(test_messages_are_taken, setup, teardown),
                cmocka_unit_test_setup_teardown(test_pings_are_answered_to_us, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
