"""The proxy for tests: a link that is cut, stalled and healed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.consistency.proxy import proxies
from tests.promises import PATIENCE

SHORT = 0.2
"""Seconds during which nothing may come over a stalled link."""


@contextmanager
def echo() -> Iterator[int]:
    """Run a server that echoes what it receives; yield its port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(sock: socket.socket) -> None:
        with sock:
            try:
                while data := sock.recv(1024):
                    sock.sendall(data)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,)).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def test_a_link_passes_what_comes_and_its_end() -> None:
    with echo() as port, proxies() as made:
        link = made.link("127.0.0.1", port)
        with closing(connect(link.port)) as sock:
            sock.sendall(b"one")
            assert sock.recv(10) == b"one"
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(10) == b""


def answers(port: int) -> bool:
    """Return whether a new connection to a link passes data."""
    try:
        with closing(connect(port)) as sock:
            sock.sendall(b"two")
            return sock.recv(10) == b"two"
    except ConnectionError:
        return False


def test_a_cut_link_resets_open_and_new_connections_until_it_is_healed() -> None:
    with echo() as port, proxies() as made:
        link = made.link("127.0.0.1", port)
        with closing(connect(link.port)) as sock:
            sock.sendall(b"one")
            assert sock.recv(10) == b"one"
            link.cut()
            with pytest.raises(ConnectionResetError):
                sock.recv(10)
        assert not answers(link.port)
        link.heal()
        assert answers(link.port)


def test_a_stalled_link_keeps_what_comes_until_it_is_healed() -> None:
    with echo() as port, proxies() as made:
        link = made.link("127.0.0.1", port)
        with closing(connect(link.port)) as sock:
            link.stall()
            sock.sendall(b"one")
            sock.settimeout(SHORT)
            with pytest.raises(TimeoutError):
                sock.recv(10)
            sock.settimeout(PATIENCE)
            link.heal()
            assert sock.recv(10) == b"one"
