/* The forwarder with real sockets on the loopback: a server of a few lines, alive, silent, lying or gone. */
#include "daemon/dns/forward.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crypto.h"
#include "tests/unit/dns_msg.h"

enum habit { GOOD, SILENT, WRONG_ID, CUT, REFUSE, GARBAGE };

struct server {
        struct fixture *f;
        enum habit habit;
        struct watch udp, tcp, conn;
        uint8_t in[700];
        size_t got;
        uint16_t port;
        int asked_udp, asked_tcp;
        size_t data_len;
        uint16_t last_udp_id;
};

struct fixture {
        struct loop *loop;
        struct dialer *dialer;
        struct dns_forwarder *fw;
        struct server a, b;
        uint8_t msg[400], answer[8192];
        struct dns_query q;
        struct dns_try tries[2];
        struct dns_route route;
        size_t len;
        int answers;
};

static size_t make_answer(struct server *s, const uint8_t *q, size_t len, uint8_t *out, size_t cap, bool tcp)
{
        struct dns_query parsed;
        uint8_t data[4000] = {0};
        assert_int_equal(dns_query_parse(q, len, &parsed), DNS_PARSED);
        uint16_t flags = s->habit == REFUSE ? 0x8185 : s->habit == CUT && !tcp ? 0x8380 : 0x8180;
        return msg_answer(out, cap, q, parsed.question_len, (uint16_t)(parsed.id + (s->habit == WRONG_ID)), flags,
                DNS_TXT, 60, flags == 0x8180 ? data : NULL, s->data_len ? s->data_len : 4);
}

static void on_udp(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct server *s = container_of(w, struct server, udp);
        struct sockaddr_in from;
        socklen_t from_len = sizeof(from);
        uint8_t q[700], out[4200] = {0};
        ssize_t n = recvfrom(w->fd, q, sizeof(q), 0, (struct sockaddr *)&from, &from_len);
        if (n < 0)
                return;
        s->asked_udp++;
        s->last_udp_id = load_be16(q);
        if (s->habit == SILENT)
                return;
        size_t len = s->habit == GARBAGE ? 3 : make_answer(s, q, (size_t)n, out, sizeof(out), false);
        assert_int_equal(sendto(w->fd, out, len, 0, (struct sockaddr *)&from, from_len), len);
}

static void on_conn(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct server *s = container_of(w, struct server, conn);
        uint8_t out[4200];
        ssize_t n = recv(w->fd, s->in + s->got, sizeof(s->in) - s->got, 0);
        int fd = w->fd;
        if (n > 0)
                s->got += (size_t)n;
        if (n > 0 && (s->got < 2 || s->got < 2u + load_be16(s->in)))
                return;
        if (n > 0) {
                size_t len = make_answer(s, s->in + 2, s->got - 2, out + 2, sizeof(out) - 2, true);
                store_be16(out, (uint16_t)len);
                for (size_t i = 0; i < len + 2; i += 700)   /* in pieces */
                        (void)!send(fd, out + i, len + 2 - i < 700 ? len + 2 - i : 700, MSG_NOSIGNAL);
        }
        loop_unwatch(w);
        close(fd);
}

static void on_accept(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct server *s = container_of(w, struct server, tcp);
        int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK);
        assert_true(fd >= 0);
        s->asked_tcp++;
        s->got = 0;
        if (s->habit == SILENT || s->conn.fd >= 0 || loop_watch(s->f->loop, &s->conn, fd, LOOP_READ) != ERR_NONE)
                close(fd);
}

