#!/usr/bin/env python3
"""What no run may leave behind, whatever it tested: secrets, sanitizer reports, core files.

The lab imports it; the interop suite runs it as a program:

  audit.py PATH... < JSON     PATH: files or folders that our programs wrote; exits 1 and prints each finding
  audit.py --self-test        plants each kind of finding and wants it found

JSON: {"secrets": {NAME: TEXT}, "states": [TEXT of a state file], "outputs": {NAME: TEXT}, "skip": [names of files
that may hold secrets]}, each part optional.
The private keys of every state file named tailscaled.state under PATH are looked for without being told.
State files themselves are the one place where keys belong, and are not searched.
"""
import base64
import json
import os
import re
import stat
import subprocess
import sys
import tempfile

SANITIZER = re.compile(rb"ERROR: (?:Address|Leak|Thread|Memory)Sanitizer|runtime error:|WARNING: ThreadSanitizer")
PRIVATE = re.compile(rb"privkey:([0-9a-fA-F]{64})")
STATE_NAME = "tailscaled.state"
MOST = 64 << 20     # bytes of one file; more is a finding of its own
SHOWN = 6000        # bytes of a sanitizer report


def keys_of_state(text):
    """The private keys in the text of a state file, as hexadecimal; a damaged file has none."""
    found = set()
    try:
        values = json.loads(text).values()
    except (ValueError, AttributeError):
        return found
    for value in values:
        try:
            plain = base64.b64decode(value, validate=True)
        except (ValueError, TypeError):
            continue
        found.update(k.decode().lower() for k in PRIVATE.findall(plain) if k.strip(b"0"))
    return found


def forms(secret):
    """Every way in which the secret could have been written.  Key material (64 hex digits) also raw and as base64."""
    out = {secret.encode()}
    if re.fullmatch(r"[0-9a-fA-F]{64}", secret):
        raw = bytes.fromhex(secret)
        out |= {raw, raw[::-1], raw.hex().encode(), raw.hex().upper().encode(), raw.hex(" ").encode(),
                raw.hex(":").encode(), base64.b64encode(raw).rstrip(b"="), base64.urlsafe_b64encode(raw).rstrip(b"=")}
    return out


def files_under(path):
    """Regular files; a socket or a link is nothing that was written."""
    if not os.path.isdir(path):
        yield path
        return
    for folder, _, names in os.walk(path):
        for name in names:
            full = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(full).st_mode):
                yield full


def search(name, data, secrets):
    """Findings in one piece of what was written.  secrets: [(name, forms)]"""
    out = [f"{name} shows {what}" for what, ways in secrets if any(w in data for w in ways)]
    if re.search(rb"privkey:[0-9a-fA-F]", data):
        out.append(f"{name} shows a private key as text")
    report = SANITIZER.search(data)
    if report:
        at = max(0, report.start() - 200)
        out.append(f"{name} has a sanitizer report:\n{data[at:at + SHOWN].decode(errors='replace')}")
    if data[:4] == b"\x7fELF" and data[16:18] in (b"\x04\x00", b"\x00\x04"):
        out.append(f"{name} is a core file")
    return out


def audit(paths, secrets=None, states=(), outputs=None, skip=()):
    """Findings, one text each.  skip: names of files that may hold secrets besides the state."""
    found, keys = [], set()
    contents = []
    for path in paths:
        for full in files_under(path):
            try:
                with open(full, "rb") as f:
                    data = f.read(MOST + 1)
            except OSError:
                continue      # it went away meanwhile
            if os.path.basename(full) == STATE_NAME:
                keys |= keys_of_state(data)
            elif os.path.basename(full) not in skip:
                contents.append((full, data))
    for text in states:
        keys |= keys_of_state(text)
    contents += [(f"output of {name}", text.encode()) for name, text in (outputs or {}).items()]
    wanted = [(name, forms(text)) for name, text in (secrets or {}).items() if text]
    wanted += [(f"the private key {k[:6]}...", forms(k)) for k in sorted(keys)]
    for name, data in contents:
        found += search(name, data, wanted)
        if len(data) > MOST:
            found.append(f"{name} is larger than any run should write")
    return found


# ---- plants ----

KEY = "50c7e9a1" * 8
STATE = json.dumps({"_machinekey": base64.b64encode(f"privkey:{KEY}".encode()).decode()})
AUTH = "hskey-auth-planted-0123456789"
PLANTS = [   # what a log says, and the part of the finding; None: must be fine
    (b"logged in with " + AUTH.encode(), "the auth key"),
    (b"key=" + KEY.encode(), "private key 50c7e9"),
    (KEY.upper().encode(), "private key 50c7e9"),
    (b"\0\0" + bytes.fromhex(KEY) + b"\0", "private key 50c7e9"),
    (base64.b64encode(bytes.fromhex(KEY)), "private key 50c7e9"),
    (b"privkey:" + b"1" * 64, "private key as text"),
    (b"==1==ERROR: AddressSanitizer: heap-use-after-free", "sanitizer report"),
    (b"a.c:1:2: runtime error: signed integer overflow", "sanitizer report"),
    (b"WARNING: ThreadSanitizer: data race", "sanitizer report"),
    (b"\x7fELF\2\1\1" + b"\0" * 9 + b"\x04\0", "core file"),
    (b"nodekey:" + b"2" * 64 + b" joined; the auth key was not shown", None),
]


def self_test():
    wrong = 0
    for data, want in PLANTS:
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, STATE_NAME), "w", encoding="utf-8") as f:
                f.write(STATE)
            with open(os.path.join(folder, "a.log"), "wb") as f:
                f.write(data)
            done = subprocess.run([sys.executable, __file__, folder], input=json.dumps({"secrets": {"the auth key": AUTH}}),
                                  capture_output=True, text=True)
        good = (done.returncode == 0 and not done.stdout) if want is None else (
            done.returncode == 1 and want in done.stdout)
        if not good:
            wrong += 1
            print(f"{data!r}: wanted {want or 'nothing'}, got {done.returncode} {done.stdout!r} {done.stderr!r}")
    for given, want in (({"outputs": {"up": f"x {KEY}"}, "states": [STATE]}, True), ({"outputs": {"up": AUTH}}, False)):
        if bool(audit([], **given)) != want:
            wrong += 1
            print(f"{given}: wanted {want}")
    print(f"{len(PLANTS) + 2} plants, {wrong} wrong")
    return 1 if wrong else 0


def main(argv):
    if argv == ["--self-test"]:
        return self_test()
    if not argv:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    told = json.load(sys.stdin)
    findings = audit(argv, told.get("secrets"), told.get("states") or (), told.get("outputs"),
                     told.get("skip") or ())
    if findings:
        print("\n".join(findings))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
