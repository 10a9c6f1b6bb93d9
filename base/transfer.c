#include "base/transfer.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/openssl.h"

struct transfer_sock {
        struct transfer_sock *next;
        struct transfer_multi *owner;
        struct watch watch;
};

enum { READ_AHEAD = 64 * 1024, UNACKED_MS = 5000 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool have_openssl;

/* OpenSSL writes TLS records with write(2), so a peer that hung up would end the process. */
static void ignore_sigpipe(void)
{
        struct sigaction old;
        if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL) {
                struct sigaction ignore = {.sa_handler = SIG_IGN};
                (void)sigaction(SIGPIPE, &ignore, NULL);
        }
}

static void global_init(void)
{
        CURLsslset got = curl_global_sslset(CURLSSLBACKEND_OPENSSL, NULL, NULL);
        have_openssl = got == CURLSSLSET_OK || got == CURLSSLSET_TOO_LATE;
        (void)curl_global_init(CURL_GLOBAL_DEFAULT);
        ignore_sigpipe();
}

/* --- what went wrong, in words --- */

static void say(struct transfer *t, enum err err, const char *what, const char *detail)
{
        t->err = err;
        snprintf(t->error, sizeof(t->error), "%s%s%s", what, detail[0] != '\0' ? ": " : "", detail);
        for (char *p = t->error; *p != '\0'; p++)
                if ((unsigned char)*p < ' ' || *p == 127)
                        *p = ' ';
}

static const char *after(const char *text, const char *prefix)
{
        return strncmp(text, prefix, strlen(prefix)) == 0 ? text + strlen(prefix) : text;
}

static void say_not_connected(struct transfer *t)
{
        long os = 0;
        (void)curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &os);
        if (os == ECONNREFUSED)
                say(t, ERR_IO, "connection refused", "");
        else if (os == EHOSTUNREACH || os == ENETUNREACH)
                say(t, ERR_IO, "no route to host", "");
        else if (os == ETIMEDOUT)
                say(t, ERR_TIMEOUT, "timed out", "");
        else if (os != 0)
                say(t, ERR_IO, "cannot connect", strerror((int)os));
        else
                say(t, ERR_IO, "cannot connect", t->detail);
}

static void say_tls(struct transfer *t)
{
        if (t->tls.refused != NULL)
                say(t, ERR_AUTH, "certificate is not trusted", t->tls.refused);
        else if (strstr(t->detail, "wrong version number") || strstr(t->detail, "packet length too long") ||
                strstr(t->detail, "http request"))
                say(t, ERR_AUTH, "the other side does not speak TLS", "");
        else
                say(t, ERR_AUTH, "TLS failed", t->detail);
}

static void translate(struct transfer *t, CURLcode code)
{
        if (t->detail[0] == '\0' && code != CURLE_OK)
                snprintf(t->detail, sizeof(t->detail), "%s", curl_easy_strerror(code));
        /* libcurl has some hundred codes; those not named here share one translation. */
        if (code == CURLE_OK) {
                t->err = ERR_NONE;
        } else if (code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY) {
                say(t, ERR_NOT_FOUND, "name not found", after(t->detail, "Could not resolve host: "));
        } else if (code == CURLE_COULDNT_CONNECT) {
                say_not_connected(t);
        } else if (code == CURLE_OPERATION_TIMEDOUT) {
                char ms[32];
                snprintf(ms, sizeof(ms), "timed out after %u ms", t->timeout_ms);
                say(t, ERR_TIMEOUT, ms, "");
        } else if (code == CURLE_PEER_FAILED_VERIFICATION) {
                const char *why = after(t->detail, "SSL certificate problem: ");
                say(t, ERR_AUTH, "certificate is not trusted", t->tls.refused ? t->tls.refused : after(why, "SSL: "));
        } else if (code == CURLE_SSL_CONNECT_ERROR) {
                say_tls(t);
        } else if (code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_CERTPROBLEM) {
                say(t, ERR_AUTH, "cannot read the trusted certificates", t->detail);
        } else if (code == CURLE_OUT_OF_MEMORY) {
                say(t, ERR_FULL, "out of memory", "");
        } else {
                say(t, ERR_IO, t->detail, "");
        }
}

