#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/addr.h"
#include "cli/command.h"
#include "cli/text.h"

enum { HEAD_MAX = 16384 };

/* The daemon's answer, and what came right behind its head. */
struct reply {
        char data[HEAD_MAX + 1];
        size_t len, head;
        int status;
};

/* ---- the daemon ---- */

static int connect_daemon(struct cli *c)
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        (void)str_copy(sa.sun_path, sizeof(sa.sun_path), client_socket(c->client));
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0)
                return fd;
        text_print(stderr, "tailscaled cannot be asked at %s: %s\n", sa.sun_path, strerror(errno));
        if (fd >= 0)
                close(fd);
        return -1;
}

static bool write_all(int fd, const char *data, size_t len)
{
        while (len > 0) {
                ssize_t n = write(fd, data, len);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return false;
                data += n;
                len -= (size_t)n;
        }
        return true;
}

static bool send_request(int fd, const char *host, long port)
{
        char text[1024];
        int n = snprintf(text, sizeof(text), "POST /localapi/v0/dial HTTP/1.1\r\nHost: local-tailscaled.sock\r\n"
                "Connection: upgrade\r\nUpgrade: ts-dial\r\nDial-Host: %s\r\nDial-Port: %ld\r\nDial-Network: tcp\r\n"
                "Content-Length: 0\r\n\r\n", host, port);
        return n > 0 && (size_t)n < sizeof(text) && write_all(fd, text, (size_t)n);
}

/* Reads on; false: the daemon hung up, or says too much. */
static bool more(int fd, struct reply *r)
{
        if (r->len == HEAD_MAX)
                return false;
        ssize_t n = read(fd, r->data + r->len, HEAD_MAX - r->len);
        if (n < 0 && errno == EINTR)
                return true;
        if (n <= 0)
                return false;
        r->len += (size_t)n;
        r->data[r->len] = '\0';
        return true;
}

static bool read_head(int fd, struct reply *r)
{
        char *end;
        while ((end = strstr(r->data, "\r\n\r\n")) == NULL)
                if (!more(fd, r))
                        return false;
        r->head = (size_t)(end - r->data) + 4;
        return sscanf(r->data, "HTTP/1.%*1d %3d", &r->status) == 1;
}

/* The value of a header, "" = it is not there. */
static void header(const struct reply *r, const char *name, char *out, size_t cap)
{
        size_t n = strlen(name);
        out[0] = '\0';
        for (const char *at = r->data; (at = strstr(at, "\r\n")) != NULL && at < r->data + r->head; ) {
                at += 2;
                if (strncasecmp(at, name, n) != 0 || at[n] != ':')
                        continue;
                at += n + 1;
                at += strspn(at, " ");
                snprintf(out, cap, "%.*s", (int)strcspn(at, "\r"), at);
                return;
        }
}

/* The daemon's first line and sentence. */
static void complain(int fd, struct reply *r, const char *host, long port)
{
        char length[32];
        header(r, "Content-Length", length, sizeof(length));
        size_t want = strtoul(length, NULL, 10);
        while (r->len - r->head < want && more(fd, r))
                ;
        const char *first = strchr(r->data, ' ');
        const char *body = r->data + r->head;
        text_print(stderr, "Dial(\"%s\", %ld): unexpected HTTP response: %.*s, %.*s\n", host, port,
                (int)strcspn(first + 1, "\r"), first + 1, (int)strcspn(body, "\n"), body);
}

/* What is not reached through the tailnet is ours to connect to. */
static int dial_self(const char *text)
{
        struct sockaddr_storage sa;
        struct addr a;
        if (addr_parse(text, &a) != ERR_NONE) {
                text_print(stderr, "the daemon gave no address to connect to: \"%s\"\n", text);
                return -1;
        }
        socklen_t len = addr_to_sockaddr(a, &sa);
        int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, len) == 0)
                return fd;
        text_print(stderr, "%s: %s\n", text, strerror(errno));
        if (fd >= 0)
                close(fd);
        return -1;
}

/* ---- copying ---- */

/* Moves what is there; false: the source ended, or the target is gone (*ret_broken). */
static bool copy_some(int from, int to, bool *ret_broken)
{
        char piece[65536];
        ssize_t n = read(from, piece, sizeof(piece));
        if (n < 0 && errno == EINTR)
                return true;
        *ret_broken = n < 0 || (n > 0 && !write_all(to, piece, (size_t)n));
        return n > 0 && !*ret_broken;
}

/* Until the other side ends.  The end of our input is passed on, and what it answers to that is still read. */
static int copy_both(int fd)
{
        struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
        bool broken = false;
        for (;;) {
                if (poll(p, 2, -1) < 0 && errno != EINTR)
                        return 1;
                if (p[0].fd >= 0 && p[0].revents != 0 && !copy_some(STDIN_FILENO, fd, &broken)) {
                        (void)shutdown(fd, SHUT_WR);
                        p[0].fd = -1;
                }
                if (p[1].revents != 0 && !copy_some(fd, STDOUT_FILENO, &broken))
                        return broken ? 1 : 0;
        }
}

static int talk(int fd, struct reply *r, const char *host, long port)
{
        char where[ADDR_STR_MAX] = "", self[8] = "";
        if (r->status == 101)
                return write_all(STDOUT_FILENO, r->data + r->head, r->len - r->head) ? copy_both(fd) : 1;
        header(r, "Dial-Self", self, sizeof(self));
        header(r, "Dial-Addr", where, sizeof(where));
        if (r->status != 200 || strcmp(self, "true") != 0) {
                complain(fd, r, host, port);
                return 1;
        }
        int own = dial_self(where);
        if (own < 0)
                return 1;
        int code = copy_both(own);
        close(own);
        return code;
}

static bool parse_port(const char *text, long *ret)
{
        char *end;
        errno = 0;
        *ret = strtol(text, &end, 10);
        return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *ret > 0 && *ret <= UINT16_MAX;
}

/* It goes into a header line. */
static bool is_host(const char *text)
{
        for (const char *p = text; *p != '\0'; p++)
                if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
                        return false;
        return text[0] != '\0' && strlen(text) < 256;
}

int cmd_nc(struct cli *c, const struct command *self, int argc, char **argv)
{
        static struct reply r;
        int rest, code;
        long port;
        if (!command_flags(self, NULL, 0, argc, argv, &rest, &code))
                return code;
        json_t *status = status_get(c, false);
        bool ok = status != NULL && status_is_running(status, stdout);
        json_decref(status);
        if (!ok)
                return 1;
        if (argc - rest != 2) {
                fputs("usage: tailscale nc HOST-OR-IP PORT\n", stderr);
                return 1;
        }
        if (!is_host(argv[rest])) {
                text_print(stderr, "invalid host \"%s\": want a name or an address\n", argv[rest]);
                return 1;
        }
        if (!parse_port(argv[rest + 1], &port)) {
                text_print(stderr, "invalid port number \"%s\": want 1 to 65535\n", argv[rest + 1]);
                return 1;
        }
        signal(SIGPIPE, SIG_IGN);
        int fd = connect_daemon(c);
        if (fd < 0)
                return 1;
        code = 1;
        if (send_request(fd, argv[rest], port) && read_head(fd, &r))
                code = talk(fd, &r, argv[rest], port);
        else
                fputs("tailscaled hung up without an answer\n", stderr);
        close(fd);
        return code;
}
