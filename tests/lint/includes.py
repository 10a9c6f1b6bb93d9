#!/usr/bin/env python3
"""Holds the C sources to the layering: which folder may include which, and which calls nobody makes.

  includes.py ROOT        checks the tree, prints FILE:LINE: reason for each finding, exits 1 if any
  includes.py --self-test plants each kind of mistake in a folder of its own and wants it found

Includes of the project are written from its root.  The order of the layers, lowest first: base;
wg, tun, netcheck, portmap; magicsock; the parts of the daemon; the daemon; the command line beside it.
"""
import re
import sys
import tempfile
from pathlib import Path

# Folder -> folders it may include from; files right in daemon/ are the folder "daemon".
MAY_INCLUDE = {
    "base": {"base"},
    "wg": {"base", "wg"},
    "tun": {"base", "tun"},
    "netcheck": {"base", "netcheck"},
    "portmap": {"base", "portmap"},
    "magicsock": {"base", "netcheck", "portmap", "magicsock"},
    "daemon/control": {"base", "daemon/control"},
    "daemon/host": {"base", "daemon/host"},
    "daemon/netstack": {"base", "daemon/netstack"},
    "daemon/dns": {"base", "daemon/netstack", "daemon/dns"},
    "daemon/http": {"base", "daemon/http"},
    "daemon/localapi": {"base", "daemon/http", "daemon/localapi"},
    "daemon/peerapi": {"base", "daemon/http", "daemon/peerapi"},
    "daemon/proxy": {"base", "daemon/dns", "daemon/netstack", "daemon/proxy"},
    "daemon": {"base", "wg", "tun", "netcheck", "portmap", "magicsock", "daemon", "daemon/control", "daemon/host",
               "daemon/dns", "daemon/localapi", "daemon/netstack", "daemon/peerapi", "daemon/proxy"},
    "cli": {"base", "daemon/localapi", "cli"},
}
TESTS = "tests"  # may include anything
# Unbounded copies, shells, names in a shared folder that somebody else may take first.
BANNED = ("strcpy", "strcat", "stpcpy", "strncpy", "strncat", "sprintf", "vsprintf", "gets", "alloca", "strtok",
          "system", "popen", "wordexp", "mktemp", "tmpnam", "tempnam")
# Of the programs only, not of their tests: one file starts processes, and no word from outside is among their
# arguments; JSON enters by the one parser whose depth is bounded; and C's own generators have no place beside
# crypto_random().
PRODUCT_BANNED = ("fork", "vfork", "execl", "execlp", "execle", "execv", "execve", "execvp", "execvpe", "fexecve",
                  "execveat", "posix_spawn", "posix_spawnp", "json_loads", "json_loadb", "json_load_file",
                  "json_loadf", "json_loadfd", "json_load_callback", "rand", "random", "srand", "srandom", "rand_r")
PRODUCT_ALLOWED = {"base/json.c": {"json_loadb"}, "daemon/host/runprog.c": {"posix_spawn"}}

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]*)"')
SYSTEM_INCLUDE = re.compile(r"^\s*#\s*include\s*<([^>]*)>")
CALL = re.compile(r"(?<![\w.>])(%s)\s*\(" % "|".join(BANNED + PRODUCT_BANNED))
# A comment, a string or a character: none of them holds a call.
NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def folder_of(path):
    """The layer of a path relative to the root, or None if it is in none."""
    parts = path.split("/")
    for depth in (2, 1):
        name = "/".join(parts[:depth])
        if len(parts) > depth and name in MAY_INCLUDE:
            return name
    return TESTS if parts[0] == TESTS and len(parts) > 1 else None


def blank(match):
    """As many lines as before, and nothing else."""
    return "\n" * match.group(0).count("\n") or " "


def check_include(root, path, target):
    """Why this include is wrong, or None."""
    if target.startswith("/") or ".." in target.split("/") or "." in target.split("/"):
        return f'"{target}" is not written from the root'
    if not (root / target).is_file():
        return f'"{target}" is not a file of the tree, as seen from the root'
    here, there = folder_of(path), folder_of(target)
    if here == TESTS:
        return None
    if here is None:
        return f"{path} is in no layer: name its folder in tests/lint/includes.py"
    if there not in MAY_INCLUDE[here]:
        return f'{here} may not include "{target}"'
    return None


def is_forbidden_to_programs(path, name):
    return folder_of(path) != TESTS and name not in PRODUCT_ALLOWED.get(path, ())


def check_text(root, path, text):
    findings = []
    comments_gone = re.sub(r"/\*.*?\*/", blank, text, flags=re.S)
    for number, line in enumerate(comments_gone.splitlines(), 1):
        include = INCLUDE.match(line)
        if include:
            reason = check_include(root, path, include.group(1))
            if reason:
                findings.append((number, reason))
        include = SYSTEM_INCLUDE.match(line)
        if include and folder_of(include.group(1)) not in (None, TESTS) and (root / include.group(1)).is_file():
            findings.append((number, f"<{include.group(1)}> is ours: write it with quotes"))
    for number, line in enumerate(NOISE.sub(blank, text).splitlines(), 1):
        for call in CALL.finditer(line):
            if call.group(1) in BANNED or is_forbidden_to_programs(path, call.group(1)):
                findings.append((number, f"{call.group(1)}() is not used here"))
    return [f"{path}:{number}: {reason}" for number, reason in findings]


