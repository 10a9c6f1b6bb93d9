/* What is no longer needed is nowhere in our memory: heap, stack and data are searched for it.
 * Secrets are remembered here in a masked form only, or the test would find its own copy. */
#include <fcntl.h>
#include <pthread.h>
#include <sodium.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/aead.h"
#include "base/chapoly.h"
#include "base/reader.h"
#include "tests/unit/wg_net.h"

enum { SECRET_LEN = 16, SECRETS_MAX = 16, MASK = 0x5a, CHUNK = 1 << 20, MAP_MAX = 1 << 26 };

static struct {
        const char *name;
        uint8_t masked[SECRET_LEN];
} secrets[SECRETS_MAX];
static size_t secret_count;
static uint8_t *chunk;   /* in a mapping of its own, which is not searched */
static bool skip_stack;

/* By its last bytes: free() writes over the first ones of a block. */
static void remember(const char *name, const uint8_t *secret, size_t len)
{
        assert_true(secret_count < SECRETS_MAX);
        secrets[secret_count].name = name;
        for (size_t i = 0; i < SECRET_LEN; i++)
                secrets[secret_count].masked[i] = secret[len - SECRET_LEN + i] ^ MASK;
        secret_count++;
}

static bool is_at(const uint8_t *at, const uint8_t masked[SECRET_LEN])
{
        size_t i = 0;
        while (i < SECRET_LEN && (at[i] ^ MASK) == masked[i])
                i++;
        return i == SECRET_LEN;
}

static void look_in(const uint8_t *b, size_t n, bool seen[SECRETS_MAX])
{
        for (size_t k = 0; k < secret_count; k++) {
                const uint8_t *at = b;
                const uint8_t *end = b + n;
                while (end - at >= SECRET_LEN && (at = memchr(at, secrets[k].masked[0] ^ MASK, (size_t)(end - at))) != NULL) {
                        seen[k] = seen[k] || (end - at >= SECRET_LEN && is_at(at, secrets[k].masked));
                        at++;
                }
        }
}

/* Valgrind keeps the registers of threads, also of those that have ended, in memory of its own. */
static bool is_valgrinds(unsigned long from, const char perms[4])
{
        return check_is_valgrind() && from >> 36 == 1 && perms[2] == 'x';
}

/* Which of the remembered secrets are in memory. */
static void search(bool seen[SECRETS_MAX])
{
        char line[512], perms[5], name[200];
        unsigned long from, to;
        FILE *maps = fopen("/proc/self/maps", "r");
        int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
        assert_non_null(maps);
        assert_true(mem >= 0);
        memset(seen, 0, SECRETS_MAX * sizeof(*seen));
        while (fgets(line, sizeof(line), maps) != NULL) {
                name[0] = '\0';
                assert_true(sscanf(line, "%lx-%lx %4s %*s %*s %*s %199s", &from, &to, perms, name) >= 3);
                bool is_stack = from <= (unsigned long)line && (unsigned long)line < to;
                /* Larger ones are the shadow of a sanitizer. */
                if (perms[1] != 'w' || to - from > MAP_MAX || strcmp(name, "/dev/zero") == 0 || (skip_stack && is_stack) ||
                    (!is_stack && is_valgrinds(from, perms)))
                        continue;
                for (unsigned long at = from; at < to; at += CHUNK - SECRET_LEN + 1) {
                        size_t want = to - at < CHUNK ? to - at : CHUNK;
                        ssize_t got = pread(mem, chunk, want, (off_t)at);
                        if (got <= 0)
                                break;
                        look_in(chunk, (size_t)got, seen);
                }
        }
        crypto_wipe(chunk, CHUNK);
        close(mem);
        fclose(maps);
}

static void assert_in_memory(void)
{
        bool seen[SECRETS_MAX];
        search(seen);
        for (size_t k = 0; k < secret_count; k++)
                if (!seen[k])
                        fail_msg("%s is not found, so the search finds nothing", secrets[k].name);
}

static void assert_wiped(void)
{
        bool seen[SECRETS_MAX];
        search(seen);
        for (size_t k = 0; k < secret_count; k++)
                if (seen[k])
                        fail_msg("%s is still in memory", secrets[k].name);
        secret_count = 0;
}

