#include "daemon/backend_net.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/via6.h"
#include "daemon/backend_state.h"
#include "daemon/host/hostaddrs.h"
#include "daemon/sizes.h"

/* ---- where addresses lead ---- */

static struct ip own_address(const struct backend *b, enum ip_family family)
{
        const struct netmap_node *self = backend_netmap(b)->self;
        for (uint32_t i = 0; self != NULL && i < self->address_count; i++)
                if (self->addresses[i].ip.family == family)
                        return self->addresses[i].ip;
        return (struct ip){0};
}

static bool is_own(const struct backend *b, struct ip ip)
{
        const struct netmap_node *self = backend_netmap(b)->self;
        for (uint32_t i = 0; self != NULL && i < self->address_count; i++)
                if (ip_eq(self->addresses[i].ip, ip))
                        return true;
        return false;
}

static bool is_in(const struct prefix *list, size_t n, struct ip ip)
{
        for (size_t i = 0; i < n; i++)
                if (prefix_contains(prefix_masked(list[i]), ip))
                        return true;
        return false;
}

/* The longest route of a peer to this address in bits, -1: there is none. */
static int route_bits(const struct backend *b, struct ip ip)
{
        const struct netmap *nm = backend_netmap(b);
        struct netsync_prefs sp = backend_sync_prefs(b);
        int best = -1;
        for (size_t i = 0; i < nm->peer_count; i++) {
                const struct netmap_node *n = nm->peers[i];
                for (uint32_t k = 0; k < n->allowed_count && !n->expired; k++)
                        if (n->allowed[k].bits > best && prefix_contains(n->allowed[k], ip) &&
                                netsync_allows(n, n->allowed[k], &sp))
                                best = n->allowed[k].bits;
        }
        return best;
}

static bool is_on_lan(struct ip ip)
{
        struct prefix nets[HOSTADDRS_MAX];
        return is_in(nets, hostaddrs(nets), ip);
}

static enum dialout_way nowhere(const char **ret_why, const char *why)
{
        *ret_why = why;
        return DIALOUT_NOWHERE;
}

/* As the routes of a TUN device would have it. */
static enum dialout_way way(void *arg, struct ip *dst, struct ip *ret_local, const char **ret_why)
{
        struct backend *b = arg;
        bool exit = backend_wants_exit_node(b);
        if (!b->o.userspace || ip_is_loopback(*dst))
                return DIALOUT_KERNEL;
        if (ip_is_service(*dst))
                return nowhere(ret_why, "without a TUN device nothing is served at this address");
        if (is_own(b, *dst)) {
                *dst = ip_v4(127, 0, 0, 1);
                return DIALOUT_KERNEL;
        }
        if (!b->configured)
                return ip_is_tailnet(*dst) || exit ? nowhere(ret_why, "this node is not connected to the tailnet") : DIALOUT_KERNEL;
        int bits = route_bits(b, *dst);
        if ((bits == 0 || exit) && bits <= 0 && b->prefs.exit_node_allow_lan && is_on_lan(*dst))
                return DIALOUT_KERNEL;
        if (bits < 0 && ip_is_tailnet(*dst))
                return nowhere(ret_why, "no node of the tailnet has this address");
        if (bits < 0 && exit)
                return nowhere(ret_why, "the chosen exit node is not there, and nothing goes out without it");
        if (bits < 0)
                return DIALOUT_KERNEL;
        *ret_local = own_address(b, dst->family);
        return ip_is_set(*ret_local) ? DIALOUT_STACK : nowhere(ret_why, "this node has no address of that family");
}

/* This host, and what is on its links, no exit node carries. */
static bool is_outside(void *arg, struct ip dst)
{
        const struct backend *b = arg;
        if (ip_is_loopback(dst) || ip_is_unspecified(dst) || ip_is_link_local(dst))
                return true;
        return !ip_is_tailnet(dst) && !is_own(b, dst) && !backend_wants_exit_node(b) && route_bits(b, dst) < 0;
}

static int datagram(void *arg, struct ip local, struct addr to)
{
        struct backend *b = arg;
        return inside_open(b->inside, local, to, SOCK_DGRAM);
}

static struct dns_service *resolver(void *arg)
{
        return backend_dns(arg);
}

/* With an exit node it alone is asked; where there is a device, the host asks it as well. */
static bool may_ask_host(void *arg)
{
        const struct backend *b = arg;
        return !b->o.userspace || !backend_wants_exit_node(b);
}

static const char *suffix(void *arg)
{
        const char *s = backend_netmap(arg)->magic_dns_suffix;
        return s != NULL ? s : "";
}

static const struct dialout_ops dialout_ops = {way, is_outside, datagram, resolver, may_ask_host, suffix};

struct dialout *backend_dialout(struct backend *b)
{
        return b->dialout;
}

struct loop *backend_loop(struct backend *b)
{
        return b->o.loop;
}

/* ---- sockets for those who know no stack ---- */

/* -1: errno; ENOTSUP: the kernel's affair. */
static int inside_way(struct backend *b, struct ip *to, struct ip *ret_local)
{
        const char *why;
        enum dialout_way w = way(b, to, ret_local, &why);
        errno = w == DIALOUT_NOWHERE ? EHOSTUNREACH : ENOTSUP;
        return w == DIALOUT_STACK ? 0 : -1;
}

static int open_inside(void *arg, struct addr to, int type)
{
        struct backend *b = arg;
        struct ip local;
        return inside_way(b, &to.ip, &local) == 0 ? inside_open(b->inside, local, to, type) : -1;
}

