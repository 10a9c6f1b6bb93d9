"""What the program says of the network and of the paths to a peer: each NAT by its name, each reason for the relay by its
cause."""
import json

from lab import WAN4, wait_for


def netcheck(host, *flags):
    return json.loads(host.tailscale("netcheck", "--format=json", *flags, timeout=30).stdout)


def paths(host, other):
    return json.loads(host.tailscale("debug", "paths", "--json", other.name).stdout)


def reasons(host, other):
    return [r["Why"] for r in paths(host, other)["NotDirect"]]


def test_each_nat_has_its_name(lab):
    lab.servers(regions=2)
    easy, hard, shut = (lab.host(k, lab.router("hard" if k == "hard" else "easy")) for k in ("easy", "hard", "shut"))
    public = lab.host("public")
    shut.router.block_udp()
    for host in (easy, hard, shut, public):
        host.join()
    nat = netcheck(easy)["NAT"]
    assert (nat["Kind"], nat["Mapping"], nat["PortKept"]) == ("easy", "endpoint-independent", True)
    nat = netcheck(hard)["NAT"]
    assert (nat["Kind"], nat["Mapping"], nat["PortKept"]) == ("hard", "varies by destination", False)
    nat = netcheck(shut)["NAT"]
    assert (nat["Kind"], nat["Mapping"], nat["PortKept"]) == ("blocked", None, None)
    assert netcheck(public)["NAT"]["Kind"] == "none"
    assert "\t* NAT: easy (mapping endpoint-independent, port kept): direct paths to most peers\n" in \
        easy.tailscale("netcheck").stdout
    assert "turn on UPnP, NAT-PMP or PCP in the router" in hard.tailscale("netcheck").stdout
    report = netcheck(shut)
    assert report["ICMPv4"] is True and report["RegionV4Latency"] == {} and len(report["RegionLatency"]) == 2
    text = shut.tailscale("netcheck").stdout
    assert "\t* UDP: false\n" in text and "UDP is blocked" in text and "Nearest DERP: Lab" in text


def hairpin(router, filtered=False):
    """Leads back what hosts behind it send to its public address, which has the ports they have.  filtered: only where the
    receiver has sent to the sender's public address."""
    heard = "udp dport . udp sport @sent" if filtered else "meta l4proto udp"
    router.sh(f"""
[ ! -e /proc/sys/net/bridge ] || sysctl -qw net.bridge.bridge-nf-call-iptables=0     # the bridge would send it on by itself
nft -f - <<'END'
table inet hairpin {{
        map owner {{
                type inet_service : ipv4_addr
                flags dynamic,timeout
                timeout 5m
        }}
        set sent {{
                type inet_service . inet_service
                flags dynamic,timeout
                timeout 5m
        }}
        chain learn {{
                type filter hook prerouting priority mangle
                iifname "lan" meta nfproto ipv4 meta l4proto udp update @owner {{ udp sport : ip saddr }}
                iifname "lan" meta nfproto ipv4 ip daddr {router.wan4} meta l4proto udp update @sent {{ udp sport . udp dport }}
        }}
        chain back {{
                type nat hook prerouting priority dstnat
                iifname "lan" ip daddr {router.wan4} {heard} dnat ip to udp dport map @owner
        }}
        chain outwards {{
                type nat hook postrouting priority srcnat - 1
                iifname "lan" oifname "lan" ct status dnat snat ip to {router.wan4}
        }}
}}
END
""")


def test_hairpin_and_its_filter(lab):
    lab.servers()
    plain, open_, shut = (lab.host(n, lab.router()) for n in ("plain", "open", "shut"))
    hairpin(open_.router)
    hairpin(shut.router, filtered=True)
    for host in (plain, open_, shut):
        host.join()
    nat = netcheck(plain)["NAT"]
    assert nat["HairPinning"] is False and nat["Filtering"] is None and "by relay" in nat["HairPinningWhy"]
    assert "\t* HairPinning: false (others behind the same NAT are reached in a common network, or by relay)\n" in \
        plain.tailscale("netcheck").stdout
    report = netcheck(open_)
    assert report["NAT"]["HairPinning"] is True and report["NAT"]["Filtering"] is None
    assert report["MappingVariesByDestIP"] is False     # one relay, and the other end of the hairpin
    nat = netcheck(shut)["NAT"]
    assert nat["HairPinning"] is True and nat["Filtering"] == "address-dependent or stricter"


