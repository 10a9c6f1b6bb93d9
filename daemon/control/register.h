/* daemon/control/register.h - the registration request and its answer, and what the answer's error texts mean.
 *
 * Pure.  Source: Tailscale control protocol, RegisterRequest and RegisterResponse.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/key.h"

struct register_request {
        unsigned version;
        struct node_public node_key;
        struct node_public old_node_key; /* zero = none */
        const char *auth_key;            /* NULL or "" = none */
        const char *followup;            /* the URL being waited for; NULL or "" = none */
        int64_t expiry_ns;               /* 0 = the server's default; REGISTER_LOGOUT_NS = log out */
        bool ephemeral;
        const json_t *hostinfo; /* required */
};

/* Any time in the past logs out; this is the one that is recognised everywhere. */
#define REGISTER_LOGOUT_NS (INT64_C(123) * 1000000000)

/* The request's JSON, for free() after a wipe as it may hold the auth key; NULL: out of memory. */
char *register_build(const struct register_request *rq);

/* What of an auth key is sent: without blanks around and without the signature suffix "--TL...".  ERR_FULL. */
ERR_CHECK enum err register_trim_key(const char *key, char *out, size_t cap);

enum register_outcome {
        REGISTER_OK,
        REGISTER_ERROR,       /* text in error */
        REGISTER_SIGNATURE,   /* the tailnet wants a signed node key, which we cannot make */
        REGISTER_KEY_EXPIRED, /* come again with a new node key */
        REGISTER_VISIT,       /* show auth_url, then follow up */
};

struct register_answer {
        enum register_outcome outcome;
        int64_t user_id;
        bool machine_authorized;
        char login_name[256];
        char display_name[256];
        char profile_pic_url[512];
        char auth_url[1024];
        char error[512]; /* printable */
};

/* ERR_FORMAT: no JSON object, or a URL that is longer than a URL should be. */
ERR_CHECK enum err register_parse(const char *text, size_t len, struct register_answer *ret);

enum register_fault {
        REGISTER_FAULT_OTHER,
        REGISTER_FAULT_KEY_BAD, /* unknown, malformed or wrong auth key */
        REGISTER_FAULT_KEY_USED,
        REGISTER_FAULT_KEY_EXPIRED, /* or revoked */
        REGISTER_FAULT_TAGS,        /* requested tags not permitted */
        REGISTER_FAULT_MIXED,       /* node key or machine key belongs to another machine */
};
enum register_fault register_fault_of(const char *error);

/* Retry-After of a 429 in milliseconds: seconds or an HTTP date; odd values become 5 to 10 s by `random`. */
int64_t register_retry_ms(const char *retry_after, int64_t wall_ns, uint32_t random);
