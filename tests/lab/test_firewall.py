"""Our rules in the host's firewall, and the host's rules beside ours.

        alpha --- internet --- gate --- server
"""
import os
import re
import shutil
import signal
import time

import pytest

import debs
from lab import end, wait_for
from traffic_host import Echo, ask_tcp, ask_udp

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGING = os.path.join(os.path.dirname(os.path.dirname(HERE)), "packaging")
FORWARD = "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"


@pytest.fixture
def net(lab):
    lab.servers("--gather", "0.1")
    alpha, gate = lab.host("alpha", lab.router()), lab.host("gate", v6=True)
    server = lab.lan(gate)
    gate.sh(FORWARD)
    gate.server = server
    Echo(server)
    Echo(gate, 7080)
    return lab, alpha, gate


def join(lab, alpha, gate, *flags):
    gate.start()
    gate.up(f"--advertise-routes={gate.server.net4},{gate.server.net6}", *flags)
    lab.control.call("routes", node="gate", routes=[gate.server.net4, gate.server.net6])
    alpha.start()
    alpha.up("--accept-routes")
    wait_for("the route is there", lambda: gate.server.net4 in alpha.sh("ip route show table 52"))


def works(alpha, gate):
    """To the host itself and through it, both families."""
    return [ask(alpha, to, port) is not None for to, port in (
        (gate.ip, 7080), (gate.ip6, 7080), (gate.server.address, 7070), (gate.server.address6, 7070))
        for ask in (ask_tcp, ask_udp)]


ALL = [True] * 8


def rules(host):
    done = host.run("nft", "list", "table", "inet", "tailscale", check=False)
    return done.stdout if done.returncode == 0 else ""


def test_modes(net):
    lab, alpha, gate = net
    gate.sh("nft add table ip filter; nft 'add chain ip filter INPUT { type filter hook input priority 0; }'")
    join(lab, alpha, gate)
    on = rules(gate)
    assert "masquerade" in on and "drop" in on and "tailscale0" in gate.sh("nft list chain ip filter INPUT")
    gate.tailscale("set", "--netfilter-mode=nodivert")
    nodivert = rules(gate)
    assert "masquerade" in nodivert and "drop" not in nodivert
    assert "tailscale0" not in gate.sh("nft list chain ip filter INPUT")
    assert ask_tcp(alpha, gate.server.address) == "10.77.0.1"
    gate.tailscale("set", "--netfilter-mode=off")
    assert rules(gate) == ""
    assert ask_tcp(alpha, gate.server.address, timeout=1) is None, "nobody masquerades"
    gate.tailscale("set", "--netfilter-mode=on", "--snat-subnet-routes=false")
    assert "masquerade" not in rules(gate)
    gate.tailscale("set", "--snat-subnet-routes", "--stateful-filtering")
    assert "ct state" in rules(gate)
    gate.tailscale("set", "--stateful-filtering=false")
    assert rules(gate) == on and works(alpha, gate) == ALL
    gate.tailscale("down")
    assert rules(gate) == "" and "tailscale0" not in gate.sh("nft list ruleset")


def test_nobody_outside_the_tunnel_has_a_tailnet_address(net):
    lab, alpha, gate = net
    join(lab, alpha, gate)
    liar = lab.host("liar", v6=True)
    liar.sh("ip addr add 100.64.9.9/32 dev lo; ip -6 addr add fd7a:115c:a1e0::99/128 dev lo; "
            f"ip addr add 100.115.92.9/32 dev lo; ip route add 10.77.0.0/24 via {gate.address}")
    gate.sh("ip route add 100.115.92.9 dev eth0")

    def hears(source, target, family=2):
        s = liar.sock(family=family, bind=(source, 0), timeout=0.5)
        before = gate.sh("cat /proc/net/snmp /proc/net/snmp6")
        s.sendto(b"x", (target, 7099))
        time.sleep(0.2)
        after = gate.sh("cat /proc/net/snmp /proc/net/snmp6")

        def no_ports(text):
            rows = [line.split() for line in text.splitlines()]
            udp = [r for r in rows if r[0] == "Udp:"]
            return int(udp[1][udp[0].index("NoPorts")]) + sum(int(r[1]) for r in rows if r[0] == "Udp6NoPorts")
        return no_ports(after) > no_ports(before)
    assert hears(liar.address, gate.address), "the count shows a datagram that got through"
    assert not hears("100.64.9.9", gate.address)
    assert not hears("fd7a:115c:a1e0::99", gate.address6, 10)
    assert hears("100.115.92.9", gate.address), "never a tailnet address"
    gate.tailscale("set", "--netfilter-mode=nodivert")
    assert hears("100.64.9.9", gate.address)


