"""What tests of routers and firewalls need of traffic: answers that name the asker, and a look at the wire."""
import contextlib
import socket
import struct
import threading
import time


class Echo:
    """Answers TCP, UDP (and, by the kernel, ICMP) in a space; tells each client from which address it came."""

    def __init__(self, space, port=7070):
        self.space, self.port, self.stopping = space, port, False
        self.socks = []
        for family, any_ in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            with space.inside():
                udp = socket.socket(family, socket.SOCK_DGRAM)
                tcp = socket.socket(family, socket.SOCK_STREAM)
                for s in (udp, tcp):
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    if family == socket.AF_INET6:
                        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    s.settimeout(0.2)
                    s.bind((any_, port))
            tcp.listen(16)
            self.socks += [(udp, self._udp), (tcp, self._tcp)]
        self.threads = [threading.Thread(target=fn, args=(s,), daemon=True) for s, fn in self.socks]
        for t in self.threads:
            t.start()
        space.lab.cleanup.callback(self.stop)

    def _udp(self, s):
        while not self.stopping:
            with contextlib.suppress(OSError):
                _, who = s.recvfrom(2000)
                s.sendto(who[0].encode(), who)

    def _tcp(self, s):
        while not self.stopping:
            with contextlib.suppress(OSError):
                c, who = s.accept()
                c.settimeout(1)
                c.sendall(who[0].encode())
                c.close()

    def stop(self):
        self.stopping = True
        for t in self.threads:
            t.join()
        for s, _ in self.socks:
            s.close()


def ask_udp(space, address, port=7070, timeout=1.0, tries=3):
    """The address as which the echo server sees us, or None."""
    s = space.sock(socket.SOCK_DGRAM, socket.AF_INET6 if ":" in address else socket.AF_INET, timeout=timeout)
    try:
        for _ in range(tries):
            with contextlib.suppress(OSError):
                s.sendto(b"who am I", (address, port))
                return s.recv(200).decode()
        return None
    finally:
        s.close()


def ask_tcp(space, address, port=7070, timeout=2.0):
    s = space.sock(socket.SOCK_STREAM, socket.AF_INET6 if ":" in address else socket.AF_INET, timeout=timeout)
    try:
        s.connect((address, port))
        return s.recv(200).decode()
    except OSError:
        return None
    finally:
        s.close()


class Wire:
    """Every packet that leaves by a device towards the given addresses, while it is open."""

    def __init__(self, space, dev, addresses):
        self.wanted = {socket.inet_pton(socket.AF_INET6 if ":" in a else socket.AF_INET, a) for a in addresses}
        with space.inside():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self.sock.bind((dev, 0))
        self.sock.settimeout(0.1)
        self.seen, self.total, self.stopping = [], 0, False
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        while not self.stopping:
            try:
                frame, where = self.sock.recvfrom(2000)
            except (socket.timeout, OSError):
                continue
            if where[2] != socket.PACKET_OUTGOING:
                continue
            self.total += 1
            kind = struct.unpack("!H", frame[12:14])[0]
            dst = frame[30:34] if kind == 0x0800 else frame[38:54] if kind == 0x86dd else b""
            if dst in self.wanted:
                self.seen.append((time.monotonic(), dst))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        time.sleep(0.1)
        self.stopping = True
        self.thread.join()
        self.sock.close()


class Chatter:
    """Sends a datagram to each address every 10 ms, come what may."""

    def __init__(self, space, addresses, port=7071):
        self.targets = [(space.sock(socket.SOCK_DGRAM, socket.AF_INET6 if ":" in a else socket.AF_INET), (a, port))
                        for a in addresses]
        self.stopping, self.sent = False, 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping:
            for s, to in self.targets:
                with contextlib.suppress(OSError):
                    s.sendto(b"not in clear", to)
                    self.sent += 1
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stopping = True
        self.thread.join()
        for s, _ in self.targets:
            s.close()
