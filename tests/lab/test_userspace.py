"""A node without TUN and without root.

        alpha (no root, no device) --- router --- internet --- beta
"""
import hashlib
import os
import socket
import struct
import threading
import time

import pytest

from lab import wait_for
from traffic_host import Echo
from userspace import HOME, Userspace, read_exactly, socks5


@pytest.fixture
def net(lab):
    lab.servers("--gather", "0.1")
    lab.numbers["host"] += 1
    alpha = Userspace(lab, "alpha", lab.numbers["host"], lab.router())
    lab.hosts.append(alpha)
    beta = lab.host("beta", lab.router())
    alpha.join()
    beta.join()
    alpha.wait_peer(beta)
    return lab, alpha, beta


class Blob:
    """Serves the same bytes to whoever connects."""

    def __init__(self, host, mib, port=8000):
        self.data = os.urandom(1 << 20) * mib
        self.sum = hashlib.sha256(self.data).hexdigest()
        self.sock = host.listen("0.0.0.0", port)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            with c:
                c.settimeout(120)
                c.recv(4096)
                c.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.data))
                c.sendall(self.data)


def test_curl_by_socks5_moves_100_mib(net):
    lab, alpha, beta = net
    blob = Blob(beta, 100)
    alpha.tailscale("ping", "--until-direct", "beta")
    for name in (beta.ip, "beta.mesh.example", "beta"):
        begin = time.monotonic()
        got = alpha.sh(f"curl -sS --max-time 100 --socks5-hostname 127.0.0.1:1055 http://{name}:8000/ | sha256sum")
        took = time.monotonic() - begin
        assert got.split()[0] == blob.sum, name
        print(f"SOCKS5 to {name}: 100 MiB in {took:.2f} s, {100 * 8.388608 / took:.0f} Mbit/s")
    assert alpha.status()["TUN"] is False
    assert "tailscale0" not in alpha.sh("ip -o link")


class Server:
    """A listener with a thread for each connection, which _one() serves."""

    def __init__(self, host, port, address="0.0.0.0"):
        self.sock = host.listen(address, port)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(c,), daemon=True).start()


class HalfClosed(Server):
    """Answers with the checksum of all it got, once the client writes no more."""

    def __init__(self, host, address="0.0.0.0", port=8001):
        super().__init__(host, port, address)

    @staticmethod
    def _one(c):
        with c:
            c.settimeout(60)
            digest = hashlib.sha256()
            while data := c.recv(1 << 16):
                digest.update(data)
            c.sendall(digest.hexdigest().encode())


def upload(s, mib=8):
    """Sends, half-closes and returns whether the other side got all of it."""
    data = os.urandom(1 << 20) * mib
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
    return read_exactly(s, 64).decode() == hashlib.sha256(data).hexdigest()


def test_half_closed_connections_lose_nothing(net):
    _, alpha, beta = net
    HalfClosed(beta)
    code, s, _ = socks5(alpha, beta.ip, 8001)
    assert code == 0 and upload(s)
    code, s, _ = socks5(alpha, beta.ip6, 8001)
    assert code == 5, "nobody listens there on IPv6"
    text = "x" * 3000000
    assert alpha.tailscale("nc", "beta", "8001", input=text).stdout == hashlib.sha256(text.encode()).hexdigest()
    assert beta.tailscale("nc", beta.ip, "8001", input=text).stdout == hashlib.sha256(text.encode()).hexdigest()


