"""Every flag and verb with bad values: what is wrong and what is allowed is said, the exit code tells, nothing changes.

        alpha --- internet --- control, relay
"""
import re
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

from lab import HERE

sys.path.insert(0, HERE + "/..")
import flags   # noqa: E402

ESC, LONG, LATIN = "a\x1b[31mb\x07", "x" * 600, "\udcff\udcfe"
WANTED = {                            # kind of a flag: what is no such value, and the words that say what is
    "BOOL": (["maybe", "", "2", ESC], "want true or false"),
    "INT": (["x", "", "1.5", "99999999999999999999", ESC], "want a whole number"),
    "DURATION": (["soon", "", "5", "99999999999h", ESC], "want a duration such as 5s"),
    "STRING": ([ESC, LATIN, "two\nlines"], "want text in UTF-8 without control characters"),
    "SECRET": ([], ""),
}


def typed(verb, table):
    """Each flag of a verb with what its type does not allow."""
    for flag, (kind, _) in table.items():
        values, want = WANTED[kind]
        for value in values:
            yield [*verb, f"--{flag}={value}"], 2, rf"^invalid value .* for flag -{flag}: {want}"
        if kind != "BOOL":
            yield [*verb, f"--{flag}"], 2, rf"^flag needs an argument: -{flag}\n"
        good = {"BOOL": "true", "INT": "1", "DURATION": "1s"}.get(kind, "x")
        yield [*verb, *[f"--{flag}={good}"] * 2], 2, rf"^flag -{flag} was given more than once\n"


