/* Answers and events that are made while they are sent. */
#include "daemon/localapi/source.h"
#include "tests/unit/localapi_client.h"

/* Counts: pieces that say their number, and who was let go. */
struct count {
        unsigned at, pieces;
        size_t fill;      /* bytes of each */
        bool too_large;
};

static unsigned asked, freed;

static bool next(void *arg, struct buf *out)
{
        struct count *c = arg;
        asked++;
        buf_printf(out, "%u%*s;", c->at, (int)c->fill, "");
        out->failed |= c->too_large;
        return ++c->at < c->pieces;
}

static void done(void *arg)
{
        freed++;
        free(arg);
}

static struct lapi_source counting(unsigned pieces, size_t fill)
{
        struct count *c = calloc(1, sizeof(*c));
        assert_non_null(c);
        *c = (struct count){.pieces = pieces, .fill = fill};
        return (struct lapi_source){next, done, c};
}

static struct lapi_source answer_source;

static void reply(struct lapi_req *r)
{
        lapi_reply_source(r, 200, "text/plain", answer_source);
}

static void start(struct lapi_source s)
{
        asked = freed = 0;
        answer_source = s;
        t.extra = reply;
}

#define GET_EXTRA "GET /localapi/v0/extra HTTP/1.1\r\nConnection: close\r\n" HOST "\r\n"

/* The bodies of all chunks, one after the other; *ret_whole: the last one came. */
static size_t unchunk(char *body, bool *ret_whole)
{
        char *to = body, *at = body;
        *ret_whole = false;
        for (;;) {
                char *end;
                unsigned long n = strtoul(at, &end, 16);
                if (end == at || end[0] != '\r')
                        break;
                if (n == 0) {
                        *ret_whole = true;
                        break;
                }
                if (strlen(end + 2) < n)
                        break;
                memmove(to, end + 2, n);
                to += n;
                at = end + 2 + n + 2;
        }
        *to = '\0';
        return (size_t)(to - body);
}

static void test_answer(void **state)
{
        (void)state;
        bool whole;
        start(counting(3, 0));
        struct answer a = ask(GET_EXTRA);
        assert_int_equal(a.status, 200);
        assert_string_equal(head_value(&a, "Content-Type"), "text/plain");
        (void)unchunk(a.body, &whole);
        assert_true(whole);
        assert_string_equal(a.body, "0;1;2;");
        assert_int_equal(asked, 3);
        assert_int_equal(freed, 1);
        forget(&a);
        /* More than a chunk holds, of pieces that fit no chunk. */
        start(counting(100, 5000));
        a = ask(GET_EXTRA);
        size_t len = unchunk(a.body, &whole), at = 0;
        assert_true(whole);
        for (unsigned i = 0; i < 100; i++) {
                assert_int_equal(strtoul(a.body + at, NULL, 10), i);
                at += strcspn(a.body + at, ";") + 1;
        }
        assert_int_equal(at, len);
        assert_int_equal(freed, 1);
        forget(&a);
        still_alive();
}

/* Who does not read is asked nothing more for, and who leaves lets everything go. */
static void test_leaves(void **state)
{
        (void)state;
        start(counting(1 << 20, 5000));
        int fd = dial();
        say(fd, GET_EXTRA);
        turn(300);
        assert_in_range(asked, 1, 2000);
        unsigned before = asked;
        turn(100);
        assert_int_equal(asked, before);
        assert_int_equal(freed, 0);
        close(fd);
        turn(20);
        assert_int_equal(freed, 1);
        still_alive();
}

static void test_stopped(void **state)
{
        (void)state;
        start(counting(1 << 20, 5000));
        int fd = dial();
        say(fd, GET_EXTRA);
        turn(20);
        lapi_server_free(t.server);
        t.server = NULL;
        assert_int_equal(freed, 1);
        close(fd);
}

