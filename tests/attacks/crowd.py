"""Clients that attack a server on this machine with raw sockets, in a separate process.

``python -m tests.attacks.crowd KIND PORT COUNT [PATH [SOURCE]]`` holds COUNT connections, and opens
a new one for each that the server closes. The attack is under way once all are open. The kinds:

- ``slow`` sends one byte of a head every half second.
- ``pipeline`` sends 8 KiB of requests for PATH at once, and never reads.
- ``beats`` does the same with heartbeats of nodes that do not exist.
- ``trickle`` asks for PATH, and reads 1 KiB of the answer per second.
- ``chunks`` sends bodies in chunks of one byte, as fast as the server reads them.
- ``headers`` sends heads with as many header lines as allowed, one after another.
- ``churn`` opens a connection, sends a request and closes it, again and again.
- ``heads`` sends heads that no server should accept, one after another.
- ``park`` pipelines three queries that wait for PATH, and leaves half a second later.
"""

from __future__ import annotations

import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle

from tests.attacks.attacker import SOURCE, TOKEN, at_it

HEAD = b"GET /v1/regions HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 4000


BAD = cycle(
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"%ff" * 4000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n" * 1000 + b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 16777216\r\n\r\n",
        b"PUT /v1/node/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        b"Content-Length: 8000000\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: x\r\nNo Colon\r\n: y\r\n\r\n",
    ]
)


class Attacker:
    """One connection, and the connections that replace it."""

    def __init__(self, port: int, path: bytes, source: str) -> None:
        self.port = port
        self.source = source
        self.path = path
        self.sock: socket.socket | None = None
        self.sent = 0
        self.next = 0.0
        self.opened = 0
        self.since = 0.0

    def get(self, path: bytes) -> bytes:
        """Return the bytes of a request."""
        token = b"X-Nomad-Token: %b\r\n" % TOKEN.encode() if TOKEN else b""
        return b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (path, token)

    def open(self) -> socket.socket | None:
        """Return the connection, opened again if the server has closed it; None while it is not
        accepted."""
        if self.sock is None:
            self.sock = socket.socket()
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.setblocking(False)
            self.sent = 0
            self.since = time.monotonic()
            self.opened += 1
            try:
                self.sock.bind((self.source, 0))
                self.sock.connect_ex(("127.0.0.1", self.port))
            except OSError:
                self.close()
        return self.sock

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
        self.sock, self.sent = None, 0

    def send(self, data: bytes) -> None:
        sock = self.open()
        if sock is None:
            return
        try:
            self.sent += sock.send(data)
        except BlockingIOError:
            pass
        except OSError:
            self.close()

    def is_closed(self) -> bool:
        """Return whether the server has closed the connection; discard what the server sent."""
        if self.sock is None:
            return True
        try:
            return self.sock.recv(65536) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


def slow(attacker: Attacker) -> float:
    if attacker.is_closed():
        attacker.close()
    attacker.send(HEAD[attacker.sent : attacker.sent + 1])
    return 0.5


def pipeline(attacker: Attacker) -> float:
    request = attacker.get(attacker.path)
    attacker.send(request * (8192 // len(request)))
    return 1.0


def beats(attacker: Attacker) -> float:
    head = attacker.get(b"/v1/node/11111111-2222-3333-4444-555555555555/heartbeat").rstrip()
    beat = b'PUT%b\r\nContent-Length: 14\r\n\r\n{"Digest":"x"}' % head.removeprefix(b"GET")
    attacker.send(beat * (8192 // len(beat)))
    return 1.0


def trickle(attacker: Attacker) -> float:
    if attacker.open() is not None and not attacker.sent:
        attacker.send(attacker.get(attacker.path))
    if attacker.sock is not None:
        with suppress(BlockingIOError, OSError):
            if attacker.sock.recv(1024) == b"":
                attacker.close()
    return 1.0


def chunks(attacker: Attacker) -> float:
    if attacker.is_closed():
        attacker.close()
    if not attacker.sent:
        attacker.send(
            b"GET /v1/agent/health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
    attacker.send(b"1\r\nx\r\n" * 10_000)
    return 0.02


def headers(attacker: Attacker) -> float:
    if attacker.is_closed():
        attacker.close()
    attacker.send(b"GET /v1/regions HTTP/1.1\r\nHost: x\r\n" + b"a:b\r\n" * 9000 + b"\r\n")
    return 0.05


def churn(attacker: Attacker) -> float:
    attacker.send(b"GET /v1/regions HTTP/1.1\r\nHost: x\r\n\r\n")
    if attacker.sent or attacker.is_closed():
        attacker.close()
    return 0.0


def heads(attacker: Attacker) -> float:
    if attacker.is_closed():
        attacker.close()
    if not attacker.sent:
        attacker.send(next(BAD))
    elif time.monotonic() - attacker.since > 0.5:  # the server waits for more
        attacker.close()
    return 0.01


def park(attacker: Attacker) -> float:
    if attacker.sent:
        attacker.close()
    attacker.send(attacker.get(attacker.path) * 3)
    return 0.5


ACTS = (slow, pipeline, beats, trickle, chunks, headers, churn, heads, park)
KINDS: dict[str, Callable[[Attacker], float]] = {each.__name__: each for each in ACTS}


def main(kind: str, port: str, count: str, path: str = "/", source: str = SOURCE) -> None:
    act, counts = KINDS[kind], Counter[str]()
    attackers = [Attacker(int(port), path.encode(), source) for _ in range(int(count))]
    is_announced = False
    while True:
        now = time.monotonic()
        for number, attacker in enumerate(attackers):
            if attacker.next <= now:
                attacker.next = time.monotonic() + act(attacker)
                counts["acts"] += 1
            if not is_announced and number % 100 == 99:
                time.sleep(0.02)  # the server's listen queue is bounded
        counts["opened"] = sum(each.opened for each in attackers)
        if not is_announced:
            at_it(counts)
            is_announced = True
        due = min(each.next for each in attackers)
        time.sleep(min(max(0.001, due - time.monotonic()), 0.1))


if __name__ == "__main__":
    main(*sys.argv[1:])
