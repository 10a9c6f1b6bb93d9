#!/usr/bin/python3
"""Traffic through two agents of the build in $BUILD_DIR, beside the Go engine and a plain veth (root).

Each contestant has two network namespaces of its own, joined by a veth.  Rounds alternate between them, so that what
else the machine does meets all of them alike: only the ratios inside one run mean something.

usage: datapath.py [--rounds N] [--seconds N] [--only NAME,...] [--tests NAME,...] [--pin] [--json FILE] [--svg FILE]
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
from lab import Lab, LabError, Space, wait_for  # noqa: E402

MTU = 1280
TICK = os.sysconf("SC_CLK_TCK")
GIB = float(1 << 30)
NAMES = {"veth": "plain veth", "go": "Go engine", "go-2022": "wireguard-go of Debian", "ours": "this build"}
TCP = {"tcp": [], "reverse": ["-R"], "tcp8": ["-P", "8"], "both": ["--bidir"]}
UDP = {"udp1200": ["-u", "-b", "0", "-l", "1200"], "udp64": ["-u", "-b", "0", "-l", "36"]}   # 36 + 28 = 64 bytes of IP
TESTS = [*TCP, *UDP, "ping", "ping-load"]


def cpu_seconds(pid):
    """Of all threads, user and system."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pid):
    """Resident, private and highest resident KiB."""
    out = {"rss": 0, "private": 0, "peak": 0}
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        for line in f:
            key, _, value = line.partition(":")
            if key == "Rss":
                out["rss"] = int(value.split()[0])
            elif key.startswith("Private_"):
                out["private"] += int(value.split()[0])
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        out["peak"] = int(re.search(r"VmHWM:\s+(\d+)", f.read())[1])
    return out


