"""A network behind our router.

        alpha, beta --- internet --- gate --- server 10.77.0.2, 2001:db8:77::2
"""
import json

import pytest

from lab import wait_for
from traffic_host import Echo, ask_tcp, ask_udp

FORWARD = "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"


@pytest.fixture
def net(lab):
    lab.servers("--gather", "0.1")
    alpha, gate = lab.host("alpha", lab.router()), lab.host("gate")
    server = lab.lan(gate)
    gate.sh(FORWARD)
    gate.start()
    gate.up(f"--advertise-routes={server.net4},{server.net6}")
    alpha.start()
    alpha.up("--accept-routes")
    alpha.wait_peer(gate)
    Echo(server)
    return lab, alpha, gate, server


def approve(lab, alpha, gate, server):
    lab.control.call("routes", node=gate.name, routes=[server.net4, server.net6])
    wait_for("the route is there", lambda: server.net4 in alpha.sh("ip route show table 52") and
             server.net6 in alpha.sh("ip -6 route show table 52"))


def reaches(host, server):
    return (ask_udp(host, server.address), ask_tcp(host, server.address), host.ping(server.address),
            ask_udp(host, server.address6), ask_tcp(host, server.address6), host.ping(server.address6))


def test_subnet_is_reached_with_and_without_masquerade(net):
    lab, alpha, gate, server = net
    assert ask_udp(alpha, server.address, tries=1) is None, "nobody approved the route"
    approve(lab, alpha, gate, server)
    gate4, gate6 = "10.77.0.1", "2001:db8:77::1"
    assert reaches(alpha, server) == (gate4, gate4, 1, gate6, gate6, 1), "seen as the router"

    server.sh(f"ip route add 100.64.0.0/10 via {gate4}; ip -6 route add fd7a:115c:a1e0::/48 via {gate6}")
    gate.tailscale("set", "--snat-subnet-routes=false")
    a4, a6 = alpha.ip, alpha.ip6
    assert reaches(alpha, server) == (a4, a4, 1, a6, a6, 1), "seen as itself"

    gate.tailscale("set", "--snat-subnet-routes")
    assert ask_tcp(alpha, server.address) == gate4


def test_subnet_needs_accept_routes(net):
    lab, alpha, gate, server = net
    beta = lab.host("beta", lab.router())
    beta.join()
    beta.wait_peer(gate)
    approve(lab, alpha, gate, server)
    assert ask_tcp(alpha, server.address) and beta.ping(gate.ip)
    assert server.net4 not in beta.sh("ip route show table 52")
    assert ask_tcp(beta, server.address) is None and beta.ping(server.address, timeout=1) == 0

    def hinted():
        return any("tailscale set --accept-routes" in h for h in beta.status()["Health"])
    assert hinted() and "advertising routes" in beta.up().stdout
    beta.tailscale("set", "--accept-routes")
    wait_for("it is accepted", lambda: ask_tcp(beta, server.address), 5)
    assert not hinted()
    beta.tailscale("set", "--accept-routes=false")
    assert ask_tcp(beta, server.address) is None


def test_subnet_route_withdrawn_and_filter(net):
    lab, alpha, gate, server = net
    approve(lab, alpha, gate, server)
    assert ask_tcp(alpha, server.address)
    lab.control.call("rules", rules=[{"SrcIPs": ["*"], "DstPorts": [
        {"IP": server.net4, "Ports": {"First": 7070, "Last": 7070}}], "IPProto": [6]}])
    wait_for("the rule counts", lambda: ask_udp(alpha, server.address, tries=1, timeout=0.3) is None, 5)
    assert ask_tcp(alpha, server.address), "allowed by the rule, forwarded"
    lab.control.call("rules", rules=None)
    gate.tailscale("set", "--advertise-routes=")
    wait_for("it is withdrawn", lambda: server.net4 not in alpha.sh("ip route show table 52"), 5)
    assert ask_tcp(alpha, server.address, timeout=1) is None


def test_server_reaches_the_mesh_and_stateful_filtering_stops_that(net):
    lab, alpha, gate, server = net
    approve(lab, alpha, gate, server)
    server.sh("ip route add default via 10.77.0.1; ip -6 route add default via 2001:db8:77::1")
    Echo(alpha, 7072)
    assert ask_tcp(server, alpha.ip, 7072) == server.address, "its own address is the source"
    assert ask_tcp(server, alpha.ip6, 7072) == server.address6
    gate.tailscale("set", "--stateful-filtering")
    assert ask_tcp(server, alpha.ip, 7072, 1.0) is None and ask_tcp(server, alpha.ip6, 7072, 1.0) is None
    assert ask_tcp(alpha, server.address) and ask_tcp(alpha, server.address6), "answers pass"
    gate.tailscale("set", "--stateful-filtering=false")
    assert ask_tcp(server, alpha.ip, 7072) == server.address


def test_forwarding_that_is_off_is_named_with_the_command(net):
    lab, alpha, gate, server = net
    approve(lab, alpha, gate, server)
    gate.sh("sysctl -qw net.ipv4.ip_forward=0")
    said = gate.tailscale("set", f"--advertise-routes={server.net4}").stdout
    assert "Warning:" in said and "sysctl -w net.ipv4.ip_forward=1" in said
    assert any("sysctl -w net.ipv4.ip_forward=1" in h for h in gate.status()["Health"])
    assert ask_tcp(alpha, server.address, timeout=1) is None
    gate.sh(FORWARD)
    assert not any("forward" in h for h in gate.status()["Health"])
    assert "ip_forward" not in gate.tailscale("set", f"--advertise-routes={server.net4}").stdout
    assert ask_tcp(alpha, server.address)


def test_throughput_is_printed(net):
    lab, alpha, gate, server = net
    approve(lab, alpha, gate, server)
    alpha.ping(gate.ip)
    alpha.wait_direct(gate)
    server.spawn(["iperf3", "-s", "-1"], "iperf3.log")
    wait_for("iperf3 listens", lambda: server.run("sh", "-c", "ss -Hltn sport = 5201").stdout)
    done = alpha.run("iperf3", "-c", server.address, "-t", "3", "-J", timeout=40)
    rate = json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]
    print(f"through the router: {rate / 1e6:.0f} Mbit/s")
    assert rate > 1e6


def test_second_router_takes_over(net):
    lab, alpha, gate, server = net
    twin = lab.host("twin")
    lab.cable(twin, "lan77", server, "eth1")
    server.sh("ip link add name bridge0 type bridge; ip link set bridge0 up; ip addr flush dev eth0; "
              "ip link set eth0 master bridge0; ip link set eth1 master bridge0; ip addr add 10.77.0.2/24 dev bridge0")
    twin.sh(f"{FORWARD}; ip addr add 10.77.0.3/24 dev lan77; ip link set lan77 up")
    twin.start()
    twin.up(f"--advertise-routes={server.net4}")
    approve(lab, alpha, gate, server)
    lab.control.call("routes", node="twin", routes=[server.net4])
    wait_for("traffic", lambda: ask_tcp(alpha, server.address) == "10.77.0.1", 5)
    gate.stop()
    wait_for("the other one carries it", lambda: ask_tcp(alpha, server.address) == "10.77.0.3", 30)
