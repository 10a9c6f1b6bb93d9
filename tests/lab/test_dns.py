"""Names: what the service addresses answer, and where they ask.

        alpha --- internet --- beta          203.0.113.1  names of the world     203.0.113.2  names of corp.example
"""
import json
import os
import re
import signal
import time

import pytest

from lab import HERE, PYTHON, RELAY, WAN4, wait_for
from nameserver import Nameserver, flood, one_by_one
from traffic import connects

QUAD4, QUAD6 = "100.100.100.100", "fd7a:115c:a1e0::53"
WORLD, CORP, NOBODY = WAN4 + "1", WAN4 + "2", WAN4 + "4"


def config(**more):
    return {"Proxied": True, "Domains": ["mesh.example"], "Resolvers": [{"Addr": WORLD}],
            "Routes": {"corp.example": [{"Addr": CORP}]},
            "ExtraRecords": [{"Name": "Grafana.mesh.example", "Type": "A", "Value": "100.64.0.3"},
                             {"Name": "wiki.other.example", "Type": "A", "Value": "100.64.0.2"}], **more}


@pytest.fixture
def mesh(lab):
    lab.servers("--gather", "0.1")
    lab.control.call("dns", dns=config())
    alpha, beta = lab.host("alpha", v6=True), lab.host("beta", v6=True)
    alpha.join()
    beta.join()
    alpha.wait_peer(beta)
    return alpha, beta


def dig(host, *args, server=QUAD4, check=True):
    done = host.run("dig", "+tries=1", "+time=12", f"@{server}", *args, check=check)
    return done.stdout


def short(host, *args, server=QUAD4):
    """Status, flags and the data of all answers."""
    text = dig(host, *args, server=server)
    status = re.search(r"status: (\w+)", text).group(1)
    flags = re.search(r"flags: ([\w ]+);", text).group(1)
    answers = [" ".join(line.split()[4:]) for line in text.splitlines() if line and line[0] not in ";" and "SOA" not in line]
    return status, flags, answers


RECORDS = [
    (("beta.mesh.example", "A"), "NOERROR", ["100.64.0.2"], None),
    (("BETA.Mesh.Example", "A"), "NOERROR", ["100.64.0.2"], None),
    (("beta", "A"), "NOERROR", ["100.64.0.2"], None),
    (("beta.mesh.example", "AAAA"), "NOERROR", [], "mesh.example."),
    (("beta.mesh.example", "TXT"), "NOERROR", [], "mesh.example."),
    (("beta.mesh.example", "HTTPS"), "NOERROR", [], "mesh.example."),
    (("wiki.other.example", "AAAA"), "NOERROR", [], "wiki.other.example."),
    (("beta.mesh.example", "ANY"), "NOERROR", ["100.64.0.2"], None),
    (("beta.mesh.example", "SOA"), "NOTIMP", [], None),
    (("nosuch.mesh.example", "A"), "NXDOMAIN", [], "mesh.example."),
    (("mesh.example", "NS"), "NXDOMAIN", [], "mesh.example."),
    (("grafana.mesh.example", "A"), "NOERROR", ["100.64.0.3"], None),
    (("wiki.other.example", "A"), "NOERROR", ["100.64.0.2"], None),
    (("-x", "100.64.0.1"), "NOERROR", ["alpha.mesh.example."], None),
    (("-x", "100.64.0.2"), "NOERROR", ["wiki.other.example."], None),
    (("-x", "fd7a:115c:a1e0::2"), "NOERROR", ["beta.mesh.example."], None),
    (("-x", "100.64.77.77"), "NXDOMAIN", [], "64.100.in-addr.arpa."),
    (("-x", QUAD4), "NOERROR", ["magicdns.localhost-tailscale-daemon."], None),
    (("facebook.onion", "A"), "NXDOMAIN", [], None),
    (("192-168-1-2-via-7", "AAAA"), "NOERROR", ["fd7a:115c:a1e0:b1a:0:7:c0a8:102"], None),
]


def test_names_are_found_as_soon_as_up_has_returned(mesh):
    """Twenty times, by the host's own resolver and with nothing in between; and not any more after `down`."""
    alpha, beta = mesh
    address = beta.ip
    for _ in range(20):
        done = alpha.sh(f"""{alpha.lab.tailscale} down
getent ahostsv4 beta.mesh.example && exit 1
{alpha.lab.tailscale} up --login-server={alpha.lab.url} --hostname=alpha --timeout=20s >/dev/null
getent ahostsv4 beta.mesh.example
{alpha.lab.tailscale} set --accept-dns=false
getent ahostsv4 beta.mesh.example && exit 1
{alpha.lab.tailscale} set --accept-dns
getent ahostsv4 beta.mesh.example""")
        assert done.count(f"{address} ") == 6


