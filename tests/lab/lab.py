"""Hosts, NAT routers and an internet in network namespaces, with the fixtures' servers in it.

The namespaces have no names: each lives exactly as long as one small process of ours, which the kernel ends
together with us, so even a killed test run leaves nothing.  No interface is ever made in the caller's own
namespace.

        internet  203.0.113.0/24, 2001:db8:1::/64      control .2 (plain HTTP 8090)   relay .3 (TLS 443, STUN 3478)
         |      \\
      router     public host
         |
        host  192.168.N.2 (2001:db8:1N::2 routed, not translated)

Every host has a mount namespace of its own: /run, /etc and /var/lib are private copies.
"""
import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from audit import audit     # noqa: E402

FIXTURES = os.path.join(os.path.dirname(HERE), "fixtures")
PYTHON = "/usr/bin/python3"
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
WAN4, WAN6 = "203.0.113.", "2001:db8:1::"
CONTROL, RELAY, RELAY2 = WAN4 + "2", WAN4 + "3", WAN4 + "4"
CONTROL_URL = f"http://{CONTROL}:8090"
LOGIN_URL = re.compile(r"https?://\S+/register/([\w-]+)")

libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """Something in the lab itself, or a command in it, went wrong."""


def _die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def wait_for(what, test, timeout=10.0, every=0.05):
    """Polls until test() is true and returns its value; LabError names `what` when it never is."""
    end = time.monotonic() + timeout
    while True:
        value = test()
        if value:
            return value
        if time.monotonic() > end:
            raise LabError(f"not within {timeout} s: {what}")
        time.sleep(every)


