"""Several logins on one machine.

        alpha, beta --- internet --- control, relay
"""
import json

import pytest

from lab import wait_for


@pytest.fixture
def alpha(lab):
    lab.servers("--gather", "0.1")
    host = lab.host("alpha")
    host.start()
    return host


def login(host, *flags, **key):
    return host.tailscale("login", f"--login-server={host.lab.url}", f"--auth-key={host.lab.key(**key)}",
                          "--timeout=30s", *flags)


def listed(host):
    """account -> (id, selected)"""
    rows = json.loads(host.tailscale("switch", "--list", "--json").stdout)
    return {r["nickname"]: (r["id"], r["selected"]) for r in rows}


def online(lab):
    return sorted(n["Name"].split(".")[0] for n in lab.control.call("nodes") if n["Streams"])


def local(host, method, path, *more):
    done = host.sh(f"curl -sS -X {method} -w '\\n%{{http_code}}' --unix-socket /run/tailscale/tailscaled.sock "
                   f"http://local-tailscaled.sock/localapi/v0/{path}")
    text, _, code = done.rpartition("\n")
    return int(code), text.strip()


def test_two_logins_and_back(lab, alpha):
    """Each login keeps its key, settings and address; only one of them is on the network at a time."""
    assert alpha.tailscale("switch", "--list").stdout == "ID  Tailnet  Account\n"
    alpha.up("--accept-routes")
    first, key = alpha.ip, alpha.status()["Self"]["PublicKey"]
    login(alpha, "--hostname=second", "--nickname=work", user="bob")
    assert alpha.ip != first and alpha.status()["Self"]["PublicKey"] != key
    both = listed(alpha)
    assert set(both) == {"u", "work"} and both["work"][1] and not both["u"][1]
    wait_for("only the second is there", lambda: online(lab) == ["second"])
    text = alpha.tailscale("switch", "--list").stdout.splitlines()
    assert text[0].split() == ["ID", "Tailnet", "Account"] and text[2].split() == [both["work"][0], "203.0.113.2", "work*"]
    assert f"inet {first}/32" not in alpha.sh("ip addr show dev tailscale0")
    machines = {n["Machine"] for n in lab.control.call("nodes")}
    assert len(machines) == 1, "it is the same machine"

    done = alpha.tailscale("switch", "u")
    assert done.stdout == 'Switching to account "u"\nSuccess.\n'
    assert alpha.ip == first and alpha.status()["Self"]["PublicKey"] == key
    wait_for("only the first is there", lambda: online(lab) == ["alpha"])
    assert json.loads(local(alpha, "GET", "prefs")[1])["RouteAll"] is True
    assert alpha.tailscale("switch", "u").stdout == 'Already on account "u"\n'

    alpha.tailscale("switch", both["work"][0])                      # by id
    alpha.stop()
    alpha.start()
    wait_for("the last one is taken up again", lambda: alpha.status()["BackendState"] == "Running")
    assert listed(alpha)["work"][1] and json.loads(local(alpha, "GET", "prefs")[1])["RouteAll"] is False


def test_traffic_follows_the_switch(lab, alpha):
    """The old login's sessions, peers and filter are gone; the new one's work."""
    beta = lab.host("beta")
    beta.join()
    alpha.up()
    alpha.wait_peer(beta)
    assert wait_for("traffic", lambda: alpha.ping(beta.ip, timeout=1))
    login(alpha, "--hostname=second", user="bob")
    alpha.wait_peer(beta)
    assert wait_for("traffic of the second", lambda: alpha.ping(beta.ip, timeout=1))
    alpha.tailscale("switch", "u")
    assert wait_for("traffic of the first", lambda: alpha.ping(beta.ip, timeout=1))