@pytest.mark.parametrize("server,how", [(QUAD4, "+notcp"), (QUAD4, "+tcp"), (QUAD6, "+notcp"), (QUAD6, "+tcp")])
def test_every_kind_of_record(mesh, server, how):
    alpha, _ = mesh
    for args, status, answers, zone in RECORDS:
        text = dig(alpha, how, *args, server=server)
        assert short(alpha, how, *args, server=server) == (status, "qr aa rd ra ad", answers), (args, text)
        soa = re.search(r"^(\S+)\s+10\s+IN\s+SOA\s+(\S+) (\S+) \d+ 10 10 10 10$", text, re.M)
        assert (soa.group(1) if soa else None) == zone, (args, text)
        assert not soa or soa.group(1) == soa.group(2) == soa.group(3)
        assert "OPT" not in text and "(TCP)" in text if how == "+tcp" else True


def test_split_dns_and_the_world(lab, mesh):
    alpha, _ = mesh
    world, corp = Nameserver(lab.net, WORLD, "192.0.2.80"), Nameserver(lab.net, CORP, "10.33.0.10")
    assert short(alpha, "host.public.example", "A")[2] == ["192.0.2.80"]
    assert short(alpha, "host.corp.example", "A")[2] == ["10.33.0.10"]
    assert short(alpha, "CORP.example", "A")[2] == ["10.33.0.10"]
    assert short(alpha, "notcorp.example", "A")[2] == ["192.0.2.80"]
    assert short(alpha, "a.nosuch.example", "A")[0] == "NXDOMAIN"
    assert {n for n, _ in corp.asked} == {"host.corp.example", "corp.example"}
    for name in ("nosuch.mesh.example", "77.77.64.100.in-addr.arpa", "b._dns-sd._udp.public.example", "x.onion"):
        dig(alpha, name, "ANY")
    asked = {n for n, _ in world.asked}
    assert asked == {"host.public.example", "notcorp.example", "a.nosuch.example"}, "no name of ours goes upstream"

    # The map takes the route away: its names go to the world's server, and nothing old is remembered.
    lab.control.call("dns", dns=config(Routes={}))
    wait_for("the new configuration", lambda: short(alpha, "host.corp.example", "A")[2] == ["192.0.2.80"])
    world.stop()
    corp.stop()


def test_names_follow_the_map(lab, mesh):
    alpha, _ = mesh
    lab.control.call("rename", node="beta", name="bertha")
    wait_for("the new name", lambda: short(alpha, "bertha", "A")[2] == ["100.64.0.2"])
    assert short(alpha, "beta.mesh.example", "A")[0] == "NXDOMAIN"
    gamma = lab.host("gamma")
    gamma.join()
    wait_for("the newcomer", lambda: short(alpha, "gamma.mesh.example", "A")[2] == ["100.64.0.3"])
    lab.control.call("dns", dns=config(Proxied=False, Resolvers=[]))
    wait_for("MagicDNS off", lambda: short(alpha, "bertha", "A")[0] == "SERVFAIL")
    assert short(alpha, "bertha.mesh.example", "A")[2] == ["100.64.0.2"]


def test_a_dead_upstream_does_not_hang_anybody(lab, mesh):
    alpha, _ = mesh
    for resolver, limit, why in [(NOBODY, 3.9, "nobody listens: ICMP says so"),
                                 ("198.51.100.9", 3.9, "no route there: ICMP says so"),
                                 (RELAY + ":99", 3.9, "another port")]:
        lab.control.call("dns", dns=config(Resolvers=[{"Addr": resolver}]))
        wait_for("the map", lambda: resolver in alpha.tailscale("dns", "status").stdout)
        began = time.monotonic()
        assert short(alpha, "www.public.example", "A")[:2] == ("SERVFAIL", "qr rd ra ad"), why
        assert time.monotonic() - began < limit, why

    silent = Nameserver(lab.net, WORLD, "192.0.2.80")
    silent.silent = True
    lab.control.call("dns", dns=config())    # the host's own server is the same address: status shows it anyway
    wait_for("the map", lambda: RELAY + ":99" not in alpha.tailscale("dns", "status").stdout)
    began = time.monotonic()
    assert short(alpha, "www.public.example", "A")[0] == "SERVFAIL"
    first = time.monotonic() - began
    assert 4 < first < 9, "a stub resolver gives up after 5 s, or on a busy machine somewhat later"
    began = time.monotonic()
    assert short(alpha, "www.public.example", "A")[0] == "SERVFAIL"
    assert time.monotonic() - began < 3.9, "and the second time it is known"
    assert alpha.ping("100.64.0.2", timeout=5) == 1
    silent.stop()


