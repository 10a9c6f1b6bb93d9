/* Names and messages: what is read, what is refused, what is built. */
#include "daemon/dns/wire.h"

#include "tests/unit/dns_msg.h"

static void names_fold_and_print(void **state)
{
        (void)state;
        struct dns_name n, suffix;
        char text[DNS_NAME_STR_MAX];
        assert_int_equal(dns_name_parse("Beta.MESH.example.", &n), ERR_NONE);
        assert_string_equal(dns_name_str(&n, text), "beta.mesh.example");
        assert_int_equal(n.len, 19);
        assert_int_equal(dns_name_parse("mesh.example", &suffix), ERR_NONE);
        assert_true(dns_name_within(&n, &suffix) && dns_name_within(&suffix, &suffix));
        assert_false(dns_name_within(&suffix, &n));
        assert_int_equal(dns_name_parse("sh.example", &suffix), ERR_NONE);
        assert_false(dns_name_within(&n, &suffix));   /* not on the border of a label */
        assert_int_equal(dns_name_parse(".", &suffix), ERR_NONE);
        assert_true(dns_name_within(&n, &suffix));
        assert_string_equal(dns_name_str(&suffix, text), ".");
        assert_true(dns_name_to_parent(&n) && dns_name_to_parent(&n) && dns_name_to_parent(&n));
        assert_false(dns_name_to_parent(&n));
}

