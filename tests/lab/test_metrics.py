"""Counters: what was carried and what was dropped, each reason provoked once.

        alpha --- router1 --- internet --- router2 --- beta
"""
import re
import socket

import pytest

from lab import wait_for
from traffic_host import Echo, ask_tcp, ask_udp


def parse(text):
    values = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = re.fullmatch(r"(\w+(?:\{\w+=\"[^\"]*\"\})?) (\d+)", line).groups()
            assert name not in values
            values[name] = int(value)
    return values


def user(host):
    return parse(host.tailscale("metrics").stdout)


def full(host):
    return parse(host.tailscale("debug", "metrics").stdout)


def dropped(way, reason):
    return f'tailscaled_{way}_dropped_packets_total{{reason="{reason}"}}'


@pytest.fixture
def pair(lab):
    lab.servers("--gather", "0.1")
    return lab.joined(v6=True)


class Raw:
    """Sends whole IPv4 packets into the interface, as the host's own would go."""

    def __init__(self, host):
        self.host = host
        with host.inside():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0x0800)
        host.lab.cleanup.callback(self.sock.close)

    def send(self, packet):
        self.sock.sendto(packet, ("tailscale0", 0x0800))


def ip4(src, dst, proto=17, payload=b"\0" * 8, offset=0, length=None, version=4):
    head = bytearray(20)
    head[0] = version << 4 | 5
    head[2:4] = (length or 20 + len(payload)).to_bytes(2, "big")
    head[6:8] = offset.to_bytes(2, "big")
    head[8], head[9] = 64, proto
    head[12:16], head[16:20] = socket.inet_aton(src), socket.inet_aton(dst)
    return bytes(head) + payload


def test_what_was_carried(lab, pair):
    alpha, beta = pair
    alpha.router.block_direct()
    before = user(alpha)
    assert before["tailscaled_home_derp_region_id"] == 900
    assert alpha.ping(beta.ip, 3) == 3
    by_relay = user(alpha)
    for name in ('inbound_packets_total{path="derp"}', 'outbound_packets_total{path="derp"}'):
        assert by_relay["tailscaled_" + name] > before["tailscaled_" + name]
    alpha.router.open()
    wait_for("they find each other", lambda: alpha.ping(beta.ip) and alpha.path(beta), 60)
    assert alpha.ping(beta.ip, 10, interval=0.05) == 10
    direct = user(alpha)

    def grew(name):
        return sum(direct[f'tailscaled_{name}{{path="{p}"}}'] - before[f'tailscaled_{name}{{path="{p}"}}']
                   for p in ("direct_ipv4", "direct_ipv6"))
    assert grew("inbound_packets_total") >= 10 and grew("outbound_packets_total") >= 10
    assert grew("inbound_bytes_total") >= 10 * 112 and grew("outbound_bytes_total") >= 10 * 112
    assert direct['tailscaled_health_messages{type="warning"}'] == len(alpha.status()["Health"] or [])


def test_routes(lab, pair):
    alpha, beta = pair
    alpha.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    alpha.tailscale("set", "--advertise-routes=10.7.0.0/24,10.8.0.0/24", "--advertise-exit-node")
    assert user(alpha)["tailscaled_advertised_routes"] == 2 and user(alpha)["tailscaled_approved_routes"] == 0
    wait_for("the server knows", lambda: any("10.7.0.0/24" in (n.get("Hostinfo", {}).get("RoutableIPs") or [])
                                             for n in lab.control.call("nodes")))
    lab.control.call("routes", node="alpha", routes=["10.7.0.0/24"])
    wait_for("it is approved", lambda: user(alpha)["tailscaled_approved_routes"] == 1, 20)