CIDR = "not a network in CIDR form such as 192.168.1.0/24"
NAME = "letters, digits and inner dashes, at most 63 in each part and 253 in all"
TAG = "a tag is tag: and a name that starts with a letter"
LIST = "'tailscale exit-node list' shows the exit nodes"
SETTINGS = [                          # of up, login and set alike
    (["--hostname=-x"], f'--hostname "-x": {NAME}'),
    (["--hostname=a..b"], f'--hostname "a..b": {NAME}'),
    (["--hostname=" + "a" * 64], f'--hostname "a+": {NAME}'),
    (["--hostname=" + LONG], f'--hostname "x+": {NAME}'),
    (["--operator=no-such-user"], '--operator "no-such-user": this host has no user of that name'),
    (["--operator=0"], '--operator "0": this host has no user of that name'),
    (["--operator=" + LONG], '--operator "x+": this host has no user of that name'),
    (["--advertise-routes=lan"], f'--advertise-routes "lan": {CIDR}'),
    (["--advertise-routes=10.0.0.1"], f'--advertise-routes "10.0.0.1": {CIDR}'),
    (["--advertise-routes=10.0.0.0/33"], f'--advertise-routes "10.0.0.0/33": {CIDR}'),
    (["--advertise-routes=10.0.0.0/8,"], f'--advertise-routes "": {CIDR}'),
    (["--advertise-routes=" + LONG], f'--advertise-routes "x+": {CIDR}'),
    (["--advertise-routes=10.0.0.1/8"], r"--advertise-routes .*has host bits set; the network is 10\.0\.0\.0/8"),
    (["--advertise-routes=0.0.0.0/0"], "--advertise-routes .*default routes come in pairs.*--advertise-exit-node"),
    (["--exit-node=100.64.0.77", "--advertise-exit-node"], "--exit-node and --advertise-exit-node exclude each other"),
    (["--ssh"], "--ssh: .*not there yet.*leave the flag out"),
    (["--advertise-connector"], "--advertise-connector: .*not there yet.*leave the flag out"),
    (["--report-posture"], "--report-posture: .*not there yet.*leave the flag out"),
    (["--netfilter-mode="], '--netfilter-mode "": must be on, nodivert or off'),
    (["--netfilter-mode=some"], '--netfilter-mode "some": must be on, nodivert or off'),
    (["--hard-nat="], '--hard-nat "": must be own, on or off'),
    (["--hard-nat=true"], '--hard-nat "true": must be own, on or off'),
    (["--hard-nat=" + LONG], '--hard-nat "x+": must be own, on or off'),
    (["--netfilter-mode=" + LONG], '--netfilter-mode "x+": must be on, nodivert or off'),
]
LOGIN = [                             # of up and login
    (["--login-server="], '--login-server "" is no URL: it must begin with https:// or http://'),
    (["--login-server=headscale.example.com"], "--login-server .* must begin with https:// or http://"),
    (["--login-server=ftp://h"], "--login-server .* must begin with https:// or http://"),
    (["--login-server=http://"], "--login-server .*no usable host name in it; it must look like https://HOST"),
    (["--login-server=http://h:99999"], "--login-server .*the port is not a number from 1 to 65535"),
    (["--login-server=" + LONG], "--login-server .* must begin with https:// or http://"),
    (["--auth-key= "], "--auth-key is empty: give a key, or leave the flag out"),
    (["--auth-key=one two"], "--auth-key: blanks or control characters.* give one key and nothing else"),
    (["--auth-key=" + ESC], "--auth-key: blanks or control characters.* give one key and nothing else"),
    (["--auth-key=" + "k" * 512], "--auth-key: 512 characters are too long, 511 at most"),
    (["--auth-key=file:"], "--auth-key=file: names no file; it must look like --auth-key=file:/path/to/key"),
    (["--auth-key=file:/no/such"], "--auth-key: the file /no/such cannot be read: No such file"),
    (["--auth-key=file:/run"], "--auth-key: the file /run cannot be read: Is a directory"),
    (["--auth-key=file:/dev/null"], "--auth-key: the file /dev/null is empty; it must hold the key"),
    (["--advertise-tags=tag:1x"], f'--advertise-tags "tag:1x": {TAG}'),
    (["--advertise-tags=tag:a,"], f'--advertise-tags "": {TAG}'),
    (["--advertise-tags=tag:a_b"], f'--advertise-tags "tag:a_b": {TAG}'),
    (["--advertise-tags=" + LONG], f'--advertise-tags "x+": {TAG}.*250 characters at most'),
    (["--qr-format=svg"], '--qr-format "svg": must be auto, ascii, large or small'),
    (["--host-routes=false"], "--host-routes=false is not possible: peers could not be reached"),
    (["--timeout=-1s"], "--timeout must not be negative: 0 waits for ever, 30s half a minute"),
    (["--exit-node-allow-lan-access"], "--exit-node-allow-lan-access needs --exit-node"),
]
NODES = [                             # where the peers are known
    (["--exit-node=nobody"], f'--exit-node "nobody": no peer has that name; {LIST}'),
    (["--exit-node=" + LONG], f'--exit-node "x+": no peer has that name; {LIST}'),
    (["--exit-node=auto:"], '--exit-node "auto:": must be auto:any, a name or an address'),
    (["--exit-node=auto:best"], '--exit-node "auto:best": must be auto:any, a name or an address'),
    (["--exit-node=192.0.2.1"], f"--exit-node 192.0.2.1: no peer has that address; {LIST}"),
    (["--exit-node=100.64.0.1"], "--exit-node 100.64.0.1: that is this node itself; to be an exit node use --advertise-exit-node"),
]
RISK = '--accept-risk "(some|)": must be lose-ssh, linux-strict-rp-filter, mac-app-connector or all'
PEER = "no peer has that name; 'tailscale status' lists them"
NO_WORDS = 'too many non-flag arguments: \\["word"\\]\nonly flags are allowed here'
ADDR = r"invalid 'addr' parameter .*want IP, IPv4:PORT or \[IPv6\]:PORT, no name"
OWN = [                               # of one verb: the line, the exit code, what is said
    (["up", "--accept-risk=some"], 1, RISK),
    (["up", "word"], 1, NO_WORDS), (["up", "-"], 1, "non-flag arguments"), (["up", "--", "word"], 1, NO_WORDS),
    (["up", "--nickname=x"], 2, "not defined: -nickname"), (["up", "--="], 2, "not defined: -\n"),
    (["up", "--no-such" + ESC], 2, "not defined: -no-such"),
    (["up", "--login-server=http://203.0.113.9:1"], 1, "Error: changing settings.*requires mentioning all"),
    (["login", "word"], 1, NO_WORDS), (["login", "--nickname=" + LONG], 1, "--nickname: 600 bytes are too long, 255 at most"),
    (["login", "--exit-node=nobody"], 1, '--exit-node "nobody": no peer has that name .the peers are not known before the login: give an '
     "address"),
    (["set", "word"], 1, NO_WORDS), (["set", "--accept-risk=some"], 1, RISK), (["set", "--accept-risk=all,"], 1, RISK),
    (["set", "--nickname=" + LONG], 1, "--nickname: 600 bytes are too long, 255 at most"),
    (["set", "--login-server=http://h"], 2, "not defined: -login-server"),
    (["set", "--webclient"], 1, "--webclient: .*not there yet"), (["set", "--auto-update"], 1, "--auto-update: .*not there yet"),
    (["set", "--relay-server-port=40000"], 1, "--relay-server-port: .*not there yet"),
    (["set", "--relay-server-static-endpoints=192.0.2.1:1"], 1, "--relay-server-static-endpoints: .*not there yet"),
    (["down", "word"], 1, NO_WORDS), (["down", "--accept-risk=some"], 1, RISK), (["logout", "word"], 1, NO_WORDS),
    (["switch"], 1, "usage: tailscale switch NAME"), (["switch", "a", "b"], 1, "usage: tailscale switch NAME"),
    (["switch", "remove", "a", "b"], 1, "usage: tailscale switch NAME"), (["switch", "--list", "word"], 1, NO_WORDS),
] + [(["switch", *more, w], 1, 'No profile named ".*"\n\'tailscale switch --list\' shows those there are')
     for more in ([], ["remove"]) for w in ("", "nobody", ESC, LONG)] + [
    (["exit-node"], 1, "tailscale exit-node: missing subcommand; there is: list, suggest"),
    (["exit-node", "suggest", "word"], 1, NO_WORDS),
    (["exit-node", "list", "word"], 1, NO_WORDS), (["exit-node", "list", "--x"], 2, "not defined: -x"),
    (["exit-node", "list"], 1, "no exit nodes found"),
    (["dns"], 1, "tailscale dns: missing subcommand: status, query"),
    (["dns", "status", "word"], 1, NO_WORDS), (["dns", "query"], 1, "missing required argument: name\nusage: tailscale dns query"),
    (["dns", "query", "a", "A", "c"], 1, "unexpected extra arguments: c\nusage: tailscale dns query"),
    (["debug"], 1, "tailscale debug: missing subcommand; there is: netmap, prefs, derp-map, metrics, restun, rebind, paths, portmap, via"),
    (["debug", "via"], 1, "expect a site and an IPv4 network.*usage: tailscale debug via SITE-ID IPV4-CIDR"),
    (["debug", "via", "70000", "10.0.0.0/8"], 1, 'invalid site-id "70000": want a number from 0 to 65535'),
    (["debug", "via", "7", ESC], 1, 'invalid network ".*": want an IPv4 CIDR such as 10.1.1.0/24'),
    (["debug", "portmap", "--type=x"], 1, 'unknown portmap debug type "x": want pmp, pcp or upnp'),
    (["debug", "portmap", "--duration=0"], 2, "invalid value for flag -duration: want up to 2m, such as 5s"),
    (["debug", "portmap", "--duration=1h"], 2, "invalid value for flag -duration: want up to 2m, such as 5s"),
    (["debug", "portmap", "--self-addr=192.168.1.2"], 1, "if one of --gateway-addr and --self-addr is provided, the other must be as well"),
    (["debug", "portmap", "--gateway-addr=x", "--self-addr=192.168.1.2"], 1, 'invalid --gateway-addr: "x": want an IPv4 address'),
    (["debug", "portmap", "--gateway-addr=192.168.1.1", "--self-addr=::1"], 1, 'invalid --self-addr: "::1": want an IPv4 address'),
    (["debug", "portmap", "word"], 1, NO_WORDS),
    (["debug", "via", LONG], 1, 'invalid network "x+": want a CIDR of at least /96 below fd7a:115c:a1e0:b1a::/64'),
    (["metrics", "print", "word"], 1, NO_WORDS), (["metrics", "write"], 1, "usage: tailscale metrics write <path>"),
    (["metrics", "write", "a", "b"], 1, "usage: tailscale metrics write <path>"),
    (["metrics", "write", "/nowhere/x"], 1, "/nowhere/x cannot be written: No such file or directory"),
    (["metrics", "--x"], 2, "not defined: -x"),
    (["debug", "prefs", "word"], 1, NO_WORDS), (["debug", "prefs", "--x"], 2, "not defined: -x"),
] + [([verb, w], 1, f"tailscale {verb}: unknown subcommand: .*; there is: ") for verb in ("exit-node", "dns", "debug", "metrics")
     for w in ("word", ESC, LONG)] + [
    (["dns", "query", w], 1, "'name' parameter: want a domain name, up to 63 characters between dots") for w in
    ("", "a..b", "a b", ESC, LONG)] + [
    (["dns", "query", "a", w], 1, "unknown DNS message type: .*\n*.*want a name such as A, AAAA") for w in ("B", ESC, LONG)] + [
    (["ping", *w], 1, r"usage: tailscale ping \[flags\] HOST-OR-IP") for w in ([], [""], ["a", "b"])] + [
    ([verb, w], 1, f'error looking up IP of ".*": {PEER}') for verb in ("ping", "ip") for w in ("nobody", ESC, LONG)] + [
    (["ping", "192.0.2.1"], 1, "no matching peer with address 192.0.2.1\n'tailscale status' lists them"),
    (["ping", "--c=-1", "h"], 2, "invalid value for flag -c: want how many pings at most, or 0 for no end"),
    (["ping", "--timeout=0", "h"], 2, "invalid value for flag -timeout: want more than 0, such as 5s"),
    (["ping", "--timeout=-1s", "h"], 2, "invalid value for flag -timeout: want more than 0, such as 5s"),
    (["ping", "--size=-1", "h"], 2, r"invalid value for flag -size: want 0 to \d+ bytes"),
    (["ping", "--size=65536", "h"], 2, r"invalid value for flag -size: want 0 to \d+ bytes"),
    (["ping", "--icmp", "--tsmp", "h"], 1, "--tsmp, --icmp and --peerapi exclude each other"),
    (["ping", "--size=100", "--icmp", "h"], 1, "--size is of disco pings alone: not with --tsmp, --icmp or --peerapi"),
] + [(["nc", *w], 1, "usage: tailscale nc HOST-OR-IP PORT") for w in ([], ["a"], ["a", "80", "b"])] + [
    (["nc", "a", w], 1, 'invalid port number ".*": want 1 to 65535') for w in ("", "x", "0", "65536", "-1", ESC, LONG)] + [
    (["nc", w, "80"], 1, 'invalid host ".*": want a name or an address') for w in ("", ESC)] + [
    (["netcheck", "word"], 1, NO_WORDS), (["netcheck", "--format=xml"], 1, 'output format "xml" for flag -format: use json or json-line'),
    (["netcheck", "--format=" + LONG], 1, 'output format "x+" for flag -format: use json or json-line'),
    (["netcheck", "--bind-port=65536"], 1, "invalid bind port number: 65536: want 0 to 65535"),
    (["netcheck", "--bind-port=-1"], 1, "invalid bind port number: -1: want 0 to 65535"),
    (["netcheck", "--bind-address=x"], 1, 'invalid bind address: "x": want an IP address of this host'),
    (["netcheck", "--bind-address="], 1, 'invalid bind address: "": want an IP address of this host'),
    (["netcheck", "--every=-1s"], 2, "invalid value for flag -every: want a pause of 0 or more, such as 30s"),
    (["status", "word"], 1, NO_WORDS), (["version", "word"], 1, NO_WORDS), (["version", "--track=stable"], 2, "not defined: -track"),
    (["ip", "a", "b"], 1, "usage: tailscale ip"), (["ip", "-4", "-6"], 1, "-1, -4 and -6 exclude each other"),
    (["ip", "192.0.2.1"], 1, "no peer or service found with IP 192.0.2.1\n'tailscale status' lists them"),
    (["ip", "--assert=x"], 2, 'invalid value "x" for flag -assert: want an IP address'),
    (["ip", "--assert="], 2, 'invalid value "" for flag -assert: want an IP address'),
    (["ip", "--assert=192.0.2.1"], 1, r'assertion failed: IP "192.0.2.1" not found among \[100.64.0.1 '),
    (["ip", "--assert=100.64.0.1", "alpha"], 1, "--assert is about this node's addresses"),
    (["whois"], 1, "usage: tailscale whois"), (["whois", "1.2.3.4", "5.6.7.8"], 1, "usage: tailscale whois"),
    (["whois", "192.0.2.1"], 1, "peer not found: no node here has that address\n'tailscale status' lists them"),
    (["whois", "--proto=icmp", "192.0.2.1"], 2, 'invalid value "icmp" for flag -proto: want tcp or udp'),
] + [(["whois", w], 1, ADDR) for w in ("", "alpha", "1.2.3.4:99999", ":::", ESC, LONG)] + [
    (["--socket=", "status"], 2, 'invalid value "" for flag -socket: want a path of 1 to 107 characters'),
    (["--socket=/" + LONG, "status"], 2, 'invalid value "/x+" for flag -socket: want a path of 1 to 107 characters'),
    (["--socket=/etc/passwd", "status"], 1, "/etc/passwd is no socket\ngive the path of the daemon's own with --socket"),
    (["--socket=/no/such", "status"], 1, "no daemon at /no/such"),
    (["--" + ESC, "status"], 2, "not defined: -a\n"), (["--no-such", "status"], 2, "not defined: -no-such"),
] + [([*help, w], 1, "tailscale: unknown subcommand: .*\n'tailscale --help' lists them") for help in ([], ["help"])
     for w in ("word", "", ESC, LONG)]


