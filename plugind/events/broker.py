"""Sends the events of each change to all consumers, and earlier events to new consumers.

A separate thread makes the events, so that no writer waits for it, and only while there are
consumers. Each event is rendered once for all of them. A consumer that reads too slowly is
disconnected and does not delay the others.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence

from plugind import logs
from plugind.catalogue.waiting import CLOSED, GAVE_WAY, Holder, Subscription, Waiting
from plugind.errors import StoreError
from plugind.events.event import PLUGIN, Event, Moment, pieces
from plugind.events.making import EventMaker
from plugind.events.topics import Topics
from plugind.feed.feed import Feed
from plugind.health.threads import OwnedThread
from plugind.model import Committed
from plugind.state import State

GATHER = 0.1
"""Seconds in which changes of one plugin or node share an event."""

LOOK_EVERY = 1.0
"""Seconds after which the thread checks for changes without being woken."""

RETRY = 1.0
"""Seconds after which reading the history is retried if it failed."""

TOO_SLOW, FAILED, REPLACED = "too slow", "failed", "replaced"
"""Why a consumer gets nothing more, in addition to the reasons for which a subscription ends."""

Line = tuple[int, bytes]
"""An index, and its events as JSON."""

_WHY = {
    TOO_SLOW: "the events were not read fast enough: read on from the last index",
    FAILED: "events could not be made, and the server's log says why: read on from the last index",
    REPLACED: "the store was replaced by an earlier one: read from the start",
    GAVE_WAY: "all places of server.max_streams are taken, and another client needs this one",
    CLOSED: "the server stops: read on from the last index",
}

_log = logs.get("events")


class Consumer:
    """One client that follows the events of ``topics``, on a ``place`` for streams.

    ``wake`` is called when there are lines to take, or when no more will come. At most
    ``max_backlog`` bytes, plus the last line, wait for the client.
    """

    def __init__(self, topics: Topics, max_backlog: int) -> None:
        self.topics = topics
        self.place: Subscription | None = None
        self.wake: Callable[[], object] = lambda: None
        self.after = 0
        self._maximum = max_backlog
        self._lock = threading.Lock()
        self._waiting: deque[Line] = deque()
        self._size = 0
        self._ended = ""

    @property
    def ended(self) -> str:
        """Return why no more lines come, as a sentence; "" while there may be more."""
        return _WHY.get(self._ended or (self.place.ended if self.place else ""), "")

    def put(self, moment: Moment) -> None:
        """Add the requested events of an index, unless the consumer has had that index."""
        if moment.index <= self.after:
            return
        self.after = moment.index
        if not (events := self.select(moment)):
            return
        line = b"".join(pieces(moment.index, (each.body for each in events)))
        with self._lock:
            if self._size > self._maximum:  # not counting this line, which may be large
                self._ended = self._ended or TOO_SLOW
            self._waiting.append((moment.index, line))
            self._size += len(line)
            if self._ended:
                self._waiting.clear()
        self.wake()

    def select(self, moment: Moment) -> Sequence[Event]:
        """Return the requested events of an index."""
        return list(self.topics.select(moment.events))

    def take(self) -> Sequence[Line]:
        """Return the lines that wait, and remove them."""
        with self._lock:
            lines, self._waiting = self._waiting, deque()
            self._size = 0
        return lines

    def end(self, why: str) -> None:
        """Give the consumer nothing more."""
        with self._lock:
            self._ended = self._ended or why
            self._waiting.clear()
        self.wake()


class Broker:
    """Follows a feed until ``close``; ``places`` are the places for all streams.

    A consumer that asks for no index begins ``replay`` changes back; ``max_backlog`` is in bytes.
    """

    def __init__(
        self, feed: Feed, maker: EventMaker, places: Waiting, *, replay: int, max_backlog: int
    ) -> None:
        self._feed = feed
        self.maker = maker
        self._places = places
        self._replay = replay
        self._max_backlog = max_backlog
        self._lock = threading.Lock()
        self._consumers: set[Consumer] = set()
        self._published = self._newest = feed.state
        self._touched: set[str] = set()
        self._news = threading.Event()
        self._closed = threading.Event()
        self.thread = OwnedThread(
            "events", self._run, restarts=True, died=lambda _: self._end_all(FAILED)
        )
        feed.subscribe(self)
        self.thread.start()

    @property
    def consumers(self) -> Sequence[Consumer]:
        """Return the consumers that get events as they happen."""
        return tuple(self._consumers)

    @property
    def streams(self) -> int:
        """Return how many streams are open."""
        return self._places.count

    def follow(self, old: State, new: State, batch: Sequence[Committed]) -> None:
        """Note the resources that changed."""
        with self._lock:
            self._newest = new
            if not self._consumers:
                self._published = new
                return
            for committed in batch:
                self._touched |= committed.change.touched
        self._news.set()

    def missed(self, old: State, new: State) -> None:
        """Note the resources that changed; the history has the transitions that the log no longer
        has. If the store went back to an earlier index, indexes that consumers have seen will be
        used again, so end their streams."""
        if new.index < old.index:
            self._end_all(REPLACED)
        resources = old.stamps.keys() | new.stamps.keys() if self._consumers else ()
        touched = {each for each in resources if old.stamps.get(each) != new.stamps.get(each)}
        with self._lock:
            self._newest = new
            if not self._consumers:
                self._published = new
            self._touched |= touched
        self._news.set()

    def open(self, topics: Topics, holder: Holder) -> Consumer:
        """Return a new consumer, which the caller must close. Raise TooManyParked if there is no
        place."""
        made = Consumer(topics, self._max_backlog)
        made.place = self._places.subscribe("", lambda: False, lambda: made.wake(), holder)
        return made

    def close_consumer(self, consumer: Consumer) -> None:
        """Remove a consumer and free its place. A second call does nothing."""
        with self._lock:
            self._consumers.discard(consumer)
        if consumer.place is not None:
            consumer.place.close()

    def earlier(self, consumer: Consumer, start: int) -> Iterator[Moment]:
        """Yield the events from the index ``start`` until now; later ones are taken from the
        consumer. 0 stands for the last ``replay`` changes. Raise StoreError."""
        after = (start or self._feed.state.index - self._replay + 1) - 1
        wants = {each for each in self.maker.topics if consumer.topics.keys_of(each)}
        if start and PLUGIN in wants:
            yield from self.maker.gap(start)
        for is_last in (False, True):
            until = self._begin(consumer, after) if is_last else self._feed.state
            if wants:
                touched = self.maker.changed_after(after, until)
                yield from self.maker.moments(after, until, touched)
            after = max(after, until.index)

    def _begin(self, consumer: Consumer, after: int) -> State:
        """Give a consumer all events from now on that come after the index ``after``; return the
        state before them."""
        with self._lock:
            self._consumers.add(consumer)
            consumer.after = max(after, self._published.index)
            return self._published

    def end_streams(self) -> None:
        """End all streams; from now on, new ones end at once."""
        self._places.close()

    def close(self) -> None:
        """End all streams, and the thread."""
        self.end_streams()
        self._closed.set()
        self._news.set()
        self.thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._news.wait(LOOK_EVERY)
            self._news.clear()
            with self._lock:
                old, new, touched = self._published, self._newest, self._touched
                consumers = tuple(self._consumers)
                self._published, self._touched = new, set()
            if consumers:
                self._publish(consumers, old, new, touched)
            self._closed.wait(GATHER)

    def _publish(
        self, consumers: Sequence[Consumer], old: State, new: State, touched: Collection[str]
    ) -> None:
        """Give consumers the events between two states; retry until the history can be read."""
        while not self._closed.is_set():
            try:
                for moment in self.maker.moments(old.index, new, touched, old):
                    for consumer in consumers:
                        consumer.put(moment)
                return
            except StoreError as error:
                _log.error("the history cannot be read for events", reason=str(error))
                self._closed.wait(RETRY)

    def _end_all(self, why: str) -> None:
        """End all streams, because they may have missed events, such as those that the thread was
        handling when it died. Their clients continue from the last index."""
        with self._lock:
            consumers, self._consumers = self._consumers, set()
        for consumer in consumers:
            consumer.end(why)
