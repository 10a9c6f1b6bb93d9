#include "base/aead_mb.h"

#include <dlfcn.h>
#include <intel-ipsec-mb.h>
#include <stdlib.h>
#include <string.h>

#include "base/reader.h"

#define MB_LIB "libIPSec_MB.so.1"

enum {
        NONCE_LEN = 12,
        KEY_ROOM = 64,   /* it reads a vector from the middle of a key on */
};

/* All that is wanted of its manager, whose queues and tables for other ciphers would take a quarter of a megabyte. */
static struct {
        chacha_poly_init_t init;
        chacha_poly_enc_dec_update_t encrypt, decrypt;
        chacha_poly_finalize_t finish;
} mb;

bool aead_mb_gains(void)
{
#ifdef __x86_64__
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512ifma");
#else
        return false;
#endif
}

/* The layout of the manager is that of the header this was built with; a library of another version may have another. */
static bool is_that_version(void *lib)
{
        unsigned (*version)(void);
        *(void **)&version = dlsym(lib, "imb_get_version");
        return version != NULL && version() >> 16 == IMB_VERSION_NUM >> 16 && version() >= IMB_VERSION_NUM;
}

static bool take_functions(void *lib)
{
        IMB_MGR *(*alloc)(uint64_t flags);
        void (*start)(IMB_MGR *mgr, IMB_ARCH *arch);
        void (*release)(IMB_MGR *mgr);
        *(void **)&alloc = dlsym(lib, "alloc_mb_mgr");
        *(void **)&start = dlsym(lib, "init_mb_mgr_auto");
        *(void **)&release = dlsym(lib, "free_mb_mgr");
        if (alloc == NULL || start == NULL || release == NULL)
                return false;
        IMB_MGR *mgr = alloc(0);
        if (mgr == NULL)
                return false;
        IMB_ARCH arch = IMB_ARCH_NONE;
        start(mgr, &arch);
        mb.init = mgr->chacha20_poly1305_init;
        mb.encrypt = mgr->chacha20_poly1305_enc_update;
        mb.decrypt = mgr->chacha20_poly1305_dec_update;
        mb.finish = mgr->chacha20_poly1305_finalize;
        release(mgr);
        return arch != IMB_ARCH_NONE && mb.init != NULL && mb.encrypt != NULL && mb.decrypt != NULL && mb.finish != NULL;
}

bool aead_mb_available(void)
{
        static enum { UNTRIED, ABSENT, THERE } state;
        if (state == UNTRIED) {
                void *lib = dlopen(MB_LIB, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
                state = lib != NULL && is_that_version(lib) && take_functions(lib) ? THERE : ABSENT;
                if (lib != NULL)
                        dlclose(lib);   /* stays loaded */
        }
        return state == THERE;
}

static void work(const uint8_t key[KEY_ROOM], const struct aead_op *op, size_t len, chacha_poly_enc_dec_update_t update,
        uint8_t tag[AEAD_TAG_LEN])
{
        struct chacha20_poly1305_context_data ctx;
        uint8_t nonce[NONCE_LEN] = {0};
        store_le64(nonce + 4, op->counter);
        mb.init(key, &ctx, nonce, NULL, 0);
        if (len > 0)
                update(key, &ctx, op->dst, op->src, len);
        mb.finish(&ctx, tag, AEAD_TAG_LEN);
        crypto_wipe(&ctx, sizeof(ctx));
}

void aead_mb_seal(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n)
{
        uint8_t room[KEY_ROOM] = {0};
        memcpy(room, key, AEAD_KEY_LEN);
        for (size_t i = 0; i < n; i++) {
                work(room, &ops[i], ops[i].len, mb.encrypt, ops[i].dst + ops[i].len);
                ops[i].ok = true;
        }
        crypto_wipe(room, sizeof(room));
}

void aead_mb_open(const uint8_t key[AEAD_KEY_LEN], struct aead_op *ops, size_t n)
{
        uint8_t room[KEY_ROOM] = {0};
        memcpy(room, key, AEAD_KEY_LEN);
        for (size_t i = 0; i < n; i++) {
                ops[i].ok = false;
                if (ops[i].len < AEAD_TAG_LEN)
                        continue;
                size_t len = ops[i].len - AEAD_TAG_LEN;
                uint8_t sent[AEAD_TAG_LEN], tag[AEAD_TAG_LEN];
                memcpy(sent, ops[i].src + len, sizeof(sent));
                work(room, &ops[i], len, mb.decrypt, tag);
                ops[i].ok = crypto_eq(sent, tag, sizeof(tag));
        }
        crypto_wipe(room, sizeof(room));
}
