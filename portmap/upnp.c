#include "portmap/upnp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
        FIRST_FREE_PORT = 1024,
        FAULT_ARGUMENTS = 402,            /* some do not know leases and say so with this */
        FAULT_CONFLICT = 718,             /* another host has this port */
        FAULT_ONLY_PERMANENT = 725,
};

static void pick_port(struct upnp *u)
{
        uint16_t r;
        u->random(&r, sizeof(r));
        u->outer = (uint16_t)(FIRST_FREE_PORT + r % (UINT16_MAX - FIRST_FREE_PORT));
}

static void begin(struct upnp *u, enum upnp_step step)
{
        u->step = step;
        u->count = u->at = u->tries = 0;
        u->is_known = u->is_permanent = false;
        u->outside = (struct ip){0};
}

void upnp_ask(struct upnp *u, const struct upnp_url *location, const struct upnp_service *known, uint16_t outer)
{
        begin(u, known != NULL ? UPNP_ADDRESS : UPNP_DESCRIBE);
        u->location = *location;
        u->outer = outer;
        if (outer < FIRST_FREE_PORT)
                pick_port(u);
        if (known == NULL)
                return;
        u->services[0] = *known;
        u->count = 1;
        u->is_known = true;
}

void upnp_release(struct upnp *u, const struct upnp_service *service, uint16_t outer)
{
        begin(u, UPNP_RELEASE);
        u->services[0] = *service;
        u->count = 1;
        u->outer = outer;
}

/* ---- requests ---- */

static const char *action_of(const struct upnp *u)
{
        if (u->step == UPNP_ADDRESS)
                return "GetExternalIPAddress";
        if (u->step == UPNP_RELEASE)
                return "DeletePortMapping";
        return u->services[u->at].picks_port ? "AddAnyPortMapping" : "AddPortMapping";
}

static void write_arguments(const struct upnp *u, char *out, size_t cap)
{
        char self[IP_STR_MAX];
        int n = 0;
        out[0] = '\0';
        if (u->step != UPNP_ADDRESS)
                n = snprintf(out, cap, "<NewRemoteHost></NewRemoteHost><NewExternalPort>%u</NewExternalPort>"
                        "<NewProtocol>UDP</NewProtocol>", u->outer);
        if (u->step == UPNP_MAP)
                snprintf(out + n, cap - (size_t)n, "<NewInternalPort>%u</NewInternalPort>"
                        "<NewInternalClient>%s</NewInternalClient><NewEnabled>1</NewEnabled>"
                        "<NewPortMappingDescription>tailscale-portmap</NewPortMappingDescription>"
                        "<NewLeaseDuration>%d</NewLeaseDuration>",
                        u->inner, ip_str(u->self, self), u->is_permanent ? 0 : UPNP_LEASE_S);
}

bool upnp_request(const struct upnp *u, struct upnp_request *ret)
{
        *ret = (struct upnp_request){.max = UPNP_REPLY_MAX};
        if (u->step == UPNP_QUIET)
                return false;
        if (u->step == UPNP_DESCRIBE) {
                upnp_url_str(&u->location, u->router, ret->url);
                ret->max = UPNP_DESCRIPTION_MAX;
                return true;
        }
        const struct upnp_service *s = &u->services[u->at];
        const char *action = action_of(u);
        char arguments[512];
        write_arguments(u, arguments, sizeof(arguments));
        upnp_url_str(&s->control, u->router, ret->url);
        snprintf(ret->action, sizeof(ret->action), "\"%s#%s\"", s->type, action);
        snprintf(ret->body, sizeof(ret->body), "<?xml version=\"1.0\"?>\r\n"
                "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" "
                "s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>"
                "<u:%s xmlns:u=\"%s\">%s</u:%s></s:Body></s:Envelope>\r\n", action, s->type, arguments, action);
        return true;
}

/* ---- answers ---- */

static enum upnp_news end(struct upnp *u, enum upnp_news news)
{
        u->step = UPNP_QUIET;
        return news;
}

/* This service gives nothing: another may. */
static enum upnp_news next_service(struct upnp *u)
{
        if (u->is_known) {   /* it may have moved: what does the router say now? */
                u->is_known = false;
                u->count = u->at = 0;
                u->step = UPNP_DESCRIBE;
                return UPNP_MORE;
        }
        if (++u->at >= u->count)
                return end(u, UPNP_FAILED);
        u->step = UPNP_ADDRESS;
        return UPNP_MORE;
}

static long number_in(const char *body, size_t len, const char *name)
{
        char text[16];
        if (upnp_xml_value(body, len, name, text, sizeof(text)) != ERR_NONE)
                return 0;
        return strtol(text, NULL, 10);
}

static enum upnp_news on_description(struct upnp *u, const char *body, size_t len)
{
        u->count = upnp_xml_services(body, len, u->router, &u->location, u->services);
        u->at = 0;
        if (u->count == 0)
                return end(u, UPNP_FAILED);
        u->step = UPNP_ADDRESS;
        return UPNP_MORE;
}

/* Of several services the one that is connected has an address; behind another NAT a mapping would be of no use. */
static enum upnp_news on_address(struct upnp *u, const char *body, size_t len)
{
        char text[IP_STR_MAX];
        struct ip ip;
        if (upnp_xml_value(body, len, "NewExternalIPAddress", text, sizeof(text)) != ERR_NONE ||
                ip_parse(text, &ip) != ERR_NONE || ip.family != IP_V4 || !ip_is_public(ip))
                return next_service(u);
        u->outside = ip;
        u->step = UPNP_MAP;
        return UPNP_MORE;
}

static enum upnp_news on_fault(struct upnp *u, const char *body, size_t len)
{
        switch (number_in(body, len, "errorCode")) {
        case FAULT_ARGUMENTS:
        case FAULT_ONLY_PERMANENT:
                if (u->is_permanent)
                        break;
                u->is_permanent = true;
                return UPNP_MORE;
        case FAULT_CONFLICT:
                if (++u->tries == UPNP_PORT_TRIES)
                        break;
                pick_port(u);
                return UPNP_MORE;
        default:
                break;
        }
        return next_service(u);
}

static enum upnp_news on_mapped(struct upnp *u, const char *body, size_t len)
{
        char answer[64];
        snprintf(answer, sizeof(answer), "%sResponse", action_of(u));
        if (memmem(body, len, answer, strlen(answer)) == NULL)
                return next_service(u);
        if (u->services[u->at].picks_port) {
                long port = number_in(body, len, "NewReservedPort");
                if (port <= 0 || port > UINT16_MAX)
                        return next_service(u);
                u->outer = (uint16_t)port;
        }
        return end(u, UPNP_MAPPED);
}

enum upnp_news upnp_answer(struct upnp *u, long status, const char *body, size_t len)
{
        bool ok = status == 200;
        switch (u->step) {
        case UPNP_QUIET:
                break;
        case UPNP_DESCRIBE:
                return ok ? on_description(u, body, len) : end(u, UPNP_FAILED);
        case UPNP_ADDRESS:
                return ok ? on_address(u, body, len) : next_service(u);
        case UPNP_MAP:
                return ok ? on_mapped(u, body, len) : on_fault(u, body, len);
        case UPNP_RELEASE:
                return end(u, ok ? UPNP_RELEASED : UPNP_FAILED);
        }
        return UPNP_FAILED;
}
