"""DNS from both sides: an upstream server for the lab, and clients that count what comes back."""
import re
import select
import socket
import statistics
import struct
import threading
import time

A, TXT, AAAA = 1, 16, 28


def wire(name):
    return b"".join(bytes([len(p)]) + p.encode() for p in name.split(".") if p) + b"\0"


def query(number, name, kind=A):
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + wire(name) + struct.pack("!HH", kind, 1)


def question(data):
    """Name, type and the bytes of the question of a message."""
    labels, at = [], 12
    while data[at]:
        labels.append(data[at + 1:at + 1 + data[at]].decode())
        at += 1 + data[at]
    return ".".join(labels).lower(), struct.unpack_from("!H", data, at + 1)[0], data[12:at + 5]


class Nameserver:
    """Answers A with `address` and TXT with `size` bytes, NXDOMAIN below nosuch.example, by UDP and TCP."""

    def __init__(self, space, listen, address, size=20, ttl=0):
        self.address, self.size, self.ttl = socket.inet_aton(address), size, ttl
        self.silent, self.stopping, self.asked = False, False, []
        self.udp = space.sock(bind=(listen, 53), timeout=None)
        self.tcp = space.listen(listen, 53)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _answer(self, data, limit):
        name, kind, asked = question(data)
        self.asked.append((name, kind))
        code, records = 0, b""
        if name.endswith("nosuch.example"):
            code = 3
        elif kind == A:
            records = b"\xc0\x0c" + struct.pack("!HHIH", A, 1, self.ttl, 4) + self.address
        elif kind == TXT:
            text = b"".join(bytes([min(255, self.size - i)]) + b"x" * min(255, self.size - i)
                            for i in range(0, self.size, 255))
            records = b"\xc0\x0c" + struct.pack("!HHIH", TXT, 1, self.ttl, len(text)) + text
        cut = 12 + len(asked) + len(records) > limit
        flags = 0x8180 | code | (0x0200 if cut else 0)
        return data[:2] + struct.pack("!5H", flags, 1, int(bool(records) and not cut), 0, 0) + asked + (
            b"" if cut else records)

    def _run(self):
        while not self.stopping:
            for sock in select.select([self.udp, self.tcp], [], [], 0.1)[0]:
                try:
                    self._serve(sock)
                except (OSError, IndexError, struct.error):
                    pass

    def _serve(self, sock):
        if sock is self.udp:
            data, peer = sock.recvfrom(4096)
            if not self.silent:
                sock.sendto(self._answer(data, 1200), peer)
            return
        conn = sock.accept()[0]
        with conn:
            conn.settimeout(2)
            length = struct.unpack("!H", conn.recv(2))[0]
            answer = self._answer(conn.recv(length), 65535)
            if not self.silent:
                conn.sendall(struct.pack("!H", len(answer)) + answer)

    def stop(self):
        self.stopping = True
        self.thread.join(5)
        self.udp.close()
        self.tcp.close()


def _send_all(host, server, names, wanted):
    """The wanted queries as fast as they can be sent; the answers by number and the times they took."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    s = host.sock(family=family)
    s.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)     # SO_RCVBUFFORCE
    s.connect((server, 53))
    sent, answers, took = {}, {}, []

    def receive():
        quiet = time.monotonic()
        while len(answers) < len(wanted) and time.monotonic() < quiet + 6:
            if not select.select([s], [], [], 0.2)[0]:
                continue
            data = s.recv(4096)
            quiet = time.monotonic()
            number = struct.unpack_from("!H", data)[0]
            if number not in answers:
                answers[number] = data
                took.append(quiet - sent[number])
    thread = threading.Thread(target=receive)
    thread.start()
    for number in wanted:
        message = query(number, names[number])
        sent[number] = time.monotonic()
        s.send(message)
    thread.join(60)
    s.close()
    return answers, took


def _queue_full(host):
    """What the kernel's queue before the daemon and the daemon's own, there and back, had no room for."""
    kernel = int(host.sh("cat /sys/class/net/tailscale0/statistics/tx_dropped"))
    ours = re.findall(r"^service_(?:dropped|refused)_packets_total (\d+)$", host.tailscale("debug", "metrics").stdout, re.M)
    assert len(ours) == 2
    return kernel + sum(map(int, ours))


def flood(host, server, names):
    """Asks for all names at once.  What the queues on the way had no room for is asked again, as any client does; more
    than that must not be missing.  Returns the answers by number, the times of the first round and how many it lost
    to the queues."""
    before = _queue_full(host)
    answers, took = _send_all(host, server, names, range(len(names)))
    lost = _queue_full(host) - before
    assert len(names) - len(answers) <= lost, f"{len(names) - len(answers)} missing, but the queues lost only {lost}"
    for _ in range(10):
        missing = [i for i in range(len(names)) if i not in answers]
        for at in range(0, len(missing), 200):
            answers.update(_send_all(host, server, names, missing[at:at + 200])[0])
    return answers, took, lost


def one_by_one(host, server, name, count):
    """The median time of a query that waits for the one before, in microseconds."""
    s = host.sock()
    s.connect((server, 53))
    times = []
    for i in range(count):
        message = query(i, name)
        began = time.perf_counter()
        s.send(message)
        s.recv(2000)
        times.append(time.perf_counter() - began)
    s.close()
    return statistics.median(times) * 1e6
