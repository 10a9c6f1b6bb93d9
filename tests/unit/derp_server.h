/* tests/unit/derp_server.h - a small DERP relay on loopback, plain HTTP, on the loop of the test.
 *
 * One region's worth: logs clients in and relays between them.  Blocking writes: a test's packets are small.
 */
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/key.h"
#include "base/loop.h"
#include "base/reader.h"
#include "magicsock/derp_frame.h"
#include "tests/unit/check.h"

enum { SRV_CONNS_MAX = 16, SRV_BUF_MAX = 65536 };

/* Runs the loop until the condition holds; fails after a minute. */
#define SRV_UNTIL(l, cond) \
        do { \
                mono_t end_ = mono_add_ms(mono_now(), 60000); \
                while (!(cond)) { \
                        loop_once((l), 20); \
                        assert_false(mono_reached(mono_now(), end_)); \
                } \
        } while (0)

struct srv_conn {
        struct watch watch;
        struct srv *srv;
        int fd;
        enum { SRV_HTTP, SRV_LOGIN, SRV_UP } state;
        struct node_public who;
        bool home;
        size_t len;
        uint8_t buf[SRV_BUF_MAX];
};

struct srv {
        struct loop *loop;
        struct watch watch;
        int fd;
        uint16_t port;
        struct key_private key;
        struct srv_conn *conns[SRV_CONNS_MAX];
        unsigned accepted, logins, pings;
        bool refuse;          /* close at ClientInfo, as a relay does with strangers */
        bool mute;            /* read and say nothing more */
        unsigned relayed;
        const char *status;   /* instead of 101 */
        uint8_t nonce[BOX_NONCE_LEN];   /* of the last ClientInfo */
};

static inline void srv_close(struct srv_conn *k)
{
        loop_unwatch(&k->watch);
        close(k->fd);
        for (size_t i = 0; i < SRV_CONNS_MAX; i++)
                if (k->srv->conns[i] == k)
                        k->srv->conns[i] = NULL;
        free(k);
}

static inline void srv_write(struct srv_conn *k, const void *data, size_t n)
{
        assert_int_equal(write(k->fd, data, n), n);
}

static inline void srv_frame(struct srv_conn *k, uint8_t type, const void *a, size_t an, const void *b, size_t bn)
{
        uint8_t head[DERP_HEAD_LEN] = {type};
        store_be32(head + 1, (uint32_t)(an + bn));
        srv_write(k, head, sizeof(head));
        if (an > 0)
                srv_write(k, a, an);
        if (bn > 0)
                srv_write(k, b, bn);
}

static inline struct srv_conn *srv_find(struct srv *s, const struct node_public *who)
{
        for (size_t i = 0; i < SRV_CONNS_MAX; i++)
                if (s->conns[i] != NULL && s->conns[i]->state == SRV_UP && node_public_eq(&s->conns[i]->who, who))
                        return s->conns[i];
        return NULL;
}

enum { SRV_INFO_LEN = BOX_NONCE_LEN + BOX_TAG_LEN + 13 };

/* The answer to a ClientInfo, which has to open: the body of ServerInfo. */
static inline void srv_info(const struct key_private *key, const uint8_t *p, size_t n, uint8_t out[SRV_INFO_LEN])
{
        static const char INFO[] = "{\"version\":2}";
        uint8_t plain[256];
        struct box_key box;
        assert_true(n > KEY_LEN + BOX_NONCE_LEN + BOX_TAG_LEN && n < sizeof(plain));
        assert_int_equal(box_precompute(&box, p, key->b), ERR_NONE);
        assert_int_equal(box_open(&box, p + KEY_LEN, p + KEY_LEN + BOX_NONCE_LEN, n - KEY_LEN - BOX_NONCE_LEN,
                plain), ERR_NONE);
        crypto_random(out, BOX_NONCE_LEN);
        box_seal(&box, out, INFO, sizeof(INFO) - 1, out + BOX_NONCE_LEN);
}

static inline void srv_login(struct srv_conn *k, const uint8_t *p, size_t n)
{
        uint8_t out[SRV_INFO_LEN];
        srv_info(&k->srv->key, p, n, out);
        assert_memory_not_equal(k->srv->nonce, p + KEY_LEN, BOX_NONCE_LEN);   /* used once */
        memcpy(k->srv->nonce, p + KEY_LEN, BOX_NONCE_LEN);
        memcpy(k->who.b, p, KEY_LEN);
        srv_frame(k, DERP_SERVER_INFO, out, sizeof(out), NULL, 0);
        k->state = SRV_UP;
        k->srv->logins++;
}

