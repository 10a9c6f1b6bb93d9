"""A port of the router, by miniupnpd in the router's namespace; and routers that lie.

        alpha --- router1, which maps ports --- internet --- router2, a hard NAT --- beta

Nobody gets in to alpha uninvited, and beta comes from a port that alpha cannot know: without a mapping they stay on the
relay.  miniupnpd maps for public addresses only, so router1 has one that is none of the documentation's.
"""
import contextlib
import json
import os
import signal
import socket
import struct
import threading
import time

import pytest

from debs import unpack
from lab import wait_for

OUTSIDE = "5.0.0.11"
SLOW = float(os.environ.get("LAB_SLOW", "1"))

# Drops what asks for the other ways; @th,64,8 is the first byte of a UDP payload, which is the version.
ONLY = {
    "NAT-PMP": ["udp dport 5351 @th,64,8 2 drop", "udp dport 1900 drop"],
    "PCP": ["udp dport 5351 @th,64,8 0 drop", "udp dport 1900 drop"],
    "UPnP": ["udp dport 5351 drop"],
}
FIELD = {"NAT-PMP": "PMP", "PCP": "PCP", "UPnP": "UPnP"}


def give_outside_address(lab, router):
    """The router's NAT has an address that the internet routes to it."""
    lab.net.sh(f"ip route add {OUTSIDE}/32 via {router.wan4}")
    router.sh(f"""
ip addr add {OUTSIDE}/32 dev wan
nft flush chain inet lab translate
nft add rule inet lab translate meta nfproto ipv4 oifname wan snat ip to {OUTSIDE}
nft insert rule inet lab pass ct status dnat accept
nft insert rule inet lab guard ct status dnat accept
nft add chain inet lab only
nft insert rule inet lab guard iifname lan jump only
""")


def only(router, way=None):
    router.sh("nft flush chain inet lab only\n" + "\n".join(f"nft add rule inet lab only {r}" for r in ONLY.get(way, [])))


class Mapper:
    """miniupnpd on a router."""

    def __init__(self, lab, router):
        self.router = router
        self.program = os.path.join(unpack("miniupnpd-nftables"), "usr/sbin/miniupnpd")
        router.sh(f"""
nft -f - <<'END'
table inet filter {{
        chain forward {{ type filter hook forward priority 0; policy accept; jump miniupnpd; }}
        chain miniupnpd {{ }}
        chain prerouting {{ type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd; }}
        chain postrouting {{ type nat hook postrouting priority 100; policy accept; jump postrouting_miniupnpd; }}
        chain prerouting_miniupnpd {{ }}
        chain postrouting_miniupnpd {{ }}
}}
END
cat > /run/miniupnpd.conf <<'END'
ext_ifname=wan
ext_ip={OUTSIDE}
listening_ip=lan
http_port=0
enable_natpmp=yes
enable_upnp=yes
secure_mode=yes
system_uptime=no
uuid=00000000-0000-4000-8000-000000000001
allow 1024-65535 {router.lan4}0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
END
""")
        self.start()

    def start(self):
        self.process = self.router.spawn([self.program, "-d", "-f", "/run/miniupnpd.conf", "-P", "/run/miniupnpd.pid"],
                                         "miniupnpd.log")
        wait_for("miniupnpd listens", lambda: ":5351" in self.router.sh("ss -lun") and ":1900" in self.router.sh("ss -lun"))

    def forget(self):
        """As a router that loses power: it starts again without what it knew."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.router.sh("for c in miniupnpd prerouting_miniupnpd postrouting_miniupnpd; do nft flush chain inet filter $c; done")
        self.start()

    def mappings(self):
        return [line.strip() for line in self.router.sh("nft list chain inet filter prerouting_miniupnpd").splitlines()
                if "dnat" in line]


def pair(lab):
    lab.servers()
    alpha, beta = lab.pair("easy", "hard")
    give_outside_address(lab, alpha.router)
    return alpha, beta


def join(alpha, beta, env=None):
    alpha.start("--port=41641", env=env)
    alpha.up()
    beta.join()
    # Two of our own find a way through a hard NAT by themselves; here it is the mapping's turn.
    for host in (alpha, beta):
        host.tailscale("set", "--hard-nat=off")
    alpha.wait_peer(beta, test=lambda p: p["Relay"])
    beta.wait_peer(alpha, test=lambda p: p["Relay"])


def mapped(host):
    """The address in the log's last word about a mapping, "" without one."""
    lines = [line for line in host.log().splitlines() if "port mapping: " in line]
    return lines[-1].split(" leads ")[1].split()[0] if lines and " leads " in lines[-1] else ""