/* --- without a name server --- */

static bool add_entry(struct curl_slist **list, const char *text)
{
        struct curl_slist *longer = curl_slist_append(*list, text);
        if (longer == NULL)
                return false;
        *list = longer;
        return true;
}

/* Starts over with the addresses remembered, if there are any and it was not done before. */
static bool fall_back(struct transfer *t)
{
        struct ip ips[LASTGOOD_ADDRS];
        char text[LASTGOOD_HOST_MAX + LASTGOOD_ADDRS * (IP_STR_MAX + 3) + 16], ip[IP_STR_MAX];
        size_t n = t->may_remember && !t->fell_back ? dialer_remembered(t->dialer, t->host, ips) : 0;
        if (n == 0)
                return false;
        int len = snprintf(text, sizeof(text), "%s:%u:", t->host, t->port);
        for (size_t i = 0; i < n; i++)
                len += snprintf(text + len, sizeof(text) - (size_t)len, "%s[%s]", i > 0 ? "," : "", ip_str(ips[i], ip));
        t->fell_back = true;
        if (!add_entry(&t->resolve, text) || curl_easy_setopt(t->easy, CURLOPT_RESOLVE, t->resolve) != CURLE_OK)
                return false;
        (void)curl_multi_remove_handle(t->multi->multi, t->easy);
        t->detail[0] = '\0';
        if (curl_multi_add_handle(t->multi->multi, t->easy) != CURLM_OK) {
                transfer_refuse(t, ERR_FULL, "out of memory");   /* nothing else would end it now */
                return true;
        }
        log_info("the name %s cannot be looked up: its last known address is tried", t->host);
        return true;
}

static void patience_expired(struct timer *timer, mono_t now)
{
        (void)now;
        struct transfer *t = container_of(timer, struct transfer, patience);
        curl_off_t us = 0;
        if (curl_easy_getinfo(t->easy, CURLINFO_NAMELOOKUP_TIME_T, &us) == CURLE_OK && us == 0)
                (void)fall_back(t);
}

/* --- libcurl on the loop --- */

/* May end the transfer, and with it m: the caller touches neither afterwards. */
static void drive(struct transfer_multi *m, curl_socket_t fd, int what, mono_t now)
{
        int running, left;
        struct transfer *t = NULL;
        (void)curl_multi_socket_action(m->multi, fd, what, &running);
        CURLMsg *msg = curl_multi_info_read(m->multi, &left);
        if (msg == NULL || msg->msg != CURLMSG_DONE || curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &t) != CURLE_OK)
                return;
        CURLcode result = msg->data.result;   /* msg goes with the handle */
        if (left > 0)
                loop_timer_in(m->loop, &m->more, 0);
        if (result == CURLE_COULDNT_RESOLVE_HOST && fall_back(t))
                return;
        loop_timer_stop(&t->patience);
        translate(t, result);
        t->on_done(t, now);
}

static void sock_ready(struct watch *w, unsigned events, mono_t now)
{
        struct transfer_sock *s = container_of(w, struct transfer_sock, watch);
        int what = ((events & LOOP_READ) ? CURL_CSELECT_IN : 0) | ((events & LOOP_WRITE) ? CURL_CSELECT_OUT : 0);
        drive(s->owner, w->fd, what, now);
}

static void sock_free(struct transfer_multi *m, struct transfer_sock *s)
{
        for (struct transfer_sock **p = &m->socks; *p != NULL; p = &(*p)->next) {
                if (*p == s) {
                        *p = s->next;
                        break;
                }
        }
        loop_unwatch(&s->watch);
        free(s);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *sock)
{
        (void)easy;
        struct transfer_multi *m = arg;
        struct transfer_sock *s = sock;
        if (what == CURL_POLL_REMOVE) {
                if (s != NULL)
                        sock_free(m, s);
                return 0;
        }
        unsigned events = ((what & CURL_POLL_IN) ? (unsigned)LOOP_READ : 0U) |
                ((what & CURL_POLL_OUT) ? (unsigned)LOOP_WRITE : 0U);
        if (s != NULL) {
                loop_change(&s->watch, events);
                return 0;
        }
        s = calloc(1, sizeof(*s));
        if (s == NULL)
                return -1;
        watch_init(&s->watch, sock_ready);
        s->owner = m;
        if (loop_watch(m->loop, &s->watch, fd, events) != ERR_NONE) {
                free(s);
                return -1;
        }
        s->next = m->socks;
        m->socks = s;
        (void)curl_multi_assign(m->multi, fd, s);
        return 0;
}

