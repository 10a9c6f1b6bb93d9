"""What the server decides: packet filter, expiry, removal, renaming.

        alpha --- internet --- beta
"""
import json
import time

import pytest

from lab import wait_for
from traffic import connects

ANY = {"IP": "*", "Ports": {"First": 0, "Last": 65535}}


def port(n, ip="*"):
    return {"IP": ip, "Ports": {"First": n, "Last": n}}


@pytest.fixture
def pair(lab):
    lab.servers("--gather", "0.1")
    alpha, beta = lab.host("alpha"), lab.host("beta")
    alpha.join()
    beta.join()
    alpha.wait_peer(beta, test=lambda p: p["Relay"])
    assert alpha.ping(beta.ip, count=1) == 1
    return alpha, beta


def settle():
    time.sleep(1.0)      # gather tick and the change of filters in the daemon


def test_default_deny_allowed_port_and_replies(lab, pair):
    alpha, beta = pair
    alpha.listen("0.0.0.0", 80)
    beta.listen("0.0.0.0", 80)
    beta.listen("0.0.0.0", 81)
    assert connects(alpha, beta.ip, 80) and connects(alpha, beta.ip, 81)
    assert connects(alpha, beta.ip6, 82) is False, "nobody listens, and the refusal comes through"

    lab.control.call("rules", rules=[])
    settle()
    assert connects(alpha, beta.ip, 80) is None and beta.ping(alpha.ip, timeout=1) == 0

    lab.control.call("rules", rules=[{"SrcIPs": [alpha.ip], "DstPorts": [port(80, beta.ip)], "IPProto": [6]}])
    settle()
    assert connects(alpha, beta.ip, 80) is True, "allowed, and its replies come back"
    assert connects(alpha, beta.ip, 81) is None and connects(beta, alpha.ip, 80) is None
    assert alpha.ping(beta.ip, timeout=1) == 1, "ICMP follows any rule that matches the addresses"
    assert beta.ping(alpha.ip, timeout=1) == 0

    lab.control.call("rules", rules=None)
    settle()
    assert connects(beta, alpha.ip, 80) is True


def test_udp_reply_passes_where_nothing_may_come_in(lab, pair):
    alpha, beta = pair
    lab.control.call("rules", rules=[{"SrcIPs": ["*"], "DstPorts": [port(5000, beta.ip)], "IPProto": [17]}])
    settle()
    a, b = alpha.sock(bind=("0.0.0.0", 6000), timeout=2), beta.sock(bind=("0.0.0.0", 5000), timeout=2)
    stray = beta.sock(bind=("0.0.0.0", 5001), timeout=1)
    a.sendto(b"question", (beta.ip, 5000))
    data, asker = b.recvfrom(100)
    assert data == b"question"
    b.sendto(b"answer", asker)
    assert a.recv(100) == b"answer"
    stray.sendto(b"stray", asker)
    a.settimeout(1)
    with pytest.raises(TimeoutError):
        a.recv(100)


def test_address_ranges_and_both_families(lab, pair):
    alpha, beta = pair
    beta.listen("::", 90, family=10)
    lab.control.call("rules", rules=[{"SrcIPs": ["100.64.0.1-100.64.0.1", "fd7a:115c:a1e0::/48"],
                                      "DstPorts": [{"IP": "*", "Ports": {"First": 85, "Last": 95}}]}])
    settle()
    assert connects(alpha, beta.ip, 90) and connects(alpha, beta.ip6, 90)
    lab.control.call("rules", rules=[{"SrcIPs": ["100.64.0.3-100.64.0.9"], "DstPorts": [ANY]}])
    settle()
    assert connects(alpha, beta.ip, 90) is None and connects(alpha, beta.ip6, 90) is None


def test_expired_peer_is_cut_off_and_let_in_again(lab, pair):
    alpha, beta = pair
    lab.control.call("expire", node="beta")
    wait_for("beta needs a login", lambda: beta.status()["BackendState"] == "NeedsLogin", 15)
    wait_for("alpha sees it", lambda: alpha.peer(beta).get("Expired"), 15)
    assert alpha.ping("100.64.0.2", timeout=1) == 0
    before = beta.status()["Self"]["PublicKey"]
    beta.up("--force-reauth")
    wait_for("beta is in", lambda: beta.status()["BackendState"] == "Running")
    assert beta.status()["Self"]["PublicKey"] != before and beta.ip == "100.64.0.2"
    wait_for("alpha sees the new key", lambda: alpha.peer(beta).get("PublicKey") ==
             beta.status()["Self"]["PublicKey"], 10)
    wait_for("traffic", lambda: alpha.ping("100.64.0.2", timeout=1), 15)


