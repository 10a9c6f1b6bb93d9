/* wg/ over one UDP socket, on a clock of its own, told by lines on stdin what to do.
 *
 *   usage: wireguard_peer KEY ADDRESS:PORT SPEED
 *
 * KEY (nodekey:...) is the one peer, 10.9.0.1 its only inner address, 10.9.0.2 ours.  The first line of output
 * is our public key and UDP port.  Then each line is a command, answered by one line of figures in JSON:
 *
 *   figures              nothing but the answer
 *   echo COUNT MS LEN    COUNT echo requests, one every MS of our clock, LEN bytes of checked data each
 *   foreign              an echo request from 10.9.9.9, which is not ours
 *   again out|in TYPE    the last message of this type (1 initiation .. 4 data) that was sent is sent again,
 *                        or the last one received is received again
 *   load MS              we are under load from now on, for MS of our clock
 *   flood COUNT          initiations with a correct mac1 and junk inside
 *   forge COUNT          from now on, as many forged responses ahead of each true one, in both directions
 *   speed N
 *
 * UDP datagrams that arrive are sent back.  Our clock runs SPEED times as fast as the real one, but not while the
 * other side owes us an answer to an initiation or to many echo requests: how fast it is, on a busy machine, has
 * nothing to do with our clock.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/reader.h"
#include "wg/cookie.h"
#include "wg/device.h"
#include "wg/message.h"
#include "wg/noise.h"

enum {
        SLOT = 0,
        POOL = 1024,
        BATCH = 64,
        STALL_MS = 10,          /* a longer one of ours is not the peer's fault: the clock stands still */
        OWED_MAX = 16,
        SEQ_MAX = 65536,
        ICMP_AT = 20,           /* no IP options */
        DATA_AT = 28,
        DATA_MAX = 1252,
        TYPES = MSG_DATA + 1,   /* by type; [0] = keepalives, which are not in [4] */
};

struct datagram {
        size_t len;
        uint8_t b[PKT_DATA_MAX];
};

struct world {
        struct pkt_pool *pool;
        struct wg *wg;
        struct noise_remote us, them;   /* for the keys of messages forged to either */
        int fd;
        struct sockaddr_storage to;
        socklen_t to_len;
        struct wg_source from;

        int64_t speed;
        mono_t real, now;
        bool asked;                     /* an initiation of ours is unanswered */
        mono_t load_until;
        unsigned forged;                /* ahead of each true response */

        unsigned sent[TYPES], received[TYPES], accepted[WG_DATA + 1];
        unsigned sent_mac2, received_mac2;
        mono_t initiated_at, soonest;   /* the last initiation; the shortest time between two */
        struct datagram last_out[TYPES], last_in[TYPES];

        unsigned echo_left, echo_sent, echo_answered, echo_wrong, echo_twice, served;
        int64_t echo_every_ms;
        size_t echo_len;
        mono_t echo_at;
        uint16_t seq;
        bool awaited[SEQ_MAX];
};

static void die(const char *what)
{
        fprintf(stderr, "wireguard_peer: %s\n", what);
        exit(1);
}

/* ---- The clock ---- */

static bool owed(const struct world *w)
{
        uint64_t had = w->echo_answered + w->echo_wrong + wg_drops(w->wg, WG_DROP_EXPIRED);
        return w->asked || w->echo_sent >= had + OWED_MAX;
}

static void tick(struct world *w)
{
        mono_t real = mono_now();
        int64_t passed = mono_diff_ns(real, w->real);
        if (passed > STALL_MS * NS_PER_MS)
                passed = STALL_MS * NS_PER_MS;
        w->now = mono_add_ns(w->now, passed * (owed(w) ? 1 : w->speed));
        w->real = real;
}

/* ---- Out ---- */

static bool has_mac2(const uint8_t *msg, size_t len)
{
        static const uint8_t none[MSG_MAC_LEN];
        return memcmp(msg + msg_mac2_at(len), none, sizeof(none)) != 0;
}

/* The place of a message in the tables by type. */
static unsigned type_of(const uint8_t *msg, size_t len)
{
        int type = msg_classify(msg, len);
        return type == MSG_DATA && len == MSG_DATA_MIN_LEN ? 0 : (unsigned)type;
}

static void send_bytes(struct world *w, const uint8_t *b, size_t len)
{
        if (sendto(w->fd, b, len, 0, (const struct sockaddr *)&w->to, w->to_len) < 0)
                die(strerror(errno));
}

