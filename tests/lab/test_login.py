"""Logging in and out.

        alpha --- internet --- control, relay
"""
import re
import subprocess
import time

import pytest

from lab import CONTROL, LabError, wait_for

URL_LINE = re.compile(r"^\t(http://\S+/register/\S+)$", re.M)


@pytest.fixture
def alpha(lab):
    lab.servers()
    host = lab.host("alpha")
    host.start()
    return host


def up_command(host, *flags):
    """`up` as a process of its own, for logins that wait."""
    proc = subprocess.Popen(host.argv([host.lab.tailscale, "up", f"--login-server={host.lab.url}", *flags]),
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    proc.seen_by = host.outputs
    return proc


def finish(proc, timeout=20):
    """(exit status, stdout, stderr); never leaves the process behind."""
    try:
        out, err = proc.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        proc.kill()
        out, err = proc.communicate()
        raise LabError(f"`up` did not end\n{out}{err}")
    proc.seen_by.append(out + err)
    return proc.returncode, out, err


def test_key_login(lab, alpha):
    before = alpha.tailscale("status", check=False)
    assert before.returncode == 1 and before.stdout.startswith("Logged out.")
    done = alpha.up()
    assert done.stdout == "" and "authenticate" not in done.stderr
    status = alpha.status()
    assert status["BackendState"] == "Running" and status["Self"]["DNSName"] == "alpha.mesh.example."
    assert alpha.tailscale("ip").stdout.split() == ["100.64.0.1", "fd7a:115c:a1e0::1"]
    assert "inet 100.64.0.1/32" in alpha.sh("ip addr show dev tailscale0")
    row = alpha.tailscale("status").stdout.splitlines()[0].split()
    assert row[:4] == ["100.64.0.1", "alpha", "u", "linux"]
    node = wait_for("the server knows our relay", lambda: [n for n in lab.control.call("nodes") if n.get("HomeDERP")])
    assert node[0]["HomeDERP"] == 900


def test_key_from_a_file(lab, alpha):
    alpha.sh(f"umask 077; echo ' {lab.key()} ' > /run/key")
    alpha.tailscale("up", f"--login-server={lab.url}", "--auth-key=file:/run/key", "--timeout=30s")
    assert alpha.status()["BackendState"] == "Running"


def test_login_over_tls_needs_the_ca(lab):
    lab.servers(tls=True)
    alpha, beta = lab.host("alpha"), lab.host("beta")
    alpha.join()
    assert alpha.status()["BackendState"] == "Running"
    beta.start(env={"SSL_CERT_FILE": "/dev/null"})
    start = time.monotonic()
    done = beta.tailscale("up", f"--login-server={lab.url}", f"--auth-key={lab.key()}", "--timeout=4s", check=False)
    assert done.returncode == 1 and time.monotonic() - start < 8
    assert re.search("certificate|TLS|x509", done.stderr), done.stderr
    assert len(lab.control.call("nodes")) == 1


@pytest.mark.parametrize("make, text", [
    (lambda lab: "nonsense", "invalid pre auth key"),
    (lambda lab: lab.key(expires_in=-1), "authkey expired"),
    (lambda lab: lab.key()[:-1] + "g", "not the hash of the given password"),
], ids=["unknown", "expired", "wrong secret"])
def test_bad_key(lab, alpha, make, text):
    done = alpha.up(key=make(lab), check=False)
    assert done.returncode == 1 and text in done.stderr
    assert alpha.status()["BackendState"] == "NeedsLogin"
    alpha.up()
    assert alpha.status()["BackendState"] == "Running"


def test_one_off_key_is_used_up(lab, alpha):
    key = lab.key()
    alpha.up(key=key)
    beta = lab.host("beta")
    beta.start()
    done = beta.up(key=key, check=False)
    assert done.returncode == 1 and "authkey already used" in done.stderr


def test_interactive_login(lab, alpha):
    proc = up_command(alpha, "--hostname=alpha")
    try:
        pending = wait_for("a login waits", lambda: lab.control.call("pending"))
        wait_for("the daemon follows up", lambda: lab.control.call("pending")[0]["waiting"])
        status = alpha.status()
        assert status["BackendState"] == "NeedsLogin" and status["AuthURL"] == pending[0]["url"]
        lab.control.call("approve", url=pending[0]["url"], user="alice")
    finally:
        code, out, err = finish(proc)
    assert code == 0 and out == ""
    assert URL_LINE.findall(err) == [pending[0]["url"]] and err.endswith("Success.\n")
    assert "To authenticate, visit:" in err
    assert alpha.tailscale("status").stdout.split()[:3] == ["100.64.0.1", "alpha", "alice"]


def test_interactive_login_goes_on_after_the_timeout(lab, alpha):
    done = alpha.tailscale("up", f"--login-server={lab.url}", "--timeout=2s", check=False)
    assert done.returncode == 1 and "timeout waiting for" in done.stderr
    url = alpha.status()["AuthURL"]
    assert url in done.stderr
    shown = alpha.tailscale("status", check=False)
    assert shown.returncode == 1 and shown.stdout.splitlines()[:2] == ["Logged out.", f"Log in at: {url}"]
    lab.control.call("approve", url=url)
    wait_for("the node is in", lambda: alpha.status()["BackendState"] == "Running")


def test_login_survives_a_server_restart_while_it_waits(lab, alpha):
    """A restarted server has forgotten the URL and gives a new one; that one works."""
    alpha.tailscale("up", f"--login-server={lab.url}", "--timeout=1s", check=False)
    first = alpha.status()["AuthURL"]
    lab.control.restart(1.0)
    second = wait_for("a new login URL", lambda: alpha.status()["AuthURL"] not in ("", first) and
                      alpha.status()["AuthURL"], 20)
    wait_for("the server waits for it", lambda: [p for p in lab.control.call("pending") if p["url"] == second])
    lab.control.call("approve", url=second)
    wait_for("the node is in", lambda: alpha.status()["BackendState"] == "Running")


def test_logout_and_login_again(lab, alpha):
    alpha.up()
    key = lab.control.call("nodes")[0]["Key"]
    machine = lab.control.call("nodes")[0]["Machine"]
    assert alpha.tailscale("logout").stdout == ""
    assert alpha.tailscale("status", check=False).stdout.startswith("Logged out.")
    node = wait_for("the server expires the key", lambda: [n for n in lab.control.call("nodes") if n.get("Expired")])
    assert node[0]["Key"] == key
    assert "100.64.0.1" not in alpha.sh("ip addr")
    assert alpha.tailscale("logout").returncode == 0
    alpha.up()
    node = lab.control.call("nodes")
    assert len(node) == 1 and node[0]["Key"] != key and node[0]["Machine"] == machine


def test_down_and_up(lab, alpha):
    alpha.up()
    alpha.tailscale("down")
    stopped = alpha.tailscale("status", check=False)
    assert stopped.returncode == 1 and stopped.stdout.startswith("Tailscale is stopped.")
    assert "100.64.0.1" not in alpha.sh("ip addr")
    wait_for("the server sees it offline", lambda: not lab.control.call("nodes")[0]["Streams"])
    alpha.tailscale("up")
    assert alpha.status()["BackendState"] == "Running" and alpha.ip == "100.64.0.1"


def test_changed_settings_must_be_named_again(lab, alpha):
    alpha.up("--accept-routes")
    done = alpha.tailscale("up", f"--login-server={lab.url}", "--hostname=alpha", check=False)
    assert done.returncode == 1 and "requires mentioning all" in done.stderr and "non-default flags" in done.stderr
    assert f"\ttailscale up --hostname=alpha --login-server={lab.url} --accept-routes" in done.stderr
    done = alpha.tailscale("up", "--login-server=http://127.0.0.1:1", "--accept-routes", "--hostname=alpha", check=False)
    assert done.returncode == 1 and "--force-reauth" in done.stderr


def test_force_reauth_makes_a_new_key(lab, alpha):
    alpha.up()
    key = lab.control.call("nodes")[0]["Key"]
    alpha.up("--force-reauth")
    nodes = lab.control.call("nodes")
    assert len(nodes) == 1 and nodes[0]["Key"] != key and nodes[0]["ID"] == 1
    assert alpha.status()["Self"]["PublicKey"] == nodes[0]["Key"]


def test_no_server_is_said_within_the_timeout(lab, alpha):
    for server, words in ((f"http://{CONTROL}:9", "refused"), ("http://203.0.113.77:8090", "route|unreachable|timed out"),
                          ("http://no-such-name.invalid", "resolve|name|lookup")):
        start = time.monotonic()
        done = alpha.tailscale("up", f"--login-server={server}", "--auth-key=x", "--timeout=5s", "--reset", check=False)
        assert done.returncode == 1 and time.monotonic() - start < 9
        assert re.search(words, done.stderr), (server, done.stderr)


def test_no_daemon(lab):
    lab.servers()
    alpha = lab.host("alpha")
    for command in ("status", "up"):
        done = alpha.tailscale(command, check=False)
        assert done.returncode == 1 and "failed to connect to local tailscaled" in done.stderr.lower()


def test_old_server_url_forms(lab, alpha):
    """A trailing slash is the same server."""
    alpha.tailscale("up", f"--login-server={lab.url}/", f"--auth-key={lab.key()}", "--timeout=20s")
    assert alpha.status()["BackendState"] == "Running"
