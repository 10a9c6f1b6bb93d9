/* libmicrohttpd on our loop, over socket pairs: answers now and later, hang-ups, bounds, an end in the middle.  Server and
 * client share one thread: reading an answer turns the loop. */
#include "daemon/http/httpd.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/check.h"

enum { BODY_MAX = 100, CONNECTIONS_MAX = 4 };

struct req {
        struct httpd_req http;
        int chunks_left;
};

static struct {
        struct loop *loop;
        struct httpd *h;
        enum { AT_ONCE, LATER, WITHOUT_MEMORY, TWICE, CHUNKS } mode;
        int routed, ended, connected, disconnected;
        bool refusing, last_too_big;
        char last_body[BODY_MAX + 1];
        struct req *held;
} t;

static struct MHD_Response *text(const char *s)
{
        return MHD_create_response_from_buffer(strlen(s), (void *)(uintptr_t)s, MHD_RESPMEM_PERSISTENT);
}

static ssize_t read_chunk(void *cls, uint64_t pos, char *out, size_t max)
{
        (void)pos;
        (void)max;
        struct req *r = cls;
        if (r->http.dead)
                return MHD_CONTENT_READER_END_WITH_ERROR;
        if (r->chunks_left == 0) {
                httpd_suspend(&r->http);
                return 0;
        }
        r->chunks_left--;
        out[0] = 'c';
        return 1;
}

static void route(void *arg, struct httpd_req *http, const char *url, const char *method)
{
        assert_ptr_equal(arg, &t);
        struct req *r = container_of(http, struct req, http);
        assert_int_equal(r->chunks_left, 0);
        assert_string_equal(url, "/x");
        assert_true(strcmp(method, "GET") == 0 || strcmp(method, "POST") == 0);
        assert_true(httpd_fd(http) >= 0);
        t.routed++;
        t.last_too_big = http->too_big;
        snprintf(t.last_body, sizeof(t.last_body), "%s", http->body.data != NULL ? http->body.data : "");
        t.held = r;
        switch (t.mode) {
        case AT_ONCE:
                httpd_answer(http, 200, text("now"));
                break;
        case TWICE:
                httpd_answer(http, 200, text("first"));
                httpd_answer(http, 500, text("second"));
                httpd_answer(http, 500, NULL);
                break;
        case WITHOUT_MEMORY:
                httpd_answer(http, 200, NULL);
                break;
        case CHUNKS:
                r->chunks_left = 2;
                httpd_answer(http, 200, MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 64, read_chunk, r, NULL));
                break;
        case LATER:
                break;
        }
}

static void on_end(void *arg, struct httpd_req *http)
{
        assert_ptr_equal(arg, &t);
        if (&t.held->http == http)
                t.held = NULL;
        t.ended++;
}

static void *on_connect(void *arg, int fd)
{
        assert_ptr_equal(arg, &t);
        assert_true(fd >= 0);
        t.connected += !t.refusing;
        return t.refusing ? NULL : &t.connected;
}

static void on_disconnect(void *arg, void *what)
{
        assert_ptr_equal(arg, &t);
        assert_ptr_equal(what, &t.connected);
        t.disconnected++;
}

static int set_up(void **state)
{
        (void)state;
        static const struct httpd_config c = {
                .listen_fd = -1,
                .connections_max = CONNECTIONS_MAX,
                .connection_bytes = 4096,
                .idle_s = 60,
                .body_max = BODY_MAX,
                .req_size = sizeof(struct req),
                .on_connect = on_connect,
                .on_disconnect = on_disconnect,
                .route = route,
                .on_end = on_end,
        };
        memset(&t, 0, sizeof(t));
        t.loop = loop_new();
        t.h = t.loop != NULL ? httpd_new(t.loop, &c, &t) : NULL;
        return t.h == NULL;
}

static int tear_down(void **state)
{
        (void)state;
        httpd_free(t.h);
        loop_free(t.loop);
        return t.routed == t.ended && t.connected == t.disconnected ? 0 : -1;   /* each of them once */
}

