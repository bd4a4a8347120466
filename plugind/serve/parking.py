"""Parks requests in the threads that answer them, as WSGI servers have to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TypeVar

from plugind.api.request import Connection, Pause, Steps, Stream
from plugind.errors import ClientGone

T = TypeVar("T")


class Threads:
    """Runs the steps of a request in the calling thread, which sleeps while the request pauses."""

    def signal(self) -> threading.Event:
        """Return a signal that is not set."""
        return threading.Event()

    def run(self, steps: Steps[T], connection: Connection | None) -> T:
        """Run steps, with their pauses, and return their result.

        Raise what they raise. When the client of ``connection`` has left, ClientGone is raised in
        the steps.
        """
        try:
            pause = next(steps)
            while True:
                if _sleep(pause, connection):
                    pause = next(steps)
                else:
                    pause = steps.throw(ClientGone("the client closed the connection"))
        except StopIteration as end:
            result: T = end.value
            return result

    def send(self, stream: Stream, connection: Connection | None) -> Body:
        """Return the parts of a stream as a WSGI body, which ends when the client leaves."""
        return Body(stream, connection)


class Body:
    """A stream as a WSGI body: the thread that iterates over it sleeps while the stream pauses."""

    def __init__(self, stream: Stream, connection: Connection | None) -> None:
        self._stream = stream
        self._connection = connection

    def __iter__(self) -> Iterator[bytes]:
        for each in self._stream.parts:
            if not isinstance(each, Pause):
                yield each
            elif not _sleep(each, self._connection):
                return

    def close(self) -> None:
        """End the stream; WSGI servers always call this (PEP 3333)."""
        self._stream.close()


def _sleep(pause: Pause, connection: Connection | None) -> bool:
    """Wait until a pause is over; return False if the client has left and that ends the pause."""
    woken = pause.signal
    assert isinstance(woken, threading.Event)
    if connection is None:
        woken.wait(pause.timeout)
        return True
    if not pause.keeps_place:
        connection.waits()
    if not pause.ends_with_client:
        woken.wait(pause.timeout)
        return True
    has_left = threading.Event()

    def leave() -> None:
        has_left.set()
        woken.set()

    connection.on_close(leave)
    try:
        woken.wait(pause.timeout)
    finally:
        connection.on_close(None)
    return not has_left.is_set()
