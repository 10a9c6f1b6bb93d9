#include "magicsock/derp_client.h"

#include <stdlib.h>

#include "tests/unit/check.h"
#include "tests/unit/derp_vectors.h"

static struct derp_client *c;
static struct key_private client_key;
static struct node_public server_key;
static uint8_t nonce[BOX_NONCE_LEN];
static mono_t now;

#define ANSWER_101 \
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\n\r\n"

static int setup(void **state)
{
        (void)state;
        check_unhex(VEC_CLIENT_PRIVATE, client_key.b, KEY_LEN);
        check_unhex(VEC_SERVER_PUBLIC, server_key.b, KEY_LEN);
        check_unhex(VEC_NONCE, nonce, sizeof(nonce));
        now = (mono_t){NS_PER_SEC};
        c = calloc(1, sizeof(*c));
        return c == NULL ? -1 : 0;
}

static int teardown(void **state)
{
        (void)state;
        derp_client_done(c);
        free(c);
        return 0;
}

static void start(bool home, bool fast)
{
        derp_client_init(c, &(struct derp_client_opts){.host = "relay.example", .port = 443,
                .server = fast ? &server_key : NULL, .node = &client_key, .nonce = nonce, .home = home});
}

static void feed(const void *data, size_t n)
{
        size_t cap;
        uint8_t *in = derp_client_in(c, &cap);
        assert_true(n <= cap);
        memcpy(in, data, n);
        derp_client_fed(c, n);
}

static void feed_text(const char *s)
{
        feed(s, strlen(s));
}

static void feed_hex(const char *hex)
{
        uint8_t b[1024];
        feed(b, check_unhex(hex, b, sizeof(b)));
}

static struct derp_event expect(enum derp_event_kind kind)
{
        struct derp_event ev = derp_client_next(c, now);
        assert_int_equal(ev.kind, kind);
        return ev;
}

static void expect_failed(const char *why)
{
        (void)expect(DERP_EV_FAILED);
        assert_string_equal(c->detail, why);
        (void)expect(DERP_EV_FAILED);   /* and so it stays */
}

static void expect_out_hex(const char *hex)
{
        size_t n;
        const uint8_t *out = derp_client_out(c, &n);
        check_hex(out, n, hex);
        derp_client_sent(c, n);
}

/* Writes the request off and returns it as text. */
static const char *take_request(void)
{
        static char text[2048];
        size_t n;
        const uint8_t *out = derp_client_out(c, &n);
        const uint8_t *end = memmem(out, n, "\r\n\r\n", 4);
        assert_non_null(end);
        n = (size_t)(end - out) + 4;
        memcpy(text, out, n);
        text[n] = '\0';
        derp_client_sent(c, n);
        return text;
}

static void bring_up(void)
{
        start(false, true);
        (void)take_request();
        expect_out_hex(VEC_CLIENT_INFO);
        feed_hex(VEC_SERVER_INFO);
        (void)expect(DERP_EV_UP);
        (void)expect(DERP_EV_NONE);
}

/* A whole frame of n bytes. */
static enum derp_put put(size_t n)
{
        static const uint8_t packet[DERP_OUT_MAX];
        static const struct node_public to;
        uint8_t head[DERP_SEND_HEAD_LEN];
        assert_true(n >= sizeof(head));
        derp_send_head(head, &to, n - sizeof(head));
        return derp_client_put(c, head, packet, n - sizeof(head), now);
}