def test_one_of_two_upstreams_is_killed(lab, mesh):
    alpha, _ = mesh
    world, second = Nameserver(lab.net, WORLD, "192.0.2.80"), Nameserver(lab.net, NOBODY, "192.0.2.80")
    lab.control.call("dns", dns=config(Resolvers=[{"Addr": WORLD}, {"Addr": NOBODY}]))
    wait_for("both", lambda: f"- {NOBODY}" in alpha.tailscale("dns", "status").stdout)
    for i in range(6):
        if i == 3:
            world.stop()
        began = time.monotonic()
        assert short(alpha, f"n{i}.public.example", "A")[2] == ["192.0.2.80"]
        assert time.monotonic() - began < 1.5
    assert len(second.asked) == 6
    second.stop()


def test_large_answers_are_cut_and_come_by_tcp(lab, mesh):
    alpha, _ = mesh
    world = Nameserver(lab.net, WORLD, "192.0.2.80", size=3000)
    text = dig(alpha, "big.public.example", "TXT")
    assert "Truncated, retrying in TCP mode" in text and text.count("x" * 255) == 11
    text = dig(alpha, "+ignore", "big.public.example", "TXT")
    assert "flags: qr tc rd ra" in text and "ANSWER: 0" in text
    assert dig(alpha, "+tcp", "big.public.example", "TXT", server=QUAD6).count("x" * 255) == 11
    world.stop()


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_questions_over_https_share_a_connection(lab, protocol):
    lab.net.spawn([PYTHON, os.path.join(HERE, "doh.py"), lab.dir, NOBODY, "dns.lab.example", protocol], "doh.log")

    def log(what):
        return [line.split()[1] for line in lab.read("doh.log").splitlines() if line.startswith(what)]
    wait_for("the server", lambda: "ready" in lab.read("doh.log"))
    lab.servers("--gather", "0.1")
    lab.control.call("dns", dns=config(Resolvers=[{"Addr": "https://dns.lab.example/dns-query",
                                                   "BootstrapResolution": [NOBODY]}]))
    lab.env["SSL_CERT_FILE"] = os.path.join(lab.dir, "ca.pem")
    alpha = lab.host("alpha", v6=True)
    alpha.join()
    for i in range(20):
        assert short(alpha, f"n{i}.public.example", "A") == ("NOERROR", "qr rd ra", ["192.0.2.99"])
    assert log("connection") == [protocol] and len(log("question")) == 20
    answers, _, _ = flood(alpha, QUAD4, [f"m{i}.public.example" for i in range(200)])
    assert len(answers) == 200 and all(data[3] & 15 == 0 for data in answers.values())
    assert len(log("connection")) <= 8, "all at once, too"
    # The network is another one: what was connected there is not waited for.
    count = len(log("connection"))
    alpha.sh(f"ip addr del {alpha.address}/24 dev eth0; ip addr add {WAN4}222/24 dev eth0; ip route add default via {WAN4}1")
    wait_for("it is asked again", lambda: short(alpha, f"o{time.monotonic_ns()}.public.example", "A")[0] == "NOERROR", 20)
    assert len(log("connection")) > count


def test_answers_are_remembered_as_long_as_they_say(lab, mesh):
    alpha, _ = mesh
    world = Nameserver(lab.net, WORLD, "192.0.2.80", ttl=2)
    for _ in range(5):
        assert short(alpha, "+noedns", "www.public.example", "A")[2] == ["192.0.2.80"]
    assert len(world.asked) == 1
    time.sleep(2.1)
    assert short(alpha, "+noedns", "www.public.example", "A")[2] == ["192.0.2.80"]
    assert len(world.asked) == 2
    world.stop()


@pytest.mark.parametrize("server", [QUAD4, QUAD6])
def test_ten_thousand_at_once_lose_none(lab, mesh, server):
    alpha, beta = mesh
    names = [("beta.mesh.example", "nosuch.mesh.example", "alpha.mesh.example")[i % 3] for i in range(10000)]
    began = time.monotonic()
    answers, took, lost = flood(alpha, server, names)
    seconds = time.monotonic() - began
    took.sort()
    print(f"{len(answers)} answers in {seconds:.2f} s ({lost} asked again), p50 {took[len(took) // 2] * 1e3:.1f} ms, "
          f"p99 {took[len(took) * 99 // 100] * 1e3:.1f} ms; one by one "
          f"{one_by_one(alpha, QUAD4, 'beta.mesh.example', 2000):.0f} us")
    assert len(answers) == 10000
    for i, data in answers.items():
        assert data[3] & 15 == (3 if i % 3 == 1 else 0)
    assert alpha.ping(beta.ip) == 1