class Space:
    """A network and a mount namespace, held by a sleeping process."""

    HOLD = r"""
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 lab /run
[ -L /var/run ] || mount --bind /run /var/run
mkdir -p /run/lock /run/lab
for d in /etc /var/lib; do
        w=/run/lab$d
        mkdir -p $w/upper $w/work
        mount -t overlay overlay -o lowerdir=$d,upperdir=$w/upper,workdir=$w/work $d ||
                { cp -a $d/. $w/upper/ && mount --bind $w/upper $d; }
done
rm -rf /var/lib/tailscale
printf 'nameserver 203.0.113.1\n' > /etc/resolv.conf.lab && mv /etc/resolv.conf.lab /etc/resolv.conf
mount -t sysfs sysfs /sys
ip link set lo up
echo ready
exec sleep infinity
"""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.holder = subprocess.Popen(["unshare", "--net", "--mount", "sh", "-c", self.HOLD],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       text=True, preexec_fn=_die_with_parent, start_new_session=True)
        lab.cleanup.callback(self._end)
        if self.holder.stdout.readline() != "ready\n":
            raise LabError(f"cannot make the namespace {name}: {self.holder.stderr.read()}")
        self.sh("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0")

    def _end(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()
        self.holder.stderr.close()

    @property
    def pid(self):
        return self.holder.pid

    def argv(self, args):
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", f"--mount=/proc/{self.pid}/ns/mnt", "--", *args]

    def run(self, *args, check=True, timeout=60, env=None, input=None):
        """A command in the namespace; CompletedProcess with text output.  LabError when it fails and check is set."""
        try:
            done = subprocess.run(self.argv(args), capture_output=True, text=True, timeout=timeout, input=input,
                                  stdin=subprocess.DEVNULL if input is None else None,
                                  env={**os.environ, **(env or {})}, preexec_fn=_die_with_parent)
        except subprocess.TimeoutExpired as e:
            raise LabError(f"{self.name}: {' '.join(args)}: still running after {timeout} s\n{e.stdout}\n{e.stderr}")
        if check and done.returncode:
            raise LabError(f"{self.name}: {' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def sh(self, script):
        return self.run("sh", "-ec", script).stdout

    def spawn(self, args, log, env=None, **kw):
        """A process that ends with us; its output goes to the file `log` in the lab's directory."""
        with open(os.path.join(self.lab.dir, log), "ab") as out:
            proc = subprocess.Popen(self.argv(args), stdin=subprocess.DEVNULL, stdout=kw.get("stdout", out), stderr=out,
                                    env={**os.environ, "TMPDIR": self.lab.dir, **(env or {})},
                                    preexec_fn=_die_with_parent, start_new_session=True, text=True)
        self.lab.cleanup.callback(end, proc)
        return proc

    @contextlib.contextmanager
    def inside(self):
        """The calling thread is in the network namespace; sockets made here stay in it."""
        with open("/proc/thread-self/ns/net") as home, open(f"/proc/{self.pid}/ns/net") as there:
            if libc.setns(there.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                if libc.setns(home.fileno(), CLONE_NEWNET):
                    os._exit(70)     # a thread that is lost in another namespace must not go on

    def sock(self, kind=socket.SOCK_DGRAM, family=socket.AF_INET, bind=None, timeout=5.0):
        with self.inside():
            s = socket.socket(family, kind)
            s.settimeout(timeout)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if bind is not None:
                s.bind(bind)
        self.lab.cleanup.callback(s.close)
        return s

    def listen(self, address, port, family=socket.AF_INET):
        s = self.sock(socket.SOCK_STREAM, family, (address, port))
        s.listen(16)
        return s

    def ping(self, address, count=1, timeout=2.0, interval=1.0):
        """How many of `count` echo requests are answered by `timeout` seconds after the last left.  (Once it has had
        an answer, ping(8) waits for the last one no longer than an interval, or twice the longest so far.)"""
        family, proto, request, reply = socket.AF_INET, socket.IPPROTO_ICMP, 8, 0
        if ":" in address:
            family, proto, request, reply = socket.AF_INET6, socket.IPPROTO_ICMPV6, 128, 129
        with self.inside():
            s = socket.socket(family, socket.SOCK_RAW, proto)
        took, ident, start = {}, os.urandom(4), time.monotonic()

        def hear(until):
            while len(took) < count and (left := until - time.monotonic()) > 0:
                s.settimeout(left)
                with contextlib.suppress(socket.timeout):
                    data = s.recv(2000)
                    data = data if family == socket.AF_INET6 else data[(data[0] & 15) * 4:]
                    if data[0] == reply and data[4:6] == ident[:2] and data[8:12] == ident:
                        n, = struct.unpack_from("!H", data, 6)
                        took.setdefault(n, time.monotonic() - start - n * interval)

        with s:
            for n in range(count):
                body = ident[:2] + struct.pack("!H", n) + ident + bytes(48)
                check = ~((sum(struct.unpack(f"!{len(body) // 2}H", body)) + (request << 8)) % 0xffff) & 0xffff
                with contextlib.suppress(OSError):       # no route, or one that says so: not answered
                    s.sendto(struct.pack("!BBH", request, 0, check) + body, (address, 0))
                hear(start + (n + 1) * interval if n < count - 1 else time.monotonic() + timeout)
        print(f"{self.name} pings {address}: {len(took)} of {count} answered,",
              ", ".join(f"{n}: {t * 1000:.1f} ms" for n, t in sorted(took.items())))
        return len(took)

    def snapshot(self):
        """What a daemon may leave behind: links, addresses, rules, routes, firewall, DNS, sockets."""
        return {
            "links": sorted(re.findall(r"^\d+: ([^:@]+)", self.sh("ip -o link"), re.M)),
            "rules": self.sh("ip -4 rule; ip -6 rule"),
            "routes": sorted(self.sh("ip -4 route show table all; ip -6 route show table all").splitlines()),
            "firewall": self.sh("nft list ruleset"),
            "resolv.conf": self.sh("cat /etc/resolv.conf"),
            "sysctl": self.sh("sysctl -a -r '^net[.]ipv[46][.](ip_forward|conf[.](all|default|eth0|lo)[.])' 2>/dev/null"),
            "run": self.sh("find /run/tailscale -type s -o -type f 2>/dev/null || true"),
        }


def end(proc, grace=5.0):
    """Ends a process of ours: asks, then insists."""
    if proc.poll() is None:
        proc.terminate()
        try:
            proc.wait(grace)
        except subprocess.TimeoutExpired:
            proc.kill()
            proc.wait()
    if proc.stdout:
        proc.stdout.close()


class Router(Space):
    """`kind`: easy (endpoint-independent mapping), hard (a new port for each destination), or none (no NAT,
    but closed to the outside).  In all of them nothing comes in that did not first go out."""

    def __init__(self, lab, name, number, kind):
        super().__init__(lab, name)
        self.number, self.kind = number, kind
        self.wan4, self.lan4 = f"{WAN4}{10 + number}", f"192.168.{number}."
        self.wan6, self.lan6 = f"{WAN6}{number:x}00", f"2001:db8:1{number:x}::"
        lab.attach(self, "wan", self.wan4, self.wan6)
        nat = {"easy": "masquerade", "hard": "masquerade random,fully-random", "none": "accept"}[kind]
        self.sh(f"""
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip link add lan address 02:00:00:00:01:01 type bridge
ip addr add {self.lan4}1/24 dev lan
ip -6 addr add {self.lan6}1/64 dev lan nodad
ip link set lan up
ip route add default via {WAN4}1
ip -6 route add default via {WAN6}1
nft -f - <<'END'
table inet lab {{
        chain shut {{
        }}
        chain pass {{
                type filter hook forward priority 0; policy accept;
                jump shut
                ct state established,related accept
                iifname "wan" drop
        }}
        chain guard {{
                type filter hook input priority 0; policy accept;
                iifname "wan" ct state new drop
        }}
        chain translate {{
                type nat hook postrouting priority 100;
                meta nfproto ipv4 oifname "wan" {nat}
        }}
}}
END
""")
        lab.net.sh(f"ip -6 route add {self.lan6}/64 via {self.wan6}")
        if kind == "none":
            lab.net.sh(f"ip route add {self.lan4}0/24 via {self.wan4}")
        self.hosts = 0

    def _shut(self, *rules):
        self.sh("nft flush chain inet lab shut\n" + "\n".join(f"nft add rule inet lab shut {r}" for r in rules))

    def open(self):
        self._shut()

    def block_udp(self):
        """No UDP at all, in either direction."""
        self._shut("meta l4proto udp drop")

    def block_direct(self):
        """UDP only with the relays: STUN works, peers do not reach each other."""
        relays = f"{{ {RELAY}, {RELAY2} }}"
        self._shut(f"meta l4proto udp ip daddr {relays} accept", f"meta l4proto udp ip saddr {relays} accept",
                   "meta l4proto udp drop")

    def block_disco(self):
        """Nobody's pings and pongs: data passes as before."""
        self._shut("meta l4proto udp @th,64,48 0x5453f09f92ac drop")

    def block_relays(self):
        relays = f"{{ {RELAY}, {RELAY2} }}"
        self._shut(f"ip daddr {relays} drop", f"ip saddr {relays} drop")

    def block_all(self):
        self._shut("drop")


class Host(Space):
    """A machine that can run the daemon; `router` None puts it directly on the internet."""

    def __init__(self, lab, name, number, router=None, v6=False, v4=True):
        super().__init__(lab, name)
        self.router, self.daemon, self.starts, self.outputs, self.states = router, None, 0, [], set()
        if router is None:
            self.address, self.address6 = f"{WAN4}{100 + number}", f"{WAN6}a{number:x}"
            lab.attach(self, "eth0", self.address if v4 else None, self.address6 if v6 else None)
            gate4, gate6 = WAN4 + "1", WAN6 + "1"
        else:
            router.hosts += 1
            self.address, self.address6 = f"{router.lan4}{1 + router.hosts}", f"{router.lan6}{1 + router.hosts}"
            lab.cable(router, f"h{number}", self, "eth0")
            router.sh(f"ip link set h{number} master lan up")
            lab.address(self, "eth0", self.address if v4 else None, self.address6 if v6 else None, 24)
            gate4, gate6 = router.lan4 + "1", router.lan6 + "1"
        if v4:
            self.sh(f"ip route add default via {gate4}")
        if v6:
            self.sh(f"ip -6 route add default via {gate6}")

    # the daemon

    def start(self, *flags, env=None):
        """Starts tailscaled and waits for its socket."""
        self.starts += 1
        env = {"TS_NO_LOGS_NO_SUPPORT": "true", "NOTIFY_SOCKET": "", **self.lab.env, **(env or {})}
        self.daemon = self.spawn([self.lab.tailscaled, *(flags or ("--port=41641",))], f"{self.name}.log", env)
        wait_for(f"the socket of {self.name}", self._listening, 20)
        return self.daemon

    def _listening(self):
        if self.daemon.poll() is not None:
            raise LabError(f"tailscaled on {self.name} ended with {self.daemon.returncode}\n{self.log()[-3000:]}")
        done = self.run("sh", "-c", "test -S /run/tailscale/tailscaled.sock", check=False)
        return done.returncode == 0

    def note_state(self):
        """Remembers the state file as it is now, for the keys in it: audit() looks for them in what was written."""
        with contextlib.suppress(OSError), open(f"/proc/{self.pid}/root/var/lib/tailscale/tailscaled.state") as f:
            self.states.add(f.read())

    def stop(self, sig=signal.SIGTERM, timeout=15):
        """Ends the daemon; returns its exit status."""
        self.note_state()
        self.daemon.send_signal(sig)
        return self.daemon.wait(timeout)

    def log(self):
        with contextlib.suppress(FileNotFoundError), open(os.path.join(self.lab.dir, f"{self.name}.log"),
                                                          errors="replace") as f:
            return f.read()
        return ""

    def tailscale(self, *args, check=True, timeout=60, env=None, input=None):
        done = self.run(self.lab.tailscale, *args, check=False, timeout=timeout, input=input,
                        env={**self.lab.env, **(env or {})})
        self.outputs.append(done.stdout + done.stderr)
        self.note_state()
        if check and done.returncode:
            raise LabError(f"{self.name}: tailscale {' '.join(args)}: exit {done.returncode}\n"
                           f"{done.stdout}{done.stderr}")
        return done

    def up(self, *flags, key=None, **kw):
        key = self.lab.key() if key is None else key
        return self.tailscale("up", f"--login-server={self.lab.url}", f"--auth-key={key}",
                              f"--hostname={self.name}", "--timeout=30s", *flags, **kw)

    def join(self, *flags, env=None):
        """start and up."""
        self.start(*flags, env=env)
        self.up()

    def status(self):
        return json.loads(self.tailscale("status", "--json").stdout)

    def prefs(self):
        return json.loads(self.run(self.lab.tailscale, "debug", "prefs").stdout)

    @property
    def ip(self):
        return self.tailscale("ip", "-4").stdout.strip()

    @property
    def ip6(self):
        return self.tailscale("ip", "-6").stdout.strip()

    def peer(self, other):
        """The status of another host as this one sees it, {} when it does not."""
        for p in (self.status().get("Peer") or {}).values():
            if p["DNSName"].split(".")[0] == other.name:
                return p
        return {}

    def wait_peer(self, other, timeout=15, test=lambda p: True):
        """Until the network map names the other host (and the test passes)."""
        def seen():
            p = self.peer(other)
            return p if p and test(p) else None
        return wait_for(f"{self.name} knows {other.name}", seen, timeout, 0.1)

    def path(self, other):
        """The current address of the direct path, "" while on the relay."""
        return self.peer(other).get("CurAddr", "")

    def wait_direct(self, other, timeout=10):
        return wait_for(f"{self.name} is direct with {other.name}", lambda: self.path(other), timeout, 0.1)


class Server:
    """One of the fixtures, run in the internet."""

    def __init__(self, lab, script, name, args):
        self.lab, self.script, self.name = lab, script, name
        self.admin_path = os.path.join(lab.dir, name + ".admin")
        self.args = [PYTHON, os.path.join(FIXTURES, script), *args, "--admin", "unix:" + self.admin_path]
        self.proc = None
        self.start()

    def start(self):
        self.proc = self.lab.net.spawn(self.args, self.name + ".log", stdout=subprocess.PIPE)
        line = self.proc.stdout.readline()
        if not line:
            raise LabError(f"{self.script} did not start:\n{self.lab.read(self.name + '.log')}")
        self.ready = json.loads(line)

    def stop(self, sig=signal.SIGTERM):
        self.proc.send_signal(sig)
        self.proc.wait(10)

    def restart(self, pause=0.0, sig=signal.SIGTERM):
        self.stop(sig)
        time.sleep(pause)
        self.start()

    def call(self, op, **args):
        body = json.dumps(args).encode()
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(self.admin_path)
            s.sendall(f"POST /{op} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            with s.makefile("rb") as f:
                status = int(f.readline().split()[1])
                length = 0
                while (line := f.readline().strip()):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                text = f.read(length)
        if status != 200:
            raise LabError(f"{self.name}: {op}: {text.decode()}")
        return json.loads(text)


class Lab:
    """Use as a context manager.  `binaries` is the build directory; without it hosts cannot run the daemon."""

    def __init__(self, binaries=None):
        self.tailscaled = self.tailscale = None
        if binaries:
            self.tailscaled = os.path.join(binaries, "daemon", "tailscaled")
            self.tailscale = os.path.join(binaries, "cli", "tailscale")
        self.url, self.env, self.hosts, self.keys = CONTROL_URL, {}, [], []
        self.numbers = {"router": 0, "host": 0}
        self.control = self.relay = self.relay2 = None
        self.cleanup = contextlib.ExitStack()

    def __enter__(self):
        try:
            self.dir = tempfile.mkdtemp(prefix="lab-")
            self.cleanup.callback(self._remove_dir)
            self.net = Space(self, "internet")
            # The bridges have an address of their own: one that they take from their ports changes as hosts come
            # and go, and for seconds nobody reaches the servers.
            self.net.sh(f"""
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip link add br0 address 02:00:00:00:00:01 type bridge
ip link set br0 up
for i in 1 2 3 4; do ip addr add {WAN4}$i/24 dev br0; ip -6 addr add {WAN6}$i/64 dev br0 nodad; done
""")
        except BaseException:
            self.cleanup.close()
            raise
        return self

    def __exit__(self, *exc):
        self.cleanup.close()

    def _remove_dir(self):
        if os.environ.get("LAB_KEEP"):
            print(f"kept {self.dir}", file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def read(self, name):
        with contextlib.suppress(FileNotFoundError), open(os.path.join(self.dir, name), errors="replace") as f:
            return f.read()
        return ""

    # cabling

    @staticmethod
    def cable(a, a_dev, b, b_dev):
        a.sh(f"ip link add {a_dev} type veth peer name {b_dev} netns {b.pid}; ip link set {a_dev} up")
        b.sh(f"ip link set {b_dev} up")

    @staticmethod
    def address(space, dev, v4, v6, length4):
        if v4:
            space.sh(f"ip addr add {v4}/{length4} dev {dev}")
        if v6:
            space.sh(f"ip -6 addr add {v6}/64 dev {dev} nodad")
        else:
            space.sh(f"sysctl -qw net.ipv6.conf.{dev}.accept_ra=0 net.ipv6.conf.{dev}.disable_ipv6=1")

    def attach(self, space, dev, v4, v6):
        """Plugs a space into the internet."""
        port = f"p{space.pid}"
        self.cable(self.net, port, space, dev)
        self.net.sh(f"ip link set {port} master br0")
        self.address(space, dev, v4, v6, 24)

    # making

    def router(self, kind="easy", name=None):
        self.numbers["router"] += 1
        n = self.numbers["router"]
        return Router(self, name or f"router{n}", n, kind)

    def host(self, name, router=None, **kw):
        self.numbers["host"] += 1
        host = Host(self, name, self.numbers["host"], router, **kw)
        self.hosts.append(host)
        return host

    def pair(self, first="easy", second="easy", **kw):
        """Two hosts, alpha and beta, each behind a router of its own."""
        return (self.host("alpha", self.router(first), **kw), self.host("beta", self.router(second), **kw))

    @staticmethod
    def met(alpha, beta):
        """Until each knows of the other, and of its relay."""
        alpha.wait_peer(beta, test=lambda p: p["Relay"])
        beta.wait_peer(alpha, test=lambda p: p["Relay"])
        return alpha, beta

    def joined(self, first="easy", second="easy", **kw):
        """A pair that is up and has met."""
        alpha, beta = self.pair(first, second, **kw)
        for host in (alpha, beta):
            host.join()
        return self.met(alpha, beta)

    def lan(self, gate, name="server", number=77):
        """A host on a network of its own behind `gate`, with no way out but what the test gives it."""
        space = Space(self, name)
        dev = f"lan{number}"
        self.cable(gate, dev, space, "eth0")
        self.address(gate, dev, f"10.{number}.0.1", f"2001:db8:{number}::1", 24)
        self.address(space, "eth0", f"10.{number}.0.2", f"2001:db8:{number}::2", 24)
        space.address, space.address6 = f"10.{number}.0.2", f"2001:db8:{number}::2"
        space.net4, space.net6 = f"10.{number}.0.0/24", f"2001:db8:{number}::/64"
        return space

    def derp_map(self, regions=1, v6=True, **extra):
        def node(number, address):
            return {"Name": f"{number}a", "RegionID": number, "HostName": address, "IPv4": address,
                    "IPv6": WAN6 + address.rpartition(".")[2] if v6 else "none", "DERPPort": 443, "STUNPort": 3478,
                    "InsecureForTests": True, **extra}
        return {"Regions": {str(900 + i): {
            "RegionID": 900 + i, "RegionCode": f"lab{i}", "RegionName": f"Lab {i}", "Nodes": [node(900 + i, a)]}
            for i, a in enumerate((RELAY, RELAY2)[:regions])}}

    def _relay(self, address, name):
        six = f"[{WAN6}{address.rpartition('.')[2]}]"
        return Server(self, "relay.py", name, [
            "--tls-listen", f"{address}:443", "--tls-listen", f"{six}:443", "--name", address,
            "--listen", f"{address}:80", "--listen", f"{six}:80",
            "--stun", f"{address}:3478", "--stun", f"{six}:3478", "--key", os.path.join(self.dir, name + ".key")])

    def servers(self, *control_flags, tls=False, regions=1, v6=True, **node):
        """Starts relay and control.  With tls the login server is https and hosts trust its CA.  node: members of the
        relays in the map."""
        self.relay = self._relay(RELAY, "relay")
        if regions > 1:
            self.relay2 = self._relay(RELAY2, "relay2")
        map_file = os.path.join(self.dir, "derp.json")
        with open(map_file, "w") as f:
            json.dump(self.derp_map(regions, v6, **node), f)
        listen = ["--listen", f"{CONTROL}:8090"]
        if tls:
            ca = os.path.join(self.dir, "ca.pem")
            listen = ["--tls-listen", f"{CONTROL}:8443", "--name", CONTROL, "--ca-out", ca]
            self.url, self.env["SSL_CERT_FILE"] = f"https://{CONTROL}:8443", ca
        self.control = Server(self, "control.py", "control", [
            *listen, "--derp-map", map_file, "--state", os.path.join(self.dir, "control.json"), *control_flags])

    def key(self, **kw):
        """A fresh auth key; audit() looks for it in everything that was written."""
        text = self.control.call("authkey", **kw)["key"]
        self.keys.append(text)
        return text

    # looking back

    def stop_daemons(self):
        """Orderly, so that audit() sees how they ended and what a leak checker says at exit."""
        running = [h for h in self.hosts if h.daemon and h.daemon.poll() is None]
        for host in running:
            host.daemon.terminate()
        for host in running:
            try:
                host.daemon.wait(20)
            except subprocess.TimeoutExpired:
                raise LabError(f"tailscaled on {host.name} does not end\n{host.log()[-2000:]}")

    def audit(self):
        """What no run may show, whatever it tested: sanitizer reports, crashes, secrets in logs, output or files."""
        keys = {f"the auth key {k[:11]}...": k for k in self.keys}
        for host in self.hosts:
            host.note_state()
            # Whoever reads a log must not be able to finish somebody's login.
            logins = {f"the login {s[:4]}...": s for s in LOGIN_URL.findall("\n".join(host.outputs))}
            shown = {f"{host.name} ({i})": text for i, text in enumerate(host.outputs)}
            # /run holds what changed in /etc and /var/lib, too; a test may leave a file of its own named "key".
            found = audit([f"/proc/{host.pid}/root/run"], keys, host.states, shown, skip=("key",))
            logs = [os.path.join(self.dir, n) for n in os.listdir(self.dir)
                    if n.endswith(".log") and n.removesuffix(".log").split("-")[0] == host.name]
            found += audit(logs, {**keys, **logins}, host.states)
            if found:
                raise LabError(f"on {host.name}: " + "\n".join(found))
            if host.daemon and host.daemon.poll() is not None and host.daemon.returncode not in (
                    0, -signal.SIGKILL):
                raise LabError(f"tailscaled on {host.name} ended with {host.daemon.returncode}\n{host.log()[-4000:]}")

    def logs(self, lines=60):
        out = []
        for name in sorted(os.listdir(self.dir)):
            if name.endswith(".log"):
                tail = self.read(name).splitlines()[-lines:]
                out.append(f"--- {name}\n" + "\n".join(tail))
        return "\n".join(out)
