"""Lets costly reads take turns: few are in work at a time, so that plain requests are not held up.

A read is costly if its answer is a selection of rows, indented, packed with gzip or a web page, or
if a change woke it together with others. A blocking query takes its turn after its wait.

1. Plain reads never wait here. A costly read begins while no plain read is in work, or after
   ``PATIENCE``.
2. While there are plain reads, a costly read that had to wait begins only after a rest as long as
   the costly read before it took. So the interpreter, which one thread has at a time, is idle when
   a plain read comes.
3. Of the kinds that wait, the one that has used the least time goes first, and within it the caller
   that has used the least. So neither a flood of one kind nor one caller holds up the others.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable

from plugind.api.query import OF_LISTS
from plugind.api.request import Pause, Request, Signal, Steps
from plugind.errors import TooManyParked
from plugind.health import Hits

SELECTED, PACKED, WOKEN, SCRAPED = ("selected", "packed", "woken", "scraped")

Begin = Callable[[], None]
"""Called when a request's turn has come."""

PATIENCE = 0.02
"""Seconds after which a costly request begins even if plain ones are in work."""

REST_MAXIMUM = 0.01
"""Most seconds of rest between two costly requests, while there are plain ones."""

_RECENT = 0.1  # seconds after a plain request in which another is expected
_PARTIES_MAXIMUM = 1_024
_COSTLY_PARAMETERS = OF_LISTS | {"pretty"}
_SEARCH = "/v1/search"
_COSTLY_PATHS = (_SEARCH, "/v1/problems", "/ui/")
_COSTLY_ENDS = ("/history", "/availability")
_SCRAPED_PATH = "/v1/metrics"
_STREAMS = ("/v1/event/stream", "/ui/events")  # parts of them take turns
_VITAL_PATHS = ("/v1/agent/health", "/v1/status/", "/ui/static/", *_STREAMS)


def may_be_costly(method: str, path: str) -> bool:
    """Return whether requests of a method and path may be costly."""
    if path.startswith(_SEARCH):
        return True
    return method in ("GET", "HEAD") and not path.startswith(_VITAL_PATHS)


def kind_of(request: Request) -> str:
    """Return the kind of a costly request; "" for any other."""
    if not may_be_costly(request.method, request.path):
        return ""
    if request.path == _SCRAPED_PATH:
        return SCRAPED  # a kind of its own, so that a flood of lists does not blind the monitoring
    if request.path.startswith(_COSTLY_PATHS) or request.path.endswith(_COSTLY_ENDS):
        return SELECTED
    if not _COSTLY_PARAMETERS.isdisjoint(request.query):
        return SELECTED
    return PACKED if "gzip" in request.header("Accept-Encoding").lower() else ""


class _Shares:
    """How many seconds each of several parties has used. A party that comes back after a while
    starts level with the others, without credit for the time that it did not use."""

    def __init__(self) -> None:
        self._used: dict[str, float] = {}
        self._floor = 0.0

    def arrive(self, name: str) -> None:
        """Note that a party waits."""
        self._used[name] = max(self._used.get(name, 0.0), self._floor)

    def least(self, names: Iterable[str]) -> str:
        """Return the party that has used the least, of some that wait."""
        found = min(names, key=self._used.__getitem__)
        self._floor = max(self._floor, self._used[found])
        return found

    def charge(self, name: str, seconds: float) -> None:
        """Add seconds that a party used."""
        self._used[name] = self._used.get(name, self._floor) + seconds

    def forget_the_idle(self, waiting: Collection[str]) -> None:
        """Forget parties that do not wait and have used no more than a new party starts with."""
        self._used = {
            name: used for name, used in self._used.items() if used > self._floor or name in waiting
        }

    def __len__(self) -> int:
        return len(self._used)


