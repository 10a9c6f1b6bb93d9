#!/usr/bin/env python3
"""Holds docs/tailscale.8 and docs/tailscaled.8 to the programs: each flag and verb is in the page, and no other.

  manpages.py             prints what differs, exits 1 if anything does
  manpages.py --self-test takes a line out of each page, and puts one in, and wants it found
"""
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import flags   # noqa: E402

LOGIN = ("up", "login", "set")       # share the section SETTINGS


def documented(lines):
    """The flags that have an item of their own."""
    return {f for line in lines if line.startswith(".It Fl") for f in re.findall(r"Fl -?([\w-]+)", line)}


def sections(text):
    """Title -> its lines, of .Sh and .Ss alike."""
    found, at = {}, None
    for line in text.splitlines():
        if line[:4] in (".Sh ", ".Ss "):
            at = found.setdefault(line[4:], [])
        elif at is not None:
            at.append(line)
    return found


def tailscale(text):
    page, verbs, wrong = sections(text), flags.tailscale(), []
    shared = documented(page.get("SETTINGS", []))
    for verb, known in verbs.items():
        # A subcommand may stand in the section of its command.
        title = verb if verb in page else verb.split(" ")[0] or "DESCRIPTION"
        if title not in page:
            wrong.append(f"tailscale.8: no section {title}")
            continue
        own = documented(page[title])
        both = own | shared if verb in LOGIN else own
        wrong += [f"tailscale.8: {title}: --{f} is missing" for f in sorted(set(known) - both)]
        wrong += [f"tailscale.8: {title}: there is no --{f}" for f in sorted(own - set(known))]
    wrong += [f"tailscale.8: SETTINGS: there is no --{f}" for f in sorted(shared - {f for v in LOGIN for f in verbs[v]})]
    titles = {t.split()[0] for t in page if t[0].islower()}
    wrong += [f"tailscale.8: the verb {v} is missing" for v in sorted(set(flags.commands()) - titles)]
    return wrong + [f"tailscale.8: there is no verb {v}" for v in sorted(titles - set(flags.commands()))]


def tailscaled(text):
    known, shown = set(flags.tailscaled()), documented(text.splitlines())
    return [f"tailscaled.8: --{f} is missing" for f in sorted(known - shown)] + \
        [f"tailscaled.8: there is no --{f}" for f in sorted(shown - known)]


PAGES = ((flags.ROOT / "docs/tailscale.8", tailscale), (flags.ROOT / "docs/tailscaled.8", tailscaled))


def self_test():
    for path, check in PAGES:
        lines = path.read_text().splitlines()
        for i, line in enumerate(lines):
            if line.startswith((".It Fl", ".Ss ")):
                assert check("\n".join(lines[:i] + lines[i + 1:])), f"{path}: unnoticed without {line}"
                more = ".It Fl -no-such" if line.startswith(".It") else ".Ss nosuch"
                assert check("\n".join(lines[:i] + [more] + lines[i:])), f"{path}: unnoticed: {more} before {line}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        self_test()
    found = [line for path, check in PAGES for line in check(path.read_text())]
    print("\n".join(found))
    sys.exit(1 if found else 0)
