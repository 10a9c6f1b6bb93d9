/* Our resolver as a library, asked one question after the other; the questions are those of tests/interop/resolver,
 * which asks the reference's.  Prints the 50th and 99th percentile of each kind in microseconds, judges nothing.
 *
 * usage: dns_bench UPSTREAM < questions
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/json.h"
#include "base/loop.h"
#include "base/reader.h"
#include "daemon/dns/service.h"

enum { PEERS = 1000, NEVER_MS = 5000 };

static const struct {
        const char *name;
        unsigned rcode;
} kinds[] = {{"a peer", 0}, {"no such peer", 3}, {"an address", 0}, {"forwarded", 0}};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

struct bench {
        struct loop *loop;
        struct dns_service *service;
        struct timer never;
        bool answered;
        unsigned rcode;
};

static void *need(size_t n, size_t size)
{
        void *p = calloc(n, size);
        if (p == NULL)
                abort();
        return p;
}

static struct dns_config *compile(const char *upstream)
{
        static char names[PEERS][40];
        static struct prefix addresses[PEERS];
        static struct dns_node peers[PEERS];
        static const struct prefix own = {{.family = IP_V4, .b = {100, 64, 0, 1}}, 32};
        static const struct dns_node self = {.name = "self.mesh.example.", .addresses = &own, .address_count = 1};
        char text[200];
        for (size_t i = 0; i < PEERS; i++) {
                snprintf(names[i], sizeof(names[i]), "n%zu.mesh.example.", i);
                addresses[i] = (struct prefix){ip_v4(100, 70, (uint8_t)(i >> 8), (uint8_t)i), 32};
                peers[i] = (struct dns_node){.name = names[i], .addresses = &addresses[i], .address_count = 1};
        }
        snprintf(text, sizeof(text), "{\"Proxied\":true,\"Resolvers\":[{\"Addr\":\"%s\"}]}", upstream);
        json_t *map = json_parse(text, strlen(text));
        struct dns_input in = {.map = map, .self = &self, .peers = peers, .peer_count = PEERS, .suffix = "mesh.example",
                .accept_dns = true, .os_split = true};
        struct dns_os_config os;
        struct dns_config *c = dns_compile(&in, &os);
        dns_os_config_free(&os);
        json_decref(map);
        return c;
}

static void on_answer(void *arg, const uint8_t *msg, size_t len, mono_t now)
{
        (void)now;
        struct bench *b = arg;
        b->answered = true;
        b->rcode = len > 3 ? msg[3] & 15u : 99;
        loop_stop(b->loop);
}

static void on_never(struct timer *t, mono_t now)
{
        (void)now;
        loop_stop(container_of(t, struct bench, never)->loop);
}

/* Nanoseconds; ends the program when the answer is not as it should be. */
static int64_t ask(struct bench *b, const uint8_t *msg, size_t len, const char *kind, unsigned rcode)
{
        mono_t start = mono_now();
        b->answered = false;
        if (dns_service_ask(b->service, msg, len, false, on_answer, b, start) != NULL && !b->answered) {
                loop_timer_in(b->loop, &b->never, NEVER_MS);
                loop_run(b->loop);
                loop_timer_stop(&b->never);
        }
        int64_t took = mono_diff_ns(mono_now(), start);
        if (b->answered && b->rcode == rcode)
                return took;
        fprintf(stderr, "dns_bench: %s: %s\n", kind, b->answered ? "another answer" : "no answer");
        exit(1);
}

static int by_size(const void *a, const void *b)
{
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
        return (x > y) - (x < y);
}

static size_t count(struct rd r)
{
        size_t n = 0;
        while (r.left > 0 && rd_ok(&r)) {
                (void)rd_take(&r, rd_be16(&r));
                n++;
        }
        return rd_ok(&r) ? n : 0;
}

int main(int argc, char **argv)
{
        static uint8_t questions[8 << 20];
        struct bench b = {.loop = loop_new()};
        size_t len = fread(questions, 1, sizeof(questions), stdin);
        struct rd r = rd_init(questions, len);
        size_t n = count(r) / KINDS;
        if (argc != 2 || n == 0 || len == sizeof(questions) || crypto_init() != ERR_NONE) {
                fprintf(stderr, "usage: dns_bench UPSTREAM < questions\n");
                return 2;
        }
        timer_init(&b.never, on_never);
        b.service = dns_service_new(b.loop, 256);
        struct dns_config *c = compile(argv[1]);
        if (b.service == NULL || c == NULL)
                abort();
        dns_service_set(b.service, c);
        int64_t *took = need(n, sizeof(*took));
        for (size_t k = 0; k < KINDS; k++) {
                for (size_t i = 0; i < n; i++) {
                        size_t size = rd_be16(&r);
                        const uint8_t *msg = rd_take(&r, size);
                        took[i] = ask(&b, msg, size, kinds[k].name, kinds[k].rcode);
                }
                qsort(took, n, sizeof(*took), by_size);
                printf("%s\t%.2f\t%.2f\n", kinds[k].name, (double)took[n / 2] / 1e3, (double)took[n * 99 / 100] / 1e3);
        }
        free(took);
        dns_service_free(b.service);
        loop_free(b.loop);
        return 0;
}