def table():
    for verb, known in flags.tailscale().items():
        yield from typed(verb.split(), known)
    for verb, rows in (("up", SETTINGS + LOGIN + NODES), ("login", SETTINGS + LOGIN), ("set", SETTINGS + NODES)):
        for args, words in rows:
            yield [verb, *args], 1, words
    yield from OWN


def prefs(host):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(f"/proc/{host.pid}/root/run/tailscale/tailscaled.sock")
        s.sendall(b"GET /localapi/v0/prefs HTTP/1.0\r\nHost: local-tailscaled.sock\r\n\r\n")
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    return answer.split(b"\r\n\r\n", 1)[1]


def state(host, path="/var/lib/tailscale/tailscaled.state"):
    with open(f"/proc/{host.pid}/root{path}", "rb") as f:
        return f.read()


def check(done, args, code, words):
    said = done.stderr or done.stdout          # `switch` has its usage on stdout
    assert done.returncode == code, (args, done.returncode, said)
    assert re.search(words, said, re.S), (args, said)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", done.stdout + done.stderr), (args, said)
    assert len(said.splitlines()) <= (6 if code == 1 else 50), said


def test_every_flag_and_verb(lab):
    lab.servers()
    host = lab.host("alpha")
    host.join()
    before, rows, wrong = (state(host), prefs(host)), 0, []
    for args, code, words in table():
        try:
            check(host.tailscale(*args, check=False), args, code, words)
        except AssertionError as e:
            wrong.append(str(e).splitlines()[0])
        assert (state(host), prefs(host)) == before, f"{args} changed something"
        rows += 1
    print(f"{rows} lines, {len(wrong)} with other words")
    assert not wrong, "\n".join(wrong)
    assert host.status()["BackendState"] == "Running"