/* first: what is there to read when the server hears of the connection. */
static int dial_with(const char *first)
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        int fd[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
        assert_int_equal(send(fd[0], first, strlen(first), MSG_NOSIGNAL), strlen(first));
        httpd_add(t.h, fd[1], (struct sockaddr *)&sa, sizeof(sa));
        httpd_run(t.h);
        return fd[0];
}

static int dial(void)
{
        return dial_with("");
}

static void turn(int rounds)
{
        for (int i = 0; i < rounds; i++)
                loop_once(t.loop, 0);
}

static void say(int fd, const char *s)
{
        (void)send(fd, s, strlen(s), MSG_NOSIGNAL);
        turn(20);
}

/* All that comes until there is nothing more to do; ret_closed: the server hung up. */
static const char *hear(int fd, bool *ret_closed)
{
        static char out[8192];
        size_t n = 0;
        ssize_t got;
        turn(20);
        while ((got = recv(fd, out + n, sizeof(out) - n - 1, 0)) > 0) {
                n += (size_t)got;
                turn(20);
        }
        *ret_closed = got == 0 || errno != EAGAIN;
        out[n] = '\0';
        return out;
}

static void answered(int fd, const char *status, const char *body)
{
        bool closed;
        const char *got = hear(fd, &closed), *at = strstr(got, "\r\n\r\n");
        assert_false(closed);
        assert_non_null(at);
        assert_int_equal(strncmp(got + strlen("HTTP/1.1 "), status, strlen(status)), 0);
        assert_string_equal(at + 4, body);
}

static void hung_up(int fd)
{
        bool closed;
        assert_string_equal(hear(fd, &closed), "");
        assert_true(closed);
        close(fd);
}

#define GET "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"

static void at_once(void **state)
{
        (void)state;
        int fd = dial();
        for (int i = 1; i <= 3; i++) {   /* one after the other on one connection */
                say(fd, GET);
                answered(fd, "200", "now");
                assert_int_equal(t.routed, i);
                assert_int_equal(t.ended, i);
        }
        close(fd);
        turn(20);
        assert_int_equal(t.disconnected, 1);
}

static void later(void **state)
{
        (void)state;
        int fd = dial();
        t.mode = LATER;
        say(fd, GET);
        assert_non_null(t.held);
        assert_int_equal(t.ended, 0);
        httpd_answer(&t.held->http, 404, text("late"));
        answered(fd, "404", "late");
        assert_int_equal(t.ended, 1);
        say(fd, GET);
        httpd_drop(&t.held->http);
        hung_up(fd);
}

static void first_answer_counts(void **state)
{
        (void)state;
        int fd = dial();
        t.mode = TWICE;
        say(fd, GET);
        answered(fd, "200", "first");
        close(fd);
}

/* Rather than leave the client waiting. */
static void no_memory_hangs_up(void **state)
{
        (void)state;
        int fd = dial();
        t.mode = WITHOUT_MEMORY;
        say(fd, GET);
        hung_up(fd);
        fd = dial();
        t.mode = LATER;
        say(fd, GET);
        httpd_answer(&t.held->http, 200, NULL);
        hung_up(fd);
}

static void chunks(void **state)
{
        (void)state;
        bool closed;
        int fd = dial();
        t.mode = CHUNKS;
        say(fd, GET);
        assert_non_null(strstr(hear(fd, &closed), "\r\n\r\n1\r\nc\r\n1\r\nc\r\n"));
        assert_false(closed);
        assert_string_equal(hear(fd, &closed), "");
        t.held->chunks_left = 1;
        httpd_resume(&t.held->http);
        httpd_resume(&t.held->http);   /* once is enough */
        assert_string_equal(hear(fd, &closed), "1\r\nc\r\n");
        httpd_drop(&t.held->http);
        hung_up(fd);
}

