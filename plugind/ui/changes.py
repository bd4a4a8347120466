"""Wakes the streams of open pages when something changes that the pages may show.

A stream learns only that something changed. The browser then fetches the page again, with the
rights of its user.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence

from plugind.catalogue.waiting import Holder, Subscription, Waiting
from plugind.model import Committed, is_list
from plugind.state import State


class Follower:
    """One stream, which occupies a ``place`` for streams. ``wake`` is called when there are changes
    to take, or when the place was taken away."""

    def __init__(self) -> None:
        self.place: Subscription | None = None
        self.wake: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._changed: set[str] = set()

    @property
    def has_ended(self) -> bool:
        return self.place is not None and bool(self.place.ended)

    def put(self, lists: Collection[str]) -> None:
        """Record that lists have changed, and wake the stream."""
        with self._lock:
            self._changed.update(lists)
        self.wake()

    def take(self) -> set[str]:
        """Return the lists that have changed since the last call."""
        with self._lock:
            changed, self._changed = self._changed, set()
        return changed


class Changes:
    """Follows a feed for the streams of all pages; ``places`` are those for all streams.

    Each change of a plugin or node also changes the list that contains it, so only changes of lists
    are followed.
    """

    def __init__(self, places: Waiting) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._followers: set[Follower] = set()

    def follow(self, old: State, new: State, batch: Sequence[Committed]) -> None:
        """Wake the streams with the lists that a batch of commits changed."""
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
        """Return a new stream, which must be closed. Raise TooManyParked if no place is free."""
        made = Follower()
        made.place = self._places.subscribe("", lambda: False, lambda: made.wake(), holder)
        with self._lock:
            self._followers.add(made)
        return made

    def close(self, follower: Follower) -> None:
        """Close a stream and free its place. Closing it again does nothing."""
        with self._lock:
            self._followers.discard(follower)
        if follower.place is not None:
            follower.place.close()
