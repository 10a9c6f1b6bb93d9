"""Every offload switched off in turn, and all of them, and threads that help: whatever moves packets, what arrives is what
was sent.

        alpha --- internet --- beta          alpha has all offloads, beta those that are left
"""
import socket
import struct
import time

import pytest

from traffic import send_file

TUN = ["TS_TUN_DISABLE_TCP_GSO", "TS_TUN_DISABLE_UDP_GSO", "TS_TUN_DISABLE_TCP_GRO", "TS_TUN_DISABLE_UDP_GRO"]
SOCKET = ["TS_DEBUG_DISABLE_UDP_GSO", "TS_DEBUG_DISABLE_UDP_GRO"]
SO_RCVBUFFORCE, SOL_UDP, UDP_SEGMENT = 33, 17, 103


def send_trains(sender, receiver, address, family):
    """Datagrams that the sender's host hands over as one, numbered; those that arrive are whole and in order."""
    inbox = receiver.sock(family=family, bind=("::" if family == socket.AF_INET6 else "0.0.0.0", 7009), timeout=1.0)
    inbox.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    out = sender.sock(family=family)
    out.connect((address, 7009))
    size, trains = 1000, 40
    number = 0
    for tail in range(trains):
        train = b""
        for k in range(40):
            body = struct.pack("!Q", number) * (size // 8)
            train += body[:size - tail * 8] if k == 39 else body
            number += 1
        out.sendmsg([train], [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))])
        time.sleep(0.002)
    seen = []
    while True:
        try:
            data = inbox.recv(3000)
        except socket.timeout:
            break
        n = struct.unpack_from("!Q", data)[0]
        tail = n // 40
        assert data == struct.pack("!Q", n) * ((size - tail * 8 if n % 40 == 39 else size) // 8)
        seen.append(n)
    inbox.close()
    assert seen == sorted(seen)
    assert len(seen) > number * 0.9, f"{len(seen)} of {number} datagrams arrived"


def exchange(lab, alpha_flags=(), beta_flags=(), beta_env=None):
    lab.servers("--gather", "0.1")
    alpha, beta = lab.host("alpha"), lab.host("beta")
    alpha.join(*alpha_flags)
    beta.join(*beta_flags, env=beta_env)
    alpha.wait_peer(beta)
    assert alpha.ping(beta.ip, count=3) > 0
    alpha.wait_direct(beta)
    beta.wait_direct(alpha)
    for here, there in ((alpha, beta), (beta, alpha)):
        assert send_file(here, there, there.ip, 8)[1]
        assert send_file(here, there, there.ip6, 4)[1]
        send_trains(here, there, there.ip, socket.AF_INET)
        send_trains(here, there, there.ip6, socket.AF_INET6)
    wrong = [h.sh("nstat -az TcpInCsumErrors UdpInCsumErrors Udp6InCsumErrors 2>/dev/null | awk '$2 > 0'") for h in (alpha, beta)]
    assert "CsumErrors" not in "".join(wrong)
    return alpha, beta


@pytest.mark.parametrize("off", [[], *([s] for s in TUN + SOCKET), TUN + SOCKET],
                         ids=lambda off: "+".join(s.replace("_DISABLE", "").lower() for s in off[:1]) + "+" * (len(off) > 1) or "none")
def test_what_arrives_is_what_was_sent(lab, off):
    exchange(lab, beta_env={name: "1" for name in off})


def test_threads_that_help(lab):
    alpha, beta = exchange(lab, alpha_flags=["--threads=2"], beta_flags=["--threads=0"])
    helpers = [h.sh(f"cat /proc/{h.daemon.pid}/task/*/comm").split().count("helper") for h in (alpha, beta)]
    assert helpers == [2, 0]
