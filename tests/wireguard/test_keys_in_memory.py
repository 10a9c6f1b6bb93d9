"""The daemon itself: what holds its keys goes neither to the swap nor into a core file."""
import os
import re
import resource

from reference import Lab

BUILD_DIR = os.environ.get("BUILD_DIR")


def test_daemon_is_locked_and_leaves_no_core():
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))   # what it inherits is not its own merit
    with Lab(BUILD_DIR) as lab:
        host = lab.host("alpha")
        pid = host.start().pid
        with open(f"/proc/{pid}/status") as f:
            assert int(re.search(r"VmLck:\s+(\d+) kB", f.read())[1]) > 1000
        with open(f"/proc/{pid}/limits") as f:
            assert re.search(r"Max core file size\s+(\S+)\s+(\S+)", f.read()).groups() == ("0", "0")
        assert "cannot be locked" not in host.log()
