"""Ports that stay reserved for a test while no server of the test listens on them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """Reserve a free port of 127.0.0.1; yield its number.

    On a machine where many tests run at once, another process can take a port the moment a server
    releases it. The port is therefore held by a socket that is bound but does not listen: clients
    are refused, and a server can still bind and listen on it, since both set SO_REUSEADDR
    (socket(7)).
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield int(sock.getsockname()[1])
