"""TCP proxies in the test process, whose links a test can cut and stall.

Each change is in force when the call that makes it returns, so nothing depends on timing.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from tests.promises import PATIENCE

T = TypeVar("T")

CHUNK = 2**16
_RESET = struct.pack("ii", 1, 0)
"""Linger for zero seconds: closing the socket then sends RST (socket(7))."""


class Proxies:
    """Run proxies on an event loop in its own thread, until ``close``."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies")
        self._thread.start()
        self._made: list[Proxy] = []
        self._fronts: list[asyncio.Server] = []

    def link(self, host: str, port: int) -> Proxy:
        """Return a new proxy to an address."""
        made = Proxy(self, host, port)
        self.run(made.open())
        self._made.append(made)
        return made

    def front(self, chosen: Callable[[int, int], Proxy | None]) -> str:
        """Return an address whose connections each go through a chosen proxy. The choice depends on
        the port that a connection comes from and on the front's own port; connections without a
        proxy are reset."""

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            source, own = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
            proxy = chosen(source[1], own[1])
            if proxy is None:
                _reset(writer)
            else:
                await proxy.accept(reader, writer)

        server = self.run(asyncio.start_server(accept, "127.0.0.1", 0))
        self._fronts.append(server)
        return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop; return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def close(self) -> None:
        """End all proxies and the thread."""
        for front in self._fronts:
            self._loop.call_soon_threadsafe(front.close)
        for each in self._made:
            self.run(each.end())
        self.run(_settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Proxy:
    """A link to ``host`` and ``port`` through ``address``; at first it passes everything."""

    def __init__(self, proxies: Proxies, host: str, port: int) -> None:
        self._proxies = proxies
        self._to = host, port
        self._is_cut = False
        self._flows = asyncio.Event()
        self._flows.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset all connections, including new ones, until ``heal``."""
        self._proxies.run(self._cut())

    def stall(self) -> None:
        """Pass nothing on, but keep all connections, until ``heal``."""
        self._proxies.run(self._stall())

    def heal(self) -> None:
        """Pass everything from now on, starting with the data that was stalled."""
        self._proxies.run(self._heal())

    async def open(self) -> None:
        self._server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def end(self) -> None:
        self._server.close()
        await self._cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _cut(self) -> None:
        self._is_cut = True
        for writer in list(self._open):
            _reset(writer)

    async def _stall(self) -> None:
        self._flows.clear()

    async def _heal(self) -> None:
        self._is_cut = False
        self._flows.set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Accept a connection, and reset it if the link is cut."""
        if self._is_cut:
            _reset(writer)
            return
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        beyond = None
        try:
            await self._flows.wait()
            answers, beyond = await asyncio.open_connection(*self._to)
            self._open.add(beyond)
            await asyncio.gather(self._pump(reader, beyond), self._pump(answers, writer))
        except OSError:
            pass  # either side is gone, and so is the other in a moment
        finally:
            for each in (writer, beyond):
                if each is not None:
                    self._open.discard(each)
                    _reset(each)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on the data that comes, and its end."""
        while data := await reader.read(CHUNK):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        await self._flows.wait()
        with suppress(OSError):
            writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def _settle() -> None:
    """Let the loop close what was aborted."""
    for _ in range(3):
        await asyncio.sleep(0)


@contextmanager
def proxies() -> Iterator[Proxies]:
    made = Proxies()
    try:
        yield made
    finally:
        made.close()
