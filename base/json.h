/* base/json.h - small, forgiving getters over jansson, and strict bounds on what is parsed.
 *
 * Getters return the default when the member is missing, null or of another type, as Go's decoder of
 * optional fields would.  Control thread.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

/* Rejects depth > 64 and trailing bytes; of a member given twice the last wins.  \u0000 is read as U+FFFD, and an
 * integer that does not fit as a real.  NULL: not JSON. */
json_t *json_parse(const char *text, size_t len);

const char *json_str(const json_t *obj, const char *key, const char *dflt);
int64_t json_int(const json_t *obj, const char *key, int64_t dflt);
double json_num(const json_t *obj, const char *key, double dflt);
bool json_bool(const json_t *obj, const char *key, bool dflt);
json_t *json_arr(const json_t *obj, const char *key);   /* borrowed; NULL if not an array */
json_t *json_obj(const json_t *obj, const char *key);   /* borrowed; NULL if not an object */
bool json_has(const json_t *obj, const char *key);      /* present and not null */
/* Its *ret_n keys, sorted; they live as long as they stay in it.  free() the array; NULL: no memory, *ret_n is 0. */
const char **json_keys(json_t *obj, size_t *ret_n);

/* Streaming: calls fn for each element of the arrays at the top-level members `keys` (ends with NULL) of
 * the object in text, parsed one at a time, in the order they stand; memory holds one element.  The rest of
 * the object comes back in *ret_rest (a new reference) without those members; a wanted member that is null
 * is as if absent.  What fn returns but ERR_NONE ends the walk and is returned.
 * ERR_FORMAT: not a JSON object, depth > 64, or a wanted member is no array.  A text that is cut off or whose
 * brackets do not match calls fn not once; a fault inside an element shows when its turn comes. */
typedef enum err (*json_element_fn)(void *arg, const char *key, json_t *element /* borrowed */);
ERR_CHECK enum err json_each(const char *text, size_t len, const char *const *keys, json_element_fn fn,
        void *arg, json_t **ret_rest);

/* The same, with a look at the text of each element before it is parsed: one that `seen` takes (*ret_taken) is not,
 * and fn does not get it.  NULL: takes none. */
typedef enum err (*json_seen_fn)(void *arg, const char *key, const char *text, size_t len, bool *ret_taken);
ERR_CHECK enum err json_each_seen(const char *text, size_t len, const char *const *keys, json_seen_fn seen,
        json_element_fn fn, void *arg, json_t **ret_rest);