static void test_upgrade(void **state)
{
        (void)state;
        start(true, false);
        assert_string_equal(take_request(),
                "GET /derp HTTP/1.1\r\nHost: relay.example\r\nUser-Agent: Go-http-client/1.1\r\n"
                "Connection: Upgrade\r\nUpgrade: DERP\r\n\r\n");
        (void)expect(DERP_EV_NONE);
        assert_int_equal(put(41), DERP_PUT_FULL);
        feed_text(ANSWER_101);
        feed_hex(VEC_SERVER_KEY);   /* both in one record */
        (void)expect(DERP_EV_OTHER);
        assert_int_equal(c->state, DERP_CLIENT_LOGIN);
        expect_out_hex(VEC_CLIENT_INFO "070000000101");
        assert_true(key_private_is_zero(&c->priv));
        (void)expect(DERP_EV_NONE);
        feed_hex(VEC_SERVER_INFO);
        (void)expect(DERP_EV_UP);
        feed_hex(VEC_RECV VEC_GONE);
        struct derp_event ev = expect(DERP_EV_RECV);
        check_hex(ev.msg.key.b, KEY_LEN, VEC_CLIENT_PUBLIC);
        check_hex(ev.msg.data, ev.msg.len, "deadbeef");
        assert_int_equal(expect(DERP_EV_GONE).msg.reason, 1);
        (void)expect(DERP_EV_NONE);
}

static void test_request_forms(void **state)
{
        (void)state;
        struct derp_client_opts o = {.host = "2001:db8::1", .port = 8443, .ideal_node = "1a",
                .server = &server_key, .node = &client_key, .nonce = nonce};
        derp_client_init(c, &o);
        assert_string_equal(take_request(),
                "GET /derp HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\nUser-Agent: Go-http-client/1.1\r\n"
                "Connection: Upgrade\r\nDerp-Fast-Start: 1\r\nIdeal-Node: 1a\r\nUpgrade: DERP\r\n\r\n");
        o = (struct derp_client_opts){.host = "h", .port = 80, .plain = true, .node = &client_key, .nonce = nonce};
        derp_client_init(c, &o);
        assert_non_null(strstr(take_request(), "Host: h\r\n"));
        o.host = "h\r\nX-Injected: 1";
        derp_client_init(c, &o);
        expect_failed("the relay map has an unusable host name");
        o.host = "h";
        o.ideal_node = "a\r\nb: c";
        derp_client_init(c, &o);
        assert_null(strstr(take_request(), "Ideal-Node"));
}

static void test_fast_start(void **state)
{
        (void)state;
        start(true, true);
        assert_non_null(strstr(take_request(), "\r\nDerp-Fast-Start: 1\r\n"));
        expect_out_hex(VEC_CLIENT_INFO "070000000101");
        feed_hex(VEC_SERVER_KEY);
        (void)expect(DERP_EV_OTHER);
        feed_hex(VEC_SERVER_INFO);
        (void)expect(DERP_EV_UP);
        feed_hex(VEC_SERVER_INFO);   /* a second one means nothing */
        (void)expect(DERP_EV_OTHER);
}

/* The same conversation cut at every byte gives the same events. */
static void test_byte_by_byte(void **state)
{
        (void)state;
        uint8_t script[1024];
        size_t n = strlen(ANSWER_101);
        enum derp_event_kind seen[16];
        size_t events = 0;
        memcpy(script, ANSWER_101, n);
        n += check_unhex(VEC_SERVER_KEY VEC_SERVER_INFO "0600000000" VEC_RECV "1400000003424144" VEC_GONE,
                script + n, sizeof(script) - n);
        start(false, false);
        for (size_t i = 0; i < n; i++) {
                struct derp_event ev;
                feed(&script[i], 1);
                while ((ev = derp_client_next(c, now)).kind != DERP_EV_NONE) {
                        assert_true(events < 16);
                        assert_int_not_equal(ev.kind, DERP_EV_FAILED);
                        seen[events++] = ev.kind;
                }
        }
        static const enum derp_event_kind want[] = {DERP_EV_OTHER, DERP_EV_UP, DERP_EV_OTHER, DERP_EV_RECV,
                DERP_EV_HEALTH, DERP_EV_GONE};
        assert_int_equal(events, sizeof(want) / sizeof(want[0]));
        assert_memory_equal(seen, want, sizeof(want));
}

