#include <poll.h>

#include "magicsock/derp_manager.h"

#include "magicsock/derp_conn.h"
#include "tests/unit/check.h"
#include "tests/unit/derp_server.h"

enum { REGIONS = 3, POOL = 64, ECHOES_MAX = 10000 };

struct side {
        unsigned pauses, since_pause;
        struct derp_mgr *m;
        struct key_private key;
        struct node_public pub;
        unsigned received, gone, ups, downs, lost, unhealthy;
        uint32_t conn;
        size_t last_len;
        uint8_t initiation;      /* number of the last one */
        uint8_t last[PKT_DATA_MAX];
        char detail[128];
        bool close_on_recv;   /* log out from inside the callback */
        struct srv_conn *echo;   /* each packet received makes the relay send another */
};

static struct loop *l;
static struct dialer *dialer;
static struct pkt_pool *pool;
static struct srv servers[REGIONS];
static struct derp_node nodes[REGIONS][2];
static struct derp_region regions[REGIONS];
static struct derpmap map = {.region_count = REGIONS, .regions = regions};
static struct side a, b;

static void on_recv(void *arg, int region, uint32_t conn, const struct node_public *src, struct pkt *pkt, mono_t now)
{
        struct side *s = arg;
        assert_true(node_public_eq(src, s == &a ? &b.pub : &a.pub));
        assert_true(derp_mgr_conn_alive(s->m, region, conn));
        s->received++;
        s->since_pause++;
        s->conn = conn;
        s->last_len = pkt->len;
        memcpy(s->last, pkt_cdata(pkt), pkt->len);
        if (pkt->len == 148)
                s->initiation = s->last[4];
        assert_true(pkt->view);
        if (s->echo != NULL && s->received < ECHOES_MAX)
                srv_frame(s->echo, DERP_RECV_PACKET, b.pub.b, KEY_LEN, "again", 5);
        if (s->close_on_recv)
                derp_mgr_set_key(s->m, NULL, now);
}

static void on_pause(void *arg, mono_t now)
{
        struct side *s = arg;
        (void)now;
        assert_true(s->since_pause > 0);
        s->pauses++;
        s->since_pause = 0;
}

static void on_gone(void *arg, int region, uint32_t conn, const struct node_public *key, enum derp_gone why,
        mono_t now)
{
        struct side *s = arg;
        (void)region;
        (void)conn;
        (void)key;
        (void)now;
        assert_int_equal(why, DERP_GONE_NOT_HERE);
        s->gone++;
}

static void on_state(void *arg, int region, enum derp_state st, const char *detail, bool lost, mono_t now)
{
        struct side *s = arg;
        (void)region;
        (void)now;
        s->ups += st == DERP_STATE_UP;
        s->downs += st == DERP_STATE_DOWN;
        s->unhealthy += st == DERP_STATE_UNHEALTHY;
        s->lost += lost;
        snprintf(s->detail, sizeof(s->detail), "%s", detail);
}

static void side_init(struct side *s)
{
        static const struct derp_mgr_callbacks cb = {
                .on_recv = on_recv, .on_pause = on_pause, .on_peer_gone = on_gone, .on_state = on_state};
        memset(s, 0, sizeof(*s));
        key_generate(&s->key);
        s->pub = key_node_public(&s->key);
        s->m = derp_mgr_new(l, dialer, pool, &(struct derp_mgr_opts){.cb = &cb, .arg = s, .plain = true});
        assert_non_null(s->m);
        derp_mgr_set_map(s->m, &map, loop_now(l));
        derp_mgr_set_key(s->m, &s->key, loop_now(l));
}

static int setup(void **state)
{
        (void)state;
        l = loop_new();
        dialer = dialer_new(l);
        pool = pkt_pool_new(POOL);
        memset(servers, 0, sizeof(servers));
        memset(nodes, 0, sizeof(nodes));
        for (int i = 0; i < REGIONS; i++) {
                srv_listen(&servers[i], l, 0);
                struct derp_node *n = &nodes[i][0];
                snprintf(n->name, sizeof(n->name), "%da", i + 1);
                snprintf(n->hostname, sizeof(n->hostname), "127.0.0.1");
                n->derp_port = servers[i].port;
                regions[i] = (struct derp_region){.id = i + 1, .score = 1, .node_count = 1, .nodes = nodes[i]};
        }
        side_init(&a);
        side_init(&b);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        derp_mgr_free(a.m);
        derp_mgr_free(b.m);
        for (int i = 0; i < REGIONS; i++)
                srv_stop(&servers[i]);
        assert_int_equal(pkt_pool_free_count(pool), POOL);
        pkt_pool_free(pool);
        dialer_free(dialer);
        loop_free(l);
        return 0;
}