static void test_handshake_leaves_nothing(void **state)
{
        static struct net n;
        (void)state;
        net_init(&n);
        (void)net_send(&n, 0, 1);
        const struct open_initiation *o = &n.node[0].wg->slot[3]->open[0];
        remember("the ephemeral private key", o->noise.ephemeral.b, KEY_LEN);
        remember("the chaining key", o->noise.chain, KEY_LEN);
        assert_in_memory();
        net_run_ms(&n, 200);
        assert_int_equal(n.node[1].delivered, 1);
        assert_wiped();
        net_done(&n);
}

static void test_session_keys(void **state)
{
        struct noise_keys keys;
        (void)state;
        crypto_random(keys.send, sizeof(keys.send));
        crypto_random(keys.recv, sizeof(keys.recv));
        struct session *s = session_new(&keys, 1, 2, true, (mono_t){1});
        struct pkt_pool *pool = pkt_pool_new(2);
        assert_non_null(s);
        assert_non_null(pool);
        remember("the sending key", keys.send, KEY_LEN);
        remember("the receiving key", keys.recv, KEY_LEN);
        crypto_wipe(&keys, sizeof(keys));
        struct pkt *p = pkt_get(pool);
        memset(pkt_put(p, 64), 1, 64);
        assert_int_equal(session_seal(s, &p, 1, 1280), 1);
        enum session_opened opened;
        session_open(s, &p, 1, (mono_t){2}, &opened);   /* fails, but has used the key */
        assert_int_equal(opened, SESSION_BAD_TAG);
        skip_stack = true;   /* libcrypto's assembly leaves the last key in a frame that the next call overwrites */
        assert_in_memory();
        session_free(s);
        assert_wiped();
        skip_stack = false;
        pkt_release(pool, p);
        pkt_pool_free(pool);
}

/* The key of one packet's tag, which comes from the session's (RFC 8439, 2.6). */
static void remember_once(const uint8_t key[KEY_LEN], uint64_t counter)
{
        uint8_t nonce[12] = {0}, once[2 * SECRET_LEN];
        store_le64(nonce + 4, counter);
        crypto_stream_chacha20_ietf(once, sizeof(once), nonce, key);
        remember("half of a packet's own key", once, SECRET_LEN);
        remember("the other half of a packet's own key", once + SECRET_LEN, SECRET_LEN);
        crypto_wipe(once, sizeof(once));
}

enum { PACKETS = 8, TEXT_MAX = 128, STACK_SIZE = 1 << 18 };
static struct {
        uint8_t key[KEY_LEN];
        size_t count, len;
        bool good;
} burst;

static void *seal_and_open(void *arg)
{
        static uint8_t text[PACKETS][TEXT_MAX + AEAD_TAG_LEN];
        struct aead_op ops[PACKETS];
        for (size_t i = 0; i < burst.count; i++)
                ops[i] = (struct aead_op){.counter = i, .src = text[i], .dst = text[i], .len = burst.len};
        chapoly_seal(burst.key, ops, burst.count);
        for (size_t i = 0; i < burst.count; i++)
                ops[i].len += AEAD_TAG_LEN;
        chapoly_open(burst.key, ops, burst.count);
        burst.good = true;
        for (size_t i = 0; i < burst.count; i++)
                burst.good = burst.good && ops[i].ok;
        return arg;
}

/* On a stack that nobody else writes over. */
static void check_burst(size_t count, size_t len)
{
        pthread_t t;
        pthread_attr_t attr;
        burst.count = count;
        burst.len = len;
        crypto_random(burst.key, sizeof(burst.key));
        void *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(stack != MAP_FAILED);
        assert_int_equal(pthread_attr_init(&attr), 0);
        assert_int_equal(pthread_attr_setstack(&attr, stack, STACK_SIZE), 0);
        assert_int_equal(pthread_create(&t, &attr, seal_and_open, NULL), 0);
        pthread_join(t, NULL);
        pthread_attr_destroy(&attr);
        assert_true(burst.good);
        for (size_t i = 0; i < count; i++)
                remember_once(burst.key, i);
        assert_wiped();
        munmap(stack, STACK_SIZE);
}

static void test_keys_of_packets(void **state)
{
        (void)state;
        if (!chapoly_available())
                skip_because("this processor has no AVX2");
        static const size_t lens[] = {100, 0, 16, 40, TEXT_MAX};
        size_t n = check_is_valgrind() ? 1 : sizeof(lens) / sizeof(lens[0]);   /* a search takes seconds there */
        for (size_t i = 0; i < n; i++) {
                check_burst(1, lens[i]);
                check_burst(2, lens[i]);
                check_burst(PACKETS, lens[i]);
        }
}