def test_nc_in_both_modes_and_its_mistakes(net):
    lab, alpha, beta = net
    Echo(beta)
    Echo(alpha, 7075)
    assert alpha.tailscale("nc", "beta", "7070").stdout == alpha.ip
    assert alpha.tailscale("nc", beta.ip6, "7070").stdout == alpha.ip6
    assert beta.tailscale("nc", "alpha", "7075").stdout == "127.0.0.1", "a peer is this host"
    assert alpha.tailscale("nc", alpha.ip, "7075").stdout == "127.0.0.1"
    web = lab.host("web")
    Echo(web)
    assert alpha.tailscale("nc", web.address, "7070").stdout == alpha.router.wan4, "dialled by the client itself"
    for words, code, says in (
            (("beta", "9"), 1, 'Dial("beta", 9): unexpected HTTP response: 502 Bad Gateway, dial failure: 100.64.0.2:9: '
                               'the connection was refused'),
            (("nobody.mesh.example", "80"), 1, "502 Bad Gateway, resolve failure: no address is known for the name nobody"),
            (("100.64.9.9", "80"), 1, "no node of the tailnet has this address"),
            (("beta", "http"), 1, 'invalid port number "http": want 1 to 65535'),
            (("beta", "0"), 1, 'invalid port number "0"'),
            (("beta", "65536"), 1, "want 1 to 65535"),
            (("a b", "1"), 1, 'invalid host "a b"'),
            (("beta",), 1, "usage: tailscale nc HOST-OR-IP PORT"),
            (("--udp", "beta", "1"), 2, "udp")):
        done = alpha.tailscale("nc", *words, check=False)
        assert done.returncode == code and says in done.stderr and not done.stdout, (words, done)
    alpha.tailscale("down")
    done = alpha.tailscale("nc", "beta", "7070", check=False)
    assert done.returncode == 1 and "stopped" in done.stdout


def test_wrong_socks_requests(net):
    _, alpha, beta = net
    Echo(beta)
    code, s, bound = socks5(alpha, "beta", 7070)
    assert code == 0 and s.recv(99).decode() == alpha.ip
    assert socket.inet_ntop(socket.AF_INET, bound[:4]) == alpha.ip, "bound to our own address"
    begin = time.monotonic()
    assert socks5(alpha, "beta", 9)[0] == 5, "refused"
    assert socks5(alpha, "127.0.0.1", 9)[0] == 5
    assert socks5(alpha, "nobody.mesh.example", 80)[0] == 4, "unknown name"
    assert socks5(alpha, "100.64.9.9", 80)[0] == 3, "nobody has that address"
    assert time.monotonic() - begin < 10
    assert socks5(alpha, "beta", 7070, command=2)[0] == 7, "BIND"
    assert socks5(alpha, "be ta", 7070)[0] == 8
    for sent, answer in ((b"\4\1\0\x50\1\2\3\4\0", b"\5\xff"), (b"GET / HTTP/1.1\r\n\r\n", b"\5\xff"),
                         (b"\5\1\2", b"\5\xff"), (b"\5\1\0\4", b"\5\0\5\1\0\1\0\0\0\0\0\0"),
                         (b"\5\1\0\5\1\0\2", b"\5\0\5\10\0\1\0\0\0\0\0\0")):
        s = alpha.dial()
        s.sendall(sent)
        assert read_exactly(s, len(answer) + 1) == answer, sent


def test_peers_reach_this_host_on_loopback(net):
    lab, alpha, beta = net
    HalfClosed(alpha, "127.0.0.1", 8002)
    for address in (alpha.ip, alpha.ip6):
        s = beta.sock(socket.SOCK_STREAM, socket.AF_INET6 if ":" in address else socket.AF_INET, timeout=30)
        s.connect((address, 8002))
        assert upload(s)
        begin = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            s = beta.sock(socket.SOCK_STREAM, socket.AF_INET6 if ":" in address else socket.AF_INET, timeout=5)
            s.connect((address, 8003))
        assert time.monotonic() - begin < 2
    alpha.tailscale("set", "--shields-up")
    s = beta.sock(socket.SOCK_STREAM, timeout=1)
    with pytest.raises(OSError):
        s.connect((alpha.ip, 8002))


