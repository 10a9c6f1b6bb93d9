"""Our WireGuard against another's: handshakes in both roles, rekeys, cookies, replay, forgery, silence.

Its clock is the real one, ours runs as fast as a test wants.  So sessions never grow old for it and all rekeys
are ours, and within one real second there are a minute's worth of them.
"""
import time

import pytest

from reference import DATA, INITIATION, RESPONSE, quiet

MINUTE = 60   # of our clock, in seconds


def test_we_initiate(tunnel):
    reference, peer = tunnel()
    f = peer.echo(20, 10, 333)
    assert (f["sent"]["initiation"], f["received"]["response"]) == (1, 1)
    assert (f["received"]["initiation"], f["sent"]["response"]) == (0, 0)
    for length in (0, 1, 15, 16, 17, 1252):   # with and without padding, up to the whole MTU
        peer.echo(1, 1, length)
    assert reference.requests(20).result() == (20, 20)
    assert peer.figures()["echo"]["served"] == 20
    assert sum(peer.figures()["drops"].values()) == 0


def test_it_initiates(tunnel):
    reference, peer = tunnel(endpoint=True)
    assert reference.requests(20).result() == (20, 20)
    f = peer.figures()
    assert (f["received"]["initiation"], f["sent"]["response"]) == (1, 1)
    assert (f["sent"]["initiation"], f["received"]["response"]) == (0, 0)
    assert f["echo"]["served"] == 20
    peer.echo(20, 10, 333)
    assert peer.figures()["sent"]["initiation"] == 0
    assert sum(peer.figures()["drops"].values()) == 0


