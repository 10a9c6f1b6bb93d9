"""All traffic through another node, and not a packet beside it.

        alpha --- router --- internet --- router --- gate (exit node)
          |                      |
       neighbour                web
"""
import signal
import time

import pytest

from lab import wait_for
from traffic_host import Chatter, Echo, Wire, ask_tcp, ask_udp

FORWARD = "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"


@pytest.fixture
def net(lab):
    lab.servers("--gather", "0.1", "--offline-delay", "1")
    near, far = lab.router(), lab.router()
    alpha, neighbour = lab.host("alpha", near, v6=True), lab.host("neighbour", near, v6=True)
    gate, web = lab.host("gate", far, v6=True), lab.host("web", v6=True)
    gate.sh(FORWARD)
    gate.start()
    gate.up("--advertise-exit-node")
    alpha.join()
    lab.control.call("routes", node="gate", routes=["0.0.0.0/0", "::/0"])
    alpha.wait_peer(gate, test=lambda p: p["ExitNodeOption"])
    # Far enough that the exit node does not think it its own network.
    lab.net.sh(f"ip -6 route add {far.lan6}/64 via {far.wan6} || true")
    Echo(web)
    Echo(neighbour, 7073)
    return lab, alpha, gate, web, neighbour


def use(alpha, gate, *more):
    alpha.tailscale("set", f"--exit-node={gate.name}", *more)


def seen_as(alpha, web):
    return ask_tcp(alpha, web.address), ask_tcp(alpha, web.address6), ask_udp(alpha, web.address), \
        ask_udp(alpha, web.address6)


def test_the_outside_sees_the_exit_node(net):
    lab, alpha, gate, web, _ = net
    own = seen_as(alpha, web)
    assert own == (alpha.router.wan4, alpha.address6) * 2
    with Wire(alpha, "eth0", [web.address, web.address6]) as wire:
        use(alpha, gate)
        assert seen_as(alpha, web) == (gate.router.wan4, gate.address6) * 2
        assert alpha.ping(web.address) == 1 and alpha.ping(web.address6) == 1
        assert wire.total > 0
    assert not wire.seen, "what went to web went through the tunnel"
    status = alpha.status()
    assert status["ExitNodeStatus"]["ID"] == alpha.peer(gate)["ID"] and alpha.peer(gate)["ExitNode"]
    listed = alpha.tailscale("exit-node", "list").stdout
    assert "gate.mesh.example" in listed and "selected" in listed
    alpha.tailscale("set", "--exit-node=")
    assert seen_as(alpha, web) == own


def test_exit_node_by_address_name_and_id(net):
    _, alpha, gate, web, _ = net
    for word in (gate.ip, gate.ip6, "gate", "GATE.mesh.example.", alpha.peer(gate)["ID"]):
        alpha.tailscale("set", f"--exit-node={word}")
        assert ask_tcp(alpha, web.address) == gate.router.wan4, word
        alpha.tailscale("set", "--exit-node=")