def test_deleted_node_notices(lab, pair):
    """The server tells a deleted node nothing; the next update of its own does."""
    alpha, beta = pair
    lab.control.call("delete", node="beta")
    wait_for("alpha has forgotten it", lambda: not alpha.peer(beta))
    assert alpha.ping("100.64.0.2", timeout=1) == 0
    beta.tailscale("set", "--hostname=other", check=False)     # makes it talk to the server
    lab.control.call("drop")
    wait_for("beta needs a login", lambda: beta.status()["BackendState"] == "NeedsLogin", 40)
    beta.up("--reset")
    assert beta.status()["BackendState"] == "Running"


def test_peer_is_renamed_added_and_hidden(lab, pair):
    alpha, beta = pair
    lab.control.call("rename", node="beta", name="bertha")
    wait_for("the new name", lambda: "bertha" in alpha.tailscale("status").stdout)
    assert alpha.tailscale("ip", "-4", "bertha").stdout == "100.64.0.2\n"
    gamma = lab.host("gamma")
    gamma.join()
    alpha.wait_peer(gamma)
    lab.control.call("hide", node="alpha", peer="gamma")
    wait_for("gamma is gone", lambda: not alpha.peer(gamma))
    assert alpha.ping("100.64.0.3", timeout=1) == 0
    lab.control.call("hide", node="alpha", peer="gamma", on=False)
    alpha.wait_peer(gamma)
    wait_for("traffic with gamma", lambda: alpha.ping("100.64.0.3", timeout=1), 15)


def test_server_ping_is_answered(lab, pair):
    assert lab.control.call("ping", node="alpha", timeout=5) == {"answered": True}


def test_whois(lab, pair):
    alpha, beta = pair
    text = alpha.tailscale("whois", "100.64.0.2:22").stdout
    assert "beta.mesh.example" in text and "Name:" in text
    assert alpha.tailscale("whois", "100.64.0.99", check=False).returncode == 1


def told(host, why):
    return wait_for(f"{host.name} logs the refusal", lambda: f"refused by the peer, because {why}" in host.log(), 5)


def test_a_refusal_is_told_and_shields_let_only_replies_in(lab, pair):
    alpha, beta = pair
    alpha.listen("0.0.0.0", 80)
    beta.listen("0.0.0.0", 80)
    lab.control.call("rules", rules=[{"SrcIPs": ["*"], "DstPorts": [port(80)]}])
    settle()
    assert connects(alpha, beta.ip, 80) is True and connects(alpha, beta.ip, 81) is None
    told(alpha, "its access rules do not allow it")
    beta.up("--shields-up")
    settle()
    assert connects(alpha, beta.ip, 80) is None and alpha.ping(beta.ip, timeout=1) == 0
    told(alpha, "it accepts no connections (shields up)")
    assert connects(beta, alpha.ip, 80) is True and beta.ping(alpha.ip, timeout=1) == 1
    beta.up("--shields-up=false")
    settle()
    assert connects(alpha, beta.ip, 80) is True


def test_whois_shows_granted_capabilities(lab, pair):
    alpha, beta = pair
    lab.control.call("rules", rules=[{"SrcIPs": [beta.ip], "CapGrant": [
        {"Dsts": [f"{alpha.ip}/32"], "CapMap": {"example.com/cap/b": [{"may": "read"}], "example.com/cap/a": None}}]}])
    settle()
    who = json.loads(alpha.tailscale("whois", "--json", beta.ip).stdout)
    assert who["CapMap"] == {"example.com/cap/a": None, "example.com/cap/b": [{"may": "read"}]}
    assert "example.com/cap/b" in alpha.tailscale("whois", beta.ip).stdout
    assert json.loads(beta.tailscale("whois", "--json", alpha.ip).stdout)["CapMap"] is None
    alpha.up("--shields-up")
    assert json.loads(alpha.tailscale("whois", "--json", beta.ip).stdout)["CapMap"] is None
