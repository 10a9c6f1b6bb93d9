"""Whatever a user gets wrong, or finds broken, is said in a line or two: the cause, and what to do about it.

        alpha --- internet --- control, relay, and servers that misbehave
"""
import os
import re
import socket
import subprocess
import sys
import threading
import time

import pytest

from lab import CONTROL, FIXTURES, WAN4, wait_for

sys.path.insert(0, FIXTURES)
import certs   # noqa: E402

SLOW = float(os.environ.get("LAB_SLOW", "1"))
PATIENCE = 8                         # --timeout of every `up` here, in seconds
CLI = "/run/tailscale-cli"           # a copy that any user may run
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
SELF_SIGNED, WRONG_NAME, EXPIRED, HANGS, WEB, HANGS_UP = range(9001, 9007)


class Serve:
    """Accepts on a port and gives each connection to fn."""

    def __init__(self, lab, port, fn):
        self.sock, self.fn, self.open = lab.net.listen(CONTROL, port), fn, []
        self.sock.settimeout(None)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                conn, _ = self.sock.accept()
                self.open.append(conn)
                self.fn(conn)
            except OSError:
                if self.sock.fileno() < 0:
                    return


def web_page(conn):
    conn.recv(4096)
    conn.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nConnection: close\r\n\r\nnope\n")
    conn.close()


def tls(ctx):
    def serve(conn):
        conn.settimeout(2)
        web_page(ctx.wrap_socket(conn, server_side=True))
    return serve


def misbehaving(lab):
    """The servers of the table; returns the file with the CA that the host trusts."""
    ca = certs.make_ca()
    path = os.path.join(lab.dir, "trusted.pem")
    certs.write_pem(path, ca[0])
    leaves = {SELF_SIGNED: certs.make_leaf([CONTROL]), WRONG_NAME: certs.make_leaf(["other.example"], ca),
              EXPIRED: certs.make_leaf([CONTROL], ca, days=-0.5)}
    for port, leaf in leaves.items():
        Serve(lab, port, tls(certs.server_context(lab.dir, f"leaf{port}", *leaf)))
    Serve(lab, HANGS, lambda conn: None)
    Serve(lab, WEB, web_page)
    Serve(lab, HANGS_UP, lambda conn: conn.close())
    return path


@pytest.fixture
def alpha(lab):
    lab.env["SSL_CERT_FILE"] = misbehaving(lab)
    lab.servers()
    host = lab.host("alpha")
    host.sh(f"install -m 755 {lab.tailscale} {CLI}")
    host.start()
    return host


def check(done, words, lines=3):
    """Exit status 1, nothing on stdout, every word on stderr, and not a flood."""
    print(done.stderr)
    assert done.returncode == 1 and done.stdout == "", done.stdout
    for word in words:
        assert re.search(word, done.stderr), (word, done.stderr)
    assert len(done.stderr.splitlines()) <= lines, done.stderr


SERVERS = [                          # --login-server, words: the cause, then what to do
    (f"http://{CONTROL}:9", "connection refused", "check that the server is running"),
    (f"http://{WAN4}77:8090", "no route", "check this machine's network"),
    ("http://198.51.100.1:8090", "no route", "check this machine's network"),
    ("http://no-such-name.invalid", "cannot be found", "check the spelling"),
    (f"https://{CONTROL}:{SELF_SIGNED}", "self.signed", "SSL_CERT_FILE"),
    (f"https://{CONTROL}:{WRONG_NAME}", "certificate subject name|mismatch", "give --login-server the name"),
    (f"https://{CONTROL}:{EXPIRED}", "expired", "clock|renew"),
    (f"https://{CONTROL}:{WEB}", "no secure connection", "start with http://"),
    (f"http://{CONTROL}:{HANGS}", "does not answer", "check"),
    (f"http://{CONTROL}:{WEB}", "not a control server", "check --login-server"),
    (f"http://{CONTROL}:{HANGS_UP}", "not working now|hung up|closed", "server's log"),
]


def test_servers_that_cannot_be_used(lab, alpha):
    """Each has its own words, within --timeout; the next attempt is not spoilt by the last."""
    for server, cause, remedy in SERVERS:
        start = time.monotonic()
        done = alpha.tailscale("up", f"--login-server={server}", "--auth-key=k", f"--timeout={PATIENCE}s", "--reset",
                               check=False)
        assert time.monotonic() - start < PATIENCE + 2 * SLOW, server
        check(done, [re.escape(server), cause, remedy], 5)      # two causes may take turns
    alpha.up("--reset")
    assert alpha.status()["BackendState"] == "Running"


