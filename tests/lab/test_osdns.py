"""The DNS settings of a host: put in force, watched over, and given back to the byte.

        one namespace: the helper program osdns_tool, a stand-in for our resolver on 100.100.100.100, another
        DNS server on 203.0.113.1, and the real program that rules DNS there

Each server answers every name with an address of its own, which tells who was asked.
"""
import os
import random
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

import debs
from lab import Space, LabError, wait_for, end, _die_with_parent   # puts audit's folder in the path
from audit import SANITIZER

pytestmark = pytest.mark.skipif(not os.path.exists(os.path.join(os.environ.get("BUILD_DIR", ""), "tests/lab/osdns_tool")),
                                reason="BUILD_DIR has no osdns_tool")
TOOL = os.path.join(os.environ.get("BUILD_DIR", ""), "tests/lab/osdns_tool")
OURS, THEIRS = "8.0.2.100", "8.0.2.1"     # in no range that a filter takes for private
QUAD, BASE = "100.100.100.100", "203.0.113.1"
FULL = f"set server={QUAD} search=mesh.example"
SPLIT = f"{FULL} match=mesh.example match=corp.example match=64.100.in-addr.arpa"


class Dns(threading.Thread):
    """Answers A questions with one address and everything else with nothing."""

    def __init__(self, host, address, answer):
        super().__init__(daemon=True)
        self.sock, self.answer, self.names = host.sock(bind=(address, 53), timeout=None), answer, []
        self.start()

    def run(self):
        while True:
            try:
                data, peer = self.sock.recvfrom(4096)
            except OSError:
                return
            at, labels = 12, []
            while data[at]:
                labels.append(data[at + 1:at + 1 + data[at]].decode())
                at += 1 + data[at]
            question, (kind,) = data[12:at + 5], struct.unpack("!H", data[at + 1:at + 3])
            self.names.append(".".join(labels).lower())
            reply = data[:2] + struct.pack("!5H", 0x8580, 1, kind == 1, 0, 0) + question
            if kind == 1:
                reply += struct.pack("!3HIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(self.answer)
            self.sock.sendto(reply, peer)


class Tool:
    """osdns_tool in the namespace."""

    def __init__(self, host):
        self.host, self.lines = host, []
        self.log = os.path.join(host.lab.dir, "osdns_tool.log")
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen(host.argv([TOOL, "tailscale0"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=log, text=True, bufsize=1, preexec_fn=_die_with_parent,
                                         start_new_session=True)
        host.lab.cleanup.callback(end, self.proc)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.proc.stdout:
            self.lines.append(line.rstrip("\n"))

    def line(self, pattern, since=0, timeout=20):
        def seen():
            return next((x for x in self.lines[since:] if re.search(pattern, x)), None)
        try:
            return wait_for(pattern, seen, timeout)
        except LabError as e:
            with open(self.log) as f:
                raise LabError(f"{e}\n" + "\n".join(self.lines) + "\n" + f.read()[-3000:])

    def do(self, command, timeout=40):
        """Sends a command and returns the state when it is done."""
        since = len(self.lines)
        self.proc.stdin.write(command + "\n")
        return self.line("^settled", since, timeout)

    def finish(self):
        """The end of the input: everything is given back."""
        self.proc.stdin.close()
        assert self.proc.wait(60) == 0

    def kill(self):
        self.proc.send_signal(signal.SIGKILL)
        self.proc.wait()

    def settle(self, mode):
        first = self.line("^settled")
        assert f" mode={mode} " in first, first
        return first


@pytest.fixture
def host(lab):
    h = Space(lab, "host")
    h.sh(f"""
cp -a /etc /run/etc
mount --bind /run/etc /etc
ip link add tailscale0 type veth peer name far; ip link set far up
ip addr add {QUAD}/32 dev tailscale0
ip addr add {BASE}/32 dev lo
ip link set tailscale0 up
printf 'hosts: files dns\\n' > /etc/nsswitch.conf
printf '# by hand\\nnameserver {BASE}\\nsearch home.example\\noptions timeout:2\\n' > /etc/resolv.conf
""")
    h.ours, h.theirs = Dns(h, QUAD, OURS), Dns(h, BASE, THEIRS)
    yield h
    log = lab.read("osdns_tool.log")
    assert not SANITIZER.search(log.encode()), log[-6000:]


def tree(h):
    """Every byte and link below /etc."""
    return h.sh("cd /etc; find . -type f -print0 | sort -z | xargs -0 sha256sum; find . -type l -printf '%p %l\\n' | sort;"
                "find . -type d | sort; stat -c %a resolv.conf; [ -L resolv.conf ] || stat -c '%i %Y' resolv.conf; "
                "cat /etc/resolv.conf")


def lookup(h, name):
    done = h.run("getent", "ahostsv4", name, check=False)
    return done.stdout.split()[0] if done.stdout else ""


def cleanup(h):
    done = h.run(TOOL, "tailscale0", "cleanup", timeout=90)
    assert not SANITIZER.search(done.stderr.encode()), done.stderr


def resolv(h):
    return h.sh("cat /etc/resolv.conf")


# ---- the plain file, in every shape it comes in


def plain(h):
    pass


def link(h):
    h.sh("mkdir -p /run/elsewhere; mv /etc/resolv.conf /run/elsewhere/rc; ln -s ../run/elsewhere/rc /etc/resolv.conf")


def bind_mount(h):
    h.sh("cp /etc/resolv.conf /run/rc; mount --bind /run/rc /etc/resolv.conf")


def missing(h):
    h.sh("rm /etc/resolv.conf")


@pytest.mark.parametrize("shape", [plain, link, bind_mount])
def test_file_given_back(host, shape):
    shape(host)
    before = tree(host)
    tool = Tool(host)
    first = tool.settle("direct")
    assert f"split=0 base={BASE} search=home.example" in first
    assert tree(host) == before, "looking changes nothing"
    assert lookup(host, "a.test") == THEIRS
    state = tool.do(FULL)
    assert state.endswith("trouble="), state
    assert f"base={BASE} search=home.example" in state, "the host's own, not ours"
    assert re.search(rf"^nameserver {QUAD}\nsearch mesh.example\noptions timeout:2$", resolv(host), re.M)
    assert lookup(host, "a.test") == OURS
    assert lookup(host, "alpha") == OURS and "alpha.mesh.example" in host.ours.names
    tool.do("set")
    assert tree(host) == before or shape is bind_mount
    tool.do(f"{FULL} search=corp.example")
    assert "search mesh.example corp.example\n" in resolv(host)
    tool.finish()
    if shape is bind_mount:     # written in place: the bytes are the same, the time is not
        assert [x for x in tree(host).splitlines() if not re.match(r"\d+ \d+$", x)] == \
               [x for x in before.splitlines() if not re.match(r"\d+ \d+$", x)]
    else:
        assert tree(host) == before


def test_no_file(host):
    missing(host)
    tool = Tool(host)
    tool.settle("direct")
    tool.do(FULL)
    assert lookup(host, "a.test") == OURS
    tool.finish()
    assert host.sh("ls /etc/resolv.* 2>/dev/null || true") == ""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_read_only(host, what):
    if what == "file":
        host.sh("cp /etc/resolv.conf /run/rc; mount --bind /run/rc /etc/resolv.conf; mount -o remount,ro,bind /etc/resolv.conf")
    else:
        host.sh("mount --bind /etc /etc; mount -o remount,ro,bind /etc")
    before = tree(host)
    tool = Tool(host)
    tool.settle("direct")
    state = tool.do(FULL)
    assert re.search(r"trouble=cannot change /etc/resolv.conf: Read-only file system; .*--accept-dns=false", state), state
    assert tree(host) == before
    assert lookup(host, "a.test") == THEIRS
    if what == "file":          # once it can be done it is done, without being asked again
        host.sh("mount -o remount,rw,bind /etc/resolv.conf")
        tool.line("^trouble.*trouble=$", len(tool.lines) - 1, 60)
        assert lookup(host, "a.test") == OURS
    tool.finish()
    cleanup(host)
    assert lookup(host, "a.test") == THEIRS


def test_given_back_once_it_can_be(host):
    host.sh("mount --bind /etc /etc")
    before = tree(host)
    tool = Tool(host)
    tool.settle("direct")
    tool.do(FULL)
    host.sh("mount -o remount,ro,bind /etc")
    assert "trouble=cannot give /etc/resolv.conf back: Read-only file system; " in tool.do("set")
    assert lookup(host, "a.test") == OURS
    host.sh("mount -o remount,rw,bind /etc")
    tool.line("^trouble.*trouble=$", len(tool.lines) - 1, 60)
    assert tree(host) == before
    assert lookup(host, "a.test") == THEIRS
    tool.finish()
    assert tree(host) == before


def test_never_without_a_nameserver(host):
    host.sh("printf '# nothing\\n' > /etc/resolv.conf")
    before = tree(host)
    tool = Tool(host)
    tool.settle("direct")
    assert "names a nameserver" in tool.do("set search=mesh.example")
    assert tree(host) == before
    tool.finish()
    assert tree(host) == before


@pytest.mark.parametrize("shape", [plain, link, bind_mount])
def test_killed_at_any_moment(host, shape):
    shape(host)
    host.sh("cp /etc/resolv.conf /run/original")
    names = host.sh("ls -a /etc; readlink /etc/resolv.conf || true")
    rng = random.Random(7)
    for _ in range(25):
        tool = Tool(host)
        tool.line("^settled")
        for command in (FULL, "set", f"{FULL} search=corp.example", "set", FULL):
            tool.proc.stdin.write(command + "\n")
        time.sleep(rng.uniform(0, 0.06))
        tool.kill()
        assert "nameserver" in resolv(host)
        cleanup(host)
        host.sh("cmp /etc/resolv.conf /run/original")
        assert host.sh("ls -a /etc; readlink /etc/resolv.conf || true") == names


def test_others_write_the_file(host):
    tool = Tool(host)
    tool.settle("direct")
    tool.do(FULL)
    since = len(tool.lines)
    host.sh("printf 'nameserver 203.0.113.1\\nsearch dhcp.example\\n' > /etc/rc.new; mv /etc/rc.new /etc/resolv.conf")
    tool.line("base=203.0.113.1 search=dhcp.example", since)
    wait_for("ours again", lambda: QUAD in resolv(host))
    assert tool.lines[-1].endswith("trouble="), "one rewrite is no trouble"
    tool.finish()
    assert resolv(host) == "nameserver 203.0.113.1\nsearch dhcp.example\n", "theirs was the newer one"


def test_a_fight_ends(host):
    tool = Tool(host)
    tool.settle("direct")
    tool.do(FULL)
    since = len(tool.lines)
    fight = host.spawn(["sh", "-c", "while :; do if grep -q 100.100 /etc/resolv.conf; then "
                        f"echo nameserver {BASE} > /etc/rc.new; mv /etc/rc.new /etc/resolv.conf; fi; sleep 0.02; done"],
                       "fight.log")
    tool.line("^trouble.*keeps overwriting", since, 60)
    end(fight)
    assert resolv(host) == f"nameserver {BASE}\n"
    tool.finish()
    assert resolv(host) == f"nameserver {BASE}\n"


# ---- systemd-resolved


@pytest.fixture
def resolved(host):
    root = debs.unpack("systemd-resolved")
    debs.overlay(host, root)
    host.sh(f"""
grep -q ^systemd-resolve: /etc/passwd || echo 'systemd-resolve:x:991:991::/:/usr/sbin/nologin' >> /etc/passwd
grep -q ^systemd-resolve: /etc/group || echo 'systemd-resolve:x:991:' >> /etc/group
mkdir -p /run/systemd /etc/systemd
printf '[Resolve]\\nDNS={BASE}\\nFallbackDNS=\\nLLMNR=no\\nMulticastDNS=no\\nDNSSEC=no\\nCache=no\\n' > /etc/systemd/resolved.conf
ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
""")
    debs.start_bus(host)
    host.start_resolved = lambda: start_resolved(host)
    host.start_resolved()
    return host


def start_resolved(host):
    host.resolved = host.spawn(["/usr/lib/systemd/systemd-resolved"], "resolved.log")
    try:
        wait_for("systemd-resolved", lambda: host.run("resolvectl", "status", check=False).returncode == 0)
    except LabError as e:
        raise LabError(f"{e}\n{host.lab.read('resolved.log')[-2000:]}")


def link_of(h):
    return h.sh("resolvectl dns tailscale0; resolvectl domain tailscale0; resolvectl default-route tailscale0")


def test_resolved(resolved):
    host = resolved
    before, idle = tree(host), link_of(host)
    tool = Tool(host)
    first = tool.settle("systemd-resolved")
    assert "split=1 base=unknown" in first
    assert lookup(host, "a.test") == THEIRS
    assert tool.do(SPLIT).endswith("trouble=")
    assert lookup(host, "alpha.mesh.example") == OURS and lookup(host, "x.corp.example") == OURS
    assert lookup(host, "a.test") == THEIRS, "names of others are not ours"
    assert lookup(host, "beta") == OURS, "by the search domain"
    assert re.search(r"mesh.example ~corp.example ~64.100.in-addr.arpa", link_of(host))
    tool.do(FULL)
    assert lookup(host, "a.test") == OURS and "~." in link_of(host) and "yes" in link_of(host)
    # Restarted without what it keeps in /run, it has forgotten all.
    end(host.resolved)
    host.sh("rm -rf /run/systemd/resolve/netif")
    host.start_resolved()
    wait_for("the settings again", lambda: lookup(host, "a.test") == OURS)
    tool.do("set")
    assert lookup(host, "a.test") == THEIRS and link_of(host) == idle
    tool.do(SPLIT)
    tool.finish()
    assert link_of(host) == idle and tree(host) == before
    # Killed: a persistent device keeps the settings, so they are taken back.
    tool = Tool(host)
    tool.settle("systemd-resolved")
    tool.do(SPLIT)
    tool.kill()
    assert link_of(host) != idle
    cleanup(host)
    assert link_of(host) == idle and tree(host) == before


def test_what_resolved_took_half_is_taken_back(resolved):
    """It takes the servers, then refuses the names; the servers alone it would ask for every name."""
    host = resolved
    idle = link_of(host)
    names = " ".join(f"search={i:03x}" for i in range(1100))
    tool = Tool(host)
    tool.settle("systemd-resolved")
    assert "refused SetLinkDomains" in tool.do(f"set server={QUAD} {names}")
    assert link_of(host) == idle and lookup(host, "a.test") == THEIRS
    tool.do(SPLIT)
    split = link_of(host)
    assert "refused SetLinkDomains" in tool.do(f"set server={BASE} {names}")
    assert tool.do(SPLIT).endswith("trouble=")
    assert link_of(host) == split
    tool.finish()
    assert link_of(host) == idle


def test_a_stop_does_not_wait_for_a_silent_resolved(resolved):
    """It has our settings until it speaks again; the interface takes them along when it goes, and a cleanup does."""
    host = resolved
    idle = link_of(host)
    for busy in (False, True):
        tool = Tool(host)
        tool.settle("systemd-resolved")
        if not busy:
            tool.do(SPLIT)
        host.resolved.send_signal(signal.SIGSTOP)
        if busy:
            tool.proc.stdin.write(SPLIT + "\n")
        began = time.monotonic()
        tool.finish()
        assert time.monotonic() - began < 7, "5 s, and something for a busy machine"
        host.resolved.send_signal(signal.SIGCONT)
        cleanup(host)
        wait_for("given back", lambda: link_of(host) == idle)


def test_resolved_comes_later(resolved):
    """The mode follows what rules the host."""
    host = resolved
    before, idle = tree(host), link_of(host)
    end(host.resolved)
    tool = Tool(host)
    assert "does not answer" in tool.settle("direct")
    tool.do(SPLIT)
    assert QUAD in resolv(host)
    host.start_resolved()
    tool.line("mode=systemd-resolved .*trouble=$")
    wait_for("split", lambda: lookup(host, "a.test") == THEIRS and lookup(host, "alpha.mesh.example") == OURS)
    assert host.sh("readlink /etc/resolv.conf") == "../run/systemd/resolve/stub-resolv.conf\n"
    tool.finish()
    assert link_of(host) == idle and tree(host) == before


# ---- NetworkManager


def start_nm(host, dns):
    """As it comes from Debian, with a wired network that has its own DNS server."""
    host.sh(f"""
mount -o remount,ro /sys        # as in a container: devices count without udev
ip link add eth0 type veth peer name far0; ip link set far0 up
mkdir -p /etc/NetworkManager/system-connections /run/NetworkManager
printf '[main]\\nplugins=keyfile\\ndns={dns}\\nno-auto-default=*\\nauth-polkit=false\\n' > /etc/NetworkManager/NetworkManager.conf
printf '[connection]\\nid=lan\\ntype=ethernet\\ninterface-name=eth0\\n[ipv4]\\nmethod=manual\\naddresses=203.0.113.9/24\\ngateway=203.0.113.2\\ndns={BASE}\\ndns-search=home.example\\n' > /etc/NetworkManager/system-connections/lan.nmconnection
chmod 600 /etc/NetworkManager/system-connections/lan.nmconnection
""")
    run_nm(host)


def run_nm(host, program="/usr/sbin/NetworkManager"):
    host.nm = host.spawn([program, "--no-daemon"], "nm.log")
    wait_for("NetworkManager's network", lambda: host.run("nmcli", "-g", "GENERAL.STATE", "device", "show", "eth0", check=False)
             .stdout.startswith("100"), 20)
    wait_for("it sees ours", lambda: "externally" in host.run("nmcli", "-g", "GENERAL.STATE", "device", "show", "tailscale0").stdout)


@pytest.fixture
def nm(host):
    """It writes resolv.conf itself."""
    debs.overlay(host, debs.unpack("network-manager"))
    debs.start_bus(host)
    host.sh("rm /etc/resolv.conf")
    start_nm(host, "default")
    wait_for("its file", lambda: "NetworkManager" in resolv(host) and BASE in resolv(host))
    return host


@pytest.fixture
def nm_resolved(host, request):
    """It feeds systemd-resolved, which has no server of its own then."""
    debs.overlay(host, debs.unpack("network-manager"))      # first: the bus reads its policies once
    resolved = request.getfixturevalue("resolved")
    resolved.sh("sed -i /^DNS=/d /etc/systemd/resolved.conf")
    end(resolved.resolved)
    resolved.start_resolved()
    return resolved


def test_networkmanager_writes_the_file(nm):
    """It hands out no DNS of interfaces that it did not make, so the file is ours; what it writes there is the base."""
    host = nm
    before = resolv(host)
    tool = Tool(host)
    assert f"split=0 base={BASE} search=home.example" in tool.settle("direct")
    assert tool.do(FULL).endswith("trouble=")
    assert lookup(host, "a.test") == OURS
    since = len(tool.lines)
    host.sh("nmcli connection modify lan ipv4.dns-search other.example; nmcli device reapply eth0")
    tool.line("search=other.example", since)
    wait_for("ours again", lambda: lookup(host, "a.test") == OURS)
    host.sh("nmcli connection modify lan ipv4.dns-search home.example; nmcli device reapply eth0")
    wait_for("ours again", lambda: lookup(host, "a.test") == OURS and tool.lines[-1].endswith("search=home.example trouble="))
    tool.do("set")
    assert resolv(host) == before and lookup(host, "a.test") == THEIRS
    tool.do(FULL)
    tool.finish()
    assert resolv(host) == before
    for delay in (0.02, 0.1, 1):
        tool = Tool(host)
        tool.settle("direct")
        tool.proc.stdin.write(FULL + "\n")
        time.sleep(delay)
        tool.kill()
        cleanup(host)
        assert resolv(host) == before, delay
        assert host.sh("ls -a /etc/resolv.*") == "/etc/resolv.conf\n"


def test_networkmanager_beside_resolved(nm_resolved):
    """Ours goes to systemd-resolved, beside what NetworkManager says there."""
    host = nm_resolved
    start_nm(host, "systemd-resolved")
    wait_for("its server is used", lambda: lookup(host, "a.test") == THEIRS)
    before, idle = tree(host), link_of(host)
    tool = Tool(host)
    assert "split=1 base=unknown trouble=" in tool.settle("systemd-resolved")
    assert tool.do(SPLIT).endswith("trouble=")
    end(host.nm)
    run_nm(host)
    for _ in range(20):          # it has had time to change its mind
        assert lookup(host, "alpha.mesh.example") == OURS and lookup(host, "a.test") == THEIRS
        time.sleep(0.05)
    tool.kill()
    cleanup(host)
    assert link_of(host) == idle and tree(host) == before


def applied(host):
    """Of our device: what NetworkManager holds of it, and its addresses."""
    return (re.sub(r'"timestamp" t \d+', "", host.sh(
        "busctl call org.freedesktop.NetworkManager $(nmcli -g GENERAL.DBUS-PATH device show tailscale0) "
        "org.freedesktop.NetworkManager.Device GetAppliedConnection u 0 | sed 's/^a{sa{sv}}t //'")).rsplit(" ", 1)[0],
        host.sh("ip -o addr show tailscale0 scope global | awk '{print $4}'"))


def test_networkmanager_that_overrides_resolved(nm_resolved):
    """1.26.0 to 1.26.5 do so.  This is a later one that says it is 1.26.4: everything else is its own."""
    host = nm_resolved
    data = open(os.path.join(debs.unpack("network-manager"), "usr/sbin/NetworkManager"), "rb").read()
    version = re.search(rb"\0(1\.\d\d\.\d)\0", data)
    old = os.path.join(host.lab.dir, "NetworkManager")
    with open(old, "wb") as f:
        f.write(data.replace(version.group(0), b"\0" + b"1.26.4" + b"\0"))
    os.chmod(old, 0o755)
    host.sh(f"mount --bind {old} /usr/sbin/NetworkManager; ip -6 addr add fd7a:115c:a1e0::7/128 dev tailscale0")
    start_nm(host, "systemd-resolved")
    before, idle = tree(host), applied(host)
    tool = Tool(host)
    assert "split=1 base=unknown trouble=" in tool.settle("network-manager")
    assert tool.do(f"{SPLIT} server=fd7a:115c:a1e0::53").endswith("trouble=")
    wait_for("its names", lambda: lookup(host, "alpha.mesh.example") == OURS and lookup(host, "x.corp.example") == OURS)
    assert lookup(host, "a.test") == THEIRS, "names of others are not ours"
    assert applied(host)[1] == idle[1], "the addresses stay"
    assert "fd7a:115c:a1e0::53" in link_of(host) and "~64.100.in-addr.arpa" in link_of(host)
    tool.do(FULL)
    wait_for("all names", lambda: lookup(host, "b.test") == OURS)
    # Restarted, it has forgotten.
    end(host.nm)
    run_nm(host)
    wait_for("again", lambda: lookup(host, "c.test") == OURS)
    tool.do("set")
    wait_for("given back", lambda: lookup(host, "d.test") == THEIRS)
    assert applied(host) == idle
    tool.do(SPLIT)
    tool.kill()
    assert applied(host) != idle
    cleanup(host)
    assert applied(host) == idle and tree(host) == before
    wait_for("given back", lambda: lookup(host, "alpha.mesh.example") == THEIRS)


# ---- resolvconf


@pytest.fixture
def debian(host):
    debs.overlay(host, debs.unpack("resolvconf"))
    host.sh(f"""
mkdir -p /run/resolvconf/interface
ln -sf ../run/resolvconf/resolv.conf /etc/resolv.conf
resolvconf --enable-updates
printf 'nameserver {BASE}\\nsearch home.example\\n' | resolvconf -a eth0.dhclient
resolvconf -u
""")
    return host


@pytest.fixture
def openresolv(host):
    debs.overlay(host, debs.unpack("openresolv"))
    host.sh(f"rm /etc/resolv.conf; printf 'nameserver {BASE}\\nsearch home.example\\n' | resolvconf -a eth0.dhcp; resolvconf -u")
    return host


@pytest.mark.parametrize("kind", ["debian", "openresolv"])
def test_resolvconf(kind, request):
    host = request.getfixturevalue(kind)
    mode = {"debian": "debian-resolvconf", "openresolv": "openresolv"}[kind]
    record = {"debian": "eth0.dhclient", "openresolv": "eth0.dhcp"}[kind]
    state = lambda: (tree(host).replace("\n", " "), host.sh("find /run/resolvconf -type f ! -name lock | sort; resolvconf -l"))
    before = re.sub(r"\d+ \d+ #", "#", state()[0]), state()[1]

    def same():
        return (re.sub(r"\d+ \d+ #", "#", state()[0]), state()[1]) == before

    tool = Tool(host)
    first = tool.settle(mode)
    assert f"split=0 base={BASE} search=home.example" in first, first
    assert same(), "looking changes nothing"
    got = tool.do(FULL)
    assert got.endswith("trouble=") and f"base={BASE} search=home.example" in got, got
    assert re.findall(r"^nameserver (\S+)$", resolv(host), re.M) == [QUAD], resolv(host)
    assert lookup(host, "a.test") == OURS and lookup(host, "alpha") == OURS
    # The others still hand in theirs: they do not count, but they are the base.
    since = len(tool.lines)
    host.sh(f"printf 'nameserver {BASE}\\nsearch other.example\\n' | resolvconf -a {record}")
    assert re.findall(r"^nameserver (\S+)$", resolv(host), re.M) == [QUAD], resolv(host)
    tool.do("recheck")
    tool.line("search=other.example", since)
    host.sh(f"printf 'nameserver {BASE}\\nsearch home.example\\n' | resolvconf -a {record}")
    tool.do("set")
    assert lookup(host, "a.test") == THEIRS and same()
    tool.do(FULL)
    tool.finish()
    assert same()
    for delay in (0.02, 0.1, 0.3, 2):
        tool = Tool(host)
        tool.settle(mode)
        tool.proc.stdin.write(FULL + "\n")
        time.sleep(delay)
        tool.kill()
        wait_for("the program ends", lambda: host.run("pgrep", "-x", "resolvconf", "--ns", str(host.pid), "--nslist", "mnt",
                                                      check=False).returncode != 0)
        cleanup(host)
        assert same(), delay


def test_resolvconf_that_is_resolvectl(resolved):
    host = resolved
    host.sh("rm -f /etc/resolv.conf; printf '# resolvconf\\nnameserver 127.0.0.53\\n' > /etc/resolv.conf")
    tool = Tool(host)
    tool.settle("systemd-resolved")
    tool.finish()


def test_mode_changes(host):
    """A resolvconf that is installed while we run takes over; our file gives way to its."""
    root = debs.unpack("openresolv")
    tool = Tool(host)
    tool.settle("direct")
    tool.do(FULL)
    debs.overlay(host, root)
    host.sh(f"printf 'nameserver {BASE}\\n' | resolvconf -a eth0.dhcp; rm /etc/resolv.conf; resolvconf -u")
    tool.line("mode=openresolv")
    wait_for("ours again", lambda: lookup(host, "a.test") == OURS)
    assert "generated by tailscale" not in resolv(host) and host.run("ls", "/etc/resolv.pre-tailscale-backup.conf", check=False).returncode
    tool.finish()
    assert lookup(host, "a.test") == THEIRS


# ---- dnsmasq


@pytest.fixture
def dnsmasq(host):
    root = debs.unpack("dnsmasq", "dnsmasq-base")
    debs.overlay(host, root)
    host.sh(f"""
grep -q ^dnsmasq: /etc/passwd || echo 'dnsmasq:x:990:65534::/var/lib/misc:/usr/sbin/nologin' >> /etc/passwd
mkdir -p /run/dnsmasq /var/lib/misc; chown 990 /run/dnsmasq
printf 'nameserver {BASE}\\n' > /run/upstream
printf 'resolv-file=/run/upstream\\nlisten-address=127.0.0.1\\nbind-interfaces\\ncache-size=0\\nstop-dns-rebind\\n' > /etc/dnsmasq.conf
printf 'nameserver 127.0.0.1\\n' > /etc/resolv.conf
/etc/init.d/dnsmasq restart
""")
    host.lab.cleanup.callback(stop_dnsmasq, host)
    return host


def stop_dnsmasq(host):
    pid = host.run("cat", "/run/dnsmasq/dnsmasq.pid", check=False).stdout.strip()
    if pid:
        os.kill(int(pid), signal.SIGTERM)


def test_dnsmasq(dnsmasq):
    host = dnsmasq
    before = tree(host)
    tool = Tool(host)
    assert "split=1 base=unknown" in tool.settle("dnsmasq")
    assert lookup(host, "a.test") == THEIRS
    assert tool.do(SPLIT).endswith("trouble=")
    assert lookup(host, "alpha.mesh.example") == OURS and lookup(host, "x.corp.example") == OURS
    assert lookup(host, "a.test") == THEIRS
    host.ours.answer = "10.1.2.3"
    assert lookup(host, "y.corp.example") == "10.1.2.3", "private answers pass rebind protection"
    host.ours.answer = OURS
    assert tool.do(FULL).endswith("trouble=")
    assert lookup(host, "a.test") == OURS, "no match names: every question is ours"
    host.theirs.names.clear()
    assert lookup(host, "b.test") == OURS and "b.test" not in host.theirs.names, "and nobody else's"
    # A server of its own would be asked as well: that is said, and the settings stay as they were.
    tool.do(SPLIT)
    host.sh(f"echo server={BASE} > /etc/dnsmasq.d/own.conf")
    assert "DNS servers of its own" in tool.do(FULL)
    assert lookup(host, "alpha.mesh.example") == OURS and lookup(host, "a.test") == THEIRS
    host.sh("rm /etc/dnsmasq.d/own.conf")
    assert tool.do(FULL).endswith("trouble=")
    # Somebody tidies up.
    host.sh("rm /etc/dnsmasq.d/tailscale.conf")
    tool.do("recheck")
    assert lookup(host, "a.test") == OURS
    tool.do("set")
    assert lookup(host, "a.test") == THEIRS and tree(host) == before
    tool.do(SPLIT)
    tool.finish()
    assert tree(host) == before
    wait_for("the end of its restart", lambda: lookup(host, "alpha.mesh.example") == THEIRS)
    tool = Tool(host)
    tool.settle("dnsmasq")
    tool.do(SPLIT)
    tool.kill()
    assert lookup(host, "alpha.mesh.example") == OURS
    cleanup(host)
    assert lookup(host, "alpha.mesh.example") == THEIRS and tree(host) == before


def test_a_stop_does_not_wait_for_a_slow_restart(dnsmasq):
    """Which comes to its end all the same."""
    host = dnsmasq
    before = tree(host)
    tool = Tool(host)
    tool.settle("dnsmasq")
    tool.do(SPLIT)
    assert lookup(host, "alpha.mesh.example") == OURS
    host.sh("cp -a /etc/init.d/dnsmasq /run/quick; printf '#!/bin/sh\\nsleep 9\\nexec /run/quick \"$@\"\\n' > /run/slow; "
            "chmod 755 /run/slow; mount --bind /run/slow /etc/init.d/dnsmasq")
    began = time.monotonic()
    tool.finish()
    assert time.monotonic() - began < 7
    host.sh("umount -l /etc/init.d/dnsmasq")
    assert tree(host) == before
    wait_for("it was restarted", lambda: lookup(host, "alpha.mesh.example") == THEIRS, 20)


def test_dnsmasq_of_somebody_else(dnsmasq):
    """One that no service restarts is left alone; the file is used."""
    host = dnsmasq
    host.sh("rm /etc/init.d/dnsmasq")
    tool = Tool(host)
    tool.settle("direct")
    tool.do(FULL)
    assert lookup(host, "a.test") == OURS
    tool.finish()
    assert resolv(host) == "nameserver 127.0.0.1\n"
