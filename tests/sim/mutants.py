#!/usr/bin/python3
"""Puts faults into copies of the sources, one at a time, and expects the simulator to find each.

usage: tests/sim/mutants.py [--check] [--seeds N] [--jobs N] [NAME...]

Prints for each how many seeds it took.  A fault that N seeds do not find fails the run, and so does one whose text is not
in its file any more; --check looks for that alone, in a moment.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# name: file, text, what stands there instead
MUTANTS = {
    "call dropped": ("magicsock/disco_io.c",
                     "ms_peer_on_call(&s->peer, ms->msg.cmm.eps, ms->msg.cmm.count, now, &ms->out);", ";"),
    "trust far too long": ("magicsock/peer.h", "#define MS_PEER_TRUST_NS (6500 * NS_PER_MS)",
                           "#define MS_PEER_TRUST_NS (650 * NS_PER_SEC)"),
    "peer forgotten at rebind": ("magicsock/reach.c", "ms_peer_on_rebind(&s->peer, now, &ms->out);",
                                 "if (i % 2) ms_peer_on_rebind(&s->peer, now, &ms->out);"),
    "relay never dialed again": ("magicsock/derp_conn.c", "case CONN_BACKOFF:\n                dial(c, now);",
                                 "case CONN_BACKOFF:"),
    "pongs to nobody": ("magicsock/disco_io.c", "compose_pong(ms, a, a->addr);",
                        "if (a->txid.b[0] < 128)\nbreak;\ncompose_pong(ms, a, a->addr);"),
    "next offer drops the one in use": ("wg/session.c", "retire(k, k->next, t);", "drop(&k->next, t);"),
    "packet leaked": ("magicsock/derp_wait.c", "pkt_release(c->mgr->pool, pkt_queue_pop(&c->queue));",
                      "if (c->queue.count > 2)\npkt_queue_pop(&c->queue);\nelse\n"
                      "pkt_release(c->mgr->pool, pkt_queue_pop(&c->queue));"),
    "home told too soon": ("magicsock/home.c", "return ms_home_is_down(ms) ? derp_mgr_told(ms->derp) : derp_mgr_home(ms->derp);",
                           "return derp_mgr_home(ms->derp);"),
    "silent relay not asked": ("magicsock/derp_conn.c", "SILENT_MS = 67000,", "SILENT_MS = 120000,"),
    "idle nodes ask on": ("magicsock/reach.c", "mono_diff_ns(now, ms->last_traffic) <= IDLE_NS", "now.ns > 0"),
}


def copy_tree(to):
    def skip(folder, names):
        top = os.path.samefile(folder, TOP)
        return [n for n in names if n in (".git", "__pycache__") or (top and n.startswith("build"))]
    shutil.copytree(TOP, to, ignore=skip, symlinks=True)


def run(argv, **kw):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **kw)


def build(tree):
    p = run(["ninja", "-C", os.path.join(tree, "build"), "tests/sim/sim"])
    if p.returncode != 0:
        print("\n".join(p.stdout.splitlines()[-20:]))
    return p.returncode == 0


def seeds_until_found(tree, most, jobs):
    """None: it was not found."""
    p = run([os.path.join(tree, "build/tests/sim/sim"), "-s", "1", "-n", str(most), "-j", str(jobs), "-x"])
    found = [int(n) for n in re.findall(r"^FAIL seed (\d+)", p.stdout, re.M)]
    if not found:
        return None, ""
    seed = min(found)
    return seed, re.search(rf"^FAIL seed {seed}: (.*)$", p.stdout, re.M)[1]


def source_of(tree, name):
    """The file the fault goes into and its text, or None where there is no single place for it."""
    path, old, _ = MUTANTS[name]
    file = os.path.join(tree, path)
    with open(file, encoding="utf-8") as f:
        text = f.read()
    if text.count(old) == 1:
        return file, text
    print(f"FAIL {name}: its text stands {text.count(old)} times in {path}")
    return None


def try_one(tree, name, most, jobs):
    _, old, new = MUTANTS[name]
    found = source_of(tree, name)
    if found is None:
        return False
    file, text = found
    with open(file, "w", encoding="utf-8") as f:
        f.write(text.replace(old, new))
    try:
        if not build(tree):
            print(f"FAIL {name}: does not build")
            return False
        seed, why = seeds_until_found(tree, most, jobs)
    finally:
        with open(file, "w", encoding="utf-8") as f:
            f.write(text)
    if seed is None:
        print(f"FAIL {name}: not found by {most} seeds", flush=True)
        return False
    print(f"{name}: found by seed {seed} of 1 and on: {why}", flush=True)
    return True


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--check", action="store_true")
    p.add_argument("--seeds", type=int, default=10000)
    p.add_argument("--jobs", type=int, default=os.cpu_count())
    p.add_argument("names", nargs="*", metavar="NAME")
    args = p.parse_args()
    unknown = [n for n in args.names if n not in MUTANTS]
    if unknown:
        sys.exit(f"unknown fault {unknown[0]!r}; there are: {', '.join(MUTANTS)}")
    if args.check:
        sys.exit(0 if all([source_of(TOP, n) for n in args.names or MUTANTS]) else 1)
    with tempfile.TemporaryDirectory(prefix="mutants") as tmp:
        tree = os.path.join(tmp, "tree")
        copy_tree(tree)
        p = run(["meson", "setup", os.path.join(tree, "build"), tree])
        if p.returncode != 0 or not build(tree):
            sys.exit(p.stdout)
        good = [try_one(tree, n, args.seeds, args.jobs) for n in args.names or MUTANTS]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