class Turns:
    """Lets ``places`` costly requests be in work at a time. Thread-safe.

    At most ``waiting_maximum`` requests may wait. Queries that a change woke may always wait,
    because each keeps its place among the parked queries until its turn comes.
    """

    def __init__(self, places: int, waiting_maximum: int, hits: Hits) -> None:
        self._free = places
        self._maximum = waiting_maximum
        self._hits = hits
        self._lock = threading.Lock()
        self._waiting: dict[str, dict[str, deque[Begin]]] = {}
        self._kinds = _Shares()
        self._holders = _Shares()
        self._count = 0
        self._plain = 0
        self._last_begun = 0.0
        self._last_plain = self._last_woken = -_RECENT
        self._last_took = 0.0

    @property
    def waiting(self) -> int:
        """Return how many wait for their turn."""
        return self._count

    def begin_plain(self, *, is_of_woken: bool = False) -> None:
        """Note that a plain read begins, or, with ``is_of_woken``, one that makes the answer to
        queries that a change woke."""
        with self._lock:
            self._plain += 1
            if is_of_woken:
                self._last_woken = time.monotonic()
            else:
                self._last_plain = time.monotonic()

    def saw_plain(self, now: float) -> None:
        """Note that a plain read is answered at once, at ``now`` (monotonic clock); another may
        follow."""
        self._last_plain = now

    def saw_woken(self, now: float) -> None:
        """Note that a blocking query that a change woke is answered at ``now`` (monotonic clock),
        as cheaply as a plain read."""
        self._last_woken = now

    @property
    def has_plain(self) -> bool:
        """Return whether there was a plain read a moment ago, so that another may follow."""
        return time.monotonic() - self._last_plain < _RECENT

    def end_plain(self) -> None:
        """Note that a plain read is no longer in work."""
        with self._lock:
            self._plain -= 1
            begun = self._go_on()
        _call(begun)

    def begin(self, kind: str, holder: str, call: Begin) -> bool:
        """Take a turn and return True, or return False and have ``call`` called when it comes.

        ``call`` is called from any thread. A turn that was taken or has come must be given back
        with ``end``. Raise TooManyParked if too many requests wait already.
        """
        with self._lock:
            if kind != WOKEN and self._count >= self._maximum:
                self._hits.add("max_waiting_reads", holder=holder)
                raise TooManyParked("too many costly reads wait already; try again later")
            if kind not in self._waiting:
                self._kinds.arrive(kind)
            holders = self._waiting.setdefault(kind, {})
            if holder not in holders:
                self._holders.arrive(holder)
            holders.setdefault(holder, deque()).append(call)
            self._count += 1
            begun = self._go_on()
        _call(each for each in begun if each is not call)
        return call in begun

    @property
    def rest(self) -> float:
        """Return for how many seconds a costly request must rest when its turn has come."""
        is_alone = time.monotonic() - max(self._last_plain, self._last_woken) >= _RECENT
        return 0.0 if is_alone else min(self._last_took, REST_MAXIMUM)

    def end(self, kind: str, holder: str, seconds: float) -> None:
        """Give back a turn that took ``seconds``, and let the next request begin."""
        with self._lock:
            self._free += 1
            self._last_took = seconds
            self._kinds.charge(kind, seconds)
            self._holders.charge(holder, seconds)
            if len(self._holders) > _PARTIES_MAXIMUM:
                self._holders.forget_the_idle(
                    {each for one in self._waiting.values() for each in one}
                )
            begun = self._go_on()
        _call(begun)

    def _go_on(self) -> list[Begin]:
        """Let waiting requests begin, as many as may. Return the functions to call for them."""
        begun = []
        while self._waiting and self._may_begin():
            self._free -= 1
            self._last_begun = time.monotonic()
            begun.append(self._next())
        return begun

    def _may_begin(self) -> bool:
        is_late = time.monotonic() - self._last_begun > PATIENCE
        return self._free > 0 and (not self._plain or is_late)

    def _next(self) -> Begin:
        kind = self._kinds.least(self._waiting)
        holders = self._waiting[kind]
        holder = self._holders.least(holders)
        turn = holders[holder].popleft()
        self._count -= 1
        if not holders[holder]:
            del holders[holder]
        if not holders:
            del self._waiting[kind]
        return turn


def _call(begun: Iterable[Begin]) -> None:
    for each in begun:
        each()


class Turn:
    """The turn of one costly request, or a note that a plain one is in work; none while parked.

    ``signal`` makes the signals of the server that the request came to.
    """

    def __init__(self, turns: Turns, signal: Callable[[], Signal]) -> None:
        self._turns = turns
        self._signal = signal
        self.is_of_woken = False
        """Whether the answer is made for queries that a change woke."""
        self._end: Callable[[], None] | None = None

    @property
    def has_begun(self) -> bool:
        """Return whether the request is in work."""
        return self._end is not None

    def begin_plain(self) -> None:
        """Note that the request is plain, and in work."""
        self._turns.begin_plain(is_of_woken=self.is_of_woken)
        self._end = self._turns.end_plain

    def begin(self, kind: str, holder: str) -> Steps[bool]:
        """Wait for a turn; a request whose kind is "" is plain, and begins at once.

        Return whether it had to wait. Raise TooManyParked if too many requests wait already.
        """
        if not kind:
            self.begin_plain()
            return False
        signal = self._signal()
        waits = not self._turns.begin(kind, holder, signal.set)
        if waits:
            yield Pause(signal)
            if rest := self._turns.rest:
                yield Pause(self._signal(), rest)
        begun = time.monotonic()
        self._end = lambda: self._turns.end(kind, holder, time.monotonic() - begun)
        return waits

    def end(self) -> None:
        """Give back the turn."""
        if (end := self._end) is not None:
            self._end = None
            end()
