#!/usr/bin/python3
"""What an agent does that nobody talks to: packets and wake-ups a minute, beside a node of the reference library (root, Go).

Both share the reference's servers and know the same ten peers that only the map knows, and each other.  After a few
pings between them and a time to settle, packets on their interfaces and context switches of all their threads are
counted.  Prints and judges nothing.

usage: idle.py [--seconds N] [--settle N] [--json FILE]     BENCH_IDLE_S is the default of --seconds
"""
import argparse
import json
import os
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lab"))
sys.path.insert(0, os.path.join(TOP, "tests", "bench"))
from lab import Lab  # noqa: E402
from relay import KEY, SECOND, Role, start_servers  # noqa: E402

PEERS = 10


def switches(pid):
    """Times that a thread of the process waited and was woken, for each thread."""
    out = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as f:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        out[f"{fields['Name']} {task}"] = int(fields["voluntary_ctxt_switches"])
    return out


def packets(host):
    """Sent and received."""
    link = json.loads(host.sh("ip -j -s link show dev eth0"))[0]["stats64"]
    return link["tx"]["packets"], link["rx"]["packets"]


def cpu_ms(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total / 1e6


class Node:
    def __init__(self, name, host, pid):
        self.name, self.host, self.pid = name, host, pid

    def read(self):
        return {"packets": packets(self.host), "switches": switches(self.pid), "cpu": cpu_ms(self.pid)}

    def start(self):
        self.before = self.read()

    def result(self, minutes):
        now = self.read()
        threads = {t: n - self.before["switches"].get(t, 0) for t, n in now["switches"].items()}
        sent, received = (b - a for a, b in zip(self.before["packets"], now["packets"]))
        return {"sent": sent / minutes, "received": received / minutes, "wakeups": sum(threads.values()) / minutes,
                "cpu_ms": (now["cpu"] - self.before["cpu"]) / minutes,
                "threads": {t: n / minutes for t, n in threads.items() if n}}


def make_nodes(lab):
    mine, other = lab.host("ours"), lab.host("tsnet")
    mine.start()
    mine.up("--netfilter-mode=off", key=KEY)
    end = Role(lab, other, "tsnet.log", "tsnet", "-control", lab.url, "-hostname", "tsnet", "-auth-key", KEY,
               "-dir", os.path.join(lab.dir, "tsnet"))
    address = end.call("up", Timeout=30 * SECOND)["TailscaleIPs"][0]
    mine.tailscale("ping", "--c=20", "--timeout=2s", address, check=False)
    return Node("this build", mine, mine.daemon.pid), Node("reference library", other, end.proc.pid)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--seconds", type=int, default=int(os.environ.get("BENCH_IDLE_S", "60")))
    ap.add_argument("--settle", type=int, default=150)
    ap.add_argument("--json")
    opts = ap.parse_args()
    with Lab(os.environ["BUILD_DIR"]) as lab:
        start_servers(lab, "-fake-nodes", str(PEERS))
        nodes = make_nodes(lab)
        time.sleep(opts.settle)
        for n in nodes:
            n.start()
        time.sleep(opts.seconds)
        results = {n.name: n.result(opts.seconds / 60) for n in nodes}
    print(f"idle with {PEERS + 1} peers for {opts.seconds} s, a minute")
    print(f"{'':20}{'sent':>8}{'received':>10}{'wake-ups':>10}{'CPU ms':>8}")
    for name, r in results.items():
        print(f"{name:20}{r['sent']:>8.1f}{r['received']:>10.1f}{r['wakeups']:>10.1f}{r['cpu_ms']:>8.2f}")
        print("    by thread: " + ", ".join(f"{t.split()[0]} {n:.1f}" for t, n in sorted(
            r["threads"].items(), key=lambda x: -x[1])))
    if opts.json:
        with open(opts.json, "w", encoding="utf-8") as f:
            json.dump(results, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
