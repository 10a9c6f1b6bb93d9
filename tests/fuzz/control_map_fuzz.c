/* A map message as the first of a stream and as a delta on a map; then as bytes of frames. */
#include <stdlib.h>
#include <string.h>

#include "daemon/control/maprequest.h"
#include "daemon/control/mapsession.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define KEY     "nodekey:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define WALL_NS INT64_C(1795415900000000000)

static void apply(struct mapsession *s, const char *text, size_t len)
{
        struct map_news news;
        struct netmap_delta d;
        if (mapsession_apply(s, text, len, WALL_NS, &news) != ERR_NONE)
                return;
        const struct netmap *m = mapsession_map(s);
        for (size_t i = 0; i < m->peer_count; i++) {
                json_t *o = netmap_node_to_json(m->peers[i]);
                if (o == NULL || netmap_peer(m, m->peers[i]->id) != m->peers[i])
                        abort(); /* order by id is what everything stands on */
                json_decref(o);
        }
        enum err e = mapsession_expire(s, WALL_NS + 1000000000, &d);
        (void)e;
}

static enum err on_message(void *arg, const char *json, size_t len)
{
        (void)arg;
        (void)json;
        return len > 1 << 20 ? ERR_FULL : ERR_NONE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char FIRST[] =
                "{\"Node\":{\"ID\":1,\"Name\":\"a.x.\",\"Key\":\"" KEY "\"},\"Peers\":["
                "{\"ID\":2,\"Name\":\"b.x.\",\"Key\":\"" KEY "\",\"Endpoints\":[\"192.0.2.1:1\"]},"
                "{\"ID\":3,\"Name\":\"c.x.\",\"Key\":\"" KEY "\"}]}";
        struct mapsession *s = mapsession_new();
        if (s == NULL)
                return 0;
        apply(s, (const char *)data, size);
        mapsession_clear(s);
        apply(s, FIRST, sizeof(FIRST) - 1);
        apply(s, (const char *)data, size);
        apply(s, (const char *)data, size);
        mapsession_free(s);

        for (int compressed = 0; compressed < 2; compressed++) {
                struct map_frames f;
                map_frames_init(&f);
                f.compressed = compressed != 0;
                enum err e = map_frames_feed(&f, data, size, on_message, NULL);
                (void)e;
                map_frames_done(&f);
        }
        return 0;
}
