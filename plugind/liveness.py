"""Notices nodes that fall silent and what has been lost for too long, and has intake say so.

Deadlines are of the monotonic clock, so that a jump of the wall clock silences and forgets nobody,
and those of nodes start anew with the process, so that a restart of the server does not either.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Iterable
from functools import partial

from plugind import logs
from plugind.errors import PlugindError
from plugind.fields import SECOND
from plugind.model import Lost

_SPREAD = 0.1  # of the TTL, so that a fleet that started together does not beat together
_GRACE = 0.5  # of the TTL, for an answer on its way and a beat that is late
_KEPT_AFTER_RESTART = (
    600.0  # seconds that what is lost is kept at least, of a shorter threshold all
)

_log = logs.get("liveness")


class Liveness:
    """Calls ``silence(node_ids, is_late)`` for the nodes that did not beat within their time to
    live, and ``collect(expired)`` for what is ``lost()`` since ``gc_threshold``.

    ``is_late(node_id)`` says whether a node has still not beaten, when its silence is about to be
    written.

    ``ttl`` and ``gc_threshold`` are in seconds. Safe for threads; ``close`` ends its own.
    """

    def __init__(
        self,
        ttl: float,
        gc_threshold: float,
        nodes: Iterable[str],
        *,
        silence: Callable[[Collection[str], Callable[[str], bool]], object],
        lost: Callable[[], Collection[Lost]],
        collect: Callable[[Collection[Lost]], object],
    ) -> None:
        self._ttl = ttl
        self._gc_threshold = gc_threshold
        self._silence = silence
        self._lost = lost
        self._collect = collect
        self._wake = threading.Condition()
        self._closed = False
        self._deadlines: dict[str, float] = {}
        for node_id in nodes:
            self.beat(node_id)
        # What was lost before this process started has been so for as long as the wall clock says.
        self._expiries = {each: self._expiry(each, is_old=True) for each in lost()}
        self._thread = threading.Thread(target=self._run, name="liveness", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str:
        """Why silent nodes are not told of; "" when they are."""
        return "" if self._thread.is_alive() or self._closed else "silent nodes are not told of"

    def beat(self, node_id: str) -> tuple[float, bool]:
        """The node was heard of. Returns within how many seconds it must be heard of again, and
        whether it was late, so that its silence may have been written just now."""
        ttl = self._ttl * (1 + random.uniform(0, _SPREAD))
        now = time.monotonic()
        with self._wake:
            was_late = self._deadlines.get(node_id, now) <= now
            self._deadlines[node_id] = now + ttl + self._ttl * _GRACE
        return ttl, was_late

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        pause = self._ttl / 10
        sweep_every = min(60.0, self._gc_threshold / 20)
        sweep_at = 0.0
        while not self._is_closed_after(min(pause, sweep_every)):
            self._do("silent nodes could not be told of", self._silence_late)
            if time.monotonic() >= sweep_at:
                self._do("what is lost could not be forgotten", self._collect_expired)
                sweep_at = time.monotonic() + sweep_every

    @staticmethod
    def _do(failure: str, task: Callable[[], None]) -> None:
        """One that fails is tried again the next time, whatever it failed of."""
        try:
            task()
        except PlugindError as error:
            _log.error(failure, reason=str(error))
        except Exception as error:
            _log.error(failure, exc_info=error)

    def _is_closed_after(self, seconds: float) -> bool:
        with self._wake:
            return self._closed or (self._wake.wait(seconds) and self._closed)

    def _silence_late(self) -> None:
        now = time.monotonic()
        with self._wake:
            late = [node_id for node_id, due in self._deadlines.items() if due <= now]
        if late:
            self._silence(late, partial(self._is_late, now))
        for node_id in late:
            self._forget_deadline(node_id, now)

    def _is_late(self, now: float, node_id: str) -> bool:
        with self._wake:
            return self._deadlines.get(node_id, now) <= now

    def _forget_deadline(self, node_id: str, now: float) -> None:
        """A node that beat while its silence was written is due anew."""
        with self._wake:
            if self._deadlines.get(node_id, now + 1) <= now:
                del self._deadlines[node_id]

    def _collect_expired(self) -> None:
        self._expiries = {
            each: self._expiries.get(each) or self._expiry(each, is_old=False)
            for each in self._lost()
        }
        now = time.monotonic()
        expired = [each for each, due in self._expiries.items() if due <= now]
        if not expired:
            return
        self._collect(expired)
        _log.info("forgot what was lost for too long", count=len(expired))

    def _expiry(self, lost: Lost, *, is_old: bool) -> float:
        """When it is to be forgotten. Across a restart only the wall clock knows how long it has
        been lost, so its word is taken within bounds."""
        left = self._gc_threshold
        if is_old:
            age = (time.time_ns() - lost.since) / SECOND
            at_least = min(_KEPT_AFTER_RESTART, self._gc_threshold)
            left = min(max(self._gc_threshold - age, at_least), self._gc_threshold)
        return time.monotonic() + left
