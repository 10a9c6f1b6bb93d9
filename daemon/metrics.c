#include "daemon/metrics.h"

#include <inttypes.h>

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
        buf_printf(out, "# TYPE %s %s\n# HELP %s %s\n", name, type, name, help);
}

static void plain(struct buf *out, const char *name, const char *type, const char *help, uint64_t n)
{
        head(out, name, type, help);
        buf_printf(out, "%s %" PRIu64 "\n", name, n);
}

/* A label's value: the words of a reason with underscores between them. */
static void row(struct buf *out, const char *name, const char *label, const char *value, uint64_t n)
{
        buf_printf(out, "%s{%s=\"", name, label);
        for (const char *p = value; *p != '\0'; p++)
                buf_add(out, *p == ' ' ? "_" : p, 1);
        buf_printf(out, "\"} %" PRIu64 "\n", n);
}

/* ---- for dashboards ---- */

static const char *const ways[MS_WAYS] = {
        [MS_WAY_DIRECT4] = "direct_ipv4", [MS_WAY_DIRECT6] = "direct_ipv6", [MS_WAY_RELAY] = "derp"};

static void traffic(struct buf *out, const char *name, const char *help, const struct ms_traffic t[MS_WAYS], bool bytes)
{
        static const enum ms_way order[MS_WAYS] = {MS_WAY_RELAY, MS_WAY_DIRECT4, MS_WAY_DIRECT6};   /* by name */
        head(out, name, "counter", help);
        for (size_t i = 0; i < MS_WAYS; i++)
                row(out, name, "path", ways[order[i]], bytes ? t[order[i]].bytes : t[order[i]].packets);
}

static void dropped(struct buf *out, const char *name, const char *help, uint64_t acl, const uint64_t *verdicts,
        uint64_t error)
{
        head(out, name, "counter", help);
        row(out, name, "reason", "acl", acl);
        row(out, name, "reason", "error", error);
        row(out, name, "reason", "fragment", verdicts[FILTER_DROP_FRAGMENT]);
        row(out, name, "reason", "link_local_unicast", verdicts[FILTER_DROP_LINK_LOCAL]);
        row(out, name, "reason", "multicast", verdicts[FILTER_DROP_MULTICAST]);
        row(out, name, "reason", "too_short", verdicts[FILTER_DROP_MALFORMED]);
}

void metrics_user(const struct counters *c, const struct metrics_view *v, struct buf *out)
{
        uint64_t not_sent = c->no_peer + c->wg_drops[WG_DROP_STAGED_FULL] + c->wg_drops[WG_DROP_GAVE_UP] +
                c->wg_drops[WG_DROP_SIZE] + c->ms_drops[MS_DROP_NO_PATH] + c->ms_drops[MS_DROP_SOCKET] +
                c->relay.dropped_queue + c->relay.dropped_rate;
        plain(out, "tailscaled_advertised_routes", "gauge", "Number of advertised network routes (e.g. by a subnet router)",
                v->advertised_routes);
        plain(out, "tailscaled_approved_routes", "gauge", "Number of approved network routes (e.g. by a subnet router)",
                v->approved_routes);
        head(out, "tailscaled_health_messages", "gauge", "Number of health messages broken down by type.");
        row(out, "tailscaled_health_messages", "type", "warning", v->health_messages);
        plain(out, "tailscaled_home_derp_region_id", "gauge", "DERP region ID of this node's home relay server",
                (uint64_t)c->home_region);
        traffic(out, "tailscaled_inbound_bytes_total", "Counts the number of bytes received from other peers", c->in, true);
        dropped(out, "tailscaled_inbound_dropped_packets_total",
                "Counts the number of dropped packets received by the node from other peers",
                c->filter_in[FILTER_DROP_RULE] + c->filter_in[FILTER_DROP_NOT_LOCAL], c->filter_in, c->tun.write_dropped);
        traffic(out, "tailscaled_inbound_packets_total", "Counts the number of packets received from other peers", c->in,
                false);
        traffic(out, "tailscaled_outbound_bytes_total", "Counts the number of bytes sent to other peers", c->out, true);
        dropped(out, "tailscaled_outbound_dropped_packets_total",
                "Counts the number of packets dropped while being sent to other peers", c->filter_out[FILTER_DROP_RULE],
                c->filter_out, not_sent);
        traffic(out, "tailscaled_outbound_packets_total", "Counts the number of packets sent to other peers", c->out, false);
}

/* ---- in full ---- */

static void verdicts(struct buf *out, const char *name, const char *help, const uint64_t n[FILTER_VERDICTS])
{
        head(out, name, "counter", help);
        for (unsigned i = 0; i < FILTER_VERDICTS; i++)
                row(out, name, "verdict", filter_verdict_str(i), n[i]);
}

