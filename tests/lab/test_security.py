"""What an attacker or an accident would like to find: see docs/security.md.

        alpha --- internet --- control, relay
"""
import re
import signal
import subprocess
import time

import pytest

from lab import LabError, wait_for

RACERS = 50


@pytest.fixture
def alpha(lab):
    lab.servers()
    return lab.host("alpha")


class Racer:
    """One of many daemons on one host, each with its own state, socket and interface; only one may come to run."""

    def __init__(self, host, number):
        self.host, self.number = host, number
        self.socket = f"/run/race/{number}.sock"
        self.daemon = host.spawn([host.lab.tailscaled, f"--tun=race{number}", f"--socket={self.socket}", "--port=0",
                                  f"--state=/var/lib/race/{number}/tailscaled.state"], f"{host.name}-{number}.log")

    def listening(self):
        if self.daemon.poll() is not None:
            raise LabError(f"racer {self.number} ended with {self.daemon.returncode}")
        return subprocess.run(["test", "-S", f"/proc/{self.host.pid}/root{self.socket}"]).returncode == 0

    def start_up(self, key):
        self.up = subprocess.Popen(
            self.host.argv([self.host.lab.tailscale, f"--socket={self.socket}", "up", f"--auth-key={key}",
                            f"--login-server={self.host.lab.url}", f"--hostname=racer{self.number}", "--timeout=90s"]),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self):
        try:
            out, err = self.up.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            self.up.kill()
            raise LabError(f"`up` of racer {self.number} does not end")
        self.host.outputs.append(out + err)
        self.code, self.text = self.up.returncode, out + err

    def state(self):
        done = self.host.tailscale(f"--socket={self.socket}", "status", "--json", check=False)
        return re.search(r'"BackendState": "(\w+)"', done.stdout)[1]


def test_fifty_race_for_a_one_off_key(lab, alpha):
    alpha.sh("mkdir -p /run/race")
    racers = [Racer(alpha, i) for i in range(RACERS)]
    for racer in racers:
        wait_for(f"the socket of racer {racer.number}", racer.listening, 60)
    key = lab.key()
    for racer in racers:
        racer.start_up(key)
    for racer in racers:
        racer.finish()
    winners = [r for r in racers if r.code == 0]
    assert len(winners) == 1 and len(lab.control.call("nodes")) == 1
    for racer in racers:
        if racer.code != 0:
            assert racer.code == 1 and "already used" in racer.text and "create a new one" in racer.text, racer.text
    # And there it ends: a loser neither tries again nor comes to run later.
    lab.control.call("clear-requests")
    time.sleep(8)
    again = [r for r in lab.control.call("requests") if r["path"] == "/machine/register"]
    assert not again and len(lab.control.call("nodes")) == 1
    assert [r.state() for r in racers] == ["Running" if r in winners else "NeedsLogin" for r in racers]
    for racer in racers:
        racer.daemon.terminate()
    codes = [racer.daemon.wait(60) for racer in racers]
    assert set(codes) == {0}, codes


def test_no_tcp_port_but_for_peers_and_no_core(lab, alpha):
    alpha.join()
    listening = [line.split()[3] for line in alpha.sh("ss -Hltn").splitlines()]
    assert sorted(at.replace("%tailscale0:", ":") for at in listening) == sorted(
        url.removeprefix("http://") for url in alpha.status()["Self"]["PeerAPIURL"])
    assert all("%tailscale0:" in at for at in listening), "peers reach it, nobody else"
    limits = alpha.sh(f"cat /proc/{alpha.daemon.pid}/limits")
    assert re.search(r"Max core file size\s+0\s+0\s", limits), limits
    alpha.stop(signal.SIGABRT)
    assert alpha.sh("find / -xdev -name 'core*' -type f -newer /run/lab -size +1M 2>/dev/null || true") == ""
    alpha.daemon = None      # its end was asked for
