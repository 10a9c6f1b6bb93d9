"""A node without TUN and without root.

        alpha (no root, no device) --- router --- internet --- beta
"""
import hashlib
import os
import threading
import time

import pytest

from lab import wait_for
from userspace import HOME, Userspace, socks5


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
