/* NAT-PMP and PCP on the wire: known messages both ways, and every answer cut short. */
#include "tests/unit/check.h"

#include <stdlib.h>

#include "portmap/pxp.h"

static struct ip ip_of(const char *s)
{
        struct ip ip;
        assert_int_equal(ip_parse(s, &ip), ERR_NONE);
        return ip;
}

static void test_requests(void **state)
{
        (void)state;
        static const struct {
                enum pxp_kind kind;
                uint16_t outer;
                uint32_t lifetime;
                const char *hex;
        } rows[] = {
                {PXP_PMP_ADDRESS, 0, 0, "0000"},
                {PXP_PMP_MAP, 0, 7200, "00010000a2a9000000001c20"},
                {PXP_PMP_MAP, 1234, 7200, "00010000a2a904d200001c20"},
                {PXP_PMP_MAP, 0, 0, "00010000a2a9000000000000"},
                {PXP_PCP_ANNOUNCE, 0, 0, "020000000000000000000000000000000000ffffc0a80132"},
                {PXP_PCP_MAP, 0, 7200,
                        "0201000000001c2000000000000000000000ffffc0a80132000102030405060708090a0b11000000a2a90000"
                        "00000000000000000000ffff00000000"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct pxp_ask ask = {.kind = rows[i].kind, .self = ip_of("192.168.1.50"), .inner = 41641,
                        .outer = rows[i].outer, .lifetime = rows[i].lifetime};
                uint8_t out[PXP_REQUEST_MAX];
                check_count_up(ask.nonce.b, sizeof(ask.nonce.b), 0);
                check_hex(out, pxp_encode(&ask, out), rows[i].hex);
        }
}

struct answer {
        const char *hex;
        struct pxp_reply want;
        const char *outside;
};

static const struct answer answers[] = {
        {"0080000000029dedcb007109", {.kind = PXP_PMP_ADDRESS, .epoch = 171501}, "203.0.113.9"},
        {"0080000200029ded00000000", {.kind = PXP_PMP_ADDRESS, .result = 2, .epoch = 171501}, NULL},
        {"0081000000029deda2a904d200001c20",
                {.kind = PXP_PMP_MAP, .epoch = 171501, .inner = 41641, .outer = 1234, .lifetime = 7200}, NULL},
        {"0280000c000000000002 9bed 000000000000000000000000", {.kind = PXP_PCP_ANNOUNCE, .result = 12, .epoch = 170989},
                NULL},
        {"0281000000001c2000029bed00000000000000000000000081700918f1d0fb2d9d4c0abc1100000004d204d20000000000000000"
         "0000ffff87b4aff6",
                {.kind = PXP_PCP_MAP, .epoch = 170989, .inner = 1234, .outer = 1234, .lifetime = 7200,
                        .nonce = {{0x81, 0x70, 0x09, 0x18, 0xf1, 0xd0, 0xfb, 0x2d, 0x9d, 0x4c, 0x0a, 0xbc}}},
                "135.180.175.246"},
};

static void check_answer(const struct pxp_reply *got, const struct answer *a)
{
        assert_int_equal(got->kind, a->want.kind);
        assert_int_equal(got->result, a->want.result);
        assert_int_equal(got->epoch, a->want.epoch);
        assert_int_equal(got->inner, a->want.inner);
        assert_int_equal(got->outer, a->want.outer);
        if (got->kind == PXP_PCP_MAP || got->kind == PXP_PMP_MAP)
                assert_int_equal(got->lifetime, a->want.lifetime);
        assert_memory_equal(&got->nonce, &a->want.nonce, sizeof(got->nonce));
        assert_true(ip_eq(got->outside, a->outside != NULL ? ip_of(a->outside) : (struct ip){0}));
}

static void test_answers(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
                uint8_t b[PXP_REPLY_MAX + 1] = {0};
                struct pxp_reply r;
                size_t len = check_unhex(answers[i].hex, b, sizeof(b));
                assert_int_equal(pxp_parse(b, len, &r), ERR_NONE);
                check_answer(&r, &answers[i]);
        }
}

/* An error says all it has to in its head, in either protocol. */
static void test_cut_short(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
                uint8_t b[64];
                size_t len = check_unhex(answers[i].hex, b, sizeof(b));
                bool is_error = answers[i].want.result != 0;
                size_t enough = is_error && b[0] == 0 ? 8 : len;
                for (size_t n = 0; n < len; n++) {
                        uint8_t *exact = malloc(n + 1);   /* for the sanitizer to see a byte too many */
                        struct pxp_reply r = {.inner = 7};
                        memcpy(exact, b, n);
                        assert_int_equal(pxp_parse(exact, n, &r), n >= enough ? ERR_NONE : ERR_FORMAT);
                        assert_int_equal(r.inner, n >= enough ? 0 : 7);
                        free(exact);
                }
        }
}

static void test_not_ours(void **state)
{
        (void)state;
        static const char *const bad[] = {
                "",
                "0000000000029dedcb007109",                   /* a request */
                "0082000000029deda2a904d200001c20",           /* a mapping for TCP */
                "0080000000029dedcb00710900",                 /* a byte too many */
                "0180000000029dedcb007109",                   /* version 1 */
                "0383000000001c2000029bed000000000000000000000000",
                "0282000000001c2000029bed000000000000000000000000",   /* PEER */
                "0201000000001c2000029bed000000000000000000000000",   /* a request */
                /* for TCP */
                "0281000000001c2000029bed00000000000000000000000081700918f1d0fb2d9d4c0abc0600000004d204d200000000000000000000ffff87b4aff6",
        };
        struct pxp_reply r;
        uint8_t b[PXP_REPLY_MAX + 1] = {0};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(pxp_parse(b, check_unhex(bad[i], b, sizeof(b)), &r), ERR_FORMAT);
        /* An announcement may carry options, but not without end. */
        memset(b, 0, sizeof(b));
        (void)check_unhex(answers[4].hex, b, sizeof(b));
        assert_int_equal(pxp_parse(b, PXP_REPLY_MAX, &r), ERR_NONE);
        assert_int_equal(pxp_parse(b, PXP_REPLY_MAX + 1, &r), ERR_FORMAT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_requests),
                cmocka_unit_test(test_answers),
                cmocka_unit_test(test_cut_short),
                cmocka_unit_test(test_not_ours),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