static void transmit(struct world *w, struct pkt *p)
{
        const uint8_t *msg = pkt_cdata(p);
        unsigned type = type_of(msg, p->len);
        w->sent[type]++;
        if (type == MSG_INITIATION) {
                int64_t since = mono_diff_ns(w->now, w->initiated_at);
                if (w->sent[type] > 1 && since < w->soonest.ns)
                        w->soonest.ns = since;
                w->initiated_at = w->now;
                w->asked = true;
                w->sent_mac2 += has_mac2(msg, p->len);
        }
        w->last_out[type].len = p->len;
        memcpy(w->last_out[type].b, msg, p->len);
        send_bytes(w, msg, p->len);
        pkt_release(w->pool, p);
}

/* What the owner of a struct wg does at the end of each round. */
static void settle(struct world *w)
{
        struct wg_out out;
        if (mono_reached(w->now, wg_deadline(w->wg)))
                wg_expire(w->wg, w->now, wall_now_ns());
        while (wg_next_out(w->wg, &out))
                transmit(w, out.p);
}

static void send_inner(struct world *w, struct pkt *p)
{
        if (wg_seal(w->wg, SLOT, &p, 1, w->now) == 1)
                transmit(w, p);
}

/* ---- Echo ---- */

static uint16_t checksum(const uint8_t *b, size_t n)
{
        uint32_t sum = 0;
        for (size_t i = 0; i < n; i++)
                sum += i % 2 == 0 ? (uint32_t)b[i] << 8 : b[i];
        while (sum >> 16 != 0)
                sum = (sum & 0xffff) + (sum >> 16);
        return (uint16_t)~sum;
}

/* The data of request number seq, which differs from that of its neighbours. */
static uint8_t pattern(uint16_t seq, size_t at)
{
        return (uint8_t)(seq * 7u + at * 31u + (at >> 8));
}

static void echo_request(struct world *w, struct ip from, size_t len)
{
        struct pkt *p = pkt_get(w->pool);
        if (p == NULL)
                die("no packets left");
        uint8_t *ip = pkt_put(p, DATA_AT + len);
        memset(ip, 0, DATA_AT);
        ip[0] = 0x45;
        store_be16(ip + 2, (uint16_t)(DATA_AT + len));
        ip[8] = 64;
        ip[9] = IPPROTO_ICMP;
        memcpy(ip + 12, from.b, 4);
        memcpy(ip + 16, (const uint8_t[]){10, 9, 0, 1}, 4);
        store_be16(ip + 10, checksum(ip, ICMP_AT));
        ip[ICMP_AT] = 8;
        store_be16(ip + ICMP_AT + 6, w->seq);
        for (size_t i = 0; i < len; i++)
                ip[DATA_AT + i] = pattern(w->seq, i);
        store_be16(ip + ICMP_AT + 2, checksum(ip + ICMP_AT, p->len - (size_t)ICMP_AT));
        w->awaited[w->seq++] = true;
        send_inner(w, p);
}

static void send_due_echoes(struct world *w)
{
        while (w->echo_left > 0 && mono_reached(w->now, w->echo_at)) {
                w->echo_left--;
                w->echo_sent++;
                w->echo_at = mono_add_ms(w->echo_at, w->echo_every_ms);
                echo_request(w, ip_v4(10, 9, 0, 2), w->echo_len);
        }
}

/* An answer to one of our requests. */
static void echo_reply(struct world *w, const uint8_t *ip, size_t len)
{
        uint16_t seq = load_be16(ip + ICMP_AT + 6);
        bool good = len == DATA_AT + w->echo_len;
        for (size_t i = DATA_AT; good && i < len; i++)
                good = ip[i] == pattern(seq, i - DATA_AT);
        if (!good)
                w->echo_wrong++;
        else if (!w->awaited[seq])
                w->echo_twice++;
        else
                w->echo_answered++;
        w->awaited[seq] = false;
}

static void swap(uint8_t *a, uint8_t *b, size_t n)
{
        uint8_t kept[4];
        memcpy(kept, a, n);
        memcpy(a, b, n);
        memcpy(b, kept, n);
}

/* An inner packet that came out; consumes it. */
static void inner(struct world *w, struct pkt *p)
{
        uint8_t *ip = pkt_data(p);
        bool whole = p->len >= DATA_AT && ip[0] == 0x45;
        if (whole && ip[9] == IPPROTO_UDP) {   /* back; that leaves its checksums right */
                swap(ip + 12, ip + 16, 4);
                swap(ip + ICMP_AT, ip + ICMP_AT + 2, 2);
                w->served++;
                send_inner(w, p);
                return;
        }
        if (whole && ip[9] == IPPROTO_ICMP && ip[ICMP_AT] == 0)
                echo_reply(w, ip, p->len);
        pkt_release(w->pool, p);
}

/* ---- In ---- */

