#!/usr/bin/python3
"""A mesh of two hosts behind NAT, shown as a person would type it: BUILD_DIR=build tests/lab/demo.py

Makes its network in namespaces, runs every command for real, and takes all of it away again, also on Ctrl-C.
The exit status is 0 only if every step did what it says.
"""
import os
import re
import shlex
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lab import CONTROL, Lab, LabError, RELAY, end, wait_for   # noqa: E402

DRAWING = f"""
   alpha 192.168.1.2 --- NAT 203.0.113.11 ---+--- 203.0.113.12 NAT --- 192.168.2.2 beta
                                             |
                          control {CONTROL}:8090, relay {RELAY}:443
"""


class Failed(Exception):
    """A step did not do what it was meant to show."""


def say(text):
    print(f"\n\033[1m# {text}\033[0m" if sys.stdout.isatty() else f"\n# {text}", flush=True)


def show(host, line, ok=(0,), timeout=60):
    """Prints the command line and what it writes; returns that."""
    print(f"{host.name}$ {line}", flush=True)
    tool = shlex.quote(os.path.dirname(host.lab.tailscale))
    done = host.run("sh", "-c", f"PATH={tool}:$PATH; cd /run; {line}", check=False, timeout=timeout,
                    env=host.lab.env)
    text = done.stdout + done.stderr
    print(text.rstrip("\n") + "\n" if text.strip() else "", end="", flush=True)
    if done.returncode not in ok:
        raise Failed(f"exit status {done.returncode}")
    return text


def expect(what, condition):
    if not condition:
        raise Failed(f"expected: {what}")


def login(lab, alpha, beta):
    say("Two hosts log in with a key each.")
    for host in (alpha, beta):
        host.start()
        show(host, f"tailscale up --login-server {lab.url} --auth-key {lab.key()} --hostname {host.name}")
    for one, other in ((alpha, beta), (beta, alpha)):
        one.wait_peer(other, test=lambda p: p["Relay"])


def over_the_relay(alpha, beta):
    say("Their routers let no datagram pass between them yet, so the relay carries the first packets.")
    text = show(alpha, f"ping -c 3 -i 0.3 {beta.ip}")
    expect("three replies", " 3 received" in text)
    text = show(alpha, "tailscale ping --c 1 --until-direct=false beta")
    expect("an answer over the relay", "via DERP(lab0) in" in text)
    expect("the path is the relay", 'active; relay "lab0"' in show(alpha, "tailscale status"))


def direct(alpha, beta):
    say("The routers open up, the path becomes direct.")
    for host in (alpha, beta):
        host.router.open()
    text = show(alpha, "tailscale ping --c 20 beta")
    expect("the last answer came directly", re.search(r"via 203\.0\.113\.12:\d+ in \d+m?s\s*\Z", text))
    wait_for("beta is direct as well", lambda: beta.path(alpha))
    expect("the path is direct", "active; direct 203.0.113.12:" in show(alpha, "tailscale status"))
    expect("UDP works", "UDP: true" in show(beta, "tailscale netcheck"))


def traffic(alpha, beta):
    say("Programs use the tunnel: a speed test ...")
    server = beta.spawn(["iperf3", "-s", "-1"], "iperf3.log")
    wait_for("iperf3 listens", lambda: ":5201" in beta.sh("ss -Hltn"))
    text = show(alpha, f"iperf3 -c {beta.ip} -t 3 -i 0")
    expect("a rate", re.search(r"bits/sec\s+receiver", text))
    end(server)

    say("... and a file copy.")
    copy = beta.spawn(["sh", "-c", "exec nc -l 9000 > /run/holiday.mov"], "nc.log")
    wait_for("nc listens", lambda: ":9000" in beta.sh("ss -Hltn"))
    print("beta$ nc -l 9000 > holiday.mov &")
    show(alpha, "head -c 33554432 /dev/urandom > holiday.mov")
    show(alpha, f"nc -N {beta.ip} 9000 < holiday.mov")
    copy.wait(20)
    sums = [show(host, "sha256sum holiday.mov").split()[0] for host in (alpha, beta)]
    expect("equal checksums", sums[0] == sums[1])
    print(f"The checksums agree: {sums[0][:16]}...")


def leave(alpha, beta):
    say("Goodbye: the daemons stop and leave their hosts as they were.")
    for host in (alpha, beta):
        expect("exit status 0", host.stop() == 0)
        expect("no interface, rule, route or socket is left", host.snapshot() == host.before)
    show(alpha, "ip -brief link; ip rule")


def run(build):
    with Lab(build) as lab:
        lab.servers()
        alpha, beta = lab.pair()
        for host in (alpha, beta):
            host.router.block_direct()
            host.before = host.snapshot()
        print(DRAWING)
        login(lab, alpha, beta)
        over_the_relay(alpha, beta)
        direct(alpha, beta)
        traffic(alpha, beta)
        leave(alpha, beta)
        lab.audit()


def interrupted(signum, frame):
    raise KeyboardInterrupt


def main():
    build = os.environ.get("BUILD_DIR")
    if not build or not os.path.exists(os.path.join(build, "daemon", "tailscaled")):
        sys.exit("demo: BUILD_DIR must name a build folder")
    if os.geteuid() != 0:
        sys.exit("demo: network namespaces need root")
    signal.signal(signal.SIGTERM, interrupted)
    start = time.monotonic()
    try:
        run(os.path.abspath(build))
    except KeyboardInterrupt:
        print("\ndemo: interrupted; everything is taken away again", file=sys.stderr)
        sys.exit(130)
    except (Failed, LabError) as e:
        sys.exit(f"demo: failed: {e}")
    say(f"All of it worked, in {time.monotonic() - start:.0f} seconds.")


if __name__ == "__main__":
    main()
