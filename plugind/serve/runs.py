"""A request whose steps run in threads, and which holds no thread while it pauses.

The steps continue in a thread as soon as their signal is set, without passing through the event
loop: otherwise a change that wakes thousands of requests, which then take turns, would pass through
it several times for each. The loop has the timers, and notices clients that leave.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any

from plugind.api.request import Pause
from plugind.errors import ClientGone
from plugind.serve.mailbox import Mailbox, Signal
from plugind.serve.pool import Pool

Receive = Callable[[], Awaitable[dict[str, Any]]]
"""ASGI's function that awaits the next message about a request."""

_SHORT = 0.01
"""Longest pause, in seconds, that a thread sleeps through: the loop's timers have steps of
milliseconds."""


class Client:
    """The client of a request. The first ``on_close`` begins to watch whether it leaves.

    ``is_refused``: its request was refused.
    """

    # Thousands of clients may be parked.
    __slots__ = ("_call", "_in_no_way", "_receive", "_watch", "address", "has_left", "is_refused")

    def __init__(self, receive: Receive, address: str = "") -> None:
        self.address = address
        self.has_left = False
        self.is_refused = False
        self._receive = receive
        self._watch: asyncio.Task[None] | None = None
        self._call: Callable[[], None] | None = None
        self._in_no_way: Callable[[Client], None] | None = None

    def verified_node(self) -> None:
        """Do nothing: the HTTP server has no limits that spare agents."""

    def when_it_waits(self, call: Callable[[Client], None]) -> None:
        """Call ``call`` when the request begins to wait, and when it is over."""
        self._in_no_way = call

    def waits(self) -> None:
        """Note that the request waits, so that others may be answered. Only for the loop's
        thread."""
        if self._in_no_way is not None:
            self._in_no_way(self)

    def on_close(self, call: Callable[[], None] | None) -> None:
        """Call ``call`` once the client has left; None removes the callback. Only for the loop's
        thread."""
        self._call = call
        if call is None:
            return
        if self.has_left:
            call()
        elif self._watch is None:
            self._watch = asyncio.ensure_future(self._until_it_leaves())

    def close(self) -> None:
        """Note that the request is over, and stop watching whether the client leaves."""
        self.waits()
        if self._watch is not None:
            self._watch.cancel()

    async def _until_it_leaves(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.has_left = True
        if self._call is not None:
            self._call()


class _Wait:
    """One pause. It ends only once, whatever ends it first. Thread-safe."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._calls = [call]

    @property
    def is_over(self) -> bool:
        return not self._calls

    def end(self) -> None:
        try:
            call = self._calls.pop()  # atomic, so only one of two threads makes the call
        except IndexError:
            return
        call()


class Run:
    """Steps that run in the threads of a pool: at once, or after ``pause`` if they have already
    reached one. ``future`` gets their result."""

    def __init__(
        self,
        steps: Generator[Pause, None, Any],
        client: Client,
        pool: Pool,
        mailbox: Mailbox,
        pause: Pause | None = None,
    ) -> None:
        self._steps = steps
        self._client = client
        self._pool = pool
        self._mailbox = mailbox
        self._pause = pause
        self._wait: _Wait | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_abandoned = False
        self.future: asyncio.Future[Any] = mailbox.loop.create_future()
        if pause is None:
            self._resume()
        else:
            self._park(pause)

    def abandon(self) -> None:
        """Have the steps closed: now if they pause, else when they next do."""
        self._is_abandoned = True
        if (wait := self._wait) is not None:
            wait.end()

    def unwatch(self) -> None:
        """Stop watching for the end of a pause; only for the loop's thread."""
        self._client.on_close(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # In a thread of the pool.

    def _take(self) -> None:
        """Run steps up to the next long pause, or to their end."""
        try:
            while True:
                self._pause = pause = self._step()
                if pause.timeout is None or pause.timeout > _SHORT or pause.ends_with_client:
                    break
                time.sleep(pause.timeout)
        except StopIteration as end:
            self._mailbox.post(partial(self._ended, end.value, None))
            self._mailbox.let_catch_up()
        except BaseException as error:
            self._mailbox.post(partial(self._ended, None, error))
        else:
            self._park(pause)

    def _step(self) -> Pause:
        """Run one step and return the next pause."""
        if self._is_abandoned:
            self._steps.close()
            raise StopIteration
        pause = self._pause
        if pause is not None and pause.ends_with_client and self._client.has_left:
            return self._steps.throw(ClientGone("the client closed the connection"))
        return next(self._steps)

    def _park(self, pause: Pause) -> None:
        """Have the steps continue once a pause is over."""
        if pause.is_before_long:
            self._pool = self._pool.beside or self._pool
        signal = pause.signal
        assert isinstance(signal, Signal)
        self._wait = wait = _Wait(self._resume)
        self._mailbox.post(partial(self._watch, pause, wait))
        signal.when_set(wait.end)
        if self._is_abandoned:
            wait.end()

    def _resume(self) -> None:
        """Have the steps continue; may be called in any thread."""
        self._pool.submit(self._take, self._client.address)

    # In the loop's thread.

    def _watch(self, pause: Pause, wait: _Wait) -> None:
        """Have a pause end after its timeout, or when the client leaves if that ends it."""
        if not pause.keeps_place:
            self._client.waits()
        if wait.is_over:
            return
        self.unwatch()
        if pause.timeout is not None:
            self._timer = self._mailbox.loop.call_later(pause.timeout, wait.end)
        if pause.ends_with_client:
            self._client.on_close(wait.end)

    def _ended(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():  # the task was cancelled
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)
