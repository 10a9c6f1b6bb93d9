/* base/tlscheck.h - which certificate of a TLS server is accepted.  Part of dial and fetch.
 *
 * One check a connection.  Names: the chain is verified against the CA store for the host or for another
 * name, while SNI stays the host.  Pin: "sha256-raw:" and 64 lower-case hex digits; the certificate whose key the
 * peer proves (the leaf, the first presented) has that SHA-256 over its DER, names the host and is in its validity,
 * and behind it come none but those whose common name starts with "derpkey" (a relay's key announcement, never
 * judged); no chain.
 * Insecure: anything, but a pin or another name is still enforced, as the reference does.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TLS_CERTS_MAX = 8, TLS_PIN_HEX = 64 };

enum tls_check_mode { TLS_CHECK_HOST, TLS_CHECK_NAME, TLS_CHECK_PIN, TLS_CHECK_NONE };

struct ssl_ctx_st;

struct tls_check {
        enum tls_check_mode mode;
        char host[256];
        char name[256];                  /* TLS_CHECK_NAME: the other name */
        char pin[TLS_PIN_HEX + 1];
        const char *bundle;              /* borrowed: a file of certificates to trust as well, read when those that the
                                          * connection has are not enough; NULL: none */
        const char *refused;             /* why, static text; NULL: nothing was refused */
        uint8_t *der[TLS_CERTS_MAX];     /* what the peer presented, leaf first; owned */
        size_t der_len[TLS_CERTS_MAX];
        size_t der_count;
};

/* cert_name may be NULL.  False: a name too long or a malformed pin; c then refuses everything. */
bool tls_check_init(struct tls_check *c, const char *host, const char *cert_name, bool insecure);
/* Certificates lie there under the hashes of their names, as c_rehash puts them, so that one is found without reading all. */
bool tls_folder_is_hashed(const char *dir);
void tls_check_done(struct tls_check *c);
/* Makes the handshake of a connection of ctx ask c, which must outlive it; there is no second one. */
void tls_check_install(struct tls_check *c, struct ssl_ctx_st *ctx);
