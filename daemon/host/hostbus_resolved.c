#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "daemon/host/hostbus_sd.h"

#define WHO           "systemd-resolved"
#define RESOLVE1      "org.freedesktop.resolve1"
#define RESOLVE1_PATH "/org/freedesktop/resolve1"
#define MANAGER       "org.freedesktop.resolve1.Manager"

bool hostbus_resolved_answers(struct hostbus *b)
{
        return b != NULL && hostbus_ping(b, RESOLVE1, RESOLVE1_PATH);
}

static int add_servers(struct hostbus *b, sd_bus_message *m, const struct osdns_config *c)
{
        int rc = b->sd.sd_bus_message_open_container(m, 'a', "(iay)");
        for (size_t i = 0; i < c->server_count && rc >= 0; i++) {
                const struct ip *ip = &c->servers[i];
                rc = b->sd.sd_bus_message_open_container(m, 'r', "iay");
                if (rc >= 0)
                        rc = b->sd.sd_bus_message_append(m, "i", ip->family == IP_V4 ? AF_INET : AF_INET6);
                if (rc >= 0)
                        rc = b->sd.sd_bus_message_append_array(m, 'y', ip->b, ip->family == IP_V4 ? 4 : 16);
                if (rc >= 0)
                        rc = b->sd.sd_bus_message_close_container(m);
        }
        return rc >= 0 ? b->sd.sd_bus_message_close_container(m) : rc;
}

static bool is_reverse(const char *name)
{
        size_t n = strlen(name);
        return n >= 5 && strcmp(name + n - 5, ".arpa") == 0;
}

static int add_domains(struct hostbus *b, sd_bus_message *m, const struct osdns_config *c, bool reverse)
{
        int rc = b->sd.sd_bus_message_open_container(m, 'a', "(sb)");
        for (const char *s = osdns_names_next(&c->search, NULL); s != NULL && rc >= 0;
             s = osdns_names_next(&c->search, s))
                rc = b->sd.sd_bus_message_append(m, "(sb)", s, 0);
        for (const char *s = osdns_names_next(&c->match, NULL); s != NULL && rc >= 0;
             s = osdns_names_next(&c->match, s))
                if ((reverse || !is_reverse(s)) && !osdns_names_has(&c->search, s))
                        rc = b->sd.sd_bus_message_append(m, "(sb)", s, 1);
        if (rc >= 0 && c->server_count > 0 && c->match.count == 0)
                rc = b->sd.sd_bus_message_append(m, "(sb)", ".", 1); /* every name comes to this link */
        return rc >= 0 ? b->sd.sd_bus_message_close_container(m) : rc;
}

/* A method of resolved's manager about a link; m gets the index as its first argument. */
static int new_call(struct hostbus *b, const char *method, int ifindex, sd_bus_message **m)
{
        int rc = b->sd.sd_bus_message_new_method_call(b->bus, m, RESOLVE1, RESOLVE1_PATH, MANAGER, method);
        return rc >= 0 ? b->sd.sd_bus_message_append(*m, "i", ifindex) : rc;
}

static enum err set_servers(struct hostbus *b, int ifindex, const struct osdns_config *c,
                            char why[HOSTBUS_WHY_MAX])
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        int rc = new_call(b, "SetLinkDNS", ifindex, &m);
        if (rc >= 0)
                rc = add_servers(b, m, c);
        return hostbus_said(b, WHO, "SetLinkDNS", hostbus_call(b, m, rc, &error, NULL), &error, why);
}

static enum err set_domains(struct hostbus *b, int ifindex, const struct osdns_config *c,
                            char why[HOSTBUS_WHY_MAX])
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        int rc = new_call(b, "SetLinkDomains", ifindex, &m);
        if (rc >= 0)
                rc = add_domains(b, m, c, true);
        rc = hostbus_call(b, m, rc, &error, NULL);
        if (rc == -E2BIG) { /* old versions take few domains; reverse look-ups are the ones to spare */
                b->sd.sd_bus_error_free(&error);
                m = NULL;
                rc = new_call(b, "SetLinkDomains", ifindex, &m);
                if (rc >= 0)
                        rc = add_domains(b, m, c, false);
                rc = hostbus_call(b, m, rc, &error, NULL);
        }
        return hostbus_said(b, WHO, "SetLinkDomains", rc, &error, why);
}

/* systemd before 240 does not know it, and decides by the domains alone. */
static enum err set_default_route(struct hostbus *b, int ifindex, bool on, char why[HOSTBUS_WHY_MAX])
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        int rc = new_call(b, "SetLinkDefaultRoute", ifindex, &m);
        if (rc >= 0)
                rc = b->sd.sd_bus_message_append(m, "b", on);
        rc = hostbus_call(b, m, rc, &error, NULL);
        if (rc < 0 && b->sd.sd_bus_error_has_name(&error, "org.freedesktop.DBus.Error.UnknownMethod") > 0)
                rc = 0;
        return hostbus_said(b, WHO, "SetLinkDefaultRoute", rc, &error, why);
}

/* Nothing on our link answers these; names are found without them. */
static void turn_off(struct hostbus *b, int ifindex, const char *method)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        char why[HOSTBUS_WHY_MAX];
        int rc = new_call(b, method, ifindex, &m);
        if (rc >= 0)
                rc = b->sd.sd_bus_message_append(m, "s", "no");
        if (hostbus_said(b, WHO, method, hostbus_call(b, m, rc, &error, NULL), &error, why) != ERR_NONE)
                log_debug(1, "%s", why);
}

static void flush_caches(struct hostbus *b)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        char why[HOSTBUS_WHY_MAX];
        int rc = b->sd.sd_bus_message_new_method_call(b->bus, &m, RESOLVE1, RESOLVE1_PATH, MANAGER,
                                                      "FlushCaches");
        if (hostbus_said(b, WHO, "FlushCaches", hostbus_call(b, m, rc, &error, NULL), &error, why) != ERR_NONE)
                log_debug(1, "%s", why);
}

enum err hostbus_resolved_revert(struct hostbus *b, int ifindex, char why[HOSTBUS_WHY_MAX])
{
        if (!hostbus_is_there(b, why))
                return ERR_CLOSED;
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        int rc = new_call(b, "RevertLink", ifindex, &m);
        return hostbus_said(b, WHO, "RevertLink", hostbus_call(b, m, rc, &error, NULL), &error, why);
}

enum err hostbus_resolved_set(struct hostbus *b, int ifindex, const struct osdns_config *c,
                              char why[HOSTBUS_WHY_MAX])
{
        static const char *const unused[] = {"SetLinkLLMNR", "SetLinkMulticastDNS", "SetLinkDNSSEC",
                                             "SetLinkDNSOverTLS"};
        char also[HOSTBUS_WHY_MAX];
        if (!hostbus_is_there(b, why))
                return ERR_CLOSED;
        enum err e = set_servers(b, ifindex, c, why);
        if (e != ERR_NONE)
                return e;
        e = set_domains(b, ifindex, c, why);
        if (e == ERR_NONE)
                e = set_default_route(b, ifindex, c->server_count > 0 && c->match.count == 0, why);
        if (e != ERR_NONE) {   /* servers alone would be asked for every name */
                if (hostbus_resolved_revert(b, ifindex, also) != ERR_NONE)
                        log_warn("DNS: %s", also);
                return e;
        }
        for (size_t i = 0; i < sizeof(unused) / sizeof(unused[0]); i++)
                turn_off(b, ifindex, unused[i]);
        flush_caches(b);
        return ERR_NONE;
}
