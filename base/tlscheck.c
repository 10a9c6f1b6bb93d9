#include "base/tlscheck.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/openssl.h"

#define PIN_PREFIX  "sha256-raw:"
#define META_PREFIX "derpkey"

static bool is_lower_hex(const char *s)
{
        return strspn(s, "0123456789abcdef") == strlen(s);
}

/* Until all is understood the mode is a pin that nothing has. */
bool tls_check_init(struct tls_check *c, const char *host, const char *cert_name, bool insecure)
{
        *c = (struct tls_check){.mode = TLS_CHECK_PIN};
        size_t host_len = strlen(host);
        size_t name_len = cert_name != NULL ? strlen(cert_name) : 0;
        if (host_len >= sizeof(c->host) || name_len >= sizeof(c->name))
                return false;
        memcpy(c->host, host, host_len + 1);
        if (name_len == 0 || strcmp(cert_name, host) == 0) {
                c->mode = insecure ? TLS_CHECK_NONE : TLS_CHECK_HOST;
        } else if (strncmp(cert_name, PIN_PREFIX, strlen(PIN_PREFIX)) != 0) {
                memcpy(c->name, cert_name, name_len + 1);
                c->mode = TLS_CHECK_NAME;
        } else {
                const char *hex = cert_name + strlen(PIN_PREFIX);
                if (strlen(hex) != TLS_PIN_HEX || !is_lower_hex(hex))
                        return false;
                memcpy(c->pin, hex, TLS_PIN_HEX + 1);
        }
        return true;
}

static bool is_hashed_name(const char *name)
{
        return strspn(name, "0123456789abcdef") == 8 && strcmp(name + 8, ".0") == 0;
}

bool tls_folder_is_hashed(const char *dir)
{
        DIR *d = opendir(dir);
        bool found = false;
        for (struct dirent *e; d != NULL && !found && (e = readdir(d)) != NULL;)
                found = is_hashed_name(e->d_name);
        if (d != NULL)
                closedir(d);
        return found;
}

static void forget_certs(struct tls_check *c)
{
        for (size_t i = 0; i < c->der_count; i++)
                free(c->der[i]);
        c->der_count = 0;
}

void tls_check_done(struct tls_check *c)
{
        forget_certs(c);
}

/* Kept as raw bytes: a relay announces its key in a certificate that is no good as one. */
static void keep_certs(struct tls_check *c, STACK_OF(X509) *chain)
{
        forget_certs(c);
        for (int i = 0; i < sk_X509_num(chain) && c->der_count < TLS_CERTS_MAX; i++) {
                unsigned char *der = NULL;
                int n = i2d_X509(sk_X509_value(chain, i), &der);
                uint8_t *copy = n > 0 ? malloc((size_t)n) : NULL;
                if (copy != NULL) {
                        memcpy(copy, der, (size_t)n);
                        c->der[c->der_count] = copy;
                        c->der_len[c->der_count++] = (size_t)n;
                }
                OPENSSL_free(der);
        }
}

static bool is_meta_cert(const X509 *cert)
{
        const X509_NAME *subject = X509_get_subject_name(cert);
        int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
        if (at < 0)
                return false;
        const ASN1_STRING *cn = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
        size_t n = (size_t)ASN1_STRING_length(cn);
        return n >= strlen(META_PREFIX) && memcmp(ASN1_STRING_get0_data(cn), META_PREFIX, strlen(META_PREFIX)) == 0;
}

