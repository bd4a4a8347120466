"""Wakes the streams of open pages when something changes that they may show.

A stream is told no more than that, and its page is fetched again by its reader's own rights.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence

from plugind.catalogue.waiting import Holder, Subscription, Waiting
from plugind.model import Committed, is_list
from plugind.state import State


class Follower:
    """One stream, on a ``place`` for streams. ``wake`` is called when there is something to take,
    or the place is taken away."""

    def __init__(self) -> None:
        self.place: Subscription | None = None
        self.wake: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._changed: set[str] = set()

    @property
    def has_ended(self) -> bool:
        return self.place is not None and bool(self.place.ended)

    def put(self, lists: Collection[str]) -> None:
        """Note that lists have changed."""
        with self._lock:
            self._changed.update(lists)
        self.wake()

    def take(self) -> set[str]:
        """Return the lists that have changed since the last time."""
        with self._lock:
            changed, self._changed = self._changed, set()
        return changed


class Changes:
    """Follows a feed for all streams of pages; ``places`` are those of all streams.

    Each change of a plugin or node changes the list that it is in, so lists are enough.
    """

    def __init__(self, places: Waiting) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._followers: set[Follower] = set()

    def follow(self, old: State, new: State, batch: Sequence[Committed]) -> None:
        """Wake the streams."""
        if self._followers:
            self._put({each for one in batch for each in one.change.touched if is_list(each)})

    def missed(self, old: State, new: State) -> None:
        """Wake the streams: everything may have changed."""
        self._put({each for each in {*old.stamps, *new.stamps} if is_list(each)})

    def _put(self, lists: Collection[str]) -> None:
        with self._lock:
            followers = tuple(self._followers) if lists else ()
        for each in followers:
            each.put(lists)

    def open(self, holder: Holder) -> Follower:
        """Return a new stream, to be closed. Raise TooManyParked where there is no place."""
        made = Follower()
        made.place = self._places.subscribe("", lambda: False, lambda: made.wake(), holder)
        with self._lock:
            self._followers.add(made)
        return made

    def close(self, follower: Follower) -> None:
        """Let go of a stream; again does nothing."""
        with self._lock:
            self._followers.discard(follower)
        if follower.place is not None:
            follower.place.close()
