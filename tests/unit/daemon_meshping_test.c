/* Pings through the tunnel: what is sent, what counts as the answer, and how long it is waited for. */
#include "daemon/meshping.h"

#include "base/crypto.h"
#include "base/ipmake.h"
#include "base/reader.h"
#include "tests/unit/check.h"
#include "tests/unit/tun_packets.h"
#include "tun/tsmp.h"

enum { PEER = 7 };

static const struct row {
        enum meshping_kind kind;
        const char *us, *them;
} rows[] = {
        {MESHPING_TSMP, "100.64.0.1", "100.64.0.2"}, {MESHPING_TSMP, "fd7a:115c:a1e0::1", "fd7a:115c:a1e0::2"},
        {MESHPING_ICMP, "100.64.0.1", "100.64.0.2"}, {MESHPING_ICMP, "fd7a:115c:a1e0::1", "fd7a:115c:a1e0::2"},
};

static struct meshping ask_of(const struct row *r, uint32_t id)
{
        struct meshping ask = {.id = id, .peer = PEER, .kind = r->kind};
        assert_int_equal(ip_parse(r->us, &ask.src), ERR_NONE);
        assert_int_equal(ip_parse(r->them, &ask.dst), ERR_NONE);
        return ask;
}

/* What a host, or its agent, answers to the packet. */
static size_t answer(const struct row *r, const uint8_t *pkt, size_t len, uint8_t *out)
{
        struct packet p = packet_parse(pkt, len);
        if (r->kind == MESHPING_TSMP)
                return tsmp_pong(pkt, len, 0x1234, out);
        struct ip us, them;
        assert_int_equal(ip_parse(r->us, &us), ERR_NONE);
        assert_int_equal(ip_parse(r->them, &them), ERR_NONE);
        assert_int_equal(p.icmp_type, p.version == 4 ? 8 : 128);
        uint16_t check = p.version == 4 ? ip_checksum(p.payload, p.payload_len) :
                ip_checksum_pseudo(us, them, PROTO_ICMPV6, p.payload, p.payload_len);
        assert_int_equal(check, 0);   /* the host would drop it else */
        size_t at = ip_make_header(out, them, us, p.proto, p.payload_len);
        memcpy(out + at, p.payload, p.payload_len);
        out[at] = p.version == 4 ? 0 : 129;
        return at + p.payload_len;
}

static void an_answer_is_known(void **state)
{
        (void)state;
        mono_t now = mono_now();
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct meshpings m = {0};
                struct meshping got, ask = ask_of(&rows[i], 40 + (uint32_t)i);
                uint8_t pkt[MESHPING_PACKET_MAX], back[TSMP_PACKET_MAX + 16];
                uint16_t port;
                size_t len = meshping_start(&m, &ask, now, pkt), n = answer(&rows[i], pkt, len, back);
                assert_true(len > 0 && n > 0);
                for (size_t cut = 0; cut < n; cut++)
                        assert_false(meshping_answered(&m, PEER, back, cut, &got, &port));
                assert_false(meshping_answered(&m, PEER + 1, back, n, &got, &port));   /* from another peer */
                assert_false(meshping_answered(&m, PEER, pkt, len, &got, &port));      /* our own, sent back */
                back[n - 3] ^= 1;   /* another one's data */
                assert_false(meshping_answered(&m, PEER, back, n, &got, &port));
                back[n - 3] ^= 1;
                assert_true(meshping_answered(&m, PEER, back, n, &got, &port));
                assert_int_equal(got.id, 40 + i);
                assert_int_equal(port, rows[i].kind == MESHPING_TSMP ? 0x1234 : 0);
                assert_false(meshping_answered(&m, PEER, back, n, &got, &port));
                assert_int_equal(m.count, 0);
        }
}

static void a_bounded_number_waits_for_a_bounded_time(void **state)
{
        (void)state;
        struct meshpings m = {0};
        struct meshping got;
        uint8_t pkt[MESHPING_PACKET_MAX];
        mono_t start = mono_now();
        assert_int_equal(meshping_deadline(&m).ns, MONO_NEVER.ns);
        for (uint32_t i = 0; i < MESHPINGS_MAX; i++) {
                struct meshping ask = ask_of(&rows[0], i);
                assert_true(meshping_start(&m, &ask, mono_add_ms(start, i), pkt) > 0);
                if (i > 0)
                        assert_memory_not_equal(m.at[i].data, m.at[i - 1].data, sizeof(m.at[i].data));
        }
        struct meshping more = ask_of(&rows[0], 99);
        assert_int_equal(meshping_start(&m, &more, start, pkt), 0);
        assert_int_equal(meshping_deadline(&m).ns, mono_add_ms(start, MESHPING_PATIENCE_MS).ns);
        assert_false(meshping_expired(&m, start, &got));
        for (uint32_t i = 0; i < MESHPINGS_MAX; i++)
                assert_true(meshping_expired(&m, mono_add_ms(start, MESHPING_PATIENCE_MS + MESHPINGS_MAX), &got));
        assert_false(meshping_expired(&m, mono_add_ms(start, 2 * MESHPING_PATIENCE_MS), &got));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_answer_is_known),
                cmocka_unit_test(a_bounded_number_waits_for_a_bounded_time),
        };
        assert_true(crypto_init() == ERR_NONE);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
