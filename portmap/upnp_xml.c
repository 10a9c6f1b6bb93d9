#include "portmap/upnp_xml.h"

#include <dlfcn.h>
#include <miniupnpc/igd_desc_parse.h>
#include <miniupnpc/miniupnpc.h>
#include <miniupnpc/upnpreplyparse.h>
#include <stdatomic.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/thread.h"

/* The layout of its structures goes with the number. */
#define TEXT_OF(n) #n
#define LIB_OF(n)  "libminiupnpc.so." TEXT_OF(n)
#define LIB        LIB_OF(MINIUPNPC_API_VERSION)

enum { NOT_LOADED, LOADING, READY, MISSING };

static _Atomic int state = NOT_LOADED;
/* Written before `state` says that they are there. */
static __typeof__(parserootdesc) *parse_description;
static __typeof__(ParseNameValue) *parse_values;
static __typeof__(GetValueFromNameValueList) *get_value;
static __typeof__(ClearNameValueList) *clear_values;

/* POSIX's way to turn dlsym()'s result into a function. */
static bool find(void *lib, const char *name, void *function)
{
        *(void **)function = dlsym(lib, name);
        return *(void **)function != NULL;
}

static void *load(void *arg)
{
        (void)arg;
        void *lib = dlopen(LIB, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        bool ok = lib != NULL && find(lib, "parserootdesc", &parse_description) &&
                  find(lib, "ParseNameValue", &parse_values) && find(lib, "GetValueFromNameValueList", &get_value) &&
                  find(lib, "ClearNameValueList", &clear_values);
        if (!ok)
                log_info("the router speaks UPnP, which we cannot for want of " LIB ": %s", dlerror());
        atomic_store(&state, ok ? READY : MISSING);
        return NULL;
}

void upnp_xml_load(void)
{
        int none = NOT_LOADED;
        if (!atomic_compare_exchange_strong(&state, &none, LOADING))
                return;
        if (thread_start_detached(load, NULL) != 0)
                atomic_store(&state, NOT_LOADED);
}

bool upnp_xml_ready(void)
{
        return atomic_load(&state) == READY;
}

/* What we ask in its name is a text of ours, not of the router's. */
static const char *known_type(const char *type)
{
        static const char *const known[] = {
                "urn:schemas-upnp-org:service:WANIPConnection:2",
                "urn:schemas-upnp-org:service:WANIPConnection:1",
                "urn:schemas-upnp-org:service:WANPPPConnection:1",
        };
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
                if (strcmp(type, known[i]) == 0)
                        return known[i];
        return NULL;
}

static size_t add_service(const struct IGDdatas_service *s, struct ip router, const struct upnp_url *base,
                          struct upnp_service *ret)
{
        size_t len = strnlen(s->controlurl, sizeof(s->controlurl));
        ret->type = known_type(s->servicetype);
        ret->picks_port = ret->type != NULL && strstr(ret->type, ":WANIPConnection:2") != NULL;
        return ret->type != NULL && upnp_url_parse(s->controlurl, len, router, base, &ret->control) == ERR_NONE;
}

/* The library's parser goes on into what it never set where a tag is cut off. */
static bool is_whole(const char *body, size_t len)
{
        while (len > 0 && (body[len - 1] == '\0' || strchr(" \t\r\n", body[len - 1]) != NULL))
                len--;
        return len > 0 && body[len - 1] == '>';
}

size_t upnp_xml_services(const char *body, size_t len, struct ip router, const struct upnp_url *desc,
                         struct upnp_service ret[UPNP_SERVICES_MAX])
{
        struct IGDdatas d = {0};
        struct upnp_url base;
        if (!upnp_xml_ready() || len > INT32_MAX || !is_whole(body, len))
                return 0;
        parse_description(body, (int)len, &d);
        if (upnp_url_parse(d.urlbase, strnlen(d.urlbase, sizeof(d.urlbase)), router, desc, &base) != ERR_NONE)
                base = *desc;
        size_t n = add_service(&d.first, router, &base, &ret[0]);
        return n + add_service(&d.second, router, &base, &ret[n]);
}

enum err upnp_xml_value(const char *body, size_t len, const char *name, char *ret, size_t cap)
{
        struct NameValueParserData d = {0};
        if (!upnp_xml_ready() || len > INT32_MAX || !is_whole(body, len))
                return ERR_NOT_FOUND;
        parse_values(body, (int)len, &d);
        const char *v = get_value(&d, name);
        if (v != NULL)
                (void)str_copy(ret, cap, v);
        clear_values(&d);
        return v != NULL ? ERR_NONE : ERR_NOT_FOUND;
}
