/* What up, login and set refuse before anybody is asked. */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/key.h"
#include "cli/routeflags.h"
#include "cli/upflags.h"

enum { TAG_MAX = 250, NICKNAME_MAX = 255 };

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define NAME_CHARS LETTERS "0123456789-"

static bool say(char why[UP_WHY_MAX], const char *text)
{
        snprintf(why, UP_WHY_MAX, "%s", text);
        return false;
}

static bool hostname_ok(const char *s)
{
        if (s[0] == '\0')
                return true;
        if (strlen(s) > 253)
                return false;
        for (;;) {
                size_t n = strcspn(s, ".");
                if (n == 0 || n > 63 || s[0] == '-' || s[n - 1] == '-')
                        return false;
                if (strspn(s, NAME_CHARS) < n)
                        return false;
                if (s[n] == '\0')
                        return true;
                s += n + 1;
        }
}

static bool tag_ok(const char *s, size_t n)
{
        const char *name = n >= 4 && strncmp(s, "tag:", 4) == 0 ? s + 4 : s;
        size_t len = n - (size_t)(name - s);
        return len > 0 && n <= TAG_MAX && strspn(name, NAME_CHARS) >= len && strspn(name, LETTERS) > 0;
}

static bool tags_ok(const char *s, char why[UP_WHY_MAX])
{
        for (bool more = s[0] != '\0'; more;) {
                size_t n = strcspn(s, ",");
                if (!tag_ok(s, n)) {
                        snprintf(why, UP_WHY_MAX,
                                "--advertise-tags \"%.*s\": a tag is tag: and a name that starts with a letter, then letters, digits, "
                                "dashes, %d characters at most; commas only between tags", (int)(n < 80 ? n : 80), s, TAG_MAX);
                        return false;
                }
                more = s[n] == ',';
                s += n + more;
        }
        return true;
}

/* Nothing here asks before it does what could go wrong, so each of them is as good as accepted. */
bool up_risks_ok(const char *s, char why[UP_WHY_MAX])
{
        static const char *const known[] = {"lose-ssh", "mac-app-connector", "linux-strict-rp-filter", "all"};
        for (bool more = s[0] != '\0'; more;) {
                size_t n = strcspn(s, ","), k = 0;
                while (k < 4 && (strlen(known[k]) != n || strncmp(s, known[k], n) != 0))
                        k++;
                if (k == 4) {
                        snprintf(why, UP_WHY_MAX, "--accept-risk \"%.*s\": must be lose-ssh, linux-strict-rp-filter, mac-app-connector "
                                "or all", (int)(n < 80 ? n : 80), s);
                        return false;
                }
                more = s[n] == ',';
                s += n + more;
        }
        return true;
}

static bool server_ok(const char *url, char why[UP_WHY_MAX])
{
        CURLU *u = curl_url();
        CURLUcode rc = u != NULL ? curl_url_set(u, CURLUPART_URL, url, 0) : CURLUE_OUT_OF_MEMORY;
        curl_url_cleanup(u);
        if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
                snprintf(why, UP_WHY_MAX, "--login-server \"%.100s\" is no URL: it must begin with https:// or http://", url);
        else if (rc != CURLUE_OK)
                snprintf(why, UP_WHY_MAX, "--login-server \"%.100s\": %s; it must look like https://HOST or http://HOST:PORT",
                        url, rc == CURLUE_BAD_PORT_NUMBER ? "the port is not a number from 1 to 65535" :
                        "no usable host name in it");
        else
                return true;
        return false;
}

static bool choice_ok(const char *flag, const char *value, const char *const *allowed, char why[UP_WHY_MAX])
{
        char list[80] = "";
        for (size_t i = 0; allowed[i] != NULL; i++) {
                size_t at = strlen(list);
                if (strcmp(value, allowed[i]) == 0)
                        return true;
                snprintf(list + at, sizeof(list) - at, "%s%s", i == 0 ? "" : allowed[i + 1] == NULL ? " or " : ", ", allowed[i]);
        }
        snprintf(why, UP_WHY_MAX, "--%s \"%.100s\": must be %s", flag, value, list);
        return false;
}

/* What only other programs can do. */
static bool is_missing(const struct up *u, char why[UP_WHY_MAX])
{
        const struct {
                const char *flag, *what;
                bool asked;
        } rows[] = {
                {"ssh", "the SSH server", u->ssh},
                {"advertise-connector", "being an app connector", u->advertise_connector},
                {"report-posture", "posture reporting", u->report_posture},
                {"webclient", "the web interface", u->webclient},
                {"auto-update", "updating itself", u->auto_update},
                {"relay-server-port", "being a relay for peers", u->relay_port[0] != '\0'},
                {"relay-server-static-endpoints", "being a relay for peers", u->relay_endpoints[0] != '\0'},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                if (!rows[i].asked)
                        continue;
                snprintf(why, UP_WHY_MAX, "--%s: %s is not there yet in this program; leave the flag out", rows[i].flag,
                        rows[i].what);
                return true;
        }
        return false;
}