#define UNTIL(cond) SRV_UNTIL(l, cond)

static void run_ms(int ms)
{
        mono_t end = mono_add_ms(mono_now(), ms);
        while (!mono_reached(mono_now(), end))
                loop_once(l, 5);
}

/* Up or on its way. */
static bool has_conn(const struct derp_mgr *m, int region)
{
        for (const struct derp_conn *c = m->conns; c != NULL; c = c->next)
                if (c->region == region)
                        return true;
        return false;
}

static enum err send_len(struct side *from, int region, const struct side *to, size_t n)
{
        struct pkt *p = pkt_get(pool);
        assert_non_null(p);
        uint8_t *d = pkt_put(p, n);
        assert_non_null(d);
        check_count_up(d, n, (uint8_t)n);
        return derp_mgr_send(from->m, region, &to->pub, p, loop_now(l));
}

static void both_home(int region)
{
        derp_mgr_set_home(a.m, region, loop_now(l));
        derp_mgr_set_home(b.m, region, loop_now(l));
        UNTIL(derp_mgr_is_up(a.m, region) && derp_mgr_is_up(b.m, region));
}

static void test_packets_both_ways(void **state)
{
        (void)state;
        static const size_t sizes[] = {0, 1, 1280, PKT_DATA_MAX};
        both_home(1);
        UNTIL(servers[0].conns[0]->home && servers[0].conns[1]->home);
        for (unsigned i = 0; i < 4; i++) {
                uint8_t want[PKT_DATA_MAX];
                check_count_up(want, sizes[i], (uint8_t)sizes[i]);
                assert_int_equal(send_len(&a, 1, &b, sizes[i]), ERR_NONE);
                assert_int_equal(send_len(&b, 1, &a, sizes[i]), ERR_NONE);
                UNTIL(a.received == i + 1 && b.received == i + 1);
                assert_int_equal(a.last_len, sizes[i]);
                assert_int_equal(b.last_len, sizes[i]);
                assert_memory_equal(a.last, want, sizes[i]);
                assert_memory_equal(b.last, want, sizes[i]);
        }
        assert_true(mono_is_set(derp_mgr_heard(a.m, 1)));
        assert_int_equal(derp_mgr_home(a.m), 1);
}

/* The packet that makes a connection be dialled waits for it. */
static void test_on_demand(void **state)
{
        (void)state;
        derp_mgr_set_home(b.m, 2, loop_now(l));
        UNTIL(derp_mgr_is_up(b.m, 2));
        assert_false(has_conn(a.m, 2));
        assert_int_equal(send_len(&a, 2, &b, 5), ERR_NONE);
        assert_true(has_conn(a.m, 2));
        UNTIL(b.received == 1);
        assert_int_equal(a.gone, 0);
        struct side nobody = {.pub = {{7}}};
        assert_int_equal(send_len(&a, 2, &nobody, 5), ERR_NONE);
        UNTIL(a.gone == 1);
}

/* What is hastened leaves within the call; the rest of the round does not matter. */
static void test_hastened(void **state)
{
        (void)state;
        both_home(1);
        struct pollfd in = {.fd = srv_find(&servers[0], &a.pub)->fd, .events = POLLIN};
        UNTIL(poll(&in, 1, 0) == 0);
        assert_int_equal(send_len(&a, 1, &b, 5), ERR_NONE);
        assert_int_equal(poll(&in, 1, 0), 0);
        derp_mgr_hasten(a.m, 1, loop_now(l));
        derp_mgr_hasten(a.m, 2, loop_now(l));   /* to which there is no connection */
        assert_int_equal(poll(&in, 1, 100), 1);
        UNTIL(b.received == 1);
        assert_int_equal(b.last_len, 5);
}

