/* Sealing and opening: known answers, padding, room, limits; and the keypairs of a peer. */
#include "base/crypto.h"
#include "base/reader.h"
#include "tests/unit/check.h"
#include "wg/message.h"
#include "wg/session.h"

#define T1 "fabf2974d2119dba6cf6c427de7e432fbece8bd9c7b5c548e0a19d24b4242e3e"
#define T2 "946b6be48024f591049d4519af550b2b94a754615cc30d0ea84789b8d350a418"
#define KEEPALIVE "040000008877665500000000000000007b028569a749b05e7f31322f80eca52a"
#define INNER "450000150000000040110000 0a000001 0a000002 78"
#define DATA                                                                                                   \
        "04000000887766550100000000000000c3096544d4d9f27fabf52cb92936a137e4a7f0ffce81193044b39155d6213f17"     \
        "2b1690c484fc5d7e840447c130688dfc"

static struct pkt_pool *pool;
static const mono_t start = {NS_PER_SEC};

static void pair(struct session **a, struct session **b)
{
        struct noise_keys k, r;
        check_unhex(T1, k.send, 32);
        check_unhex(T2, k.recv, 32);
        memcpy(r.send, k.recv, 32);
        memcpy(r.recv, k.send, 32);
        *a = session_new(&k, 0x11223344, 0x55667788, true, start);
        *b = session_new(&r, 0x55667788, 0x11223344, false, start);
        assert_non_null(*a);
        assert_non_null(*b);
}

static struct pkt *packet(const char *hex, size_t len)
{
        struct pkt *p = pkt_get(pool);
        assert_non_null(p);
        uint8_t *room = pkt_put(p, len);
        assert_non_null(room);
        memset(room, 0, len);
        if (hex != NULL)
                assert_int_equal(check_unhex(hex, room, len), len);
        return p;
}

static void test_known_answers(void **state)
{
        struct session *a, *b;
        (void)state;
        pair(&a, &b);
        struct pkt *p[2] = {packet(NULL, 0), packet(INNER, 21)};
        assert_int_equal(session_seal(a, p, 2, 1280), 2);
        check_hex(pkt_data(p[0]), p[0]->len, KEEPALIVE);
        check_hex(pkt_data(p[1]), p[1]->len, DATA);

        enum session_opened opened[2];
        assert_int_equal(mono_diff_ms(b->heard, start), 0);
        session_open(b, p, 2, mono_add_ms(start, 5), opened);
        assert_int_equal(mono_diff_ms(b->heard, start), 5);
        assert_int_equal(opened[0], SESSION_OPENED);
        assert_int_equal(opened[1], SESSION_OPENED);
        assert_int_equal(p[0]->len, 0);
        assert_int_equal(p[1]->len, 32);
        check_hex(pkt_data(p[1]), 21, INNER);
        for (size_t i = 0; i < 2; i++)
                pkt_release(pool, p[i]);
        session_free(a);
        session_free(b);
}

static void test_padding(void **state)
{
        static const struct {
                uint16_t mtu, len, padded;
        } rows[] = {
                {1280, 0, 0}, {1280, 1, 16}, {1280, 15, 16}, {1280, 16, 16}, {1280, 17, 32}, {1280, 1279, 1280},
                {1280, 1280, 1280}, {1277, 1268, 1277}, {1277, 1277, 1277}, {1277, 1264, 1264}, {0, 1277, 1280},
                {0, 1281, 1296}, {1280, 1281, 1296}, {1280, 1300, 1312}, {20, 21, 36}, {20, 40, 40},
        };
        struct session *a, *b;
        (void)state;
        pair(&a, &b);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct pkt *p = packet(NULL, rows[i].len);
                enum session_opened opened;
                assert_int_equal(session_seal(a, &p, 1, rows[i].mtu), 1);
                if (p->len != rows[i].padded + 32)
                        fail_msg("row %zu: %d", i, p->len - 32);
                session_open(b, &p, 1, start, &opened);
                assert_int_equal(opened, SESSION_OPENED);
                assert_int_equal(p->len, rows[i].padded);
                for (size_t k = 0; k < p->len; k++)
                        assert_int_equal(pkt_data(p)[k], 0);
                pkt_release(pool, p);
        }
        session_free(a);
        session_free(b);
}

