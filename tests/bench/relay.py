#!/usr/bin/python3
"""Traffic of two agents of the build in $BUILD_DIR over a relay, beside two nodes of the reference library (root, Go).

Four hosts in network namespaces share the reference's relay, TLS as always; UDP gets no further than its STUN server.
Rounds alternate between the pairs: only the ratios inside one run mean something.  The same program speaks TCP at both
ends of both pairs: one stream, and beside it single bytes that come back.  With this build it is a process of its own;
in the reference's nodes it is part of the agent, as is their TCP.

usage: relay.py [--rounds N] [--seconds N] [--only NAME,...] [--json FILE]
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lab"))
sys.path.insert(0, os.path.join(TOP, "tests", "bench"))
from datapath import GIB, cpu_seconds, memory, spread  # noqa: E402
from lab import RELAY, Lab, LabError, wait_for  # noqa: E402

PORT, KEY = 7000, "bench-key"
SECOND = 10**9
STEP = SECOND // 50            # between two bytes of a chat
NAMES = {"ours": "this build", "tsnet": "reference library"}


class Role:
    """A process of the interop program, asked line by line."""

    def __init__(self, lab, space, log, *args):
        self.name, self.number = log, 0
        with open(os.path.join(lab.dir, log), "ab") as out:
            self.proc = subprocess.Popen(space.argv([lab.interop, *args]), stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=out, text=True,
                                         env={**os.environ, "TS_NO_LOGS_NO_SUPPORT": "true"})
        lab.cleanup.callback(self.end)

    def end(self):
        self.proc.stdin.close()
        try:
            self.proc.wait(3)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        self.proc.stdout.close()

    def call(self, op, **args):
        self.number += 1
        self.proc.stdin.write(json.dumps({"ID": self.number, "Op": op, "Args": args}) + "\n")
        self.proc.stdin.flush()
        line = self.proc.stdout.readline()
        if not line:
            raise LabError(f"{self.name}: {op}: the process ended")
        answer = json.loads(line)
        if answer.get("Error"):
            raise LabError(f"{self.name}: {op}: {answer['Error']}")
        return answer.get("Result")


class Pair:
    """Who speaks at both ends, the process ids of the two agents, and the host that can ping, if any."""

    def __init__(self, name, ends, agents, address, pinger=None):
        self.name, self.ends, self.agents, self.address, self.pinger = name, ends, agents, address, pinger
        ends[1].call("listen", Port=PORT)
        self.chat(SECOND)
        self.idle = [memory(p) for p in agents]

    def chat_start(self):
        self.ends[0].call("chat-start", ID=1, Addr=self.address, Interval=STEP)

    def chat_stop(self):
        done = self.ends[0].call("chat-stop", ID=1, Timeout=5 * SECOND)
        if done.get("Error") or len(done["Replies"]) < 3:
            raise LabError(f"{self.name}: {done}")
        replies = done["Replies"]
        return quantiles([(b - a - STEP) / 1e6 for a, b in zip(replies[1:], replies[2:])])

    def chat(self, ns):
        self.chat_start()
        time.sleep(ns / SECOND)
        return self.chat_stop()

    def ping_start(self, seconds):
        return self.pinger and subprocess.Popen(
            self.pinger.argv(["ping", "-n", "-i", "0.02", "-w", str(seconds), self.address]), stdout=subprocess.PIPE, text=True)

    @staticmethod
    def ping_stop(ping):
        if not ping:
            return None
        out, _ = ping.communicate(timeout=60)
        sent = int(re.search(r"(\d+) packets transmitted", out)[1])
        times = [float(t) for t in re.findall(r"time=([\d.]+)", out)]
        if not times:
            raise LabError(f"no ping came back\n{out}")
        return {**quantiles(times), "lost": 100 * (1 - len(times) / sent)}

    def stream(self, seconds, relay):
        watched = [*self.agents, relay]
        before = [cpu_seconds(p) for p in watched]
        done = self.ends[0].call("stream", Addr=self.address, Interval=seconds * SECOND, Timeout=(seconds + 60) * SECOND)
        cpu = [cpu_seconds(p) - c for p, c in zip(watched, before)]
        size = done["Bytes"]
        return {"gbit": size * 8e-9 / done["Seconds"], "cpu": [c / (size / GIB) for c in cpu],
                "busy": [c / done["Seconds"] for c in cpu]}

    def run(self, seconds, relay):
        out = {"idle": self.chat(2 * SECOND), "ping_idle": self.ping_stop(self.ping_start(2))}
        out.update(self.stream(seconds, relay))
        self.chat_start()
        ping = self.ping_start(seconds)
        self.stream(seconds, relay)
        out["loaded"], out["ping_loaded"] = self.chat_stop(), self.ping_stop(ping)
        return out


def quantiles(times):
    times = sorted(times)
    return {"p50": times[len(times) // 2], "p99": times[min(len(times) - 1, len(times) * 99 // 100)], "max": times[-1]}




def shut(host):
    """UDP reaches the STUN server alone."""
    host.sh("nft -f - <<'END'\ntable inet shut {\n\tchain out {\n\t\ttype filter hook output priority 0;\n"
            f"\t\toifname \"eth0\" meta l4proto udp ip daddr != {RELAY} drop\n\t}}\n}}\nEND")


def ours(lab):
    a, b = lab.host("ours-a"), lab.host("ours-b")
    for h in (a, b):
        shut(h)
        h.start()
        h.up("--netfilter-mode=off", key=KEY)
    address = b.ip
    a.wait_peer(b)
    wait_for("a reply", lambda: a.ping(address), 20)
    ends = [Role(lab, h, f"{h.name}-end.log", "host") for h in (a, b)]
    return Pair("ours", ends, [h.daemon.pid for h in (a, b)], address, a)


def tsnet(lab):
    ends, addresses = [], []
    for name in ("tsnet-a", "tsnet-b"):
        host = lab.host(name)
        shut(host)
        end = Role(lab, host, f"{name}.log", "tsnet", "-control", lab.url, "-hostname", name, "-auth-key", KEY,
                   "-dir", os.path.join(lab.dir, name))
        addresses.append(end.call("up", Timeout=30 * SECOND)["TailscaleIPs"][0])
        ends.append(end)
    return Pair("tsnet", ends, [e.proc.pid for e in ends], addresses[1])


MAKERS = {"ours": ours, "tsnet": tsnet}


def start_servers(lab, *flags):
    """Returns the id of the process that is relay and control server."""
    go = shutil.which(os.environ.get("GO", "go")) or "/usr/local/go/bin/go"
    lab.interop = os.path.join(lab.dir, "interop")
    subprocess.run([go, "build", "-o", lab.interop, "."], cwd=os.path.join(TOP, "tests", "interop"), check=True,
                   env={**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"})
    servers = Role(lab, lab.net, "servers.log", "servers", "-listen", RELAY, "-control-port", "8080", "-derp-port", "443",
                   "-stun-port", "3478", "-auth-key", KEY, *flags)
    lab.url = f"http://{RELAY}:8080"
    servers.call("derpmap")
    return servers.proc.pid


def milliseconds(rows, what):
    rows = [r[what] for r in rows if r[what]]
    if not rows:
        return "-"
    return f"{spread([r['p50'] for r in rows])} / {spread([r['p99'] for r in rows])}" + (
        f", lost {statistics.median([r['lost'] for r in rows]):.1f} %" if "lost" in rows[0] else "")


def show(results, pairs):
    for p in pairs:
        rows = results[p.name]
        cpu = [spread([r["cpu"][i] for r in rows], 1) for i in range(3)]
        print(f"\n{NAMES[p.name]}")
        print(f"  one TCP stream             {spread([r['gbit'] for r in rows], 3)} Gbit/s")
        print(f"  CPU s per GiB              sender {cpu[0]}   receiver {cpu[1]}   relay {cpu[2]}")
        print("  busy                       " + "   ".join(
            f"{w} {statistics.median([r['busy'][i] for r in rows]):.2f}" for i, w in enumerate(("sender", "receiver", "relay"))))
        print(f"  TCP echo ms, p50 / p99     idle {milliseconds(rows, 'idle')}   loaded {milliseconds(rows, 'loaded')}")
        if p.pinger:
            print(f"  ping ms, p50 / p99         idle {milliseconds(rows, 'ping_idle')}   loaded {milliseconds(rows, 'ping_loaded')}")
        for side, agent, idle in zip(("sender", "receiver"), p.agents, p.idle):
            now = memory(agent)
            p.memory.append({"idle": idle, "loaded": now})
            print(f"  private memory KiB         {side} {idle['private']} idle, {now['private']} after the load")
    if len(pairs) == 2:
        mine, other = results["ours"], results["tsnet"]
        print("\nthis build / reference library, round by round")
        for what, pick in (("throughput", lambda r: r["gbit"]), ("CPU sender", lambda r: r["cpu"][0]),
                           ("CPU receiver", lambda r: r["cpu"][1]), ("echo p99 loaded", lambda r: r["loaded"]["p99"])):
            print(f"  {what:16} {spread([pick(m) / max(pick(o), 1e-9) for m, o in zip(mine, other)])}")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--seconds", type=int, default=5)
    ap.add_argument("--only", default="ours,tsnet")
    ap.add_argument("--json")
    opts = ap.parse_args()
    names = opts.only.split(",")
    if bad := [n for n in names if n not in MAKERS]:
        ap.error(f"{bad[0]}: there are {', '.join(MAKERS)}")
    with Lab(os.environ["BUILD_DIR"]) as lab:
        relay = start_servers(lab)
        pairs = [MAKERS[n](lab) for n in names]
        results = {n: [] for n in names}
        for p in pairs:
            p.memory = []
        for _ in range(opts.rounds):
            for p in pairs:
                results[p.name].append(p.run(opts.seconds, relay))
        show(results, pairs)
        if opts.json:
            with open(opts.json, "w", encoding="utf-8") as f:
                json.dump({"rounds": opts.rounds, "seconds": opts.seconds, "results": results,
                           "memory": {p.name: p.memory for p in pairs}}, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