static void test_http_refusals(void **state)
{
        (void)state;
        static const struct {
                const char *answer, *why;
        } rows[] = {
                {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "the server is no relay: HTTP status 404"},
                {"HTTP/1.1 x\x1b[m Odd\r\n\r\n", "the server is no relay: HTTP status ???"},
                {"SSH-2.0-OpenSSH_9.2\r\n\r\n", "the server does not speak HTTP"},
                {"\r\n\r\n", "the server does not speak HTTP"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                start(false, false);
                feed_text(rows[i].answer);
                expect_failed(rows[i].why);
        }
        char longer[DERP_HTTP_MAX + 1];
        memset(longer, 'x', sizeof(longer));
        start(false, false);
        feed(longer, sizeof(longer));
        expect_failed("the relay's HTTP answer is too long");
        start(false, true);
        feed_text("HTTP/1.1 404 Not Found\r\n\r\n");
        expect_failed("the server is no relay: it answers in HTTP");
}

static void test_greeting_refused(void **state)
{
        (void)state;
        static const struct {
                const char *hex, *why;
        } key_rows[] = {
                {"010000002844455250f09f9490" VEC_SERVER_PUBLIC, "the server does not greet as a relay"},
                {"0600000000", "the server does not greet as a relay"},
                {"0100000401", NULL},   /* a byte too long: seen when whole */
                {"0100100000", "the relay's greeting is too long"},
                {"01ffffffff", "the relay sent a frame larger than allowed"},
                {"010000002844455250f09f9491"
                 "0000000000000000000000000000000000000000000000000000000000000000",
                        "the relay has an unusable key"},
        };
        for (size_t i = 0; i < sizeof(key_rows) / sizeof(key_rows[0]); i++) {
                start(false, false);
                feed_text(ANSWER_101);
                feed_hex(key_rows[i].hex);
                if (key_rows[i].why != NULL)
                        expect_failed(key_rows[i].why);
                else
                        (void)expect(DERP_EV_NONE);
        }
        static const struct {
                const char *hex, *why;
        } info_rows[] = {
                {"0300000027000102030405060708090a0b0c0d0e0f101112131415161711e118cc364743f90f807d6f5edac2",
                        "the relay's greeting is damaged"},
                {"0300000035010102030405060708090a0b0c0d0e0f101112131415161711e118cc364743f90f807d6f5edac2477e6c26"
                 "c069053c122ea5a24cde",
                        "the relay could not prove its key"},
                {"0300010000", "the relay's greeting is too long"},
        };
        for (size_t i = 0; i < sizeof(info_rows) / sizeof(info_rows[0]); i++) {
                start(false, true);
                feed_hex(info_rows[i].hex);
                expect_failed(info_rows[i].why);
        }
}

/* Nothing is believed before the relay has proved its key. */
static void test_early_frames_ignored(void **state)
{
        (void)state;
        start(false, true);
        (void)take_request();
        expect_out_hex(VEC_CLIENT_INFO);
        feed_hex(VEC_RECV VEC_GONE "1400000003424144" "12000000080102030405060708");
        for (int i = 0; i < 4; i++)
                (void)expect(DERP_EV_OTHER);
        (void)expect(DERP_EV_NONE);
        expect_out_hex("");
}

static void test_unknown_and_damaged_skipped(void **state)
{
        (void)state;
        bring_up();
        feed_hex("7700000003010203" "0800000003010203" "1200000001ff" "0500000002ffff" VEC_RECV);
        for (int i = 0; i < 4; i++)
                (void)expect(DERP_EV_OTHER);
        (void)expect(DERP_EV_RECV);
}

/* Frames larger than the buffer run through it; the largest is 1 MiB. */
static void test_large_frames(void **state)
{
        (void)state;
        static const struct {
                uint8_t type;
                uint32_t len;
                enum derp_event_kind kind;
        } rows[] = {
                {DERP_RECV_PACKET, DERP_IN_MAX - DERP_HEAD_LEN, DERP_EV_RECV},
                {DERP_RECV_PACKET, DERP_IN_MAX - DERP_HEAD_LEN + 1, DERP_EV_LARGE},
                {DERP_RECV_PACKET, 65568, DERP_EV_LARGE},
                {0x55, DERP_FRAME_MAX, DERP_EV_OTHER},
        };
        uint8_t chunk[1000] = {0};
        bring_up();
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                size_t left = rows[i].len, hits = 0;
                uint8_t head[DERP_HEAD_LEN] = {rows[i].type, 0, (uint8_t)(left >> 16), (uint8_t)(left >> 8),
                        (uint8_t)left};
                feed(head, sizeof(head));
                while (left > 0) {
                        struct derp_event ev;
                        size_t n = left < sizeof(chunk) ? left : sizeof(chunk);
                        feed(chunk, n);
                        left -= n;
                        while ((ev = derp_client_next(c, now)).kind != DERP_EV_NONE) {
                                assert_int_equal(ev.kind, rows[i].kind);
                                hits++;
                        }
                }
                assert_int_equal(hits, 1);
                feed_hex(VEC_RECV);
                check_hex(expect(DERP_EV_RECV).msg.data, 4, "deadbeef");
        }
        feed_hex("0500100001");
        expect_failed("the relay sent a frame larger than allowed");
}