class Pair:
    """Two spaces, the address of the second one that is measured, and the two agents between them, if any."""

    def __init__(self, name, a, b, address, agents=()):
        self.name, self.a, self.b, self.address, self.agents = name, a, b, address, agents
        b.spawn(["iperf3", "-s"], f"iperf3-{name}.log")
        wait_for("iperf3", lambda: "LISTEN" in b.sh("ss -Hltn sport = :5201"))
        self.idle = [memory(p.pid) for p in agents]

    def pin(self):
        for cpu, agent in enumerate(self.agents):
            subprocess.run(["taskset", "-a", "-c", "-p", str(cpu % os.cpu_count()), str(agent.pid)], check=True,
                           stdout=subprocess.DEVNULL)

    def iperf(self, args, seconds):
        done = self.a.run("iperf3", "-J", "-c", self.address, "-t", str(seconds), *args, timeout=seconds + 60)
        return json.loads(done.stdout)["end"]

    def traffic(self, args, seconds):
        before = [cpu_seconds(p.pid) for p in self.agents]
        end = self.iperf(args, seconds)
        cpu = [cpu_seconds(p.pid) - c for p, c in zip(self.agents, before)]
        total = end["sum_received"]
        size, lost = total["bytes"], 0.0
        if "-u" in args:
            total = end["sum"]
            lost = total["lost_percent"]
            size = total["bytes"] * (1 - lost / 100)
        if "--bidir" in args:
            size += end["sum_received_bidir_reverse"]["bytes"]
        return {"gbit": size * 8e-9 / seconds, "lost": lost, "cpu": [c / max(size / GIB, 1e-9) for c in cpu],
                "busy": [c / seconds for c in cpu]}

    def ping(self, count, every):
        out = self.a.run("ping", "-n", "-i", str(every), "-c", str(count), "-W", "2", self.address, check=False,
                         timeout=count * every * 3 + 60).stdout
        times = sorted(float(t) for t in re.findall(r"time=([\d.]+)", out))
        if not times:
            raise LabError(f"{self.name}: no ping came back\n{out}")
        return {"p50": times[len(times) // 2], "p99": times[min(len(times) - 1, len(times) * 99 // 100)],
                "lost": 100 * (1 - len(times) / count)}

    def ping_loaded(self, seconds):
        load = self.a.spawn(["iperf3", "-c", self.address, "-t", str(seconds + 2)], "load.log")
        time.sleep(1)
        out = self.ping(seconds * 20, 0.05)
        load.wait(seconds + 30)
        return out

    def run(self, test, seconds):
        if test == "ping":
            return self.ping(200, 0.01)
        if test == "ping-load":
            return self.ping_loaded(seconds)
        return self.traffic({**TCP, **UDP}[test], seconds)


def joined(lab, name):
    """Two spaces on one wire."""
    a, b = Space(lab, name + "-a"), Space(lab, name + "-b")
    lab.cable(a, "wire", b, "wire")
    lab.address(a, "wire", "10.200.0.1", None, 24)
    lab.address(b, "wire", "10.200.0.2", None, 24)
    return a, b


def veth(lab):
    a, b = joined(lab, "veth")
    for s in (a, b):
        s.sh(f"ip link set wire mtu {MTU}")
    return Pair("veth", a, b, "10.200.0.2")


def wg_keys():
    private = subprocess.run(["openssl", "genpkey", "-algorithm", "X25519", "-outform", "DER"], check=True,
                             stdout=subprocess.PIPE).stdout
    public = subprocess.run(["openssl", "pkey", "-inform", "DER", "-pubout", "-outform", "DER"], check=True,
                            input=private, stdout=subprocess.PIPE).stdout
    return private[-32:].hex(), public[-32:].hex()


def wg_config(number, mine, other):
    return (f"private_key={mine[0]}\nlisten_port=5182{number}\nreplace_peers=true\npublic_key={other[1]}\n"
            f"endpoint=10.200.0.{3 - number}:5182{3 - number}\nreplace_allowed_ips=true\n"
            f"allowed_ip=10.9.0.{3 - number}/32\n")


def wg_address(space, number):
    space.sh(f"ip addr add 10.9.0.{number}/24 dev wgbench; ip link set wgbench mtu {MTU} up")


def go_engine(lab):
    go = shutil.which("go") or "/usr/local/go/bin/go"
    program = os.path.join(lab.dir, "engine")
    env = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
    subprocess.run([go, "build", "-o", program, "./engine"], cwd=os.path.join(TOP, "tests", "interop"), env=env,
                   check=True)
    a, b = joined(lab, "go")
    keys, agents = [wg_keys(), wg_keys()], []
    for i, space in enumerate((a, b)):
        config = os.path.join(lab.dir, f"engine{i}.conf")
        with open(config, "w", encoding="ascii") as f:
            f.write(wg_config(i + 1, keys[i], keys[1 - i]))
        agents.append(space.spawn(["sh", "-c", f'exec "{program}" wgbench {MTU} <"{config}"'], f"engine{i}.log"))
        wait_for("the engine", lambda: "ready" in lab.read(f"engine{i}.log"))
        wg_address(space, i + 1)
    return Pair("go", a, b, "10.9.0.2", agents)


def uapi_set(space, config):
    program = ("import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect('/var/run/wireguard/wgbench.sock'); "
               "s.sendall(sys.argv[1].encode()); sys.exit(b'errno=0' not in s.recv(99))")
    space.run("/usr/bin/python3", "-c", program, f"set=1\n{config}\n")


def go_2022(lab):
    a, b = joined(lab, "go-2022")
    keys, agents = [wg_keys(), wg_keys()], []
    for i, space in enumerate((a, b)):
        agents.append(space.spawn(["wireguard-go", "-f", "wgbench"], f"go-2022-{i}.log",
                                  {"WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1"}))
        wait_for("wireguard-go", lambda: space.run("test", "-S", "/var/run/wireguard/wgbench.sock",
                                                   check=False).returncode == 0)
        uapi_set(space, wg_config(i + 1, keys[i], keys[1 - i]))
        wg_address(space, i + 1)
    return Pair("go-2022", a, b, "10.9.0.2", agents)


def ours(lab):
    lab.servers("--gather", "0.1")
    a, b = lab.host("ours-a"), lab.host("ours-b")
    lab.cable(a, "wire", b, "wire")
    for number, here, there in ((1, a, b), (2, b, a)):
        lab.address(here, "wire", f"10.200.0.{number}", None, 24)
        here.sh(f"ip route add unreachable {there.address}/32")   # so that the wire is the only direct path
    for h in (a, b):
        h.start()
        h.up("--netfilter-mode=off")
    address = b.ip
    a.wait_peer(b)
    wait_for("a reply", lambda: a.ping(address), 20)
    wait_for("the path over the wire", lambda: a.path(b).startswith("10.200.") and b.path(a).startswith("10.200."), 30)
    return Pair("ours", a, b, address, (a.daemon, b.daemon))


MAKERS = {"veth": veth, "go-2022": go_2022, "go": go_engine, "ours": ours}


def median(values):
    return statistics.median(values)


def spread(values, digits=2):
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def show(results, pairs, tests):
    for test in tests:
        print(f"\n{test}")
        for name in results:
            rows = results[name].get(test, [])
            if not rows:
                continue
            if test.startswith("ping"):
                text = (f"p50 {spread([r['p50'] for r in rows], 3)} ms   p99 {spread([r['p99'] for r in rows], 3)} ms   "
                        f"lost {median([r['lost'] for r in rows]):.1f} %")
            else:
                text = f"{spread([r['gbit'] for r in rows])} Gbit/s"
                if test in UDP:
                    text += f"   lost {median([r['lost'] for r in rows]):.1f} %"
                if rows[0]["cpu"]:
                    text += "   CPU s per GiB " + ", ".join(f"{median([r['cpu'][i] for r in rows]):.2f}" for i in (0, 1))
                    text += "   busy " + ", ".join(f"{median([r['busy'][i] for r in rows]):.2f}" for i in (0, 1))
            print(f"  {NAMES[name]:24} {text}")
    print("\nmemory in KiB: resident and private idle, the same after the load, highest resident")
    for p in pairs:
        for side, agent, idle in zip("ab", p.agents, p.idle):
            now = memory(agent.pid)
            p.memory.append({"idle": idle, "loaded": now})
            print(f"  {NAMES[p.name]:24} {side}  {idle['rss']:7} {idle['private']:7}   {now['rss']:7} {now['private']:7}"
                  f"   {now['peak']:7}")


def ratios(results, tests):
    """Ours by the Go engine's, round by round."""
    if not {"ours", "go"} <= results.keys():
        return
    print("\nthis build / Go engine")
    for test in tests:
        mine, other = results["ours"].get(test), results["go"].get(test)
        if not mine or not other:
            continue
        if test.startswith("ping"):
            pick = {"p50": lambda r: r["p50"], "p99": lambda r: r["p99"]}
        else:
            pick = {"throughput": lambda r: r["gbit"], "CPU out": lambda r: r["cpu"][0], "CPU in": lambda r: r["cpu"][1]}
        print(f"  {test:10} " + "   ".join(
            f"{what} {spread([f(m) / max(f(o), 1e-9) for m, o in zip(mine, other)])}" for what, f in pick.items()))


def instructions(build):
    """Of ours, for a packet of 1,280 bytes on its way out and in, system calls not counted; None without valgrind."""
    program, few, many, burst = os.path.join(build, "tests/bench/walk_bench"), 10, 110, 48
    if shutil.which("valgrind") is None:
        return None

    def total(way, units):
        out = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, way, str(units)],
                             check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True).stderr
        return int(re.search(r"Collected : (\d+)", out)[1])

    out, both = ((total(way, many) - total(way, few)) / (many - few) / burst for way in ("out", "both"))
    return {"out": round(out), "in": round(both - out)}