static void timer_expired(struct timer *timer, mono_t now)
{
        drive(container_of(timer, struct transfer_multi, timer), CURL_SOCKET_TIMEOUT, 0, now);
}

static void more_expired(struct timer *timer, mono_t now)
{
        drive(container_of(timer, struct transfer_multi, more), CURL_SOCKET_TIMEOUT, 0, now);
}

static int on_timer(CURLM *multi, long ms, void *arg)
{
        (void)multi;
        struct transfer_multi *m = arg;
        if (ms < 0)
                loop_timer_stop(&m->timer);
        else
                loop_timer_at(m->loop, &m->timer, mono_add_ms(mono_now(), ms));
        return 0;
}

/* --- multi handles, own and kept --- */

static bool set_multi(struct transfer_multi *m)
{
        return curl_multi_setopt(m->multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
                curl_multi_setopt(m->multi, CURLMOPT_SOCKETDATA, m) == CURLM_OK &&
                curl_multi_setopt(m->multi, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
                curl_multi_setopt(m->multi, CURLMOPT_TIMERDATA, m) == CURLM_OK &&
                curl_multi_setopt(m->multi, CURLMOPT_MAXCONNECTS, (long)DIALER_KEPT_MAX) == CURLM_OK &&
                curl_multi_setopt(m->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)DIALER_KEPT_MAX) == CURLM_OK;
}

static void multi_unref(struct transfer_multi *m)
{
        if (m == NULL || --m->users > 0)
                return;
        if (m->multi != NULL)
                (void)curl_multi_cleanup(m->multi);
        while (m->socks != NULL)
                sock_free(m, m->socks);
        loop_timer_stop(&m->timer);
        loop_timer_stop(&m->more);
        free(m);
}

static struct transfer_multi *multi_new(struct loop *l)
{
        struct transfer_multi *m = calloc(1, sizeof(*m));
        if (m == NULL)
                return NULL;
        m->loop = l;
        m->users = 1;
        timer_init(&m->timer, timer_expired);
        timer_init(&m->more, more_expired);
        m->multi = curl_multi_init();
        if (m->multi != NULL && set_multi(m))
                return m;
        multi_unref(m);
        return NULL;
}

/* NULL: out of memory. */
static struct transfer_multi *multi_for(struct dialer *d, bool kept)
{
        if (!kept)
                return multi_new(d->loop);
        if (d->kept == NULL)
                d->kept = multi_new(d->loop);
        if (d->kept != NULL)
                d->kept->users++;
        loop_timer_stop(&d->idle);
        return d->kept;
}

static void idle_expired(struct timer *timer, mono_t now)
{
        (void)now;
        dialer_flush(container_of(timer, struct dialer, idle));
}

struct dialer *dialer_new(struct loop *l)
{
        (void)pthread_once(&once, global_init);
        struct dialer *d = calloc(1, sizeof(*d));
        if (d == NULL)
                return NULL;
        d->loop = l;
        timer_init(&d->idle, idle_expired);
        return d;
}

void dialer_free(struct dialer *d)
{
        if (d == NULL)
                return;
        dialer_flush(d);
        free(d->known);
        free(d);
}

void dialer_set_mark(struct dialer *d, uint32_t mark)
{
        d->mark = mark;
}

void dialer_set_ways(struct dialer *d, const struct dialer_ways *w, void *arg)
{
        d->ways = w;
        d->ways_arg = arg;
}

int dial_socket(struct addr to, int type, void (*before)(int fd, int family))
{
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr(to, &sa);
        int fd = socket(sa.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -1;
        if (before != NULL)
                before(fd, sa.ss_family);
        if (connect(fd, (struct sockaddr *)&sa, len) == 0 || errno == EINPROGRESS)
                return fd;
        int e = errno;
        close(fd);
        errno = e;
        return -1;
}

int dialer_socket(struct dialer *d, struct addr to, int type, void (*before)(int fd, int family))
{
        int fd = d->ways != NULL ? d->ways->open(d->ways_arg, to, type) : -1;
        if (fd >= 0 || (d->ways != NULL && errno != ENOTSUP))
                return fd;
        return dial_socket(to, type, before);
}

void dialer_remember(struct dialer *d, const char *host, struct ip ip)
{
        if (d->known == NULL)
                d->known = calloc(1, sizeof(*d->known));
        if (d->known != NULL)   /* else it has to be looked up */
                lastgood_put(d->known, host, ip);
}

size_t dialer_remembered(const struct dialer *d, const char *host, struct ip ret[LASTGOOD_ADDRS])
{
        return d->known != NULL ? lastgood_get(d->known, host, ret) : 0;
}

void dialer_keep(struct dialer *d)
{
        d->keeps = true;
}

void dialer_flush(struct dialer *d)
{
        loop_timer_stop(&d->idle);
        multi_unref(d->kept);
        d->kept = NULL;
}

/* --- --- */

static void refusal_expired(struct timer *timer, mono_t now)
{
        struct transfer *t = container_of(timer, struct transfer, refusal);
        t->on_done(t, now);
}

/* Its address may be changed, and what connects to it is led to a socket of ours. */
static curl_socket_t on_socket_wanted(void *arg, curlsocktype purpose, struct curl_sockaddr *sa)
{
        struct dialer *d = ((struct transfer *)arg)->dialer;
        _Static_assert(sizeof(sa->addr.sa_data) == 1 + DIALER_NAME_LEN, "an abstract name begins with a zero byte");
        uint8_t name[DIALER_NAME_LEN];
        if (purpose == CURLSOCKTYPE_IPCXN && sa->socktype == SOCK_STREAM) {
                if (d->ways->listen(d->ways_arg, addr_from_sockaddr(&sa->addr), name) == 0) {
                        *sa = (struct curl_sockaddr){.family = AF_UNIX, .socktype = SOCK_STREAM, .addrlen = sizeof(sa->addr)};
                        sa->addr.sa_family = AF_UNIX;
                        memcpy(sa->addr.sa_data + 1, name, sizeof(name));
                } else if (errno != ENOTSUP) {
                        return CURL_SOCKET_BAD;
                }
        }
        return socket(sa->family, sa->socktype | SOCK_CLOEXEC, sa->protocol);
}

/* Without the right to mark, the socket follows the ordinary routes: better than none. */
static int on_socket_made(void *arg, curl_socket_t fd, curlsocktype purpose)
{
        struct transfer *t = arg;
        if (purpose == CURLSOCKTYPE_IPCXN && t->mark != 0)
                (void)setsockopt(fd, SOL_SOCKET, SO_MARK, &t->mark, sizeof(t->mark));
        if (purpose == CURLSOCKTYPE_IPCXN && t->restless) {
                const int syns = 1, unacked = UNACKED_MS;
                (void)setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &syns, sizeof(syns));
                (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked, sizeof(unacked));
        }
        return CURL_SOCKOPT_OK;
}

static CURLcode on_ssl_ctx(CURL *easy, void *ctx, void *arg)
{
        (void)easy;
        struct transfer *t = arg;
        tls_check_install(&t->tls, ctx);
        /* A record costs two calls else, one for its five bytes of header; and libcurl has its buffers freed whenever they
         * are empty. */
        if (t->read_ahead) {
                SSL_CTX_set_read_ahead(ctx, 1);
                SSL_CTX_set_default_read_buffer_len(ctx, READ_AHEAD);
                SSL_CTX_clear_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
        }
        return CURLE_OK;
}

/* What a proxy says to CONNECT is nobody's body. */
static size_t discard(char *data, size_t size, size_t n, void *arg)
{
        (void)data;
        (void)arg;
        return size * n;
}

/* --- options --- */

enum pick { PICK_RESOLVE, PICK_LITERAL, PICK_OFF };

static enum pick pick_family(const char *literal, enum ip_family family)
{
        struct ip ip;
        if (literal == NULL || literal[0] == '\0')
                return PICK_RESOLVE;
        return ip_parse(literal, &ip) == ERR_NONE && ip.family == family ? PICK_LITERAL : PICK_OFF;
}

/* The literals take the place of a look-up.  A host that is an IPv6 literal cannot stand in a RESOLVE
 * entry; the connection is then sent to the literal, one of them. */
static bool set_literals(struct transfer *t, const struct transfer_target *to, const char *ip4, const char *ip6)
{
        char text[512];
        if (strchr(to->host, ':') != NULL) {
                snprintf(text, sizeof(text), ip6 ? "::[%s]:" : "::%s:", ip6 ? ip6 : ip4);
                return add_entry(&t->connect_to, text) &&
                        curl_easy_setopt(t->easy, CURLOPT_CONNECT_TO, t->connect_to) == CURLE_OK;
        }
        snprintf(text, sizeof(text), "%s:%u:%s%s%s%s%s", to->host, to->port, ip4 ? ip4 : "", ip4 && ip6 ? "," : "",
                ip6 ? "[" : "", ip6 ? ip6 : "", ip6 ? "]" : "");
        return add_entry(&t->resolve, text) &&
                curl_easy_setopt(t->easy, CURLOPT_RESOLVE, t->resolve) == CURLE_OK;
}

/* A proxy, of whatever kind and for whatever hosts: who looks names up then, and whom we see at the other end, is not
 * for us to tell. */
static bool has_proxy(void)
{
        static const char *const names[] = {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy",
                "ALL_PROXY"};
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                const char *v = getenv(names[i]);
                if (v != NULL && v[0] != '\0')
                        return true;
        }
        return false;
}