def test_one_of_several_is_chosen(net):
    """auto:any uses one that is online, moves when that goes, and is closed while there is none."""
    lab, alpha, gate, web, _ = net
    other = lab.host("other", lab.router(), v6=True)
    other.sh(FORWARD)
    other.start()
    other.up("--advertise-exit-node")
    lab.control.call("routes", node="other", routes=["0.0.0.0/0", "::/0"])
    alpha.wait_peer(other, test=lambda p: p["ExitNodeOption"] and p["Relay"])
    own = alpha.router.wan4
    assert "Suggested exit node: gate.mesh.example" in alpha.tailscale("exit-node", "suggest").stdout
    assert ask_tcp(alpha, web.address) == own         # a suggestion is no more than that
    alpha.tailscale("set", "--exit-node=auto:any")
    prefs = alpha.prefs()
    assert (prefs["AutoExitNode"], prefs["ExitNodeID"]) == ("any", alpha.peer(gate)["ID"])
    with Wire(alpha, "eth0", [web.address, web.address6]) as wire:
        assert ask_tcp(alpha, web.address) == gate.router.wan4
        gate.stop()
        wait_for("the other one is used", lambda: ask_tcp(alpha, web.address, timeout=1) == other.router.wan4, 20)
        gate.start()
        alpha.wait_peer(gate, test=lambda p: p["Online"])
        assert ask_tcp(alpha, web.address) == other.router.wan4      # no reason to change again
        gate.stop()
        other.stop()
        wait_for("nobody is online", lambda: not alpha.peer(other)["Online"], 20)
        assert ask_tcp(alpha, web.address, timeout=1) is None
        assert any("exit node" in h for h in alpha.status()["Health"])
        alpha.stop()
        alpha.start()
        alpha.status()      # its socket is there before the routes are; its answers are not
        assert ask_tcp(alpha, web.address, timeout=1) is None        # nor while a daemon has no map yet
        other.start()
        wait_for("it is back", lambda: ask_tcp(alpha, web.address, timeout=1) == other.router.wan4, 20)
    assert not wire.seen
    line = alpha.tailscale("up", "--shields-up", check=False).stderr
    assert "--exit-node=auto:any" in line and line.count("--exit-node") == 1, line
    alpha.tailscale("set", "--exit-node=")
    assert ask_tcp(alpha, web.address) == own and "AutoExitNode" not in alpha.prefs()


@pytest.mark.parametrize("how", ["gate stops", "gate is killed", "gate is deleted", "gate withdraws", "network changes"])
def test_nothing_leaks_when_the_exit_node_goes(net, how):
    lab, alpha, gate, web, _ = net
    targets = [web.address, web.address6]
    use(alpha, gate)
    assert ask_tcp(alpha, web.address) == gate.router.wan4
    with Wire(alpha, "eth0", targets) as wire, Chatter(alpha, targets) as chatter:
        time.sleep(0.3)
        if how == "gate stops":
            gate.stop()
        elif how == "gate is killed":
            gate.stop(signal.SIGKILL)
        elif how == "gate is deleted":
            lab.control.call("delete", node="gate")
            wait_for("it is gone", lambda: not alpha.peer(gate))
        elif how == "gate withdraws":
            gate.tailscale("set", "--advertise-exit-node=false")
            wait_for("it is withdrawn", lambda: not alpha.peer(gate)["ExitNodeOption"])
        else:
            alpha.sh("ip link set eth0 down; sleep 0.5; ip link set eth0 up; ip route add default via 192.168.1.1")
            alpha.sh(f"ip -6 addr add {alpha.address6}/64 dev eth0 nodad; ip -6 route add default via 2001:db8:11::1")
        time.sleep(2)
        if how != "network changes":
            assert ask_tcp(alpha, web.address, timeout=1) is None
            wait_for("it is said", lambda: any("exit node" in h for h in alpha.status()["Health"]), 15)
        else:
            wait_for("it goes on", lambda: ask_tcp(alpha, web.address) == gate.router.wan4, 20)
        assert chatter.sent > 100 or how == "network changes"
    assert not wire.seen


def test_cleanup_by_the_supervisor_does_not_open_a_closed_host(net):
    """systemd runs --cleanup after a crash, and says that it was one; a person who runs it means it."""
    lab, alpha, gate, web, _ = net
    targets = [web.address, web.address6]
    use(alpha, gate)
    assert ask_tcp(alpha, web.address) == gate.router.wan4
    with Wire(alpha, "eth0", targets) as wire, Chatter(alpha, targets):
        alpha.stop(signal.SIGKILL)
        done = alpha.run(lab.tailscaled, "--cleanup", env={"SERVICE_RESULT": "signal"})
        assert "stays closed" in done.stderr
        time.sleep(0.7)
    assert not wire.seen
    assert alpha.run("setpriv", "--reuid=65534", "--clear-groups", lab.tailscaled, "--cleanup", check=False).returncode == 1
    alpha.run(lab.tailscaled, "--cleanup")
    assert ask_tcp(alpha, web.address) == alpha.router.wan4
    # Where no exit node was chosen, a crash leaves nothing.
    alpha.start()
    alpha.tailscale("set", "--exit-node=")
    alpha.stop(signal.SIGKILL)
    alpha.run(lab.tailscaled, "--cleanup", env={"SERVICE_RESULT": "core-dump"})
    assert alpha.sh("ip route show table 52") == ""


