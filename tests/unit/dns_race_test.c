/* The race of upstreams on a clock of its own. */
#include "daemon/dns/race.h"

#include "daemon/dns/wire.h"
#include "tests/unit/check.h"

static mono_t at(int64_t ms)
{
        return (mono_t){(ms + 1000) * NS_PER_MS};
}

static const struct dns_try plain[2] = {
        {.addr = {{IP_V4, {192, 0, 2, 1}}, 53}},
        {.addr = {{IP_V4, {192, 0, 2, 2}}, 53}},
};

static const uint8_t *reply(enum dns_rcode rcode, unsigned flags)
{
        static uint8_t msg[DNS_HEADER];
        store_be16(msg + 2, (uint16_t)(DNS_QR | flags | (unsigned)rcode));
        return msg;
}

/* "0u 1t" what is started at that moment: number of the way and leg. */
static const char *starts(struct race *r, int64_t ms)
{
        static char out[64];
        size_t way, n = 0;
        enum race_leg leg;
        out[0] = '\0';
        while (race_next(r, at(ms), &way, &leg))
                n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%zu%c", n ? " " : "", way, "utp"[leg]);
        return out;
}

static void all_at_once_and_the_first_wins(void **state)
{
        (void)state;
        struct race r;
        race_start(&r, plain, 2, false, at(0));
        assert_string_equal(starts(&r, 0), "0u 1u");
        assert_string_equal(starts(&r, 1999), "");
        assert_int_equal(mono_diff_ms(race_deadline(&r), at(0)), 2000);
        assert_true(race_answer(&r, 1, RACE_UDP, reply(DNS_NXDOMAIN, 0), at(1999)));
        assert_int_equal(r.state, RACE_WON);
        assert_int_equal(race_deadline(&r).ns, MONO_NEVER.ns);
        assert_false(race_answer(&r, 0, RACE_UDP, reply(DNS_NOERROR, 0), at(1999)));
}

static void tcp_follows_silence_and_time_ends(void **state)
{
        (void)state;
        struct race r;
        race_start(&r, plain, 1, false, at(0));
        assert_string_equal(starts(&r, 0), "0u");
        assert_string_equal(starts(&r, 2000), "0t");
        assert_int_equal(mono_diff_ms(race_deadline(&r), at(0)), RACE_UDP_CLIENT_MS);
        assert_string_equal(starts(&r, RACE_UDP_CLIENT_MS), "");
        assert_int_equal(r.state, RACE_LATE);

        race_start(&r, plain, 1, true, at(0));
        assert_string_equal(starts(&r, 0), "0u 0t");
        assert_string_equal(starts(&r, RACE_TCP_MS), "");   /* TCP has had its time, UDP may still answer */
        assert_int_equal(r.state, RACE_RUNNING);
        assert_int_equal(mono_diff_ms(race_deadline(&r), at(0)), RACE_TCP_CLIENT_MS);
        assert_string_equal(starts(&r, RACE_TCP_CLIENT_MS), "");
        assert_int_equal(r.state, RACE_LATE);
}

static void unreachable_ends_at_once(void **state)
{
        (void)state;
        struct race r;
        race_start(&r, plain, 2, false, at(0));
        assert_string_equal(starts(&r, 0), "0u 1u");
        race_failed(&r, 0, RACE_UDP, at(1));
        assert_string_equal(starts(&r, 1), "0t");   /* not after two seconds */
        race_failed(&r, 0, RACE_TCP, at(2));
        assert_int_equal(r.state, RACE_RUNNING);
        race_failed(&r, 1, RACE_UDP, at(3));
        assert_string_equal(starts(&r, 3), "1t");
        race_failed(&r, 1, RACE_TCP, at(4));
        assert_int_equal(r.state, RACE_FAILED);
        race_start(&r, plain, 0, false, at(0));
        assert_string_equal(starts(&r, 0), "");
        assert_int_equal(r.state, RACE_FAILED);
}

