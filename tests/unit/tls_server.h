/* tests/unit/tls_server.h - a loopback server in a thread, plain or TLS, with certificates made on the spot. */
#pragma once

#include <arpa/inet.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/openssl.h"
#include "tests/unit/check.h"

enum { SERVER_META_CN = 71 };

struct server {
        int fd;
        uint16_t port;
        pthread_t thread;
        SSL_CTX *tls;      /* NULL: plain */
        X509 *cert;
        EVP_PKEY *key;
        unsigned accepts;  /* connections it serves, one after the other, before it ends */
        /* Serves one connection; ssl is NULL when plain. */
        void (*serve)(struct server *s, int fd, SSL *ssl);
};

static inline void cert_add_ext(X509 *cert, int nid, const char *value)
{
        X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
        assert_non_null(ext);
        assert_int_equal(X509_add_ext(cert, ext, -1), 1);
        X509_EXTENSION_free(ext);
}

/* Self-signed by key, valid from `from` to `until` seconds from now; san may be NULL.  The common name is not
 * held to its length, as relays do not hold themselves to it. */
static inline X509 *cert_make(EVP_PKEY *key, const char *cn, const char *san, long from, long until)
{
        X509 *cert = X509_new();
        assert_non_null(cert);
        assert_int_equal(X509_set_version(cert, 2), 1);
        assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(cert), 2), 1);
        assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), from));
        assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), until));
        X509_NAME *name = X509_get_subject_name(cert);
        assert_int_equal(X509_NAME_add_entry_by_NID(name, NID_commonName, V_ASN1_UTF8STRING,
                                 (const unsigned char *)cn, -1, -1, 0), 1);
        assert_int_equal(X509_set_issuer_name(cert, name), 1);
        assert_int_equal(X509_set_pubkey(cert, key), 1);
        if (san != NULL)
                cert_add_ext(cert, NID_subject_alt_name, san);
        assert_true(X509_sign(cert, key, EVP_PKEY_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256()) > 0);
        return cert;
}

/* The certificate is trusted from now on, beside what the folder of the host has; ret_path: a new file. */
static inline void cert_trust(X509 *cert, char ret_path[64])
{
        snprintf(ret_path, 64, "/tmp/trusted.XXXXXX");
        int fd = mkstemp(ret_path);
        assert_true(fd >= 0);
        FILE *f = fdopen(fd, "w");
        assert_non_null(f);
        BIO *bio = BIO_new(BIO_s_mem());
        assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
        char *pem;
        long n = BIO_get_mem_data(bio, &pem);
        assert_int_equal(fwrite(pem, 1, (size_t)n, f), (size_t)n);
        BIO_free(bio);
        fclose(f);
        setenv("SSL_CERT_FILE", ret_path, 1);
}

static inline void *server_main(void *arg)
{
        struct server *s = arg;
        for (unsigned i = 0; i < s->accepts; i++) {
                int fd = accept(s->fd, NULL, NULL);
                if (fd < 0)
                        break;
                SSL *ssl = NULL;
                bool ok = true;
                if (s->tls != NULL) {
                        ssl = SSL_new(s->tls);
                        ok = ssl != NULL && SSL_set_fd(ssl, fd) == 1 && SSL_accept(ssl) == 1;
                }
                if (ok)
                        s->serve(s, fd, ssl);
                SSL_free(ssl);
                close(fd);
        }
        return NULL;
}

static inline int listen_loopback(uint16_t *ret_port)
{
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(sa);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        assert_int_equal(listen(fd, 8), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
        *ret_port = ntohs(sa.sin_port);
        return fd;
}

static inline void server_start(struct server *s, unsigned accepts, void (*serve)(struct server *, int, SSL *))
{
        s->fd = listen_loopback(&s->port);
        s->accepts = accepts;
        s->serve = serve;
        assert_int_equal(pthread_create(&s->thread, NULL, server_main, s), 0);
}

/* Before server_start().  With meta, a second certificate announces a relay's key: expired, Ed25519,
 * a common name of 71 characters. */
static inline void server_use_tls(struct server *s, const char *san, long from, long until, bool meta)
{
        s->key = EVP_EC_gen("P-256");
        assert_non_null(s->key);
        s->cert = cert_make(s->key, "label", san, from, until);
        s->tls = SSL_CTX_new(TLS_server_method());
        assert_non_null(s->tls);
        assert_int_equal(SSL_CTX_use_certificate(s->tls, s->cert), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(s->tls, s->key), 1);
        if (!meta)
                return;
        char cn[SERVER_META_CN + 1];
        snprintf(cn, sizeof(cn), "derpkey%064d", 7);
        EVP_PKEY *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        assert_non_null(ed);
        X509 *extra = cert_make(ed, cn, NULL, -7200, -3600);
        assert_int_equal(SSL_CTX_add_extra_chain_cert(s->tls, extra), 1);   /* takes it */
        EVP_PKEY_free(ed);
}

/* After server_use_tls(): someone in the middle, who has seen the server's certificate but has not its key.  He proves
 * a key of his own with a certificate named cn, and sends the true one along. */
static inline void server_impersonate(struct server *s, const char *cn)
{
        SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
        EVP_PKEY *key = EVP_EC_gen("P-256");
        assert_non_null(ctx);
        assert_non_null(key);
        X509 *own = cert_make(key, cn, NULL, -60, 3600);
        assert_int_equal(SSL_CTX_use_certificate(ctx, own), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
        assert_int_equal(X509_up_ref(s->cert), 1);
        assert_int_equal(SSL_CTX_add_extra_chain_cert(ctx, s->cert), 1);   /* takes it */
        X509_free(own);
        EVP_PKEY_free(key);
        SSL_CTX_free(s->tls);
        s->tls = ctx;
}

/* Waits for the thread, which ends when it has served all, or at once if nobody is being served. */
static inline void server_stop(struct server *s)
{
        shutdown(s->fd, SHUT_RDWR);
        assert_int_equal(pthread_join(s->thread, NULL), 0);
        close(s->fd);
        SSL_CTX_free(s->tls);
        X509_free(s->cert);
        EVP_PKEY_free(s->key);
}

static inline ssize_t server_read(int fd, SSL *ssl, void *buf, size_t cap)
{
        return ssl != NULL ? SSL_read(ssl, buf, (int)cap) : read(fd, buf, cap);
}

static inline bool server_write(int fd, SSL *ssl, const void *data, size_t len)
{
        const char *p = data;
        while (len > 0) {
                ssize_t n = ssl != NULL ? SSL_write(ssl, p, (int)len) : write(fd, p, len);
                if (n <= 0)
                        return false;
                p += n;
                len -= (size_t)n;
        }
        return true;
}

/* The pin of the certificate, as a relay prints it. */
static inline void server_pin(const struct server *s, char out[80])
{
        unsigned char md[EVP_MAX_MD_SIZE];
        unsigned n = 0;
        assert_int_equal(X509_digest(s->cert, EVP_sha256(), md, &n), 1);
        int at = snprintf(out, 80, "sha256-raw:");
        for (unsigned i = 0; i < n; i++)
                at += snprintf(out + at, 80 - (size_t)at, "%02x", md[i]);
}
