"""Debian packages that conflict with each other or change the machine, unpacked into folders of their own.

They are never installed: `unpack` hands out the folder, with what the packages need and the machine has not got;
`overlay` lays it over /usr and /etc in a namespace.
"""
import fcntl
import glob
import os
import shutil
import subprocess
import tempfile

import pytest

from lab import wait_for

CACHE = os.environ.get("DEBS_DIR") or os.path.join(tempfile.gettempdir(), f"lab-debs-{os.getuid()}")


def unpack(*packages):
    """One folder with what the packages contain; the test is skipped, with the reason, when they are not to be had."""
    where = os.path.join(CACHE, "+".join(packages))
    os.makedirs(CACHE, mode=0o755, exist_ok=True)
    if os.stat(CACHE).st_uid != os.getuid():
        pytest.skip(f"{CACHE} belongs to another user")
    with open(os.path.join(CACHE, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(where):
            fetch(packages, where)
    return where


def fetch(packages, where):
    new = where + ".new"
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(os.path.join(new, "debs", "partial"))
    try:
        got = subprocess.run(["apt-get", "install", "--yes", "--download-only", "--reinstall", "--no-install-recommends",
                              "-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=1",
                              "-o", f"Dir::Cache::archives={new}/debs", *packages],
                             capture_output=True, text=True, timeout=300)
        if got.returncode:
            pytest.skip(f"apt-get install --download-only {' '.join(packages)}: {got.stderr.strip().splitlines()[-1:]}")
        for deb in glob.glob(os.path.join(new, "debs", "*.deb")):
            subprocess.run(["dpkg-deb", "-x", deb, new], check=True, timeout=60)
        merge_usr(new)
        os.rename(new, where)
    except (OSError, subprocess.SubprocessError) as e:
        pytest.skip(f"the packages {' '.join(packages)} cannot be had: {e}")
    finally:
        shutil.rmtree(new, ignore_errors=True)


def merge_usr(root):
    """Packages may still say /sbin where the system has /usr/sbin."""
    for name in ("bin", "sbin", "lib"):
        old = os.path.join(root, name)
        if os.path.isdir(old):
            shutil.copytree(old, os.path.join(root, "usr", name), symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(old)


def overlay(space, root):
    """Lays the folder over /usr and /etc of the namespace."""
    space.sh(f"""
mount -t overlay overlay -o lowerdir={root}/usr:/usr /usr
if [ -d {root}/etc ]; then cp -a {root}/etc/. /etc/; fi
""")


def start_bus(space):
    """A system bus by the packages' own policies.  It starts no programs: polkit, which it would start for firewalld and
    NetworkManager, knows only actions that an installation has registered, and refuses all others; without it root may."""
    space.sh("""
mkdir -p /run/dbus
sed '/servicedir/d; /<user>/d; /<servicehelper>/d; s|>system.d<|>/usr/share/dbus-1/system.d<|' \\
        /usr/share/dbus-1/system.conf > /run/dbus/lab.conf
""")
    space.spawn(["dbus-daemon", "--config-file=/run/dbus/lab.conf", "--nofork", "--nopidfile"], "dbus.log")
    wait_for("the bus", lambda: space.run("test", "-S", "/run/dbus/system_bus_socket", check=False).returncode == 0)