static void soft_errors_wait_for_the_others(void **state)
{
        (void)state;
        struct race r;
        race_start(&r, plain, 2, false, at(0));
        assert_string_equal(starts(&r, 0), "0u 1u");
        assert_false(race_answer(&r, 0, RACE_UDP, reply(DNS_REFUSED, 0), at(1)));
        assert_int_equal(r.state, RACE_RUNNING);
        assert_string_equal(starts(&r, 2000), "1t");   /* the first is through with it */
        assert_true(race_answer(&r, 1, RACE_TCP, reply(DNS_NOERROR, 0), at(2001)));

        race_start(&r, plain, 2, false, at(0));
        assert_string_equal(starts(&r, 0), "0u 1u");
        assert_false(race_answer(&r, 0, RACE_UDP, reply(DNS_REFUSED, 0), at(1)));
        assert_false(race_answer(&r, 1, RACE_UDP, reply(DNS_REFUSED, 0), at(1)));
        assert_int_equal(r.state, RACE_REFUSED);

        race_start(&r, plain, 2, false, at(0));
        assert_string_equal(starts(&r, 0), "0u 1u");
        assert_false(race_answer(&r, 0, RACE_UDP, reply(DNS_REFUSED, 0), at(1)));
        assert_false(race_answer(&r, 1, RACE_UDP, reply(DNS_SERVFAIL, 0), at(1)));
        assert_int_equal(r.state, RACE_FAILED);
}

static void a_cut_answer_is_for_udp_clients_only(void **state)
{
        (void)state;
        struct race r;
        race_start(&r, plain, 1, true, at(0));
        assert_string_equal(starts(&r, 0), "0u 0t");
        assert_false(race_answer(&r, 0, RACE_UDP, reply(DNS_NOERROR, DNS_TC), at(1)));
        assert_int_equal(r.state, RACE_RUNNING);
        assert_true(race_answer(&r, 0, RACE_TCP, reply(DNS_NOERROR, 0), at(2)));
        race_start(&r, plain, 1, false, at(0));
        assert_string_equal(starts(&r, 0), "0u");
        assert_true(race_answer(&r, 0, RACE_UDP, reply(DNS_NOERROR, DNS_TC), at(1)));
}

static void https_has_a_head_start(void **state)
{
        (void)state;
        struct dns_try tries[DNS_TRIES_MAX];
        size_t n = 0;
        static const char *const texts[] = {"9.9.9.9", "149.112.112.112", "2620:fe::fe", "192.0.2.1"};
        for (size_t i = 0; i < 4; i++)
                assert_int_equal(doh_add(&(struct dns_upstream){.text = texts[i]}, tries, &n), DOH_PLAIN);
        assert_int_equal(n, 5);   /* one URL for all three */
        struct race r;
        race_start(&r, tries, n, false, at(0));
        assert_string_equal(starts(&r, 0), "0p 4u");
        assert_string_equal(starts(&r, 499), "");
        assert_string_equal(starts(&r, 500), "1u 3u");
        assert_string_equal(starts(&r, 700), "2u");
        race_failed(&r, 0, RACE_POST, at(701));
        assert_int_equal(r.state, RACE_RUNNING);
        n = 0;
        assert_int_equal(doh_add(&(struct dns_upstream){.text = "2a07:a8c0::ab:cdef"}, tries, &n), DOH_URL);
        assert_int_equal(n, 1);
        assert_string_equal(tries[0].url, "https://dns.nextdns.io/abcdef");
        race_start(&r, tries, n, false, at(0));
        assert_string_equal(starts(&r, 0), "0p");
        race_failed(&r, 0, RACE_POST, at(1));
        assert_int_equal(r.state, RACE_FAILED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(all_at_once_and_the_first_wins),
                cmocka_unit_test(tcp_follows_silence_and_time_ends),
                cmocka_unit_test(unreachable_ends_at_once),
                cmocka_unit_test(soft_errors_wait_for_the_others),
                cmocka_unit_test(a_cut_answer_is_for_udp_clients_only),
                cmocka_unit_test(https_has_a_head_start),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
