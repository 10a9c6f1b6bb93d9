"""A path through a hard NAT, found by guessing its ports; the peer's NAT is an easy one.

        alpha --- hard --- internet --- easy --- beta
                              |
                    control, two relays (STUN from both shows that the NAT is hard)
"""
import os
import re
import time

from lab import wait_for
from traffic import Echo, Flow, send_file

SLOW = float(os.environ.get("LAB_SLOW", "1"))     # a sanitizer build gets more time: LAB_SLOW=5
# A search misses once in a hundred; the next comes a minute after it.
ONE_SEARCH, TWO_SEARCHES = 6 * SLOW, 75 * SLOW


def joined(lab, first="hard", second="easy", first_pref=None, second_pref=None):
    lab.servers(regions=2)
    alpha, beta = lab.pair(first, second)
    for host, pref in ((alpha, first_pref), (beta, second_pref)):
        host.start("--port=41641", "--verbose=1")
        host.up(*([f"--hard-nat={pref}"] if pref else []))
    return lab.met(alpha, beta)


def searches(host):
    """The outcomes of the searches so far."""
    return re.findall(r"search through our hard NAT: (\w+) after", host.log())


def counter(host, name):
    text = host.tailscale("debug", "metrics").stdout
    return int(re.search(rf"^{re.escape(name)} (\d+)$", text, re.M).group(1))


def wait_both(alpha, beta, timeout=TWO_SEARCHES):
    assert alpha.wait_direct(beta, timeout).startswith(f"{beta.router.wan4}:")
    assert beta.wait_direct(alpha, 3 * SLOW).startswith(f"{alpha.router.wan4}:")


def open_sockets(host):
    return int(host.sh(f"ls -l /proc/{host.daemon.pid}/fd | grep -c socket:"))


def test_a_ping_of_the_path_searches_as_well(lab):
    alpha, beta = joined(lab)
    out = alpha.tailscale("ping", "-c", "30", beta.ip).stdout
    assert "DERP" in out and f"via {beta.router.wan4}:" in out.splitlines()[-1], out
    assert searches(alpha)[-1] == "found"


def test_a_ping_from_the_easy_side_makes_the_other_search(lab):
    alpha, beta = joined(lab)
    out = beta.tailscale("ping", "-c", "30", alpha.ip).stdout
    assert "DERP" in out and f"via {alpha.router.wan4}:" in out.splitlines()[-1], out
    assert searches(alpha)[-1] == "found" and searches(beta) == []


def test_direct_through_a_hard_nat(lab):
    alpha, beta = joined(lab)
    before = open_sockets(alpha)
    echo = Echo(beta)
    start = time.monotonic()
    flow = Flow(alpha, beta.ip)
    wait_both(alpha, beta)
    print(f"direct after {time.monotonic() - start:.2f} s, {searches(alpha)}")
    flow.stop()
    echo.stop()
    assert searches(alpha)[-1] == "found" and searches(beta) == [], "the easy side has nothing to search for"
    assert counter(alpha, 'hard_nat_searches_total{outcome="found"}') == 1
    assert counter(alpha, "hard_nat_sockets_total") % 256 == 0
    assert open_sockets(alpha) < before + 8, "all but one are closed"
    relayed = lab.relay.call("stats").get("data", 0) + lab.relay2.call("stats").get("data", 0)
    for sender, receiver in ((alpha, beta), (beta, alpha)):
        seconds, same = send_file(sender, receiver, receiver.ip, 16)
        assert same
    now = lab.relay.call("stats").get("data", 0) + lab.relay2.call("stats").get("data", 0)
    assert now - relayed < 200, "the path found carries the data"
    alpha.tailscale("down")
    wait_for("the socket is closed", lambda: open_sockets(alpha) <= before, 5 * SLOW)


def test_peer_restarts(lab):
    """In the middle of the search, and after it."""
    alpha, beta = joined(lab)
    flow = Flow(alpha, beta.ip)
    wait_for("a search", lambda: "search through our hard NAT, towards" in alpha.log(), 10 * SLOW)
    beta.stop()
    beta.start("--port=41641", "--verbose=1")
    wait_both(alpha, beta)
    beta.stop()
    beta.start("--port=41641", "--verbose=1")
    echo = Echo(beta)
    wait_for("traffic again", lambda: flow.answered_since(time.monotonic() - 1), 30 * SLOW)
    wait_both(alpha, beta)
    flow.stop()
    echo.stop()


def test_narrow_range_of_ports(lab):
    """The NAT has 1000 ports: STUN from the sockets shows it, and few guesses are enough."""
    alpha, beta = joined(lab)
    alpha.router.sh("nft flush chain inet lab translate; nft add rule inet lab translate meta nfproto ipv4 "
                    "oifname wan meta l4proto udp masquerade to :40000-40999 random,fully-random; "
                    "nft add rule inet lab translate meta nfproto ipv4 oifname wan masquerade")
    flow = Flow(alpha, beta.ip)
    wait_both(alpha, beta, ONE_SEARCH)
    flow.stop()
    low, high = map(int, re.search(r"ports (\d+)-(\d+)", alpha.log()).groups())
    assert 39000 < low < high < 42000
    assert counter(alpha, "hard_nat_guesses_total") <= 4 * 64


def test_hard_nats_stay_on_the_relay(lab):
    alpha, beta = joined(lab, "hard", "hard")
    flow = Flow(alpha, beta.ip)
    echo = Echo(beta)
    time.sleep(6)
    assert alpha.path(beta) == "" and beta.path(alpha) == ""
    assert counter(alpha, "hard_nat_sockets_total") == counter(beta, "hard_nat_sockets_total") == 0
    flow.stop()
    echo.stop()
    assert len(flow.answered) > 100


def test_off(lab):
    """Off on either side: nobody searches, and who is not asked is not bothered."""
    alpha, beta = joined(lab, second_pref="off")
    flow = Flow(alpha, beta.ip)
    time.sleep(4)
    assert alpha.path(beta) == "" and counter(alpha, "hard_nat_sockets_total") == 0
    beta.tailscale("set", "--hard-nat=own")
    alpha.tailscale("set", "--hard-nat=off")
    time.sleep(2)
    assert counter(alpha, "hard_nat_sockets_total") == 0
    assert alpha.prefs()["HardNATSearch"] == "off"
    alpha.tailscale("set", "--hard-nat=on")
    wait_both(alpha, beta)
    alpha.tailscale("set", "--hard-nat=off")   # what was found stays
    time.sleep(2)
    assert alpha.path(beta) and beta.path(alpha)
    flow.stop()