/* Padding is zeros even where the buffer held something else before. */
static void test_padding_leaks_nothing(void **state)
{
        struct session *a, *b;
        enum session_opened opened;
        (void)state;
        pair(&a, &b);
        struct pkt *p = packet(NULL, 21);
        memset(pkt_data(p), 0xaa, PKT_STORAGE - p->off);
        assert_int_equal(session_seal(a, &p, 1, 1280), 1);
        session_open(b, &p, 1, start, &opened);
        for (size_t i = 21; i < 32; i++)
                assert_int_equal(pkt_data(p)[i], 0);
        pkt_release(pool, p);
        session_free(a);
        session_free(b);
}

static void test_no_room(void **state)
{
        struct session *a, *b;
        enum session_opened opened[2];
        (void)state;
        pair(&a, &b);
        struct pkt *p[4] = {packet(NULL, 20), packet(NULL, 30), packet(NULL, 40), packet(NULL, PKT_DATA_MAX)};
        struct pkt *first = p[0], *third = p[2], *whole = p[3];
        p[0]->off = 8;      /* no head room */
        assert_non_null(pkt_put(p[2], PKT_DATA_MAX + PKT_TAILROOM - 40 - 10));   /* no tail room */
        assert_int_equal(session_seal(a, p, 4, 1280), 2);
        assert_ptr_equal(p[1], whole);
        assert_ptr_equal(p[2], first);
        assert_ptr_equal(p[3], third);
        assert_int_equal(a->next_counter, 2);   /* no number was given to them */
        session_open(b, p, 2, start, opened);
        assert_int_equal(opened[0], SESSION_OPENED);
        assert_int_equal(opened[1], SESSION_OPENED);
        for (size_t i = 0; i < 4; i++)
                pkt_release(pool, p[i]);
        session_free(a);
        session_free(b);
}

static void test_limits(void **state)
{
        struct session *a, *b;
        enum session_opened opened;
        (void)state;
        pair(&a, &b);
        static const struct {
                int64_t age_ms;
                bool send, receive, rekey_i, rekey_r, receive_i;
        } rows[] = {
                {0, true, true, false, false, false},
                {120000, true, true, false, false, false},
                {120001, true, true, true, false, false},
                {165000, true, true, true, false, false},
                {165001, true, true, true, false, true},
                {175000, true, true, true, false, true},
                {175001, false, true, true, false, true},
                {180000, false, true, true, false, true},
                {180001, false, false, true, false, true},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                mono_t now = mono_add_ms(start, rows[i].age_ms);
                if (session_can_send(a, 1, now) != rows[i].send || session_can_receive(b, now) != rows[i].receive ||
                        session_wants_rekey_sending(a, now) != rows[i].rekey_i ||
                        session_wants_rekey_sending(b, now) != rows[i].rekey_r ||
                        session_wants_rekey_receiving(a, now) != rows[i].receive_i ||
                        session_wants_rekey_receiving(b, now))
                        fail_msg("row %zu", i);
        }
        a->rekey_asked = true;
        assert_false(session_wants_rekey_receiving(a, mono_add_ms(start, 170000)));

        b->next_counter = REKEY_AFTER_MESSAGES;
        assert_false(session_wants_rekey_sending(b, start));
        b->next_counter++;
        assert_true(session_wants_rekey_sending(b, start));
        a->next_counter = REJECT_AFTER_MESSAGES - 3;
        assert_true(session_can_send(a, 3, start));
        assert_false(session_can_send(a, 4, start));

        struct pkt *p[4];
        for (int i = 0; i < 4; i++)
                p[i] = packet(NULL, 32);
        assert_int_equal(session_seal(a, p, 4, 0), 4);
        assert_false(session_can_send(a, 1, start));
        for (int i = 0; i < 4; i++) {   /* the fourth has the number that nobody may use */
                session_open(b, &p[i], 1, start, &opened);
                assert_int_equal(opened, i < 3 ? SESSION_OPENED : SESSION_EXPIRED);
                pkt_release(pool, p[i]);
        }
        session_free(a);
        session_free(b);
}

