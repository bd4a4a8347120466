"""Lets only a few requests of one address into the event loop at a time, so that many requests of
one address wait for each other and do not delay those of others.

1. The loop handles ready events in the order in which they came, and every request passes through
   it twice. Taking turns by address for the threads alone would not stop many requests of one
   address from delaying all others.
2. A request that waits, or has been in progress for long, keeps no other request out.
3. While other addresses ask, too, the next request of an address pauses for as long as the previous
   one took, and for ten times as long if that was refused. So the interpreter is idle when another
   thread needs it for a moment.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Mapping

from plugind.serve.askers import Askers
from plugind.serve.runs import Client
from plugind.serve.workers import READ_LONG, READ_PAUSE, REFUSED_PAUSE

_Turn = tuple[str, Hashable]
"""Address and kind: requests with the same address and kind wait for each other."""


class Gate:
    """Where requests wait for others of their address; only for the loop's thread.

    ``maxima``: how many requests of each kind may be in progress for one address. A request keeps
    others out for at most ``long`` seconds.
    """

    def __init__(self, maxima: Mapping[Hashable, int], long: float = READ_LONG) -> None:
        self._maxima = maxima
        self._long = long
        self._turns: dict[Client, _Turn] = {}  # of requests in progress
        self._inside: dict[_Turn, dict[Client, float]] = {}  # when each began, in the loop's time
        self._outside: dict[_Turn, deque[tuple[Client, asyncio.Future[None]]]] = {}
        self._looks_again = False
        self.askers = Askers()

    async def enter(self, client: Client, kind: Hashable) -> None:
        """Wait until a request may begin; it counts as in progress until ``leave``."""
        client.when_it_waits(self.leave)
        turn = client.address, kind
        if turn not in self._outside and not self._is_full(turn):
            self._admit(client, turn)
            return
        place = asyncio.get_running_loop().create_future()
        self._outside.setdefault(turn, deque()).append((client, place))
        self._look_later()
        await place

    def leave(self, client: Client) -> None:
        """Note that a request is no longer in progress; do nothing if it was not."""
        turn = self._turns.pop(client, None)
        if turn is None:
            return
        loop, inside = asyncio.get_running_loop(), self._inside[turn]
        now = loop.time()
        if turn in self._outside and self.askers.are_several:
            took, inside[client] = now - inside[client], now
            pause = took * (REFUSED_PAUSE if client.is_refused else READ_PAUSE)
            loop.call_later(min(pause, self._long), self._free, client, turn)
        else:
            self._free(client, turn)

    def _admit(self, client: Client, turn: _Turn) -> None:
        self.askers.note(client.address)
        self._turns[client] = turn
        self._inside.setdefault(turn, {})[client] = asyncio.get_running_loop().time()

    def _free(self, client: Client, turn: _Turn) -> None:
        """Give a request's place to the next one."""
        inside = self._inside[turn]
        del inside[client]
        if not inside:
            del self._inside[turn]
        self._fill(turn)

    def _fill(self, turn: _Turn) -> None:
        """Admit as many waiting requests as allowed."""
        outside = self._outside.get(turn, deque())
        while outside and not self._is_full(turn):
            client, place = outside.popleft()
            if not place.done():  # the server has not cancelled the request
                self._admit(client, turn)
                place.set_result(None)
        if not outside:
            self._outside.pop(turn, None)

    def _is_full(self, turn: _Turn) -> bool:
        long_ago = asyncio.get_running_loop().time() - self._long
        began = self._inside.get(turn, {}).values()
        return sum(each > long_ago for each in began) >= self._maxima[turn[1]]

    def _look_later(self) -> None:
        """Schedule a check whether requests in progress take long, if others wait."""
        if self._outside and not self._looks_again:
            self._looks_again = True
            asyncio.get_running_loop().call_later(self._long, self._look)

    def _look(self) -> None:
        self._looks_again = False
        for turn in list(self._outside):
            self._fill(turn)
        self._look_later()