def draw(path, results, tests):
    """Bars of throughput, with gnuplot."""
    tests = [t for t in tests if not t.startswith("ping")]
    names = list(results)
    rows = "".join(" ".join([f'"{t}"'] + [f"{median([r['gbit'] for r in results[n][t]]):.3f}" for n in names]) + "\n"
                   for t in tests)
    plots = ", ".join(f"$d using {i + 2}:xtic(1) title '{NAMES[n]}'" for i, n in enumerate(names))
    script = (f"set terminal svg size 900,420 font 'sans,12' background 'white'\nset output '{path}'\n"
              "set style data histograms\nset style fill solid 0.8 border -1\nset ylabel 'Gbit/s'\nset yrange [0:]\n"
              f"set grid ytics\nset key top right\n$d << END\n{rows}END\nplot {plots}\n")
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--seconds", type=int, default=5)
    ap.add_argument("--only", default="veth,go-2022,go,ours")
    ap.add_argument("--tests", default=",".join(TESTS))
    ap.add_argument("--pin", action="store_true", help="each agent to one processor")
    ap.add_argument("--json")
    ap.add_argument("--svg")
    opts = ap.parse_args()
    names, tests = opts.only.split(","), opts.tests.split(",")
    for what, known in ((names, MAKERS), (tests, TESTS)):
        if bad := [w for w in what if w not in known]:
            ap.error(f"{bad[0]}: there are {', '.join(known)}")
    results = {n: {} for n in names}
    with Lab(os.environ["BUILD_DIR"]) as lab:
        pairs = [MAKERS[n](lab) for n in names]
        for p in pairs:
            p.memory = []
            if opts.pin:
                p.pin()
        for _ in range(opts.rounds):
            for test in tests:
                for p in pairs:
                    results[p.name].setdefault(test, []).append(p.run(test, opts.seconds))
        show(results, pairs, tests)
        ratios(results, tests)
        walk = instructions(os.environ["BUILD_DIR"])
        print("\ninstructions of this build for a packet of 1,280 bytes, without system calls: " +
              (f"out {walk['out']}, in {walk['in']}" if walk else "valgrind is missing"))
        if opts.json:
            with open(opts.json, "w", encoding="utf-8") as f:
                json.dump({"rounds": opts.rounds, "seconds": opts.seconds, "pinned": opts.pin, "results": results, "instructions": walk,
                           "memory": {p.name: p.memory for p in pairs}}, f, indent=1)
        if opts.svg:
            draw(opts.svg, results, tests)
    return 0


if __name__ == "__main__":
    sys.exit(main())
