/* tests/unit/control_maplife.h - map sessions fed from recorded lives and from texts. */
#pragma once

#include <dirent.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mono.h"
#include "daemon/control/mapsession.h"
#include "tests/unit/check.h"

/* 2026-11-23T06:38:20Z, in the middle of the recorded lives */
#define RECORDED_NS (INT64_C(1795415900) * NS_PER_SEC)

static inline char *read_fixture(const char *dir, const char *name, size_t *ret_len)
{
        char path[512];
        const char *root = getenv("TESTS_DIR");
        (void)snprintf(path, sizeof(path), "%s/fixtures/maps/%s%s%s", root != NULL ? root : "tests", dir,
                       dir[0] != '\0' ? "/" : "", name);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        char *text = malloc(1 << 20);
        assert_non_null(text);
        *ret_len = fread(text, 1, (1 << 20) - 1, f);
        fclose(f);
        text[*ret_len] = '\0';
        return text;
}

/* The file names of a recorded life, in order; the number of them. */
static inline size_t list_life(const char *life, char names[64][64])
{
        char path[512];
        const char *root = getenv("TESTS_DIR");
        struct dirent **list;
        (void)snprintf(path, sizeof(path), "%s/fixtures/maps/%s", root != NULL ? root : "tests", life);
        int n = scandir(path, &list, NULL, alphasort);
        size_t count = 0;
        assert_true(n > 2);
        for (int i = 0; i < n; i++) {
                if (list[i]->d_name[0] != '.' && count < 64)
                        (void)snprintf(names[count++], 64, "%.63s", list[i]->d_name);
                free(list[i]);
        }
        free(list);
        return count;
}

/* Applies the first n messages of a life (0 = all). */
static inline struct mapsession *play(const char *life, size_t n)
{
        char names[64][64];
        size_t count = list_life(life, names);
        struct mapsession *s = mapsession_new();
        assert_non_null(s);
        for (size_t i = 0; i < count && (n == 0 || i < n); i++) {
                struct map_news news;
                size_t len;
                char *text = read_fixture(life, names[i], &len);
                assert_int_equal(mapsession_apply(s, text, len, RECORDED_NS, &news), ERR_NONE);
                assert_int_equal(news.delta.first, i == 0);
                free(text);
        }
        return s;
}

static inline enum err apply(struct mapsession *s, const char *text, struct map_news *news)
{
        return mapsession_apply(s, text, strlen(text), RECORDED_NS, news);
}

static inline void must(struct mapsession *s, const char *text, struct map_news *news)
{
        assert_int_equal(apply(s, text, news), ERR_NONE);
}

#define KEY_A   "nodekey:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define KEY_B   "nodekey:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define KEY_C   "nodekey:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define KEY_D   "nodekey:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
#define DISCO_1 "discokey:1111111111111111111111111111111111111111111111111111111111111111"
#define DISCO_0 "discokey:0000000000000000000000000000000000000000000000000000000000000000"

static const char FIRST[] =
        "{\"Node\":{\"ID\":1,\"StableID\":\"1\",\"Name\":\"alpha.tail.example.org.\",\"User\":1,\"Key\":"
        "\"" KEY_A "\","
        "\"Addresses\":[\"100.64.0.1/32\"],\"MachineAuthorized\":true,"
        "\"Capabilities\":[\"https://tailscale.com/cap/ssh\"],\"CapMap\":{\"x\":null}},"
        "\"Peers\":["
        "{\"ID\":2,\"StableID\":\"2\",\"Name\":\"beta.tail.example.org.\",\"User\":1,\"Key\":\"" KEY_B
        "\",\"DiscoKey\":\"" DISCO_1 "\",\"Addresses\":[\"100.64.0.2/"
                                     "32\"],\"Endpoints\":[\"192.0.2.2:1\"],\"HomeDERP\":7,\"Online\":true},"
        "{\"ID\":9007199254740995,\"Name\":\"gamma.tail.example.org.\",\"Key\":\"" KEY_C "\","
        "\"Addresses\":[\"100.64.0.3/32\"],\"AllowedIPs\":[],\"DERP\":\"127.3.3.40:12\"}],"
        "\"DERPMap\":{\"Regions\":{\"1\":{\"RegionID\":1,\"RegionCode\":\"a\",\"Nodes\":[{\"Name\":\"1a\","
        "\"RegionID\":1,"
        "\"HostName\":\"a.example\"}]},\"2\":null}},"
        "\"DNSConfig\":{\"Proxied\":true},\"Domain\":\"hs.example.org\","
        "\"PacketFilters\":{\"base\":[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,"
        "\"Last\":"
        "65535}}]}]},\"UserProfiles\":[{\"ID\":1,\"LoginName\":\"alice\",\"DisplayName\":\"Alice\"}],"
        "\"Health\":[\"one\"]}";

enum { BETA = 2 };
static const int64_t GAMMA = INT64_C(9007199254740995);

static inline struct mapsession *started(void)
{
        struct map_news news;
        struct mapsession *s = mapsession_new();
        assert_non_null(s);
        must(s, FIRST, &news);
        return s;
}

static inline unsigned changed(const struct netmap_delta *d, int64_t id)
{
        for (size_t i = 0; i < d->peer_count; i++)
                if (d->peers[i].id == id)
                        return d->peers[i].what;
        return 0;
}
