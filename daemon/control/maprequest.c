#include "daemon/control/maprequest.h"

#include <stdlib.h>
#include <string.h>

#ifdef HAVE_ZSTD
#include <zstd.h>
#endif

#include "base/reader.h"

enum { PACKED_MAX = 32 };   /* maps shrink by less: of random keys there is more in them than of anything else */

static void set_endpoints(json_t *o, const struct map_request *rq)
{
        json_t *addrs = json_array();
        json_t *types = json_array();
        for (size_t i = 0; i < rq->endpoint_count; i++) {
                char text[ADDR_STR_MAX];
                (void)json_array_append_new(addrs, json_string(addr_str(rq->endpoints[i].addr, text)));
                (void)json_array_append_new(types, json_integer((json_int_t)rq->endpoints[i].type));
        }
        (void)json_object_set_new(o, "Endpoints", addrs); /* also empty: that clears what the server has */
        (void)json_object_set_new(o, "EndpointTypes", types);
}

char *map_request_build(const struct map_request *rq)
{
        char text[KEY_TEXT_MAX];
        json_t *o = json_object();
        if (o == NULL)
                return NULL;
        (void)json_object_set_new(o, "Version", json_integer((json_int_t)rq->version));
        if (rq->stream && map_can_decompress())
                (void)json_object_set_new(o, "Compress", json_string("zstd"));
        (void)json_object_set_new(o, "KeepAlive", json_true());
        (void)json_object_set_new(o, "NodeKey", json_string(node_public_text(&rq->node_key, text)));
        (void)json_object_set_new(o, "DiscoKey", json_string(disco_public_text(&rq->disco, text)));
        if (rq->stream)
                (void)json_object_set_new(o, "Stream", json_true());
        else
                (void)json_object_set_new(o, "OmitPeers", json_true());
        (void)json_object_set_new(o, "Hostinfo", json_deep_copy(rq->hostinfo));
        set_endpoints(o, rq);
        char *json = json_dumps(o, JSON_COMPACT);
        json_decref(o);
        return json;
}

bool map_can_decompress(void)
{
#ifdef HAVE_ZSTD
        return true;
#else
        return false;
#endif
}

void map_frames_init(struct map_frames *f)
{
        buf_init(&f->in, 2 * (size_t)MAP_FRAME_MAX);
        f->compressed = map_can_decompress();
}

void map_frames_done(struct map_frames *f)
{
        buf_done(&f->in);
}

#ifdef HAVE_ZSTD
/* The size in a frame's header is a claim: where it is beyond what maps are packed to, the output grows as data comes. */
static void expect_claimed(struct buf *out, const uint8_t *data, size_t len)
{
        unsigned long long claimed = ZSTD_getFrameContentSize(data, len);   /* unknown and wrong are very large */
        if (claimed <= (unsigned long long)len * PACKED_MAX)
                buf_expect(out, claimed);
}

static enum err inflate_frame(const uint8_t *data, size_t len, struct buf *out)
{
        ZSTD_DCtx *z = ZSTD_createDCtx();
        ZSTD_inBuffer in = {.src = data, .size = len};
        size_t rc = 1;
        if (z == NULL)
                return ERR_FULL;
        (void)ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, 26);
        expect_claimed(out, data, len);
        do {
                uint8_t chunk[4096];
                ZSTD_outBuffer to = {.dst = chunk, .size = sizeof(chunk)};
                rc = ZSTD_decompressStream(z, &to, &in);
                if (ZSTD_isError(rc))
                        break;
                buf_add(out, chunk, to.pos);
                if (to.pos < to.size && in.pos == in.size)
                        break;
        } while (buf_ok(out) && rc != 0);
        ZSTD_freeDCtx(z);
        if (!buf_ok(out))
                return ERR_FULL;
        return rc == 0 && in.pos == in.size ? ERR_NONE : ERR_FORMAT;
}
#endif

static enum err give_message(const struct map_frames *f, const uint8_t *data, size_t len, map_message_fn fn,
                             void *arg)
{
        /* A server is free not to compress; an object never begins as a zstd frame does. */
        if (!f->compressed || data[0] == '{')
                return fn(arg, (const char *)data, len);
        enum err e = ERR_UNSUPPORTED;
#ifdef HAVE_ZSTD
        struct buf json;
        buf_init(&json, MAP_FRAME_MAX);
        e = inflate_frame(data, len, &json);
        if (e == ERR_NONE)
                e = fn(arg, json.data, json.len);
        buf_done(&json);
#endif
        return e;
}

enum err map_frames_feed(struct map_frames *f, const void *data, size_t len, map_message_fn fn, void *arg)
{
        enum err e = ERR_NONE;
        buf_add(&f->in, data, len);
        if (!buf_ok(&f->in))
                return ERR_FULL;
        struct rd r = rd_init(f->in.data, f->in.len);
        while (e == ERR_NONE) {
                struct rd ahead = r;
                uint32_t n = rd_le32(&ahead);
                if (!rd_ok(&ahead))
                        break;
                if (n == 0 || n > MAP_FRAME_MAX)
                        return n == 0 ? ERR_FORMAT : ERR_FULL;
                const uint8_t *message = rd_take(&ahead, n);
                if (message == NULL)
                        break;
                r = ahead;
                e = give_message(f, message, n, fn, arg);
        }
        buf_consume(&f->in, f->in.len - r.left);
        if (f->in.len == 0 && f->in.cap > 65536)
                buf_done(&f->in); /* the room a first map took is not needed again */
        return e;
}
