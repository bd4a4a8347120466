"""Spreads short requests over turns of the event loop, so that other requests pass between them.

1. Few requests begin in one turn of the loop.
2. Addresses take turns, so that many requests of one address wait for each other.
3. While other addresses ask, too, the loop rests after each turn of an address that has more
   requests waiting. It rests for as long as the turn took, up to REST_MAXIMUM: threads need the
   interpreter for the others' requests, and a loop that is never idle leaves it to each of them
   after 5 ms only.
"""

from __future__ import annotations

import asyncio
from collections import deque

from plugind.serve.askers import Askers
from plugind.serve.mailbox import Mailbox

AT_ONCE = 4
"""Requests that begin in one turn of the loop: everything that arrives meanwhile waits for them."""


REST_MAXIMUM = 0.02
"""Seconds; a turn may take longer because the process was stopped, or the machine is busy."""


class LoopTurns:
    """Lets requests begin in the loop, by the rules of the module. Only for the loop's thread.

    ``askers`` knows whether several addresses ask.
    """

    def __init__(self, mailbox: Mailbox, askers: Askers) -> None:
        self._mailbox = mailbox
        self._askers = askers
        self._begun = 0  # requests of this turn
        self._began_at = 0.0
        self._is_crowd = False
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def enter(self, address: str) -> None:
        """Wait until a request from an address may begin in the loop."""
        self._askers.note(address)
        if self._begun < AT_ONCE:
            if not self._begun:
                self._begin_turn()
            self._begun += 1
            return
        place = self._mailbox.loop.create_future()
        self._waiting.setdefault(address, deque()).append(place)
        await place

    def _begin_turn(self) -> None:
        self._began_at = self._mailbox.loop.time()
        self._mailbox.loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        if self._is_crowd and self._askers.are_several:
            loop = self._mailbox.loop
            loop.call_later(min(loop.time() - self._began_at, REST_MAXIMUM), self._next_turn)
        else:
            self._next_turn()

    def _next_turn(self) -> None:
        self._begun = 0
        begun = set()
        while self._waiting and self._begun < AT_ONCE:
            address = next(iter(self._waiting))
            places = self._waiting.pop(address)
            place = places.popleft()
            if places:
                self._waiting[address] = places  # behind the other addresses
            if not place.done():  # otherwise its task was cancelled
                place.set_result(None)
                self._begun += 1
                begun.add(address)
        self._is_crowd = not begun.isdisjoint(self._waiting)
        if self._begun:
            self._begin_turn()  # ends after the requests, whose tasks are called before it
