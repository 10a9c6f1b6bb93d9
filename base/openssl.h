/* base/openssl.h - the one way to include OpenSSL.
 *
 * Its <openssl/types.h> has a type of the name ERR_STATE, which base/err.h has as a constant.  The
 * type is renamed on its way in; nobody here uses it.
 */
#pragma once

#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#undef ERR_STATE
