"""The `tunnel` fixture: makes wireguard-go and our side of a tunnel to it, in namespaces of the test's own."""
import os
import shutil

import pytest

from reference import Lab, Peer, Reference

BUILD_DIR = os.environ.get("BUILD_DIR", "")
PROGRAM = os.path.join(BUILD_DIR, "tests", "wireguard", "wireguard_peer")


def pytest_collection_modifyitems(items):
    why = None
    if os.geteuid() != 0:
        why = "namespaces need root"
    elif shutil.which("wireguard-go") is None:
        why = "no wireguard-go in PATH (Debian: wireguard-go)"
    elif not os.path.exists(PROGRAM):
        why = "BUILD_DIR names no build"
    for item in items:
        if why:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    lab = item.funcargs.get("made")
    if report.when == "call" and report.failed and lab is not None:
        report.sections.append(("lab", lab.logs()))


@pytest.fixture
def made():
    with Lab() as lab:
        yield lab


@pytest.fixture
def tunnel(made):
    """tunnel(speed) makes both sides; with endpoint the reference knows where we are and can begin."""
    def make(speed=1, endpoint=False):
        reference = Reference(made)
        peer = Peer(made, reference, PROGRAM, speed)
        reference.add(peer, endpoint)
        return reference, peer
    return make