static void impossible_names_are_refused(void **state)
{
        (void)state;
        struct dns_name n;
        char text[300];
        static const char *const bad[] = {"", "a..b", ".a", "a b", "a\\.b", "a\x7f"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(dns_name_parse(bad[i], &n), ERR_FORMAT);
        memset(text, 'a', 64);
        text[64] = '\0';
        assert_int_equal(dns_name_parse(text, &n), ERR_FORMAT);
        text[63] = '\0';
        assert_int_equal(dns_name_parse(text, &n), ERR_NONE);
        for (size_t i = 0; i < 254; i++)
                text[i] = i % 2 ? '.' : 'a';
        text[253] = '\0';   /* 127 labels: 255 bytes on the wire */
        assert_int_equal(dns_name_parse(text, &n), ERR_NONE);
        assert_int_equal(n.len, 255);
        text[253] = '.';
        text[254] = 'a';
        text[255] = '\0';
        assert_int_equal(dns_name_parse(text, &n), ERR_FORMAT);
}

static void a_dot_inside_a_label_is_no_border(void **state)
{
        (void)state;
        static const uint8_t wire[] = "\6x.mesh\7example";
        struct rd r = rd_init(wire, sizeof(wire));
        struct dns_name n, suffix;
        char text[DNS_NAME_STR_MAX];
        assert_true(dns_name_read(&r, &n));
        assert_int_equal(dns_name_parse("mesh.example", &suffix), ERR_NONE);
        assert_false(dns_name_within(&n, &suffix));
        assert_string_equal(dns_name_str(&n, text), "x\\046mesh.example");
        static const uint8_t inside[] = "\16x\4mesh\7example";   /* one label that has the whole suffix in it */
        r = rd_init(inside, sizeof(inside));
        assert_true(dns_name_read(&r, &n));
        assert_false(dns_name_within(&n, &suffix));
}

static void queries_are_parsed(void **state)
{
        (void)state;
        uint8_t m[300];
        struct dns_query q;
        size_t n = msg_query(m, sizeof(m), 7, "A.b", DNS_A, 0);
        assert_int_equal(dns_query_parse(m, n, &q), DNS_PARSED);
        assert_int_equal(q.id, 7);
        assert_int_equal(q.type, DNS_A);
        assert_int_equal(q.question_len, 9);
        assert_int_equal(q.udp_size, 512);
        assert_false(q.edns);
        n = msg_query(m, sizeof(m), 7, "a.b", DNS_A, 1232);
        assert_int_equal(dns_query_parse(m, n, &q), DNS_PARSED);
        assert_true(q.edns && !q.edns_options && !q.dnssec_ok);
        assert_int_equal(q.udp_size, 1232);
        m[n - 4] = 0x80;
        assert_int_equal(dns_query_parse(m, n, &q), DNS_PARSED);
        assert_true(q.dnssec_ok);
        m[n - 8] = m[n - 7] = 0;   /* a size of less than 512 counts as 512 */
        assert_int_equal(dns_query_parse(m, n, &q), DNS_PARSED);
        assert_int_equal(q.udp_size, 512);
}

/* A question that we make is one that we would take. */
static void made_queries_are_parsed(void **state)
{
        (void)state;
        struct dns_name n;
        struct dns_query q;
        uint8_t msg[64];
        assert_int_equal(dns_name_parse("beta.mesh.example", &n), ERR_NONE);
        size_t whole = dns_query_make(msg, sizeof(msg), &n, DNS_AAAA);
        assert_int_equal(whole, DNS_HEADER + n.len + 4);
        assert_int_equal(dns_query_parse(msg, whole, &q), DNS_PARSED);
        assert_int_equal(q.type, DNS_AAAA);
        assert_int_equal(q.class, DNS_IN);
        assert_int_equal(q.flags, DNS_RD);
        assert_int_equal(q.name.len, n.len);
        assert_memory_equal(q.name.b, n.b, n.len);
        for (size_t cap = 0; cap < whole; cap++)
                assert_int_equal(dns_query_make(msg, cap, &n, DNS_AAAA), 0);
}

static void broken_queries_are_told_from_nothing(void **state)
{
        (void)state;
        uint8_t m[300];
        struct dns_query q;
        size_t n = msg_query(m, sizeof(m), 7, "name.example", DNS_A, 1232);
        for (size_t len = 0; len < n; len++) {   /* every truncation, in a block of exactly that size */
                uint8_t *exact = malloc(len + 1);
                memcpy(exact, m, len);
                assert_int_equal(dns_query_parse(exact, len, &q), len < 4 ? DNS_PARSED_NOTHING : DNS_PARSED_MALFORMED);
                free(exact);
        }
        m[5] = 2;   /* two questions */
        assert_int_equal(dns_query_parse(m, n, &q), DNS_PARSED_MALFORMED);
        m[5] = 1;
        m[12] = 0xc0;   /* a question that points at itself */
        assert_int_equal(dns_query_parse(m, n, &q), DNS_PARSED_MALFORMED);
        m[2] |= 0x80;   /* an answer */
        assert_int_equal(dns_query_parse(m, n, &q), DNS_PARSED_NOTHING);
}

static void answers_are_held_against_the_question(void **state)
{
        (void)state;
        uint8_t m[300], a[300], ip[4] = {1, 2, 3, 4};
        struct dns_query q;
        size_t n = msg_query(m, sizeof(m), 7, "Name.example", DNS_A, 0);
        assert_int_equal(dns_query_parse(m, n, &q), DNS_PARSED);
        size_t len = msg_answer(a, sizeof(a), m, q.question_len, 9, 0x8180, DNS_A, 60, ip, 4);
        assert_true(dns_answers(a, len, &q, 9));
        assert_false(dns_answers(a, len, &q, 8));
        a[13] ^= 0x20;
        assert_true(dns_answers(a, len, &q, 9));   /* another case */
        a[14] = 'x';
        assert_false(dns_answers(a, len, &q, 9));
        a[14] = 'a';
        a[2] = 1;
        assert_false(dns_answers(a, len, &q, 9));   /* no answer but a query */
        a[2] = 0x81;
        a[12 + q.question_len - 3] = DNS_AAAA;
        assert_false(dns_answers(a, len, &q, 9));
        static const uint8_t formerr[12] = {0, 9, 0x81, 0x81}, empty[12] = {0, 9, 0x81, 0x80};
        assert_true(dns_answers(formerr, 12, &q, 9));
        assert_false(dns_answers(empty, 12, &q, 9));   /* good, and yet without a question */
        assert_false(dns_answers(formerr, 11, &q, 9));
}

static void large_answers_are_cut(void **state)
{
        (void)state;
        uint8_t m[300], a[1200], data[900] = {0};
        struct dns_query q;
        size_t n = msg_query(m, sizeof(m), 7, "big.example", DNS_TXT, 0);
        assert_int_equal(dns_query_parse(m, n, &q), DNS_PARSED);
        size_t len = msg_answer(a, sizeof(a), m, q.question_len, 7, 0x8180, DNS_TXT, 60, data, sizeof(data));
        static const uint8_t opt[11] = {0, 0, 41, 0x04, 0xd0};
        memcpy(a + len, opt, sizeof(opt));
        a[11] = 1;
        len += sizeof(opt);
        assert_int_equal(dns_truncate(a, len, 1000), len);
        assert_false(dns_truncated(a));
        size_t cut = dns_truncate(a, len, 512);
        assert_int_equal(cut, 12 + q.question_len + sizeof(opt));
        assert_true(dns_truncated(a) && dns_answers(a, cut, &q, 7));
        struct dns_walk w;
        struct dns_rr rr;
        assert_true(dns_walk_start(&w, a, cut) && dns_walk_next(&w, &rr));
        assert_int_equal(rr.type, DNS_OPT);
        assert_int_equal(rr.class, 1232);
        assert_false(dns_walk_next(&w, &rr) || w.failed);
}

static void announced_sizes_are_lowered(void **state)
{
        (void)state;
        uint8_t m[300];
        struct dns_query q;
        size_t n = msg_query(m, sizeof(m), 7, "a.b", DNS_A, 65000);
        dns_limit_edns(m, n, DNS_UDP_MAX);
        assert_int_equal(dns_query_parse(m, n, &q), DNS_PARSED);
        assert_int_equal(q.udp_size, DNS_UDP_MAX);
        dns_limit_edns(m, n, 5000);
        assert_int_equal(dns_query_parse(m, n, &q), DNS_PARSED);
        assert_int_equal(q.udp_size, DNS_UDP_MAX);
}

static void a_compressed_name_may_end_in_one_pointer(void **state)
{
        (void)state;
        static const uint8_t good[] = {1, 'a', 0xc0, 12, 99}, cut[] = {1, 'a', 0xc0}, bad[] = {0x40, 0};
        struct rd r = rd_init(good, sizeof(good));
        assert_true(dns_name_skip(&r));
        assert_int_equal(r.left, 1);
        r = rd_init(cut, sizeof(cut));
        assert_false(dns_name_skip(&r));
        r = rd_init(bad, sizeof(bad));
        assert_false(dns_name_skip(&r));
        uint8_t long_name[320];
        for (size_t i = 0; i < sizeof(long_name); i++)
                long_name[i] = i % 2 ? 'a' : 1;
        r = rd_init(long_name, sizeof(long_name));
        assert_false(dns_name_skip(&r));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_fold_and_print),
                cmocka_unit_test(impossible_names_are_refused),
                cmocka_unit_test(a_dot_inside_a_label_is_no_border),
                cmocka_unit_test(queries_are_parsed),
                cmocka_unit_test(made_queries_are_parsed),
                cmocka_unit_test(broken_queries_are_told_from_nothing),
                cmocka_unit_test(answers_are_held_against_the_question),
                cmocka_unit_test(large_answers_are_cut),
                cmocka_unit_test(announced_sizes_are_lowered),
                cmocka_unit_test(a_compressed_name_may_end_in_one_pointer),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