static bool has_route(const char *literal, uint32_t mark)
{
        struct ip ip;
        int fd = ip_parse(literal, &ip) == ERR_NONE && ip.family == IP_V4 ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
        if (fd < 0)
                return false;
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(9)};
        memcpy(&sa.sin_addr, ip.b, sizeof(sa.sin_addr));
        if (mark != 0)
                (void)setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
        bool yes = connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0;   /* of UDP: nothing is sent */
        close(fd);
        return yes;
}

/* On a network without IPv4 the server's IPv4 address is of no use, but its name may have one of IPv6 there: a DNS64 makes
 * it, and a NAT64 leads to the same server. */
static bool wants_nat64(const struct transfer *t, const struct transfer_target *to, const struct dial_opts *opts)
{
        struct ip ip;
        return pick_family(opts->connect_ip4, IP_V4) == PICK_LITERAL && pick_family(opts->connect_ip6, IP_V6) == PICK_RESOLVE &&
                ip_parse(to->host, &ip) != ERR_NONE && !has_route(opts->connect_ip4, t->mark);
}

/* Where to connect: see connect_ip4 and connect_ip6 in dial.h. */
static bool set_addresses(struct transfer *t, const struct transfer_target *to, const struct dial_opts *opts)
{
        enum pick p4 = wants_nat64(t, to, opts) ? PICK_OFF : pick_family(opts->connect_ip4, IP_V4);
        enum pick p6 = pick_family(opts->connect_ip6, IP_V6);
        if (p4 == PICK_OFF && p6 == PICK_OFF) {
                transfer_refuse(t, ERR_NOT_FOUND, "no address family to connect by");
                return true;
        }
        long family = p4 == PICK_OFF ? CURL_IPRESOLVE_V6 : p6 == PICK_OFF ? CURL_IPRESOLVE_V4 : CURL_IPRESOLVE_WHATEVER;
        if (curl_easy_setopt(t->easy, CURLOPT_IPRESOLVE, family) != CURLE_OK)
                return false;
        if (p4 != PICK_LITERAL && p6 != PICK_LITERAL) {
                t->may_remember = !has_proxy() && str_copy(t->host, sizeof(t->host), to->host);
                return true;
        }
        return set_literals(t, to, p4 == PICK_LITERAL ? opts->connect_ip4 : NULL,
                p6 == PICK_LITERAL ? opts->connect_ip6 : NULL);
}

