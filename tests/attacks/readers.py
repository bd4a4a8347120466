"""Many clients that read without pause, all in one process.

``python -m tests.attacks.readers PORT KIND CLIENTS`` uses as little processor time as it can, so
that only its requests slow the server down.
"""

from __future__ import annotations

import selectors
import socket
import sys
from collections import Counter
from itertools import count

from tests.attacks.attacker import SOURCE, TOKEN, at_it

LIST = "/v1/plugins?type=csi"
GZIP = "Accept-Encoding: gzip\r\n"

KINDS = {
    "plain": LIST,
    "filter": f"{LIST}&filter=NodesHealthy+%3C+5+and+Provider+contains+sample",
    "a filter of its own each time": f"{LIST}&filter=NodesHealthy+%3C+5+and+ID+!=+x{{number}}",
    "pretty": f"{LIST}&pretty",
    "pretty pages": f"{LIST}&pretty&per_page={{number}}",
    "parts of the list": f"{LIST}&per_page={{number}}",
    "prefix": f"{LIST}&prefix=p{{digit}}",
    "gzip": LIST,
    "history": "/v1/plugin/csi/p0/history",
    "history of all": "/v1/history?filter=Reason+contains+%22x{number}%22",
    "availability": "/v1/plugin/csi/p{digit}/availability",
    "problems": "/v1/problems",
    "pages": "/ui/plugins/csi?q={digit}",
    "watchers": f"{LIST}&prefix=p&wait=30s&index={{index}}",
}


class Reader:
    """One connection, which sends the next request as soon as it has its answer."""

    _numbers = count(1)

    def __init__(self, port: int, kind: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 30, (SOURCE, 0))
        self._kind = kind
        self._index = b"1"
        self._head = b""
        self._left: int | None = None

    def ask(self) -> None:
        number = next(self._numbers)
        path = KINDS[self._kind].format(
            number=number, digit=number % 10, index=self._index.decode()
        )
        headers = f"X-Nomad-Token: {TOKEN}\r\n" + (GZIP if self._kind == "gzip" else "")
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())

    def read(self) -> bool:
        """Read the bytes that have come; return whether they complete the answer."""
        if self._left is None:
            self._head += self.sock.recv(4096)
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return False
            self._take_head(head, len(body))
        else:
            self._left -= len(self.sock.recv(2**18))
        if self._left:
            return False
        self._head, self._left = b"", None
        return True

    def _take_head(self, head: bytes, body: int) -> None:
        status, *lines = head.lower().split(b"\r\n")
        assert b" 200 " in status, status
        headers = dict(line.split(b": ", 1) for line in lines)
        self._index = headers.get(b"x-nomad-index", b"1")
        self._left = int(headers[b"content-length"]) - body


def main(port: str, kind: str, clients: str) -> None:
    """Read forever."""
    counts: Counter[str] = Counter()
    with selectors.DefaultSelector() as selector:
        readers = [Reader(int(port), kind) for _ in range(int(clients))]
        for reader in readers:
            selector.register(reader.sock, selectors.EVENT_READ, reader)
            reader.ask()
        at_it(counts)
        while True:
            for key, _ in selector.select():
                if key.data.read():
                    counts["answers"] += 1
                    key.data.ask()


if __name__ == "__main__":
    main(*sys.argv[1:])
