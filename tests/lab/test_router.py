"""Addresses, routes and rules on the host: what others remove comes back, and nothing stays when we go.

        alpha --- internet
"""
import re
import signal
import time

import pytest

from lab import PYTHON, wait_for
from traffic_host import Wire, ask_udp


@pytest.fixture
def alpha(lab):
    lab.servers("--gather", "0.1")
    host = lab.host("alpha", v6=True)
    host.before = host.snapshot()
    host.start()
    host.up("--accept-routes")
    return host


def ours(host):
    return host.sh("ip -4 rule; ip -6 rule; ip -4 route show table 52; ip -6 route show table 52; "
                   "ip -o addr show dev tailscale0 scope global | cut -d: -f2-; "
                   "ip -o link show tailscale0 | grep -o ',UP' || true")


def settled(host):
    """As it is when nothing changes any more."""
    def same():
        now = ours(host)
        time.sleep(0.3)
        return now == ours(host) and now
    return wait_for("it has settled", same)


@pytest.mark.parametrize("what", [
    "ip rule flush; ip rule add pref 32766 lookup main; ip rule add pref 32767 lookup default",
    "ip -6 rule flush; ip -6 rule add pref 32766 lookup main",
    "ip rule del pref 5210; ip -6 rule del pref 5270",
    "ip route flush table 52; ip -6 route flush table 52",
    "ip -6 route flush table 52",
    "ip addr flush dev tailscale0 scope global",
    "ip link set tailscale0 down",
])
def test_what_others_remove_is_back_within_a_second(lab, alpha, what):
    beta = lab.host("beta")
    beta.join()
    alpha.wait_peer(beta)
    good = settled(alpha)
    alpha.sh(what)
    assert ours(alpha) != good
    time.sleep(1.0)
    assert ours(alpha) == good
    assert alpha.ping(beta.ip) == 1


def peak_kib(host):
    with open(f"/proc/{host.daemon.pid}/status") as f:
        return int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1))


def test_a_full_table_of_a_routing_daemon_is_not_read(lab):
    """200,000 routes in a table that is none of our business: neither start, repair nor cleanup goes through them."""
    lab.servers("--gather", "0.1")
    alpha, beta = lab.host("alpha", v6=True), lab.host("beta")
    beta.join()
    alpha.sh("""awk 'BEGIN { for (i = 0; i < 200000; i++) printf "route add 10.%d.%d.%d/32 dev lo table 100\\n",
             i / 65536, i / 256 % 256, i % 256 }' > /run/lab/routes; ip -batch /run/lab/routes; rm /run/lab/routes""")
    alpha.join()
    alpha.wait_peer(beta)
    good = settled(alpha)
    alpha.sh("ip route flush table 52; ip -6 route flush table 52")
    wait_for("they are back", lambda: ours(alpha) == good, 10)
    peak = peak_kib(alpha)
    print(f"peak {peak} KiB, beta {peak_kib(beta)} KiB")
    assert peak < peak_kib(beta) + 8192
    alpha.stop(signal.SIGKILL)
    done = alpha.run(PYTHON, "-c", "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
                     "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)", lab.tailscaled, "--cleanup")
    assert int(done.stdout) < peak_kib(beta) + 8192
    assert alpha.sh("ip route show table 52; ip -6 route show table 52") == ""


def test_two_that_undo_each_other_do_not_race(alpha):
    """Somebody who removes a rule again and again is answered a few times at once, then now and then."""
    settled(alpha)
    added = 0
    end = time.monotonic() + 8
    while time.monotonic() < end:
        if "5210:" in alpha.sh("ip -4 rule"):
            added += 1
            alpha.sh("ip rule del pref 5210")
        time.sleep(0.05)
    assert 5 <= added <= 14
    wait_for("it is back in the end", lambda: "5210:" in alpha.sh("ip -4 rule"), 7)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_byte_for_byte(lab, sig):
    lab.servers("--gather", "0.1")
    alpha, gate = lab.host("alpha", v6=True), lab.host("gate")
    alpha.sh("sysctl -qw net.ipv4.conf.all.rp_filter=1; "
             "nft add table ip filter; nft 'add chain ip filter INPUT { type filter hook input priority 0; }'; "
             "nft 'add chain ip filter FORWARD { type filter hook forward priority 0; }'; "
             "nft add rule ip filter INPUT tcp dport 22 accept")
    before = alpha.snapshot()
    gate.start()
    gate.up("--advertise-exit-node")
    lab.control.call("routes", node="gate", routes=["0.0.0.0/0"])
    alpha.join()
    alpha.wait_peer(gate, test=lambda p: p["ExitNodeOption"])
    alpha.tailscale("set", "--exit-node=gate", "--exit-node-allow-lan-access", "--accept-routes")
    during = alpha.snapshot()
    for part in ("links", "rules", "routes", "firewall", "sysctl", "run"):
        assert during[part] != before[part], part
    alpha.stop(sig)
    if sig == signal.SIGKILL:
        after = alpha.snapshot()
        assert after["rules"] != before["rules"] and "unreachable default" in "".join(after["routes"])
        alpha.run(lab.tailscaled, "--cleanup")
        alpha.sh("rm -f /run/tailscale/tailscaled.sock")
    assert alpha.snapshot() == before
    alpha.run(lab.tailscaled, "--cleanup")     # once more does no harm
    assert alpha.snapshot() == before


