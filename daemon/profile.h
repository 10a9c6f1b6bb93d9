/* daemon/profile.h - who we are on this machine: machine key, profiles and the current one's preferences.
 *
 * Sits on the state file.  One profile a login; a fresh one has no id and is not stored until a login
 * succeeded.  Control thread.  Source: the reference's profile manager (keys _machinekey, _profiles,
 * _current-profile, profile-XXXX, and _daemon of old).
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/key.h"
#include "daemon/localapi/prefs.h"
#include "daemon/state_file.h"

struct profiles;

/* Borrows the store.  Makes and stores a machine key if there is none.  *ret_why as in state_file, or valid as long
 * as the store. */
ERR_CHECK enum err profiles_open(struct state_file *store, struct profiles **ret, const char **ret_why);
void profiles_free(struct profiles *p);
const struct key_private *profiles_machine_key(const struct profiles *p);

/* Of the current profile; change it through profiles_save() only. */
const struct prefs *profiles_prefs(const struct profiles *p);
/* Replaces the preferences (copied) and, once the profile has an identity with a node id and a login name, or
 * a stored id, writes them.  A profile of the same user on the same server is taken over.
 * ERR_IO: errno, memory has the new preferences all the same. */
ERR_CHECK enum err profiles_save(struct profiles *p, const struct prefs *prefs, const char *magic_dns_suffix,
        const char *domain);
/* Deletes the current profile from disk; a fresh one with defaults becomes current. */
ERR_CHECK enum err profiles_delete_current(struct profiles *p);
/* A fresh profile with defaults becomes current; the others stay, and the last stored one stays the one that the
 * next start takes until the fresh one has a login. */
ERR_CHECK enum err profiles_new(struct profiles *p);
/* ERR_NOT_FOUND: no such profile; ERR_FORMAT: it is damaged (*ret_why); ERR_IO: errno.  The current one stays
 * after the first two. */
ERR_CHECK enum err profiles_switch(struct profiles *p, const char *id, const char **ret_why);
/* Deletes a profile that is not the current one; an unknown id is fine. */
ERR_CHECK enum err profiles_delete(struct profiles *p, const char *id);
/* Writes what an earlier call could not. */
ERR_CHECK enum err profiles_retry_save(struct profiles *p);
/* Why what is stored is not what is in memory; "": it is. */
const char *profiles_trouble(const struct profiles *p);
const char *profiles_current_id(const struct profiles *p);   /* "": fresh, not stored */
/* The LoginProfile objects for the LocalAPI; new references. */
json_t *profiles_current_json(const struct profiles *p);
json_t *profiles_list_json(const struct profiles *p);   /* by age, then name, then domain */
json_t *profiles_json(const struct profiles *p, const char *id);   /* NULL: no such profile */
