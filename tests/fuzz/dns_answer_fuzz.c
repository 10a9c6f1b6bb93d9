/* Answers of anything from an upstream: what is believed belongs to the question, and what the cache gives back does
 * too. */
#include <stdlib.h>
#include <string.h>

#include "daemon/dns/cache.h"
#include "daemon/dns/race.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
        if (!held)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const uint8_t query[] = "\0\1\1\0\0\1\0\0\0\0\0\0\3big\7example\0\0\20\0\1";
        static const struct dns_try plain = {.addr = {{IP_V4, {192, 0, 2, 1}}, 53}};
        mono_t now = {NS_PER_SEC};
        struct dns_query q;
        struct race r;
        size_t way;
        enum race_leg leg;
        must(dns_query_parse(query, sizeof(query) - 1, &q) == DNS_PARSED);
        if (!dns_answers(data, size, &q, 1))
                return 0;
        race_start(&r, &plain, 1, false, now);
        must(race_next(&r, now, &way, &leg) && leg == RACE_UDP);
        (void)race_answer(&r, 0, RACE_UDP, data, now);
        must(r.state != RACE_RUNNING);
        struct dns_cache *c = dns_cache_new(1, 256);
        uint8_t out[DNS_CACHE_MSG_MAX];
        must(c != NULL);
        dns_cache_put(c, &q, data, size, now);
        for (int i = 0; i < 3; i++) {
                size_t n = dns_cache_get(c, &q, out, mono_add_ms(now, i * 1000));
                must(n == 0 || (n == size && dns_answers(out, n, &q, 1)));
        }
        dns_cache_free(c);
        uint8_t *copy = malloc(size);
        must(copy != NULL);
        memcpy(copy, data, size);
        size_t n = dns_truncate(copy, size, DNS_UDP_MIN);
        must(n <= DNS_UDP_MIN || n == size);
        must(dns_answers(copy, n, &q, 1));
        free(copy);
        return 0;
}