def test_ten_minutes_of_rekeys_as_initiator(tunnel):
    """Eleven minutes of traffic both ways under six sessions: nothing is lost, and no handshake too many."""
    reference, peer = tunnel(speed=60)
    start = peer.echo()["now"]
    other_way = reference.requests(2000, 0.005)
    peer.tell("echo", 6600, 100, 200)
    f = peer.until("eleven minutes", lambda f: f["echo"]["left"] == 0, 60)
    passed = f["now"] - start
    sent, answered = other_way.result()
    f = peer.until("the last answer", lambda f: f["echo"]["answered"] == 6601, 5)
    print(f"{passed:.0f} s of our clock, {sent} echoes from it, {f['sent']['initiation']} handshakes")
    assert passed >= 10 * MINUTE
    assert (sent, answered) == (2000, 2000)
    assert f["echo"]["wrong"] == f["echo"]["twice"] == 0
    # The session of the moment is replaced with the first packet after 120 s, and not before.
    assert f["sent"]["initiation"] == f["received"]["response"] == 1 + int(passed // 120.5)
    assert 120 <= f["soonest"] < 125
    assert f["received"]["initiation"] == 0
    assert sum(f["drops"].values()) == 0


def test_ten_minutes_of_rekeys_as_responder(tunnel):
    """It forgets us every two minutes of our clock and begins anew; we never do, since it is the initiator's job."""
    rounds = 6
    reference, peer = tunnel(speed=60, endpoint=True)
    start = peer.figures()["now"]
    served = answered = 0
    for n in range(rounds):
        assert reference.requests().result() == (1, 1)
        other_way = reference.requests(300, 0.005)
        peer.tell("echo", 1050, 100, 200)
        f = peer.until("105 s", lambda f: f["echo"]["left"] == 0)
        assert other_way.result() == (300, 300)
        served, answered = served + 301, answered + 1050
        f = peer.until("the answers", lambda f: f["echo"]["answered"] == answered, 5)
        assert f["echo"]["served"] == served
        assert f["received"]["initiation"] == f["sent"]["response"] == n + 1
        assert f["sent"]["initiation"] == 0
        assert sum(f["drops"].values()) == 0
        reference.add(peer, endpoint=True)
    assert peer.figures()["now"] - start >= 10 * MINUTE


def test_responder_takes_over_when_the_session_dies(tunnel):
    """The initiator never rekeys (its clock is slow): at 180 s nothing goes through any more, so we begin."""
    reference, peer = tunnel(speed=60, endpoint=True)
    assert reference.requests().result() == (1, 1)
    peer.tell("echo", 1700, 100, 200)
    f = peer.until("170 s", lambda f: f["echo"]["left"] == 0)
    assert f["sent"]["initiation"] == 0
    peer.tell("echo", 1500, 100, 200)
    f = peer.until("320 s", lambda f: f["echo"]["left"] == 0)
    f = peer.until("all answers", lambda f: f["echo"]["answered"] + f["drops"]["expired keypair"] == 3200, 5)
    assert f["sent"]["initiation"] == f["received"]["response"] == 2   # at 180 s and 120 s later
    assert f["drops"]["expired keypair"] <= 16   # what it had sent before it heard of the new session
    assert sum(f["drops"].values()) == f["drops"]["expired keypair"]


def test_cookie_when_it_is_under_load(tunnel):
    reference, peer = tunnel()
    for _ in range(20):                            # it feels a load when 128 wait at the same time
        peer.tell("flood", 400)
        time.sleep(0.05)
        if peer.figures()["received"]["cookie"] > 0:
            break
    else:
        pytest.fail("no flood was too much for it")
    peer.tell("echo", 1, 100, 200)
    f = peer.until("a session under load", lambda f: f["echo"]["answered"] == 1, 5)
    assert f["accepted"]["cookie"] == 1            # one belonged to an initiation of ours, the flood's to nobody
    assert f["drops"]["unknown index"] == f["received"]["cookie"] - 1
    assert (f["sent"]["initiation"], f["sent"]["mac2"], f["received"]["response"]) == (2, 1, 1)
    assert 0.2 < f["soonest"] < 2                  # the next early retry, not five seconds later


def test_cookie_when_we_are_under_load(tunnel):
    reference, peer = tunnel(endpoint=True)
    peer.tell("load", 20000)
    assert reference.requests().result() == (1, 1)
    f = peer.figures()
    assert (f["received"]["initiation"], f["received"]["mac2"]) == (2, 1)
    assert (f["sent"]["cookie"], f["sent"]["response"]) == (1, 1)
    assert f["drops"]["cookie asked for"] == 1


def test_cookie_asked_for_a_response(tunnel):
    """We begin while we are under load: its first response has no mac2, its next one has."""
    reference, peer = tunnel()
    peer.tell("load", 20000)
    f = peer.echo()
    assert (f["sent"]["initiation"], f["sent"]["cookie"]) == (2, 1)
    assert (f["received"]["response"], f["received"]["mac2"]) == (2, 1)
    assert f["drops"]["cookie asked for"] == 1


def test_replayed_data(tunnel):
    reference, peer = tunnel()
    f = peer.echo(3, 10)
    before = reference.delivered()
    peer.tell("again", "out", DATA)
    f = peer.tell("again", "in", DATA)
    assert f["drops"]["replayed packet"] == 1
    f = peer.echo()                                # it has seen our copy by now
    assert f["echo"]["twice"] == 0
    assert reference.delivered() == before + 1
    assert f["drops"]["replayed packet"] == 1


def test_replayed_initiation_of_ours(tunnel):
    reference, peer = tunnel()
    peer.echo()
    time.sleep(0.1)                                # so that not only its limit of 50 a second refuses
    peer.tell("again", "out", INITIATION)
    f = peer.echo(5, 20)
    assert f["received"]["response"] == 1
    assert sum(f["drops"].values()) == 0


def test_replayed_initiation_of_its(tunnel):
    reference, peer = tunnel(endpoint=True)
    assert reference.requests().result() == (1, 1)
    time.sleep(0.1)
    f = peer.tell("again", "in", INITIATION)
    assert f["drops"]["replayed initiation"] == 1
    assert f["sent"]["response"] == 1
    assert reference.requests(2).result() == (2, 2)


def test_replayed_response(tunnel):
    reference, peer = tunnel()
    peer.echo()
    f = peer.tell("again", "in", RESPONSE)
    assert f["accepted"]["handshake"] == 1
    assert f["drops"]["unknown index"] == 1        # its initiation is answered and closed
    peer.echo()


def test_source_that_is_not_ours(tunnel):
    reference, peer = tunnel()
    peer.echo()
    before = reference.delivered()
    peer.tell("foreign")
    f = peer.echo()
    assert f["sent"]["data"] == 3
    assert reference.delivered() == before + 1


def test_source_that_is_not_its(tunnel):
    reference, peer = tunnel(endpoint=True)
    assert reference.requests().result() == (1, 1)
    reference.space.sh("ip addr add 10.9.9.9/32 dev wg0")
    assert reference.requests(3, source="10.9.9.9", patience=1).result() == (3, 0)
    f = peer.figures()
    assert f["drops"]["inner source not allowed"] == 3
    assert f["echo"]["served"] == 1
    assert reference.requests().result() == (1, 1)


def test_forged_responses_race_the_one_to_us(tunnel):
    reference, peer = tunnel()
    peer.tell("forge", 20)
    f = peer.echo(2, 10)
    assert f["drops"]["bad handshake"] == 20
    assert (f["sent"]["initiation"], f["received"]["response"]) == (1, 1)


def test_forged_responses_race_the_one_to_it(tunnel):
    reference, peer = tunnel(endpoint=True)
    peer.tell("forge", 20)
    assert reference.requests(2).result() == (2, 2)
    f = peer.figures()
    assert (f["received"]["initiation"], f["sent"]["response"]) == (1, 1)


def test_idle_tunnel_is_silent(tunnel):
    """The last data each way is confirmed by one keepalive at most; after that nothing, for minutes."""
    reference, peer = tunnel(speed=10)
    f = peer.echo()
    f = peer.until("our keepalive", lambda f: f["sent"]["keepalive"] == 1, 5)
    assert f["received"]["keepalive"] == 0
    peer.tell("speed", 1)                          # or 15 s without an answer would be over before its 10 s
    assert reference.requests().result() == (1, 1)
    f = peer.until("its keepalive, 10 s later", lambda f: f["received"]["keepalive"] == 1, 15)
    peer.tell("speed", 60)
    start = peer.figures()["now"]
    assert quiet(peer, 6) == 0
    f = peer.figures()
    assert f["now"] - start >= 5 * MINUTE
    assert (f["sent"]["keepalive"], f["received"]["keepalive"]) == (1, 1)
    assert f["sent"]["initiation"] == 1
