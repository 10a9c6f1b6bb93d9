"""A host whose daemon runs without TUN and without root: as another user, without a capability, all its files in that
user's folder."""
import os
import socket
import struct

from lab import Host, LabError, wait_for

UID = 65534
HOME = "/run/lab/user"
SOCKS, HTTP = 1055, 1056


class Userspace(Host):
    """`--tun=userspace-networking`, with both proxies on loopback."""

    def argv_as_user(self, args):
        return ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs", "--bounding-set=-all",
                "--inh-caps=-all", "env", f"HOME={HOME}", *args]

    def start(self, *flags, env=None):
        self.sh(f"mkdir -p {HOME}/bin; cp {self.lab.tailscaled} {self.lab.tailscale} {HOME}/bin/; chown {UID}:{UID} {HOME}")
        self.starts += 1
        env = {"TS_NO_LOGS_NO_SUPPORT": "true", "NOTIFY_SOCKET": "", **self.lab.env, **(env or {})}
        self.daemon = self.spawn(self.argv_as_user([
            f"{HOME}/bin/tailscaled", "--tun=userspace-networking", f"--statedir={HOME}", f"--socket={HOME}/sock",
            f"--socks5-server=localhost:{SOCKS}", f"--outbound-http-proxy-listen=localhost:{HTTP}", *flags]),
            f"{self.name}.log", env)
        wait_for(f"the socket of {self.name}", self._listening, 20)
        return self.daemon

    def _listening(self):
        if self.daemon.poll() is not None:
            raise LabError(f"tailscaled on {self.name} ended with {self.daemon.returncode}\n{self.log()[-3000:]}")
        return os.path.exists(f"/proc/{self.pid}/root{HOME}/sock")

    def note_state(self):
        try:
            with open(f"/proc/{self.pid}/root{HOME}/tailscaled.state") as f:
                self.states.add(f.read())
        except OSError:
            pass

    def tailscale(self, *args, check=True, timeout=60, env=None, input=None):
        done = self.run(*self.argv_as_user([f"{HOME}/bin/tailscale", f"--socket={HOME}/sock", *args]), check=False,
                        timeout=timeout, input=input, env={**self.lab.env, **(env or {})})
        self.outputs.append(done.stdout + done.stderr)
        self.note_state()
        if check and done.returncode:
            raise LabError(f"{self.name}: tailscale {' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def curl(self, *args, check=True, timeout=60):
        return self.run("curl", "-sS", "--max-time", str(timeout - 5), *args, check=check, timeout=timeout)

    def dial(self, timeout=15.0, port=SOCKS):
        """A plain connection to a proxy."""
        s = self.sock(socket.SOCK_STREAM, timeout=timeout)
        s.connect(("127.0.0.1", port))
        return s


def read_exactly(s, n):
    """Fewer bytes where the other side ends before."""
    data = bytearray()
    while len(data) < n:
        more = s.recv(min(n - len(data), 1 << 18))
        if not more:
            break
        data += more
    return bytes(data)


def socks5(host, target, port, command=1):
    """The reply code and the connection."""
    s = host.dial()
    s.sendall(b"\5\1\0")
    assert read_exactly(s, 2) == b"\5\0"
    try:
        where = b"\1" + socket.inet_pton(socket.AF_INET, target)
    except OSError:
        try:
            where = b"\4" + socket.inet_pton(socket.AF_INET6, target)
        except OSError:
            where = b"\3" + bytes([len(target)]) + target.encode()
    s.sendall(bytes([5, command, 0]) + where + struct.pack("!H", port))
    head = read_exactly(s, 4)
    assert head[0] == 5 and head[2] == 0, head
    bound = read_exactly(s, (16 if head[3] == 4 else 4) + 2)
    return head[1], s, bound
