#include "daemon/dns/osconfig.h"

#include <stdlib.h>
#include <string.h>

bool dns_strings_add(char ***list, size_t *count, const char *s)
{
        char **longer = realloc(*list, (*count + 1) * sizeof(*longer));
        if (longer == NULL)
                return false;
        *list = longer;
        if ((longer[*count] = strdup(s)) == NULL)
                return false;
        (*count)++;
        return true;
}

void dns_strings_free(char **list, size_t count)
{
        for (size_t i = 0; i < count; i++)
                free(list[i]);
        free(list);
}

bool dns_strings_eq(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
        bool same = a_count == b_count;
        for (size_t i = 0; same && i < a_count; i++)
                same = strcmp(a[i], b[i]) == 0;
        return same;
}

/* ---- ---- */

void dns_os_config_free(struct dns_os_config *c)
{
        free(c->nameservers);
        dns_strings_free(c->search, c->search_count);
        dns_strings_free(c->match, c->match_count);
        *c = (struct dns_os_config){0};
}

bool dns_os_config_eq(const struct dns_os_config *a, const struct dns_os_config *b)
{
        bool same = a->nameserver_count == b->nameserver_count;
        for (size_t i = 0; same && i < a->nameserver_count; i++)
                same = ip_eq(a->nameservers[i], b->nameservers[i]);
        return same && dns_strings_eq(a->search, a->search_count, b->search, b->search_count) &&
                dns_strings_eq(a->match, a->match_count, b->match, b->match_count);
}

bool dns_os_config_is_empty(const struct dns_os_config *c)
{
        return c->nameserver_count == 0 && c->search_count == 0 && c->match_count == 0;
}

bool dns_os_config_add_server(struct dns_os_config *c, struct ip ip)
{
        for (size_t i = 0; i < c->nameserver_count; i++)
                if (ip_eq(c->nameservers[i], ip))
                        return true;
        struct ip *longer = realloc(c->nameservers, (c->nameserver_count + 1) * sizeof(ip));
        if (longer == NULL)
                return false;
        c->nameservers = longer;
        longer[c->nameserver_count++] = ip;
        return true;
}

bool dns_os_config_add_search(struct dns_os_config *c, const char *domain)
{
        return dns_strings_add(&c->search, &c->search_count, domain);
}
