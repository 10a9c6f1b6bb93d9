"""Relays that go, stall, refuse or restart, under a flow.

        alpha --- router1 --- internet --- router2 --- beta
                                 |
                     relay (lab0), relay2 (lab1)
"""
import os
import signal
import time

import pytest

from lab import RELAY, RELAY2, wait_for
from test_change import back_after, started

SLOW = float(os.environ.get("LAB_SLOW", "1"))


def joined(lab, kind, regions=1):
    """With two regions lab0 is the home of both, for the other could not be reached at first."""
    lab.servers("--gather", "0.1", regions=regions)
    alpha, beta = lab.pair(kind, kind)
    for host in (alpha, beta):
        host.sh(f"ip route add blackhole {RELAY2}/32")
        host.join()
    alpha.wait_peer(beta, test=lambda p: p["Relay"] == "lab0")
    beta.wait_peer(alpha, test=lambda p: p["Relay"] == "lab0")
    for host in (alpha, beta):
        host.sh(f"ip route del blackhole {RELAY2}/32")
    return alpha, beta


def cut_tcp(lab, address=RELAY, port=443):
    """Nothing to or from the relay's port gets through, and nobody is told."""
    lab.net.sh(f"nft add table inet cut; nft add chain inet cut in '{{ type filter hook input priority 0; }}'; "
               f"nft add chain inet cut out '{{ type filter hook output priority 0; }}'; "
               f"nft add rule inet cut in ip daddr {address} tcp dport {port} drop; "
               f"nft add rule inet cut out ip saddr {address} tcp sport {port} drop")


def mend(lab):
    lab.net.sh("nft delete table inet cut")
    return time.monotonic()


def preferred(relay):
    return sum(c["preferred"] for c in relay.call("clients"))


def end(what, echo, flow):
    flow.stop()
    echo.stop()
    print(f"{what}: longest silence {flow.longest_gap():.2f} s, {len(flow.lost())} of {len(flow.sent)} datagrams lost")


def test_relay_is_cut_while_the_path_is_direct(lab):
    """No stall at all; when it can be reached again both are back on it."""
    alpha, beta = joined(lab, "easy")
    echo, flow = started(alpha, beta, "easy")
    cut_tcp(lab)
    time.sleep(15)
    lab.relay.call("drop")           # what the relay's own time limits would have done by now
    wait_for("the relay forgot them", lambda: lab.relay.call("stats")["clients"] == 0, 5 * SLOW)
    when = mend(lab)
    wait_for("both are back on the relay", lambda: preferred(lab.relay) == 2, 15 * SLOW)
    print(f"relay cut for 15 s: both are back on it after {time.monotonic() - when:.2f} s")
    end("relay cut for 15 s, direct path", echo, flow)
    assert flow.longest_gap() < 0.5 * SLOW and len(flow.lost()) <= 2


@pytest.mark.parametrize("seconds, within", [(2, 3.0), (8, 5.0), (30, 9.0)])
def test_relay_is_cut_under_a_flow(lab, seconds, within):
    alpha, beta = joined(lab, "hard")
    echo, flow = started(alpha, beta, "hard")
    cut_tcp(lab)
    time.sleep(seconds)
    back = back_after(flow, mend(lab))
    print(f"relay cut for {seconds} s, nothing else to go by: traffic back after {back:.2f} s")
    end("", echo, flow)
    assert back < within * SLOW


def test_relay_restarts_and_says_so(lab):
    """The announcement makes both wait until it is there again, and not a moment longer."""
    alpha, beta = joined(lab, "hard")
    echo, flow = started(alpha, beta, "hard")
    time.sleep(10)                   # one that announces it at once is not taken at its word
    for client in lab.relay.call("clients"):
        lab.relay.call("send", key=client["key"], type=0x15, hex=(3000).to_bytes(4, "big").hex() + (3000).to_bytes(4, "big").hex())
    time.sleep(0.3)
    told = time.monotonic()
    lab.relay.restart(2.2)
    back = back_after(flow, told + 2.7)
    end(f"relay restarts, as announced: traffic back {back:.2f} s after the time it named", echo, flow)
    assert back < 1.0 * SLOW


@pytest.mark.parametrize("how, within", [("killed", 15), ("cut", 15), ("stands still", 40)])
def test_home_goes_and_another_relay_is_there(lab, how, within):
    """Who can be reached by a relay is reached by it: both move to the other region, also where STUN of the first one
    answers on, and only its TCP is cut.  One that stands still is noticed at the next periodic look at the network."""
    alpha, beta = joined(lab, "hard", regions=2)
    echo, flow = started(alpha, beta, "hard")
    when = time.monotonic()
    if how == "killed":
        lab.relay.stop(signal.SIGKILL)
    elif how == "cut":
        cut_tcp(lab)
    else:
        lab.relay.proc.send_signal(signal.SIGSTOP)
    back = back_after(flow, when + 0.5, 60 * SLOW)
    end(f"home relay {how}: traffic back by the other after {back + 0.5:.2f} s", echo, flow)
    wait_for("both moved", lambda: preferred(lab.relay2) == 2, 10)
    if how == "stands still":
        lab.relay.proc.send_signal(signal.SIGCONT)
    assert back < within * SLOW