def test_keys_that_are_refused(lab, alpha):
    """At once, whatever --timeout allows."""
    used = lab.key()
    alpha.up(key=used)
    alpha.tailscale("logout")
    bad = lab.key()[:-1] + "g"
    lab.keys.append(bad)
    for key, cause, remedy in (
            ("nonsense", "does not accept this auth key.*invalid", "copied whole"),
            (bad, "does not accept this auth key", "create a new one"),
            (used, "was used before", "create a new one"),
            (lab.key(expires_in=-1), "no longer valid.*expired", "create a new one")):
        start = time.monotonic()
        done = alpha.up(key=key, check=False)
        assert time.monotonic() - start < 5 * SLOW
        check(done, [cause, remedy])
        alpha.sh("true")
    missing = alpha.up(key="file:/run/no-such-key", check=False)
    check(missing, ["/run/no-such-key", "No such file"])
    alpha.sh(": > /run/empty-key")
    check(alpha.up(key="file:/run/empty-key", check=False), ["empty", "/run/empty-key"])


def test_an_expired_node_key(lab, alpha):
    alpha.up()
    lab.control.call("expire", node="alpha")
    wait_for("it is told", lambda: alpha.status()["BackendState"] == "NeedsLogin")
    assert any("has expired" in h and "tailscale up" in h for h in alpha.status()["Health"])
    alpha.up()
    assert alpha.status()["BackendState"] == "Running"


@pytest.mark.parametrize("args, words", [
    (("up",), ("failed to connect to local tailscaled", "doesn't appear to be running", "systemctl start|as root")),
    (("status",), ("failed to connect to local tailscaled", "systemctl start")),
    (("ping", "100.64.0.1"), ("failed to connect to local tailscaled", "systemctl start")),
    (("down",), ("Failed to connect to local Tailscale daemon for /localapi/v0/status", "not running\\?",
                 "systemctl start")),
    (("ip",), ("Failed to connect to local Tailscale daemon", "systemctl start")),
    (("whois", "100.64.0.1"), ("Failed to connect to local Tailscale daemon for /localapi/v0/whois", "systemctl")),
    (("--socket=/run/nowhere.sock", "status"), ("failed to connect to local tailscaled", "/run/nowhere.sock")),
], ids=lambda a: a[0] if isinstance(a, tuple) else "")
def test_no_daemon(lab, args, words):
    alpha = lab.host("alpha")
    start = time.monotonic()
    check(alpha.tailscale(*args, check=False), words)
    assert time.monotonic() - start < 6 * SLOW


def test_no_permission(lab, alpha):
    """Reading is allowed to everybody, changing is not, and the way out is named."""
    alpha.up()
    def nobody(*args):
        return alpha.run(*NOBODY, CLI, *args, check=False)
    assert nobody("status").returncode == 0 and nobody("ip").returncode == 0
    for args in (("up", f"--login-server={lab.url}", "--reset"), ("down",), ("logout",), ("switch", "--list"), ("login",)):
        done = nobody(*args)
        check(done, ["Access denied: ", "sudo", "--operator"], 4)
    assert alpha.status()["BackendState"] == "Running"
    alpha.sh("chmod 700 /run/tailscale")
    check(nobody("status"), ["failed to connect to local tailscaled", "permission denied", "sudo"])


def test_peers_that_are_not_there(lab, alpha):
    check(alpha.tailscale("ip", check=False), ["no current Tailscale IPs; state: NeedsLogin", "tailscale up"])
    out = alpha.tailscale("ping", "100.64.0.9", check=False)
    assert out.returncode == 1 and out.stdout.startswith("Logged out.")
    alpha.up()
    for args, words in ((("ping", "100.64.0.9"), ["no matching peer", "tailscale status"]),
                        (("ping", "nobody"), ['error looking up IP of "nobody"', "tailscale status"]),
                        (("ping",), ["usage: tailscale ping"]),
                        (("ping", "a", "b"), ["usage: tailscale ping"]),
                        (("ip", "nobody"), ['error looking up IP of "nobody"', "tailscale status"]),
                        (("ip", "100.64.0.9"), ["no peer or service found with IP 100.64.0.9"]),
                        (("ip", "-4", "-6"), ["exclusive|exclude"]),
                        (("ip", "--assert=100.64.0.9"), ["assertion failed", "100.64.0.9", "100.64.0.1"]),
                        (("whois", "100.64.0.9"), ["peer not found"]),
                        (("whois", "alpha"), ["^invalid 'addr' parameter"]),
                        (("whois",), ["usage: tailscale whois"])):
        start = time.monotonic()
        check(alpha.tailscale(*args, check=False), words)
        assert time.monotonic() - start < 5 * SLOW
    own = alpha.tailscale("ping", "100.64.0.1")
    assert own.stdout == "100.64.0.1 is local Tailscale IP\n"


