/* daemon/localapi/prefs_fields.h - inside of the preferences: their fields, in the order of the JSON.
 *
 * Used by prefs.c and prefs_json.c alone.
 */
#pragma once

#include "daemon/localapi/prefs.h"

enum prefs_kind {
        F_STR,
        F_STR_OMIT,     /* left out when "" */
        F_IP,           /* char *: an address or "" */
        F_BOOL,
        F_BOOL_OMIT,    /* left out when false */
        F_OPT,          /* enum prefs_opt */
        F_OPT_OMIT,     /* left out when unset */
        F_MODE,         /* int, PREFS_NETFILTER_* */
        F_STRINGS,      /* char ** */
        F_ROUTES,       /* advertise_routes and its count */
        F_UPDATE,       /* AutoUpdate: both members */
        F_CONNECTOR,    /* AppConnector.Advertise */
        F_RAW,          /* not ours: kept in .unknown, null when absent */
        F_RAW_OMIT,     /* the same, left out when absent */
        F_CONFIG,       /* the identity */
};

struct prefs_field {
        const char *key;
        enum prefs_kind kind;
        size_t offset;      /* in struct prefs; 0 where the kind says where */
};

enum { PREFS_FIELDS = 36 };
extern const struct prefs_field prefs_fields[PREFS_FIELDS];

void *prefs_field_at(struct prefs *p, const struct prefs_field *f);
const void *prefs_field_of(const struct prefs *p, const struct prefs_field *f);
/* Replaces *to, which is wiped. */
ERR_CHECK enum err prefs_copy_string(const char *from, char **to);
void prefs_strings_free(char **list);   /* NULL is fine */

/* A new object with the same members, their names in lower case; NULL: no object, or out of memory. */
json_t *prefs_fold(const json_t *obj);
/* The member `key` + `tail` of an object folded like that; borrowed. */
json_t *prefs_member(const json_t *folded, const char *key, const char *tail);
/* The members of obj over what p has; *p is whole but half done after an error. */
ERR_CHECK enum err prefs_overlay(struct prefs *p, const json_t *obj, const char **ret_why);
