#include "daemon/control/fault.h"

#include <stdio.h>
#include <string.h>

/* What helps depends on what the certificate check, or the library, has found. */
static const char *tls_remedy(const char *detail)
{
        if (strstr(detail, "self-signed") != NULL || strstr(detail, "self signed") != NULL ||
            strstr(detail, "issuer") != NULL)
                return "if the server is yours, let this machine trust its CA: add it to the system's, or name the "
                       "file in SSL_CERT_FILE of tailscaled";
        if (strstr(detail, "subject name") != NULL || strstr(detail, "mismatch") != NULL)
                return "give --login-server the name that the certificate is for";
        if (strstr(detail, "expired") != NULL || strstr(detail, "not yet valid") != NULL)
                return "renew the server's certificate, or set this machine's clock";
        return "check the port, the server's certificate, and whether the URL should start with http://";
}

const char *fault_text(enum control_error_kind kind, const struct server_url *url, const char *detail,
                       const char *server_text, char out[FAULT_TEXT_MAX])
{
        const char *base = url->base[0] != '\0' ? url->base : "(none)";
        const char *fmt = "";
        const char *what = server_text[0] != '\0' ? server_text : detail;
        /* By position: the server, then the detail (which may be left out, the server may not). */
        switch (kind) {
        case CONTROL_ERROR_BAD_URL:
                fmt = "the login server's URL \"%1$s\" cannot be used\n"
                      "it must look like https://HOST or http://HOST:PORT";
                break;
        case CONTROL_ERROR_NAME:
                fmt = "the login server %1$s cannot be found: no such host name\n"
                      "check the spelling of --login-server, and this machine's DNS";
                break;
        case CONTROL_ERROR_REFUSED:
                fmt = "the login server %1$s cannot be reached: connection refused\n"
                      "check that the server is running and that host and port of --login-server are right";
                break;
        case CONTROL_ERROR_NO_ROUTE:
                fmt = "the login server %1$s cannot be reached: no route to it\n"
                      "check this machine's network connection and the address";
                break;
        case CONTROL_ERROR_TIMEOUT:
                fmt = "the login server %1$s does not answer: %2$s\n"
                      "check the address, the network, and whether a firewall drops the connection";
                break;
        case CONTROL_ERROR_TLS:
                fmt = "no secure connection to the login server %1$s: %2$s\n%3$s";
                break;
        case CONTROL_ERROR_SERVER:
                fmt = "the login server %1$s is not working now: %2$s\n"
                      "it is tried again; look at the server's log if this lasts";
                break;
        case CONTROL_ERROR_NOT_CONTROL:
                fmt = "%1$s is not a control server, or a proxy hides it: %2$s\n"
                      "check --login-server; a proxy must pass on POST upgrades to "
                      "tailscale-control-protocol";
                break;
        case CONTROL_ERROR_VERSION:
                fmt = "the login server %1$s does not accept this client's protocol version: %2$s\n"
                      "update this program, or the server if that is the older one";
                break;
        case CONTROL_ERROR_SERVER_KEY:
                fmt = "the login server %1$s could not prove that it holds the key it published: %2$s\n"
                      "if the server was not just reinstalled, something between may be tampering";
                break;
        case CONTROL_ERROR_AUTH_KEY:
                fmt = "the login server %1$s does not accept this auth key: %2$s\n"
                      "check that it was copied whole and belongs to this server, or create a new one";
                break;
        case CONTROL_ERROR_AUTH_KEY_USED:
                fmt = "this auth key was used before, says the login server %1$s: %2$s\n"
                      "create a new one (a reusable one for several machines) and log in with that";
                break;
        case CONTROL_ERROR_AUTH_KEY_EXPIRED:
                fmt = "this auth key is no longer valid, says the login server %1$s: %2$s\n"
                      "create a new one and log in with that";
                break;
        case CONTROL_ERROR_REJECTED:
                fmt = "the login server %1$s refused this machine: %2$s\n"
                      "its administrator can tell why";
                break;
        case CONTROL_ERROR_RATE_LIMITED:
                fmt = "the login server %1$s is too busy and asks to wait";
                break;
        case CONTROL_ERROR_PROTOCOL:
                fmt = "the login server %1$s sent something that cannot be understood: %2$s\n"
                      "it is tried again; please report this with the server's version";
                break;
        case CONTROL_ERROR_INTERNAL:
                fmt = "out of memory while talking to the login server %1$s";
                break;
        }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        (void)snprintf(out, FAULT_TEXT_MAX, fmt, base, what, tls_remedy(what));
#pragma GCC diagnostic pop
        return out;
}

enum control_error_kind fault_of_register(enum register_fault f)
{
        switch (f) {
        case REGISTER_FAULT_KEY_BAD:
                return CONTROL_ERROR_AUTH_KEY;
        case REGISTER_FAULT_KEY_USED:
                return CONTROL_ERROR_AUTH_KEY_USED;
        case REGISTER_FAULT_KEY_EXPIRED:
                return CONTROL_ERROR_AUTH_KEY_EXPIRED;
        case REGISTER_FAULT_OTHER:
        case REGISTER_FAULT_TAGS:
        case REGISTER_FAULT_MIXED:
                break;
        }
        return CONTROL_ERROR_REJECTED;
}

enum control_error_kind fault_of_transport(enum err e, const char *error)
{
        if (e == ERR_NOT_FOUND)
                return CONTROL_ERROR_NAME;
        if (e == ERR_AUTH)
                return CONTROL_ERROR_TLS;
        if (e == ERR_TIMEOUT)
                return CONTROL_ERROR_TIMEOUT;
        if (e == ERR_FORMAT)
                return CONTROL_ERROR_BAD_URL;
        if (strcmp(error, "connection refused") == 0)
                return CONTROL_ERROR_REFUSED;
        if (strcmp(error, "no route to host") == 0)
                return CONTROL_ERROR_NO_ROUTE;
        return CONTROL_ERROR_SERVER;
}