static void test_twice_in_a_burst(void **state)
{
        struct session *a, *b;
        enum session_opened opened[2];
        (void)state;
        pair(&a, &b);
        struct pkt *p[2] = {packet(NULL, 64), NULL};
        assert_int_equal(session_seal(a, p, 1, 0), 1);
        p[1] = packet(NULL, p[0]->len);
        memcpy(pkt_data(p[1]), pkt_data(p[0]), p[0]->len);
        session_open(b, p, 2, start, opened);
        assert_int_equal(opened[0], SESSION_OPENED);
        assert_int_equal(opened[1], SESSION_REPLAYED);
        for (size_t i = 0; i < 2; i++)
                pkt_release(pool, p[i]);
        session_free(a);
        session_free(b);
}

static struct session *numbered(struct index_table *t)
{
        static const struct noise_keys keys;
        uint32_t index;
        assert_int_equal(index_add(t, 0, &index), ERR_NONE);
        struct session *s = session_new(&keys, index, 0, true, start);
        assert_non_null(s);
        return s;
}

static void test_rotation(void **state)
{
        struct index_table t = {0};
        struct keypairs k = {0};
        (void)state;
        mono_t later = mono_add_ms(start, 1);
        struct session *s1 = numbered(&t), *s2 = numbered(&t), *s3 = numbered(&t), *s4 = numbered(&t);

        keypairs_adopt(&k, s1, later, &t);
        assert_ptr_equal(k.current, s1);
        keypairs_adopt(&k, s2, later, &t);
        assert_ptr_equal(k.current, s2);
        assert_ptr_equal(k.old[0], s1);
        keypairs_offer(&k, s3, &t);      /* not to be used before it is confirmed */
        assert_ptr_equal(k.current, s2);
        assert_ptr_equal(k.next, s3);
        assert_ptr_equal(keypairs_find(&k, s1->local_index), s1);
        keypairs_offer(&k, s4, &t);      /* the newer offer goes before the older */
        assert_ptr_equal(k.next, s4);
        assert_int_equal(t.count, 4);
        assert_false(keypairs_confirm(&k, s2, &t));   /* in use before */
        assert_true(keypairs_confirm(&k, s4, &t));
        assert_ptr_equal(k.current, s4);
        assert_ptr_equal(k.old[0], s2);
        assert_null(k.next);
        assert_ptr_equal(k.old[1], s3);  /* it may have been used before */
        assert_ptr_equal(k.old[2], s1);
        assert_int_equal(t.count, 4);

        struct session *s7 = numbered(&t), *s8 = numbered(&t);
        keypairs_offer(&k, s7, &t);
        keypairs_offer(&k, s8, &t);
        assert_ptr_equal(keypairs_find(&k, s7->local_index), s7);
        assert_true(keypairs_confirm(&k, s7, &t));   /* our second answer was lost, or is late */
        assert_ptr_equal(k.current, s7);
        assert_ptr_equal(k.old[0], s4);
        assert_true(keypairs_confirm(&k, s8, &t));
        assert_ptr_equal(k.current, s8);
        assert_ptr_equal(k.old[0], s7);
        assert_int_equal(t.count, 4);

        struct session *s5 = numbered(&t), *s6 = numbered(&t), *s9 = numbered(&t);
        keypairs_offer(&k, s9, &t);
        keypairs_offer(&k, s5, &t);
        keypairs_adopt(&k, s6, later, &t);      /* both sides had begun one */
        assert_ptr_equal(k.current, s6);
        assert_ptr_equal(k.old[1], s5);
        assert_ptr_equal(keypairs_find(&k, s9->local_index), s9);   /* of two it may use either */
        assert_ptr_equal(k.old[0], s8);                             /* what was under way */
        assert_null(k.next);
        assert_int_equal(t.count, 4);
        assert_null(keypairs_find(&k, 0));
        keypairs_clear(&k, &t);
        assert_int_equal(t.count, 0);
        index_done(&t);
}