static int listen_inside(void *arg, struct addr to, uint8_t ret_name[DIALER_NAME_LEN])
{
        struct backend *b = arg;
        struct ip local;
        return inside_way(b, &to.ip, &local) == 0 ? inside_listen(b->inside, local, to, ret_name) : -1;
}

static const struct dialer_ways ways = {open_inside, listen_inside};

void backend_net_reach(struct backend *b, struct dns_service *s)
{
        if (b->o.userspace)
                dns_service_set_ways(s, &ways, b);
}

void backend_net_reach_by(struct backend *b, struct dialer *d)
{
        if (b->o.userspace)
                dialer_set_ways(d, &ways, b);
}

/* ---- what comes in ---- */

static bool can_mean_a_host(struct ip ip)
{
        static const uint8_t broadcast[4] = {255, 255, 255, 255};
        return !ip_is_loopback(ip) && !ip_is_unspecified(ip) && !ip_is_multicast(ip) && !ip_is_link_local(ip) &&
                !ip_is_tailnet(ip) && !ip_eq(ip, ip_from_bytes4(broadcast));
}

/* The filter has let it through; what no route can mean is refused all the same. */
static bool is_reachable(const struct backend *b, struct ip ip)
{
        return is_in(b->prefs.advertise_routes, b->prefs.advertise_route_count, ip) && can_mean_a_host(ip);
}

/* An address of a site that we advertise becomes the IPv4 address that it stands for. */
static bool is_reachable_as(const struct backend *b, struct ip *ip)
{
        if (!via6_is(*ip))
                return is_reachable(b, *ip);
        bool advertised = is_in(b->prefs.advertise_routes, b->prefs.advertise_route_count, *ip);
        *ip = via6_to_v4(*ip);
        return advertised && can_mean_a_host(*ip);
}

/* Changes an address of ours to this host's own; false: nowhere. */
static bool to_kernel(const struct backend *b, struct ip *ip)
{
        if (!b->configured)
                return false;
        if (!is_own(b, *ip))
                return is_reachable_as(b, ip);
        *ip = ip_v4(127, 0, 0, 1);
        return true;
}

static enum forward_way where_tcp(void *arg, struct stack_syn *s, struct addr from, struct addr *to)
{
        struct backend *b = arg;
        int fd[2];
        bool to_peerapi = b->peerapi != NULL && to->port != 0 && addr_eq(*to, b->peerapi_at[to->ip.family == IP_V6]);
        if (!to_peerapi)
                return to_kernel(b, &to->ip) ? FORWARD_KERNEL : FORWARD_REFUSE;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) != 0)
                return FORWARD_REFUSE;
        peerapi_add(b->peerapi, fd[1], from);
        forward_to_socket(b->forward, s, fd[0]);
        return FORWARD_TAKEN;
}

static bool where_udp(void *arg, struct addr from, struct addr *to)
{
        (void)from;
        return to_kernel(arg, &to->ip);
}

static enum ping_way where_ping(void *arg, struct ip *to)
{
        const struct backend *b = arg;
        if (!b->configured)
                return PING_NOWHERE;
        return is_own(b, *to) ? PING_HERE : is_reachable_as(b, to) ? PING_KERNEL : PING_NOWHERE;
}

static void ask_program(void *arg, uint16_t number, struct ip to)
{
        struct backend *b = arg;
        pingprog_ask(b->pingprog, number, to);
}

static void on_ping_answered(void *arg, uint16_t number)
{
        struct backend *b = arg;
        ping_answered(b->ping, number);
}

static const struct ping_ops ping_ops = {where_ping, ask_program};

static void on_datagram(void *arg, uint8_t proto, struct addr from, struct addr to, const uint8_t *data, size_t len)
{
        struct backend *b = arg;
        if (proto == IPPROTO_UDP)
                udp_datagram(b->udp, from, to, data, len);
        else
                ping_datagram(b->ping, from.ip, to.ip, data, len);
}

static void on_syn(void *arg, struct stack_syn *s)
{
        struct backend *b = arg;
        forward_syn(b->forward, s);
}

static bool to_peer(void *arg, const uint8_t *pkt, size_t len)
{
        struct backend *b = arg;
        return b->engine == NULL || engine_service_send(b->engine, pkt, len);
}

static const struct netstack_ops stack_ops = {to_peer, on_syn, on_datagram};

void backend_net_packet(struct backend *b, const uint8_t *pkt, size_t len)
{
        netstack_in(b->netstack, pkt, len);
}

/* ---- life ---- */

bool backend_net_open(struct backend *b)
{
        b->dialout = dialout_new(b->o.loop, &dialout_ops, b);
        if (b->dialout == NULL || !b->o.userspace)
                return b->dialout != NULL;
        b->netstack = netstack_new(b->o.loop, &stack_ops, b);
        b->forward = forward_new(b->o.loop, b->o.sizes->forwarded, where_tcp, b);
        b->udp = udp_new(b->o.loop, where_udp, b);
        b->inside = b->udp != NULL ? inside_new(b->o.loop, b->udp) : NULL;
        backend_net_reach(b, b->dns);
        b->ping = ping_new(b->o.loop, &ping_ops, b);
        b->pingprog = pingprog_new(b->o.loop, on_ping_answered, b);
        return b->netstack != NULL && b->forward != NULL && b->inside != NULL && b->ping != NULL && b->pingprog != NULL;
}

void backend_net_close(struct backend *b)
{
        dialout_free(b->dialout);
        pingprog_free(b->pingprog);
        ping_free(b->ping);
        inside_free(b->inside);
        udp_free(b->udp);
        forward_free(b->forward);
        netstack_free(b->netstack);
}