static void server_open(struct fixture *f, struct server *s)
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(a);
        s->f = f;
        watch_init(&s->udp, on_udp);
        watch_init(&s->tcp, on_accept);
        watch_init(&s->conn, on_conn);
        int tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        assert_int_equal(bind(tcp, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(getsockname(tcp, (struct sockaddr *)&a, &len), 0);
        assert_int_equal(bind(udp, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(tcp, 8), 0);
        s->port = ntohs(a.sin_port);
        assert_int_equal(loop_watch(f->loop, &s->udp, udp, LOOP_READ), ERR_NONE);
        assert_int_equal(loop_watch(f->loop, &s->tcp, tcp, LOOP_READ), ERR_NONE);
}

static void watch_close(struct watch *w)
{
        int fd = w->fd;
        loop_unwatch(w);
        if (fd >= 0)
                close(fd);
}

static void server_close(struct server *s)
{
        watch_close(&s->udp);
        watch_close(&s->tcp);
        watch_close(&s->conn);
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        assert_int_equal(crypto_init(), ERR_NONE);
        f->loop = loop_new();
        f->dialer = dialer_new(f->loop);
        f->fw = dns_forwarder_new(f->loop, f->dialer, 256);
        server_open(f, &f->a);
        server_open(f, &f->b);
        f->tries[0].addr = (struct addr){ip_v4(127, 0, 0, 1), f->a.port};
        f->tries[1].addr = (struct addr){ip_v4(127, 0, 0, 1), f->b.port};
        f->route = (struct dns_route){.tries = f->tries, .try_count = 1};
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        dns_forwarder_free(f->fw);
        server_close(&f->a);
        server_close(&f->b);
        dialer_free(f->dialer);
        loop_free(f->loop);
        free(f);
        return 0;
}

static void on_answer(void *arg, const uint8_t *msg, size_t len, mono_t now)
{
        (void)now;
        struct fixture *f = arg;
        f->answers++;
        f->len = len;
        assert_true(len >= DNS_HEADER && len <= sizeof(f->answer));
        memcpy(f->answer, msg, len);
        assert_true(dns_answers(f->answer, len, &f->q, f->q.id));
}

static struct dns_forward *ask(struct fixture *f, const char *name, uint16_t size, bool tcp)
{
        size_t n = msg_query(f->msg, sizeof(f->msg), 0x4321, name, DNS_TXT, size);
        assert_int_equal(dns_query_parse(f->msg, n, &f->q), DNS_PARSED);
        return dns_forward_start(f->fw, &f->q, &f->route, tcp, on_answer, f, mono_now());
}

static void wait_answers(struct fixture *f, int want)
{
        for (int i = 0; i < 1000 && f->answers < want; i++)
                loop_once(f->loop, 20);
        assert_int_equal(f->answers, want);
}

static void an_answer_comes_back_with_its_id(void **state)
{
        struct fixture *f = *state;
        assert_non_null(ask(f, "Name.example", 1232, false));
        wait_answers(f, 1);
        assert_int_equal(dns_rcode(f->answer), DNS_NOERROR);
        assert_memory_equal(f->answer + DNS_HEADER, f->msg + DNS_HEADER, f->q.question_len);
        assert_null(ask(f, "NAME.example", 1232, false));   /* from the cache, at once */
        assert_int_equal(f->answers, 2);
        assert_int_equal(f->a.asked_udp, 1);
        dns_forwarder_flush(f->fw);
        assert_non_null(ask(f, "NAME.example", 1232, false));
        wait_answers(f, 3);
        assert_int_equal(f->a.asked_udp, 2);
}

static void ids_differ_from_the_clients(void **state)
{
        struct fixture *f = *state;
        int same = 0;
        for (int i = 0; i < 8; i++) {
                char name[30];
                snprintf(name, sizeof(name), "n%d.example", i);
                assert_non_null(ask(f, name, 0, false));
                wait_answers(f, i + 1);
                same += f->a.last_udp_id == f->q.id;
        }
        assert_true(same < 4);
}

static void the_living_upstream_wins(void **state)
{
        struct fixture *f = *state;
        f->route.try_count = 2;
        f->a.habit = SILENT;
        assert_non_null(ask(f, "name.example", 0, false));
        wait_answers(f, 1);
        assert_int_equal(dns_rcode(f->answer), DNS_NOERROR);
        assert_int_equal(f->a.asked_udp, 1);
        f->a.habit = REFUSE;
        assert_non_null(ask(f, "other.example", 0, false));
        wait_answers(f, 2);
        assert_int_equal(dns_rcode(f->answer), DNS_NOERROR);
}

static void a_dead_upstream_is_answered_at_once(void **state)
{
        struct fixture *f = *state;
        server_close(&f->a);
        mono_t began = mono_now();
        ask(f, "name.example", 0, false);
        wait_answers(f, 1);
        assert_int_equal(dns_rcode(f->answer), DNS_SERVFAIL);
        assert_true(mono_diff_ms(mono_now(), began) < 2000);
}

static void a_guess_is_ignored_and_tcp_asked(void **state)
{
        struct fixture *f = *state;
        f->a.habit = WRONG_ID;
        struct dns_forward *w = ask(f, "name.example", 0, false);
        for (int i = 0; i < 10; i++)
                loop_once(f->loop, 10);
        assert_int_equal(f->answers, 0);
        assert_int_equal(f->a.asked_udp, 1);
        dns_forward_cancel(w);
        f->a.habit = GARBAGE;   /* nothing sensible by UDP, but TCP answers after two seconds */
        assert_non_null(ask(f, "name.example", 0, false));
        wait_answers(f, 1);
        assert_int_equal(f->a.asked_tcp, 1);
        assert_int_equal(dns_rcode(f->answer), DNS_NOERROR);
}

static void long_answers(void **state)
{
        struct fixture *f = *state;
        f->a.data_len = 3000;
        assert_non_null(ask(f, "big.example", 1232, false));
        wait_answers(f, 1);
        assert_true(dns_truncated(f->answer) && f->len <= 1232);
        assert_non_null(ask(f, "big.example", 1232, true));
        wait_answers(f, 2);
        assert_false(dns_truncated(f->answer));
        assert_true(f->len > 3000);
        f->a.habit = CUT;
        assert_non_null(ask(f, "cut.example", 1232, false));
        wait_answers(f, 3);
        assert_true(dns_truncated(f->answer));   /* the client comes again by TCP */
        assert_non_null(ask(f, "cut.example", 1232, true));
        wait_answers(f, 4);
        assert_true(!dns_truncated(f->answer) && f->len > 3000);
}

/* ---- over HTTP: a server that reads one request and answers it ---- */

struct web {
        struct fixture *f;
        struct watch listen, conn;
        char in[2000];
        size_t got;
        int status;
        bool post, typed;
};

static void on_web(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct web *s = container_of(w, struct web, conn);
        ssize_t n = recv(w->fd, s->in + s->got, sizeof(s->in) - 1 - s->got, 0);
        int fd = w->fd;
        if (n > 0)
                s->got += (size_t)n;
        char *body = memmem(s->in, s->got, "\r\n\r\n", 4);
        if (n > 0 && (body == NULL || s->got - (size_t)(body + 4 - s->in) < s->f->q.len))
                return;
        if (n > 0) {
                uint8_t out[600], answer[400];
                s->post = strncmp(s->in, "POST /dns-query ", 16) == 0;
                s->typed = strstr(s->in, "Content-Type: application/dns-message\r\n") != NULL &&
                        strstr(s->in, "Accept: application/dns-message\r\n") != NULL;
                assert_int_equal(load_be16((uint8_t *)body + 4), 0);   /* the id is nothing */
                size_t len = msg_answer(answer, sizeof(answer), (uint8_t *)body + 4, s->f->q.question_len, 0, 0x8180,
                        DNS_TXT, 60, "\3web", 4);
                int head = snprintf((char *)out, sizeof(out), "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n", s->status,
                        len);
                memcpy(out + head, answer, len);
                assert_int_equal(send(fd, out, (size_t)head + len, MSG_NOSIGNAL), (size_t)head + len);
        }
        loop_unwatch(w);
        close(fd);
}

static void on_web_accept(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct web *s = container_of(w, struct web, listen);
        s->got = 0;
        memset(s->in, 0, sizeof(s->in));
        assert_int_equal(loop_watch(s->f->loop, &s->conn, accept4(w->fd, NULL, NULL, SOCK_NONBLOCK), LOOP_READ), ERR_NONE);
}

static void over_http(void **state)
{
        struct fixture *f = *state;
        struct web web = {.f = f, .status = 200};
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(a);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        watch_init(&web.listen, on_web_accept);
        watch_init(&web.conn, on_web);
        assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(fd, 8), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
        assert_int_equal(loop_watch(f->loop, &web.listen, fd, LOOP_READ), ERR_NONE);
        snprintf(f->tries[0].url, sizeof(f->tries[0].url), "http://127.0.0.1:%u/dns-query", ntohs(a.sin_port));
        assert_non_null(ask(f, "Web.example", 1232, false));
        wait_answers(f, 1);
        assert_int_equal(dns_rcode(f->answer), DNS_NOERROR);
        assert_memory_equal(f->answer + f->len - 4, "\3web", 4);
        assert_true(web.post && web.typed);
        web.status = 503;   /* a failure, and the other upstream is still there */
        f->route.try_count = 2;
        f->tries[1].delay_ms = 100;
        assert_non_null(ask(f, "other.example", 1232, false));
        wait_answers(f, 2);
        assert_int_equal(dns_rcode(f->answer), DNS_NOERROR);
        assert_int_equal(f->b.asked_udp, 1);
        f->route.try_count = 1;
        assert_non_null(ask(f, "third.example", 1232, false));
        wait_answers(f, 3);
        assert_int_equal(dns_rcode(f->answer), DNS_SERVFAIL);
        watch_close(&web.listen);
        watch_close(&web.conn);
}

static void too_many_are_refused_not_forgotten(void **state)
{
        struct fixture *f = *state;
        f->a.habit = SILENT;
        for (int i = 0; i < DNS_IN_FLIGHT_MAX + 50; i++) {
                char name[30];
                snprintf(name, sizeof(name), "n%d.example", i);
                assert_true((ask(f, name, 0, false) != NULL) == (i < DNS_IN_FLIGHT_MAX));
        }
        assert_int_equal(f->answers, 50);
        assert_int_equal(dns_rcode(f->answer), DNS_SERVFAIL);
        assert_int_equal(dns_forwarder_counters(f->fw).too_many, 50);
        dns_forwarder_free(f->fw);   /* with all of them on their way */
        f->fw = dns_forwarder_new(f->loop, f->dialer, 256);
        assert_int_equal(f->answers, 50);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(an_answer_comes_back_with_its_id),
                TEST(ids_differ_from_the_clients),
                TEST(the_living_upstream_wins),
                TEST(a_dead_upstream_is_answered_at_once),
                TEST(a_guess_is_ignored_and_tcp_asked),
                TEST(long_answers),
                TEST(over_http),
                TEST(too_many_are_refused_not_forgotten),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
