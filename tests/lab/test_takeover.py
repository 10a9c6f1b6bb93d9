"""A state file that the reference's daemon wrote, and one that is written while its writer is killed.

        alpha --- router1 --- internet --- router2 --- beta
"""
import base64
import copy
import json
import os
import random
import signal
import socket
import sys
import threading
import time

import pytest

from lab import FIXTURES, WAN4, wait_for
from traffic import Echo, Flow

sys.path.insert(0, FIXTURES)
import noise   # noqa: E402

SLOW = float(os.environ.get("LAB_SLOW", "1"))
SERVER = WAN4 + "6"                 # the recorded profile's login server
STATE = "/var/lib/tailscale/tailscaled.state"
ZERO_TIME = "0001-01-01T00:00:00Z"


def outside(host, path):
    """A path of the host's mount namespace as seen from here."""
    return f"/proc/{host.pid}/root{path}"


def unpack(text):
    """The state file as one tree: values decoded, and parsed where they are JSON."""
    tree = {}
    for key, value in json.loads(text).items():
        plain = base64.b64decode(value, validate=True).decode()
        tree[key] = json.loads(plain) if plain[:1] in "{[" else plain
    return tree


def pack(tree):
    plain = {k: v if isinstance(v, str) else json.dumps(v) for k, v in tree.items()}
    return json.dumps({k: base64.b64encode(v.encode()).decode() for k, v in plain.items()}, indent=2, sort_keys=True)


def read_state(host):
    with open(outside(host, STATE)) as f:
        return unpack(f.read())