/* False: the connection is gone. */
static inline bool srv_on_frame(struct srv_conn *k, uint8_t type, const uint8_t *p, size_t n)
{
        struct srv *s = k->srv;
        struct node_public dst;
        if (type == DERP_CLIENT_INFO && s->refuse) {
                srv_close(k);
                return false;
        }
        if (type == DERP_CLIENT_INFO && k->state == SRV_LOGIN) {
                srv_login(k, p, n);
        } else if (type == DERP_NOTE_PREFERRED) {
                k->home = p[0] == 1;
        } else if (type == DERP_PING) {
                s->pings++;
                if (!s->mute)
                        srv_frame(k, DERP_PONG, p, n, NULL, 0);
        } else if (type == DERP_SEND_PACKET && n >= KEY_LEN) {
                memcpy(dst.b, p, KEY_LEN);
                struct srv_conn *to = srv_find(s, &dst);
                s->relayed++;
                if (to != NULL && !s->mute)
                        srv_frame(to, DERP_RECV_PACKET, k->who.b, KEY_LEN, p + KEY_LEN, n - KEY_LEN);
                else if (!s->mute)
                        srv_frame(k, DERP_PEER_GONE, dst.b, KEY_LEN, "\x01", 1);
        }
        return true;
}

/* False: more bytes are needed, or the connection is gone. */
static inline bool srv_step(struct srv_conn *k)
{
        static const char OK[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n\r\n";
        size_t used;
        if (k->state == SRV_HTTP) {
                uint8_t *end = memmem(k->buf, k->len, "\r\n\r\n", 4);
                struct node_public pub = key_node_public(&k->srv->key);
                if (end == NULL)
                        return false;
                if (k->srv->status != NULL) {
                        srv_write(k, k->srv->status, strlen(k->srv->status));
                        srv_close(k);
                        return false;
                }
                srv_write(k, OK, sizeof(OK) - 1);
                srv_frame(k, DERP_SERVER_KEY, "DERP\xf0\x9f\x94\x91", 8, pub.b, KEY_LEN);
                used = (size_t)(end - k->buf) + 4;
                k->state = SRV_LOGIN;
        } else {
                struct derp_head h;
                if (derp_head_parse(k->buf, k->len, &h) != ERR_NONE || k->len - DERP_HEAD_LEN < h.len)
                        return false;
                if (!srv_on_frame(k, h.type, k->buf + DERP_HEAD_LEN, h.len))
                        return false;
                used = DERP_HEAD_LEN + h.len;
        }
        memmove(k->buf, k->buf + used, k->len - used);
        k->len -= used;
        return true;
}

static inline void srv_on_readable(struct watch *w, unsigned events, mono_t now)
{
        struct srv_conn *k = container_of(w, struct srv_conn, watch);
        (void)events;
        (void)now;
        ssize_t n = read(k->fd, k->buf + k->len, sizeof(k->buf) - k->len);
        if (n <= 0) {
                srv_close(k);
                return;
        }
        k->len += (size_t)n;
        while (srv_step(k))
                continue;
}

static inline void srv_on_accept(struct watch *w, unsigned events, mono_t now)
{
        struct srv *s = container_of(w, struct srv, watch);
        struct srv_conn *k = calloc(1, sizeof(*k));
        (void)events;
        (void)now;
        assert_non_null(k);
        k->srv = s;
        k->fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        assert_true(k->fd >= 0);
        s->accepted++;
        watch_init(&k->watch, srv_on_readable);
        assert_int_equal(loop_watch(s->loop, &k->watch, k->fd, LOOP_READ), ERR_NONE);
        for (size_t i = 0; i < SRV_CONNS_MAX; i++) {
                if (s->conns[i] != NULL)
                        continue;
                s->conns[i] = k;
                return;
        }
        fail_msg("too many connections");
}

/* port 0: any. */
static inline void srv_listen(struct srv *s, struct loop *l, uint16_t port)
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port),
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(a);
        int on = 1;
        s->loop = l;
        s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(s->fd >= 0);
        assert_int_equal(setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
        assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(s->fd, 16), 0);
        assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &len), 0);
        s->port = ntohs(a.sin_port);
        if (key_private_is_zero(&s->key))
                key_generate(&s->key);
        watch_init(&s->watch, srv_on_accept);
        assert_int_equal(loop_watch(l, &s->watch, s->fd, LOOP_READ), ERR_NONE);
}

static inline void srv_stop(struct srv *s)
{
        for (size_t i = 0; i < SRV_CONNS_MAX; i++)
                if (s->conns[i] != NULL)
                        srv_close(s->conns[i]);
        if (s->fd < 0)
                return;
        loop_unwatch(&s->watch);
        close(s->fd);
        s->fd = -1;
}