def sources(root):
    for top in sorted({name.split("/")[0] for name in MAY_INCLUDE} | {TESTS}):
        for file in sorted((root / top).rglob("*.[ch]")):
            yield file.relative_to(root).as_posix()


def check_tree(root):
    findings, count = [], 0
    for path in sources(root):
        count += 1
        findings += check_text(root, path, (root / path).read_text(encoding="utf-8"))
    return findings, count


# What is planted, in which file, and the part of the finding that must appear; None: must be fine.
PLANTS = [
    ("base/a.c", '#include "wg/noise.h"', "base may not include"),
    ("wg/a.c", '#include "magicsock/peer.h"', "wg may not include"),
    ("wg/a.c", '#include "tun/dev.h"', "wg may not include"),
    ("netcheck/a.h", '#include "magicsock/peer.h"', "netcheck may not include"),
    ("magicsock/a.c", '#include "wg/noise.h"', "magicsock may not include"),
    ("daemon/control/a.c", '#include "daemon/host/if.h"', "daemon/control may not include"),
    ("daemon/localapi/a.c", '#include "daemon/main.h"', "daemon/localapi may not include"),
    ("daemon/http/a.c", '#include "daemon/localapi/api.h"', "daemon/http may not include"),
    ("daemon/localapi/a.c", '#include "daemon/http/h.h"', None),
    ("cli/a.c", '#include "daemon/http/h.h"', "cli may not include"),
    ("daemon/dns/a.c", '#include "magicsock/peer.h"', "daemon/dns may not include"),
    ("cli/a.c", '#include "daemon/main.h"', "cli may not include"),
    ("cli/a.c", '#  include "wg/noise.h"', "cli may not include"),
    ("base/a.c", '#include "b.h"', "not a file of the tree"),
    ("base/a.c", '#include "../base/b.h"', "not written from the root"),
    ("wg/a.c", "#include <base/b.h>", "write it with quotes"),
    ("base/deep/a.c", '#include "wg/noise.h"', "base may not include"),
    ("tests/unit/a.c", '#include "unit/check.h"', "not a file of the tree"),
    ("base/a.c", "int f(void) { return system(x); }", "system()"),
    ("base/a.c", "void f(void) { strcpy (a, b); }", "strcpy()"),
    ("base/a.c", "void f(void) { /* why */ sprintf(a, b); }", "sprintf()"),
    ("cli/a.c", 'FILE *f = popen("ls", "r");', "popen()"),
    ("tests/unit/a.c", "void f(void) { strcat(a, b); gets(a); }", "gets()"),
    ("daemon/a.c", 'void f(void) { execvp(argv[0], argv); }', "execvp()"),
    ("daemon/host/a.c", "int f(void) { return fork(); }", "fork()"),
    ("cli/a.c", "int f(void) { return posix_spawnp(&p, a, 0, 0, v, e); }", "posix_spawnp()"),
    ("daemon/a.c", "void f(void) { strncpy(a, b, 3); }", "strncpy()"),
    ("magicsock/a.c", "json_t *f(void) { return json_loadb(a, n, 0, NULL); }", "json_loadb()"),
    ("wg/a.c", "int f(void) { return rand(); }", "rand()"),
    ("base/json.c", "json_t *f(void) { return json_loads(a, 0, NULL); }", "json_loads()"),
    ("base/json.c", "json_t *f(void) { return json_loadb(a, n, 0, NULL); }", None),
    ("tests/unit/a.c", "int f(void) { json_loads(a, 0, NULL); return fork(); }", None),
    ("base/a.c", '#include "base/b.h"', None),
    ("base/a.c", '#include <stdio.h>\n/* #include "wg/noise.h" */', None),
    ("magicsock/a.c", '#include "netcheck/stun.h"', None),
    ("daemon/a.c", '#include "daemon/host/if.h"\n#include "wg/noise.h"', None),
    ("cli/a.c", '#include "daemon/localapi/api.h"', None),
    ("tests/unit/a.c", '#include "wg/noise.h"', None),
    ("base/a.c", 'void f(void) { snprintf(a, 1, "strcpy(x)"); fgets(a); file_system(x); op->system(x); }', None),
    ("base/a.c", "/* system(x) */ // popen(x)\nchar c = '\"';", None),
]
TARGETS = ["base/b.h", "wg/noise.h", "tun/dev.h", "netcheck/stun.h", "magicsock/peer.h", "daemon/main.h",
           "daemon/control/c.h", "daemon/host/if.h", "daemon/dns/d.h", "daemon/http/h.h",
           "daemon/localapi/api.h"]


def plant(text, path):
    """What a tree with this one file besides the headers yields."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, body in [(t, "#pragma once\n") for t in TARGETS] + [(path, text + "\n")]:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(body, encoding="utf-8")
        return check_tree(root)[0]


def self_test():
    wrong = 0
    for path, text, want in PLANTS:
        found = plant(text, path)
        good = not found if want is None else any(want in f and f.startswith(path + ":1:") for f in found)
        if not good:
            wrong += 1
            print(f"in {path}: {text!r}\n  wanted {want or 'nothing'}, found {found or 'nothing'}")
    print(f"{len(PLANTS)} plants, {wrong} wrong")
    return 1 if wrong else 0


def main(argv):
    if argv == ["--self-test"]:
        return self_test()
    if len(argv) != 1:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    findings, count = check_tree(Path(argv[0]))
    print("\n".join(findings + [f"{count} files, {len(findings)} findings"]))
    return 1 if findings or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
