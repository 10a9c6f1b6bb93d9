/* The cache: what is kept, for how long, for whom. */
#include "daemon/dns/cache.h"

#include "tests/unit/dns_msg.h"

enum { ANSWERS = 64 };

struct fixture {
        struct dns_cache *c;
        uint8_t msg[400], answer[1400], out[DNS_CACHE_MSG_MAX];
        struct dns_query q;
        size_t len;
};

static mono_t at(int64_t s)
{
        return (mono_t){(s + 1) * NS_PER_SEC};
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        f->c = dns_cache_new(7, ANSWERS);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        dns_cache_free(f->c);
        free(f);
        return 0;
}

static void ask(struct fixture *f, uint16_t id, const char *name, uint16_t type, uint16_t size)
{
        size_t n = msg_query(f->msg, sizeof(f->msg), id, name, type, size);
        assert_int_equal(dns_query_parse(f->msg, n, &f->q), DNS_PARSED);
}

static void put(struct fixture *f, uint16_t flags, uint32_t ttl, int64_t now)
{
        static const uint8_t ip[4] = {192, 0, 2, 1};
        f->len = msg_answer(f->answer, sizeof(f->answer), f->msg, f->q.question_len, f->q.id, flags, DNS_A, ttl, ip, 4);
        dns_cache_put(f->c, &f->q, f->answer, f->len, at(now));
}

static size_t get(struct fixture *f, int64_t now)
{
        return dns_cache_get(f->c, &f->q, f->out, at(now));
}

static void kept_as_long_as_it_says(void **state)
{
        struct fixture *f = *state;
        ask(f, 1, "name.example", DNS_A, 0);
        put(f, 0x8180, 60, 0);
        ask(f, 2, "NAME.example", DNS_A, 0);
        assert_int_equal(get(f, 25), f->len);
        assert_int_equal(load_be16(f->out), 2);
        assert_memory_equal(f->out + DNS_HEADER, f->msg + DNS_HEADER, f->q.question_len);   /* the case asked in */
        assert_int_equal(load_be32(f->out + f->len - 10), 35);
        assert_int_equal(get(f, 59), f->len);
        assert_int_equal(get(f, 60), 0);
        assert_int_equal(get(f, 0), 0);   /* gone for good */
}

static void only_the_same_question_gets_it(void **state)
{
        struct fixture *f = *state;
        ask(f, 1, "name.example", DNS_A, 1232);
        put(f, 0x8180, 60, 0);
        assert_int_equal(get(f, 1), f->len);
        ask(f, 1, "name.example", DNS_AAAA, 1232);
        assert_int_equal(get(f, 1), 0);
        ask(f, 1, "nam.example", DNS_A, 1232);
        assert_int_equal(get(f, 1), 0);
        ask(f, 1, "name.example", DNS_A, 0);   /* another EDNS */
        assert_int_equal(get(f, 1), 0);
        ask(f, 1, "name.example", DNS_A, 1232);
        f->q.flags |= DNS_CD;
        assert_int_equal(get(f, 1), 0);
        f->q.flags &= (uint16_t)~DNS_CD;
        f->q.dnssec_ok = true;
        assert_int_equal(get(f, 1), 0);
        f->q.dnssec_ok = false;
        f->q.edns_options = true;
        assert_int_equal(get(f, 1), 0);
        f->q.edns_options = false;
        assert_int_equal(get(f, 1), f->len);
        dns_cache_flush(f->c);
        assert_int_equal(get(f, 1), 0);
}

static void what_is_not_kept(void **state)
{
        struct fixture *f = *state;
        static const uint16_t flags[] = {0x8182, 0x8185, 0x8380, 0x8183};   /* SERVFAIL, REFUSED, TC, NXDOMAIN bare */
        ask(f, 1, "name.example", DNS_A, 0);
        for (size_t i = 0; i < 4; i++) {
                put(f, flags[i], 60, 0);
                assert_int_equal(get(f, 1), 0);
        }
        put(f, 0x8180, 0, 0);
        assert_int_equal(get(f, 0), 0);
        put(f, 0x8180, UINT32_MAX, 0);   /* bounded */
        assert_int_equal(get(f, DNS_CACHE_TTL_MAX - 1), f->len);
        assert_int_equal(get(f, DNS_CACHE_TTL_MAX), 0);
        ask(f, 1, "name.example", DNS_ANY, 0);
        put(f, 0x8180, 60, 0);
        assert_int_equal(get(f, 1), 0);
}

/* An answer without records but with an SOA: for as long as its last field says. */
static void negative_answers_follow_the_soa(void **state)
{
        struct fixture *f = *state;
        struct dns_reply r;
        struct dns_name zone;
        assert_int_equal(dns_name_parse("example", &zone), ERR_NONE);
        ask(f, 1, "nosuch.example", DNS_A, 0);
        dns_reply_begin(&r, f->answer, sizeof(f->answer), &f->q, DNS_RA, DNS_NXDOMAIN);
        dns_reply_soa(&r, &zone, 1, 30, 900);
        f->len = dns_reply_end(&r);
        dns_cache_put(f->c, &f->q, f->answer, f->len, at(0));
        assert_int_equal(get(f, 29), f->len);
        assert_int_equal(dns_rcode(f->out), DNS_NXDOMAIN);
        assert_int_equal(get(f, 30), 0);
}

static void failures_are_remembered_shortly(void **state)
{
        struct fixture *f = *state;
        ask(f, 1, "dead.example", DNS_A, 0);
        dns_cache_put_failure(f->c, &f->q, at(0));
        ask(f, 2, "DEAD.example", DNS_A, 1232);
        f->q.edns_options = true;   /* however it is asked */
        assert_true(get(f, 4) > 0);
        assert_int_equal(dns_rcode(f->out), DNS_SERVFAIL);
        assert_true(dns_answers(f->out, get(f, 4), &f->q, 2));
        ask(f, 2, "dead.example", DNS_AAAA, 0);
        assert_int_equal(get(f, 4), 0);
        ask(f, 2, "dead.example", DNS_A, 0);
        assert_int_equal(get(f, 5), 0);
}

static void memory_is_bounded(void **state)
{
        struct fixture *f = *state;
        char name[40];
        size_t found = 0;
        for (int i = 0; i < 5000; i++) {
                snprintf(name, sizeof(name), "n%d.example", i);
                ask(f, 1, name, DNS_A, 0);
                put(f, 0x8180, 60, 0);
                assert_int_equal(get(f, 1), f->len);   /* the newest is always there */
        }
        for (int i = 0; i < 5000; i++) {
                snprintf(name, sizeof(name), "n%d.example", i);
                ask(f, 1, name, DNS_A, 0);
                found += get(f, 1) > 0;
        }
        assert_true(found > ANSWERS / 2 && found <= ANSWERS);
        ask(f, 1, "long.example", DNS_A, 0);
        uint8_t data[DNS_CACHE_MSG_MAX] = {0};
        size_t len = msg_answer(f->answer, sizeof(f->answer), f->msg, f->q.question_len, 1, 0x8180, DNS_TXT, 60, data,
                sizeof(data));
        dns_cache_put(f->c, &f->q, f->answer, len, at(0));
        assert_int_equal(get(f, 1), 0);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(kept_as_long_as_it_says),
                TEST(only_the_same_question_gets_it),
                TEST(what_is_not_kept),
                TEST(negative_answers_follow_the_soa),
                TEST(failures_are_remembered_shortly),
                TEST(memory_is_bounded),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
