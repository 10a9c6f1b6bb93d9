"""Programs that talk through the tunnel, as threads on sockets that live in the hosts' namespaces."""
import hashlib
import os
import socket
import struct
import threading
import time


class Echo:
    """A UDP echo server on every address of a host."""

    def __init__(self, host, port=7007, family=socket.AF_INET):
        self.port = port
        self.sock = host.sock(family=family, bind=("::" if family == socket.AF_INET6 else "0.0.0.0", port), timeout=0.2)
        self.stopping = False
        self.seen = []               # (number, when) of every datagram, in order of arrival
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping:
            try:
                data, peer = self.sock.recvfrom(2000)
            except socket.timeout:
                continue
            except OSError:
                return
            if len(data) >= 8:
                self.seen.append((struct.unpack_from("!Q", data)[0], time.monotonic()))
            try:
                self.sock.sendto(data, peer)
            except OSError:
                pass                 # the route may be gone while a daemon restarts

    def stop(self):
        self.stopping = True
        self.thread.join(5)


class Flow:
    """Numbered datagrams to an Echo, one every `period` seconds until stop()."""

    def __init__(self, host, address, port=7007, period=0.02, size=64):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sock = host.sock(family=family, timeout=0.2)
        self.target, self.period, self.pad = (address, port), period, bytes(size - 8)
        self.stopping = False
        self.sent, self.answered = {}, {}
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self._send, self._receive)]
        for t in self.threads:
            t.start()

    def _send(self):
        n, start = 0, time.monotonic()
        while not self.stopping:
            self.sent[n] = time.monotonic()
            try:
                self.sock.sendto(struct.pack("!Q", n) + self.pad, self.target)
            except OSError:
                pass
            n += 1
            time.sleep(max(0.0, start + n * self.period - time.monotonic()))

    def _receive(self):
        while not self.stopping or time.monotonic() < self.until:
            try:
                data = self.sock.recv(2000)
            except socket.timeout:
                continue
            except OSError:
                return
            self.answered[struct.unpack_from("!Q", data)[0]] = time.monotonic()

    def stop(self, wait=1.0):
        self.until = time.monotonic() + wait
        self.stopping = True
        for t in self.threads:
            t.join(wait + 5)
        return self

    def lost(self):
        return sorted(set(self.sent) - set(self.answered))

    def longest_gap(self):
        """The longest time without any answer, in seconds, from the first answer to the end of sending."""
        times = sorted(self.answered.values())
        if not times:
            return float("inf")
        times.append(max(times[-1], max(self.sent.values())))
        return max((b - a for a, b in zip(times, times[1:])), default=0.0)

    def answered_since(self, when):
        return [n for n, t in self.answered.items() if t >= when]


def send_file(sender, receiver, address, mib, port=7008, timeout=120.0):
    """Moves random bytes over TCP; (seconds, whether the checksums agree)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = receiver.listen("::" if family == socket.AF_INET6 else "0.0.0.0", port, family)
    result = {}

    def receive():
        conn, _ = server.accept()
        with conn:
            conn.settimeout(timeout)
            digest, total = hashlib.sha256(), 0
            while data := conn.recv(1 << 16):
                digest.update(data)
                total += len(data)
            result["got"] = (total, digest.hexdigest())
            conn.sendall(b"done")

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    client = sender.sock(socket.SOCK_STREAM, family, timeout=timeout)
    client.connect((address, port))
    digest, block, start = hashlib.sha256(), os.urandom(1 << 20), time.monotonic()
    for i in range(mib):
        piece = block[i:] + block[:i]
        digest.update(piece)
        client.sendall(piece)
    client.shutdown(socket.SHUT_WR)
    client.recv(4)
    seconds = time.monotonic() - start
    thread.join(timeout)
    client.close()
    server.close()
    return seconds, result.get("got") == (mib << 20, digest.hexdigest())


class Stream:
    """A TCP connection that carries `kib` every 10 ms until stop(); an error of either end is kept in `errors`."""

    def __init__(self, sender, receiver, address, kib=32, port=7009):
        self.block, self.arrived, self.errors, self.stopping = os.urandom(kib << 10), [], [], False
        self.server = receiver.listen("0.0.0.0", port)
        self.client = sender.sock(socket.SOCK_STREAM, timeout=60)
        self.client.connect((address, port))
        self.threads = [threading.Thread(target=self._guard, args=(f,), daemon=True) for f in (self._send, self._receive)]
        for t in self.threads:
            t.start()

    def _guard(self, run):
        try:
            run()
        except OSError as e:
            self.errors.append(e)

    def _send(self):
        while not self.stopping:
            self.client.sendall(self.block)
            time.sleep(0.01)
        self.client.shutdown(socket.SHUT_WR)

    def _receive(self):
        conn, _ = self.server.accept()
        with conn:
            conn.settimeout(60)
            while conn.recv(1 << 16):
                self.arrived.append(time.monotonic())

    def stall(self, since, until=None):
        """The longest time without a byte, in seconds."""
        until = until or time.monotonic()
        times = [since, *(t for t in list(self.arrived) if since <= t <= until), until]
        return max(b - a for a, b in zip(times, times[1:]))

    def stop(self):
        self.stopping = True
        for t in self.threads:
            t.join(60)
        self.client.close()
        self.server.close()
        return self


def connects(host, address, port, timeout=1.5):
    """Whether a TCP connection comes about: True, False (refused), or None (silence)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = host.sock(socket.SOCK_STREAM, family, timeout=timeout)
    try:
        s.connect((address, port))
        return True
    except ConnectionRefusedError:
        return False
    except (socket.timeout, OSError):
        return None
    finally:
        s.close()