def report(host):
    return json.loads(host.tailscale("netcheck", "--format=json").stdout)


def talk(alpha, beta):
    assert beta.ping(alpha.ip, count=4, interval=0.3, timeout=5) >= 3


def test_without_a_mapping_it_stays_on_the_relay(lab):
    alpha, beta = pair(lab)
    join(alpha, beta)
    talk(alpha, beta)
    time.sleep(2)
    assert alpha.path(beta) == "" and beta.path(alpha) == ""
    seen = report(alpha)
    assert [seen[k] for k in ("UPnP", "PMP", "PCP")] == [False] * 3
    assert "\t* PortMapping: \n" in alpha.tailscale("netcheck").stdout


@pytest.mark.parametrize("way", ["NAT-PMP", "PCP", "UPnP"])
def test_direct_by_a_mapping(lab, way):
    alpha, beta = pair(lab)
    router = Mapper(lab, alpha.router)
    only(alpha.router, way)
    join(alpha, beta)
    wait_for("alpha has a mapping", lambda: mapped(alpha), 15 * SLOW)
    assert f"({way})" in alpha.log()
    assert mapped(alpha).startswith(OUTSIDE + ":") and len(router.mappings()) == 1
    talk(alpha, beta)
    assert beta.wait_direct(alpha, 15 * SLOW) == mapped(alpha)
    assert alpha.wait_direct(beta, 15 * SLOW)
    seen = report(alpha)
    assert {k: seen[k] for k in FIELD.values()} == {v: k == way for k, v in FIELD.items()}
    assert f"\t* PortMapping: {way}\n" in alpha.tailscale("netcheck").stdout
    # And it goes as it came.
    alpha.tailscale("down")
    wait_for("down gives it back", lambda: not router.mappings(), 5 * SLOW)
    alpha.tailscale("up")
    wait_for("up asks for it again", router.mappings, 15 * SLOW)
    alpha.stop()
    assert router.mappings() == [], "the end of the daemon gives it back"


@pytest.mark.parametrize("way", ["NAT-PMP", "PCP", "UPnP"])
def test_router_restarts(lab, way):
    """It forgets; while there is traffic we notice at the next look at the network."""
    alpha, beta = pair(lab)
    router = Mapper(lab, alpha.router)
    only(alpha.router, way)
    join(alpha, beta)
    wait_for("alpha has a mapping", lambda: router.mappings(), 15 * SLOW)
    time.sleep(3)
    router.forget()
    assert router.mappings() == []
    time.sleep(1.5)
    report(alpha)
    wait_for("it is made again", router.mappings, 10 * SLOW)
    talk(alpha, beta)
    beta.wait_direct(alpha, 15 * SLOW)


def debug(host, *flags):
    return host.tailscale("debug", "portmap", *flags).stdout