static void open_bytes(struct world *w, const uint8_t *b, size_t len)
{
        struct pkt *p = pkt_get(w->pool);
        if (p == NULL)
                die("no packets left");
        memcpy(pkt_put(p, len), b, len);
        struct wg_in in = {.p = p, .src = &w->from};
        wg_open(w->wg, &in, 1, w->now);
        w->accepted[in.verdict]++;
        if (in.verdict == WG_HANDSHAKE && type_of(b, len) == MSG_RESPONSE)
                w->asked = false;
        if (in.verdict == WG_DATA)
                inner(w, p);
        else
                pkt_release(w->pool, p);
        settle(w);
}

static void forged_response(const struct noise_remote *to, uint32_t index, uint8_t ret[MSG_RESPONSE_LEN], mono_t now)
{
        static const struct cookie_jar none;
        crypto_random(ret, MSG_RESPONSE_LEN);
        store_le32(ret, MSG_RESPONSE);
        store_le32(ret + MSG_RESPONSE_RECEIVER, index);
        cookie_add_macs(to->mac1_key, &none, ret, MSG_RESPONSE_LEN, now);
}

/* What somebody on the path would do who wants this handshake to fail. */
static void interfere(struct world *w, unsigned type, const uint8_t *msg)
{
        uint8_t b[MSG_RESPONSE_LEN];
        for (unsigned i = 0; i < w->forged; i++) {
                if (type == MSG_RESPONSE) {
                        forged_response(&w->us, load_le32(msg + MSG_RESPONSE_RECEIVER), b, w->now);
                        open_bytes(w, b, sizeof(b));
                } else if (type == MSG_INITIATION) {
                        forged_response(&w->them, load_le32(msg + MSG_SENDER), b, w->now);
                        send_bytes(w, b, sizeof(b));
                }
        }
}

