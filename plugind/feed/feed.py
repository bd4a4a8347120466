"""Follows the store's log: applies each change to the state, then informs the subscribers.

No other part of a process does so, and the process's own changes take the same path as those of
other processes on the same store.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from plugind import logs
from plugind.errors import Compacted, StoreError
from plugind.health.threads import OwnedThread
from plugind.model import Committed, Contact
from plugind.state import State
from plugind.state.flaps import of_the_last_hour
from plugind.store.base import Store

CATCH_UP = 5.0
"""Seconds that a caller waits for the log to have changes that the store has committed already."""

WAIT = 0.1
"""Seconds that the feed's thread waits for a change at a time, and so takes at most to end."""

RETRY = 1.0
"""Seconds after which the feed's thread tries again after a failure."""

_log = logs.get("feed")


class Subscriber(Protocol):
    """Is informed of changes, one call at a time, from any thread. It must return quickly: it
    neither waits for anything nor calls third-party code."""

    def follow(self, old: State, new: State, batch: Sequence[Committed]) -> None:
        """Take note that ``batch``, in the order of its indexes, turned ``old`` into ``new``."""

    def missed(self, old: State, new: State) -> None:
        """Take note that ``new`` comes after ``old``, and that the changes in between are no longer
        known."""


class Feed:
    """Keeps ``state`` in step with a store. Any thread may read ``state``, without a lock.

    A writer holds ``writing`` while it commits, so that the store is not loaded meanwhile.

    The feed's thread runs from ``start`` to ``close`` and follows what other processes write. A
    writer calls ``catch_up`` itself: so no switch of threads delays the answer to a commit, and a
    planned change is not applied a second time.
    """

    def __init__(self, store: Store, state: State) -> None:
        self._store = store
        self._state = state
        self._subscribers: list[Subscriber] = []
        self._newest_at_once = store.newest_at_once if store.is_shared else None
        self._lock = threading.Lock()
        self.writing = threading.Lock()
        self._ended = threading.Event()
        self._trouble = ""
        self.thread = OwnedThread("feed", self._run, restarts=True)

    @property
    def state(self) -> State:
        """Return the state as of the last change that this process knows."""
        return self._state

    @property
    def contact(self) -> Contact:
        """Return whether the store can be reached."""
        return self._store.contact

    @property
    def trouble(self) -> str:
        """Return why changes of other processes are not seen; "" when they are."""
        return self._trouble

    def subscribe(self, subscriber: Subscriber) -> None:
        """Inform a subscriber of all later changes, after the subscribers that came before it."""
        with self._lock:
            self._subscribers.append(subscriber)

    def start(self) -> None:
        """Follow what other processes write."""
        self.thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._store.interrupt()
        self.thread.join()

    @property
    def has_other_servers(self) -> bool:
        """Return whether another machine has to be asked for changes that this one may lack."""
        return self._store.has_other_servers

    def fresh_state(self) -> State | None:
        """Return the state if it is known to have every change that any process acknowledged so
        far, otherwise None. This never waits: if only a disk or another machine has the answer, the
        result is None."""
        if (newest_at_once := self._newest_at_once) is None:
            return self._state
        newest = newest_at_once()
        # Read after the index, so that it includes changes that were applied during the look-up.
        state = self._state
        return state if newest is not None and newest <= state.index else None

    def refresh(self) -> State:
        """Return the state once it has every change that any process acknowledged before the call.
        Raise StoreError."""
        if self._store.is_shared and (newest := self._store.newest()) > self._state.index:
            self.catch_up(until=newest)
        return self._state

    def catch_up(
        self, planned: Mapping[str, tuple[State, State]] | None = None, until: int = 0
    ) -> None:
        """Apply all that the log has after the state, and wait until the state has the index
        ``until``. Raise StoreError.

        ``planned`` has, by the ID of a change, the state that it was planned on and the resulting
        state; if the change follows that very state, it need not be applied again.
        """
        deadline = time.monotonic() + CATCH_UP
        while True:
            with self._lock:
                try:
                    while batch := self._store.read(self._state.index):
                        self._follow(batch, planned or {})
                except Compacted:
                    self._reload()
            if self._state.index >= until:
                return
            if (left := deadline - time.monotonic()) <= 0:
                raise StoreError(
                    f"the store is at index {until}, its log gave no more than index "
                    f"{self._state.index} in {CATCH_UP:.0f} s; try again later"
                )
            self._store.wait(self._state.index, left)

    def _follow(
        self, batch: Sequence[Committed], planned: Mapping[str, tuple[State, State]]
    ) -> None:
        old = new = self._state
        for each in batch:
            base, tried = planned.get(each.change.id, (None, None))
            if tried is not None and base is new and tried.index == each.index:
                new = tried
            else:
                new = new.apply(each.index, each.change)
        self._state = new
        for subscriber in self._subscribers:
            try:
                subscriber.follow(old, new, batch)
            except Exception as error:
                self._fail(subscriber, error)

    def _reload(self) -> None:
        old = self._state
        with self.writing:
            contents = self._store.load()
            self._state = State.of(contents, of_the_last_hour(self._store.history))
        _log.warning("the log was compacted: changes were missed", after=old.index)
        for subscriber in self._subscribers:
            try:
                subscriber.missed(old, self._state)
            except Exception as error:
                self._fail(subscriber, error)

    def _fail(self, subscriber: Subscriber, error: Exception) -> None:
        """Keep an error of one subscriber from the others; health reports it until a restart."""
        name = type(subscriber).__name__
        self._trouble = f"restart the server: {name} failed: {type(error).__name__}: {error}"
        _log.error("a subscriber failed on a change", subscriber=name, exc_info=error)

    def _run(self) -> None:
        failure = ""
        while not self._ended.is_set():
            try:
                if self._store.wait_for_others(self._state.index, WAIT):
                    self.catch_up()
            except Exception as error:
                if failure != str(error):
                    _log.error("the store's log cannot be read", reason=str(error))
                failure = str(error)
                self._trouble = self._trouble or failure
                self._ended.wait(RETRY)
            else:
                if failure and self._trouble == failure:
                    self._trouble = ""
                failure = ""