/* libcurl reads the environment itself, but not HTTP_PROXY in capitals, and it would send loopback
 * through the proxy. */
static bool set_proxy(struct transfer *t, const struct transfer_target *to, bool no_proxy)
{
        struct ip ip;
        bool local = strcmp(to->host, "localhost") == 0 || (ip_parse(to->host, &ip) == ERR_NONE && ip_is_loopback(ip));
        if (no_proxy || local)
                return curl_easy_setopt(t->easy, CURLOPT_PROXY, "") == CURLE_OK;
        const char *upper = getenv("HTTP_PROXY");
        if (!to->tls && getenv("http_proxy") == NULL && upper != NULL && upper[0] != '\0')
                return curl_easy_setopt(t->easy, CURLOPT_PROXY, upper) == CURLE_OK;
        return true;
}

/* libcurl leaves the environment to its command line tool. */
static const char *ca_place(const char *variable, const char *usual)
{
        const char *set = getenv(variable);
        return set != NULL && set[0] != '\0' ? set : usual;
}

static bool set_no_ca(struct transfer *t)
{
        return curl_easy_setopt(t->easy, CURLOPT_CAINFO, NULL) == CURLE_OK &&
               curl_easy_setopt(t->easy, CURLOPT_CAPATH, NULL) == CURLE_OK;
}

