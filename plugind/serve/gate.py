"""Lets few requests of one address into the event loop at a time, so that many of them wait for
each other and not those of others for them.

1. The loop takes what is ready in the order in which it came, and every request passes it twice: so
   the turns of addresses among threads alone do not keep a crowd of one address from all others.
2. A request that waits, or is in work for long, keeps no other one out.
3. While other addresses ask, too, the next one pauses for as long as the one before it took, and
   behind a refused one for ten times as long: so the interpreter is idle when another thread needs
   it for a moment.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Mapping

from plugind.serve.askers import Askers
from plugind.serve.runs import Client
from plugind.serve.workers import READ_LONG, READ_PAUSE, REFUSED_PAUSE

_Turn = tuple[str, Hashable]
"""The address and the kind of requests that wait for each other."""


class Gate:
    """A place for requests to wait for others of their address; only for the loop's thread.

    ``maxima`` are how many of each kind may be in work; one keeps others out for ``long`` seconds
    at most.
    """

    def __init__(self, maxima: Mapping[Hashable, int], long: float = READ_LONG) -> None:
        self._maxima = maxima
        self._long = long
        self._turns: dict[Client, _Turn] = {}  # of those in work
        self._inside: dict[_Turn, dict[Client, float]] = {}  # with when each began, by the loop
        self._outside: dict[_Turn, deque[tuple[Client, asyncio.Future[None]]]] = {}
        self._looks_again = False
        self.askers = Askers()

    async def enter(self, client: Client, kind: Hashable) -> None:
        """Wait until a request may be in work, up to its ``leave``."""
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
        """Note that a request is not in work any more; nothing else, if it was not."""
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
        """Admit as many of those outside as may be."""
        outside = self._outside.get(turn, deque())
        while outside and not self._is_full(turn):
            client, place = outside.popleft()
            if not place.done():  # the server has not cancelled it
                self._admit(client, turn)
                place.set_result(None)
        if not outside:
            self._outside.pop(turn, None)

    def _is_full(self, turn: _Turn) -> bool:
        long_ago = asyncio.get_running_loop().time() - self._long
        began = self._inside.get(turn, {}).values()
        return sum(each > long_ago for each in began) >= self._maxima[turn[1]]

    def _look_later(self) -> None:
        """Look soon whether those inside take long, as long as there are some outside."""
        if self._outside and not self._looks_again:
            self._looks_again = True
            asyncio.get_running_loop().call_later(self._long, self._look)

    def _look(self) -> None:
        self._looks_again = False
        for turn in list(self._outside):
            self._fill(turn)
        self._look_later()
