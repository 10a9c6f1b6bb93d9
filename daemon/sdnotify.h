/* daemon/sdnotify.h - tells the service manager how we are (sd_notify(3)), without its library. */
#pragma once

/* Remembers $NOTIFY_SOCKET and removes it from the environment, so that no child talks in our name. */
void sdnotify_init(void);
/* "READY=1", "STATUS=...": silently nothing without a service manager. */
void sdnotify(const char *text);
