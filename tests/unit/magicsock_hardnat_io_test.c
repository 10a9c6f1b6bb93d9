/* What reaches the search through a hard NAT of what peers send, and which sockets it keeps. */
#include <stdlib.h>

#include "tests/unit/magicsock_door.h"

static const struct addr ELSEWHERE = {{IP_V4, {203, 0, 113, 10}}, 4000}, OUTSIDE = {{IP_V4, {198, 51, 100, 1}}, 5000};

/* A socket that was found, which the peer at SRC is reached by. */
static struct ms_udp *pinned(struct ms_slot *s)
{
        struct ms_udp *u = calloc(1, sizeof(*u));
        assert_non_null(u);
        u->ms = t.ms;
        sock_init(&u->sock, IP_V4);
        watch_init(&u->watch, ms_on_udp);
        s->pin = (struct ms_pin){.udp = u, .to = SRC};
        s->hardnat.status.pinned = true;
        t.ms->hardnat->pins++;
        return u;
}

static void pong_from(struct addr src, const struct disco_txid *txid, struct addr seen)
{
        uint8_t data[2048];
        struct disco_msg m = {.type = DISCO_PONG};
        m.pong.txid = *txid;
        m.pong.seen = seen;
        ms_disco_udp(t.ms, src, data, seal_msg(&m, data), loop_now(t.loop));
}

static struct disco_txid asked(struct ms_slot *s)
{
        const struct ping *g = pings_add(&s->peer.pings, (struct ping){.to = SRC, .sent = loop_now(t.loop)});
        assert_non_null(g);
        return g->txid;
}

/* Only the answer to a ping of ours, from where the peer is, says as what our socket is seen. */
static void test_who_says_how_we_are_seen(void **state)
{
        (void)state;
        struct ms_slot *s = ms_slot_find(t.ms, PEER);
        static const struct disco_txid nobodys = {{1, 2, 3}};
        struct ms_udp *u = pinned(s);
        t.ms->via = u;
        pong_from(SRC, &nobodys, OUTSIDE);
        assert_false(addr_is_set(s->pin.outside));
        struct disco_txid id = asked(s);
        pong_from(ELSEWHERE, &id, OUTSIDE);
        assert_false(addr_is_set(s->pin.outside));
        id = asked(s);
        t.ms->via = NULL;                    /* by another socket */
        pong_from(SRC, &id, OUTSIDE);
        assert_false(addr_is_set(s->pin.outside));
        t.ms->via = u;
        id = asked(s);
        pong_from(SRC, &id, OUTSIDE);
        assert_true(addr_eq(s->pin.outside, OUTSIDE));
        pong_from(SRC, &id, ELSEWHERE);      /* a replay */
        assert_true(addr_eq(s->pin.outside, OUTSIDE));
        t.ms->via = NULL;
}

/* A try that guesses, with its first socket open. */
static struct ms_udp *trying(struct ms_slot *s)
{
        struct ms_hardnat *hn = t.ms->hardnat;
        struct ms_udp *u = calloc(1, sizeof(*u));
        assert_non_null(u);
        u->ms = t.ms;
        u->number = 1;
        sock_init(&u->sock, IP_V4);
        watch_init(&u->watch, ms_on_udp);
        hn->sockets[0] = u;
        hn->m.peer = &s->hardnat;
        hn->m.state = HN_GUESSING;
        hn->m.opened = hn->m.want = 1;
        hn->m.next = mono_add_ms(loop_now(t.loop), 1000);
        return u;
}

static void test_a_replayed_ping_is_no_hit(void **state)
{
        (void)state;
        struct hardnat *m = &t.ms->hardnat->m;
        uint8_t data[2048];
        struct disco_msg old = ping(1), fresh = ping(2);
        size_t len = seal_msg(&old, data);
        by_udp(data, len);
        t.ms->via = trying(ms_slot_find(t.ms, PEER));
        by_udp(data, len);
        assert_int_equal(m->state, HN_GUESSING);
        by_udp(data, seal_msg(&fresh, data));
        assert_int_equal(m->state, HN_PROVING);
        t.ms->via = NULL;
}

static void test_another_key_ends_it(void **state)
{
        (void)state;
        struct hardnat *m = &t.ms->hardnat->m;
        struct ms_slot *s = ms_slot_find(t.ms, PEER);
        struct key_private same = t.ms->node_key, other;
        pinned(s);
        trying(s);
        s->peer.knows_us = s->peer.answered = true;
        ms_set_keys(t.ms, &same);
        assert_true(s->peer.knows_us && s->peer.answered);
        assert_int_equal(m->state, HN_GUESSING);
        assert_non_null(s->pin.udp);
        key_generate(&other);
        ms_set_keys(t.ms, &other);
        assert_int_equal(m->state, HN_IDLE);
        assert_null(s->pin.udp);
        assert_null(t.ms->hardnat->sockets[0]);
        assert_false(s->peer.knows_us || s->peer.answered);   /* whom we are now */
}

