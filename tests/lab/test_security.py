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


def start_up(host, key):
    """`up` in the background; the process."""
    return subprocess.Popen(
        host.argv([host.lab.tailscale, "up", f"--auth-key={key}", f"--login-server={host.lab.url}",
                   f"--hostname={host.name}", "--timeout=90s"]),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(host, up):
    """Exit status and all that was said."""
    try:
        out, err = up.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        up.kill()
        raise LabError(f"`up` of {host.name} does not end")
    host.outputs.append(out + err)
    return up.returncode, out + err


def state(host):
    done = host.tailscale("status", "--json", check=False)
    return re.search(r'"BackendState": "(\w+)"', done.stdout)[1]


def test_fifty_race_for_a_one_off_key(lab):
    lab.servers()
    hosts = [lab.host(f"racer{i}") for i in range(RACERS)]
    for host in hosts:
        host.start()
    key = lab.key()
    ups = [start_up(host, key) for host in hosts]
    ends = [finish(host, up) for host, up in zip(hosts, ups)]
    winners = [host for host, (code, _) in zip(hosts, ends) if code == 0]
    assert len(winners) == 1 and len(lab.control.call("nodes")) == 1
    for code, text in ends:
        if code != 0:
            assert code == 1 and "already used" in text and "create a new one" in text, text
    # And there it ends: a loser neither tries again nor comes to run later.
    lab.control.call("clear-requests")
    time.sleep(8)
    again = [r for r in lab.control.call("requests") if r["path"] == "/machine/register"]
    assert not again and len(lab.control.call("nodes")) == 1
    assert [state(host) for host in hosts] == ["Running" if host in winners else "NeedsLogin" for host in hosts]


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