@pytest.mark.parametrize("args, code, words", [
    (("up", "--nope"), 2, "flag provided but not defined: -nope"),
    (("up", "--timeout=soon"), 2, 'invalid value "soon" for flag -timeout'),
    (("up", "--timeout"), 2, "needs an argument: -timeout"),
    (("up", "--accept-routes=maybe"), 2, 'invalid value "maybe" for flag -accept-routes'),
    (("up", "--json", "--json"), 2, "more than once"),
    (("up", "word"), 1, r'too many non-flag arguments: \["word"\]'),
    (("up", "--login-server=headscale.example.com"), 1, "must begin with https:// or http://"),
    (("up", "--login-server=ftp://h"), 1, "must begin with https:// or http://"),
    (("up", "--login-server=http://"), 1, "no usable host name.*https://HOST"),
    (("up", "--login-server=http://h:99999"), 1, "the port is not"),
    (("up", "--hostname=-x"), 1, "--hostname"),
    (("up", "--timeout=-1s"), 1, "--timeout"),
    (("status", "--nope"), 2, "not defined: -nope"),
    (("status", "word"), 1, "non-flag arguments"),
    (("ping", "--c=x", "h"), 2, 'invalid value "x" for flag -c'),
    (("ping", "--c=-1", "h"), 2, "-c"),
    (("ping", "--timeout=0", "h"), 2, "-timeout"),
    (("netcheck", "--format=xml"), 1, 'unknown output format "xml"'),
    (("netcheck", "--every=-1s"), 2, "-every"),
    (("--socket",), 2, "needs an argument: -socket"),
    (("nonsense",), 1, "tailscale: unknown subcommand: nonsense"),
], ids=lambda a: " ".join(a) if isinstance(a, tuple) else "")
def test_flags(lab, args, code, words):
    """No daemon runs: what is wrong on the line is said before anybody is asked."""
    alpha = lab.host("alpha")
    start = time.monotonic()
    done = alpha.tailscale(*args, check=False)
    print(done.stderr.splitlines()[0])
    assert (done.returncode, done.stdout) == (code, "") and re.search(words, done.stderr), done.stderr
    assert time.monotonic() - start < 2 * SLOW


def test_a_reader_that_has_seen_enough(lab, alpha):
    """`status --json | grep -q` under pipefail: a second write would meet a reader that has gone, and SIGPIPE."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)      # keeps writes apart
    with ours, subprocess.Popen(alpha.argv([lab.tailscale, "debug", "metrics"]), stdout=theirs) as done:
        theirs.close()
        first, second = ours.recv(1 << 20), ours.recv(1 << 20)
    assert done.returncode == 0 and len(first) > 4096 and second == b""


def test_a_full_disk(lab):
    """Logging in works, and is said not to last; once there is room, it does."""
    lab.servers()
    host = lab.host("alpha")
    host.sh("mkdir /run/full; mount -t tmpfs -o size=4k full /run/full")
    host.start("--statedir=/run/full", "--port=41641")
    told = "the state file /run/full/tailscaled.state cannot be written: No space left on device"
    assert f"Warning: {told}" in host.up().stderr
    assert any(line.startswith(told) for line in host.status()["Health"])
    assert f"Warning: {told}" in host.tailscale("set", "--shields-up").stderr
    host.sh("mount -o remount,size=1m /run/full")
    assert host.tailscale("set", "--shields-up=false").stderr == ""
    assert not any(line.startswith("the state file") for line in host.status()["Health"])
    host.stop()
    host.start("--statedir=/run/full", "--port=41641")
    wait_for("logged in as before", lambda: host.status()["BackendState"] == "Running")