/* What is answered to a socket of a try that is over says nothing of the one that data leaves by. */
static void test_a_path_of_another_socket(void **state)
{
        (void)state;
        struct ms_slot *s = ms_slot_find(t.ms, PEER);
        struct ms_udp *u = trying(s);
        t.ms->hardnat->m.state = HN_IDLE;
        t.ms->hardnat->m.peer = NULL;
        t.ms->via = u;
        struct disco_txid id = asked(s);
        pong_from(SRC, &id, OUTSIDE);
        assert_false(addr_is_set(s->peer.best.addr));
        t.ms->via = pinned(s);
        t.ms->via->number = 2;
        id = asked(s);
        pong_from(SRC, &id, OUTSIDE);
        assert_true(addr_eq(s->peer.best.addr, SRC));
        s->peer.live.waiting = loop_now(t.loop);
        t.ms->via = u;                       /* nor does data that comes there */
        ms_heard(t.ms, PEER, SRC, loop_now(t.loop));
        assert_true(mono_is_set(s->peer.live.waiting));
        t.ms->via = s->pin.udp;
        ms_heard(t.ms, PEER, SRC, loop_now(t.loop));
        assert_false(mono_is_set(s->peer.live.waiting));
        t.ms->via = NULL;
}

/* Nor does the socket for all, once the peer has one of its own: that one's mapping may be gone. */
static void test_the_common_socket_proves_no_other(void **state)
{
        (void)state;
        struct ms_slot *s = ms_slot_find(t.ms, PEER);
        struct ms_udp *u = pinned(s);
        u->number = 1;
        t.ms->via = &t.ms->udp[0];
        struct disco_txid id = asked(s);
        pong_from(SRC, &id, OUTSIDE);
        assert_false(addr_is_set(s->peer.best.addr));
        s->pin.to = ELSEWHERE;
        id = asked(s);
        pong_from(SRC, &id, OUTSIDE);
        assert_true(addr_eq(s->peer.best.addr, SRC));
        t.ms->via = NULL;
}

/* Its sockets are new, it may not know us, and what was sent to a home that it had is sent again. */
static void test_a_restarted_peer_is_knocked_at(void **state)
{
        (void)state;
        struct ms_slot *s = ms_slot_find(t.ms, PEER);
        s->peer.knows_us = true;
        s->peer.knock_started = loop_now(t.loop);
        add_peer(PEER, &t.node);
        assert_true(s->peer.knows_us);
        key_generate(&t.disco);
        add_peer(PEER, &t.node);
        assert_false(s->peer.knows_us);
        (void)ms_peer_on_send(&s->peer, loop_now(t.loop), &t.ms->out);
        assert_true(mono_is_set(s->peer.knock_at));
        assert_int_equal(t.known, 0);
        s->peer.home = REGION + 1;
        add_peer(PEER, &t.node);
        assert_int_equal(t.known, 1);
}

/* Maybe another program: it has to say again that it takes part. */
static void test_a_restarted_peer_has_said_nothing(void **state)
{
        (void)state;
        struct ms_slot *s = ms_slot_find(t.ms, PEER);
        ms_hn_hello(t.ms, s, true, HN_HELLO_EASY, loop_now(t.loop));
        assert_true(s->peer.takes_part);
        s->peer.learned = 7;
        add_peer(PEER, &t.node);
        assert_int_equal(s->peer.learned, 7);   /* told the same again */
        key_generate(&t.disco);
        add_peer(PEER, &t.node);
        assert_false(s->peer.takes_part);
        assert_int_equal(s->peer.learned, 0);
}

/* A call starts a search through our hard NAT, but not that of a peer whose key has expired. */
static void test_whose_call_starts_a_search(void **state)
{
        (void)state;
        for (int expired = 1; expired >= 0; expired--) {
                struct ms_slot *s = ms_slot_find(t.ms, PEER);
                mono_t now = loop_now(t.loop);
                struct disco_msg m = {.type = DISCO_CALL_ME_MAYBE};
                uint8_t data[2048];
                hn_set_nat(&t.ms->hardnat->m, NC_TRUE);
                ms_hn_hello(t.ms, s, true, HN_HELLO_EASY, now);
                s->peer.expired = expired;
                m.cmm.count = 1;
                m.cmm.eps[0] = ELSEWHERE;
                by_relay(data, seal_msg(&m, data));
                assert_int_equal(s->hardnat.is_listed, !expired);
        }
}