static void test_faults(void **state)
{
        (void)state;
        bool whole;
        start((struct lapi_source){0});   /* memory was short */
        expect("GET /localapi/v0/extra HTTP/1.1\r\n" HOST "\r\n", 500, "out of memory\n");
        start(counting(3, 0));
        ((struct count *)answer_source.arg)->too_large = true;
        struct answer a = ask(GET_EXTRA);
        assert_true(a.closed);
        if (a.body != NULL) {
                (void)unchunk(a.body, &whole);
                assert_false(whole);
        }
        assert_int_equal(freed, 1);
        forget(&a);
        still_alive();
}

static void test_join(void **state)
{
        (void)state;
        bool whole;
        const struct lapi_source parts[] = {lapi_source_text(strdup("<")), counting(2, 0), lapi_source_text(strdup("")),
                counting(1, 0), lapi_source_text(strdup(">"))};
        start(lapi_source_join(parts, 5));
        struct answer a = ask(GET_EXTRA);
        (void)unchunk(a.body, &whole);
        assert_true(whole);
        assert_string_equal(a.body, "<0;1;0;>");
        assert_int_equal(freed, 2);
        forget(&a);
        const struct lapi_source one_is_none[] = {counting(1, 0), {0}, counting(1, 0)};
        freed = 0;
        assert_null(lapi_source_join(one_is_none, 3).arg);
        assert_int_equal(freed, 2);
}

/* ---- as events ---- */

static int stream_client(void)
{
        int fd = dial();
        say(fd, "GET /localapi/v0/bus HTTP/1.1\r\n" HOST "\r\n");
        struct answer a = hear(fd, true);
        assert_int_equal(a.status, 200);
        forget(&a);
        assert_non_null(t.stream);
        return fd;
}

static void test_event(void **state)
{
        (void)state;
        char got[256] = "";
        bool whole;
        int fd = stream_client();
        freed = 0;
        assert_true(lapi_stream_send(t.stream, "first"));
        assert_true(lapi_stream_send_source(t.stream, counting(3, 0), 8, "map"));
        assert_true(lapi_stream_waits(t.stream, "map"));
        assert_false(lapi_stream_waits(t.stream, "other"));
        assert_true(lapi_stream_send(t.stream, "last"));
        turn(20);
        assert_true(recv(fd, got, sizeof(got) - 1, 0) > 0);
        (void)unchunk(got, &whole);
        assert_string_equal(got, "first\n0;1;2;\nlast\n");
        assert_false(lapi_stream_waits(t.stream, "map"));
        assert_int_equal(freed, 1);
        close(fd);
}

/* One that has begun says what was; a later state wants one of its own.  All go with the client. */
static void test_event_begun(void **state)
{
        (void)state;
        int fd = stream_client();
        freed = 0;
        assert_true(lapi_stream_send_source(t.stream, counting(1 << 20, 5000), 8, "map"));
        turn(50);
        assert_false(lapi_stream_waits(t.stream, "map"));
        assert_true(lapi_stream_send_source(t.stream, counting(1, 0), 8, "map"));
        assert_true(lapi_stream_waits(t.stream, "map"));
        assert_int_equal(freed, 0);
        close(fd);
        turn(20);
        assert_int_equal(t.gone, 1);
        assert_int_equal(freed, 2);
}

static void test_event_weighs(void **state)
{
        (void)state;
        int fd = stream_client();
        freed = 0;
        assert_true(lapi_stream_send_source(t.stream, counting(1, 0), LAPI_STREAM_BYTES, NULL));
        assert_false(lapi_stream_send_source(t.stream, counting(1, 0), 1, NULL));
        assert_int_equal(freed, 1);
        close(fd);
}

int main(void)
{
        quiet();
        const struct CMUnitTest tests[] = {
                CASE(test_answer), CASE(test_leaves), CASE(test_stopped), CASE(test_faults), CASE(test_join),
                CASE(test_event), CASE(test_event_begun), CASE(test_event_weighs),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
