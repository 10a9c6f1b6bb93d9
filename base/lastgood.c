#include "base/lastgood.h"

#include <string.h>
#include <strings.h>

#include "base/buf.h"

static struct lastgood_entry *find(struct lastgood *t, const char *host)
{
        for (size_t i = 0; i < LASTGOOD_HOSTS; i++)
                if (t->entries[i].host[0] != '\0' && strcasecmp(t->entries[i].host, host) == 0)
                        return &t->entries[i];
        return NULL;
}

static struct lastgood_entry *oldest(struct lastgood *t)
{
        struct lastgood_entry *e = &t->entries[0];
        for (size_t i = 1; i < LASTGOOD_HOSTS; i++)
                if (t->entries[i].used < e->used)
                        e = &t->entries[i];
        return e;
}

void lastgood_put(struct lastgood *t, const char *host, struct ip ip)
{
        struct ip literal;
        if (host[0] == '\0' || strlen(host) >= LASTGOOD_HOST_MAX || ip_parse(host, &literal) == ERR_NONE ||
                ip.family == IP_NONE)
                return;
        struct lastgood_entry *e = find(t, host);
        if (e == NULL) {
                e = oldest(t);
                *e = (struct lastgood_entry){0};
                (void)str_copy(e->host, sizeof(e->host), host);
        }
        e->used = ++t->turn;
        size_t at = 0;
        while (at < e->count && !ip_eq(e->ips[at], ip))
                at++;
        if (at == e->count && e->count < LASTGOOD_ADDRS)
                e->count++;
        if (at == LASTGOOD_ADDRS)
                at--;
        memmove(&e->ips[1], &e->ips[0], at * sizeof(e->ips[0]));
        e->ips[0] = ip;
}

size_t lastgood_get(const struct lastgood *t, const char *host, struct ip ret[LASTGOOD_ADDRS])
{
        const struct lastgood_entry *e = find((struct lastgood *)(uintptr_t)t, host);
        if (e == NULL)
                return 0;
        memcpy(ret, e->ips, e->count * sizeof(ret[0]));
        return e->count;
}