static bool names_host(X509 *cert, const char *host)
{
        int as_ip = X509_check_ip_asc(cert, host, 0);
        return as_ip == -2 ? X509_check_host(cert, host, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1
                           : as_ip == 1;
}

static bool digest_is(const X509 *cert, const char *hex)
{
        unsigned char md[EVP_MAX_MD_SIZE];
        unsigned int n = 0;
        char text[TLS_PIN_HEX + 1];
        if (X509_digest(cert, EVP_sha256(), md, &n) != 1 || n * 2 != TLS_PIN_HEX)
                return false;
        for (unsigned int i = 0; i < n; i++)
                snprintf(text + (size_t)2 * i, 3, "%02x", md[i]);
        return memcmp(text, hex, TLS_PIN_HEX) == 0;
}

/* NULL: accepted.  The peer has proved the key of the leaf alone, so that is the one to be pinned: whoever saw the true
 * certificate can send a copy along. */
static const char *pin_refusal(const struct tls_check *c, X509 *leaf, STACK_OF(X509) *chain)
{
        if (leaf == NULL)
                return "no certificate";
        if (!digest_is(leaf, c->pin))
                return "it is not the pinned one";
        for (int i = 1; i < sk_X509_num(chain); i++)
                if (!is_meta_cert(sk_X509_value(chain, i)))
                        return "more than one certificate where one is pinned";
        if (!names_host(leaf, c->host))
                return "it does not name the host";
        if (X509_cmp_current_time(X509_get0_notBefore(leaf)) >= 0)
                return "it is not yet valid";
        if (X509_cmp_current_time(X509_get0_notAfter(leaf)) <= 0)
                return "it has expired";
        return NULL;
}

static bool is_unknown_issuer(int error)
{
        return error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY || error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
               error == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT || error == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
               error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
}

/* The same question to those of the bundle, which are in memory for as long as it takes. */
static const char *bundle_refusal(const char *bundle, X509_STORE_CTX *first)
{
        const char *why = "the file of trusted certificates cannot be read";
        X509_STORE *trusted = X509_STORE_new();
        X509_STORE_CTX *again = X509_STORE_CTX_new();
        if (trusted != NULL && again != NULL && X509_STORE_load_file(trusted, bundle) == 1 &&
            X509_STORE_CTX_init(again, trusted, X509_STORE_CTX_get0_cert(first), X509_STORE_CTX_get0_untrusted(first)) == 1 &&
            X509_VERIFY_PARAM_set1(X509_STORE_CTX_get0_param(again), X509_STORE_CTX_get0_param(first)) == 1)
                why = X509_verify_cert(again) == 1 ? NULL : X509_verify_cert_error_string(X509_STORE_CTX_get_error(again));
        X509_STORE_CTX_free(again);
        X509_STORE_free(trusted);
        return why;
}

static const char *chain_refusal(const struct tls_check *c, X509_STORE_CTX *store)
{
        if (c->mode == TLS_CHECK_NAME) {
                X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(store);
                X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
                if (X509_VERIFY_PARAM_set1_ip_asc(param, c->name) != 1 &&
                        X509_VERIFY_PARAM_set1_host(param, c->name, 0) != 1)
                        return "its name cannot be checked";
        }
        if (X509_verify_cert(store) == 1)
                return NULL;
        int error = X509_STORE_CTX_get_error(store);
        return c->bundle != NULL && is_unknown_issuer(error) ? bundle_refusal(c->bundle, store)
                                                             : X509_verify_cert_error_string(error);
}

/* Stands in for the library's own verification; 1 accepts. */
static int verify(X509_STORE_CTX *store, void *arg)
{
        struct tls_check *c = arg;
        STACK_OF(X509) *chain = X509_STORE_CTX_get0_untrusted(store);
        keep_certs(c, chain);
        c->refused = NULL;
        if (c->mode == TLS_CHECK_PIN) {
                c->refused = pin_refusal(c, X509_STORE_CTX_get0_cert(store), chain);
                if (c->refused != NULL)
                        X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
        } else if (c->mode != TLS_CHECK_NONE) {
                c->refused = chain_refusal(c, store);
        }
        if (c->refused != NULL)
                return 0;
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
}

void tls_check_install(struct tls_check *c, SSL_CTX *ctx)
{
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_cert_verify_callback(ctx, verify, c);
        /* A kept connection outlives c, which a second handshake would ask. */
        SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
        /* A write that could not finish is offered again from another place, and longer. */
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}