def test_from_an_address_and_port_of_choice(lab):
    lab.servers(regions=2)
    host = lab.host("alpha", lab.router(), v6=True)
    host.start("--port=41641")
    refused = host.tailscale("netcheck", "--bind-port=5555", check=False)
    assert refused.returncode == 1 and "no relay map yet" in refused.stderr
    host.up()
    report = netcheck(host, "--bind-port=5555", f"--bind-address={host.address}")
    assert report["GlobalV4"] == f"{host.router.wan4}:5555" and report["IPv6CanSend"] is False
    assert report["NAT"]["Kind"] == "easy" and report["NAT"]["PortKept"] is True and report["NAT"]["HairPinning"] is False
    assert report["UPnP"] is None and len(report["RegionV4Latency"]) == 2
    report = netcheck(host, "--bind-port=5556")
    assert report["GlobalV4"].endswith(":5556") and report["GlobalV6"].endswith(":5556")
    report = netcheck(host, f"--bind-address={host.address6}")
    assert report["GlobalV4"] == "" and report["GlobalV6"].startswith(f"[{host.address6}]:") and report["IPv4CanSend"] is False
    said = host.tailscale("netcheck", "--format=json", env={"TS_DEBUG_NETCHECK_UDP_BIND": ":5557"}).stdout
    assert json.loads(said)["GlobalV4"].endswith(":5557")
    assert netcheck(host)["GlobalV4"] == f"{host.router.wan4}:41641"      # the daemon's own is as it was
    for flags, words in ((["--bind-address=192.0.2.1"], "no UDP socket can have the address 192.0.2.1:0: Cannot assign requested address"),
                         (["--bind-port=41641"], "no UDP socket can have the address 0.0.0.0:41641: Address already in use")):
        refused = host.tailscale("netcheck", *flags, check=False)
        assert refused.returncode == 1 and words in refused.stderr


def test_one_relay_cannot_tell_the_mapping(lab):
    lab.servers()
    for kind, said in (("easy", "(port kept, so probably easy)"), ("hard", "(port changed)")):
        host = lab.host(kind, lab.router(kind))
        host.join()
        report = netcheck(host)
        assert report["MappingVariesByDestIP"] is None and report["NAT"]["Kind"] == "unknown"
        assert said in report["NAT"]["Text"]


def test_a_direct_path_and_its_history(lab):
    lab.servers()
    alpha, beta = lab.joined()
    assert reasons(alpha, beta) == ["idle"]
    assert alpha.ping(beta.ip) == 1
    alpha.wait_direct(beta)
    p = paths(alpha, beta)
    assert p["State"] == "direct" and p["Addr"].startswith(WAN4 + "12:") and p["NotDirect"] == []
    assert 0 < p["LatencySeconds"] < 1 and 0 < p["TrustedFor"] <= 6.5
    used = next(c for c in p["Candidates"] if c["Addr"] == p["Addr"])
    assert used["Pings"] > 0 and used["LatencySeconds"] and "map" in used["From"] + ["map"]
    happened = [e["What"] for e in p["History"]]
    assert happened[0] == "map" and happened.index("relay") < happened.index("direct")
    text = alpha.tailscale("debug", "paths", "beta").stdout
    assert f"direct by {p['Addr']} in " in text and "\nHistory:\n" in text and "ADDRESS " in text
    # The path dies: data goes both ways, then by relay, and each step is there to be read.
    beta.router.block_direct()
    wait_for("the path is given up", lambda: alpha.ping(beta.ip, timeout=1) and paths(alpha, beta)["State"] == "relay", 40)
    happened = [e["What"] for e in paths(alpha, beta)["History"]]
    assert happened.index("direct") < happened.index("doubt") < len(happened) - happened[::-1].index("relay")
    assert reasons(alpha, beta) == ["silent"]


def test_udp_blocked_is_said_by_ping(lab):
    lab.servers()
    alpha, beta = lab.pair()
    alpha.router.block_udp()
    alpha.join()
    beta.join()
    alpha.wait_peer(beta, test=lambda p: p["Relay"])
    netcheck(alpha)      # the report is complete
    done = alpha.tailscale("ping", "--verbose", "--c=2", "--timeout=3s", "beta", check=False)
    assert done.returncode == 1 and "direct connection not established" in done.stderr
    assert "\nbeta (100.64.0.2): by DERP(lab0)\nCandidates:\nADDRESS " in done.stdout
    assert "\nNot direct, because:\n- UDP is blocked on this host's network" in done.stdout
    assert "192.168.2.2:41641 " in done.stdout and "no answer" in done.stdout
    lines = alpha.tailscale("ping", "--json", "--verbose", "--c=1", "beta", check=False).stdout.splitlines()
    first, last = (json.loads(line) for line in lines)
    assert first["DERPRegionCode"] == "lab0" and first["NodeName"] == "beta"
    assert last["Paths"]["State"] == "relay" and last["Paths"]["Own"]["NAT"] == "blocked"