def test_written_whole(lab, pair):
    alpha, _ = pair
    alpha.tailscale("metrics", "write", "/run/lab/agent.prom")
    assert alpha.sh("stat -c %a /run/lab/agent.prom") == "644\n"
    assert parse(alpha.sh("cat /run/lab/agent.prom")).keys() == user(alpha).keys()
    assert alpha.tailscale("metrics", "print").stdout.startswith("# TYPE tailscaled_")
    alpha.sh("ls /run/lab/*.tmp* && exit 1 || true")
    for words, text in ((("write",), "usage: tailscale metrics write <path>"),
                        (("write", "/nowhere/x"), "/nowhere/x cannot be written: No such file or directory"),
                        (("frob",), "unknown subcommand: frob")):
        done = alpha.tailscale("metrics", *words, check=False)
        assert done.returncode == 1 and text in done.stderr
    # Those for dashboards are for everybody, the others for whoever may change the daemon.
    nobody = ("setpriv", "--reuid=65534", "--clear-groups", lab.tailscale)
    assert alpha.run(*nobody, "metrics").returncode == 0
    assert alpha.run(*nobody, "debug", "metrics", check=False).returncode == 1


def test_each_reason(lab):
    """One packet that is dropped for it moves the count of each reason that a host, its peer or a stranger can provoke."""
    lab.servers("--gather", "0.1")
    alpha, beta, stranger = lab.host("alpha"), lab.host("beta", lab.router()), lab.host("stranger")
    alpha.join()
    beta.join()
    alpha.wait_peer(beta, test=lambda p: p["Relay"])
    Echo(beta)
    assert ask_udp(alpha, beta.ip) is not None
    mine, theirs, raw, sock = alpha.ip, beta.ip, Raw(alpha), stranger.sock()

    def counts(host, name, what, table=full):
        before = table(host)[name]
        what()
        wait_for(name, lambda: table(host)[name] > before, 5, 0.1)

    def out(packet):
        return lambda: raw.send(packet)

    def from_stranger(data):
        return lambda: sock.sendto(data, (alpha.address, 41641))
    counts(alpha, dropped("outbound", "multicast"), out(ip4(mine, "224.0.0.251")), user)
    counts(alpha, dropped("outbound", "link_local_unicast"), out(ip4(mine, "169.254.3.3")), user)
    counts(alpha, dropped("outbound", "fragment"), out(ip4(mine, theirs, offset=1)), user)
    counts(alpha, dropped("outbound", "too_short"), out(ip4(mine, theirs, length=4000)), user)
    counts(alpha, dropped("outbound", "error"), out(ip4(mine, "100.99.9.9")), user)
    counts(alpha, "route_no_peer_packets_total", out(ip4(mine, "100.99.9.9")))
    # What WireGuard and the filter of the peer have to refuse.
    counts(beta, 'wireguard_dropped_packets_total{reason="inner_source_not_allowed"}', out(ip4("100.98.7.6", theirs)))
    lab.control.call("rules", rules=[])
    wait_for("the rules are in force", lambda: ask_tcp(alpha, theirs, timeout=0.5) is None, 5)
    counts(beta, dropped("inbound", "acl"), lambda: ask_tcp(alpha, theirs, timeout=0.5), user)
    counts(beta, "reject_sent_total", lambda: ask_tcp(alpha, theirs, timeout=0.5))
    counts(alpha, "reject_received_total", lambda: ask_tcp(alpha, theirs, timeout=0.5))
    # What strangers send.
    for reason, data in (("malformed", b"\1\0\0\0" + bytes(60)), ("wrong_mac1", b"\1\0\0\0" + bytes(144)),
                         ("unknown_index", b"\4\0\0\0" + bytes(60))):
        counts(alpha, f'wireguard_dropped_packets_total{{reason="{reason}"}}', from_stranger(data))
    for reason, data in (("too_short", b"xx"), ("disco_stranger", b"TS\xf0\x9f\x92\xac" + bytes(90))):
        counts(alpha, f'path_dropped_packets_total{{reason="{reason}"}}', from_stranger(data))
    # A peer that does not answer: what is staged for it is pushed out by what is newer.
    beta.stop()
    alpha.stop()
    alpha.start()
    wait_for("alpha is back", lambda: alpha.status()["BackendState"] == "Running")
    raw = Raw(alpha)
    counts(alpha, 'wireguard_dropped_packets_total{reason="staging_full"}',
           lambda: [raw.send(ip4(mine, theirs)) for _ in range(300)])
    counts(alpha, dropped("outbound", "error"), lambda: [raw.send(ip4(mine, theirs)) for _ in range(300)], user)
