#!/usr/bin/env python3
"""Holds the built programs to their hardening, by reading the binaries and not the flags that were meant.

  binaries.py PROGRAM...          prints what each lacks, exits 1 if anything
  binaries.py --self-test CC      builds a small program with and without each property and wants the lack found

Wanted: position independent, RELRO with all symbols bound at start, no executable stack, no segment that is
writable and executable, stack protector, fortified calls, landing pads for indirect branches on x86-64, no
search path of its own for libraries.
"""
import os
import re
import subprocess
import sys
import tempfile

FORTIFIED = re.compile(r"\b__(?:v?snprintf|v?fprintf|v?printf|memcpy|read|recv|recvfrom|explicit_bzero|fdelt|strncpy)_chk\b")


def readelf(path, *what):
    done = subprocess.run(["readelf", "-W", *what, path], capture_output=True, text=True, check=True,
                          env={**os.environ, "LC_ALL": "C"})
    return done.stdout


def code_has_landing_pads(path):
    """Does main() begin with one?"""
    done = subprocess.run(["objdump", "-d", "--disassemble=main", path], capture_output=True, text=True, check=True)
    return re.search(r"<main>:\n.*\bendbr64\b", done.stdout) is not None


def lacks(path):
    """What this program should have and has not."""
    head, segments, dynamic = readelf(path, "-h"), readelf(path, "-l"), readelf(path, "-d")
    symbols = readelf(path, "--dyn-syms")
    out = []
    if not re.search(r"Type:\s+DYN", head) or "INTERP" not in segments:
        out.append("position independent code (-pie)")
    if "GNU_RELRO" not in segments:
        out.append("RELRO (-z relro)")
    if not re.search(r"\(FLAGS_1\).*\bNOW\b", dynamic) and "BIND_NOW" not in dynamic:
        out.append("binding at start (-z now)")
    stack = re.search(r"GNU_STACK(?:\s+0x\w+){5}\s+(\S+)", segments)
    if not stack or "E" in stack[1]:
        out.append("a stack that is not executable (-z noexecstack)")
    if re.search(r"^\s+LOAD.*\sRWE\s", segments, re.M):
        out.append("segments that are not both writable and executable")
    if "__stack_chk_fail" not in symbols:
        out.append("the stack protector (-fstack-protector-strong)")
    if not FORTIFIED.search(symbols):
        out.append("fortified calls (_FORTIFY_SOURCE)")
    if re.search(r"Machine:.*X86-64", head):
        # The note itself also depends on how the C library's start files were built.
        if not code_has_landing_pads(path):
            out.append("landing pads for indirect branches (-fcf-protection)")
    if re.search(r"\((RPATH|RUNPATH)\)", dynamic):
        out.append("no library path of its own (rpath)")
    return out


SAMPLE = r"""
#include <stdio.h>
int main(int argc, char **argv)
{
        char text[16];
        snprintf(text, sizeof(text) + (size_t)argc - 1, "%s", argv[0]);
        return text[0];
}
"""
GOOD = ["-O2", "-fPIE", "-pie", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack", "-fstack-protector-strong",
        "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2", "-fcf-protection"]
# What is put in the place of what, and the part of the finding that must appear.
FAULTS = [
    (["-pie", "-fPIE"], ["-no-pie", "-fno-pie"], "position independent"),
    (["-Wl,-z,relro", "-Wl,-z,now"], ["-Wl,-z,norelro", "-Wl,-z,lazy"], "RELRO"),
    (["-Wl,-z,now"], ["-Wl,-z,lazy"], "binding at start"),
    (["-Wl,-z,noexecstack"], ["-Wl,-z,execstack"], "not executable"),
    (["-fstack-protector-strong"], ["-fno-stack-protector"], "stack protector"),
    (["-D_FORTIFY_SOURCE=2"], [], "fortified"),
    ([], ["-Wl,-rpath,/tmp"], "rpath"),
]
X86_FAULTS = [(["-fcf-protection"], ["-fcf-protection=none"], "landing pads")]


def self_test(cc):
    wrong = 0
    machine = subprocess.run([*cc, "-dumpmachine"], capture_output=True, text=True).stdout
    faults = [([], [], None)] + FAULTS + (X86_FAULTS if machine.startswith("x86_64") else [])
    if not machine.startswith("x86_64"):
        GOOD.remove("-fcf-protection")
    with tempfile.TemporaryDirectory() as folder:
        source, program = os.path.join(folder, "a.c"), os.path.join(folder, "a")
        with open(source, "w", encoding="utf-8") as f:
            f.write(SAMPLE)
        for gone, put, want in faults:
            flags = [f for f in GOOD if f not in gone] + put
            subprocess.run([*cc, *flags, source, "-o", program], check=True, stderr=subprocess.DEVNULL)
            found = lacks(program)
            if bool(found) != (want is not None) or (want and not any(want in f for f in found)):
                wrong += 1
                print(f"{' '.join(flags)}\n  wanted {want or 'nothing'}, found {found or 'nothing'}")
    print(f"{len(faults)} builds, {wrong} wrong")
    return 1 if wrong else 0


def main(argv):
    if argv[:1] == ["--self-test"] and len(argv) > 1:
        return self_test(argv[1:])
    if not argv:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    findings = [f"{os.path.basename(path)} lacks {what}" for path in argv for what in lacks(path)]
    print("\n".join(findings + [f"{len(argv)} programs, {len(findings)} findings"]))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
