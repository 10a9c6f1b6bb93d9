"""What peers may ask of a node over HTTP: names, when they go out through it; and nobody else anything.

        alpha, beta --- internet --- gate (exit node)
                           |
                          web            203.0.113.1  names of the world     203.0.113.2  what gate's host asks
"""
import base64
import re
import struct

import pytest

from lab import WAN4, wait_for
from nameserver import Nameserver, flood, query
from traffic_host import Wire

QUAD4 = "100.100.100.100"
WORLD, GATES = WAN4 + "1", WAN4 + "2"
EXIT = ["0.0.0.0/0", "::/0"]
ANY = {"IP": "*", "Ports": {"First": 0, "Last": 65535}}
QUERY = "AAABAAABAAAAAAAAA3d3dwZwdWJsaWMHZXhhbXBsZQAAAQAB"     # www.public.example, A


@pytest.fixture
def net(lab):
    lab.servers("--gather", "0.1")
    lab.control.call("dns", dns={"Proxied": True, "Domains": ["mesh.example"]})
    alpha, beta, gate = (lab.host(name, v6=True) for name in ("alpha", "beta", "gate"))
    gate.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    gate.sh(f"echo nameserver {GATES} >/etc/resolv.conf")
    gate.start()
    gate.up("--advertise-exit-node")
    alpha.join()
    beta.join()
    lab.control.call("routes", node="gate", routes=EXIT)
    for host in (alpha, beta):
        host.wait_peer(gate, test=lambda p: p["ExitNodeOption"] and len(p["PeerAPIURL"] or []) == 2)
    world, gates = Nameserver(lab.net, WORLD, "192.0.2.1"), Nameserver(lab.net, GATES, "192.0.2.2", size=3000)
    yield lab, alpha, beta, gate, world, gates
    world.stop()
    gates.stop()


def urls(host, gate):
    return host.peer(gate)["PeerAPIURL"]


def http(host, url, *args):
    """The status, 0 when there was no answer."""
    done = host.run("curl", "-sg", "--noproxy", "*", "--max-time", "4", "-w", "%{http_code}",
                    *(args if "-o" in args else ("-o", "/dev/null", *args)), url, check=False)
    return int(done.stdout)


def dns(host, base, *args):
    return http(host, f"{base}/dns-query?dns={QUERY}", *args)


def dig(host, name, kind="A"):
    text = host.run("dig", "+tries=1", "+time=8", f"@{QUAD4}", name, kind).stdout
    return re.search(r"status: (\w+)", text).group(1), [
        " ".join(line.split()[4:]) for line in text.splitlines() if line and line[0] != ";"]


def listening(host):
    """Addresses and ports of listening TCP sockets."""
    return {line.split()[3] for line in host.sh("ss -Hltn").splitlines()}


def test_names_go_through_the_exit_node(net):
    lab, alpha, beta, gate, world, gates = net
    wait_for("the host's own names", lambda: dig(alpha, "www.public.example") == ("NOERROR", ["192.0.2.1"]))
    with Wire(alpha, "eth0", [WORLD, GATES]) as wire:
        alpha.tailscale("set", "--exit-node=gate")
        wait_for("the exit node's names", lambda: dig(alpha, "www.public.example") == ("NOERROR", ["192.0.2.2"]))
        wait_for("programs of the host", lambda: alpha.run(
            "getent", "hosts", "host.public.example", check=False).stdout.split()[:1] == ["192.0.2.2"])
        assert dig(alpha, "a.nosuch.example")[0] == "NXDOMAIN"
        assert dig(alpha, "big.public.example", "TXT")[1][0].count("x" * 255) == 11
        before = len(world.asked)
        answers, _, _ = flood(alpha, QUAD4, [f"n{i}.public.example" for i in range(100)])
        assert len(answers) == 100 and all(a[3] & 15 == 0 for a in answers.values())
    assert not wire.seen and len(world.asked) == before
    gate.tailscale("set", "--accept-dns=false")      # its own affair: it goes on for others
    assert dig(alpha, "later.public.example") == ("NOERROR", ["192.0.2.2"])
    alpha.tailscale("set", "--exit-node=")
    wait_for("our own names", lambda: dig(alpha, "last.public.example") == ("NOERROR", ["192.0.2.1"]))


def test_names_of_the_tailnet_are_not_given_away(net):
    """The map of a peer may hide from it what gate's shows."""
    lab, alpha, beta, gate, world, gates = net
    for name in ("beta.mesh.example", "2.0.64.100.in-addr.arpa"):
        message = query(0, name, 12 if name.endswith("arpa") else 1)
        text = base64.urlsafe_b64encode(message).rstrip(b"=").decode()
        assert http(alpha, f"{urls(alpha, gate)[0]}/dns-query?dns={text}", "-o", "/run/answer") == 200
        with open(f"/proc/{alpha.pid}/root/run/answer", "rb") as f:
            answer = f.read()
        flags, _, count = struct.unpack_from("!3H", answer, 2)
        assert flags & 15 == 3 and count == 0, name
    assert not gates.asked


