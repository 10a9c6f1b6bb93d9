"""What peers are told of us beyond what we see."""


def test_endpoint_named_by_the_administrator(lab):
    """Both behind hard NATs, where nothing can be guessed: one forwards a port, and its daemon is told so."""
    lab.servers(regions=2)
    alpha, beta = lab.pair("hard", "hard")
    outside = f"{alpha.router.wan4}:5000"
    alpha.router.sh(f"""
nft add chain inet lab forwarded '{{ type nat hook prerouting priority -100; }}'
nft add rule inet lab forwarded iifname wan udp dport 5000 dnat ip to {alpha.address}:41641
nft insert rule inet lab pass ct status dnat accept
""")
    alpha.join()
    beta.join()
    lab.met(alpha, beta)
    assert beta.ping(alpha.ip, count=4, interval=0.5, timeout=5) >= 3
    assert alpha.path(beta) == "" and outside not in alpha.status()["Self"]["Addrs"]
    alpha.stop()
    alpha.start(env={"TS_DEBUG_PRETENDPOINT": f"nonsense,{outside}"})
    lab.met(alpha, beta)
    assert outside in alpha.status()["Self"]["Addrs"]
    assert "TS_DEBUG_PRETENDPOINT: entry 1 is left out: want IP:PORT" in alpha.log()
    assert alpha.ping(beta.ip, count=4, interval=0.5, timeout=5) >= 3
    assert beta.wait_direct(alpha) == outside
    assert beta.ping(alpha.ip, count=4, interval=0.2) == 4
