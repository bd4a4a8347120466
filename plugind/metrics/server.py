"""Metrics of the server itself: its store, its requests, its process."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product

from plugind import __version__, logs
from plugind.errors import PlugindError
from plugind.feed.feed import Feed
from plugind.health import Hits
from plugind.intake import Intake
from plugind.metrics.probes import ProbeCounter
from plugind.metrics.readings import Reading
from plugind.model import Committed
from plugind.model.changes import KINDS
from plugind.model.times import SECOND
from plugind.state import State
from plugind.store.base import Store
from plugind.tally import Tally

DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The bounds of the buckets for durations, in seconds."""


METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE"})


class TransitionCounter:
    """Counts the transitions of the log's changes; a subscriber of the feed."""

    def __init__(self, types: Iterable[str]) -> None:
        # The transitions of nodes, which have no type, and of each plugin type.
        of_nodes = [("", kind) for kind in KINDS[True]]
        self.tally = Tally(known=[*of_nodes, *product(types, KINDS[False])])

    def follow(self, old: State, new: State, batch: Sequence[Committed]) -> None:
        """Count the transitions of changes."""
        for committed in batch:
            for each in committed.change.transitions:
                self.tally.add((each.type, each.kind))

    def missed(self, old: State, new: State) -> None:
        """Leave out the transitions of changes that are no longer known."""


@dataclass
class ServerMetrics:
    """Reads the parts of a server. ``parked`` returns how many requests wait for changes,
    ``streams`` how many get events; ``types`` are the names of the plugin types."""

    feed: Feed
    store: Store
    intake: Intake
    hits: Hits
    parked: Callable[[], int]
    types: Iterable[str]
    streams: Callable[[], int] = lambda: 0

    def __post_init__(self) -> None:
        self.requests = Tally(DURATIONS)
        known = [(type_,) for type_ in self.types]
        self.rejected = Tally(known=[("",), *known])
        self.probes = ProbeCounter(self.types)
        self.transitions = TransitionCounter(self.types)
        self.feed.subscribe(self.transitions)
        self.feed.subscribe(self.probes)

    def counter(self, method: str, path: str, status: int) -> Callable[[float], None]:
        """Return a function that counts a request, given the seconds that it took; ``path`` is its
        endpoint's, "" for none.

        All unknown methods count as one, because clients can choose any.
        """
        labels = method if method in METHODS else "other", path, str(status)
        return self.requests.counter(labels).add

    def read(self) -> Iterator[Reading]:
        """Yield the current values."""
        yield "plugind_transitions_total", self.transitions.tally
        yield "plugind_rejected_items_total", self.rejected
        yield "plugind_probe_duration_seconds", self.probes.durations
        yield "plugind_probe_failures_total", self.probes.failures
        yield from self._of_store()
        yield "plugind_http_requests_total", self.requests
        yield "plugind_http_request_duration_seconds", self.requests
        yield "plugind_parked_queries", [((), self.parked())]
        yield "plugind_streams", [((), self.streams())]
        yield "plugind_limit_hits_total", self.hits.tally
        yield "plugind_log_messages_total", logs.written
        yield "plugind_build_info", [((__version__, platform.python_version()), 1)]

    def _of_store(self) -> Iterator[Reading]:
        waiting, age = self.intake.waiting
        yield "plugind_store_writable", [((), float(not self.intake.trouble))]
        with suppress(PlugindError):
            size = self.store.size
            yield "plugind_store_size_bytes", [] if size is None else [((), size)]
        yield "plugind_store_commit_duration_seconds", self.intake.commits
        yield "plugind_intake_queue_length", [((), waiting)]
        yield "plugind_intake_queue_oldest_age_seconds", [((), age)]
        yield "plugind_state_index", [((), self.feed.state.index)]
        yield "plugind_follow_lag_seconds", [((), self._lag())]

    def _lag(self) -> float:
        """Return the seconds since the oldest change that the state does not have yet was stored.

        If the store cannot be reached, return at least how long there may have been such a change.
        """
        index, contact = self.feed.state.index, self.store.contact
        unknown = 0.0 if contact.is_known else contact.age
        try:
            if not self.store.wait(index, 0):
                return unknown
            behind = self.store.read(index, 1)
        except PlugindError:
            return math.inf
        times = (each.change.time for each in behind)
        return max(unknown, (time.time_ns() - next(times, time.time_ns())) / SECOND)
