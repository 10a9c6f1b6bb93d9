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