def test_nothing_leaks_while_we_restart(net):
    """kill -9, a pause, a start before the server can be reached, a start with it; SIGTERM is the user's word."""
    lab, alpha, gate, web, _ = net
    targets = [web.address, web.address6]
    use(alpha, gate)
    assert ask_tcp(alpha, web.address) == gate.router.wan4
    with Wire(alpha, "eth0", targets) as wire, Chatter(alpha, targets):
        for _ in range(3):
            alpha.stop(signal.SIGKILL)
            time.sleep(0.7)
            alpha.start()
            time.sleep(0.2)
        lab.control.stop()
        alpha.stop(signal.SIGKILL)
        alpha.start()
        time.sleep(1.5)
        resolver = "throw 203.0.113.1"
        assert resolver in alpha.sh("ip route show table 52"), "the login server's name can be looked up"
        lab.control.start()
        wait_for("it goes on", lambda: ask_tcp(alpha, web.address) == gate.router.wan4, 60)
        assert resolver not in alpha.sh("ip route show table 52"), "from now on names go the way of the rest"
    assert not wire.seen
    alpha.stop()
    assert ask_tcp(alpha, web.address) == alpha.router.wan4, "an orderly end gives the network back"
    with Wire(alpha, "eth0", targets) as wire:
        alpha.start()
        wait_for("it is taken up again", lambda: ask_tcp(alpha, web.address) == gate.router.wan4, 20)
        with Chatter(alpha, targets):
            time.sleep(0.5)
            before = len(wire.seen)
            time.sleep(1)
            assert len(wire.seen) == before


def test_ipv6_that_is_turned_on_later_goes_the_same_way(net):
    lab, alpha, gate, web, _ = net
    use(alpha, gate)
    alpha.stop()
    alpha.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
    alpha.start()
    wait_for("it is up", lambda: ask_tcp(alpha, web.address) == gate.router.wan4, 20)
    alpha.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=0")
    alpha.sh(f"ip -6 addr add {alpha.address6}/64 dev eth0 nodad; ip -6 route replace default via 2001:db8:11::1")
    wait_for("it is closed", lambda: "unreachable default" in alpha.sh("ip -6 route show table 52"), 10)
    with Wire(alpha, "eth0", [web.address6]) as wire:
        wait_for("it goes through", lambda: ask_tcp(alpha, web.address6) == gate.address6, 20)
    assert not wire.seen


def test_a_login_that_ran_out_can_be_renewed(net):
    """The login server is found by name although all traffic waits for the exit node."""
    lab, alpha, gate, web, _ = net
    resolver = "throw 203.0.113.1"
    use(alpha, gate)
    assert ask_tcp(alpha, web.address) == gate.router.wan4
    assert resolver not in alpha.sh("ip route show table 52")
    with Wire(alpha, "eth0", [web.address, web.address6]) as wire:
        lab.control.call("expire", node="alpha")
        wait_for("it is told", lambda: alpha.status()["BackendState"] == "NeedsLogin", 20)
        assert ask_tcp(alpha, web.address, timeout=1) is None
        wait_for("the name servers can be asked", lambda: resolver in alpha.sh("ip route show table 52"), 5)
        alpha.up("--force-reauth", f"--exit-node={gate.ip}")
        wait_for("it goes on", lambda: ask_tcp(alpha, web.address) == gate.router.wan4, 30)
        assert resolver not in alpha.sh("ip route show table 52")
    assert not wire.seen


