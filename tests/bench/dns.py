#!/usr/bin/python3
"""Questions to our resolver and to the reference's, as libraries, in the same run: time from question to answer.

One question after the other, 1000 peers in the map; what is forwarded goes to one upstream on the loopback, which both
ask.  Rounds alternate.  Prints what it measured and judges nothing.

usage: dns.py [--questions N] [--rounds N]     BUILD_DIR names the build; GO the go command, if not "go"
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GO = os.environ.get("GO", "go")


def figures(argv, questions):
    with open(questions, "rb") as f:
        done = subprocess.run(argv, stdin=f, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    return {kind: (float(p50), float(p99)) for kind, p50, p99 in (line.split("\t") for line in done.stdout.splitlines())}


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--questions", type=int, default=10000)
    args.add_argument("--rounds", type=int, default=3)
    args = args.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        theirs, questions = os.path.join(folder, "resolver"), os.path.join(folder, "questions")
        subprocess.run([GO, "build", "-o", theirs, "./resolver"], cwd=os.path.join(TOP, "tests", "interop"), check=True,
                       env={**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"})
        ours = os.path.join(os.environ["BUILD_DIR"], "tests", "bench", "dns_bench")
        with open(questions, "wb") as f:
            subprocess.run([theirs, "write", str(args.questions)], stdout=f, check=True)
        with subprocess.Popen([theirs, "serve"], stdout=subprocess.PIPE, text=True) as upstream:
            try:
                address = upstream.stdout.readline().strip()
                rounds = [(figures([ours, address], questions), figures([theirs, "ask", address], questions))
                          for _ in range(args.rounds)]
            finally:
                upstream.kill()
    print(f"{args.questions} questions of each kind, median of {args.rounds} rounds, microseconds")
    print(f"{'':14} {'ours p50':>10} {'p99':>9} {'Go p50':>10} {'p99':>9}")
    for kind in rounds[0][0]:
        numbers = [statistics.median(r[who][kind][part] for r in rounds) for who in (0, 1) for part in (0, 1)]
        print(f"{kind:14} {numbers[0]:10.2f} {numbers[1]:9.2f} {numbers[2]:10.2f} {numbers[3]:9.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