static void test_ping_and_home(void **state)
{
        (void)state;
        bring_up();
        feed_hex("12000000080102030405060708");
        (void)expect(DERP_EV_OTHER);
        expect_out_hex("13000000080102030405060708");
        derp_client_set_home(c, false);
        expect_out_hex("");
        derp_client_set_home(c, true);
        derp_client_set_home(c, true);
        derp_client_set_home(c, false);
        expect_out_hex("070000000101" "070000000100");
        uint8_t data[DERP_PING_LEN] = {9};
        derp_client_ping(c, data);
        expect_out_hex("12000000080900000000000000");
}

/* Packets leave room for control frames, and a home that could not be told is told later. */
static void test_full(void **state)
{
        (void)state;
        size_t n = 0, small = 0, len, rest;
        bring_up();
        while (put(1400) == DERP_PUT_OK)
                n++;
        assert_int_equal(n, (DERP_OUT_MAX - 512 - 8192) / 1400);
        while (put(100) == DERP_PUT_OK)   /* small ones find room when large ones do not */
                small++;
        assert_in_range(small, 8192 / 100, (8192 + 1400) / 100);
        derp_client_sent(c, 1400 * (n / 2 + 5));   /* what was sent is room again */
        assert_int_equal(put(1400), DERP_PUT_OK);
        n -= n / 2 + 5 - 1;
        derp_client_set_home(c, true);
        (void)derp_client_out(c, &len);
        assert_int_equal(len, n * 1400 + small * 100 + 6);
        derp_client_sent(c, len - 1);
        for (int i = 0; i < 1000; i++) {   /* a relay that pings without end cannot make us grow */
                feed_hex("12000000080102030405060708");
                (void)expect(DERP_EV_OTHER);
                derp_client_set_home(c, i % 2 != 0);
        }
        derp_client_set_home(c, false);
        (void)derp_client_out(c, &rest);
        assert_true(rest < DERP_OUT_MAX);
        derp_client_sent(c, rest);
        assert_int_equal(c->told_home, false);
        (void)derp_client_out(c, &len);
        derp_client_sent(c, len);
        assert_int_equal(put(1400), DERP_PUT_OK);
        assert_int_equal(put(DERP_OUT_MAX), DERP_PUT_FULL);
}

/* Memory that was given back reads as zeros. */
static size_t bytes_left(const uint8_t *at, size_t n)
{
        size_t left = 0;
        for (size_t i = 0; i < n; i++)
                left += at[i] != 0;
        return left;
}