ASKING = [["up"], ["login"], ["set", "--shields-up"], ["down"], ["logout"], ["switch", "--list"], ["switch", "x"], ["status"],
          ["ping", "x"], ["dns", "status"], ["dns", "query", "a"], ["netcheck"], ["ip"], ["whois", "100.64.0.1"],
          ["exit-node", "list"], ["exit-node", "suggest"], ["debug", "netmap"], ["debug", "prefs"], ["debug", "derp-map"], ["debug", "metrics"],
          ["debug", "restun"], ["debug", "rebind"], ["metrics"], ["version", "--daemon"], ["nc", "100.64.0.9", "80"]]


def test_every_verb_without_a_daemon(lab):
    host = lab.host("alpha")
    with ThreadPoolExecutor(8) as pool:        # each waits for a moment, the daemon may be starting
        for args, done in zip(ASKING, pool.map(lambda args: host.tailscale(*args, check=False), ASKING)):
            check(done, args, 1, "(?i)failed to connect to local tailscaled?.*no daemon at /var/run/tailscale/tailscaled.sock.*"
                  "systemctl start tailscaled")
    rows = {tuple(args[:1] if args[0] not in ("dns", "exit-node", "debug") else args[:2]) for args in ASKING}
    assert {r[0] for r in rows} == set(flags.commands()), "a verb is missing here"