/* In a folder made by c_rehash one certificate can be looked up; a megabyte for each connection is not read then. */
static bool set_ca(struct transfer *t)
{
        const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);
        const char *file = ca_place("SSL_CERT_FILE", v->cainfo), *dir = ca_place("SSL_CERT_DIR", v->capath);
        if (dir == NULL || !tls_folder_is_hashed(dir))
                return file == NULL || curl_easy_setopt(t->easy, CURLOPT_CAINFO, file) == CURLE_OK;
        t->tls.bundle = file;
        return curl_easy_setopt(t->easy, CURLOPT_CAINFO, NULL) == CURLE_OK &&
               curl_easy_setopt(t->easy, CURLOPT_CAPATH, dir) == CURLE_OK;
}

/* All but the check of the plain host name is in tlscheck, which is asked in every mode. */
static bool set_tls(struct transfer *t)
{
        CURL *e = t->easy;
        bool chain = t->tls.mode == TLS_CHECK_HOST || t->tls.mode == TLS_CHECK_NAME;
        bool ok = curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, chain ? 1L : 0L) == CURLE_OK;
        ok = ok && curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, t->tls.mode == TLS_CHECK_HOST ? 2L : 0L) == CURLE_OK;
        ok = ok && curl_easy_setopt(e, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx) == CURLE_OK;
        ok = ok && curl_easy_setopt(e, CURLOPT_SSL_CTX_DATA, t) == CURLE_OK;
        /* A resumed session would bring no certificate to look at. */
        ok = ok && curl_easy_setopt(e, CURLOPT_SSL_SESSIONID_CACHE, 0L) == CURLE_OK;
        ok = ok && curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK;
        return ok && (chain ? set_ca(t) : set_no_ca(t));
}

static bool set_common(struct transfer *t, const struct transfer_target *to, const struct dial_opts *opts)
{
        CURL *e = t->easy;
        bool ok = curl_easy_setopt(e, CURLOPT_URL, to->url) == CURLE_OK;
        ok = ok && curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->detail) == CURLE_OK;
        ok = ok && curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
        ok = ok && curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)t->timeout_ms) == CURLE_OK;
        ok = ok && curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, discard) == CURLE_OK;
        ok = ok && curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, discard) == CURLE_OK;
        if (t->dialer->ways != NULL) {
                ok = ok && curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_socket_wanted) == CURLE_OK;
                ok = ok && curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t) == CURLE_OK;
        }
        ok = ok && curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_socket_made) == CURLE_OK;
        ok = ok && curl_easy_setopt(e, CURLOPT_SOCKOPTDATA, t) == CURLE_OK;
        ok = ok && curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, opts->restless ? 0L : 1L) == CURLE_OK;
        ok = ok && curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, 30L) == CURLE_OK;
        ok = ok && curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 15L) == CURLE_OK;