/* What is in the buffers stays; what was in them leaves no memory taken. */
static void test_tidy(void **state)
{
        (void)state;
        static uint8_t junk[32 * 1024];
        size_t len;
        bring_up();
        assert_false(c->stretched);
        assert_int_equal(put(1400), DERP_PUT_OK);
        assert_false(c->stretched);
        for (int i = 0; i < 20; i++)
                assert_int_equal(put(1400), DERP_PUT_OK);
        assert_true(c->stretched);
        derp_client_tidy(c);
        assert_true(c->stretched);
        uint8_t before = derp_client_out(c, &len)[20 * 1400];
        assert_int_equal(len, 21 * 1400);
        assert_int_equal(before, derp_client_out(c, &len)[0]);
        derp_client_sent(c, len);
        assert_true(bytes_left(c->out + 8192, sizeof(c->out) - 8192) > 0);
        derp_client_tidy(c);
        assert_false(c->stretched);
        assert_int_equal(bytes_left(c->out + 8192, sizeof(c->out) - 8192), 0);

        /* A frame whose end has not come yet. */
        memset(junk, 'x', sizeof(junk));
        feed_hex("0600007000");    /* more than was read */
        feed(junk, 16000);
        (void)expect(DERP_EV_NONE);
        assert_true(c->stretched);
        derp_client_tidy(c);
        assert_true(c->stretched);
        feed(junk, 0x7000 - 16000);
        (void)expect(DERP_EV_OTHER);
        (void)expect(DERP_EV_NONE);
        derp_client_tidy(c);
        assert_false(c->stretched);
        assert_int_equal(bytes_left(c->in + 8192, sizeof(c->in) - 8192), 0);
        feed_hex("12000000080102030405060708");    /* and all goes on */
        (void)expect(DERP_EV_OTHER);
        assert_int_equal(put(1400), DERP_PUT_OK);

        /* A connection that breaks in the middle of a burst leaves it to the next one. */
        for (int i = 0; i < 20; i++)
                assert_int_equal(put(1400), DERP_PUT_OK);
        derp_client_done(c);
        bring_up();
        assert_true(c->stretched);
        (void)derp_client_out(c, &len);
        derp_client_sent(c, len);
        derp_client_tidy(c);
        assert_int_equal(bytes_left(c->out + 8192, sizeof(c->out) - 8192), 0);
}

/* Small frames are told from large ones, also in a stream that never ends. */
static void test_mean(void **state)
{
        (void)state;
        size_t len;
        bring_up();
        assert_int_equal(derp_client_mean(c), 1);
        assert_int_equal(put(1400), DERP_PUT_OK);
        assert_int_equal(put(200), DERP_PUT_OK);
        assert_int_equal(derp_client_mean(c), 800);
        for (int i = 0; i < 10000; i++) {
                assert_int_equal(put(200), DERP_PUT_OK);
                (void)derp_client_out(c, &len);
                derp_client_sent(c, len - 1);
        }
        assert_in_range(derp_client_mean(c), 200, 202);
}

static void test_rate(void **state)
{
        (void)state;
        size_t ok = 0, len;
        start(false, true);
        feed_hex(VEC_SERVER_INFO_RATE);   /* 100 kB/s, burst 200 kB */
        (void)expect(DERP_EV_UP);
        for (int i = 0; i < 300; i++) {
                enum derp_put p = put(1000);
                ok += p == DERP_PUT_OK;
                assert_true(p == DERP_PUT_OK || p == DERP_PUT_RATE);
                (void)derp_client_out(c, &len);
                derp_client_sent(c, len);
        }
        assert_int_equal(ok, 200);
        now = mono_add_ms(now, 9);
        assert_int_equal(put(1000), DERP_PUT_RATE);
        now = mono_add_ms(now, 1);
        assert_int_equal(put(1000), DERP_PUT_OK);
        assert_int_equal(put(1000), DERP_PUT_RATE);
        now = mono_add_ms(now, 3600000);
        for (ok = 0; put(1000) == DERP_PUT_OK; ok++) {
                (void)derp_client_out(c, &len);
                derp_client_sent(c, len);
        }
        assert_int_equal(ok, 200);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(test_upgrade), T(test_request_forms), T(test_fast_start), T(test_byte_by_byte),
                T(test_http_refusals), T(test_greeting_refused), T(test_early_frames_ignored),
                T(test_unknown_and_damaged_skipped), T(test_large_frames), T(test_ping_and_home),
                T(test_full), T(test_tidy), T(test_mean), T(test_rate),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