def test_every_verb_while_stopped(lab):
    """What needs the tailnet says why there is none; what does not goes on."""
    lab.servers()
    host = lab.host("alpha")
    host.join()
    host.tailscale("down")
    before = state(host), prefs(host)
    for args, code, words in (
            (["ping", "100.64.0.1"], 1, "^Tailscale is stopped"), (["status"], 1, "^Tailscale is stopped"),
            (["netcheck"], 1, "^Tailscale is stopped: run 'tailscale up'"), (["exit-node", "list"], 1, "no exit nodes found"),
            (["set", "--exit-node=nobody"], 1, '--exit-node "nobody": no peer has that name'),
            (["down"], 0, "already stopped"), (["switch", "nobody"], 1, "No profile named")):
        check(host.tailscale(*args, check=False), args, code, words)
        assert (state(host), prefs(host)) == before, f"{args} changed something"


DAEMON = [                            # the line, the exit code, what is said
    (["word"], 1, 'tailscaled takes no words, only flags: "word"'), ([ESC], 1, "takes no words, only flags"),
    (["--no-such"], 2, "flag provided but not defined: --no-such"), (["--" + ESC], 2, "flag provided but not defined: "),
    (["--port=x"], 2, 'invalid value "x" for -port: want 0 to 65535'), (["--port=65536"], 2, "-port: want 0 to 65535"),
    (["--port=-1"], 2, "-port: want 0 to 65535"), (["--port="], 2, "-port: want 0 to 65535"),
    (["--port=" + LONG], 2, "-port: want 0 to 65535"), (["--verbose=x"], 2, "-verbose: want 0 to 9"),
    (["--threads=64"], 2, 'invalid value "64" for -threads: want 0 to 63'), (["--threads=-1"], 2, "-threads: want 0 to 63"),
    (["--verbose=10"], 2, "-verbose: want 0 to 9"), (["--verbose=" + ESC], 2, "-verbose: want 0 to 9"),
    (["--tun="], 2, '--tun "": want userspace-networking or an interface name of 1 to 15'), (["--tun=a/b"], 2, "--tun .*want .*an interface name"),
    (["--tun=" + "a" * 16], 2, "--tun .*want .*an interface name"), (["--tun=" + ESC], 2, "--tun .*want .*an interface name"),
    (["--socks5-server=1080"], 2, "-socks5-server: want .HOST.:PORT"), (["--outbound-http-proxy-listen=x:80"], 2, "-outbound-http-proxy-listen: want .HOST.:PORT"),
    (["--socket="], 2, '--socket "": want a path of 1 to 107 characters'), (["--socket=/" + LONG], 2, "--socket .*want a path"),
    (["--state=kube:x"], 2, "--state=kube:x is not supported: give a file path or mem:"),
    (["--state=arn:x"], 2, "--state=arn:x is not supported: give a file path or mem:"),
    (["--state=/" + LONG], 2, "from --state or --statedir, is too long: want up to 511 characters"),
    (["--statedir=/" + LONG], 2, "from --state or --statedir, is too long: want up to 511 characters"),
    (["--memory=tiny"], 2, 'invalid value "tiny" for -memory: want normal or small'), (["--memory="], 2, "want normal or small"),
    (["--encrypt-state"], 2, "--encrypt-state is not supported: leave it out"),
    (["--hardware-attestation"], 2, "--hardware-attestation is not supported: leave it out"),
    (["--debug=:8080"], 2, "--debug is not there yet: leave it out"), (["--config=/etc/x"], 2, "--config is not there yet: leave it out"),
    (["--socket=/proc/x/s"], 1, "/proc/x/s: No such file.*give a path in a folder with --socket"),
    (["--socket=/etc/passwd/s"], 1, "/etc/passwd/s: Not a directory.*give a path in a folder with --socket"),
    (["--state=/proc/x/state"], 1, "the state file /proc/x/state cannot be made: folder /proc/x: No such file"),
    (["--state=/run"], 1, "the state file /run cannot be read: it is a folder: give .*--statedir, or that of a file with --state"),
    (["--state=/etc/passwd"], 1, "the state file /etc/passwd is damaged: it is no JSON object: restore it"),
]


def test_every_flag_of_the_daemon(lab):
    host = lab.host("alpha")
    rows = list(DAEMON)
    for flag, boolean in flags.tailscaled().items():
        if boolean:
            rows += [([f"--{flag}={v}"], 2, f"invalid value .* for -{flag}: want true or false") for v in ("maybe", "", "2", ESC)]
        else:
            rows.append(([f"--{flag}"], 2, f"flag needs an argument: -{flag}"))
    links, passwd = host.sh("ip -o link"), host.sh("cat /etc/passwd")
    for args, code, words in rows:
        done = host.run(lab.tailscaled, *args, check=False, timeout=20)
        check(done, args, code, words)
        print(done.stderr.splitlines()[-1 if code == 1 else 0])
    assert host.sh("ip -o link") == links and host.sh("cat /etc/passwd") == passwd
    assert host.sh("find /var/lib/tailscale /run/tailscale ! -type d 2>/dev/null || true") == ""
