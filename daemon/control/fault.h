/* daemon/control/fault.h - what went wrong with the login server, in words for a person.
 *
 * Pure.  One or two lines: the cause, then what to do about it.
 */
#pragma once

#include <stddef.h>

#include "daemon/control/client.h"
#include "daemon/control/register.h"
#include "daemon/control/server.h"

enum { FAULT_TEXT_MAX = 1024 };

/* detail: what was seen on the network; server_text: the server's own words.  Both may be "". */
const char *fault_text(enum control_error_kind kind, const struct server_url *url, const char *detail,
                       const char *server_text, char out[FAULT_TEXT_MAX]);
enum control_error_kind fault_of_register(enum register_fault f);
/* The kind of a failed dial or GET, by the words of base/dial.h. */
enum control_error_kind fault_of_transport(enum err e, const char *error);
