"""What happens when something ends without warning.

        alpha --- router1 --- internet --- router2 --- beta
"""
import json
import os
import signal
import time

import pytest

from lab import CONTROL, WAN4, wait_for
from nameserver import A, Nameserver
from traffic import Echo, Flow

SLOW = float(os.environ.get("LAB_SLOW", "1"))


@pytest.fixture
def pair(lab):
    lab.servers("--gather", "0.1")
    alpha, beta = lab.pair()
    for host in (alpha, beta):
        host.before = host.snapshot()
        host.join()
    alpha.wait_peer(beta, test=lambda p: p["Relay"])
    beta.wait_peer(alpha, test=lambda p: p["Relay"])
    return alpha, beta


def identity(host):
    status = host.status()
    return status["Self"]["PublicKey"], status["Self"]["TailscaleIPs"]


@pytest.mark.parametrize("delay", [0.0, 1.0])
def test_kill_9_and_restart(lab, pair, delay):
    """Same identity, nothing stale, traffic back in under 3 s."""
    alpha, beta = pair
    echo = Echo(beta)
    flow = Flow(alpha, beta.ip)
    alpha.wait_direct(beta)
    who, machine = identity(alpha), lab.control.call("nodes")[0]["Machine"]
    during = alpha.snapshot()
    alpha.stop(signal.SIGKILL)
    time.sleep(delay)
    start = time.monotonic()
    alpha.start()
    wait_for("traffic", lambda: flow.answered_since(start), 10 * SLOW, 0.02)
    took = time.monotonic() - start
    print(f"traffic back after {took:.2f} s")
    flow.stop()
    echo.stop()
    assert took < 3 * SLOW
    assert identity(alpha) == who and lab.control.call("nodes")[0]["Machine"] == machine
    after = alpha.snapshot()
    assert after["rules"] == during["rules"] and after["links"] == during["links"], "no rule twice, no second device"
    assert len(lab.control.call("nodes")) == 2
    alpha.stop()
    assert alpha.snapshot() == alpha.before


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_peer_restarts_under_our_traffic(lab, pair, sig):
    """The other side never stops sending; its session with the old process is dead, and it must notice soon."""
    alpha, beta = pair
    echo = Echo(beta)
    flow = Flow(alpha, beta.ip)
    alpha.wait_direct(beta)
    time.sleep(1)
    beta.stop(sig)
    beta.start()
    start = time.monotonic()
    wait_for("traffic", lambda: flow.answered_since(start), 30, 0.02)
    took = time.monotonic() - start
    print(f"traffic back after {took:.2f} s")
    flow.stop()
    echo.stop()
    assert took < 3 * SLOW


def test_sigterm_leaves_nothing(lab, pair):
    alpha, beta = pair
    assert alpha.ping(beta.ip) == 1
    assert alpha.snapshot() != alpha.before
    for host, sig in ((alpha, signal.SIGTERM), (beta, signal.SIGINT)):
        start = time.monotonic()
        assert host.stop(sig) == 0 and time.monotonic() - start < 5
        assert host.snapshot() == host.before


def test_cleanup_after_a_kill(lab, pair):
    alpha, _ = pair
    alpha.stop(signal.SIGKILL)
    alpha.run(lab.tailscaled, "--cleanup")
    alpha.sh("rm -f /run/tailscale/tailscaled.sock")
    assert alpha.snapshot() == alpha.before


def test_state_file_is_private_and_complete(lab, pair):
    alpha, _ = pair
    assert alpha.sh("stat -c %a /var/lib/tailscale /var/lib/tailscale/tailscaled.state") == "700\n600\n"
    state = json.loads(alpha.sh("cat /var/lib/tailscale/tailscaled.state"))
    assert {"_machinekey", "_profiles", "_current-profile"} <= set(state)
    assert [k for k in state if k.startswith("profile-")]


def test_server_restart_does_not_interrupt_a_direct_flow(lab, pair):
    alpha, beta = pair
    echo = Echo(beta)
    flow = Flow(alpha, beta.ip)
    alpha.wait_direct(beta)
    time.sleep(1)
    lab.control.restart(3.0)
    wait_for("both are back", lambda: all(n["Streams"] for n in lab.control.call("nodes")), 30)
    time.sleep(2)
    flow.stop()
    echo.stop()
    assert flow.longest_gap() < 0.5 * SLOW and len(flow.lost()) <= 2
    gamma = lab.host("gamma")
    gamma.join()
    alpha.wait_peer(gamma)


def test_server_away_for_long_at_start(lab, pair):
    """The daemon starts from its state while the server is down, and joins when it is back."""
    alpha, beta = pair
    lab.control.stop()
    alpha.stop()
    alpha.start()
    time.sleep(3)
    refused = alpha.tailscale("netcheck", check=False)
    assert refused.returncode == 1 and "no relay map yet: tailscaled waits for the login server" in refused.stderr
    lab.control.start()
    wait_for("alpha is back", lambda: lab.control.call("nodes")[0]["Streams"], 40)
    wait_for("traffic", lambda: alpha.ping("100.64.0.2", timeout=1), 15)


