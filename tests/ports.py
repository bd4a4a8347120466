"""Ports that stay reserved for a test while no server of the test listens on them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """Keep a free port of 127.0.0.1; yield its number.

    A port that a server had and let go can be another process's a moment later, on a machine where
    many tests run at once. This keeps it by a socket that is bound and does not listen: clients are
    refused, and a server can bind and listen beside it, since both set SO_REUSEADDR (socket(7)).
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield int(sock.getsockname()[1])
