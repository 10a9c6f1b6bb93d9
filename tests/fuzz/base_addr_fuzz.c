/* Address, pair and prefix text: what is taken must survive being written and read again. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
        if (!held)
                abort();
}

static void try_ip(const char *s)
{
        struct ip ip, again;
        char text[IP_STR_MAX];
        if (ip_parse(s, &ip) != ERR_NONE)
                return;
        must(ip_parse(ip_str(ip, text), &again) == ERR_NONE && ip_eq(ip, again));
}

static void try_addr(const char *s)
{
        struct addr a, again;
        char text[ADDR_STR_MAX];
        if (addr_parse(s, &a) != ERR_NONE)
                return;
        must(addr_parse(addr_str(a, text), &again) == ERR_NONE && addr_eq(a, again));
}

static void try_prefix(const char *s)
{
        struct prefix p, again;
        char text[PREFIX_STR_MAX];
        if (prefix_parse(s, &p) != ERR_NONE)
                return;
        must(p.bits <= ip_bits(p.ip) && prefix_contains(p, p.ip));
        must(prefix_parse(prefix_str(p, text), &again) == ERR_NONE && prefix_eq(p, again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *s = malloc(size + 1);
        must(s != NULL);
        if (size > 0)
                memcpy(s, data, size);
        s[size] = '\0';
        try_ip(s);
        try_addr(s);
        try_prefix(s);
        free(s);
        return 0;
}
