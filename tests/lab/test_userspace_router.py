"""Routes that are served without TUN and without root.

        alpha --- router --- internet --- router --- gate (no root, no device) --- server 10.77.0.2, 2001:db8:77::2
"""
import hashlib
import os
import socket
import struct
import threading
import time

import pytest

from lab import wait_for
from nameserver import Nameserver
from traffic_host import Echo, Wire, ask_tcp, ask_udp
from userspace import Userspace, read_exactly, socks5

PING = "sysctl -qw net.ipv4.ping_group_range='0 2147483647'"


def add_userspace(lab, name, router, **kw):
    lab.numbers["host"] += 1
    host = Userspace(lab, name, lab.numbers["host"], router, **kw)
    lab.hosts.append(host)
    return host


@pytest.fixture
def net(lab):
    lab.servers("--gather", "0.1")
    alpha = lab.host("alpha", lab.router(), v6=True)
    gate = add_userspace(lab, "gate", lab.router(), v6=True)
    server = lab.lan(gate)
    gate.sh(PING)
    alpha.sh(PING)   # its echo requests then go by a socket that takes no answer whose checksum is wrong
    gate.start()
    gate.up(f"--advertise-routes={server.net4},{server.net6}")
    alpha.start()
    alpha.up("--accept-routes")
    alpha.wait_peer(gate)
    lab.control.call("routes", node="gate", routes=[server.net4, server.net6])
    wait_for("the route is there", lambda: server.net4 in alpha.sh("ip route show table 52") and
             server.net6 in alpha.sh("ip -6 route show table 52"))
    return lab, alpha, gate, server


def test_tcp_udp_and_icmp_reach_the_network_behind(net):
    _, alpha, gate, server = net
    Echo(server)
    gate4, gate6 = "10.77.0.1", "2001:db8:77::1"
    assert ask_tcp(alpha, server.address) == gate4
    assert ask_tcp(alpha, server.address6) == gate6
    assert ask_udp(alpha, server.address) == gate4
    assert ask_udp(alpha, server.address6) == gate6
    assert alpha.ping(server.address, 3, interval=0.2) == 3 and alpha.ping(server.address6) == 1
    assert alpha.ping(gate.ip) == 1 and alpha.ping(gate.ip6) == 1, "its own addresses answer, too"
    assert alpha.ping("10.77.0.9", timeout=1) == 0
    for address in (server.address, server.address6):
        begin = time.monotonic()
        s = alpha.sock(socket.SOCK_STREAM, socket.AF_INET6 if ":" in address else socket.AF_INET)
        with pytest.raises(ConnectionRefusedError):
            s.connect((address, 9))
        assert time.monotonic() - begin < 2
    assert "firewall" not in gate.log() and "permitted" not in gate.log(), gate.log()


def test_a_network_by_its_site(net):
    """4via6: the IPv4 network behind has an IPv6 name with the site's number in it, and a DNS name for each host."""
    lab, alpha, gate, server = net
    Echo(server)
    via = alpha.tailscale("debug", "via", "7", server.net4).stdout.strip()
    assert via == "fd7a:115c:a1e0:b1a:0:7:a4d:0/120"
    other = alpha.tailscale("debug", "via", "8", server.net4).stdout.strip()
    done = alpha.tailscale("set", f"--advertise-routes={via}", check=False)
    assert done.returncode == 1 and "--tun=userspace-networking" in done.stderr, done.stderr
    gate.tailscale("set", f"--advertise-routes={via}")
    lab.control.call("routes", node="gate", routes=[via, other])
    wait_for("the route is there", lambda: via in alpha.sh("ip -6 route show table 52"))
    host = "fd7a:115c:a1e0:b1a:0:7:a4d:2"
    assert ask_tcp(alpha, host) == "10.77.0.1" and ask_udp(alpha, host) == "10.77.0.1"
    assert alpha.ping(host, 2, interval=0.2) == 2
    assert alpha.sh("dig +short @100.100.100.100 10-77-0-2-via-7 AAAA").strip() == host
    assert alpha.ping(host.replace(":7:", ":8:"), timeout=1) == 0, "a site that gate does not advertise"


class BigEcho:
    """Sends each datagram back as it is."""

    def __init__(self, space, address, port=7080):
        self.sock = space.sock(socket.SOCK_DGRAM, socket.AF_INET6 if ":" in address else socket.AF_INET, (address, port))
        self.sources = set()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                data, who = self.sock.recvfrom(65536)
            except socket.timeout:
                continue
            except OSError:
                return
            self.sources.add(who[1])
            self.sock.sendto(data, who)


@pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])
def test_datagrams_larger_than_a_packet_and_many_flows(net, v6):
    _, alpha, gate, server = net
    address = server.address6 if v6 else server.address
    echo = BigEcho(server, address)
    s = alpha.sock(socket.SOCK_DGRAM, socket.AF_INET6 if v6 else socket.AF_INET)
    for size in (0, 1, 1200, 1300, 4000, 9000):
        data = os.urandom(size)
        s.sendto(data, (address, 7080))
        assert s.recv(65536) == data, size
    assert len(echo.sources) == 1, "one flow has one socket"
    many = [alpha.sock(socket.SOCK_DGRAM, socket.AF_INET6 if v6 else socket.AF_INET) for _ in range(400)]
    for i, s in enumerate(many):
        s.sendto(struct.pack("!I", i), (address, 7080))
        assert s.recv(100) == struct.pack("!I", i)
    fds = int(gate.sh(f"ls /proc/{gate.daemon.pid}/fd | wc -l"))
    assert fds < 256 + 120, f"{fds} descriptors: a source has its share and no more"


def test_100_mib_through_the_router(net):
    _, alpha, gate, server = net
    alpha.ping(gate.ip)
    alpha.wait_direct(gate)
    listener = server.listen("0.0.0.0", 8000)
    data = os.urandom(1 << 20) * 100
    result = {}

    def serve():
        c, _ = listener.accept()
        with c:
            c.settimeout(100)
            digest = hashlib.sha256()
            while piece := c.recv(1 << 18):
                digest.update(piece)
            result["got"] = digest.hexdigest()
            c.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    s = alpha.sock(socket.SOCK_STREAM, timeout=100)
    s.connect((server.address, 8000))
    begin = time.monotonic()
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
    back = s.recv(1)
    middle = time.monotonic()
    back += read_exactly(s, len(data) - 1)
    end = time.monotonic()
    assert result["got"] == hashlib.sha256(data).hexdigest() and back == data
    print(f"through the router: {100 * 8.388608 / (middle - begin):.0f} Mbit/s in, {100 * 8.388608 / (end - middle):.0f} out")


def test_no_route_no_rule_no_way(net):
    lab, alpha, gate, server = net
    Echo(server)
    Echo(gate, 7077)
    assert ask_tcp(alpha, server.address)
    lab.control.call("rules", rules=[{"SrcIPs": ["*"], "DstPorts": [
        {"IP": server.net4, "Ports": {"First": 7070, "Last": 7070}}], "IPProto": [6]}])
    wait_for("the rule counts", lambda: ask_udp(alpha, server.address, tries=1, timeout=0.3) is None, 5)
    assert ask_tcp(alpha, server.address), "allowed by the rule"
    assert ask_tcp(alpha, gate.ip, 7077, 1) is None, "and nothing else"
    lab.control.call("rules", rules=None)
    gate.tailscale("set", "--advertise-routes=")
    wait_for("it is withdrawn", lambda: server.net4 not in alpha.sh("ip route show table 52"), 5)
    alpha.sh(f"ip route add {server.net4} dev tailscale0")
    assert ask_tcp(alpha, server.address, timeout=1) is None