def test_one_agent_also_where_there_is_no_run(lab):
    """Older OpenWrt has /var/run alone."""
    alpha = lab.host("alpha")
    alpha.sh("""
mkdir -p /run/lab/own/upper /run/lab/own/work
mount -t overlay overlay -o lowerdir=/var,upperdir=/run/lab/own/upper,workdir=/run/lab/own/work /var
rm /var/run; mkdir /var/run
mount -t tmpfs -o ro none /run
""")
    alpha.daemon = alpha.spawn([lab.tailscaled, "--state=mem:"], "alpha.log")
    wait_for("its socket", lambda: alpha.run("test", "-S", "/var/run/tailscale/tailscaled.sock", check=False).returncode == 0)
    done = alpha.run(lab.tailscaled, "--state=mem:", "--socket=/var/run/other.sock", "--tun=tailscale1", check=False, timeout=20)
    assert done.returncode == 1 and "another tailscaled is at work in this network namespace" in done.stderr
    assert "go unnoticed" not in alpha.log()
    assert alpha.stop() == 0 and alpha.sh("find /var/run/tailscale -type f -o -type s") == ""


def test_second_agent_says_why_and_changes_nothing(lab, alpha):
    good = settled(alpha), alpha.snapshot()
    done = alpha.run(lab.tailscaled, "--state=mem:", "--socket=/run/other.sock", "--tun=tailscale1", "--port=0", check=False,
                     timeout=20)
    assert done.returncode == 1 and "another tailscaled is at work in this network namespace" in done.stderr
    done = alpha.run(lab.tailscaled, "--cleanup", check=False)
    assert done.returncode == 1 and "another tailscaled" in done.stderr
    assert (ours(alpha), alpha.snapshot()) == good
    alpha.stop()
    assert alpha.snapshot() == alpha.before
    alpha.start("--state=mem:", "--tun=tailscale1", "--port=0")


def test_address_of_no_peer_does_not_leave_in_clear(alpha):
    nobody4, nobody6 = "100.99.1.2", "fd7a:115c:a1e0::99"
    with Wire(alpha, "eth0", [nobody4, nobody6]) as wire:
        started = time.monotonic()
        assert ask_udp(alpha, nobody4) is None
        assert time.monotonic() - started < 2, "and that is said at once"
        assert ask_udp(alpha, nobody6, tries=1) is None     # all of the IPv6 mesh is one route into the tunnel
    assert not wire.seen
    alpha.tailscale("down")
    with Wire(alpha, "eth0", [nobody4]) as wire:
        ask_udp(alpha, nobody4, timeout=0.2)
    assert wire.seen, "when we are down the host routes as it did before"


def test_provider_that_uses_the_same_range_stays_reachable(lab, alpha):
    provider = lab.lan(alpha, "provider", 80)
    alpha.sh("ip addr add 100.100.2.1/24 dev lan80")
    provider.sh("ip addr add 100.100.2.136/24 dev eth0")
    wait_for("it is reached", lambda: "throw 100.100.2.0/24" in alpha.sh("ip route show table 52"), 5)
    assert alpha.sh("ip route get 100.100.2.136").startswith("100.100.2.136 dev lan80")


def test_a_restart_takes_over_what_was_left(lab, alpha):
    good = settled(alpha)
    alpha.sh("ip rule add pref 5240 fwmark 0x80000/0xff0000 lookup main; ip route add throw 10.9.9.0/24 table 52")
    alpha.stop(signal.SIGKILL)
    alpha.start()
    wait_for("it runs", lambda: alpha.status()["BackendState"] == "Running")
    wait_for("it is as it was", lambda: ours(alpha) == good, 5)


def test_ipv6_switched_off(lab):
    lab.servers("--gather", "0.1", v6=False)
    alpha = lab.host("alpha")
    alpha.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
    before = alpha.snapshot()
    alpha.join()
    assert alpha.status()["Health"] == []
    alpha.stop()
    assert alpha.snapshot() == before


def test_udp_gathering_is_hinted_at_and_can_be_set(lab):
    """Who forwards is told of the card's setting, and a container's start script may have it set."""
    lab.servers()
    host = lab.host("alpha")
    host.join()
    host.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")

    def warned():
        return "rx-udp-gro-forwarding" in host.tailscale("set", "--advertise-routes=10.0.0.0/24").stdout

    def ask(name, method="GET"):
        return host.sh(f"curl -s -X {method} --unix-socket /run/tailscale/tailscaled.sock "
                       f"http://local-tailscaled.sock/localapi/v0/{name}-udp-gro-forwarding")

    if not warned():
        pytest.skip("this kernel's tunnel takes no gathered UDP")
    assert "ethtool -K eth0 rx-udp-gro-forwarding on rx-gro-list off" in ask("check")
    assert ask("set", "POST").strip() == '{"Warning":""}'
    assert ask("check").strip() == '{"Warning":""}' and not warned()
    host.sh("ip route del default")
    assert "there is no default route" in ask("set")
