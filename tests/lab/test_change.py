"""The network changes under a flow: how long until packets that are sent then are answered.

        alpha --- router1 --- internet --- router2 --- beta
           \\                    |
            +--- router3 -------+        (a second uplink, in the tests that say so)

`back` is the time from the moment at which the host has its new network, by its own commands, to the first answer to a
datagram that was sent after that.  Easy NATs: the flow is direct before.  Hard ones: it lives on the relay.
"""
import os
import re
import signal
import socket
import struct
import time

import pytest

from lab import CONTROL, RELAY, Lab, wait_for
from traffic import Echo, Flow

SLOW = float(os.environ.get("LAB_SLOW", "1"))
BACK_WITHIN = 2.0 * SLOW

NETLINK_NETFILTER, NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE = 12, 1, 2
NLM_F_REQUEST, NLM_F_ACK = 1, 4

BOTH = pytest.mark.parametrize("kind", ["easy", "hard"])


@pytest.fixture
def pair(lab, request):
    kind = request.node.callspec.params.get("kind", "easy") if hasattr(request.node, "callspec") else "easy"
    lab.servers("--gather", "0.1")
    return lab.joined(kind, kind)


def started(sender, receiver, kind):
    """A flow that has found its path."""
    echo, flow = Echo(receiver), Flow(sender, receiver.ip)
    wait_for("traffic", lambda: flow.answered, 10)
    if kind == "easy":
        sender.wait_direct(receiver)
    time.sleep(1)
    return echo, flow


def back_after(flow, when, timeout=30 * SLOW):
    def first():
        return [t for n, t in list(flow.answered.items()) if flow.sent[n] >= when]
    return min(wait_for("traffic", first, timeout, 0.02)) - when


def finish(what, kind, echo, flow, back):
    flow.stop()
    echo.stop()
    print(f"{what}, {kind} NATs: traffic back after {back:.2f} s, {len(flow.lost())} of {len(flow.sent)} datagrams lost, "
          f"longest silence {flow.longest_gap():.2f} s")
    assert back < BACK_WITHIN


def new_address(host, last=77):
    """What a DHCP client does in another network; returns when it was done."""
    host.sh(f"""ip addr flush dev eth0
ip addr add {host.router.lan4}{last}/24 dev eth0
ip route replace default via {host.router.lan4}1""")
    return time.monotonic()


@BOTH
def test_another_address(pair, kind):
    alpha, beta = pair
    echo, flow = started(alpha, beta, kind)
    back = back_after(flow, new_address(alpha))
    if kind == "easy":
        alpha.wait_direct(beta)
    finish("another address", kind, echo, flow, back)


@BOTH
def test_the_peer_roams(pair, kind):
    """The same, seen from the other end: it is the peer that has to notice that its packets reach nobody."""
    alpha, beta = pair
    echo, flow = started(beta, alpha, kind)
    back = back_after(flow, new_address(alpha))
    if kind == "easy":
        beta.wait_direct(alpha)
    finish("the peer roams", kind, echo, flow, back)


@BOTH
@pytest.mark.parametrize("seconds", [1, 8])
def test_link_down_and_up(pair, kind, seconds):
    alpha, beta = pair
    echo, flow = started(alpha, beta, kind)
    alpha.sh("ip link set eth0 down")
    time.sleep(seconds)
    alpha.sh(f"ip link set eth0 up; ip route replace default via {alpha.router.lan4}1")
    back = back_after(flow, time.monotonic())
    finish(f"link down for {seconds} s", kind, echo, flow, back)


def second_uplink(lab, host, kind):
    router = lab.router(kind)
    Lab.cable(router, "h9", host, "eth1")
    router.sh("ip link set h9 master lan up")
    Lab.address(host, "eth1", router.lan4 + "9", None, 24)
    return router


@BOTH
@pytest.mark.parametrize("old", ["alive", "dead"])
def test_default_route_moves(lab, pair, kind, old):
    """To another interface, behind another NAT; the old uplink is there still, or carries nothing any more."""
    alpha, beta = pair
    other = second_uplink(lab, alpha, kind)
    time.sleep(1)
    echo, flow = started(alpha, beta, kind)
    if old == "dead":
        alpha.router.block_all()
    alpha.sh(f"ip route replace default via {other.lan4}1 dev eth1")
    back = back_after(flow, time.monotonic())
    if kind == "easy":
        beta.wait_direct(alpha, 20)
    finish(f"default route moved, the old uplink is {old}", kind, echo, flow, back)


