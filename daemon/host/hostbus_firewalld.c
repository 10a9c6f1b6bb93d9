#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/host/hostbus_sd.h"

#define WHO       "firewalld"
#define FIREWALLD "org.fedoraproject.FirewallD1"
#define PATH      "/org/fedoraproject/FirewallD1"
#define ZONE      "org.fedoraproject.FirewallD1.zone"
#define TRUSTED   "trusted"

enum { PORT_STR_MAX = 6 };

/* One that is not running is not started for our sake. */
static int new_call(struct hostbus *b, sd_bus_message **m, const char *interface, const char *method)
{
        b->call_ms = FIREWALLD_WAIT_MS;
        int rc = b->sd.sd_bus_message_new_method_call(b->bus, m, FIREWALLD, PATH, interface, method);
        return rc >= 0 ? b->sd.sd_bus_message_set_auto_start(*m, false) : rc;
}

static enum err ask_string(struct hostbus *b, const char *interface, const char *method, const char *arg,
                           char *ret, size_t cap, char why[HOSTBUS_WHY_MAX])
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL, *reply = NULL;
        const char *text = "";
        int rc = new_call(b, &m, interface, method);
        if (rc >= 0 && arg != NULL)
                rc = b->sd.sd_bus_message_append(m, "s", arg);
        rc = hostbus_call(b, m, rc, &error, &reply);
        if (rc >= 0)
                rc = b->sd.sd_bus_message_read(reply, "s", &text);
        if (rc >= 0 && snprintf(ret, cap, "%s", text) >= (int)cap)
                rc = -ENAMETOOLONG;
        b->sd.sd_bus_message_unref(reply);
        return hostbus_said(b, WHO, method, rc, &error, why);
}

static enum err ask_port(struct hostbus *b, const struct firewalld_part *p, bool *ret, char why[HOSTBUS_WHY_MAX])
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL, *reply = NULL;
        char port[PORT_STR_MAX];
        int yes = 0, rc = new_call(b, &m, ZONE, "queryPort");
        snprintf(port, sizeof(port), "%u", p->port);
        if (rc >= 0)
                rc = b->sd.sd_bus_message_append(m, "sss", p->zone, port, "udp");
        rc = hostbus_call(b, m, rc, &error, &reply);
        if (rc >= 0)
                rc = b->sd.sd_bus_message_read(reply, "b", &yes);
        *ret = yes != 0;
        b->sd.sd_bus_message_unref(reply);
        return hostbus_said(b, WHO, "queryPort", rc, &error, why);
}

/* Added already, or gone already: as wanted. */
static enum err change(struct hostbus *b, const char *method, int rc, sd_bus_message *m, char why[HOSTBUS_WHY_MAX])
{
        static const char *const fine[] = {"ALREADY_ENABLED", "ZONE_ALREADY_SET", "NOT_ENABLED", "UNKNOWN_INTERFACE"};
        sd_bus_error error = SD_BUS_ERROR_NULL;
        rc = hostbus_call(b, m, rc, &error, NULL);
        for (size_t i = 0; rc < 0 && error.message != NULL && i < sizeof(fine) / sizeof(fine[0]); i++)
                if (strncmp(error.message, fine[i], strlen(fine[i])) == 0)
                        rc = 0;
        return hostbus_said(b, WHO, method, rc, &error, why);
}

static enum err change_interface(struct hostbus *b, const char *method, const char *ifname, char why[HOSTBUS_WHY_MAX])
{
        sd_bus_message *m = NULL;
        int rc = new_call(b, &m, ZONE, method);
        if (rc >= 0)
                rc = b->sd.sd_bus_message_append(m, "ss", TRUSTED, ifname);
        return change(b, method, rc, m, why);
}

enum err hostbus_firewalld_look(struct hostbus *b, struct firewalld_part *p, char why[HOSTBUS_WHY_MAX])
{
        char zone[sizeof(p->zone)];
        bool open = false;
        enum err e = ask_string(b, ZONE, "getZoneOfInterface", p->ifname, zone, sizeof(zone), why);
        if (e == ERR_NONE && p->port != 0)
                e = ask_string(b, FIREWALLD, "getDefaultZone", NULL, p->zone, sizeof(p->zone), why);
        if (e == ERR_NONE && p->port != 0)
                e = ask_port(b, p, &open, why);
        if (e == ERR_NONE && zone[0] != '\0')
                p->ifname[0] = '\0';
        if (open)
                p->port = 0;
        return e;
}

enum err hostbus_firewalld_add(struct hostbus *b, const struct firewalld_part *p, char why[HOSTBUS_WHY_MAX])
{
        sd_bus_message *m = NULL;
        char port[PORT_STR_MAX];
        enum err e = ERR_NONE;
        if (p->ifname[0] != '\0')
                e = change_interface(b, "addInterface", p->ifname, why);
        if (p->port == 0 || e != ERR_NONE)
                return e;
        snprintf(port, sizeof(port), "%u", p->port);
        int rc = new_call(b, &m, ZONE, "addPort");
        if (rc >= 0)
                rc = b->sd.sd_bus_message_append(m, "sssi", p->zone, port, "udp", 0);
        return change(b, "addPort", rc, m, why);
}

enum err hostbus_firewalld_remove(struct hostbus *b, const struct firewalld_part *p, char why[HOSTBUS_WHY_MAX])
{
        sd_bus_message *m = NULL;
        char port[PORT_STR_MAX];
        enum err e = ERR_NONE;
        if (p->ifname[0] != '\0')
                e = change_interface(b, "removeInterface", p->ifname, why);
        if (p->port == 0)
                return e;
        snprintf(port, sizeof(port), "%u", p->port);
        int rc = new_call(b, &m, ZONE, "removePort");
        if (rc >= 0)
                rc = b->sd.sd_bus_message_append(m, "sss", p->zone, port, "udp");
        enum err e2 = change(b, "removePort", rc, m, why);
        return e != ERR_NONE ? e : e2;
}