def test_two_hard_nats(lab):
    lab.servers(regions=2)
    alpha, beta = lab.joined("hard", "hard")
    netcheck(alpha), netcheck(beta)
    assert alpha.ping(beta.ip, count=5, interval=1) >= 4
    why = reasons(alpha, beta)
    assert {"own-nat-hard", "both-nats-hard"} & set(why), why
    text = alpha.tailscale("ping", "--verbose", "--c=1", "beta", check=False).stdout
    assert "this host's NAT is hard" in text


def test_ipv6_alone(lab):
    """A host that has no IPv4: the relays are seen and reached by IPv6, and so is a peer."""
    lab.servers(regions=2)
    for name in ("alpha", "beta"):
        lab.host(name, lab.router(), v4=False, v6=True)
    alpha, beta = lab.hosts
    control = lab.url
    lab.url = "http://control.lab:8090"
    lab.net.spawn(["/usr/bin/python3", "-c", FORWARD, control.split("/")[2].split(":")[0], "8090", "2001:db8:1::2"], "forward.log")
    for host in lab.hosts:
        host.sh("echo 2001:db8:1::2 control.lab >> /etc/hosts")
        host.join()
    report = netcheck(alpha)
    assert report["UDP"] is True and report["IPv4"] is False and report["IPv6"] is True
    assert report["IPv4CanSend"] is False and report["GlobalV4"] == "" and report["GlobalV6"].startswith("[2001:db8:11::")
    assert set(report["RegionV6Latency"]) == {"900", "901"} and report["RegionV4Latency"] == {}
    assert report["NAT"]["Text"] == "not known: no relay answered by IPv4"
    alpha.wait_peer(beta, test=lambda p: p["Relay"])
    assert alpha.ping(beta.ip) == 1
    assert alpha.wait_direct(beta).startswith("[2001:db8:12::")


def test_a_relay_behind_nat64(lab):
    """The map names the relay by IPv4, and its name leads to an address of IPv6, as a DNS64 would make it."""
    lab.servers(HostName="relay.lab", IPv6="")
    host = lab.host("alpha", v4=False, v6=True)
    lab.url = "http://control.lab:8090"
    lab.net.spawn(["/usr/bin/python3", "-c", FORWARD, "203.0.113.2", "8090", "2001:db8:1::2"], "forward.log")
    host.sh("echo 2001:db8:1::2 control.lab >> /etc/hosts; echo 2001:db8:1::3 relay.lab >> /etc/hosts")
    host.join()
    report = netcheck(host)
    assert report["UDP"] is True and report["RegionV6Latency"].keys() == {"900"}
    wait_for("the relay", lambda: lab.relay.call("clients"), 10)


FORWARD = """
import socket, sys, threading
def copy(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    for s in (a, b):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
with socket.create_server((sys.argv[3], int(sys.argv[2])), family=socket.AF_INET6) as door:
    while True:
        a, _ = door.accept()
        b = socket.create_connection((sys.argv[1], int(sys.argv[2])))
        for pair in ((a, b), (b, a)):
            threading.Thread(target=copy, args=pair, daemon=True).start()
"""

PORTAL = """
import http.server
class Portal(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(302)
        self.send_header("Location", "http://portal.example/")
        self.end_headers()
http.server.HTTPServer(("0.0.0.0", 8080), Portal).serve_forever()
"""


def test_a_captive_portal(lab):
    """UDP is blocked, and web requests are answered by the router until somebody logs in there."""
    lab.servers(CanPort80=True)
    host = lab.host("alpha", lab.router())
    host.join()
    assert netcheck(host)["CaptivePortal"] is None      # UDP works, nobody asks
    gate = host.router
    gate.block_udp()
    report = netcheck(host)
    assert report["UDP"] is False and report["CaptivePortal"] is False
    portal = gate.spawn(["/usr/bin/python3", "-c", PORTAL], "portal.log")
    gate.sh("nft add chain inet lab web '{ type nat hook prerouting priority -100; }'\n"
            "nft add rule inet lab web iifname lan tcp dport 80 redirect to :8080")
    wait_for("the portal", lambda: host.run("curl", "-sI", "http://203.0.113.3/", check=False).stdout or
             portal.poll() is not None)
    report = netcheck(host)
    assert report["CaptivePortal"] is True and "open a web page to log in" in report["NAT"]["Text"]
    assert "\t* CaptivePortal: true\n" in host.tailscale("netcheck").stdout
    assert "captive portal" in host.tailscale("status").stdout
    gate.sh("nft delete chain inet lab web")
    gate.open()
    assert netcheck(host)["UDP"] is True
    assert "captive portal" not in host.tailscale("status").stdout