def test_many_connections_at_once(net):
    _, alpha, gate, server = net
    listener = server.sock(socket.SOCK_STREAM, bind=(server.address, 7090), timeout=0.2)
    listener.listen(512)
    results, over = [], threading.Event()

    def serve():
        while not over.is_set():
            try:
                c, who = listener.accept()
            except socket.timeout:
                continue
            with c:
                c.sendall(who[0].encode())

    server_thread = threading.Thread(target=serve, daemon=True)
    server_thread.start()
    threads = [threading.Thread(target=lambda: results.append(ask_tcp(alpha, server.address, 7090, 20))) for _ in range(200)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    over.set()
    server_thread.join()
    assert results.count("10.77.0.1") == 200, results.count(None)


@pytest.fixture
def exit_net(lab):
    """alpha (TUN) or omega (userspace) goes out through gate (userspace)."""
    lab.servers("--gather", "0.1", "--offline-delay", "1")
    far = lab.router()
    alpha, omega = lab.host("alpha", lab.router(), v6=True), add_userspace(lab, "omega", lab.router(), v6=True)
    gate, web = add_userspace(lab, "gate", far, v6=True), lab.host("web", v6=True)
    neighbour = lab.host("neighbour", far, v6=True)
    gate.sh(PING)
    gate.start()
    gate.up("--advertise-exit-node")
    alpha.join()
    omega.join()
    lab.control.call("routes", node="gate", routes=["0.0.0.0/0", "::/0"])
    for host in (alpha, omega):
        host.wait_peer(gate, test=lambda p: p["ExitNodeOption"])
    lab.net.sh(f"ip -6 route add {far.lan6}/64 via {far.wan6} || true")
    Echo(web)
    Echo(neighbour, 7073)
    return lab, alpha, omega, gate, web, neighbour


def test_exit_node_for_a_host_with_a_device(exit_net):
    lab, alpha, omega, gate, web, neighbour = exit_net
    alpha.tailscale("set", "--exit-node=gate")
    assert ask_tcp(alpha, web.address) == gate.router.wan4
    assert ask_udp(alpha, web.address) == gate.router.wan4
    assert ask_tcp(alpha, web.address6) == gate.address6 and ask_udp(alpha, web.address6) == gate.address6
    assert alpha.ping(web.address) == 1 and alpha.ping(web.address6) == 1
    assert ask_tcp(alpha, neighbour.address, 7073, 1) is None, "the exit node's own network is not the internet"
    assert ask_tcp(alpha, "127.0.0.2", 7070, 1) is None


def by_socks(host, address, port=7070):
    code, s, _ = socks5(host, address, port)
    with s:
        return s.recv(99).decode() if code == 0 else code


def test_exit_node_as_its_user_without_a_device(exit_net):
    lab, alpha, omega, gate, web, neighbour = exit_net
    assert by_socks(omega, web.address) == omega.router.wan4, "without one the host itself connects"
    assert by_socks(omega, web.address6) == omega.address6
    time.sleep(0.5)     # those two have said goodbye
    with Wire(omega, "eth0", [web.address, web.address6]) as wire:
        omega.tailscale("set", "--exit-node=gate")
        assert by_socks(omega, web.address) == gate.router.wan4
        assert by_socks(omega, web.address6) == gate.address6
        assert omega.tailscale("nc", web.address, "7070").stdout == gate.router.wan4
        gate.stop()
        wait_for("it is gone", lambda: not omega.peer(gate).get("Online"), 15)
        assert by_socks(omega, web.address) in (3, 4), "closed, and not around it"
        omega.tailscale("set", "--exit-node=alpha", check=False)
        lab.control.call("routes", node="gate", routes=[])
        wait_for("it offers nothing", lambda: not omega.peer(gate).get("ExitNodeOption"), 15)
        assert by_socks(omega, web.address) == 3
    assert not wire.seen, "nothing went beside the exit node"
    omega.tailscale("set", "--exit-node=")
    assert by_socks(omega, web.address) == omega.router.wan4


def test_names_and_peerapi_through_the_exit_node(exit_net):
    lab, alpha, omega, gate, web, _ = exit_net
    names = Nameserver(web, web.address, web.address)
    gate.sh(f"echo nameserver {web.address} >/etc/resolv.conf")
    lab.control.call("dns", dns={"Proxied": True, "Domains": ["mesh.example"]})
    for a, b in ((alpha, gate), (gate, alpha), (omega, gate)):
        assert f"hit peerapi of {b.ip} ({b.name})" in a.tailscale("ping", "--peerapi", "-c", "1", b.name).stdout
        assert "via ICMP" in a.tailscale("ping", "--icmp", "-c", "1", b.name).stdout
    omega.tailscale("set", "--exit-node=gate")
    alpha.tailscale("set", "--exit-node=gate")
    assert by_socks(omega, "web.example") == gate.router.wan4, "found as the exit node finds it"
    assert ("web.example", 1) in names.asked
    assert by_socks(omega, "x.nosuch.example") == 4
    answer = alpha.run("getent", "ahostsv4", "other.example").stdout
    names.stop()
    assert web.address in answer


def test_a_name_server_inside_the_tailnet(lab):
    lab.servers("--gather", "0.1")
    alpha, beta, web = add_userspace(lab, "alpha", lab.router()), lab.host("beta", lab.router()), lab.host("web")
    alpha.join()
    beta.join()
    alpha.wait_peer(beta)
    Echo(web)
    names = Nameserver(beta, beta.ip, web.address, size=3000)
    lab.control.call("dns", dns={"Proxied": True, "Domains": ["mesh.example"], "Routes": {"corp.example": [{"Addr": beta.ip}]}})
    wait_for("the name is known", lambda: by_socks(alpha, "web.corp.example") == alpha.router.wan4, 10)
    assert ("web.corp.example", 1) in names.asked, "asked through the stack"
    long = alpha.tailscale("dns", "query", "long.corp.example", "txt").stdout
    names.stop()
    assert "x" * 200 in long, "and by TCP, when it does not fit"
