/* tailscaled: start-up in order of dependency, teardown in reverse. */
#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/dial.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "daemon/api.h"
#include "daemon/backend.h"
#include "daemon/backend_net.h"
#include "daemon/control/client.h"
#include "daemon/engine.h"
#include "daemon/harden.h"
#include "daemon/host/clockwatch.h"
#include "daemon/host/firewall.h"
#include "daemon/host/hostfile.h"
#include "daemon/host/monitor.h"
#include "daemon/host/osdns.h"
#include "daemon/host/router.h"
#include "daemon/localapi/socket.h"
#include "daemon/notify.h"
#include "daemon/offload.h"
#include "daemon/portoff.h"
#include "daemon/options.h"
#include "daemon/profile.h"
#include "daemon/proxy/proxy.h"
#include "daemon/sdnotify.h"
#include "daemon/servers.h"
#include "daemon/stamps.h"
#include "daemon/statics.h"
#include "daemon/state_file.h"
#include "tun/device.h"

#define RUN_FOLDER "/var/run/tailscale"   /* older OpenWrt has no /run */

struct daemon {
        struct options opt;
        struct loop *loop;
        struct watch signals;
        struct dialer *dialer;
        struct dialer *inside;   /* its connections go through the tunnel, the others' past it */
        struct state_file *state;
        struct profiles *profiles;
        struct stamps stamps;
        struct notify *notify;
        struct api api;
        struct lapi_server *server;
        struct tun *tun;
        struct hostfile *host;
        struct firewall *firewall;
        struct router *router;
        struct backend *backend;
        struct engine *engine;
        struct monitor *monitor;
        struct clockwatch *clocks;
        struct osdns *osdns;
        struct proxy *proxy;
        bool stopping;
        const char *failed;   /* why it stops without being asked to */
        bool wait_for_logout;
};

static const char *env_of(const char *name)
{
        return getenv(name);
}

/* Each forwarded DNS query has a socket or more of its own. */
static void want_descriptors(void)
{
        enum { WANTED = 4096 };
        struct rlimit r;
        if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= WANTED)
                return;
        r.rlim_cur = r.rlim_max < WANTED ? r.rlim_max : WANTED;
        (void)setrlimit(RLIMIT_NOFILE, &r);
}