def test_local_network_as_asked(net):
    lab, alpha, gate, web, neighbour = net
    assert ask_tcp(alpha, neighbour.address, 7073) and ask_tcp(alpha, neighbour.address6, 7073)
    use(alpha, gate)
    assert ask_tcp(alpha, neighbour.address, 7073, 1.0) is None
    assert ask_tcp(alpha, neighbour.address6, 7073, 1.0) is None
    alpha.tailscale("set", "--exit-node-allow-lan-access")
    assert ask_tcp(alpha, neighbour.address, 7073) == alpha.address
    assert ask_tcp(alpha, neighbour.address6, 7073) == alpha.address6
    assert seen_as(alpha, web) == (gate.router.wan4, gate.address6) * 2
    # A network that appears later counts as well.
    far = lab.lan(alpha, "printer", 78)
    Echo(far, 7074)
    wait_for("it is reached", lambda: ask_tcp(alpha, far.address, 7074, 0.5) == "10.78.0.1", 5)
    # Half the internet is no local network, whatever an access point says.
    alpha.sh("ip addr add 20.0.0.1/1 dev lan78; ip addr add 4000::1/2 dev lan78 nodad")
    time.sleep(1)
    for address in ("20.9.9.9", "4001::9"):
        assert "dev tailscale0" in alpha.sh(f"ip route get {address}")
    alpha.sh("ip addr del 20.0.0.1/1 dev lan78; ip addr del 4000::1/2 dev lan78")
    alpha.tailscale("set", "--exit-node-allow-lan-access=false")
    assert ask_tcp(alpha, neighbour.address, 7073, 1.0) is None and ask_tcp(alpha, far.address, 7074, 0.5) is None
    alpha.tailscale("set", "--exit-node=")
    assert ask_tcp(alpha, neighbour.address, 7073) and ask_tcp(alpha, far.address, 7074)


def test_the_exit_nodes_own_network_is_not_given_away(net):
    lab, alpha, gate, web, _ = net
    inside = lab.lan(gate, "inside", 79)
    inside.sh("ip route add default via 10.79.0.1; ip -6 route add default via 2001:db8:79::1")
    Echo(inside, 7075)
    use(alpha, gate)
    assert ask_tcp(alpha, web.address) == gate.router.wan4
    assert ask_tcp(alpha, inside.address, 7075, 1.0) is None
    assert ask_tcp(alpha, inside.address6, 7075, 1.0) is None


def test_strict_reverse_path_filtering(net):
    """Answers to our own sockets come back although the way to their source is the tunnel."""
    lab, alpha, gate, web, _ = net
    alpha.router.sh("nft add rule inet lab shut meta nfproto ipv6 meta l4proto udp drop")   # it has no such filtering
    alpha.sh("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1")
    assert alpha.ping(gate.ip) == 1
    wait_for("a direct path", lambda: alpha.path(gate), 20)
    use(alpha, gate)
    assert "ct mark" in alpha.sh("nft list table inet tailscale")
    assert alpha.sh("sysctl -n net.ipv4.conf.all.src_valid_mark") == "1\n"
    for _ in range(20):     # longer than trust in a path lasts without answers
        assert ask_tcp(alpha, web.address, timeout=6.0) == gate.router.wan4
        time.sleep(0.5)
    assert alpha.path(gate).startswith("203."), "the answers to our own packets came in"
    alpha.tailscale("set", "--exit-node=")
    assert "ct mark" not in alpha.sh("nft list table inet tailscale")
    assert alpha.sh("sysctl -n net.ipv4.conf.all.src_valid_mark") == "0\n"


@pytest.mark.parametrize("flag, value, says", [
    ("--exit-node", "nobody", "no peer has that name"), ("--exit-node", "100.99.9.9", "no peer has that address"),
    ("--exit-node", "auto:best", "must be auto:any"), ("--advertise-routes", "10.0.0.1/8", "10.0.0.0/8"),
    ("--advertise-routes", "0.0.0.0/0", "pairs"), ("--netfilter-mode", "maybe", "nodivert"),
    ("--snat-subnet-routes", "perhaps", "snat-subnet-routes"),
])
def test_bad_values_change_nothing(lab, flag, value, says):
    lab.servers("--gather", "0.1")
    alpha = lab.host("alpha")
    alpha.join()
    before = alpha.snapshot(), alpha.sh("cat /var/lib/tailscale/tailscaled.state")
    for verb in ("set", "up"):
        done = alpha.tailscale(verb, f"{flag}={value}", check=False)
        assert done.returncode != 0 and flag.lstrip("-") in done.stderr and says in done.stderr, done.stderr
    assert (alpha.snapshot(), alpha.sh("cat /var/lib/tailscale/tailscaled.state")) == before