static void bodies(void **state)
{
        (void)state;
        static const struct {
                size_t len;
                bool too_big;
        } rows[] = {{0, false}, {1, false}, {BODY_MAX, false}, {BODY_MAX + 1, true}, {BODY_MAX + 21, true}, {5000, true}};
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char head[100], body[5001];
                int fd = dial();
                memset(body, 'b', rows[i].len);
                body[rows[i].len] = '\0';
                snprintf(head, sizeof(head), "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", rows[i].len);
                say(fd, head);
                for (size_t at = 0; at < rows[i].len; at += 40) {   /* in pieces: none of them is too big */
                        char piece[41];
                        snprintf(piece, sizeof(piece), "%.40s", body + at);
                        say(fd, piece);
                }
                answered(fd, "200", "now");
                assert_int_equal(t.last_too_big, rows[i].too_big);
                assert_int_equal(strlen(t.last_body), rows[i].too_big ? 80 : rows[i].len);
                close(fd);
                turn(20);
        }
}

/* What it sent is not looked at, even if it was there first. */
static void refused(void **state)
{
        (void)state;
        t.refusing = true;
        hung_up(dial_with(GET));
        t.refusing = false;
        int fd = dial();
        say(fd, GET);
        answered(fd, "200", "now");
        close(fd);
        assert_int_equal(t.routed, 1);
        assert_int_equal(t.connected, 1);
}

static void full(void **state)
{
        (void)state;
        int fd[CONNECTIONS_MAX];
        for (int i = 0; i < CONNECTIONS_MAX; i++)
                fd[i] = dial();
        int more = dial();
        say(more, GET);
        hung_up(more);
        close(fd[0]);
        turn(20);
        fd[0] = dial();
        for (int i = 0; i < CONNECTIONS_MAX; i++) {
                say(fd[i], GET);
                answered(fd[i], "200", "now");
                close(fd[i]);
        }
}

static void cut_anywhere(void **state)
{
        (void)state;
        t.mode = LATER;
        for (size_t n = 0; n <= strlen(GET); n++) {
                char part[sizeof(GET)];
                int fd = dial();
                snprintf(part, n + 1, "%s", GET);
                say(fd, part);
                assert_int_equal(t.routed, n == strlen(GET));
                close(fd);
                turn(20);
        }
}

/* The end comes while one lies unread, one is half-way, one waits for its answer, and one is read from. */
static void free_in_the_middle(void **state)
{
        int fd[CONNECTIONS_MAX];
        for (int i = 0; i < CONNECTIONS_MAX; i++)
                fd[i] = dial();
        t.mode = LATER;
        say(fd[1], "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n123");
        say(fd[2], GET);
        t.mode = CHUNKS;
        say(fd[3], GET);
        assert_int_equal(t.routed, 2);
        (void)send(fd[0], GET, strlen(GET), MSG_NOSIGNAL);
        httpd_free(t.h);
        t.h = NULL;
        assert_int_equal(t.routed, 2);
        assert_int_equal(t.ended, 2);
        assert_int_equal(t.disconnected, CONNECTIONS_MAX);
        for (int i = 0; i < CONNECTIONS_MAX; i++)
                close(fd[i]);
        assert_int_equal(tear_down(state), 0);
        assert_int_equal(set_up(state), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(at_once, set_up, tear_down),
                cmocka_unit_test_setup_teardown(later, set_up, tear_down),
                cmocka_unit_test_setup_teardown(first_answer_counts, set_up, tear_down),
                cmocka_unit_test_setup_teardown(no_memory_hangs_up, set_up, tear_down),
                cmocka_unit_test_setup_teardown(chunks, set_up, tear_down),
                cmocka_unit_test_setup_teardown(bodies, set_up, tear_down),
                cmocka_unit_test_setup_teardown(refused, set_up, tear_down),
                cmocka_unit_test_setup_teardown(full, set_up, tear_down),
                cmocka_unit_test_setup_teardown(cut_anywhere, set_up, tear_down),
                cmocka_unit_test_setup_teardown(free_in_the_middle, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
