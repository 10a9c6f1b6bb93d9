/* daemon/host/dnsmasq_text.h - dnsmasq's arguments and configuration read, a configuration file written.  Pure.
 *
 * Only what is needed to find the folder whose files a running dnsmasq reads.  Source: dnsmasq(8), 2.90.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "daemon/host/osdns_config.h"

enum { DNSMASQ_PATH_MAX = 128 };

struct dnsmasq_setup {
        char conf_file[DNSMASQ_PATH_MAX]; /* "" = none */
        char conf_dir[DNSMASQ_PATH_MAX];  /* the folder our file can go to; "" = none */
        bool own_servers;                 /* it is told servers for all names, not only by its resolv-file */
};

/* By its path, such as /etc/dnsmasq.d: that of a service, and nobody else's. */
bool dnsmasq_is_service_folder(const char *dir);
/* The bytes of /proc/PID/cmdline.  Fills conf_file, with dnsmasq's own default if none is named. */
void dnsmasq_read_args(const char *cmdline, size_t len, struct dnsmasq_setup *ret);
/* The text of a configuration file; what was found before is kept. */
void dnsmasq_read_conf(const char *text, size_t len, struct dnsmasq_setup *s);
/* Questions below the match names go to our servers; if there are none all questions do, provided it has no
 * own_servers.  Answers in private ranges pass rebind protection there. */
void dnsmasq_write(struct buf *b, const struct osdns_config *c);