def test_only_those_who_may_go_out_through_it(net):
    lab, alpha, beta, gate, world, gates = net
    for base in urls(alpha, gate):
        assert http(alpha, base) == dns(alpha, base) == 200
    lab.control.call("rules", rules=[
        {"SrcIPs": [alpha.ip, alpha.ip6], "DstPorts": [ANY]},
        {"SrcIPs": [beta.ip, beta.ip6], "DstPorts": [{"IP": ip, "Ports": {"First": 0, "Last": 65535}}
                                                     for ip in (gate.ip, gate.ip6)]}])
    for base in urls(beta, gate):
        wait_for("the rules", lambda: dns(beta, base) == 403)
        assert http(beta, base) == 200, "the door is open, and says no"
        assert dns(beta, base, "-H", f"X-Forwarded-For: {alpha.ip}") == 403
        assert dns(alpha, base) == 200
    lab.control.call("rules", rules=[])
    for base in urls(alpha, gate):
        wait_for("no rules", lambda: dns(alpha, base) == 403)
        assert http(alpha, base) == 200
    lab.control.call("rules", rules=None)
    base = urls(alpha, gate)[0]
    wait_for("open again", lambda: dns(alpha, base) == 200)
    lab.control.call("routes", node="gate", routes=[])
    wait_for("no longer approved", lambda: dns(alpha, base) == 403)
    lab.control.call("routes", node="gate", routes=EXIT)
    wait_for("approved again", lambda: dns(alpha, base) == 200)
    gate.tailscale("set", "--shields-up")
    wait_for("shields up", lambda: dns(alpha, base) == 403)
    gate.tailscale("set", "--shields-up=false", "--advertise-exit-node=false")
    wait_for("no longer offered", lambda: dns(alpha, base) == 403 and http(alpha, base) == 200)
    other = alpha.wait_peer(beta, test=lambda p: p["PeerAPIURL"])["PeerAPIURL"][0]
    assert dns(alpha, other) == 403 and http(alpha, other) == 200, "a node that never offered it"
    asked = [name for name, _ in world.asked + gates.asked]
    assert set(asked) <= {"www.public.example"}


def test_no_web_page_reaches_it(net):
    _, alpha, _, gate, _, _ = net
    for base in urls(alpha, gate):
        for header in ("Host: evil.example", f"Host: {gate.ip}", "Host: gate.mesh.example:80", "Host: localhost",
                       "Origin: http://evil.example", f"Referer: {base}/"):
            assert http(alpha, base, "-H", header) == dns(alpha, base, "-H", header) == 403, header
        for path in ("v0/env", "v0/goroutines", "v0/interfaces", "v0/put/x", "localapi/v0/status", "dns-query/x"):
            assert http(alpha, f"{base}/{path}") == 404
        assert http(alpha, base) == 200


@pytest.mark.parametrize("mode", ["on", "off"])
def test_only_through_the_tunnel(net, mode):
    """Neither the local network nor a forged source gets in, with our firewall or without."""
    lab, alpha, _, gate, _, gates = net
    web = lab.host("web", v6=True)
    bases = urls(alpha, gate)
    gate.tailscale("set", f"--netfilter-mode={mode}")
    if mode == "off":       # as whoever chose it would let in what comes through the tunnel
        gate.sh("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0")
    ports = [int(base.rpartition(":")[2]) for base in bases]
    web.sh(f"ip route add 100.64.0.0/10 via {gate.address}; ip -6 route add fd7a:115c:a1e0::/48 via {gate.address6}")
    for base, port, own in zip(bases, ports, (gate.address, f"[{gate.address6}]")):
        assert http(web, base) == 0
        assert http(web, f"http://{own}:{port}") == http(alpha, f"http://{own}:{port}") == 0
        assert http(gate, base) == http(gate, f"http://127.0.0.1:{port}") == 0, "not even from the host itself"
        assert http(alpha, base) == 200
    web.sh(f"ip addr add {alpha.ip}/32 dev lo; ip -6 addr add {alpha.ip6}/128 dev lo")
    for base, source in zip(bases, (alpha.ip, alpha.ip6)):
        assert http(web, base, "--interface", source) == 0
    assert not gates.asked
    want = {f"{gate.ip}%tailscale0:{ports[0]}", f"[{gate.ip6}]%tailscale0:{ports[1]}"}
    assert {at for at in listening(gate) if at.rpartition(":")[2] in map(str, ports)} == want


def test_open_only_while_running(net):
    lab, alpha, _, gate, _, _ = net
    before = listening(gate)
    assert len(before) == 2
    base = urls(alpha, gate)[0]
    gate.tailscale("down")
    assert listening(gate) == set()
    assert http(alpha, base) == 0
    gate.tailscale("up", check=False)
    wait_for("it is back", lambda: listening(gate) == before, 20)
    wait_for("it answers", lambda: http(alpha, base) == 200, 20)
    # The port is the formula's: what it was before is what it is after a restart.
    assert gate.stop() == 0
    assert listening(gate) == set()
    gate.start()
    wait_for("it answers", lambda: http(alpha, base) == 200, 30)
    assert gate.status()["Self"]["PeerAPIURL"] == urls(alpha, gate)
    lab.control.call("expire", node="gate")
    wait_for("the key has expired", lambda: listening(gate) == set(), 20)
