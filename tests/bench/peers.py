#!/usr/bin/python3
"""What a map of many peers costs the daemon of the build in $BUILD_DIR: memory, CPU, time (root, Go 1.26).

The reference's test control server tells one node of N others that only the map knows.  Prints what it measured and
judges nothing.

usage: peers.py [--peers N,...] [--changes N]     GO names the go command, if not "go"
"""
import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lab"))
from lab import CONTROL, Lab, LabError, wait_for  # noqa: E402

INTEROP = os.path.join(TOP, "tests", "interop")
GO = os.environ.get("GO", "go")
ASKS = 5
GAP = 0.1    # seconds between two changes of the map: none is handled together with another


class Servers:
    """The interop program's servers, in the lab's internet."""

    def __init__(self, lab, program, fakes):
        argv = lab.net.argv([program, "servers", "-listen", CONTROL, "-control-port", "8090", "-derp-port", "443",
                             "-stun-port", "3478", "-fake-nodes", str(fakes)])
        self.log = open(os.path.join(lab.dir, "servers.log"), "wb")
        lab.cleanup.callback(self.log.close)
        self.proc = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
        lab.cleanup.callback(self.stop)
        self.call("registers")

    def stop(self):
        self.proc.stdin.close()     # a child without standard input leaves
        self.proc.wait()
        self.proc.stdout.close()

    def call(self, op, **args):
        self.proc.stdin.write(json.dumps({"ID": 1, "Op": op, "Args": args}) + "\n")
        self.proc.stdin.flush()
        line = self.proc.stdout.readline()
        if not line:
            raise LabError("the servers ended")
        answer = json.loads(line)
        if answer.get("Error"):
            raise LabError(f"servers: {op}: {answer['Error']}")
        return answer.get("Result")

    def node(self):
        """The only one that is not fake."""
        return self.call("nodes")[0]


class LocalAPI(http.client.HTTPConnection):
    """Our socket is in the host's mount namespace."""

    def __init__(self, host):
        super().__init__("local-tailscaled.sock")
        self.path = f"/proc/{host.pid}/root/run/tailscale/tailscaled.sock"

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

    def state(self):
        self.request("GET", "/localapi/v0/status?peers=false")
        return json.loads(self.getresponse().read())["BackendState"]


def cpu(pid):
    """Seconds on a processor of all threads there are, to the nanosecond; of those that ended, to the tick."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    ticks = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return max(total * 1e-9, ticks)


def memory(pid):
    """Private, resident and highest resident KiB.  Of what is private only what was written: pages of programs and
    libraries look private while nobody else runs them."""
    private = rss = peak = 0
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        for line in f:
            key, _, value = line.partition(":")
            if key == "Rss":
                rss = int(value.split()[0])
            elif key == "Private_Dirty":
                private = int(value.split()[0])
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        for line in f:
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1])
    return private, rss, peak


def quiet(pid, timeout=60.0):
    """Waits until the daemon has nothing to do; its CPU seconds then."""
    before, end = cpu(pid), time.monotonic() + timeout
    while time.monotonic() < end:
        time.sleep(0.3)
        now = cpu(pid)
        if now - before < 0.003:
            return now
        before = now
    raise LabError(f"the daemon is still busy after {timeout} s")


def restart(host, servers):
    """CPU and wall seconds of a start with a state file, up to where the map is asked for, and from there to Running."""
    host.stop()
    servers.call("hold", On=True)
    asked = servers.node()["Polls"]
    host.start()
    wait_for("a map request", lambda: servers.node()["Polls"] > asked, 30)
    before = quiet(host.daemon.pid)
    began = time.monotonic()
    servers.call("hold", On=False)
    api = LocalAPI(host)
    wait_for("Running", lambda: api.state() == "Running", 60, 0.01)
    wall, running = time.monotonic() - began, cpu(host.daemon.pid)
    api.close()
    return before, running - before, wall, quiet(host.daemon.pid) - before


def status_times(host, *args):
    times = []
    for _ in range(ASKS):
        began = time.monotonic()
        host.run(host.lab.tailscale, "status", *args)
        times.append(time.monotonic() - began)
    return statistics.median(times)


def change_cost(host, servers, key, count):
    """CPU microseconds for a peer that comes, and for one that goes."""
    pid, costs = host.daemon.pid, []
    fakes = [servers.call("fake", Number=900000 + i) for i in range(count)]
    changes = [[{"PeersChanged": [f]} for f in fakes], [{"PeersRemoved": [f["ID"]]} for f in fakes]]
    before = quiet(pid)
    time.sleep(count * GAP)
    idle = cpu(pid) - before
    for kind in changes:
        before = quiet(pid)
        for response in kind:
            servers.call("map", Node=key, Response=response)
            time.sleep(GAP)
        costs.append(max(cpu(pid) - before - idle, 0) / count * 1e6)
    return costs


def measure(program, peers, changes):
    with Lab(os.environ["BUILD_DIR"]) as lab:
        servers = Servers(lab, program, peers)
        host = lab.host("node")
        host.start()
        host.up(key="bench")
        key = servers.node()["Key"]
        quiet(host.daemon.pid)
        start, load, wall, settled = restart(host, servers)
        time.sleep(5)
        pid = host.daemon.pid
        private, rss, peak = memory(pid)
        out = {"peers": len(host.status()["Peer"]), "start": start, "load": load, "wall": wall,
               "settled": settled, "rss": rss, "private": private, "peak": peak,
               "status": status_times(host), "json": status_times(host, "--json")}
        time.sleep(1)
        out["after"] = memory(pid)[0]
        out["add"], out["remove"] = change_cost(host, servers, key, changes)
        out["last"] = memory(pid)[0]
        return out


ROWS = (
    ("start", "CPU s from exec to the request for the map", "{:.3f}"),
    ("load", "CPU s from the map to Running", "{:.3f}"),
    ("wall", "seconds from the map to Running", "{:.3f}"),
    ("settled", "CPU s from the map to rest", "{:.3f}"),
    ("private", "private KiB", "{:.0f}"),
    ("rss", "resident KiB", "{:.0f}"),
    ("peak", "highest resident KiB", "{:.0f}"),
    ("status", "seconds of tailscale status, median", "{:.3f}"),
    ("json", "seconds of tailscale status --json, median", "{:.3f}"),
    ("after", "private KiB after these", "{:.0f}"),
    ("add", "CPU us for one peer more", "{:.0f}"),
    ("remove", "CPU us for one peer less", "{:.0f}"),
    ("last", "private KiB after these", "{:.0f}"),
)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--peers", default="10,1000,10000")
    args.add_argument("--changes", type=int, default=50)
    args = args.parse_args()
    with Lab() as build:
        program = os.path.join(build.dir, "interop")
        subprocess.run([GO, "build", "-o", program, "."], cwd=INTEROP, check=True,
                       env={**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"})
        columns = [measure(program, int(n), args.changes) for n in args.peers.split(",")]
    print(f"{'peers':46}" + "".join(f"{c['peers']:>10}" for c in columns))
    for name, what, form in ROWS:
        print(f"{what:46}" + "".join(f"{form.format(c[name]):>10}" for c in columns))
    return 0


if __name__ == "__main__":
    sys.exit(main())
