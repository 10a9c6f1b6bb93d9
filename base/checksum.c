#include "base/checksum.h"

#include <arpa/inet.h>
#include <string.h>

static uint64_t load64(const uint8_t *p)
{
        uint64_t v;
        memcpy(&v, p, sizeof(v));
        return v;
}

/* Both halves of v; of 2^32 such values the sum cannot overflow. */
static uint64_t halves(uint64_t v)
{
        return (v & UINT32_MAX) + (v >> 32);
}

/* One's complement addition does not care how wide its digits are: 32 bits at a time into 64, which the compiler
 * turns into vectors, is the same sum. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
        !defined(__SANITIZE_THREAD__)
__attribute__((target_clones("avx2", "default"), optimize("O3")))
#endif
static uint64_t
sum_words(const uint8_t *p, size_t words)
{
        uint64_t sum = 0;
        for (size_t i = 0; i < words; i++)
                sum += halves(load64(p + 8 * i));
        return sum;
}

/* Up to 7 bytes, as if a zero followed an odd one. */
static uint64_t sum_tail(const uint8_t *p, size_t n)
{
        uint64_t sum = 0;
        uint32_t four;
        uint16_t two;
        if (n & 4) {
                memcpy(&four, p, 4);
                sum += four;
                p += 4;
        }
        if (n & 2) {
                memcpy(&two, p, 2);
                sum += two;
                p += 2;
        }
        if (n & 1) {
                uint8_t last[2] = {*p, 0};
                memcpy(&two, last, 2);
                sum += two;
        }
        return sum;
}

uint64_t sum_add(uint64_t sum, const void *data, size_t n)
{
        const uint8_t *p = data;
        size_t words = n / 8;
        if (words > 0)
                sum += sum_words(p, words);
        return sum + sum_tail(p + 8 * words, n % 8);
}

uint64_t sum_add_u16(uint64_t sum, uint16_t v)
{
        return sum + htons(v);
}

uint64_t sum_pseudo(const uint8_t *src, const uint8_t *dst, size_t ip_len, uint8_t proto)
{
        return sum_add_u16(sum_add(sum_add(0, src, ip_len), dst, ip_len), proto);
}

uint16_t sum_fold(uint64_t sum)
{
        sum = halves(sum);
        sum = halves(sum);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

void ip4_checksum(uint8_t *ip, size_t len)
{
        memset(ip + 10, 0, 2);
        uint16_t sum = (uint16_t)~sum_fold(sum_add(0, ip, len));
        memcpy(ip + 10, &sum, sizeof(sum));
}