/* When as many sockets are kept as may be, the next search takes that of who was silent longest. */
static void test_idle_sockets_make_room(void **state)
{
        (void)state;
        struct ms_hardnat *hn = t.ms->hardnat;
        struct key_private other;
        key_generate(&other);
        add_peer(TWIN, &other);
        struct ms_slot *old = ms_slot_find(t.ms, PEER), *s = ms_slot_find(t.ms, TWIN);
        mono_t now = loop_now(t.loop);
        pinned(old);
        hn->pins += 63;
        old->peer.last_send = now;
        hn_set_nat(&hn->m, NC_TRUE);
        ms_hn_hello(t.ms, s, true, HN_HELLO_EASY, now);
        ms_hn_relayed(t.ms, s, now);
        assert_true(s->hardnat.is_listed);
        mono_t soon = mono_add_ms(now, 10000), late = mono_add_ms(now, 130000);
        s->hardnat.last_send = s->hardnat.answered = soon;
        assert_ptr_equal(hn_due(&hn->m, soon), &s->hardnat);
        hn->timer.on_expire(&hn->timer, soon);
        assert_non_null(old->pin.udp);
        s->hardnat.last_send = s->hardnat.answered = late;
        assert_ptr_equal(hn_due(&hn->m, late), &s->hardnat);
        hn->timer.on_expire(&hn->timer, late);
        assert_null(old->pin.udp);
        assert_int_equal(hn->pins, 63);
        hn->pins = 0;
}

/* Where we send by another path now, the peer may go on with the socket that was found: until it has been quiet. */
static void test_a_socket_in_use_stays(void **state)
{
        (void)state;
        struct ms_slot *s = ms_slot_find(t.ms, PEER);
        mono_t now = loop_now(t.loop);
        pinned(s)->heard = now;
        s->peer.best.addr = SRC;
        s->peer.trust_until = mono_add_ms(now, 60000);
        ms_hn_settle(t.ms, s, mono_add_ms(now, 20000));
        assert_non_null(s->pin.udp);
        s->peer.best.addr = ELSEWHERE;
        ms_hn_settle(t.ms, s, mono_add_ms(now, 9999));
        assert_non_null(s->pin.udp);
        ms_hn_settle(t.ms, s, mono_add_ms(now, 10000));
        assert_null(s->pin.udp);
}

/* A socket that a peer got to, here the one it was reached by, is read for ten seconds after the peer's last word, also when
 * the peer is gone, and then no more. */
static void test_a_socket_that_was_met_is_closed(void **state)
{
        (void)state;
        struct ms_hardnat *hn = t.ms->hardnat;
        mono_t now = loop_now(t.loop);
        struct ms_udp *u = pinned(ms_slot_find(t.ms, PEER));
        u->heard = now;
        ms_peer_remove(t.ms, PEER, now);
        assert_ptr_equal(hn->met, u);
        assert_int_equal(hn->timer.at.ns, mono_add_ms(now, 10000).ns);
        hn->timer.on_expire(&hn->timer, mono_add_ms(now, 9999));
        assert_ptr_equal(hn->met, u);
        hn->timer.on_expire(&hn->timer, mono_add_ms(now, 10000));
        assert_null(hn->met);
}

/* It is searches that are off. */
static void test_off_keeps_what_was_found(void **state)
{
        (void)state;
        struct ms_slot *s = ms_slot_find(t.ms, PEER);
        struct ms_udp *u = pinned(s);
        ms_set_hardnat(t.ms, HN_PREF_OFF, loop_now(t.loop));
        assert_ptr_equal(s->pin.udp, u);
        assert_true(s->hardnat.status.pinned);
}

/* No relay is connected here. */
static void test_no_search_without_a_relay(void **state)
{
        (void)state;
        struct ms_hardnat *hn = t.ms->hardnat;
        struct ms_slot *s = ms_slot_find(t.ms, PEER);
        mono_t now = loop_now(t.loop);
        hn_set_nat(&hn->m, NC_TRUE);
        ms_hn_relayed(t.ms, s, now);
        hn_on_hello(&s->hardnat, true, HN_HELLO_EASY, now);
        now = mono_add_ns(now, HN_FIRST_NS);
        s->hardnat.last_send = now;
        hn->timer.on_expire(&hn->timer, now);
        assert_int_equal(s->hardnat.lacks, HN_WHY_NO_RELAY);
        assert_int_equal(s->hardnat.status.tries, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_who_says_how_we_are_seen, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_replayed_ping_is_no_hit, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_another_key_ends_it, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_restarted_peer_has_said_nothing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_restarted_peer_is_knocked_at, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_path_of_another_socket, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_the_common_socket_proves_no_other, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_whose_call_starts_a_search, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_idle_sockets_make_room, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_socket_in_use_stays, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_socket_that_was_met_is_closed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_off_keeps_what_was_found, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_search_without_a_relay, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
