"""Installed, run as the unit says, and removed as README says: the host is as it was before.

        alpha --- internet --- beta (an exit node)

The namespace has its own /usr and its own build folder, so the machine keeps its own.
"""
import configparser
import json
import os
import shutil
import signal
import subprocess

import pytest

from lab import wait_for

BUILD_DIR = os.environ.get("BUILD_DIR", "")
UNIT = "/usr/lib/systemd/system/tailscaled.service"

pytestmark = pytest.mark.skipif(not shutil.which("meson") or not os.path.exists(os.path.join(BUILD_DIR, "build.ninja")),
                                reason="BUILD_DIR is no build folder of meson's")


def own(host, folder):
    """Changes of the folder stay in the namespace."""
    work = f"/run/lab/own{folder}"
    host.sh(f"mkdir -p {work}/upper {work}/work; "
            f"mount -t overlay overlay -o lowerdir={folder},upperdir={work}/upper,workdir={work}/work {folder}")


def prefix():
    options = subprocess.run(["meson", "introspect", "--buildoptions", BUILD_DIR], capture_output=True, text=True, check=True)

    return next(o["value"] for o in json.loads(options.stdout) if o["name"] == "prefix")


class Unit:
    """What systemd would do with the unit that was installed."""

    def __init__(self, host):
        parser = configparser.RawConfigParser(strict=False)
        parser.optionxform = str
        parser.read_string(host.sh(f"cat {UNIT}"))
        self.host, self.service = host, parser["Service"]

    def command(self, name, extra=""):
        """`$FLAGS` and `${PORT}` mean the same to a shell."""
        settings = self.service["EnvironmentFile"].lstrip("-")
        return ["sh", "-c", f"{self.service['Environment']}; . {settings}; {extra} exec {self.service[name]}"]

    def start(self):
        self.host.sh("install -d -m 755 /run/tailscale; install -d -m 700 /var/lib/tailscale")
        self.host.daemon = self.host.spawn(self.command("ExecStart"), f"{self.host.name}.log", {"NOTIFY_SOCKET": ""})
        wait_for("the socket", self.host._listening, 20)

    def ended(self, sig):
        self.host.stop(sig)
        result = "success" if sig == signal.SIGTERM else "signal"
        self.host.run(*self.command("ExecStopPost", f"SERVICE_RESULT={result}"))


def files(host, *folders):
    return host.sh(f"find {' '.join(folders)} -xdev ! -type d | sort")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_installed_and_removed(lab, end):
    lab.servers("--gather", "0.1", v6=True)
    alpha, beta = lab.host("alpha", v6=True), lab.host("beta", v6=True)
    beta.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    beta.start()
    beta.up("--advertise-exit-node")
    lab.control.call("routes", node="beta", routes=["0.0.0.0/0", "::/0"])
    # A host with settings of its own in all that we touch.
    alpha.run("nft", "-f", "-", input="""
table ip filter {
        chain INPUT { type filter hook input priority 0; policy drop; ct state established,related accept; };
        chain FORWARD { type filter hook forward priority 0; policy accept; };
}
table inet mine { chain out { type filter hook output priority 0; udp dport 9 drop; }; }
""")
    alpha.sh("""
ip rule add pref 5000 fwmark 0x1 lookup 77; ip route add unreachable 198.51.100.0/24 table 77
ip -6 rule add pref 5000 fwmark 0x1 lookup 77; ip -6 route add unreachable 2001:db8:99::/48 table 77
sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1 net.ipv4.ip_forward=1
printf '# mine\nnameserver 203.0.113.1\noptions edns0\n' > /etc/resolv.conf
""")
    folders = {"/usr", BUILD_DIR, prefix()}
    for folder in sorted(folders):
        own(alpha, folder)
    before, there = alpha.snapshot(), files(alpha, "/usr", "/etc")

    alpha.sh(f"meson install --no-rebuild -C {BUILD_DIR}")
    unit = Unit(alpha)
    unit.start()
    key = lab.key()
    alpha.run("tailscale", "up", f"--login-server={lab.url}", f"--auth-key={key}", "--hostname=alpha", "--timeout=30s",
              "--accept-routes", "--advertise-routes=10.7.0.0/24")
    alpha.wait_peer(beta)
    alpha.run("tailscale", "set", "--exit-node=beta")
    wait_for("the exit node", lambda: "default" in alpha.sh("ip route show table 52"))
    wait_for("MagicDNS", lambda: "100.100.100.100" in alpha.sh("cat /etc/resolv.conf"))
    changed = alpha.snapshot()
    assert {k for k in before if changed[k] != before[k]} == set(before), "all of it was touched"

    unit.ended(end)
    alpha.sh(f"tailscaled --cleanup; ninja -C {BUILD_DIR} uninstall")
    assert alpha.snapshot() == before
    assert alpha.sh("cat /etc/resolv.conf") == "# mine\nnameserver 203.0.113.1\noptions edns0\n"
    assert set(files(alpha, "/usr", "/etc").split()) - set(there.split()) == {"/etc/default/tailscaled"}, \
        "settings stay for the next time, and nothing else"
