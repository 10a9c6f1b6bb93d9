#include "magicsock/derp_meta.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/openssl.h"

static const char PREFIX[] = "derpkey";

enum { PROTOCOL = 2, PREFIX_LEN = sizeof(PREFIX) - 1, CN_LEN = PREFIX_LEN + 2 * KEY_LEN };

/* The one common name, byte for byte; false if there is none or several, or it has another length. */
static bool common_name(const X509 *x, char out[CN_LEN + 1])
{
        const X509_NAME *name = X509_get_subject_name(x);
        int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
        if (at < 0 || X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0)
                return false;
        const ASN1_STRING *s = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
        if (ASN1_STRING_length(s) != CN_LEN)
                return false;
        memcpy(out, ASN1_STRING_get0_data(s), CN_LEN);
        out[CN_LEN] = '\0';
        return true;
}

bool derp_meta_parse(const uint8_t *der, size_t len, struct node_public *ret)
{
        char cn[CN_LEN + 1], text[sizeof("nodekey:") + 2 * KEY_LEN];
        if (der == NULL || len > LONG_MAX)
                return false;
        const unsigned char *p = der;
        X509 *x = d2i_X509(NULL, &p, (long)len);
        if (x == NULL)
                return false;
        bool ok = ASN1_INTEGER_get(X509_get0_serialNumber(x)) == PROTOCOL && common_name(x, cn)
                && memcmp(cn, PREFIX, PREFIX_LEN) == 0;
        X509_free(x);
        if (!ok)
                return false;
        snprintf(text, sizeof(text), "nodekey:%s", cn + PREFIX_LEN);
        return node_public_parse(text, ret) == ERR_NONE;
}
