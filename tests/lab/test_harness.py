"""The lab tests itself: what the scenarios believe of routers, servers and clean-up is proven with bare sockets."""
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from lab import CONTROL, FIXTURES, LabError, RELAY, RELAY2, WAN4, Lab

sys.path.insert(0, FIXTURES)

import stun   # noqa: E402

pytestmark = pytest.mark.bare


def mapped(sock, relay=RELAY):
    """What a STUN server says of the socket; asked again as a client would."""
    for _ in range(3):
        sock.sendto(stun.request(b"abcdefghijkl"), (relay, 3478))
        try:
            return stun.parse_response(sock.recv(200), b"abcdefghijkl")
        except socket.timeout:
            continue
    return None


def udp(host, port=41641):
    return host.sock(bind=("0.0.0.0", port), timeout=1.0)


def punch(a, b, at_a, at_b):
    """Both send to each other's mapping, a few times; the addresses from which each heard."""
    heard = []
    for _ in range(4):
        a.sendto(b"a", at_b)
        b.sendto(b"b", at_a)
        time.sleep(0.02)
    for s in (a, b):
        try:
            heard.append(s.recvfrom(10)[1])
        except socket.timeout:
            heard.append(None)
    return heard


def test_easy_nat_is_endpoint_independent(lab):
    lab.servers(regions=2)
    s = udp(lab.host("alpha", lab.router("easy")))
    assert mapped(s) == mapped(s, RELAY2) == (WAN4 + "11", 41641)


def test_hard_nat_is_endpoint_dependent(lab):
    lab.servers(regions=2)
    s = udp(lab.host("alpha", lab.router("hard")))
    one, two = mapped(s), mapped(s, RELAY2)
    assert one[0] == two[0] == WAN4 + "11" and one[1] != two[1]
    assert mapped(s) == one


@pytest.mark.parametrize("first, second, ok", [("easy", "easy", True), ("easy", "hard", False),
                                               ("hard", "hard", False)])
def test_hole_punching(lab, first, second, ok):
    """
    alpha --- NAT --- internet --- NAT --- beta
    """
    lab.servers()
    alpha, beta = lab.pair(first, second)
    a, b = udp(alpha), udp(beta)
    at_a, at_b = mapped(a), mapped(b)
    assert punch(a, b, at_a, at_b) == ([at_b, at_a] if ok else [None, None])


def test_uninvited_packets_do_not_enter_and_spoil_nothing(lab):
    """A stray packet to the router before the hole is punched must not move the mapping to another port."""
    lab.servers()
    alpha, beta = lab.pair()
    a, b = udp(alpha), udp(beta)
    at_b = mapped(b)
    for _ in range(3):
        b.sendto(b"early", (WAN4 + "11", 41641))
    assert mapped(a) == (WAN4 + "11", 41641)
    a.settimeout(0.2)
    with pytest.raises(socket.timeout):
        a.recv(10)
    a.sendto(b"now", at_b)
    assert b.recvfrom(10) == (b"now", (WAN4 + "11", 41641))


def test_blocks(lab):
    lab.servers()
    alpha, beta = lab.pair()
    a, b = udp(alpha), udp(beta)
    at_a, at_b = mapped(a), mapped(b)
    assert None not in punch(a, b, at_a, at_b)
    alpha.router.block_direct()
    for s in (a, b):
        s.settimeout(0.1)
        while True:
            try:
                s.recv(10)
            except socket.timeout:
                break
    assert punch(a, b, at_a, at_b) == [None, None]
    a.settimeout(1)
    assert mapped(a) == at_a
    alpha.router.block_udp()
    assert mapped(a) is None
    assert alpha.ping(RELAY) == 1, "only UDP is blocked"
    alpha.router.open()
    assert mapped(a) is not None


def test_v6_is_routed_and_closed_to_the_outside(lab):
    lab.servers()
    alpha = lab.host("alpha", lab.router(), v6=True)
    beta = lab.host("beta", v6=True)
    assert alpha.ping(beta.address6) == 1
    assert beta.ping(alpha.address6, timeout=1) == 0
    only4 = lab.host("gamma", lab.router())
    assert "inet6" not in only4.sh("ip -6 addr show dev eth0")


def test_hosts_have_their_own_files(lab):
    alpha, beta = lab.host("alpha"), lab.host("beta")
    before = open("/etc/resolv.conf").read()
    alpha.sh("mkdir -p /run/tailscale /var/lib/tailscale; echo mine > /etc/resolv.conf; touch /var/lib/tailscale/x")
    assert beta.sh("ls /run /var/lib; cat /etc/resolv.conf").find("tailscale") < 0
    assert alpha.sh("cat /etc/resolv.conf") == "mine\n" and open("/etc/resolv.conf").read() == before
    assert alpha.sh("ls /var/lib/tailscale") == "x\n", "and keeps them"


def test_control_answers_behind_a_nat_and_restarts(lab):
    lab.servers()
    alpha = lab.host("alpha", lab.router("hard"))
    ask = f"curl -sf --max-time 5 'http://{CONTROL}:8090/key?v=138'"
    first = alpha.sh(ask)
    assert '"publicKey":"mkey:' in first
    lab.control.restart()
    assert alpha.sh(ask) == first
    assert alpha.sh(f"curl -sfk --max-time 5 https://{RELAY}/derp/probe") == ""
    assert lab.control.call("nodes") == []


def test_failing_commands_say_what_and_where(lab):
    alpha = lab.host("alpha")
    with pytest.raises(LabError, match="alpha: sh -ec echo oops >&2; exit 3: exit 3\noops"):
        alpha.sh("echo oops >&2; exit 3")


CHILD = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)   # also where a shell started us in the background
sys.path.insert(0, sys.argv[1])
from lab import Lab
with Lab() as lab:
    lab.servers()
    hosts = lab.pair()
    sleeper = hosts[0].spawn(["sleep", "1000"], "sleep.log")
    print(lab.dir, sleeper.pid, *(s.pid for s in (lab.net, *hosts, hosts[0].router)), lab.control.proc.pid, flush=True)
    time.sleep(100)
"""


@pytest.mark.parametrize("sig, removed", [(signal.SIGINT, True), (signal.SIGKILL, False)])
def test_nothing_is_left(sig, removed, tmp_path):
    """Also after Ctrl-C and kill -9 every process of a lab is gone, and with them namespaces and interfaces."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
    child = subprocess.Popen([sys.executable, "-c", CHILD, os.path.dirname(os.path.abspath(__file__))],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    directory, *pids = child.stdout.readline().split()
    child.send_signal(sig)
    child.wait(20)
    child.stdout.close()
    deadline = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{p}") for p in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [p for p in pids if os.path.exists(f"/proc/{p}")]
    assert os.path.exists(directory) is not removed
    if not removed:
        subprocess.run(["rm", "-r", "--", directory], check=True)
    assert subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout == links
