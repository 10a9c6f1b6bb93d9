#include "tests/sim/relay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/reader.h"
#include "base/writer.h"
#include "magicsock/derp_frame.h"
#include "tests/sim/trace.h"

enum { STUN_PORT = 3478, QUEUE_BYTES = 256 * 1024, KEEPALIVE_S = 60, TALKED_MAX = 64, FRAME_MAX = 4096 };

struct relay_conn {
        struct relay_conn *next;
        struct relay *relay;
        struct tcp *tcp;
        enum { CONN_HTTP, CONN_LOGIN, CONN_UP } state;
        struct node_public who;
        struct timer keepalive;
        struct node_public talked[TALKED_MAX];   /* told when it is gone */
        size_t talked_count;
        uint8_t *in;
        size_t len, cap;
};

static struct relay *relays[RELAYS_MAX];
static int count;

void (*relay_seen)(struct host *from, struct host *to, const uint8_t *data, size_t len);

static void frame(struct relay_conn *k, uint8_t type, const void *a, size_t an, const void *b, size_t bn)
{
        uint8_t buf[DERP_HEAD_LEN + KEY_LEN + FRAME_MAX];
        if (an + bn > KEY_LEN + FRAME_MAX)
                trace_fail("a packet of %zu bytes for a relay", bn);
        struct wr w = wr_init(buf, sizeof(buf));
        wr_u8(&w, type);
        wr_be32(&w, (uint32_t)(an + bn));
        wr_copy(&w, a, an);
        if (bn > 0)
                wr_copy(&w, b, bn);
        tcp_send(k->tcp, buf, w.len);
}

static struct relay_conn *find(const struct relay *r, const struct node_public *who)
{
        for (struct relay_conn *k = r->conns; k != NULL; k = k->next)
                if (k->state == CONN_UP && node_public_eq(&k->who, who))
                        return k;
        return NULL;
}

bool relay_knows(const struct relay *r, const struct node_public *key)
{
        return find(r, key) != NULL;
}

bool relay_greets(const struct host *h)
{
        for (int i = 0; i < count; i++)
                for (const struct relay_conn *k = relays[i]->conns; k != NULL; k = k->next)
                        if (tcp_host(k->tcp) == h && k->state != CONN_UP)
                                return true;
        return false;
}

static void on_keepalive(struct timer *t, mono_t now)
{
        struct relay_conn *k = container_of(t, struct relay_conn, keepalive);
        frame(k, DERP_KEEP_ALIVE, "", 0, NULL, 0);
        loop_timer_at(clock_world(), t, mono_add_ms(now, KEEPALIVE_S * 1000));
}

static void on_accept(struct tcp *t, void *owner)
{
        struct relay *r = owner;
        struct relay_conn *k = calloc(1, sizeof(*k));
        if (k == NULL)
                abort();
        *k = (struct relay_conn){.next = r->conns, .relay = r, .tcp = t};
        r->conns = k;
        timer_init(&k->keepalive, on_keepalive);
        tcp_set_conn(t, k);
}

static void drop(struct relay_conn *k, bool tell)
{
        struct relay *r = k->relay;
        for (struct relay_conn **at = &r->conns; *at != NULL; at = &(*at)->next) {
                if (*at == k) {
                        *at = k->next;
                        break;
                }
        }
        loop_timer_stop(&k->keepalive);
        for (size_t i = 0; tell && i < k->talked_count; i++) {
                struct relay_conn *to = find(r, &k->talked[i]);
                if (to != NULL && find(r, &k->who) == NULL)
                        frame(to, DERP_PEER_GONE, k->who.b, KEY_LEN, "\0", 1);
        }
        free(k->in);
        free(k);
}

static void on_close(struct tcp *t, void *conn)
{
        (void)t;
        drop(conn, true);
}