def test_ten_thousand_to_a_silent_upstream_are_all_answered(lab, mesh):
    """Beyond what may be on its way at once the answer is an error, not silence."""
    alpha, _ = mesh
    world = Nameserver(lab.net, WORLD, "192.0.2.80")
    world.silent = True
    answers, _, _ = flood(alpha, QUAD4, [f"n{i}.public.example" for i in range(10000)])
    assert len(answers) == 10000 and all(data[3] & 15 == 2 for data in answers.values())
    world.silent = False
    assert short(alpha, "after.public.example", "A")[2] == ["192.0.2.80"]
    world.stop()


def test_other_ports_and_ping(lab, mesh):
    alpha, _ = mesh
    assert alpha.ping(QUAD4) == 1 and alpha.ping(QUAD6) == 1
    assert connects(alpha, QUAD4, 81) is False and connects(alpha, QUAD6, 443) is False
    s = alpha.sock(timeout=1)
    s.connect((QUAD4, 99))
    s.send(b"anyone?")
    with pytest.raises(TimeoutError):
        s.recv(100)


def test_not_accepted_still_answers_for_itself(lab, mesh):
    alpha, _ = mesh
    alpha.up("--accept-dns=false")
    wait_for("off", lambda: short(alpha, "host.public.example", "A")[:2] == ("SERVFAIL", "qr aa rd ad"))
    assert short(alpha, "beta.mesh.example", "A")[2] == ["100.64.0.2"]
    assert short(alpha, "nosuch.mesh.example", "A")[:2] == ("SERVFAIL", "qr aa rd ad")
    assert short(alpha, "-x", "100.64.0.2")[2] == ["wiki.other.example."]


def test_status_and_query_of_the_command(lab, mesh):
    alpha, _ = mesh
    text = alpha.tailscale("dns", "status").stdout
    assert "MagicDNS: enabled tailnet-wide (suffix = mesh.example)" in text
    assert f"  - corp.example                   -> {CORP}\n" in text and f"  - {WORLD}\n" in text
    data = json.loads(alpha.tailscale("dns", "status", "--json").stdout)
    assert data["CurrentTailnet"] == {"MagicDNSEnabled": True, "MagicDNSSuffix": "mesh.example",
                                      "SelfDNSName": "alpha.mesh.example."}
    assert data["SplitDNSRoutes"] == {"corp.example": [{"Addr": CORP}]} and data["TailscaleDNS"] is True
    assert "[A] Grafana.mesh.example" in alpha.tailscale("dns", "status", "--all").stdout

    text = alpha.tailscale("dns", "query", "beta.mesh.example").stdout
    assert text == (f'DNS query for "beta.mesh.example" (A) using internal resolver:\n\nForwarding to resolver: {WORLD}\n\n'
                    "Response code: RCodeSuccess\n\n"
                    "Name                TTL  Class      Type   Body\n----                ---  -----      ----   ----\n"
                    "beta.mesh.example.  5    ClassINET  TypeA  100.64.0.2\n\n")
    assert "RCodeNameError\n\nNo answers were returned.\n" in alpha.tailscale("dns", "query", "x.mesh.example").stdout
    assert "  (no answers found)\nName  TTL  Class  Type  Body\n" in alpha.tailscale("dns", "query", "beta", "txt").stdout
    data = json.loads(alpha.tailscale("dns", "query", "--json", "beta").stdout)
    assert data["Answers"] == [{"Name": "beta.", "TTL": 5, "Class": "ClassINET", "Type": "TypeA", "Body": "100.64.0.2"}]
    for args, words in [(["beta", "FOO"], "unknown DNS message type: FOO"), (["a..b"], "impossible 'name'"),
                        ([], "missing required argument: name"), (["a", "A", "c"], "unexpected extra arguments: c")]:
        done = alpha.tailscale("dns", "query", *args, check=False)
        assert done.returncode == 1 and words in done.stderr, done
    done = alpha.tailscale("dns", "nonsense", check=False)
    assert done.returncode == 1 and done.stderr == "tailscale dns: unknown subcommand: nonsense; there is: status, query\n"
    alpha.tailscale("down")
    assert "RCodeSuccess" in alpha.tailscale("dns", "query", "beta.mesh.example").stdout