@pytest.mark.parametrize("way", ["NAT-PMP", "PCP", "UPnP"])
def test_the_talk_is_shown_and_the_port_given_back(lab, way):
    lab.servers()
    alpha = lab.host("alpha", lab.router())
    give_outside_address(lab, alpha.router)
    router = Mapper(lab, alpha.router)
    only(alpha.router, way)
    alpha.start("--port=41641", env={"TS_DISABLE_PORTMAPPER": "1"})     # the command asks for itself
    text = debug(alpha, "--log-http")
    lan = alpha.router.lan4
    assert text.startswith(f"gw={lan}1; self={alpha.address}\n")
    assert "Probe: {%s}\n" % " ".join(f"{k}:{str(k == FIELD[way]).lower()}" for k in ("PCP", "PMP", "UPnP")) in text
    assert f"\nmapping: {OUTSIDE}:" in text and f" ({way}), for 7" in text
    if way == "UPnP":
        assert "UPnP: a router of version " in text and "UPnP: GET http://" in text and "#Add" in text
        assert "<serviceType>" in text and "DeletePortMapping" in text and "HTTP status 200" in text
    else:
        assert f" s -> {lan}1:5351 {way}: lead " in text and f" s <- {lan}1:5351 {way}: outside port " in text
        assert f"{way}: give back what leads to UDP port " in text
    wait_for("it is given back", lambda: router.mappings() == [], 5 * SLOW)
    other = {"NAT-PMP": "pcp", "PCP": "pmp", "UPnP": "pmp"}[way]
    assert "\nno portmapping services available\n" in debug(alpha, f"--type={other}")
    assert "\nmapping: " in debug(alpha, f"--type={FIELD[way].lower()}", f"--gateway-addr={lan}1", f"--self-addr={alpha.address}")
    assert "<serviceType>" not in debug(alpha)
    alpha.sh("ip route del default")
    assert debug(alpha).startswith("no gateway or self IP: ")


def test_switched_off(lab):
    """By the environment, all of it or UPnP alone."""
    alpha, beta = pair(lab)
    router = Mapper(lab, alpha.router)
    alpha.start("--port=41641", env={"TS_DISABLE_PORTMAPPER": "1"})
    alpha.up()
    assert [report(alpha)[k] for k in FIELD.values()] == [None] * 3
    assert "\t* PortMapping: not checked\n" in alpha.tailscale("netcheck").stdout
    assert router.mappings() == []
    alpha.stop()
    only(alpha.router, "UPnP")
    alpha.start("--port=41641", env={"TS_DISABLE_UPNP": "1"})
    wait_for("alpha is back", lambda: alpha.status()["BackendState"] == "Running")
    assert [report(alpha)[k] for k in FIELD.values()] == [False] * 3
    assert router.mappings() == []


# ---- a router that lies ----