/* Helpers live on, with stacks and contexts of their own. */
static void test_session_keys_with_helpers(void **state)
{
        (void)state;
        size_t usual = aead_backend_chosen();
        struct aead_crew *crew = aead_crew_new(2);
        struct pkt_pool *pool = pkt_pool_new(SESSION_BURST);
        assert_non_null(crew);
        assert_non_null(pool);
        bool done = false;
        for (size_t b = 0; b < aead_backend_count() && !done; b++) {
                if (!aead_backend_works(b))
                        continue;
                done = check_is_valgrind();   /* a search takes seconds there */
                struct noise_keys keys;
                aead_backend_choose(b);
                crypto_random(keys.send, sizeof(keys.send));
                crypto_random(keys.recv, sizeof(keys.recv));
                struct session *s = session_new(&keys, 1, 2, true, (mono_t){1});
                assert_non_null(s);
                session_share(s, crew);
                remember("the sending key", keys.send, KEY_LEN);
                remember("the receiving key", keys.recv, KEY_LEN);
                crypto_wipe(&keys, sizeof(keys));
                for (unsigned round = check_rounds(50); round > 0; round--) {
                        struct pkt *pkts[SESSION_BURST];
                        enum session_opened opened[SESSION_BURST];
                        for (size_t i = 0; i < SESSION_BURST; i++) {
                                pkts[i] = pkt_get(pool);
                                memset(pkt_put(pkts[i], 1280), 1, 1280);
                        }
                        assert_int_equal(session_seal(s, pkts, SESSION_BURST, 1280), SESSION_BURST);
                        session_open(s, pkts, SESSION_BURST, (mono_t){2}, opened);   /* fails, but has used the key */
                        for (size_t i = 0; i < SESSION_BURST; i++)
                                pkt_release(pool, pkts[i]);
                }
                skip_stack = true;
                assert_in_memory();
                session_free(s);
                assert_wiped();
                skip_stack = false;
        }
        aead_backend_choose(usual);
        aead_crew_free(crew);
        pkt_pool_free(pool);
}

static void remember_peer(const struct wg_peer *p)
{
        remember("the static-static secret", p->noise.ss, KEY_LEN);
        remember("the preshared key", p->noise.psk, KEY_LEN);
}

static void set_psk(struct net *n)
{
        uint8_t psk[KEY_LEN];
        crypto_random(psk, sizeof(psk));
        for (unsigned i = 0; i < NET_NODES; i++)
                wg_peer_set_psk(n->node[i].wg, 3, psk);
        crypto_wipe(psk, sizeof(psk));
}

static void test_removed_peer(void **state)
{
        static struct net n;
        (void)state;
        net_init(&n);
        set_psk(&n);
        (void)net_send(&n, 0, 1);
        net_run_ms(&n, 200);
        assert_int_equal(n.node[1].delivered, 1);
        remember_peer(n.node[0].wg->slot[3]);
        assert_in_memory();
        for (unsigned i = 0; i < NET_NODES; i++)
                wg_peer_remove(n.node[i].wg, 3);
        assert_wiped();
        net_done(&n);
}

static void test_freed_device(void **state)
{
        static struct net n;
        (void)state;
        net_init(&n);
        set_psk(&n);
        wg_note_load(n.node[1].wg, n.now);
        (void)net_send(&n, 0, 1);
        net_run_ms(&n, 1000);
        assert_int_equal(n.node[1].delivered, 1);
        assert_int_equal(n.node[1].sent[MSG_COOKIE], 1);
        for (unsigned i = 0; i < NET_NODES; i++) {
                remember("the identity", n.node[i].wg->us.priv.b, KEY_LEN);
                key_wipe(&n.node[i].key);
        }
        remember_peer(n.node[0].wg->slot[3]);
        remember("the cookie secret", n.node[1].wg->checker.secret, KEY_LEN);
        remember("a cookie", n.node[0].wg->slot[3]->jar.cookie, COOKIE_LEN);
        assert_in_memory();
        net_done(&n);
        assert_wiped();
}

static int setup(void **state)
{
        (void)state;
        chunk = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        return chunk != MAP_FAILED && crypto_init() == ERR_NONE ? 0 : -1;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_handshake_leaves_nothing),
                cmocka_unit_test(test_session_keys),
                cmocka_unit_test(test_session_keys_with_helpers),
                cmocka_unit_test(test_keys_of_packets),
                cmocka_unit_test(test_removed_peer),
                cmocka_unit_test(test_freed_device),
        };
        return cmocka_run_group_tests(tests, setup, NULL);
}
