"""The flags of the two programs, read out of their sources: what the tests of the command line go by.

    flags.py        prints them
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MACRO = re.compile(r'FLAG_(BOOL|STRING|SECRET|INT|DURATION)\("([^"]+)", [^,]+, (NULL|")')
FUNCTION = re.compile(r"^(?:static )?(?:int|void) (\w+)\([^{]*?\)\n\{\n(.*?)^\}", re.M | re.S)
VERBS = {"cmd_down": "down", "cmd_logout": "logout", "cmd_ip": "ip", "cmd_whois": "whois", "cmd_version": "version",
         "cmd_status": "status", "cmd_ping": "ping", "cmd_netcheck": "netcheck", "cmd_switch": "switch",
         "dns_status": "dns status", "dns_query": "dns query", "debug_paths": "debug paths",
         "debug_portmap": "debug portmap", "run_line": ""}


def _names(text, table):
    """The strings of `static const char *const TABLE[] = {...}`."""
    found = re.search(r"char \*const %s\[\] = \{(.*?)\};" % table, text, re.S)
    return set(re.findall(r'"([^"]+)"', found.group(1)))


def tailscale():
    """Verb ("" for what stands before it) -> {flag: (kind, whether --help shows it)}."""
    verbs = {}
    for path in sorted((ROOT / "cli").glob("*.c")):
        text = path.read_text()
        for name, body in FUNCTION.findall(text):
            found = {flag: (kind, shown == '"') for kind, flag, shown in MACRO.findall(body)}
            if not found:
                continue
            if path.name == "upflags.c":
                set_only = _names(text, "set_only")
                verbs["up"] = {f: v for f, v in found.items() if f not in set_only | _names(text, "not_up")}
                verbs["login"] = {f: v for f, v in found.items() if f not in set_only | _names(text, "not_login")}
                verbs["set"] = {f: v for f, v in found.items() if f not in _names(text, "not_set")}
            else:
                verbs[VERBS[name]] = found
    return verbs


def commands():
    """The verbs of `tailscale`."""
    return re.findall(r'^        \{"(\w[\w-]*)", "', (ROOT / "cli/dispatch.c").read_text(), re.M)


def tailscaled():
    """Flag -> whether it is a boolean."""
    table = re.search(r"^\} flags\[\] = \{\n(.*?)^\};", (ROOT / "daemon/options.c").read_text(), re.M | re.S).group(1)
    return {name: boolean == "true" for name, boolean in re.findall(r'\{"([^"]+)", \w+, (true|false)\}', table)}


if __name__ == "__main__":
    for verb, flags in tailscale().items():
        print(f"tailscale {verb}:", *(f"--{f}" for f in flags))
    print("tailscaled:", *(f"--{f}" for f in tailscaled()))
    print("verbs:", *commands())
    sys.exit(0)