CHAINS = """
table ip filter {
        chain INPUT {
                type filter hook input priority 0; policy drop;
                ct state established,related accept
        }
}
table ip6 filter {
        chain FORWARD {
                type filter hook forward priority 0; policy drop;
                meta l4proto ipv6-icmp accept
        }
}
"""


def udp_port(host):
    """Of the daemon's own socket for IPv4; None: it is between two."""
    lines = [line.split() for line in host.sh("ss -Hunlp4").splitlines() if "tailscaled" in line]
    return next((int(f[3].rpartition(":")[2]) for f in lines), None)


def let_in(host):
    return {int(p) for p in re.findall(r"udp dport (\d+)", host.sh("nft list chain ip filter INPUT"))}


@pytest.mark.parametrize("flag", ["--port=0", "--port=41641"])
def test_the_port_let_in_is_the_one_in_use(lab, flag):
    """Any port; one that was taken at first and is free at the next change of network."""
    lab.servers("--gather", "0.1")
    alpha, gate = lab.host("alpha", lab.router()), lab.host("gate")
    gate.run("nft", "-f", "-", input=CHAINS)
    taken = [gate.sock(bind=("0.0.0.0", 41641))]
    gate.join(flag)
    alpha.join()
    port = udp_port(gate)
    assert port not in (0, 41641) and let_in(gate) == {port}
    assert f"udp dport {port}" in rules(gate) or "dport" not in rules(gate)
    alpha.wait_peer(gate)
    assert alpha.ping(gate.ip) == 1
    alpha.wait_direct(gate)
    taken.pop().close()
    gate.sh("ip addr add 203.0.113.199/24 dev eth0")
    want = port if flag == "--port=0" else 41641
    wait_for("the port is the wanted one", lambda: udp_port(gate) == want, 10)
    wait_for("the rule follows", lambda: let_in(gate) == {want}, 5)
    alpha.wait_direct(gate, 30)


@pytest.mark.parametrize("what", [
    "flush ruleset", "flush ruleset" + CHAINS, "flush table ip filter\ndelete table ip filter" + CHAINS.split("table ip6")[0],
    "flush chain ip filter INPUT\nadd rule ip filter INPUT ct state established,related accept"])
def test_flushed_rulesets_are_back_within_a_second(net, what):
    lab, alpha, gate = net
    gate.run("nft", "-f", "-", input=CHAINS)
    join(lab, alpha, gate)
    assert works(alpha, gate) == ALL
    before = gate.sh("nft list ruleset")
    assert gate.run("nft", "delete", "table", "inet", "tailscale", check=False).returncode != 0, "it has an owner"
    gate.run("nft", "-f", "-", input=what)
    time.sleep(1.0)
    if what == "flush ruleset":      # their table is gone, and with it what we had there
        before = before[before.index("table inet tailscale"):]
        assert gate.sh("nft list ruleset") == before
    assert gate.sh("nft list ruleset").count("tailscale0") == before.count("tailscale0")
    assert works(alpha, gate) == ALL


