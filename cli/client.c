#include "cli/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mono.h"
#include "cli/text.h"

enum {
        BODY_MAX = 256 << 20,     /* a status of ten thousand peers is some 15 MB */
        RETRY_MS = 250,
        PATIENCE_MS = 2000,
        LINE_MAX_BYTES = 256 << 20,
};

struct client {
        char socket[CLIENT_SOCKET_MAX + 1];
        CURL *curl;
        struct curl_slist *headers;
        mono_t started;
        bool names_endpoint, plain_errors;
        char error[CURL_ERROR_SIZE];
};

struct client *client_new(const char *socket_path)
{
        struct client *c = calloc(1, sizeof(*c));
        if (c == NULL)
                return NULL;
        c->started = mono_now();
        c->curl = curl_easy_init();
        if (c->curl == NULL || !str_copy(c->socket, sizeof(c->socket), socket_path)) {
                client_free(c);
                return NULL;
        }
        return c;
}

void client_free(struct client *c)
{
        if (c == NULL)
                return;
        curl_slist_free_all(c->headers);
        curl_easy_cleanup(c->curl);
        free(c);
}

const char *client_socket(const struct client *c)
{
        return c->socket;
}

void client_name_endpoints(struct client *c)
{
        c->names_endpoint = true;
}

void client_plain_errors(struct client *c)
{
        c->plain_errors = true;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
        struct buf *b = arg;
        buf_add(b, data, size * n);
        return buf_ok(b) ? size * n : 0;
}

static void prepare(struct client *c, const char *method, const char *path, const char *body)
{
        char url[1024];
        snprintf(url, sizeof(url), "http://local-tailscaled.sock/localapi/v0/%s", path);
        curl_easy_reset(c->curl);
        curl_slist_free_all(c->headers);
        c->headers = curl_slist_append(NULL, "Expect:");
        if (body != NULL)
                c->headers = curl_slist_append(c->headers, "Content-Type: application/json");
        c->error[0] = '\0';
        curl_easy_setopt(c->curl, CURLOPT_URL, url);
        curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, c->socket);
        curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
        curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
        curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, c->error);
        curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
        if (body != NULL || strcmp(method, "GET") != 0) {
                curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body != NULL ? body : "");
                curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE, body != NULL ? (long)strlen(body) : 0L);
        }
}

/* Why the socket cannot be reached, asked of the kernel, because libcurl does not tell. */
static enum err probe_socket(const struct client *c)
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        (void)str_copy(sa.sun_path, sizeof(sa.sun_path), c->socket);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return ERR_IO;
        int rc = connect(fd, (const struct sockaddr *)&sa, sizeof(sa)), error = errno;
        close(fd);
        if (rc == 0)
                return ERR_NONE;
        struct stat st;
        if (error == ECONNREFUSED && stat(c->socket, &st) == 0 && !S_ISSOCK(st.st_mode))
                return ERR_FORMAT;
        if (error == EACCES || error == EPERM)
                return ERR_PERMISSION;
        return error == ENOENT || error == ECONNREFUSED || error == ENOTDIR ? ERR_NOT_FOUND : ERR_IO;
}

/* Waits for a daemon that is just starting; ERR_NONE: it listens. */
static enum err wait_for_socket(const struct client *c)
{
        enum err e;
        while ((e = probe_socket(c)) == ERR_NOT_FOUND && mono_diff_ms(mono_now(), c->started) < PATIENCE_MS) {
                struct timespec ts = {.tv_nsec = RETRY_MS * NS_PER_MS};
                nanosleep(&ts, NULL);
        }
        return e;
}

void client_call(struct client *c, const char *method, const char *path, const char *body, int64_t timeout_ns,
        struct answer *ret)
{
        *ret = (struct answer){.err = wait_for_socket(c)};
        buf_init(&ret->body, BODY_MAX);
        if (ret->err != ERR_NONE)
                return;
        prepare(c, method, path, body);
        curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &ret->body);
        if (timeout_ns > 0)
                curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, (long)(timeout_ns / NS_PER_MS) + 1);
        CURLcode rc = curl_easy_perform(c->curl);
        curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &ret->status);
        if (rc == CURLE_OPERATION_TIMEDOUT)
                ret->err = ERR_TIMEOUT;
        else if (rc != CURLE_OK)
                ret->err = ERR_IO;
}

void answer_done(struct answer *a)
{
        buf_done(&a->body);
}

json_t *answer_json(const struct answer *a)
{
        return a->body.data != NULL ? json_parse(a->body.data, a->body.len) : NULL;
}

/* The text of an error answer: {"error": ...}, {"Error": ...} or the body itself, without its newline. */
static const char *error_text(const struct answer *a, char *out, size_t cap)
{
        json_t *j = answer_json(a);
        const char *text = j != NULL ? json_str(j, "error", json_str(j, "Error", NULL)) : NULL;
        if (text == NULL)
                text = a->body.data != NULL ? a->body.data : "";
        (void)str_copy(out, cap, text);
        text_clean_lines(out);
        for (size_t n = strlen(out); n > 0 && (out[n - 1] == '\n' || out[n - 1] == '\r'); n--)
                out[n - 1] = '\0';
        json_decref(j);
        return out;
}

