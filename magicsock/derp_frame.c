#include "magicsock/derp_frame.h"

#include <string.h>

#include "base/json.h"
#include "base/reader.h"

static const uint8_t MAGIC[8] = {0x44, 0x45, 0x52, 0x50, 0xf0, 0x9f, 0x94, 0x91};
static const char CLIENT_INFO_JSON[] = "{\"version\":2,\"CanAckPings\":true}";

enum {
        CLIENT_INFO_JSON_LEN = sizeof(CLIENT_INFO_JSON) - 1,
        CLIENT_INFO_LEN = KEY_LEN + BOX_NONCE_LEN + BOX_TAG_LEN + CLIENT_INFO_JSON_LEN,
        SERVER_INFO_JSON_MAX = 4096,
        BURST_MIN = DERP_SEND_HEAD_LEN + DERP_PACKET_MAX,   /* one whole frame must pass */
};

enum err derp_head_parse(const void *data, size_t len, struct derp_head *ret)
{
        struct rd r = rd_init(data, len);
        struct derp_head h = {.type = rd_u8(&r), .len = rd_be32(&r)};
        if (!rd_ok(&r))
                return ERR_SHORT;
        if (h.len > DERP_FRAME_MAX)
                return ERR_FORMAT;
        *ret = h;
        return ERR_NONE;
}

static void take_rest(struct rd *r, struct derp_msg *m)
{
        m->len = r->left;
        m->data = rd_take(r, r->left);
}

static enum err parse_server_key(struct rd *r, struct derp_msg *m)
{
        uint8_t magic[sizeof(MAGIC)];
        if (r->left > DERP_SERVER_KEY_MAX)
                return ERR_FORMAT;
        rd_copy(r, magic, sizeof(magic));
        rd_copy(r, m->key.b, KEY_LEN);
        if (rd_ok(r) && memcmp(magic, MAGIC, sizeof(MAGIC)) != 0)
                return ERR_FORMAT;
        return ERR_NONE;   /* bytes behind the key are for the future */
}

static enum err parse_server_info(struct rd *r, struct derp_msg *m)
{
        if (r->left < BOX_NONCE_LEN + BOX_TAG_LEN)
                return ERR_SHORT;
        take_rest(r, m);
        return ERR_NONE;
}

static enum err parse_recv(struct rd *r, struct derp_msg *m)
{
        rd_copy(r, m->key.b, KEY_LEN);
        if (rd_ok(r) && r->left > DERP_PACKET_MAX)
                return ERR_FORMAT;
        if (rd_ok(r))
                take_rest(r, m);
        return ERR_NONE;
}

enum err derp_msg_parse(uint8_t type, const void *payload, size_t len, struct derp_msg *ret)
{
        struct rd r = rd_init(payload, len);
        struct derp_msg m = {.type = (enum derp_type)type};
        enum err e = ERR_NONE;
        switch (type) {
        case DERP_SERVER_KEY:
                e = parse_server_key(&r, &m);
                break;
        case DERP_SERVER_INFO:
                e = parse_server_info(&r, &m);
                break;
        case DERP_RECV_PACKET:
                e = parse_recv(&r, &m);
                break;
        case DERP_KEEP_ALIVE:
                break;
        case DERP_PEER_GONE:
                rd_copy(&r, m.key.b, KEY_LEN);
                if (rd_ok(&r) && r.left > 0)
                        m.reason = rd_u8(&r);
                break;
        case DERP_PING:
        case DERP_PONG:
                rd_copy(&r, m.ping, DERP_PING_LEN);
                break;
        case DERP_HEALTH:
                take_rest(&r, &m);
                break;
        case DERP_RESTARTING:
                m.reconnect_in_ms = rd_be32(&r);
                m.try_for_ms = rd_be32(&r);
                break;
        default:
                return ERR_UNSUPPORTED;
        }
        if (e != ERR_NONE)
                return e;
        if (!rd_ok(&r))
                return ERR_SHORT;
        *ret = m;
        return ERR_NONE;
}

static void put_head(struct wr *w, enum derp_type type, size_t len)
{
        wr_u8(w, (uint8_t)type);
        wr_be32(w, (uint32_t)len);
}

void derp_put_client_info(struct wr *w, const struct node_public *us, const struct box_key *to_server,
        const uint8_t nonce[BOX_NONCE_LEN])
{
        put_head(w, DERP_CLIENT_INFO, CLIENT_INFO_LEN);
        wr_copy(w, us->b, KEY_LEN);
        wr_copy(w, nonce, BOX_NONCE_LEN);
        uint8_t *box = wr_take(w, BOX_TAG_LEN + CLIENT_INFO_JSON_LEN);
        if (box != NULL)
                box_seal(to_server, nonce, CLIENT_INFO_JSON, CLIENT_INFO_JSON_LEN, box);
}

void derp_put_note_preferred(struct wr *w, bool home)
{
        put_head(w, DERP_NOTE_PREFERRED, 1);
        wr_u8(w, home);
}

void derp_put_ping(struct wr *w, enum derp_type ping_or_pong, const uint8_t data[DERP_PING_LEN])
{
        put_head(w, ping_or_pong, DERP_PING_LEN);
        wr_copy(w, data, DERP_PING_LEN);
}

void derp_send_head(uint8_t out[DERP_SEND_HEAD_LEN], const struct node_public *dst, size_t packet_len)
{
        struct wr w = wr_init(out, DERP_SEND_HEAD_LEN);
        put_head(&w, DERP_SEND_PACKET, KEY_LEN + packet_len);
        wr_copy(&w, dst->b, KEY_LEN);
}

/* Beyond 32 bits no limit is worth the name, and sums with it could overflow. */
static int64_t json_rate(const json_t *obj, const char *name)
{
        json_int_t v = json_integer_value(json_object_get(obj, name));
        return v > 0 && v <= UINT32_MAX ? v : 0;
}

enum err derp_server_info_open(const struct box_key *from_server, const void *nonce_box, size_t len,
        struct derp_server_info *ret)
{
        char plain[SERVER_INFO_JSON_MAX];
        struct rd r = rd_init(nonce_box, len);
        const uint8_t *nonce = rd_take(&r, BOX_NONCE_LEN);
        if (!rd_ok(&r) || r.left < BOX_TAG_LEN)
                return ERR_SHORT;
        size_t plain_len = r.left - BOX_TAG_LEN;
        if (plain_len > sizeof(plain))
                return ERR_FULL;
        enum err e = box_open(from_server, nonce, r.at, r.left, (uint8_t *)plain);
        if (e != ERR_NONE)
                return e;
        json_t *obj = json_parse(plain, plain_len);
        if (!json_is_object(obj)) {
                json_decref(obj);
                return ERR_FORMAT;
        }
        int64_t burst = json_rate(obj, "TokenBucketBytesBurst");
        *ret = (struct derp_server_info){
                .bytes_per_sec = json_rate(obj, "TokenBucketBytesPerSecond"),
                .burst = burst > BURST_MIN ? burst : BURST_MIN,
        };
        json_decref(obj);
        return ERR_NONE;
}