class Http(Server):
    """Answers each request with what it was, and keeps the connection if it may."""

    def __init__(self, host, port=8010):
        self.heads = []
        super().__init__(host, port)

    def _one(self, c):
        with c, c.makefile("rb") as f:
            while first := f.readline():
                head, length, chunked = [first.decode().strip()], 0, False
                while (line := f.readline().strip()):
                    head.append(line.decode())
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                    chunked |= line.lower() == b"transfer-encoding: chunked"
                body = f.read(length)
                while chunked and (n := int(f.readline(), 16)) > 0:
                    body += f.read(n)
                    f.readline()
                if chunked:
                    f.readline()
                self.heads.append(head)
                text = f"{head[0]}|{len(body)}|{hashlib.sha256(body).hexdigest()}".encode()
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
                if "Connection: close" in head:
                    return


def test_http_proxy(net):
    lab, alpha, beta = net
    server = Http(beta)
    proxy = ("-x", "http://127.0.0.1:1056")
    empty = hashlib.sha256(b"").hexdigest()
    assert alpha.curl(*proxy, "http://beta:8010/a?b=c").stdout == f"GET /a?b=c HTTP/1.1|0|{empty}"
    assert "Connection: close" in server.heads[0] and "Host: beta:8010" in server.heads[0]
    assert not [h for h in server.heads[0] if h.lower().startswith("proxy-")]
    alpha.sh("head -c 3000000 /dev/urandom > /run/lab/body")
    want = alpha.sh("sha256sum /run/lab/body").split()[0]
    for more in ((), ("-H", "Transfer-Encoding: chunked"), ("-p",)):
        assert alpha.curl(*proxy, *more, "--data-binary", "@/run/lab/body", f"http://{beta.ip}:8010/up").stdout == \
            f"POST /up HTTP/1.1|3000000|{want}", more
    two = alpha.curl(*proxy, "http://beta:8010/1", f"http://{beta.ip}:8010/2").stdout
    assert two == f"GET /1 HTTP/1.1|0|{empty}GET /2 HTTP/1.1|0|{empty}"
    # A second request on the same connection would go to whom the first one was for.
    s = alpha.dial(port=1056)
    s.sendall(b"GET http://beta:8010/x HTTP/1.1\r\n\r\nGET http://elsewhere/y HTTP/1.1\r\n\r\n")
    while s.recv(4096):
        pass
    assert not [h for h in server.heads if "/y" in h[0]]


def test_http_proxy_says_what_is_wrong(net):
    _, alpha, beta = net
    for url, status, why in ((f"http://{beta.ip}:9/", 502, f"{beta.ip}:9: the connection was refused"),
                             ("http://nobody.mesh.example/", 502, "no address is known for the name nobody.mesh.example"),
                             ("http://100.64.9.9/", 502, "no node of the tailnet has this address"),
                             ("http://100.100.100.100/", 502, "nothing is served at this address")):
        got = alpha.curl("-x", "http://127.0.0.1:1056", "-w", "|%{http_code}", url).stdout
        assert why in got and got.endswith(f"|{status}"), got
    for request, status in ((b"GET / HTTP/1.1\r\n\r\n", b"400"), (b"CONNECT beta HTTP/1.1\r\n\r\n", b"400"),
                            (b"GET http://beta/ HTTP/3\r\n\r\n", b"505"), (b"A" * 20000, b"431"),
                            (b"CONNECT beta:9 HTTP/1.1\r\n\r\n", b"502")):
        s = alpha.dial(port=1056)
        s.sendall(request)
        assert read_exactly(s, 12) == b"HTTP/1.1 " + status, request[:40]


def test_proxies_beside_a_device_and_at_one_port(net):
    lab, alpha, beta = net
    gamma = lab.host("gamma", lab.router())
    gamma.start("--socks5-server=127.0.0.1:1080", "--outbound-http-proxy-listen=127.0.0.1:1080")
    gamma.up()
    gamma.wait_peer(beta)
    Http(beta)
    for proxy in ("socks5h://127.0.0.1:1080", "http://127.0.0.1:1080"):
        for name in (beta.ip, "beta", "beta.mesh.example"):
            got = gamma.run("curl", "-sS", "--max-time", "20", "-x", proxy, f"http://{name}:8010/z").stdout
            assert got.startswith("GET /z HTTP/1.1|0|"), (proxy, name)