/* The peer may go on sending under any that it has had, so not simply the oldest is pushed out. */
static void test_silent_ones_go_first(void **state)
{
        struct index_table t = {0};
        struct keypairs k = {0};
        (void)state;
        struct session *s[KEYPAIRS_OLD + 1];
        for (size_t i = 0; i <= KEYPAIRS_OLD; i++) {
                s[i] = numbered(&t);
                s[i]->next_counter = 1;
                keypairs_adopt(&k, s[i], start, &t);
        }
        s[0]->heard = mono_add_ms(start, 2);
        s[2]->heard = s[3]->heard = mono_add_ms(start, 1);
        uint32_t gone = s[1]->local_index;
        keypairs_adopt(&k, numbered(&t), start, &t);
        assert_null(keypairs_find(&k, gone));
        assert_ptr_equal(k.old[0], s[3]);
        assert_ptr_equal(k.old[1], s[2]);
        assert_ptr_equal(k.old[2], s[0]);
        keypairs_clear(&k, &t);
        assert_int_equal(t.count, 0);
        index_done(&t);
}

/* All that the initiator may have, whichever of our answers have come; under those before the one it uses it may have sent. */
static void test_offers(void **state)
{
        struct index_table t = {0};
        struct keypairs k = {0};
        (void)state;
        struct session *s[KEYPAIRS_BEFORE + 2];
        uint32_t first = 0;
        for (size_t i = 0; i < KEYPAIRS_BEFORE + 2; i++) {
                s[i] = numbered(&t);
                first = i == 0 ? s[i]->local_index : first;
                keypairs_offer(&k, s[i], &t);
        }
        assert_null(keypairs_find(&k, first));
        assert_int_equal(t.count, KEYPAIRS_BEFORE + 1);
        assert_ptr_equal(keypairs_find(&k, s[2]->local_index), s[2]);
        assert_true(keypairs_confirm(&k, s[2], &t));
        assert_ptr_equal(k.old[0], s[1]);
        assert_ptr_equal(k.current, s[2]);
        assert_false(keypairs_confirm(&k, s[2], &t));
        assert_false(keypairs_confirm(&k, s[1], &t));   /* a late one is opened, and nothing is sent under it */
        assert_true(keypairs_confirm(&k, s[4], &t));
        assert_ptr_equal(k.current, s[4]);
        assert_ptr_equal(k.old[0], s[2]);
        assert_ptr_equal(k.old[1], s[3]);
        assert_ptr_equal(k.old[2], s[1]);
        assert_int_equal(t.count, 4);
        keypairs_clear(&k, &t);
        assert_int_equal(t.count, 0);
        index_done(&t);
}

/* Two initiations of ours were on their way, and one of the peer's: its session is not lost by the second answer. */
static void test_overtaken(void **state)
{
        struct index_table t = {0};
        struct keypairs k = {0};
        (void)state;
        struct session *theirs = numbered(&t), *s1 = numbered(&t), *s2 = numbered(&t), *s3 = numbered(&t);
        mono_t later = mono_add_ms(start, 1);
        uint32_t gone = s1->local_index;
        keypairs_offer(&k, theirs, &t);
        keypairs_adopt(&k, s1, start, &t);
        keypairs_adopt(&k, s2, start, &t);
        assert_ptr_equal(k.current, s2);
        assert_ptr_equal(k.old[0], theirs);
        assert_null(keypairs_find(&k, gone));
        s2->next_counter = 1;   /* so the peer may use it */
        keypairs_adopt(&k, s3, start, &t);
        assert_ptr_equal(k.old[0], s2);
        struct session *s4 = numbered(&t);
        keypairs_adopt(&k, s4, later, &t);   /* asked when s3 was there */
        assert_ptr_equal(k.old[0], s3);
        assert_int_equal(t.count, 4);
        keypairs_clear(&k, &t);
        assert_int_equal(t.count, 0);
        index_done(&t);
}

