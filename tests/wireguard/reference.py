"""wireguard-go in a namespace, and our side of the tunnel beside it: peer.c, driven by lines.

        wg0 10.9.0.1 --- wireguard-go --- 127.0.0.1 --- wireguard_peer (10.9.0.2 inside)
"""
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time

from nacl.public import PrivateKey

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lab"))

from lab import Lab, LabError, wait_for   # noqa: E402

PORT = 51820
INITIATION, RESPONSE, COOKIE, DATA = 1, 2, 3, 4


class Reference:
    """wireguard-go with its interface wg0, configured through its own socket."""

    def __init__(self, lab):
        self.space = lab.net
        key = PrivateKey.generate()
        self.public = key.public_key.encode().hex()
        self.process = self.space.spawn(["wireguard-go", "-f", "wg0"], "wireguard-go.log",
                                        {"LOG_LEVEL": "error", "WG_PROCESS_FOREGROUND": "1", "GOMAXPROCS": "1"})
        self.socket = f"/proc/{self.space.pid}/root/run/wireguard/wg0.sock"
        wait_for("wireguard-go's socket", lambda: os.path.exists(self.socket))
        self.set(private_key=key.encode().hex(), listen_port=PORT)
        self.space.sh("sysctl -qw net.ipv6.conf.wg0.disable_ipv6=1; ip addr add 10.9.0.1/24 dev wg0; "
                      "ip link set wg0 mtu 1280 up")

    def ask(self, text):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(self.socket)
            s.sendall(text.encode())
            answer = b""
            while not answer.endswith(b"\n\n"):
                more = s.recv(65536)
                if not more:
                    break
                answer += more
        if b"errno=0\n" not in answer:
            raise LabError(f"wireguard-go refused {text!r}: {answer!r}")
        return answer.decode()

    def set(self, **lines):
        return self.ask("set=1\n" + "".join(f"{k}={v}\n" for k, v in lines.items()) + "\n")

    def add(self, peer, endpoint=False):
        """The peer from nothing, with what was known of it forgotten; its address only if asked for."""
        self.set(public_key=peer.public, remove="true")
        where = {"endpoint": f"127.0.0.1:{peer.port}"} if endpoint else {}
        self.set(public_key=peer.public, **where, allowed_ip="10.9.0.2/32")

    def bytes(self):
        """What it says it has received and sent."""
        text = self.ask("get=1\n\n")
        return tuple(int(re.search(rf"^{k}=(\d+)$", text, re.M)[1]) for k in ("rx_bytes", "tx_bytes"))

    def delivered(self):
        """Packets that came out of its tunnel."""
        return int(self.space.sh("cat /sys/class/net/wg0/statistics/rx_packets"))

    def requests(self, count=1, every=0.01, **kw):
        """Datagrams through its tunnel to us and back: Requests that are under way."""
        return Requests(self.space, count, every, **kw)


class Requests(threading.Thread):
    """`count` datagrams of random bytes to the other end, one every `every` seconds, each of which has to come back
    once and unchanged.  Waits for answers when `WINDOW` are missing, and at the end for `patience` seconds."""
    WINDOW, SIZE = 32, 200

    def __init__(self, space, count, every, source="10.9.0.1", patience=10.0):
        super().__init__(daemon=True)
        self.sock = space.sock(bind=(source, 0), timeout=0.002)
        self.count, self.every, self.patience = count, every, patience
        self.sent = self.answered = self.strange = 0
        self.start()

    def run(self):
        missing = set()
        heard = due = time.monotonic()
        while (self.sent < self.count or missing) and time.monotonic() < heard + self.patience:
            if self.sent < self.count and len(missing) < self.WINDOW and time.monotonic() >= due:
                data = os.urandom(self.SIZE)
                missing.add(data)
                self.sock.sendto(data, ("10.9.0.2", 7))
                self.sent, due = self.sent + 1, due + self.every
            try:
                data = self.sock.recv(2000)
            except socket.timeout:
                continue
            heard = time.monotonic()
            self.strange += data not in missing
            self.answered += data in missing
            missing.discard(data)

    def result(self):
        """(sent, answered)"""
        self.join(120)
        assert not self.is_alive() and self.strange == 0
        return self.sent, self.answered


class Peer:
    """Our side; its clock runs `speed` times as fast as ours."""

    def __init__(self, lab, reference, program, speed=1):
        self.process = subprocess.Popen(
            lab.net.argv([program, f"nodekey:{reference.public}", f"127.0.0.1:{PORT}", str(speed)]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        lab.cleanup.callback(self._end)
        key, port = self.process.stdout.readline().split()
        self.public, self.port = key.removeprefix("nodekey:"), int(port)

    def _end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        code = self.process.wait(10)
        if code != 0:
            raise LabError(f"wireguard_peer ended with {code}")

    def tell(self, *words):
        self.process.stdin.write(" ".join(str(w) for w in words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise LabError(f"wireguard_peer is gone, told to {words}")
        return json.loads(line)

    def figures(self):
        return self.tell("figures")

    def until(self, what, test, timeout=20):
        """Waits for figures that pass the test and returns them."""
        def look():
            f = self.figures()
            return f if test(f) else None
        try:
            return wait_for(what, look, timeout, 0.02)
        except LabError as e:
            raise LabError(f"{e}\n{json.dumps(self.figures())}")

    def echo(self, count=1, every_ms=100, length=200):
        """Echo requests through the tunnel, each answered once with its own bytes."""
        before = self.figures()["echo"]
        self.tell("echo", count, every_ms, length)
        f = self.until(f"{count} answers", lambda f: f["echo"]["answered"] == before["answered"] + count)
        assert f["echo"]["wrong"] == before["wrong"] and f["echo"]["twice"] == before["twice"]
        return f


def quiet(peer, seconds):
    """How many messages of any kind were sent and received in this time."""
    def total():
        f = peer.figures()
        return sum(n for way in ("sent", "received") for k, n in f[way].items() if k != "mac2")
    before = total()
    time.sleep(seconds)
    return total() - before