@pytest.mark.parametrize("how", ["silent", "closed"])
def test_server_comes_back_while_the_name_server_is_away(lab, how):
    """Its last good address is dialed, also by the next daemon; when names are answered again they count again."""
    names = Nameserver(lab.net, WAN4 + "1", CONTROL)
    lab.servers("--gather", "0.1")
    lab.url = "http://login.test:8090"
    alpha = lab.host("alpha")
    alpha.join()
    assert ("login.test", A) in names.asked
    if how == "silent":
        names.silent = True
    else:
        names.stop()
    lab.control.restart(1.0)

    def back():
        return lab.control.call("nodes")[0]["Streams"]
    wait_for("alpha is back", back, 40 * SLOW)
    alpha.stop()
    wait_for("alpha is gone", lambda: not back(), 10)
    alpha.start()
    wait_for("alpha is back", back, 40 * SLOW)
    if how == "silent":
        names.silent, names.asked[:] = False, []
        lab.control.restart(0.5)
        wait_for("alpha is back", back, 40 * SLOW)
        assert ("login.test", A) in names.asked
    assert "the name login.test cannot be looked up" in alpha.log()
    names.stop()


def test_relay_restart_recovers(lab):
    """Traffic that lives on the relay is back in under 10 s."""
    lab.servers()
    alpha, beta = lab.pair("hard", "hard")
    alpha.join()
    beta.join()
    alpha.wait_peer(beta, test=lambda p: p["Relay"])
    echo = Echo(beta)
    flow = Flow(alpha, beta.ip)
    wait_for("traffic", lambda: flow.answered, 10)
    lab.relay.stop(signal.SIGKILL)
    time.sleep(1)
    lab.relay.start()
    back = time.monotonic()
    wait_for("traffic after the restart", lambda: flow.answered_since(back), 10 * SLOW)
    print(f"traffic back after {time.monotonic() - back:.2f} s")
    flow.stop()
    echo.stop()


def test_relay_away_does_not_touch_a_direct_path(lab, pair):
    alpha, beta = pair
    echo = Echo(beta)
    flow = Flow(alpha, beta.ip)
    alpha.wait_direct(beta)
    time.sleep(1)
    lab.relay.stop()
    time.sleep(8)
    flow.stop()
    echo.stop()
    lab.relay.start()
    assert flow.longest_gap() < 0.5 * SLOW


def test_second_daemon_is_refused(lab, pair):
    alpha, _ = pair
    done = alpha.run(lab.tailscaled, check=False, timeout=15)
    assert done.returncode == 1 and "address already in use" in done.stderr
    assert alpha.status()["BackendState"] == "Running"


def test_the_interface_is_deleted(lab, pair):
    """Without its interface the daemon is of no use: it ends with status 1, which a supervisor takes for a failure,
    leaves nothing, and all is back when it is started again."""
    alpha, beta = pair
    who = identity(alpha)
    assert alpha.ping(beta.ip) == 1
    alpha.sh("ip link del tailscale0")
    assert alpha.daemon.wait(15) == 1
    assert "the interface was deleted by another program: start tailscaled again" in alpha.log()
    assert alpha.snapshot() == alpha.before
    alpha.start()
    wait_for("traffic", lambda: alpha.ping("100.64.0.2", timeout=1), 20)
    assert identity(alpha) == who and len(lab.control.call("nodes")) == 2
    assert alpha.stop() == 0
    assert alpha.snapshot() == alpha.before


def test_network_changes_under_the_daemon(lab, pair):
    """The host's uplink goes away and comes back with another address."""
    alpha, beta = pair
    assert alpha.ping(beta.ip) == 1
    alpha.sh("ip link set eth0 down")
    time.sleep(2)
    alpha.sh(f"""ip link set eth0 up
ip addr flush dev eth0
ip addr add {alpha.router.lan4}77/24 dev eth0
ip route replace default via {alpha.router.lan4}1""")
    wait_for("traffic", lambda: alpha.ping(beta.ip, timeout=1), 25 * SLOW)
    alpha.wait_direct(beta, 40)


def test_what_happens_all_the_time_is_no_change_of_network(lab):
    """A capture, a renewed lease, a container's link, a routing daemon: the connection to the server stays."""
    lab.servers()
    alpha = lab.host("alpha")
    alpha.join("--port=41641", "--verbose=1")
    wait_for("it is online", lambda: alpha.status()["Self"]["Online"])
    said = "the host's network changed"
    time.sleep(1)
    before = alpha.log().count(said)
    address = f"{alpha.address}/24 dev eth0"
    for script in ("ip link set eth0 promisc on; sleep 0.4; ip link set eth0 promisc off",
                   f"ip addr change {address} valid_lft 900 preferred_lft 900; sleep 0.4; "
                   f"ip addr change {address} valid_lft 800 preferred_lft 800",
                   "ip link add box type veth peer name box1; ip link del box",
                   "ip route add 198.51.100.0/24 via 203.0.113.1; sleep 0.4; ip route del 198.51.100.0/24"):
        alpha.sh(script)
        time.sleep(0.6)
        assert alpha.log().count(said) == before, script
        assert alpha.status()["Self"]["Online"]
    alpha.sh("ip addr add 198.51.100.7/24 dev eth0")
    wait_for("that counts", lambda: alpha.log().count(said) > before, 5)
    alpha.sh("ip link set eth0 down")
    wait_for("that counts", lambda: alpha.log().count(said) > before + 1, 5)