/* Whoever hastens is in the middle of something: that the relay is gone is said later. */
static void test_hastened_into_nothing(void **state)
{
        (void)state;
        both_home(1);
        const struct linger hard = {.l_onoff = 1};
        struct srv_conn *at = srv_find(&servers[0], &a.pub);
        assert_int_equal(setsockopt(at->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
        srv_close(at);
        assert_int_equal(send_len(&a, 1, &b, 5), ERR_NONE);
        derp_mgr_hasten(a.m, 1, loop_now(l));
        assert_int_equal(a.downs, 0);
        UNTIL(a.downs == 1);
        assert_int_equal(a.lost, 1);
}

static void test_refused_sends(void **state)
{
        (void)state;
        assert_int_equal(send_len(&a, 99, &b, 5), ERR_NOT_FOUND);
        derp_mgr_set_key(a.m, NULL, loop_now(l));
        assert_int_equal(send_len(&a, 1, &b, 5), ERR_STATE);
        derp_mgr_set_map(a.m, NULL, loop_now(l));
        assert_int_equal(send_len(&a, 1, &b, 5), ERR_NOT_FOUND);
        assert_int_equal(pkt_pool_free_count(pool), POOL);
        assert_int_equal(servers[0].accepted, 0);
}

static void test_queue_drops_the_oldest(void **state)
{
        (void)state;
        struct derp_mgr_stats st;
        derp_mgr_set_home(b.m, 1, loop_now(l));
        UNTIL(derp_mgr_is_up(b.m, 1));
        for (size_t i = 1; i <= DERP_MGR_QUEUE_MAX + 8; i++)
                assert_int_equal(send_len(&a, 1, &b, i), ERR_NONE);
        UNTIL(b.received >= 1);
        run_ms(50);
        assert_int_equal(b.received, DERP_MGR_QUEUE_MAX);
        assert_int_equal(b.last_len, DERP_MGR_QUEUE_MAX + 8);   /* the newest is among them */
        /* What came together was told together, and nothing waits for a word that it is all. */
        assert_true(b.pauses > 0 && b.pauses <= b.received);
        assert_int_equal(b.since_pause, 0);
        derp_mgr_get_stats(a.m, &st);
        assert_int_equal(st.dropped_queue, 8);
        assert_int_equal(st.sent, DERP_MGR_QUEUE_MAX);
}

static void send_initiation(const struct node_public *to, uint8_t number)
{
        struct pkt *p = pkt_get(pool);
        uint8_t *d = pkt_put(p, 148);
        memset(d, 0, 148);
        d[0] = 1;
        d[4] = number;
        assert_int_equal(derp_mgr_send(a.m, 1, to, p, loop_now(l)), ERR_NONE);
}

/* Of initiations to one peer the newest waits; all else keeps its place. */
static void test_one_initiation_waits(void **state)
{
        (void)state;
        struct node_public other = {{7}};
        derp_mgr_set_home(b.m, 1, loop_now(l));
        UNTIL(derp_mgr_is_up(b.m, 1));
        for (uint8_t i = 1; i <= 3; i++) {
                send_initiation(&b.pub, i);
                send_initiation(&other, i);
                assert_int_equal(send_len(&a, 1, &b, i), ERR_NONE);
        }
        assert_int_equal(pkt_pool_free_count(pool), POOL - 5);
        UNTIL(b.received == 4);
        run_ms(50);
        assert_int_equal(b.received, 4);
        assert_int_equal(b.last_len, 3);
        assert_int_equal(b.initiation, 3);
        assert_int_equal(a.gone, 1);
}

/* Relays that cannot be reached hold what is sent to them, but not so much that nothing else has a packet. */
static void test_queues_leave_the_pool(void **state)
{
        (void)state;
        struct derp_mgr_stats st;
        for (int i = 0; i < 2; i++)
                srv_stop(&servers[i]);
        for (int round = 0; round < 3; round++)
                for (int i = 1; i <= 2; i++)
                        for (int n = 0; n < DERP_MGR_QUEUE_MAX; n++)
                                assert_int_equal(send_len(&a, i, &b, 100), ERR_NONE);
        assert_int_equal(pkt_pool_free_count(pool), POOL - DERP_MGR_QUEUE_MAX);
        derp_mgr_get_stats(a.m, &st);
        assert_int_equal(st.dropped_queue, 5 * DERP_MGR_QUEUE_MAX);
        /* One that works is not held up by those that do not. */
        derp_mgr_set_home(b.m, 3, loop_now(l));
        UNTIL(derp_mgr_is_up(b.m, 3));
        for (unsigned i = 1; i <= 5; i++) {
                assert_int_equal(send_len(&a, 3, &b, 10), ERR_NONE);
                UNTIL(b.received == i);
        }
}

/* A relay that restarts is back within seconds; the old connection's routes are void. */
static void test_restart(void **state)
{
        (void)state;
        both_home(1);
        assert_int_equal(send_len(&b, 1, &a, 9), ERR_NONE);
        UNTIL(a.received == 1);
        uint32_t old = a.conn;
        uint16_t port = servers[0].port;
        srv_stop(&servers[0]);
        UNTIL(a.lost == 1 && strstr(a.detail, "refused") != NULL);
        assert_false(derp_mgr_conn_alive(a.m, 1, old));
        assert_false(derp_mgr_is_up(a.m, 1));
        run_ms(300);
        assert_true(a.downs <= 2);   /* one for the loss, one for the refusal: no flood */
        srv_listen(&servers[0], l, port);
        UNTIL(derp_mgr_is_up(a.m, 1) && derp_mgr_is_up(b.m, 1));
        assert_false(derp_mgr_conn_alive(a.m, 1, old));
        assert_int_equal(send_len(&b, 1, &a, 9), ERR_NONE);
        UNTIL(a.received == 2);
}

/* A relay that asks control first refuses us until control knows us; nothing that was queued is lost. */
static void test_refused_then_let_in(void **state)
{
        (void)state;
        derp_mgr_set_home(b.m, 1, loop_now(l));
        UNTIL(derp_mgr_is_up(b.m, 1));
        servers[0].refuse = true;
        assert_int_equal(send_len(&a, 1, &b, 77), ERR_NONE);
        UNTIL(strcmp(a.detail, "the relay refused this node") == 0);
        run_ms(100);
        servers[0].refuse = false;
        UNTIL(b.received == 1);
        assert_int_equal(b.last_len, 77);
}

static void test_home_moves(void **state)
{
        (void)state;
        both_home(1);
        derp_mgr_set_home(a.m, 2, loop_now(l));
        UNTIL(derp_mgr_is_up(a.m, 2));
        struct srv_conn *old = srv_find(&servers[0], &a.pub);
        struct srv_conn *new = srv_find(&servers[1], &a.pub);
        UNTIL(!old->home && new->home);
        assert_true(derp_mgr_is_up(a.m, 1));   /* until it is idle: peers still call there */
        derp_mgr_set_home(a.m, 42, loop_now(l));
        assert_int_equal(derp_mgr_home(a.m), 0);
}

/* All places are taken: the one that was of use least lately gives its own, unless others look for us there. */
static void test_home_finds_room(void **state)
{
        (void)state;
        both_home(1);
        derp_mgr_set_told(a.m, 1);
        (void)send_len(&a, 3, &b, 1);
        UNTIL(derp_mgr_is_up(a.m, 3));
        a.m->conns->last_send = mono_add_ms(loop_now(l), 60000);
        assert_int_equal(a.m->conns->region, 3);
        a.m->conn_count += DERP_MGR_CONNS_MAX - 1;
        derp_mgr_set_home(a.m, 2, loop_now(l));
        assert_true(has_conn(a.m, 2) && has_conn(a.m, 1) && !has_conn(a.m, 3));
        derp_mgr_set_told(a.m, 0);
        assert_int_equal(a.m->conns->next->region, 1);
        a.m->conns->next->last_send = mono_add_ms(loop_now(l), -1);
        derp_mgr_set_home(a.m, 3, loop_now(l));
        assert_true(has_conn(a.m, 3) && has_conn(a.m, 2) && !has_conn(a.m, 1));
        a.m->conn_count -= DERP_MGR_CONNS_MAX - 1;
        derp_mgr_set_home(a.m, 2, loop_now(l));
        UNTIL(derp_mgr_is_up(a.m, 2));
}

/* It could not be at once. */
static void test_home_is_opened_later(void **state)
{
        (void)state;
        a.m->conn_count += 2 * DERP_MGR_CONNS_MAX;
        derp_mgr_set_home(a.m, 2, loop_now(l));
        assert_false(has_conn(a.m, 2));
        assert_true(timer_is_armed(&a.m->sweep));
        a.m->conn_count -= 2 * DERP_MGR_CONNS_MAX;
        a.m->sweep.on_expire(&a.m->sweep, loop_now(l));
        assert_true(has_conn(a.m, 2));
        UNTIL(derp_mgr_is_up(a.m, 2));
}

static void test_map_changes(void **state)
{
        (void)state;
        static struct derp_region changed_regions[2];
        static struct derp_node moved;
        static struct derpmap changed = {.region_count = 2, .regions = changed_regions};
        both_home(1);
        (void)send_len(&a, 2, &b, 1);
        (void)send_len(&a, 3, &b, 1);
        UNTIL(derp_mgr_is_up(a.m, 2) && derp_mgr_is_up(a.m, 3));
        unsigned before = servers[0].accepted;
        moved = nodes[1][0];
        moved.derp_port = servers[2].port;
        changed_regions[0] = regions[0];
        changed_regions[1] = regions[1];
        changed_regions[1].nodes = &moved;
        derp_mgr_set_map(a.m, &changed, loop_now(l));
        assert_true(derp_mgr_is_up(a.m, 1));
        assert_false(has_conn(a.m, 2));
        assert_false(has_conn(a.m, 3));
        assert_int_equal(derp_mgr_home(a.m), 1);
        changed.region_count = 0;
        derp_mgr_set_map(a.m, &changed, loop_now(l));
        assert_false(has_conn(a.m, 1));
        assert_int_equal(derp_mgr_home(a.m), 0);
        assert_int_equal(servers[0].accepted, before);
        changed.region_count = 2;
}

static void test_key_changes(void **state)
{
        (void)state;
        struct key_private other;
        both_home(1);
        struct node_public old = a.pub;
        key_generate(&other);
        a.pub = key_node_public(&other);
        derp_mgr_set_key(a.m, &other, loop_now(l));
        UNTIL(derp_mgr_is_up(a.m, 1));
        assert_non_null(srv_find(&servers[0], &a.pub));
        UNTIL(srv_find(&servers[0], &old) == NULL);
        derp_mgr_set_key(a.m, NULL, loop_now(l));
        assert_false(has_conn(a.m, 1));
        a.key = other;
        derp_mgr_set_key(a.m, &other, loop_now(l));
        UNTIL(derp_mgr_is_up(a.m, 1));
}

static void test_check(void **state)
{
        (void)state;
        both_home(1);
        derp_mgr_check(a.m, 0, loop_now(l));
        UNTIL(servers[0].pings == 1);
        run_ms(50);
        assert_true(derp_mgr_is_up(a.m, 1));
        assert_int_equal(servers[0].logins, 2);
        derp_mgr_check(a.m, 70000, loop_now(l));   /* made since then */
        assert_true(derp_mgr_is_up(a.m, 1));
        for (struct derp_conn *c = a.m->conns; c != NULL; c = c->next)
                c->up_at = mono_add_ms(loop_now(l), -70000);
        derp_mgr_check(a.m, 70000, loop_now(l));
        UNTIL(servers[0].logins == 3);
        UNTIL(derp_mgr_is_up(a.m, 1));
}

static void test_packet_too_large_or_no_room(void **state)
{
        (void)state;
        struct derp_mgr_stats st;
        static uint8_t big[PKT_DATA_MAX + 1];
        struct pkt *held[POOL];
        both_home(1);
        struct srv_conn *k = srv_find(&servers[0], &a.pub);
        srv_frame(k, DERP_RECV_PACKET, b.pub.b, KEY_LEN, big, sizeof(big));
        UNTIL((derp_mgr_get_stats(a.m, &st), st.dropped_large) == 1);
        /* One that does not even fit into the connection's own buffer runs through unread. */
        static uint8_t huge[DERP_PACKET_MAX];
        srv_frame(k, DERP_RECV_PACKET, b.pub.b, KEY_LEN, huge, sizeof(huge));
        UNTIL((derp_mgr_get_stats(a.m, &st), st.dropped_large) == 2);
        /* What arrives needs no packet of the pool. */
        size_t n = 0;
        while (n < POOL && (held[n] = pkt_get(pool)) != NULL)
                n++;
        srv_frame(k, DERP_RECV_PACKET, b.pub.b, KEY_LEN, big, 10);
        UNTIL(a.received == 1);
        while (n > 0)
                pkt_release(pool, held[--n]);
}

static unsigned received_by_then;

static void on_its_turn(struct timer *t, mono_t now)
{
        (void)t;
        (void)now;
        received_by_then = a.received;
        a.echo = NULL;
}

/* A relay that sends as fast as we read must not keep the thread from its timers and sockets. */
static void test_busy_relay_leaves_turns(void **state)
{
        (void)state;
        struct timer t;
        both_home(1);
        a.echo = srv_find(&servers[0], &a.pub);
        srv_frame(a.echo, DERP_RECV_PACKET, b.pub.b, KEY_LEN, "first", 5);
        timer_init(&t, on_its_turn);
        loop_timer_in(l, &t, 0);
        received_by_then = 0;
        UNTIL(received_by_then > 0);
        assert_true(received_by_then < ECHOES_MAX);
        UNTIL(a.received > received_by_then);   /* what was on its way still comes */
}

static void test_closed_from_its_own_callback(void **state)
{
        (void)state;
        both_home(1);
        a.close_on_recv = true;
        for (int i = 0; i < 5; i++)
                assert_int_equal(send_len(&b, 1, &a, 100), ERR_NONE);
        UNTIL(a.received == 1);
        run_ms(30);
        assert_int_equal(a.received, 1);
        assert_false(has_conn(a.m, 1));
}

/* Time passes by hand here: only the timers' own functions are called with it. */
static void pass(struct timer *t, mono_t at)
{
        assert_true(timer_is_armed(t));
        loop_timer_stop(t);
        t->on_expire(t, at);
}

static void test_idle_close(void **state)
{
        (void)state;
        both_home(1);
        mono_t start = loop_now(l);
        assert_int_equal(send_len(&a, 2, &b, 5), ERR_NONE);
        UNTIL(derp_mgr_is_up(a.m, 2));
        pass(&a.m->sweep, mono_add_ms(start, 59000));
        assert_true(has_conn(a.m, 2));
        pass(&a.m->sweep, mono_add_ms(start, 75000));
        assert_false(has_conn(a.m, 2));
        assert_true(derp_mgr_is_up(a.m, 1));   /* home stays */
        assert_false(timer_is_armed(&a.m->sweep));
}

/* Its kernel takes what fits, and then nobody does: that costs its own packets, and after a while the connection. */
static void test_stalled_relay_holds_up_nobody(void **state)
{
        (void)state;
        both_home(1);
        assert_int_equal(send_len(&a, 2, &b, 5), ERR_NONE);
        UNTIL(derp_mgr_is_up(a.m, 2));
        struct srv_conn *k = srv_find(&servers[1], &a.pub);
        loop_unwatch(&k->watch);
        struct derp_mgr_stats before, s;
        unsigned received = b.received;
        do {
                derp_mgr_get_stats(a.m, &before);
                for (int i = 0; i < 100; i++) {
                        assert_int_equal(send_len(&a, 2, &b, PKT_DATA_MAX), ERR_NONE);
                        loop_once(l, 1);
                }
                derp_mgr_get_stats(a.m, &s);
        } while (s.sent > before.sent);   /* neither kernel has any room left */
        assert_true(s.dropped_queue > before.dropped_queue);
        mono_t start = mono_now();
        for (unsigned i = 1; i <= 20; i++) {
                assert_int_equal(send_len(&a, 2, &b, PKT_DATA_MAX), ERR_NONE);
                assert_int_equal(send_len(&a, 1, &b, 100), ERR_NONE);
                UNTIL(b.received == received + i);
        }
        assert_true(mono_diff_ms(mono_now(), start) < 3000);   /* a millisecond each */
        assert_int_equal(pkt_pool_free_count(pool), POOL);   /* and it holds none of the packets */
        UNTIL(a.lost == 1);
        assert_true(derp_mgr_is_up(a.m, 1));
        UNTIL(derp_mgr_is_up(a.m, 2) && servers[1].logins >= 2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(test_packets_both_ways), T(test_on_demand), T(test_hastened), T(test_hastened_into_nothing),
                T(test_refused_sends), T(test_queue_drops_the_oldest),
                T(test_one_initiation_waits), T(test_queues_leave_the_pool),
                T(test_restart), T(test_refused_then_let_in),
                T(test_home_moves), T(test_home_finds_room), T(test_home_is_opened_later),
                T(test_map_changes), T(test_key_changes),
                T(test_check),
                T(test_packet_too_large_or_no_room), T(test_busy_relay_leaves_turns),
                T(test_closed_from_its_own_callback), T(test_idle_close), T(test_stalled_relay_holds_up_nobody),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