#if LIBCURL_VERSION_NUM >= 0x075700
        /* Closing while a look-up hangs would else wait for the resolver. */
        ok = ok && curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK;
#endif
        if (!ok || !set_proxy(t, to, opts->no_proxy) || !set_addresses(t, to, opts))
                return false;
        return !to->tls || set_tls(t);
}

bool transfer_init(struct transfer *t, struct dialer *d, const struct transfer_target *to,
        const struct dial_opts *opts, void (*on_done)(struct transfer *t, mono_t now))
{
        /* Whether another certificate would do is not asked when a connection is chosen. */
        bool kept = d->keeps && to->reuse && opts->cert_name == NULL && !opts->insecure;
        *t = (struct transfer){.loop = d->loop, .dialer = d, .kept = kept, .port = to->port, .mark = d->mark,
                .restless = opts->restless, .on_done = on_done};
        t->timeout_ms = opts->timeout_ms != 0 ? opts->timeout_ms : TRANSFER_TIMEOUT_MS;
        timer_init(&t->refusal, refusal_expired);
        timer_init(&t->patience, patience_expired);
        t->easy = curl_easy_init();
        t->multi = multi_for(d, kept);
        if (t->easy == NULL || t->multi == NULL || curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t) != CURLE_OK) {
                transfer_end(t);
                return false;
        }
        if (!tls_check_init(&t->tls, to->host, opts->cert_name, opts->insecure))
                transfer_refuse(t, ERR_FORMAT, "certificate name or pin is malformed");
        else if (to->tls && !have_openssl)
                transfer_refuse(t, ERR_UNSUPPORTED, "libcurl is built without OpenSSL");
        if (!set_common(t, to, opts)) {
                transfer_end(t);
                return false;
        }
        return true;
}

void transfer_start(struct transfer *t)
{
        if (timer_is_armed(&t->refusal))
                return;
        if (curl_multi_add_handle(t->multi->multi, t->easy) != CURLM_OK)
                transfer_refuse(t, ERR_FULL, "out of memory");
        if (t->may_remember)
                loop_timer_in(t->loop, &t->patience, t->timeout_ms / 2 < DIAL_LOOKUP_MS ? t->timeout_ms / 2 : DIAL_LOOKUP_MS);
}

void transfer_refuse(struct transfer *t, enum err err, const char *why)
{
        if (timer_is_armed(&t->refusal))
                return;   /* the first reason stands */
        say(t, err, why, "");
        loop_timer_in(t->loop, &t->refusal, 0);
}

void transfer_detach(struct transfer *t)
{
        loop_timer_stop(&t->multi->timer);
        for (struct transfer_sock *s = t->multi->socks; s != NULL; s = s->next)
                loop_unwatch(&s->watch);
}

/* The last request of a dialer that keeps connections: they stay for a while. */
static void start_idling(struct dialer *d)
{
        if (d->kept != NULL && d->kept->users == 1)
                loop_timer_in(d->loop, &d->idle, DIALER_KEPT_MS);
}

void transfer_end(struct transfer *t)
{
        if (t->multi != NULL && t->easy != NULL)
                (void)curl_multi_remove_handle(t->multi->multi, t->easy);
        curl_easy_cleanup(t->easy);
        multi_unref(t->multi);
        if (t->kept)
                start_idling(t->dialer);
        loop_timer_stop(&t->refusal);
        loop_timer_stop(&t->patience);
        curl_slist_free_all(t->resolve);
        curl_slist_free_all(t->connect_to);
        tls_check_done(&t->tls);
        t->easy = NULL;
        t->multi = NULL;
}