bool up_check(const struct up *u, char why[UP_WHY_MAX])
{
        static const char *const modes[] = {"on", "nodivert", "off", NULL};
        static const char *const searches[] = {"own", "on", "off", NULL};
        static const char *const formats[] = {"auto", "ascii", "large", "small", NULL};
        if (!server_ok(u->login_server, why))
                return false;
        if (!hostname_ok(u->hostname)) {
                snprintf(why, UP_WHY_MAX, "--hostname \"%.100s\": letters, digits and inner dashes, at most 63 in each part and 253 "
                        "in all", u->hostname);
                return false;
        }
        if (strlen(u->nickname) > NICKNAME_MAX) {
                snprintf(why, UP_WHY_MAX, "--nickname: %zu bytes are too long, %d at most", strlen(u->nickname), NICKNAME_MAX);
                return false;
        }
        if (u->operator[0] != '\0' && getpwnam(u->operator) == NULL) {
                snprintf(why, UP_WHY_MAX, "--operator \"%.100s\": this host has no user of that name", u->operator);
                return false;
        }
        json_t *routes = routes_parse(u->advertise_routes, u->advertise_exit_node, why, UP_WHY_MAX);
        if (routes == NULL)
                return false;
        json_decref(routes);
        if (u->exit_node[0] != '\0' && u->advertise_exit_node)
                return say(why, "--exit-node and --advertise-exit-node exclude each other: a node cannot send its traffic "
                        "through another one and be the way out for others");
        if (!u->set && u->exit_node_allow_lan && u->exit_node[0] == '\0')
                return say(why, "--exit-node-allow-lan-access needs --exit-node");
        if (is_missing(u, why) || !choice_ok("netfilter-mode", u->netfilter_mode, modes, why) ||
                !choice_ok("hard-nat", u->hard_nat, searches, why) ||
                !choice_ok("qr-format", u->qr_format, formats, why))
                return false;
        if (!u->host_routes)
                return say(why, "--host-routes=false is not possible: peers could not be reached");
        if (u->timeout_ns < 0)
                return say(why, "--timeout must not be negative: 0 waits for ever, 30s half a minute");
        return up_risks_ok(u->accept_risk, why) && tags_ok(u->advertise_tags, why);
}

/* ---- the key ---- */

static const char blanks[] = " \t\r\n";

/* What a server will see of it: `--TL` and what follows is for tailnet lock alone. */
static bool key_ok(const char *key, size_t len, char why[UP_WHY_MAX])
{
        const char *lock = memmem(key, len, "--TL", 4);
        size_t sent = lock != NULL ? (size_t)(lock - key) : len;
        for (size_t i = 0; i < len; i++)
                if (key[i] <= ' ' || key[i] > '~')
                        return say(why, "--auth-key: blanks or control characters in the middle; give one key and nothing else");
        if (sent <= AUTH_KEY_MAX)
                return true;
        snprintf(why, UP_WHY_MAX, "--auth-key: %zu characters are too long, %d at most; give one key and nothing else", sent,
                AUTH_KEY_MAX);
        return false;
}

static bool take_key(const char *text, char **ret, char why[UP_WHY_MAX])
{
        const char *start = text + strspn(text, blanks);
        size_t len = strlen(start);
        while (len > 0 && strchr(blanks, start[len - 1]) != NULL)
                len--;
        if (!key_ok(start, len, why))
                return false;
        *ret = strndup(start, len);
        return *ret != NULL || say(why, "out of memory");
}

static bool key_from_file(const char *path, char **ret, char why[UP_WHY_MAX])
{
        enum { FILE_MAX = 4096 };
        struct buf text;
        buf_init(&text, FILE_MAX);
        if (path[0] == '\0')
                return say(why, "--auth-key=file: names no file; it must look like --auth-key=file:/path/to/key");
        int fd = open(path, O_RDONLY | O_CLOEXEC);   /* also what <(a command) gives, so it may wait */
        enum err e = fd >= 0 ? file_read_fd(fd, &text) : ERR_IO;
        int error = errno;
        if (fd >= 0)
                close(fd);
        if (e != ERR_NONE) {
                buf_done(&text);
                snprintf(why, UP_WHY_MAX, "--auth-key: the file %.200s cannot be read: %s", path, strerror(error));
                return false;
        }
        bool ok = take_key(text.data != NULL ? text.data : "", ret, why);
        buf_done(&text);
        if (ok && (*ret)[0] == '\0') {
                free(*ret);
                *ret = NULL;
                snprintf(why, UP_WHY_MAX, "--auth-key: the file %.200s is empty; it must hold the key", path);
                return false;
        }
        return ok;
}

bool up_auth_key(const struct up *u, char **ret, char why[UP_WHY_MAX])
{
        if (strncmp(u->auth_key, "file:", 5) == 0)
                return key_from_file(u->auth_key + 5, ret, why);
        if (!take_key(u->auth_key, ret, why))
                return false;
        if (u->auth_key[0] == '\0' || (*ret)[0] != '\0')
                return true;
        free(*ret);
        *ret = NULL;
        return say(why, "--auth-key is empty: give a key, or leave the flag out");
}
