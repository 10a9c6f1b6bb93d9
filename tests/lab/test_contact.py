"""First contact: traffic at the moment `up` returns, before the server has told the others about us.

        alpha --- internet --- beta          the server gathers changes for 0.8 s
"""
import pytest

from traffic import Echo, Flow
import time


@pytest.mark.parametrize("nat", [None, "easy", "hard"])
def test_nothing_is_lost_when_a_newcomer_speaks_at_once(lab, nat):
    lab.servers("--gather", "0.8")
    hosts = [lab.host(n, nat and lab.router(nat)) for n in ("alpha", "beta")]
    alpha, beta = hosts
    alpha.join()
    address = alpha.ip
    echo = Echo(alpha)
    beta.start()
    time.sleep(1)
    beta.up()
    flow = Flow(beta, address, period=0.05)
    time.sleep(3)
    flow.stop(2.0)
    echo.stop()
    assert len(flow.sent) > 40 and flow.lost() == []
    first = min(flow.answered.values()) - min(flow.sent.values())
    print(f"first answer after {first:.2f} s")
    assert first < 2.5


def test_ping_right_after_up(lab):
    lab.servers("--gather", "0.8")
    alpha, beta = lab.pair()
    alpha.join()
    address = alpha.ip
    beta.join()
    assert beta.ping(address, count=5, interval=0.2, timeout=3) == 5


def test_the_others_know_a_newcomer_when_its_up_returns(lab):
    """A server that stores on a tick of its own, as Headscale does, tells the others of a newcomer's keys as early as
    the newcomer lets it: here, before it answers with the map."""
    lab.servers("--gather", "1.2", "--store-tick", "1.3")
    alpha = lab.host("alpha")
    alpha.join()
    address, took = alpha.ip, []
    for name in ("beta", "gamma", "delta"):
        host = lab.host(name)
        host.join()
        begin = time.monotonic()
        assert host.ping(address, timeout=5) == 1
        took.append(time.monotonic() - begin)
    print("first replies after", [f"{t:.2f}" for t in took])
    assert max(took) < 0.6