static const char *reason(long status)
{
        switch (status) {
        case 400:
                return "Bad Request";
        case 404:
                return "Not Found";
        case 405:
                return "Method Not Allowed";
        case 412:
                return "Precondition Failed";
        case 500:
                return "Internal Server Error";
        case 503:
                return "Service Unavailable";
        default:
                return "unexpected answer";
        }
}

void client_complain(const struct client *c, const char *path, const struct answer *a)
{
        char text[1024];
        if (a->err == ERR_NOT_FOUND && c->names_endpoint) {
                text_print(stderr, "Failed to connect to local Tailscale daemon for /localapi/v0/%.*s; not running? "
                        "(no daemon at %s)\nstart it with 'systemctl start tailscaled', or run 'tailscaled' as root\n",
                        (int)strcspn(path, "?"), path, c->socket);
        } else if (a->err == ERR_NOT_FOUND) {
                text_print(stderr, "failed to connect to local tailscaled; it doesn't appear to be running (no daemon at %s)\n"
                        "start it with 'systemctl start tailscaled', or run 'tailscaled' as root\n", c->socket);
        } else if (a->err == ERR_PERMISSION) {
                text_print(stderr, "failed to connect to local tailscaled: permission denied on %s\n"
                        "run the command with sudo\n", c->socket);
        } else if (a->err == ERR_FORMAT) {
                text_print(stderr, "failed to connect to local tailscaled: %s is no socket\n"
                        "give the path of the daemon's own with --socket, or leave the flag out\n", c->socket);
        } else if (a->err == ERR_TIMEOUT) {
                text_print(stderr, "the daemon did not answer %s in time\n", path);
        } else if (a->err != ERR_NONE) {
                text_print(stderr, "the daemon hung up on %s: %s\n", path, c->error[0] ? c->error : "no answer");
        } else if (a->status == 403) {
                const char *why = error_text(a, text, sizeof(text)), said[] = "access denied: ";
                text_print(stderr, "Access denied: %s\n", why + (strncmp(why, said, strlen(said)) == 0 ? strlen(said) : 0));
                if (geteuid() != 0)
                        fputs("\nUse 'sudo' with the same command,\n"
                              "or once 'sudo tailscale set --operator=$USER' to allow it without.\n", stderr);
        } else if (a->status == 200 || a->status == 204) {
                text_print(stderr, "the daemon's answer to %s is not what it should be\n", path);
        } else if (c->plain_errors && error_text(a, text, sizeof(text))[0] != '\0') {
                text_print(stderr, "%s\n", text);
        } else {
                text_print(stderr, "%ld %s: %s\n", a->status, reason(a->status), error_text(a, text, sizeof(text)));
        }
}

bool client_json(struct client *c, const char *method, const char *path, const char *body, long want, json_t **ret)
{
        struct answer a;
        client_call(c, method, path, body, 0, &a);
        json_t *j = NULL;
        bool ok = a.err == ERR_NONE && a.status == want;
        if (ok && want == 200) {
                j = answer_json(&a);
                ok = j != NULL;
        }
        if (!ok)
                client_complain(c, path, &a);
        else if (ret != NULL)
                *ret = j;
        else
                json_decref(j);
        answer_done(&a);
        return ok;
}

/* ---- the bus ---- */

struct stream {
        const struct bus_watch *w;
        struct buf line;
        bool connected, stop;
};

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
        struct stream *s = arg;
        (void)data;
        if (size * n <= 2)   /* the empty line behind the headers */
                s->connected = true;
        return size * n;
}

static size_t on_stream(char *data, size_t size, size_t n, void *arg)
{
        struct stream *s = arg;
        buf_add(&s->line, data, size * n);
        if (!buf_ok(&s->line))
                return 0;
        for (char *nl; !s->stop && s->line.len > 0 && (nl = memchr(s->line.data, '\n', s->line.len)) != NULL;) {
                size_t len = (size_t)(nl - s->line.data);
                json_t *j = json_parse(s->line.data, len);
                if (json_is_object(j) && !s->w->on_event(s->w->arg, j))
                        s->stop = true;
                json_decref(j);
                buf_consume(&s->line, len + 1);
        }
        return s->stop ? 0 : size * n;
}

enum err client_watch(struct client *c, const struct bus_watch *w)
{
        enum err e = wait_for_socket(c);
        if (e != ERR_NONE)
                return e;
        struct stream s = {.w = w};
        CURLM *multi = curl_multi_init();
        if (multi == NULL)
                return ERR_IO;
        buf_init(&s.line, LINE_MAX_BYTES);
        prepare(c, "GET", w->path, NULL);
        curl_easy_setopt(c->curl, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(c->curl, CURLOPT_HEADERDATA, &s);
        curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_stream);
        curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &s);
        curl_multi_add_handle(multi, c->curl);
        int running = 1;
        e = ERR_CLOSED;
        while (running > 0 && !s.stop) {
                if (curl_multi_perform(multi, &running) != CURLM_OK)
                        break;
                if (s.stop || !w->on_tick(w->arg, s.connected)) {
                        s.stop = true;
                        break;
                }
                if (running > 0)
                        curl_multi_poll(multi, NULL, 0, 50, NULL);
        }
        if (s.stop)
                e = ERR_NONE;
        curl_multi_remove_handle(multi, c->curl);
        curl_multi_cleanup(multi);
        buf_done(&s.line);
        return e;
}