class Liar:
    """Answers on the router as `mode` says; counts who talks HTTP to it."""

    def __init__(self, router, mode):
        self.router, self.mode, self.here = router, mode, router.lan4 + "1"
        self.there = router.lan4 + "200"       # another host of the same network
        self.connections, self.elsewhere, self.end = 0, 0, threading.Event()
        self.pxp = router.sock(bind=(self.here, 5351), timeout=0.1)
        self.other = router.sock(bind=(self.there, 5351), timeout=0.1)
        self.odd = router.sock(bind=(self.here, 5352), timeout=0.1)
        self.ssdp = router.sock(bind=(self.here, 1900), timeout=0.1)
        self.web, self.web_there = router.listen(self.here, 5000), router.listen(self.there, 5000)
        for s in (self.web, self.web_there):
            s.settimeout(0.1)
        self.threads = [threading.Thread(target=self.loop, args=(step,)) for step in (
            self.serve_pxp, self.serve_ssdp, self.serve_web, self.watch_elsewhere)]
        for t in self.threads:
            t.start()

    def stop(self):
        self.end.set()
        for t in self.threads:
            t.join()
        for s in (self.pxp, self.other, self.odd, self.ssdp, self.web, self.web_there):
            s.close()

    def loop(self, step):
        while not self.end.is_set():
            with contextlib.suppress(OSError):
                step()

    def serve_pxp(self):
        data, who = self.pxp.recvfrom(1500)
        if self.mode in ("garbage XML", "huge bodies", "slow bodies", "another host's description", "endless heads"):
            return
        address = socket.inet_aton("198.51.100.77" if self.mode == "foreign address" else OUTSIDE)
        life = {"infinite lease": 2**32 - 1, "no lease": 0, "one second": 1}.get(self.mode, 7200)
        if data == b"\0\0":
            reply = struct.pack(">BBHI", 0, 128, 0, 1000) + address
        elif data[:2] == b"\0\1":
            inner, outer = struct.unpack(">HH", data[4:8])
            reply = struct.pack(">BBHIHHI", 0, 129, 0, 1000, inner, outer or inner, life)
        else:
            return
        if self.mode == "noise":
            for n in range(0, len(reply)):
                self.pxp.sendto(reply[:n], who)
            self.pxp.sendto(os.urandom(1400), who)
        elif self.mode == "slow answers":
            self.end.wait(1.6)
            self.pxp.sendto(reply, who)
        elif self.mode == "another source":
            self.other.sendto(reply, who)
            self.odd.sendto(reply, who)
        else:
            self.pxp.sendto(reply, who)

    def serve_ssdp(self):
        _, who = self.ssdp.recvfrom(1500)
        host = self.there if self.mode == "another host's description" else self.here
        self.ssdp.sendto((f"HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
                          f"LOCATION: http://{host}:5000/d.xml\r\n\r\n").encode(), who)

    def serve_web(self):
        conn, _ = self.web.accept()
        self.connections += 1
        with conn:
            conn.settimeout(2)
            conn.recv(4096)
            conn.sendall(b"HTTP/1.1 200 OK\r\n")
            end = time.monotonic() + 3
            if self.mode in ("huge bodies", "slow bodies"):
                conn.sendall(b"\r\n")
            while self.mode in ("huge bodies", "endless heads", "slow bodies") and time.monotonic() < end:
                if self.mode == "endless heads":
                    conn.sendall(b"X-More: " + b"x" * 60000 + b"\r\n")
                elif self.mode == "huge bodies":
                    conn.sendall(b"<a>" * 20000)
                else:
                    conn.sendall(b"<a>")
                    time.sleep(0.2)
            conn.sendall(b"Connection: close\r\n\r\n<root><device><service><<<&&&" + os.urandom(2000))

    def watch_elsewhere(self):
        self.web_there.accept()[0].close()
        self.elsewhere += 1


LIES = ["foreign address", "infinite lease", "no lease", "one second", "noise", "slow answers", "another source", "garbage XML",
        "huge bodies", "slow bodies", "endless heads", "another host's description"]
BY_UPNP = LIES[LIES.index("garbage XML"):]


def private_kib(host):
    rollup = host.sh(f"cat /proc/{host.daemon.pid}/smaps_rollup")
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))


def test_a_lying_router_gives_nothing_and_harms_nothing(lab):
    lab.servers()
    alpha = lab.host("alpha", lab.router())
    give_outside_address(lab, alpha.router)
    alpha.router.sh(f"ip addr add {alpha.router.lan4}200/24 dev lan")
    allowed = (OUTSIDE + ":41641", alpha.address + ":41641")
    alpha.start("--port=41641")
    alpha.up()
    plain = private_kib(alpha)
    for lie in LIES:
        alpha.stop()
        liar = Liar(alpha.router, lie)
        try:
            alpha.start("--port=41641")
            wait_for(f"{lie}: alpha runs", lambda: alpha.status()["BackendState"] == "Running")
            start = time.monotonic()
            seen = report(alpha)
            assert time.monotonic() - start < 10 * SLOW, lie
            time.sleep(2)
            assert set(alpha.status()["Self"]["Addrs"]) <= set(allowed), lie
            if lie in BY_UPNP:
                assert report(alpha)["UPnP"] is True, lie
            else:
                assert seen["PMP"] is (lie not in ("noise", "slow answers", "another source")), lie
            assert liar.elsewhere == 0, lie
            assert liar.connections > 0 or lie not in BY_UPNP, lie
            print(f"{lie}: {liar.connections} connections, {private_kib(alpha) - plain:+} KiB")
            assert private_kib(alpha) - plain < 8192 * SLOW, lie
        finally:
            liar.stop()