def test_nothing_of_the_host_is_touched_and_mistakes_are_named(net):
    _, alpha, _ = net
    before = alpha.snapshot()
    alpha.stop()
    assert alpha.snapshot() == before
    bad = [("--socks5-server=1080", "invalid value \"1080\" for -socks5-server: want [HOST]:PORT"),
           ("--outbound-http-proxy-listen=example.com:80", "-outbound-http-proxy-listen: want [HOST]:PORT"),
           ("--socks5-server=203.0.113.77:1080", "--socks5-server=203.0.113.77:1080: Cannot assign requested address"),
           ("--socks5-server=localhost:80", "--socks5-server=127.0.0.1:80: Permission denied")]
    alpha.sh("sysctl -qw net.ipv4.ip_unprivileged_port_start=1024")
    for flag, says in bad:
        done = alpha.run(*alpha.argv_as_user([f"{HOME}/bin/tailscaled", "--tun=userspace-networking", f"--statedir={HOME}",
                                              f"--socket={HOME}/sock", flag]), check=False)
        assert done.returncode != 0 and says in done.stderr, (flag, done.stderr)
    assert "root" not in alpha.log() and "permitted" not in alpha.log().lower(), alpha.log()


def test_datagrams_by_socks5(net):
    lab, alpha, beta = net
    Echo(beta)
    web = lab.host("web")
    Echo(web)
    code, control, bound = socks5(alpha, "0.0.0.0", 0, command=3)
    assert code == 0 and bound[:4] == b"\x7f\0\0\1"
    at = ("127.0.0.1", struct.unpack("!H", bound[4:])[0])
    s = alpha.sock(timeout=5)
    for where, answer in ((b"\1" + socket.inet_aton(beta.ip), alpha.ip), (b"\3\4beta", alpha.ip),
                          (b"\4" + socket.inet_pton(socket.AF_INET6, beta.ip6), alpha.ip6),
                          (b"\1" + socket.inet_aton(web.address), alpha.router.wan4)):
        s.sendto(b"\0\0\0" + where + struct.pack("!H", 7070) + b"who am I", at)
        got = s.recv(200)
        assert got[:3] == b"\0\0\0" and got.endswith(answer.encode()), (where, got)
    s.settimeout(0.5)
    for junk in (b"", b"\0\0\1" + where + b"\x1b\x9ehi", b"\0\0\0\1\1\2", b"\0\0\0\3\6nobody\0\7hi"):
        s.sendto(junk, at)
        with pytest.raises(socket.timeout):
            s.recv(100)
    control.close()
    s.settimeout(5)

    def gone():
        try:
            s.connect(at)
            s.send(b"x")
            s.recv(10)
        except ConnectionRefusedError:
            return True
        except socket.timeout:
            return False
    wait_for("the association ends with its connection", gone)


def test_a_device_or_none(lab):
    lab.servers("--gather", "0.1")
    alpha, beta = lab.host("alpha", lab.router()), lab.host("beta", lab.router())
    flag = "--tun=tailscale0,userspace-networking"
    alpha.start(flag)
    alpha.up()
    assert alpha.status()["TUN"] is True
    beta.sh("mount -t tmpfs none /dev && mkdir -p /dev/net && mknod -m 666 /dev/null c 1 3; mknod /dev/urandom c 1 9")
    beta.start(flag, "--socks5-server=localhost:1055")
    beta.up()
    assert beta.status()["TUN"] is False and "userspace networking, for there is no TUN device" in beta.log()
    beta.wait_peer(alpha)
    Echo(alpha)
    assert beta.tailscale("nc", "alpha", "7070").stdout == beta.ip