static void login(struct relay_conn *k, const uint8_t *p, size_t n)
{
        static const char INFO[] = "{\"version\":2}";
        uint8_t plain[512], out[BOX_NONCE_LEN + BOX_TAG_LEN + sizeof(INFO) - 1];
        struct box_key box;
        if (n <= KEY_LEN + BOX_NONCE_LEN + BOX_TAG_LEN || n > sizeof(plain) ||
                box_precompute(&box, p, k->relay->key.b) != ERR_NONE ||
                box_open(&box, p + KEY_LEN, p + KEY_LEN + BOX_NONCE_LEN, n - KEY_LEN - BOX_NONCE_LEN, plain) != ERR_NONE) {
                trace_fail("a relay cannot open what a client says of itself");
                return;
        }
        crypto_random(out, BOX_NONCE_LEN);
        box_seal(&box, out, INFO, sizeof(INFO) - 1, out + BOX_NONCE_LEN);
        memcpy(k->who.b, p, KEY_LEN);
        k->state = CONN_UP;
        frame(k, DERP_SERVER_INFO, out, sizeof(out), NULL, 0);
        loop_timer_at(clock_world(), &k->keepalive, mono_add_ms(clock_now(), KEEPALIVE_S * 1000));
        trace_line("%-4s is on relay %d", tcp_host(k->tcp)->name, k->relay->region);
}

static void note_talk(struct relay_conn *k, const struct node_public *with)
{
        for (size_t i = 0; i < k->talked_count; i++)
                if (node_public_eq(&k->talked[i], with))
                        return;
        if (k->talked_count < TALKED_MAX)
                k->talked[k->talked_count++] = *with;
}

static void pass_on(struct relay_conn *k, const uint8_t *p, size_t n)
{
        struct node_public dst;
        memcpy(dst.b, p, KEY_LEN);
        struct relay_conn *to = find(k->relay, &dst);
        if (to == NULL) {
                frame(k, DERP_PEER_GONE, dst.b, KEY_LEN, "\x01", 1);
                return;
        }
        if (tcp_waiting(to->tcp) > QUEUE_BYTES)
                return;
        note_talk(k, &dst);
        note_talk(to, &k->who);
        struct host *a = tcp_host(k->tcp), *b = tcp_host(to->tcp);
        static const char *const word[] = {"stun", "disco", "handshake", "data", "other"};
        trace_line("%-4s by relay %d to %s: %s %zu", a->name, k->relay->region, b->name,
                word[wire_class_of(p + KEY_LEN, n - KEY_LEN)], n - KEY_LEN);
        if (relay_seen != NULL)
                relay_seen(a, b, p + KEY_LEN, n - KEY_LEN);
        frame(to, DERP_RECV_PACKET, k->who.b, KEY_LEN, p + KEY_LEN, n - KEY_LEN);
}

static void on_frame(struct relay_conn *k, uint8_t type, const uint8_t *p, size_t n)
{
        if (type == DERP_CLIENT_INFO && k->state == CONN_LOGIN)
                login(k, p, n);
        else if (type == DERP_PING && n == DERP_PING_LEN)
                frame(k, DERP_PONG, p, n, NULL, 0);
        else if (type == DERP_SEND_PACKET && n > KEY_LEN && k->state == CONN_UP)
                pass_on(k, p, n);
}