IPTABLES = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p ipv6-icmp -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -j REJECT
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -j REJECT
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -o nowhere -j MASQUERADE
COMMIT
"""


@pytest.mark.skipif(not shutil.which("iptables-nft-restore"), reason="iptables is not installed")
def test_beside_iptables_before_and_after_its_reload(net):
    lab, alpha, gate = net
    for tool in ("iptables-nft-restore", "ip6tables-nft-restore"):
        gate.run(tool, input=IPTABLES)
    listed = gate.sh("iptables-nft -S; iptables-nft -t nat -S; ip6tables-nft -S")
    join(lab, alpha, gate)
    assert works(alpha, gate) == ALL
    assert ask_tcp(lab.net, gate.address, 7080, 1.0) is None, "the host's own rules hold for everybody else"
    with_ours = gate.sh("iptables-nft -S; iptables-nft -t nat -S; ip6tables-nft -S")
    assert "-i tailscale0" in with_ours and "incompatible" not in with_ours
    for tool in ("iptables-nft-restore", "ip6tables-nft-restore"):
        gate.run(tool, input=IPTABLES)      # a reload: everything anew
    time.sleep(1.0)
    assert works(alpha, gate) == ALL
    gate.sh("iptables-nft -A INPUT -p udp --dport 9 -j ACCEPT; iptables-nft -D INPUT -p udp --dport 9 -j ACCEPT")
    gate.stop()
    assert gate.sh("iptables-nft -S; iptables-nft -t nat -S; ip6tables-nft -S") == listed


@pytest.mark.skipif(not shutil.which("ufw"), reason="ufw is not installed")
def test_beside_ufw_before_and_after_its_reload(net):
    lab, alpha, gate = net
    gate.sh("update-alternatives --set iptables /usr/sbin/iptables-nft >/dev/null 2>&1 || true; "
            "echo y | ufw --force enable; ufw allow 22/tcp")
    assert "Status: active" in gate.sh("ufw status")
    join(lab, alpha, gate)
    assert works(alpha, gate) == ALL
    gate.sh("ufw reload")
    time.sleep(1.0)
    assert works(alpha, gate) == ALL
    assert "22/tcp" in gate.sh("ufw status")


@pytest.fixture
def firewalld(net):
    """The real one, on the gate."""
    _, _, gate = net
    debs.overlay(gate, debs.unpack("firewalld"))
    debs.start_bus(gate)
    run_firewalld(gate)
    return net


def run_firewalld(gate):
    gate.firewalld = gate.spawn(["firewalld", "--nofork", "--nopid"], "firewalld.log")
    wait_for("firewalld", lambda: gate.run("firewall-cmd", "--state", check=False).returncode == 0, 60, 0.2)


def told(gate):
    """All that firewalld was told, and what it made of it, but for the chains of a zone once used: it keeps them."""
    rules = re.sub(r"\tchain \w+_trusted\w* \{.*?\n\t\}\n\n?", "", gate.sh("nft list table inet firewalld"), flags=re.S)
    return gate.sh("firewall-cmd --list-all-zones"), rules.replace("\n\n", "\n")


def test_beside_firewalld(firewalld):
    """The tunnel is trusted while we run, over reload and restart, and not a moment longer."""
    lab, alpha, gate = firewalld
    before = told(gate)
    join(lab, alpha, gate)
    wait_for("the tunnel is let in", lambda: works(alpha, gate) == ALL, 20)
    wait_for("the port is open", lambda: "41641/udp" in gate.sh("firewall-cmd --list-ports"))
    assert gate.sh("firewall-cmd --get-zone-of-interface=tailscale0") == "trusted\n"
    assert gate.status()["Health"] == []
    assert ask_tcp(lab.net, gate.address, 7080, 1.0) is None, "the host's own rules hold for everybody else"
    gate.sh("firewall-cmd --reload")
    time.sleep(1.0)
    assert works(alpha, gate) == ALL
    wait_for("the port is open", lambda: "41641/udp" in gate.sh("firewall-cmd --list-ports"))
    end(gate.firewalld)
    run_firewalld(gate)
    wait_for("the tunnel is let in", lambda: works(alpha, gate) == ALL, 20)
    wait_for("the port is open", lambda: "41641/udp" in gate.sh("firewall-cmd --list-ports"))
    gate.tailscale("set", "--netfilter-mode=nodivert")
    wait_for("nothing of ours is left", lambda: told(gate) == before)
    gate.tailscale("set", "--netfilter-mode=on")
    wait_for("the tunnel is let in", lambda: works(alpha, gate) == ALL, 20)
    gate.stop()
    assert told(gate) == before


def test_firewalld_after_a_kill(firewalld):
    lab, alpha, gate = firewalld
    before = told(gate)
    for moment in (0, 0.3, 1, 3):
        gate.start()
        gate.up()
        time.sleep(moment)
        gate.stop(signal.SIGKILL)
        time.sleep(0.5)          # firewalld may still be at what it was told
        gate.run(lab.tailscaled, "--cleanup")
        assert told(gate) == before, moment
        assert gate.sh("ls /run/tailscale") == ""
    # The next one takes over, and gives back what it did not put there itself.
    gate.start()
    gate.up()
    wait_for("it is told", lambda: "41641/udp" in gate.sh("firewall-cmd --list-ports"))
    gate.stop(signal.SIGKILL)
    gate.start()
    gate.up()
    gate.stop()
    assert told(gate) == before


def test_a_stop_does_not_wait_for_a_silent_firewalld(firewalld):
    lab, alpha, gate = firewalld
    before = told(gate)
    gate.start()
    gate.up()
    wait_for("it is told", lambda: "41641/udp" in gate.sh("firewall-cmd --list-ports"))
    gate.firewalld.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    gate.stop()
    assert time.monotonic() - began < 8, "5 s, and something for the rest"
    gate.firewalld.send_signal(signal.SIGCONT)
    gate.run(lab.tailscaled, "--cleanup")
    wait_for("it is taken back", lambda: told(gate) == before, 20)
    assert gate.sh("ls /run/tailscale") == ""


def test_a_zone_that_the_administrator_chose(firewalld):
    lab, alpha, gate = firewalld
    gate.sh("firewall-cmd --zone=internal --add-interface=tailscale0; firewall-cmd --add-port=41641/udp")
    before = told(gate)
    join(lab, alpha, gate)
    time.sleep(2)
    assert gate.sh("firewall-cmd --get-zone-of-interface=tailscale0") == "internal\n"
    assert ask_tcp(alpha, gate.ip, 7080, 1.0) is None, "as that zone says"
    gate.stop()
    assert told(gate) == before


FW4 = """
table inet fw4 {
        chain input {
                type filter hook input priority filter; policy drop;
                iifname "lo" accept
                %s
                ct state vmap { established : accept, related : accept, invalid : drop }
                meta l4proto ipv6-icmp accept
                reject
        }
        chain forward {
                type filter hook forward priority filter; policy drop;
                %s
                ct state vmap { established : accept, related : accept, invalid : drop }
                reject
        }
        chain srcnat {
                type nat hook postrouting priority srcnat; policy accept;
        }
}
"""


def test_beside_fw4_before_and_after_its_reload(net):
    """OpenWrt's firewall rebuilds its whole table; our snippets are part of it."""
    lab, alpha, gate = net

    def snippet(chain):
        folder = os.path.join(PACKAGING, "openwrt", "nftables.d", "chain-pre", chain)
        return "\n".join(open(os.path.join(folder, name)).read() for name in sorted(os.listdir(folder)))
    bare = FW4 % ("", "")
    whole = FW4 % (snippet("input"), snippet("forward"))
    gate.run("nft", "-f", "-", input=bare)
    join(lab, alpha, gate)
    assert works(alpha, gate) == [False] * 8, "an accept of ours is not the last word"
    assert any("nft insert rule inet fw4 input" in h for h in gate.status()["Health"])
    for _ in range(2):
        gate.run("nft", "-f", "-", input="flush table inet fw4\ndelete table inet fw4\n" + whole)
        time.sleep(1.0)
        assert works(alpha, gate) == ALL
        assert gate.status()["Health"] == []


def test_two_programs_that_flush_do_not_race(net):
    """Someone who removes our accept again and again is answered a few times at once, then now and then."""
    lab, alpha, gate = net
    gate.sh("nft add table ip filter; nft 'add chain ip filter INPUT { type filter hook input priority 0; }'")
    join(lab, alpha, gate)
    put_back, end = 0, time.monotonic() + 8
    while time.monotonic() < end:
        if "tailscale0" in gate.sh("nft list chain ip filter INPUT"):
            put_back += 1
            gate.sh("nft flush chain ip filter INPUT")
        time.sleep(0.05)
    assert 5 <= put_back <= 14
