"""Sends the answer to the current request of a connection.

1. Large answers are queued without a copy.
2. The head of an answer is sent together with the first part of its body, because after every
   system call a thread has to wait for the interpreter lock if other threads want it.
3. The client's progress is recorded, so that a client that reads nothing can be disconnected.

A worker's thread sends the answer; only the loop's thread closes a connection.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Protocol

from waitress.channel import ClientDisconnected, HTTPChannel

from plugind import logs
from plugind.serve.loop import Loop
from plugind.serve.output import SHARED_MINIMUM, Queued, SharedOutput
from plugind.serve.request import ApplicationTask, Refused, RefusingTask, Request
from plugind.serve.workers import Workers

_log = logs.get("server")


class AnsweringServer(Protocol):
    """The part of the server that an answering connection uses."""

    queued: Queued
    loop: Loop
    task_dispatcher: Workers

    def make_room_to_send(self, channel: Any, size: int) -> None: ...


class AnsweringChannel(HTTPChannel):  # type: ignore[misc]
    """A connection that sends answers by the rules in the module's docstring.

    ``stalled_since`` is when the client last took some of the data that waits to be sent (monotonic
    clock). ``has_answered``: part of the answer to the current request has been sent or queued.
    """

    task_class = ApplicationTask
    error_task_class = RefusingTask

    server: AnsweringServer
    close_when_flushed: bool
    current_outbuf_count: int

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.stalled_since = time.monotonic()
        self.has_answered = False
        self._head = b""  # of the current answer, until it is sent
        super().__init__(*arguments, **options)

    def waits(self) -> None:
        """Note that the current request waits, so that another one may be answered meanwhile."""
        self.server.task_dispatcher.done(self)

    def answer(self, request: Request) -> None:
        """Answer a request; if the application fails, answer with status 500."""
        task = (self.error_task_class if request.error else self.task_class)(self, request)
        try:
            if not self.connected:
                raise ClientDisconnected
            task.service()
            self.write_soon(self.take_head())  # if there was no body to send it with
        except ClientDisconnected:
            task.close_on_finish = True
        except Exception as error:
            _log.error("a request failed by a fault of plugind's own", exc_info=error)
            if not (self.has_answered or request.error):
                text = "internal error; the server's log says more"
                request.error = Refused.with_text("500 Internal Server Error", text)
                self.answer(request)
                return
            task.close_on_finish = True
        if self.current_outbuf_count:  # make the next answer begin a buffer of its own
            self.current_outbuf_count = self.adj.outbuf_high_watermark
        request.close()
        with self.requests_lock:
            self.close_when_flushed |= task.close_on_finish
            self.requests.clear()

    def begin_answer(self, head: bytes) -> None:
        """Keep the head of an answer for ``write_soon``."""
        self._head = head

    def take_head(self) -> bytes:
        """Return the head of the answer, if it is still to be sent."""
        head, self._head = self._head, b""
        return head

    def send_at_once(self, head: bytes, body: bytes) -> None:
        """Send an answer without blocking, and queue what the socket does not take.

        Call this only when nothing else waits to be sent.
        """
        self.has_answered = True
        size = len(head) + len(body)
        try:
            sent = self.socket.sendmsg((head, body))
        except BlockingIOError:
            sent = 0
        except OSError:  # the client is gone
            self.will_close = True
            return
        self.stalled_since = time.monotonic()
        with suppress(ClientDisconnected):  # the loop may close it while a worker sends
            if sent < len(head):
                self.write_soon(head[sent:])
                sent = len(head)
            if sent < size:
                self.write_soon(memoryview(body)[sent - len(head) :])

    def write_soon(self, data: Any) -> int:
        """Queue a part of an answer, a large part without a copy; return its size in bytes."""
        if not data:
            return 0
        head = self.take_head()
        if head and isinstance(data, bytes) and len(data) < SHARED_MINIMUM:
            data = head + data
        elif head:
            self.write_soon(head)
        if self.total_outbufs_len > self.adj.outbuf_high_watermark:
            self.waits()  # until the client has taken some
        self.has_answered = True
        self.server.loop.touch(self)  # write_soon may wait until the loop has sent something
        if not self.total_outbufs_len:
            self.stalled_since = time.monotonic()
        size = len(data)
        if isinstance(data, bytes | memoryview) and size >= SHARED_MINIMUM:
            self.server.make_room_to_send(self, size)
            shared = SharedOutput(data, self.server.queued.add)
            try:
                super().write_soon(shared)
            except BaseException:  # the client is gone
                shared.close()
                raise
        else:
            super().write_soon(bytes(data))
        self.server.loop.touch(self)
        return size

    def _flush_some(self, do_close: bool = True) -> bool:
        sent: bool = super()._flush_some(do_close)
        if sent:
            self.stalled_since = time.monotonic()
        return sent

    def send(self, data: Any, do_close: bool = True) -> int:
        """Send what the socket takes. Leave it to the loop to close a broken connection, because
        this may be a worker's thread."""
        return int(super().send(data, do_close=False))