/* How many bytes were a whole thing; 0: more are needed. */
static size_t step(struct relay_conn *k, const uint8_t *at, size_t len)
{
        static const char OK[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n\r\n";
        if (k->state == CONN_HTTP) {
                const uint8_t *end = memmem(at, len, "\r\n\r\n", 4);
                struct node_public pub = key_node_public(&k->relay->key);
                if (end == NULL)
                        return 0;
                tcp_send(k->tcp, OK, sizeof(OK) - 1);
                frame(k, DERP_SERVER_KEY, "DERP\xf0\x9f\x94\x91", 8, pub.b, KEY_LEN);
                k->state = CONN_LOGIN;
                return (size_t)(end - at) + 4;
        }
        struct derp_head h;
        if (derp_head_parse(at, len, &h) != ERR_NONE || len - DERP_HEAD_LEN < h.len)
                return 0;
        on_frame(k, h.type, at + DERP_HEAD_LEN, h.len);
        return DERP_HEAD_LEN + h.len;
}

static void on_bytes(struct tcp *t, void *conn, const uint8_t *data, size_t len)
{
        (void)t;
        struct relay_conn *k = conn;
        if (k->len + len > k->cap) {
                k->cap = (k->len + len) * 2;
                k->in = realloc(k->in, k->cap);
                if (k->in == NULL)
                        abort();
        }
        memcpy(k->in + k->len, data, len);
        k->len += len;
        size_t used = 0, n;
        while ((n = step(k, k->in + used, k->len - used)) > 0)
                used += n;
        memmove(k->in, k->in + used, k->len - used);
        k->len -= used;
}

/* ---- STUN ---- */

static void answer_stun(void *owner, struct addr src, struct addr dst, const uint8_t *data, size_t len)
{
        struct relay *r = owner;
        uint8_t out[64];
        bool v4 = src.ip.family == IP_V4;
        if ((!r->tcp.up && !r->stun_stays) || dst.port != STUN_PORT || len < 20)
                return;
        struct wr w = wr_init(out, sizeof(out));
        wr_be16(&w, 0x0101);
        wr_be16(&w, v4 ? 12 : 24);
        wr_copy(&w, data + 4, 16);   /* cookie and transaction */
        wr_be16(&w, 0x0001);
        wr_be16(&w, v4 ? 8 : 20);
        wr_be16(&w, v4 ? 1 : 2);
        wr_be16(&w, src.port);
        wr_copy(&w, src.ip.b, v4 ? 4 : 16);
        net_send_from_server(dst, src, out, w.len, 2 * r->tcp.far_ns);
}

/* ---- the relays ---- */

void relay_reset(void)
{
        count = 0;
        net_to_server = answer_stun;
}

struct relay *relay_add(int region)
{
        struct relay *r = calloc(1, sizeof(*r));
        if (r == NULL || count == RELAYS_MAX)
                abort();
        r->region = region;
        r->tcp = (struct tcp_server){.up = true, .on_accept = on_accept, .on_bytes = on_bytes, .on_close = on_close};
        key_generate(&r->key);
        net_server(&r->v4, &r->v6, r);
        relays[count++] = r;
        return r;
}

struct relay *relay_at(int region)
{
        for (int i = 0; i < count; i++)
                if (relays[i]->region == region)
                        return relays[i];
        return NULL;
}

int relay_count(void)
{
        return count;
}

void relay_done(void)
{
        for (int i = 0; i < count; i++) {
                while (relays[i]->conns != NULL)
                        drop(relays[i]->conns, false);
                free(relays[i]);
        }
        count = 0;
}

struct derpmap *relay_map(void)
{
        struct derpmap *m = calloc(1, sizeof(*m));
        struct derp_region *r = calloc((size_t)count, sizeof(*r));
        if (m == NULL || r == NULL)
                abort();
        m->region_count = (size_t)count;
        m->regions = r;
        for (int i = 0; i < count; i++) {
                struct derp_node *n = calloc(1, sizeof(*n));
                if (n == NULL)
                        abort();
                snprintf(n->name, sizeof(n->name), "%da", relays[i]->region);
                snprintf(n->hostname, sizeof(n->hostname), "derp%d.example", relays[i]->region);
                (void)ip_str(relays[i]->v4, n->ipv4);
                (void)ip_str(relays[i]->v6, n->ipv6);
                n->stun_port = STUN_PORT;
                n->derp_port = 443;
                r[i] = (struct derp_region){.id = relays[i]->region, .score = 1, .node_count = 1, .nodes = n};
                snprintf(r[i].code, sizeof(r[i].code), "r%d", relays[i]->region);
        }
        return m;
}

void relay_stop(struct relay *r, bool loud)
{
        r->tcp.up = false;
        r->tcp.refuses = loud;
        trace_line("relay %d stops%s", r->region, loud ? "" : " without a word");
        while (r->conns != NULL) {
                struct tcp *t = r->conns->tcp;
                drop(r->conns, false);
                if (loud)
                        tcp_close(t);
                else
                        tcp_abandon(t);
        }
}

void relay_start(struct relay *r)
{
        r->tcp.up = true;
        trace_line("relay %d is back", r->region);
}