def test_logout_falls_back_to_an_empty_profile(lab, alpha):
    alpha.up()
    login(alpha, "--hostname=second", user="bob")
    alpha.tailscale("logout")
    assert alpha.tailscale("status", check=False).stdout.startswith("Logged out.")
    assert set(listed(alpha)) == {"u"} and not listed(alpha)["u"][1]
    assert json.loads(local(alpha, "GET", "prefs")[1])["ControlURL"] == ""
    state = json.loads(alpha.sh("cat /var/lib/tailscale/tailscaled.state"))
    assert "_current-profile" not in state and len([k for k in state if k.startswith("profile-")]) == 1
    alpha.tailscale("switch", "u")
    assert alpha.status()["BackendState"] == "Running"
    again = alpha.tailscale("login", f"--login-server={lab.url}", "--auth-key=nonsense", "--timeout=9s", check=False)
    assert again.returncode == 1 and "auth key" in again.stderr
    assert alpha.tailscale("switch", "u").stdout.endswith("Success.\n"), "a failed login does no harm to the others"


def test_an_unfinished_login_is_forgotten(lab, alpha):
    """A restart in the middle of a second login takes up the first again."""
    alpha.up()
    key = alpha.status()["Self"]["PublicKey"]
    done = alpha.tailscale("login", f"--login-server={lab.url}", "--timeout=2s", check=False)
    assert done.returncode == 1 and "To authenticate, visit:" in done.stderr
    assert alpha.status()["BackendState"] == "NeedsLogin" and not any(s for _, s in listed(alpha).values())
    alpha.stop()
    alpha.start()
    wait_for("it runs", lambda: alpha.status()["BackendState"] == "Running")
    assert alpha.status()["Self"]["PublicKey"] == key


def test_the_same_user_takes_over(lab, alpha):
    alpha.up()
    first = listed(alpha)["u"][0]
    login(alpha, "--hostname=renamed")
    assert listed(alpha) == {"u": (first, True)} and len(lab.control.call("nodes")) == 1


def test_remove(lab, alpha):
    alpha.up()
    login(alpha, user="bob")
    done = alpha.tailscale("switch", "remove", "bob")
    assert done.stdout.startswith('Already on account "bob"\n') and set(listed(alpha)) == {"u", "bob"}
    alpha.tailscale("switch", "u")
    assert alpha.tailscale("switch", "remove", "bob").stdout == ""
    assert set(listed(alpha)) == {"u"}
    for args in (("bob",), ("remove", "bob")):
        done = alpha.tailscale("switch", *args, check=False)
        assert done.returncode == 1 and 'No profile named "bob"' in done.stderr and "switch --list" in done.stderr
    done = alpha.tailscale("switch", check=False)
    assert done.returncode == 1 and done.stdout == "usage: tailscale switch NAME\n"


def test_endpoints(lab, alpha):
    alpha.up()
    code, text = local(alpha, "GET", "profiles/current")
    me = json.loads(text)
    assert code == 200 and me["Name"] == "u" and me["Key"] == "profile-" + me["ID"]
    assert local(alpha, "GET", "profiles/") == (200, f"[{text}]")
    assert local(alpha, "GET", "profiles/" + me["ID"]) == (200, text)
    assert local(alpha, "POST", "profiles/" + me["ID"]) == (204, "")
    assert local(alpha, "POST", "profiles/zzzz") == (500, "profile not found")
    assert local(alpha, "GET", "profiles/zzzz") == (404, "profile not found")
    assert local(alpha, "DELETE", "profiles/zzzz") == (204, "")
    for method, path in (("POST", "profiles/"), ("DELETE", "profiles/"), ("PUT", "profiles/current"),
                         ("PUT", "profiles/zzzz"), ("PATCH", "profiles/")):
        assert local(alpha, method, path)[0] == 405, (method, path)
    assert local(alpha, "PUT", "profiles/") == (201, "")
    assert json.loads(local(alpha, "GET", "profiles/current")[1])["ID"] == ""
    assert alpha.status()["BackendState"] == "NeedsLogin"
    assert local(alpha, "POST", "profiles/" + me["ID"]) == (204, "")
    wait_for("it runs", lambda: alpha.status()["BackendState"] == "Running")
    assert local(alpha, "DELETE", "profiles/" + me["ID"]) == (204, "")
    assert json.loads(local(alpha, "GET", "profiles/")[1]) == []
    assert alpha.status()["BackendState"] == "NeedsLogin" and "100.64.0.1" not in alpha.sh("ip addr")
