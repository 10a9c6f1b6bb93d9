"""A path through a hard NAT, found by guessing its ports; the peer's NAT is an easy one.

        alpha --- hard --- internet --- easy --- beta
                              |
                    control, two relays (STUN from both shows that the NAT is hard)
"""
import os
import time

from lab import WAN4, wait_for
from traffic import Echo, Flow, send_file

SLOW = float(os.environ.get("LAB_SLOW", "1"))     # a sanitizer build gets more time: LAB_SLOW=5


def joined(lab, first="hard", second="easy", flags=()):
    lab.servers(regions=2)
    alpha, beta = lab.pair(first, second)
    alpha.start("--port=41641", "--verbose=1")
    beta.start("--port=41641", "--verbose=1")
    alpha.up(*flags)
    beta.up()
    alpha.wait_peer(beta, test=lambda p: p["Relay"])
    beta.wait_peer(alpha, test=lambda p: p["Relay"])
    return alpha, beta


def test_direct_through_a_hard_nat(lab):
    alpha, beta = joined(lab)
    echo = Echo(beta)
    start = time.monotonic()
    flow = Flow(alpha, beta.ip)
    assert alpha.wait_direct(beta, 15 * SLOW) == f"{beta.router.wan4}:41641"
    assert beta.wait_direct(alpha, 3 * SLOW).startswith(f"{alpha.router.wan4}:")
    print(f"direct after {time.monotonic() - start:.2f} s")
    flow.stop()
    echo.stop()
    print(*[l for l in alpha.log().splitlines() if "search" in l or "direct by" in l], sep="\n")
    seconds, same = send_file(alpha, beta, beta.ip, 16)
    assert same
