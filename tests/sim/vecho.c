/* Hosts that may not ask by ICMP: nobody is further away than UDP or HTTPS says. */
#include "magicsock/echo.h"

struct echo *echo_new(struct loop *l, uint32_t mark, void (*answered)(void *arg, uint32_t id, int64_t rtt_ns, mono_t now), void *arg)
{
        (void)mark;
        (void)answered;
        (void)arg;
        return (struct echo *)l;   /* is not looked into */
}

void echo_free(struct echo *e)
{
        (void)e;
}

bool echo_ask(struct echo *e, uint32_t id, struct ip to, const char *word, mono_t now)
{
        (void)e;
        (void)id;
        (void)to;
        (void)word;
        (void)now;
        return false;
}

void echo_forget(struct echo *e)
{
        (void)e;
}