@BOTH
def test_another_network_with_the_same_address(lab, pair, kind):
    """The cable goes into another router that gives out the very same address: no mapping, no connection is left."""
    alpha, beta = pair
    other = lab.router(kind)
    other.sh(f"ip addr add {alpha.router.lan4}1/24 dev lan")
    echo, flow = started(alpha, beta, kind)
    alpha.router.sh(f"ip link set h1 netns {other.pid}")
    time.sleep(1)
    other.sh("ip link set h1 master lan up")
    alpha.sh(f"ip link set eth0 up; ip route replace default via {alpha.router.lan4}1")
    back = back_after(flow, time.monotonic())
    if kind == "easy":
        beta.wait_direct(alpha, 20)
    finish("another network, same address", kind, echo, flow, back)


def connections(host):
    """Own ports of those to the servers."""
    return [line.split()[2].rpartition(":")[2] for line in host.sh("ss -Htn state established").splitlines()
            if f"{RELAY}:443" in line or f"{CONTROL}:8090" in line]


def stand_still(host):
    """At a moment when there are connections: a change of network makes them anew."""
    def connected():
        host.daemon.send_signal(signal.SIGSTOP)
        if connections(host):
            return True
        print(host.sh("ss -Htan; ip -br addr"))
        host.daemon.send_signal(signal.SIGCONT)
        return False
    wait_for("connections", connected, 5)


def cut_connections(host):
    """A NAT that forgot: the host's connections are dead from now on, without a word, and no mapping is left."""
    ports = connections(host)
    assert ports
    for end in ("sport", "dport"):
        host.router.sh(f"nft add rule inet lab shut tcp {end} {{ {', '.join(ports)} }} drop")
    with host.router.inside(), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as s:
        s.sendall(struct.pack("=IHHIIBBH", 20, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE,
                              NLM_F_REQUEST | NLM_F_ACK, 1, 0, socket.AF_UNSPEC, 0, 0))
        assert struct.unpack_from("=IHHIIi", s.recv(4096))[5] == 0


def suspend(lab, kind, asleep, lost=None):
    """Laptop closed: the process stands still, its clocks jump, its connections and sessions are of the past."""
    clock = os.path.join(lab.dir, "slept")
    with open(clock, "wb") as f:
        f.write(struct.pack("=q", 0))
    lab.servers("--gather", "0.1")
    alpha, beta = lab.pair(kind, kind)
    alpha.join(env={"LD_PRELOAD": os.path.join(os.environ["BUILD_DIR"], "tests/lab/libfakeclock.so"), "FAKECLOCK": clock,
                    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"})
    beta.join()
    alpha.wait_peer(beta, test=lambda p: p["Relay"])
    echo, flow = started(alpha, beta, kind)
    stand_still(alpha)
    with open(clock, "wb") as f:
        f.write(struct.pack("=q", asleep * 10**9))
    cut_connections(alpha)
    if lost:
        alpha.router.sh(f"nft add rule inet lab shut 'tcp {lost} 443 tcp flags & syn == syn limit rate 1/day burst 1 packets drop'")
    time.sleep(8)
    alpha.daemon.send_signal(signal.SIGCONT)
    back = back_after(flow, time.monotonic())
    if kind == "easy":
        alpha.wait_direct(beta)
    slept = re.search(r"the host slept for (\d+) s", alpha.log())
    assert slept and asleep - 1 <= int(slept[1]) <= asleep    # the clocks are not read in one moment
    finish(f"slept for {asleep} s" + (", the first SYN lost" if lost else ""), kind, echo, flow, back)


@BOTH
@pytest.mark.parametrize("asleep", [600, 30])
def test_suspend(lab, kind, asleep):
    suspend(lab, kind, asleep)


@pytest.mark.parametrize("lost", ["dport", "sport"])
def test_suspend_and_the_first_packet_to_the_relay_is_lost(lab, lost):
    """The kernel repeats it after a second; the handshakes that were begun meanwhile must not be in each other's way."""
    suspend(lab, "hard", 600, lost)


@BOTH
def test_network_appears_long_after_the_start(lab, pair, kind):
    """The daemon starts on a host without any address, as at boot before the Wi-Fi; its peer talks to it all the time."""
    alpha, beta = pair
    assert alpha.ping(beta.ip) == 1
    address = beta.ip
    alpha.stop()
    alpha.sh("ip addr flush dev eth0; ip link set eth0 down")
    alpha.start()
    time.sleep(12)
    echo, flow = Echo(beta), Flow(alpha, address)
    alpha.sh("ip link set eth0 up")
    time.sleep(1)
    back = back_after(flow, new_address(alpha))
    if kind == "easy":
        alpha.wait_direct(beta)
    finish("no network at the start", kind, echo, flow, back)
