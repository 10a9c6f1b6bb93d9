/* daemon/servers.h - the addresses of login servers over a restart, in the state file.
 *
 * A host that was started anew may have no name server that answers (it stands behind an exit node, or in the tailnet).
 * Written when a server was reached at another address than before.  Control thread.
 */
#pragma once

#include "base/dial.h"
#include "daemon/state_file.h"

enum { SERVERS_MAX = 8 };

void servers_load(const struct state_file *store, struct dialer *d);
/* Stores what the dialer remembers of host. */
void servers_save(struct state_file *store, const struct dialer *d, const char *host);