/* What opens nothing any more is not kept because newer ones come. */
static void test_dead_ones_go(void **state)
{
        struct index_table t = {0};
        struct keypairs k = {0};
        (void)state;
        struct session *s[5];
        uint32_t index[5];
        static const int born_s[5] = {0, 100, 180, 181, 400};
        for (size_t i = 0; i < 5; i++) {
                s[i] = numbered(&t);
                index[i] = s[i]->local_index;
                s[i]->next_counter = 1;
                s[i]->born = mono_add_ms(start, born_s[i] * INT64_C(1000));
        }
        keypairs_adopt(&k, s[0], start, &t);
        keypairs_adopt(&k, s[1], s[1]->born, &t);
        keypairs_adopt(&k, s[2], s[2]->born, &t);
        assert_non_null(keypairs_find(&k, index[0]));   /* 180 s old, to the moment */
        keypairs_offer(&k, s[3], &t);
        assert_null(keypairs_find(&k, index[0]));
        assert_non_null(keypairs_find(&k, index[1]));
        keypairs_offer(&k, s[4], &t);
        assert_null(keypairs_find(&k, index[1]));
        assert_null(keypairs_find(&k, index[3]));       /* offered, and never used */
        assert_null(keypairs_find(&k, index[2]));       /* the one in use, 220 s old */
        assert_ptr_equal(k.next, s[4]);
        assert_int_equal(t.count, 1);
        keypairs_clear(&k, &t);
        index_done(&t);
}

/* However lately it was heard, one that is too old takes no place from one that opens packets. */
static void test_dead_ones_give_way(void **state)
{
        struct index_table t = {0};
        struct keypairs k = {0};
        (void)state;
        struct session *s[KEYPAIRS_OLD + 2];
        for (size_t i = 0; i < KEYPAIRS_OLD + 2; i++) {
                s[i] = numbered(&t);
                s[i]->next_counter = 1;
                s[i]->born = s[i]->heard = mono_add_ms(start, i == 0 ? 0 : 100000);
        }
        s[0]->heard = mono_add_ms(start, 180000);
        s[KEYPAIRS_OLD + 1]->born = mono_add_ms(start, 180001);
        for (size_t i = 0; i < KEYPAIRS_OLD + 2; i++)
                keypairs_adopt(&k, s[i], s[i]->born, &t);
        for (size_t i = 0; i < KEYPAIRS_OLD; i++)
                assert_ptr_equal(k.old[i], s[KEYPAIRS_OLD - i]);
        assert_int_equal(t.count, KEYPAIRS_OLD + 1);
        keypairs_clear(&k, &t);
        index_done(&t);
}

static int setup(void **state)
{
        (void)state;
        pool = pkt_pool_new(16);
        return pool != NULL && crypto_init() == ERR_NONE ? 0 : -1;
}

static int teardown(void **state)
{
        (void)state;
        pkt_pool_free(pool);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_known_answers),
                cmocka_unit_test(test_padding),
                cmocka_unit_test(test_padding_leaks_nothing),
                cmocka_unit_test(test_no_room),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_twice_in_a_burst),
                cmocka_unit_test(test_rotation),
                cmocka_unit_test(test_silent_ones_go_first),
                cmocka_unit_test(test_offers),
                cmocka_unit_test(test_overtaken),
                cmocka_unit_test(test_dead_ones_go),
                cmocka_unit_test(test_dead_ones_give_way),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