/* That we may run on: one, if we were started under taskset. */
static unsigned processors(void)
{
        cpu_set_t set;
        return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* Locked memory is given back by unmapping alone: what is large and short-lived must not leave holes in the heap, nor
 * each thread have a heap of its own.  The data thread allocates for no packet, so it does not wait for the other. */
static void keep_heap_small(void)
{
#ifdef M_ARENA_MAX
        (void)mallopt(M_ARENA_MAX, 1);
        (void)mallopt(M_MMAP_THRESHOLD, 8 * 1024);
        (void)mallopt(M_TRIM_THRESHOLD, 16 * 1024);
        (void)mallopt(M_TOP_PAD, 4 * 1024);
#endif
}

static void stop(struct daemon *d)
{
        d->stopping = true;
        loop_stop(d->loop);
}

static void on_ephemeral_logout(void *arg, const char *error)
{
        (void)error;
        stop(arg);
}

/* A node that keeps no state would leave a ghost on the server: it says goodbye first. */
static void on_signal(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct daemon *d = container_of(w, struct daemon, signals);
        struct signalfd_siginfo si;
        if (read(w->fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
                return;
        log_info("signal %u: shutting down", si.ssi_signo);
        if (strcmp(d->opt.state, "mem:") == 0 && !d->wait_for_logout && backend_has_node_key(d->backend)) {
                d->wait_for_logout = true;
                backend_logout(d->backend, on_ephemeral_logout, d);
                return;
        }
        stop(d);
}

/* Without its interface the daemon is of no use; whoever started it can start it with a new one. */
static void on_tun_gone(void *arg)
{
        struct daemon *d = arg;
        d->failed = "the interface was deleted by another program: start tailscaled again to have it back";
        stop(d);
}

/* systemd, which says so, runs --cleanup also after a crash. */
static bool is_after_crash(void)
{
        const char *result = getenv("SERVICE_RESULT");
        return result != NULL && result[0] != '\0' && strcmp(result, "success") != 0;
}

/* What a process that died left on the host.  The exit status. */
static int clean_up(const struct options *o)
{
        struct hostfile *host = NULL;
        const char *why = NULL;
        if (o->userspace) {   /* such a daemon leaves nothing but its socket */
                lapi_socket_remove_dead(o->socket);
                return 0;
        }
        enum err e = hostfile_open(RUN_FOLDER, &host, &why);
        if (e == ERR_STATE) {
                log_err("nothing is cleaned up: %s", why);
                return 1;
        }
        if (e != ERR_NONE)
                log_err("not all can be cleaned up: %s", why);
        if (is_after_crash() && router_is_closed()) {
                log_warn("the daemon crashed while an exit node was chosen: the network stays closed until it runs again, "
                        "or until 'tailscaled --cleanup'");
        } else {
                osdns_cleanup(o->tun);
                router_cleanup(o->tun);
                firewall_cleanup(host);
        }
        lapi_socket_remove_dead(o->socket);
        hostfile_free(host);
        return e == ERR_NONE ? 0 : 1;
}

static enum err watch_signals(struct daemon *d)
{
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_BLOCK, &set, NULL);
        watch_init(&d->signals, on_signal);
        int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
        if (fd < 0)
                return ERR_IO;
        return loop_watch(d->loop, &d->signals, fd, LOOP_READ);
}

static void on_network_change(void *arg)
{
        struct daemon *d = arg;
        backend_link_changed(d->backend, 0);
}

/* The other ends of our connections and the mappings of NATs on the way are gone by now. */
static void on_slept(void *arg, int64_t ms)
{
        struct daemon *d = arg;
        log_info("the host slept for %lld s: connections are looked after", (long long)(ms / 1000));
        backend_link_changed(d->backend, ms);
}

static void on_clock_stepped(void *arg, int64_t ms)
{
        struct daemon *d = arg;
        log_info("the host's clock was set %s by %lld s", ms > 0 ? "forward" : "back", (long long)(ms > 0 ? ms : -ms) / 1000);
        stamps_clock_stepped(&d->stamps, wall_now_ns());
        backend_clock_stepped(d->backend, ms);
}

static void on_removed(void *arg)
{
        struct daemon *d = arg;
        size_t n = d->router != NULL ? router_repair(d->router) : 0;
        if (n > 0)
                log_info("another program removed %zu of our routes, rules or addresses: put back", n);
}

static void on_host_dns_change(void *arg)
{
        struct daemon *d = arg;
        backend_os_dns_changed(d->backend);
}

/* The list of what is wrong asks for it itself. */
static void on_host_dns_trouble(void *arg, const char *text)
{
        (void)arg;
        if (text[0] != '\0')
                log_warn("%s", text);
}

static void on_host_dns_settled(void *arg)
{
        struct daemon *d = arg;
        backend_os_dns_settled(d->backend);
}

static const struct osdns_callbacks osdns_cb = {
        .on_change = on_host_dns_change,
        .on_trouble = on_host_dns_trouble,
        .on_settled = on_host_dns_settled,
};

static const struct clockwatch_callbacks clocks_cb = {
        .on_slept = on_slept,
        .on_stepped = on_clock_stepped,
};

static const struct monitor_callbacks monitor_cb = {
        .on_change = on_network_change,
        .on_removed = on_removed,
};

/* Socket first: a second daemon must fail before it touches anything of the first one's. */
static const char *open_front(struct daemon *d)
{
        const char *why = NULL;
        static struct lapi_ops ops = {
                .endpoints = api_endpoints,
                .operator_user = api_operator_user,
                .version = PRODUCT_VERSION,
                .cap_version = CONTROL_CAP_VERSION,
        };
        if (lapi_server_new(d->loop, d->opt.socket, &ops, &d->api, &d->server, &why) != ERR_NONE)
                return why;
        if (state_file_open(d->opt.state, &d->state, &why) != ERR_NONE)
                return why;
        if (profiles_open(d->state, &d->profiles, &why) != ERR_NONE)
                return why;
        servers_load(d->state, d->dialer);
        return NULL;
}

static const char *open_host(struct daemon *d)
{
        const char *why = NULL;
        enum err e = hostfile_open(RUN_FOLDER, &d->host, &why);
        if (e == ERR_STATE)
                return why;
        if (e != ERR_NONE)
                log_warn("%s: a second tailscaled would go unnoticed", why);
        osdns_cleanup(d->opt.tun);
        if (d->tun == NULL && tun_open(d->opt.tun, &d->tun, &why) != ERR_NONE)
                return why;
        if (router_new(tun_name(d->tun), TUN_MTU, &d->router, &why) != ERR_NONE)
                return why;
        if (firewall_new(d->loop, tun_name(d->tun), d->host, &d->firewall, &why) != ERR_NONE)
                log_warn("%s", why);
        return NULL;
}

static const char *open_back(struct daemon *d)
{
        d->notify = notify_new(PRODUCT_VERSION);
        if (d->notify == NULL)
                return "out of memory";
        struct backend_opts bo = {
                .loop = d->loop,
                .dialer = d->dialer,
                .profiles = d->profiles,
                .store = d->state,
                .router = d->router,
                .firewall = d->firewall,
                .tun_name = d->opt.userspace ? NULL : tun_name(d->tun),
                .userspace = d->opt.userspace,
                .notify = d->notify,
                .sizes = d->opt.memory,
                .version = PRODUCT_VERSION,
                .on_tun_gone = on_tun_gone,
                .arg = d,
        };
        d->backend = backend_new(&bo);
        if (d->backend == NULL)
                return "out of memory";
        stamps_start(&d->stamps, d->loop, d->state, wall_now_ns());
        struct utsname kernel = {.release = ""};
        (void)uname(&kernel);
        struct addr statics[MS_STATIC_MAX];
        struct engine_opts eo = {
                .tun = d->tun,
                .tun_name = d->opt.userspace ? NULL : tun_name(d->tun),
                .port = d->opt.port,
                .mark = d->opt.userspace ? 0 : ROUTER_MARK,
                .sizes = d->opt.memory,
                .offloads = offload_by_env(env_of) & offload_by_kernel(kernel.release),
                .portmap = PORTMAP_ALL & ~portoff_by_env(env_of),
                .statics = statics,
                .static_count = statics_by_env(env_of, statics),
                .threads = options_threads(&d->opt, processors()),
                .stamp_floor_ns = d->stamps.floor_ns,
        };
        d->engine = engine_new(d->loop, &eo, &backend_engine_callbacks, d->backend);
        if (d->engine == NULL)
                return strerror(errno);
        backend_net_reach_by(d->backend, d->inside);
        d->api = (struct api){d->backend, d->notify, d->profiles, d->inside, d->loop, d->dialer, eo.mark};
        backend_run(d->backend, d->engine);
        if (!d->opt.userspace) {
                d->osdns = osdns_open(d->loop, tun_name(d->tun), &osdns_cb, d);
                if (d->osdns == NULL)
                        log_warn("the host's DNS is left as it is: %s", strerror(errno));
                backend_set_osdns(d->backend, d->osdns);
        }
        d->monitor = monitor_new(d->loop, d->opt.userspace ? "" : tun_name(d->tun), &monitor_cb, d);
        if (d->monitor == NULL)
                log_warn("network changes will go unnoticed: %s", strerror(errno));
        if (d->monitor != NULL && d->router != NULL) {
                uint32_t ports[ROUTER_PORTS];
                router_ports(d->router, ports);
                monitor_leave_out(d->monitor, ports, ROUTER_PORTS);
        }
        d->clocks = clockwatch_new(d->loop, &clocks_cb, d);
        if (d->clocks == NULL)
                log_warn("a suspend of the host will go unnoticed: %s", strerror(errno));
        return NULL;
}

static const char *listen_for(struct daemon *d, struct addr at, const char *flag, bool socks5, bool http)
{
        static char why[256];
        char text[ADDR_STR_MAX];
        struct addr got;
        if (!addr_is_set(at))
                return NULL;
        if (proxy_listen(d->proxy, at, socks5, http, &got) == ERR_NONE) {
                log_info("%s proxy listening on %s", socks5 ? http ? "SOCKS5 and HTTP" : "SOCKS5" : "HTTP", addr_str(got, text));
                return NULL;
        }
        snprintf(why, sizeof(why), "--%s=%s: %s", flag, addr_str(at, text), strerror(errno));
        return why;
}

/* One listener serves both where they are to be at the same place. */
static const char *open_proxies(struct daemon *d)
{
        const struct options *o = &d->opt;
        bool one = addr_is_set(o->socks5) && addr_eq(o->socks5, o->http_proxy) && o->socks5.port != 0;
        if (!addr_is_set(o->socks5) && !addr_is_set(o->http_proxy))
                return NULL;
        d->proxy = proxy_new(d->loop, backend_dialout(d->backend));
        if (d->proxy == NULL)
                return "out of memory";
        const char *why = listen_for(d, o->socks5, "socks5-server", true, one);
        if (why == NULL && !one)
                why = listen_for(d, o->http_proxy, "outbound-http-proxy-listen", false, true);
        return why;
}

static const char *open_all(struct daemon *d)
{
        if ((d->loop = loop_new()) == NULL || watch_signals(d) != ERR_NONE)
                return strerror(errno);
        if ((d->dialer = dialer_new(d->loop)) == NULL || (d->inside = dialer_new(d->loop)) == NULL)
                return "out of memory";
        const char *why = open_front(d);
        if (why == NULL && d->opt.or_userspace && tun_open(d->opt.tun, &d->tun, &why) != ERR_NONE) {
                log_info("userspace networking, for there is no TUN device: %s", why);
                d->opt.userspace = true;
                why = NULL;
        }
        if (why == NULL && !d->opt.userspace) {
                dialer_set_mark(d->dialer, ROUTER_MARK);
                why = open_host(d);
        }
        if (why == NULL)
                why = open_back(d);
        if (why == NULL)
                why = open_proxies(d);
        return why;
}

static void close_all(struct daemon *d)
{
        clockwatch_free(d->clocks);
        monitor_free(d->monitor);
        if (d->backend != NULL)
                backend_set_osdns(d->backend, NULL);
        proxy_free(d->proxy);
        osdns_free(d->osdns);   /* the host has its own DNS back */
        lapi_server_free(d->server);
        engine_free(d->engine);
        stamps_stop(&d->stamps, wall_now_ns());
        backend_free(d->backend);
        notify_free(d->notify);
        firewall_free(d->firewall);
        router_free(d->router);
        tun_close(d->tun);
        hostfile_free(d->host);
        profiles_free(d->profiles);
        state_file_free(d->state);
        dialer_free(d->dialer);
        dialer_free(d->inside);
        if (d->loop != NULL) {
                int fd = d->signals.fd;
                loop_unwatch(&d->signals);
                if (fd >= 0)
                        close(fd);
        }
        loop_free(d->loop);
}

int main(int argc, char **argv)
{
        static struct daemon d = {.signals.fd = -1};
        const char *why = NULL;
        int code = 1;
        file_keep_standard();
        keep_heap_small();
        if (options_parse(argc, argv, env_of, geteuid() == 0, &d.opt, &why, &code) != ERR_NONE) {
                fprintf(stderr, "tailscaled: %s\n", why);
                if (code == 2)
                        fputs(options_usage(), stderr);
                return code;
        }
        if (d.opt.help) {
                fputs(options_usage(), stderr);
                return 0;
        }
        if (d.opt.version) {
                printf("%s\n", PRODUCT_VERSION);
                return 0;
        }
        log_init(d.opt.verbose);
        sdnotify_init();
        signal(SIGPIPE, SIG_IGN);
        why = harden();
        if (why != NULL && d.opt.userspace)
                log_debug(1, "keys may get into the swap, as memory cannot be locked: %s", why);
        else if (why != NULL)
                log_warn("keys may get into the swap, as memory cannot be locked: %s", why);
        want_descriptors();
        if (crypto_init() != ERR_NONE) {
                log_err("the crypto libraries could not be initialised");
                return 1;
        }
        if (d.opt.cleanup)
                return clean_up(&d.opt);
        log_info("tailscaled %s", PRODUCT_VERSION);
        why = open_all(&d);
        if (why == NULL) {
                sdnotify("READY=1");
                while (!d.stopping)
                        loop_run(d.loop);
                why = d.failed;
        }
        if (why != NULL)
                log_err("%s", why);
        close_all(&d);
        return why == NULL ? 0 : 1;
}
