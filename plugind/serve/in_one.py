"""Work that only one of several worker processes does, for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from plugind.feed.feed import Subscriber
from plugind.model import Committed
from plugind.state import State


class InOne:
    """A subscriber of the feed that runs in one worker only: the one for which ``leads`` is true.

    When that worker ends, the changes of a moment may be missed or handed on twice.
    """

    def __init__(self, subscriber: Subscriber, leads: Callable[[], bool]) -> None:
        self._subscriber = subscriber
        self._leads = leads

    def follow(self, old: State, new: State, batch: Sequence[Committed]) -> None:
        if self._leads():
            self._subscriber.follow(old, new, batch)

    def missed(self, old: State, new: State) -> None:
        if self._leads():
            self._subscriber.missed(old, new)