def write_state(host, tree):
    host.sh("mkdir -m 700 -p /var/lib/tailscale")
    with open(os.open(outside(host, STATE), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        f.write(pack(tree))


def recorded():
    with open(os.path.join(FIXTURES, "state", "taken-over.state")) as f:
        return unpack(f.read())


def public_of(private):
    return noise.public_of(bytes.fromhex(private.removeprefix("privkey:"))).hex()


def serve_the_recorded_node(lab, tree):
    """A control server at the recorded URL that knows the recorded machine and its node."""
    prefs = tree[tree["_current-profile"]]
    node = {"id": 1, "machine": public_of(tree["_machinekey"]), "key": public_of(prefs["Config"]["PrivateNodeKey"]),
            "disco": "0" * 64, "user": 1, "name": "alpha", "name_fixed": False, "v4": "100.64.0.1",
            "v6": "fd7a:115c:a1e0::1", "routes": [], "endpoints": [], "hostinfo": {"Hostname": "alpha"}, "home": 0,
            "tags": [], "ephemeral": False, "auth_key": "", "created": "2026-11-23T06:38:12Z", "expiry": ZERO_TIME,
            "last_seen": ZERO_TIME}
    lab.net.sh(f"ip addr add {SERVER}/24 dev br0")
    with open(os.path.join(lab.dir, "control.json"), "w") as f:
        json.dump({"noise_key": noise.new_private().hex(), "tailnet": {
            "next_id": 2, "users": {"1": "u"}, "rules": None, "nodes": [node], "auth_keys": []}}, f)
    lab.servers("--gather", "0.1", "--listen", f"{SERVER}:8090")
    return node


def missing(old, new, path=""):
    """Where new lacks, or has otherwise, what old has."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [p for k in old for p in (missing(old[k], new[k], f"{path}/{k}") if k in new else [f"{path}/{k}"])]
    return [] if old == new else [path]


def patch(host, **prefs):
    """A PATCH of preferences; raises OSError when the daemon dies meanwhile."""
    body = json.dumps({**prefs, **{k + "Set": True for k in prefs}}).encode()
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5)
        s.connect(outside(host, "/run/tailscale/tailscaled.sock"))
        s.sendall(b"PATCH /localapi/v0/prefs HTTP/1.1\r\nHost: local-tailscaled.sock\r\nConnection: close\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(body) + body)
        answer = b""
        while chunk := s.recv(65536):
            answer += chunk
    if not answer.startswith(b"HTTP/1.1 200"):
        raise OSError(f"PATCH prefs: {answer[:200]}")


def with_unknown_things(tree):
    """What a newer or richer program may have put into the file, on every level."""
    tree = copy.deepcopy(tree)
    profile = tree["_current-profile"]
    tree["_serve/8aec"] = {"TCP": {"443": {"HTTPS": True}}}
    tree["_debug_magicsock_until"] = "1795417273"
    tree["_from-the-future"] = "kept \u00e9"
    tree[profile].update(FutureSetting={"Deep": [1, {"er": None}]}, DriveShares=[{"name": "docs", "path": "/srv"}],
                         RelayServerPort=40000)
    tree[profile]["Config"].update(Provider="oidc", AttestationKey={"k": "v"})
    tree[profile]["Config"]["UserProfile"]["Roles"] = ["admin"]
    tree["_profiles"]["8aec"].update(Colour="green")
    tree["_profiles"]["8aec"]["NetworkProfile"]["Motto"] = "x"
    tree["_profiles"]["8aec"]["UserProfile"]["Groups"] = ["g"]
    other = copy.deepcopy(tree["_profiles"]["8aec"])
    other.update(ID="beef", Key="profile-beef", Name="second", NodeID="7")
    tree["_profiles"]["beef"] = other
    tree["profile-beef"] = copy.deepcopy(tree[profile])
    tree["profile-beef"]["Config"]["PrivateNodeKey"] = "privkey:" + "40" * 32
    return tree


@pytest.mark.parametrize("prepare", [lambda t: t, with_unknown_things], ids=["as recorded", "with unknown things"])
def test_a_state_file_of_the_reference_is_taken_over(lab, prepare):
    """Same machine, same node, same settings, no login; after rewriting, whatever was there still is."""
    old = prepare(recorded())
    node = serve_the_recorded_node(lab, old)
    alpha = lab.host("alpha")
    write_state(alpha, old)
    alpha.start()
    seen = wait_for("the node is online", lambda: [n for n in lab.control.call("nodes") if n["Streams"]])
    wait_for("it runs", lambda: alpha.status()["BackendState"] == "Running")
    assert lab.control.call("pending") == [] and len(lab.control.call("nodes")) == 1
    assert seen[0]["Machine"] == "mkey:" + node["machine"] and seen[0]["Key"] == "nodekey:" + node["key"]
    assert alpha.status()["Self"]["PublicKey"] == "nodekey:" + node["key"] and alpha.ip == "100.64.0.1"

    with_keys = {k: v for k, v in old[old["_current-profile"]].items() if k != "Config"}
    shown = json.loads(alpha.sh("curl -sS --unix-socket /run/tailscale/tailscaled.sock "
                                "http://local-tailscaled.sock/localapi/v0/prefs"))
    assert [p for p in missing(with_keys, shown) if p != "/FutureSetting"] == []
    assert shown["Config"]["NodeID"] == "1" and set(shown["Config"]["PrivateNodeKey"][8:]) == {"0"}

    before = os.stat(outside(alpha, STATE)).st_ino
    alpha.tailscale("down")
    alpha.tailscale("up", f"--login-server=http://{SERVER}:8090", "--hostname=alpha", "--accept-routes", "--shields-up")
    assert os.stat(outside(alpha, STATE)).st_ino != before, "the file was written anew"
    new = read_state(alpha)
    profile = old["_current-profile"]
    assert new[profile]["ShieldsUp"] is True
    new[profile]["ShieldsUp"] = False                                   # we asked for that,
    new["_profiles"]["8aec"]["NetworkProfile"]["DomainName"] = SERVER   # and this is the fixture's own
    assert missing(old, new) == []
    assert alpha.sh("stat -c %a /var/lib/tailscale /var/lib/tailscale/*") == "700\n600\n", "and nothing beside it"
    alpha.stop()
    alpha.start()
    wait_for("it runs again", lambda: alpha.status()["BackendState"] == "Running")
    assert alpha.status()["Self"]["PublicKey"] == "nodekey:" + node["key"]


class Writer:
    """Changes a setting as fast as the daemon takes it, so that the state file is always being written."""

    def __init__(self, host):
        self.host, self.writes, self.stopping = host, 0, False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping:
            try:
                patch(self.host, ShieldsUp=self.writes % 2 == 0)
                self.writes += 1
            except OSError:
                time.sleep(0.01)     # not up yet, or killed just now

    def stop(self):
        self.stopping = True
        self.thread.join(10)


def test_killed_at_any_moment(lab):
    """Twenty kills during start and while writing: the file is always whole, the identity stays, nothing piles up."""
    kills, dice = 20, random.Random(4242)
    lab.servers("--gather", "0.1")
    alpha, beta = lab.pair()
    alpha.before = alpha.snapshot()
    alpha.join()
    beta.join()
    alpha.wait_peer(beta, test=lambda p: p["Relay"])
    address, who = beta.ip, alpha.status()["Self"]["PublicKey"]
    during, first = alpha.snapshot(), read_state(alpha)
    alpha.stop(signal.SIGKILL)
    writer = Writer(alpha)
    for i in range(kills):
        alpha.daemon = alpha.spawn([lab.tailscaled, "--port=41641"], "alpha.log", lab.env)
        time.sleep(dice.uniform(0, 0.25) if i % 2 else dice.uniform(0.25, 1.5) * SLOW)
        assert alpha.daemon.poll() is None, alpha.log()[-2000:]
        alpha.stop(signal.SIGKILL)
        now = read_state(alpha)
        assert set(now) == set(first) and now["_machinekey"] == first["_machinekey"]
        profile = now["_current-profile"]
        assert profile == first["_current-profile"] and now[profile]["Config"] == first[profile]["Config"]
    writer.stop()
    print(f"{kills} kills, {writer.writes} changes written")
    assert writer.writes > kills

    echo = Echo(beta)
    flow = Flow(alpha, address)
    start = time.monotonic()
    alpha.start()
    wait_for("traffic", lambda: flow.answered_since(start), 10 * SLOW, 0.02)
    took = time.monotonic() - start
    print(f"traffic back after {took:.2f} s")
    flow.stop()
    echo.stop()
    assert took < 3 * SLOW
    assert alpha.status()["Self"]["PublicKey"] == who and len(lab.control.call("nodes")) == 2
    after = alpha.snapshot()
    for what in ("links", "rules", "firewall"):
        assert after[what] == during[what], what
    assert alpha.sh("ls -A /var/lib/tailscale") == "tailscaled.state\n"
    alpha.stop()
    assert alpha.snapshot() == alpha.before