static void wireguard(const struct counters *c, struct buf *out)
{
        static const char name[] = "wireguard_dropped_packets_total";
        head(out, name, "counter", "Messages and packets that WireGuard dropped");
        for (unsigned i = 0; i < WG_DROP_COUNT; i++)
                row(out, name, "reason", wg_drop_str(i), c->wg_drops[i]);
        plain(out, "wireguard_handshake_messages_total", "counter", "Handshake messages from peers that verified",
                c->handshakes);
        plain(out, "wireguard_peers", "gauge", "Peers in the table", c->peers);
}

static void paths(const struct counters *c, struct buf *out)
{
        static const char name[] = "path_dropped_packets_total";
        head(out, name, "counter", "Datagrams that were dropped on the way between WireGuard and the network");
        for (unsigned i = 0; i < MS_DROP_COUNT; i++)
                row(out, name, "reason", ms_drop_str(i), c->ms_drops[i]);
}

static void hard_nat(const struct hn_totals *t, struct buf *out)
{
        static const char searches[] = "hard_nat_searches_total";
        head(out, searches, "counter", "Searches for a path through this host's hard NAT that ended");
        row(out, searches, "outcome", "found", t->found);
        row(out, searches, "outcome", "missed", t->missed);
        row(out, searches, "outcome", "stopped", t->stopped);
        plain(out, "hard_nat_sockets_total", "counter", "Sockets that were opened for it", t->sockets);
        plain(out, "hard_nat_pings_total", "counter", "Pings that were sent from them", t->pings);
        plain(out, "hard_nat_guesses_total", "counter", "Ports that peers were asked to try", t->guesses);
}

static void relays(const struct counters *c, struct buf *out)
{
        static const char name[] = "relay_dropped_packets_total";
        plain(out, "relay_sent_packets_total", "counter", "Packets written to relays, disco included", c->relay.sent);
        plain(out, "relay_received_packets_total", "counter", "Packets from relays, disco included", c->relay.received);
        head(out, name, "counter", "Packets to and from relays that were dropped");
        row(out, name, "reason", "queue", c->relay.dropped_queue);
        row(out, name, "reason", "rate", c->relay.dropped_rate);
        row(out, name, "reason", "too large", c->relay.dropped_large);
}

static void mappings(const struct portmap_counts *c, struct buf *out)
{
        static const char name[] = "portmap_dropped_packets_total";
        plain(out, "portmap_looks_total", "counter", "Times the router was asked what it offers", c->looks);
        plain(out, "portmap_answers_total", "counter", "Answers of the router", c->answers);
        plain(out, "portmap_made_total", "counter", "Ports that the router gave us", c->made);
        plain(out, "portmap_renewed_total", "counter", "Leases of them that were renewed", c->renewed);
        plain(out, "portmap_failed_total", "counter", "Ports asked for in vain", c->failed);
        plain(out, "portmap_restarts_total", "counter", "Restarts of the router that were noticed", c->lost);
        head(out, name, "counter", "Datagrams that were no answer to what we asked the router");
        row(out, name, "reason", "not the router", c->strangers);
        row(out, name, "reason", "damaged", c->garbage);
}

void metrics_debug(const struct counters *c, struct buf *out)
{
        verdicts(out, "filter_inbound_packets_total", "What the packet filter said of packets from peers", c->filter_in);
        verdicts(out, "filter_outbound_packets_total", "What the packet filter said of packets to peers", c->filter_out);
        plain(out, "route_no_peer_packets_total", "counter", "Packets to an address that no peer has", c->no_peer);
        wireguard(c, out);
        paths(c, out);
        hard_nat(&c->hard_nat, out);
        relays(c, out);
        mappings(&c->portmap, out);
        plain(out, "tun_read_units_total", "counter", "Units read from the interface", c->tun.read);
        plain(out, "tun_written_units_total", "counter", "Units written to the interface", c->tun.written);
        plain(out, "tun_read_dropped_total", "counter", "Units from the interface that contradict themselves",
                c->tun.read_dropped);
        plain(out, "tun_write_dropped_total", "counter", "Packets that the kernel did not take", c->tun.write_dropped);
        plain(out, "service_dropped_packets_total", "counter", "Packets to the service addresses beyond the queue",
                c->service_dropped);
        plain(out, "service_refused_packets_total", "counter", "Packets from the service addresses beyond the queue",
                c->service_refused);
        plain(out, "reject_sent_total", "counter", "Peers told that their connection is refused", c->rejects_sent);
        plain(out, "reject_received_total", "counter", "Connections of ours that a peer refused", c->rejects_heard);
        plain(out, "packet_buffers_free", "gauge", "Packet buffers not in use", c->packets_free);
}