static void receive(struct world *w)
{
        struct datagram d;
        for (int i = 0; i < BATCH; i++) {
                struct sockaddr_storage from;
                socklen_t from_len = sizeof(from);
                ssize_t n = recvfrom(w->fd, d.b, sizeof(d.b), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
                if (n < 0)
                        return;
                d.len = (size_t)n;
                w->from = (struct wg_source){.addr = addr_from_sockaddr((const struct sockaddr *)&from)};
                unsigned type = type_of(d.b, d.len);
                w->received[type]++;
                if (type == MSG_INITIATION || type == MSG_RESPONSE)
                        w->received_mac2 += has_mac2(d.b, d.len);
                w->last_in[type] = d;
                interfere(w, type, d.b);
                open_bytes(w, d.b, d.len);
        }
}

static void flood(struct world *w, unsigned count)
{
        static const struct cookie_jar none;
        uint8_t msg[MSG_INITIATION_LEN];
        while (count-- > 0) {
                crypto_random(msg, sizeof(msg));
                store_le32(msg, MSG_INITIATION);
                cookie_add_macs(w->them.mac1_key, &none, msg, sizeof(msg), w->now);
                send_bytes(w, msg, sizeof(msg));
        }
}

/* ---- Commands and figures ---- */

static void figures(const struct world *w)
{
        struct wg_peer_stats s = {0};
        (void)wg_peer_stats(w->wg, SLOT, w->now, wall_now_ns(), &s);
        printf("{\"now\":%.3f,\"session\":%s,\"soonest\":%.3f", (double)w->now.ns / 1e9, s.session ? "true" : "false",
                (double)w->soonest.ns / 1e9);
        for (int i = 0; i < 2; i++) {
                const unsigned *t = i == 0 ? w->sent : w->received;
                printf(",\"%s\":{\"keepalive\":%u,\"initiation\":%u,\"response\":%u,\"cookie\":%u,\"data\":%u,\"mac2\":%u}",
                        i == 0 ? "sent" : "received", t[0], t[1], t[2], t[3], t[4],
                        i == 0 ? w->sent_mac2 : w->received_mac2);
        }
        printf(",\"accepted\":{\"cookie\":%u,\"handshake\":%u,\"keepalive\":%u,\"data\":%u}", w->accepted[WG_COOKIE],
                w->accepted[WG_HANDSHAKE], w->accepted[WG_KEEPALIVE], w->accepted[WG_DATA]);
        printf(",\"echo\":{\"left\":%u,\"sent\":%u,\"answered\":%u,\"wrong\":%u,\"twice\":%u,\"served\":%u}",
                w->echo_left, w->echo_sent, w->echo_answered, w->echo_wrong, w->echo_twice, w->served);
        printf(",\"drops\":{");
        for (unsigned i = 0; i < WG_DROP_COUNT; i++)
                printf("%s\"%s\":%llu", i > 0 ? "," : "", wg_drop_str((enum wg_drop)i),
                        (unsigned long long)wg_drops(w->wg, (enum wg_drop)i));
        printf("}}\n");
        fflush(stdout);
}

static void again(struct world *w, const char *way, unsigned type)
{
        const struct datagram *d = way[0] == 'o' ? &w->last_out[type] : &w->last_in[type];
        if (d->len == 0)
                die("no such message was seen");
        if (way[0] == 'o')
                send_bytes(w, d->b, d->len);
        else
                open_bytes(w, d->b, d->len);
}

static void obey(struct world *w, const char *line)
{
        char way[4];
        unsigned a, b, c;
        if (sscanf(line, "echo %u %u %u", &a, &b, &c) == 3 && c <= DATA_MAX) {
                w->echo_left = a;
                w->echo_every_ms = b;
                w->echo_len = c;
                w->echo_at = w->now;
        } else if (sscanf(line, "again %3s %u", way, &a) == 2 && a < TYPES) {
                again(w, way, a);
        } else if (sscanf(line, "load %u", &a) == 1) {
                w->load_until = mono_add_ms(w->now, a);
        } else if (sscanf(line, "flood %u", &a) == 1) {
                flood(w, a);
        } else if (sscanf(line, "forge %u", &a) == 1) {
                w->forged = a;
        } else if (sscanf(line, "speed %u", &a) == 1) {
                w->speed = a;
        } else if (strcmp(line, "foreign\n") == 0) {
                echo_request(w, ip_v4(10, 9, 9, 9), w->echo_len);
        } else if (strcmp(line, "figures\n") != 0) {
                die("unknown command");
        }
        figures(w);
}

static void open_socket(struct world *w, const char *to)
{
        struct addr peer;
        struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(own);
        if (addr_parse(to, &peer) != ERR_NONE)
                die("ADDRESS:PORT is malformed");
        w->to_len = addr_to_sockaddr(peer, &w->to);
        w->fd = socket(AF_INET, SOCK_DGRAM, 0);
        if (w->fd < 0 || bind(w->fd, (const struct sockaddr *)&own, len) != 0 ||
                getsockname(w->fd, (struct sockaddr *)&own, &len) != 0)
                die(strerror(errno));
        w->from.addr = peer;
        printf(" %u\n", ntohs(own.sin_port));
        fflush(stdout);
}

static void set_up(struct world *w, const char *key)
{
        struct key_private priv;
        struct node_public peer;
        struct prefix allowed = prefix_of(ip_v4(10, 9, 0, 1));
        char text[KEY_TEXT_MAX];
        if (crypto_init() != ERR_NONE || node_public_parse(key, &peer) != ERR_NONE)
                die("KEY is malformed");
        key_generate(&priv);
        struct node_public us = key_node_public(&priv);
        noise_remote_set(&w->us, &us);
        noise_remote_set(&w->them, &peer);
        w->pool = pkt_pool_new(POOL);
        w->wg = w->pool != NULL ? wg_new(w->pool, 1) : NULL;
        if (w->wg == NULL)
                die("out of memory");
        wg_set_identity(w->wg, &priv);
        wg_set_mtu(w->wg, 1280);
        key_wipe(&priv);
        if (wg_peer_set(w->wg, SLOT, &peer, &allowed, 1) != ERR_NONE)
                die("the peer was refused");
        w->real = mono_now();
        w->now = (mono_t){1000 * NS_PER_SEC};
        w->soonest = MONO_NEVER;
        printf("%s", node_public_text(&us, text));
}

int main(int argc, char **argv)
{
        static struct world w;
        if (argc != 4 || (w.speed = atoi(argv[3])) < 1)
                die("usage: wireguard_peer KEY ADDRESS:PORT SPEED");
        set_up(&w, argv[1]);
        open_socket(&w, argv[2]);
        for (;;) {
                struct pollfd fds[2] = {{.fd = w.fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
                char line[80];
                if (poll(fds, 2, 1) < 0)
                        die(strerror(errno));
                tick(&w);
                if (w.now.ns < w.load_until.ns)
                        wg_note_load(w.wg, w.now);
                receive(&w);
                send_due_echoes(&w);
                settle(&w);
                if (fds[1].revents != 0) {
                        ssize_t n = read(STDIN_FILENO, line, sizeof(line) - 1);   /* whoever asks waits for the answer */
                        if (n <= 0)
                                break;
                        line[n] = '\0';
                        obey(&w, line);
                        settle(&w);
                }
        }
        wg_free(w.wg);
        pkt_pool_free(w.pool);
        close(w.fd);
        return 0;
}
