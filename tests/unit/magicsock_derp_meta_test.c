#include "magicsock/derp_meta.h"

#include <stdlib.h>

#include "base/openssl.h"
#include "tests/unit/check.h"

#define KEY_HEX "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"

static EVP_PKEY *pkey;
static uint8_t *der;
static size_t der_len;

static int setup(void **state)
{
        (void)state;
        pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        return pkey == NULL ? -1 : 0;
}

static int teardown(void **state)
{
        (void)state;
        EVP_PKEY_free(pkey);
        free(der);
        der = NULL;
        return 0;
}

/* A self-signed certificate as relays append it; names longer than X.520 allows are put in raw. */
static void make(const char *cn, const char *second_cn, long serial)
{
        const char *names[] = {cn, second_cn};
        uint8_t *out = NULL;
        X509 *x = X509_new();
        X509_NAME *subject = X509_NAME_new();
        for (size_t i = 0; i < 2 && names[i] != NULL; i++) {
                X509_NAME_ENTRY *e = X509_NAME_ENTRY_new();
                X509_NAME_ENTRY_set_object(e, OBJ_nid2obj(NID_commonName));
                assert_int_equal(X509_NAME_ENTRY_set_data(e, V_ASN1_UTF8STRING, (const uint8_t *)names[i],
                        (int)strlen(names[i])), 1);
                assert_int_equal(X509_NAME_add_entry(subject, e, -1, 0), 1);
                X509_NAME_ENTRY_free(e);
        }
        ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
        X509_gmtime_adj(X509_getm_notBefore(x), -7200);
        X509_gmtime_adj(X509_getm_notAfter(x), -3600);   /* expired: that must not matter */
        X509_set_subject_name(x, subject);
        X509_set_pubkey(x, pkey);
        assert_true(X509_sign(x, pkey, NULL) > 0);
        int n = i2d_X509(x, &out);
        assert_true(n > 0);
        free(der);
        der = malloc((size_t)n);
        assert_non_null(der);
        memcpy(der, out, (size_t)n);
        der_len = (size_t)n;
        OPENSSL_free(out);
        X509_NAME_free(subject);
        X509_free(x);
}

static void test_key_is_read(void **state)
{
        (void)state;
        struct node_public k;
        make("derpkey" KEY_HEX, NULL, 2);
        assert_true(derp_meta_parse(der, der_len, &k));
        check_hex(k.b, KEY_LEN, KEY_HEX);
}

static void test_others_are_not(void **state)
{
        (void)state;
        static const struct {
                const char *cn, *second;
                long serial;
        } rows[] = {
                {"relay.example", NULL, 2},
                {"derpkey" KEY_HEX, NULL, 0},
                {"derpkey" KEY_HEX, NULL, 3},
                {"derpkey" KEY_HEX, NULL, 258},
                {"derpkey" KEY_HEX "00", NULL, 2},
                {"derpkeyg" "e9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f", NULL, 2},
                {"derpkez" KEY_HEX, NULL, 2},
                {"derpkey" KEY_HEX, "relay.example", 2},
                {NULL, NULL, 2},
        };
        struct node_public k = {{0}};
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                make(rows[i].cn, rows[i].second, rows[i].serial);
                assert_false(derp_meta_parse(der, der_len, &k));
        }
        assert_true(node_public_is_zero(&k));
}

static void test_every_truncation(void **state)
{
        (void)state;
        struct node_public k;
        make("derpkey" KEY_HEX, NULL, 2);
        for (size_t n = 0; n < der_len; n++) {
                uint8_t *exact = malloc(n + 1);
                assert_non_null(exact);
                memcpy(exact, der, n);
                assert_false(derp_meta_parse(exact, n, &k));
                free(exact);
        }
        assert_false(derp_meta_parse(NULL, 0, &k));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_key_is_read, setup, teardown),
                cmocka_unit_test_setup_teardown(test_others_are_not, setup, teardown),
                cmocka_unit_test_setup_teardown(test_every_truncation, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
