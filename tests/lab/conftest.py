"""The `lab` fixture: a fresh lab for each test; logs are shown when one fails."""
import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lab import Lab, LabError   # noqa: E402

BUILD_DIR = os.environ.get("BUILD_DIR")


def _terminated(signum, frame):
    raise KeyboardInterrupt      # SIGTERM cleans up as Ctrl-C does


def pytest_configure(config):
    config.addinivalue_line("markers", "bare: needs no daemon")
    signal.signal(signal.SIGTERM, _terminated)


def pytest_collection_modifyitems(items):
    for item in items:
        if os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="namespaces need root"))
        elif not BUILD_DIR and not item.get_closest_marker("bare"):
            item.add_marker(pytest.mark.skip(reason="BUILD_DIR names no build"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call":
        item.failed = report.failed
        lab = item.funcargs.get("lab")
        if report.failed and lab is not None:
            report.sections.append(("lab", lab.logs()))


@pytest.fixture
def lab(request):
    with Lab(BUILD_DIR) as made:
        yield made
        if not getattr(request.node, "failed", False):
            try:
                made.stop_daemons()
                made.audit()
            except LabError as e:
                pytest.fail(f"{e}", pytrace=False)