def test_killed_in_the_middle_of_it(lab, mesh):
    """A daemon that dies takes nothing with it: the next one answers."""
    alpha, _ = mesh
    alpha.stop(signal.SIGKILL)
    alpha.start()
    wait_for("names again", lambda: "100.64.0.2" in dig(alpha, "+time=1", "beta.mesh.example", check=False), 20)


def test_programs_of_the_host_find_names(lab, mesh):
    """Through /etc/resolv.conf and the C library; and the file is as before when we go."""
    alpha, _ = mesh
    before = "nameserver 203.0.113.1\n"
    world = Nameserver(lab.net, WORLD, "192.0.2.80")
    lab.control.call("dns", dns=config(Resolvers=[]))      # the rest goes where the host went before
    wait_for("resolv.conf", lambda: f"nameserver {QUAD4}\nnameserver {QUAD6}\nsearch mesh.example" in
             alpha.sh("cat /etc/resolv.conf"))
    assert alpha.sh("getent hosts beta").split() == ["100.64.0.2", "beta.mesh.example"]
    assert alpha.sh("getent hosts 100.64.0.2").split()[1] == "wiki.other.example"
    assert alpha.sh("getent hosts host.public.example").split()[0] == "192.0.2.80"
    assert alpha.run("getent", "hosts", "nosuch.mesh.example", check=False).returncode == 2
    assert "  - 203.0.113.1\n" in alpha.tailscale("dns", "status").stdout.split("=== System DNS")[1]
    alpha.tailscale("down")
    wait_for("the file is back", lambda: alpha.sh("cat /etc/resolv.conf") == before)
    alpha.tailscale("up", check=False)
    wait_for("ours again", lambda: QUAD4 in alpha.sh("cat /etc/resolv.conf"))
    assert alpha.stop() == 0
    assert alpha.sh("cat /etc/resolv.conf") == before
    world.stop()


def test_the_host_has_its_own_back_after_every_end(lab):
    """Programs of the host find peers by name, and it has its own DNS back after every way to end."""
    lab.servers("--gather", "0.1")
    lab.control.call("dns", dns=config())
    alpha, beta = lab.host("alpha"), lab.host("beta")
    alpha.sh(f"printf '# by hand\\nnameserver {NOBODY}\\noptions timeout:3\\n' > /etc/resolv.conf")
    before = alpha.snapshot()["resolv.conf"]
    files = alpha.sh("ls -la --time-style=full-iso /etc/resolv*")
    world = Nameserver(lab.net, WORLD, "192.0.2.80")
    alpha.join()
    beta.join()
    alpha.wait_peer(beta)

    def name(n):
        done = alpha.run("getent", "ahostsv4", n, check=False)
        return done.stdout.split()[0] if done.stdout else ""

    def is_back():
        return (alpha.snapshot()["resolv.conf"], alpha.sh("ls -la --time-style=full-iso /etc/resolv*")) == (before, files)

    wait_for("the host asks us", lambda: name("beta") == "100.64.0.2")
    assert name("beta.mesh.example") == "100.64.0.2" and name("host.public.example") == "192.0.2.80"
    assert f"nameserver {QUAD4}\n" in alpha.snapshot()["resolv.conf"]
    alpha.up("--accept-dns=false")
    wait_for("its own DNS", is_back)
    assert short(alpha, "beta.mesh.example", "A")[2] == ["100.64.0.2"], "for those who ask us"
    alpha.up("--accept-dns=true")
    wait_for("ours", lambda: name("beta") == "100.64.0.2")
    alpha.tailscale("down")
    wait_for("its own DNS", is_back)
    alpha.up("--accept-dns=true")
    wait_for("ours", lambda: name("beta") == "100.64.0.2")
    alpha.stop(signal.SIGKILL)
    assert not is_back() and ".sock" in alpha.snapshot()["run"]
    alpha.run(lab.tailscaled, "--cleanup", env=lab.env)
    assert is_back() and ".sock" not in alpha.snapshot()["run"]
    alpha.start()
    wait_for("ours", lambda: name("beta") == "100.64.0.2")
    alpha.stop(signal.SIGKILL)
    alpha.start()
    wait_for("ours after a crash", lambda: name("beta") == "100.64.0.2")
    # Without servers of the tailnet, those of the host answer for the rest.
    own = Nameserver(lab.net, NOBODY, "192.0.2.44")
    lab.control.call("dns", dns=config(Resolvers=[], Routes={}))
    wait_for("the host's own upstream", lambda: name("host.public.example") == "192.0.2.44")
    assert name("beta") == "100.64.0.2"
    alpha.stop()
    assert is_back()
    own.stop()
    world.stop()
