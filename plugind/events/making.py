"""Makes the events of the changes between two indexes, from the history and the state.

Live and replayed events are made in the same way. The history has each transition once; a plugin or
a node has one event, at the index of its last change, with its current content.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any

import orjson

from plugind.catalogue import Catalogue
from plugind.events.event import (
    DEREGISTERED,
    GAP,
    NODE,
    PLUGIN,
    REGISTERED,
    STREAMED,
    Event,
    Moment,
)
from plugind.model import (
    LEFT,
    NODE_DOWN,
    NODE_UP,
    HistoryQuery,
    PluginKey,
    StoredTransition,
    node_of,
)
from plugind.schemas.history import wire_row
from plugind.schemas.plugins import PluginSchemas
from plugind.state import State

PAGE = 100
"""Transitions that are read at once; between two pages, other requests can read the store."""

Select = Callable[[HistoryQuery], Sequence[StoredTransition]]


class EventMaker:
    """Makes events; ``select`` reads the history, and ``deleted_until`` returns the index of the
    last change whose transitions may have been deleted from it."""

    def __init__(
        self,
        catalogue: Catalogue,
        schemas: Mapping[str, PluginSchemas],
        select: Select,
        deleted_until: Callable[[], int],
    ) -> None:
        self._catalogue = catalogue
        self._deleted_until = deleted_until
        self._types = {name: each.type for name, each in schemas.items()}
        self.select = select

    def moments(
        self, after: int, new: State, touched: Collection[str], old: State | None = None
    ) -> Iterator[Moment]:
        """Yield the events of the changes after an index, up to that of ``new``.

        ``touched`` are the resources that changed. If ``old``, the state at ``after``, is given,
        there are no events for nodes where only instances changed, and plugins and nodes that are
        gone are shown as they were.
        """
        states = sorted((new.changed_at(each), each) for each in touched)
        changed = [(index, each) for index, each in states if after < index <= new.index]
        by_index = itemgetter(0)
        both: Iterator[tuple[int, str | StoredTransition | Event]]
        both = merge(self._rows(after, new.index), changed, key=by_index)
        for index, group in groupby(both, key=by_index):
            events: list[Event] = []
            stored: list[StoredTransition] = []
            resources: set[str] = set()
            for _, each in group:
                match each:
                    case Event():
                        events.append(each)
                    case str():
                        resources.add(each)
                    case StoredTransition():
                        stored.append(each)
                        resources |= self._gone(each, new)
            # No caller may read plugins of a type that is no longer installed.
            of_types = [each for each in stored if each.transition.type in self._types]
            events += map(self._transition, of_types)
            events += self._states(index, sorted(resources), stored, new, old)
            yield Moment(index, tuple(events))

    @property
    def topics(self) -> Collection[str]:
        """Return all topics that events may have."""
        return {PLUGIN, NODE, *map(topic_of, self._types)}

    def changed_after(self, index: int, state: State) -> list[str]:
        """Return the plugins and nodes that changed after an index and still exist."""
        return [each for each, stamp in state.stamps.items() if stamp.modify_index > index]

    def gap(self, wanted: int) -> Iterator[Moment]:
        """Yield the event which reports that transitions from an index on are no longer kept, if
        that is so. Even of the oldest index that is kept, some transitions may be gone."""
        deleted = self._deleted_until()
        if wanted <= deleted:
            yield Moment(wanted, (_gap(wanted, wanted, max(wanted, deleted - 1)),))

    def _rows(self, after: int, until: int) -> Iterator[tuple[int, StoredTransition | Event]]:
        """Yield the transitions of the changes after an index, each with its index. If some were
        deleted since the previous page was read, yield an event that reports it."""
        query = HistoryQuery(after_index=after, limit=PAGE)
        last: StoredTransition | None = None
        while found := self.select(query):
            first = found[0]
            if last is not None and self._lost_after(last, first):
                yield first.index, _gap(first.index, last.index, first.index)
            for each in found:
                if each.index > until:
                    return
                yield each.index, each
            last = found[-1]
            query = HistoryQuery(after=last.seq, limit=PAGE)

    def _lost_after(self, last: StoredTransition, first: StoredTransition) -> bool:
        """Return whether transitions between two that were read in succession may have been
        deleted. The oldest are deleted first, so while ``last`` is kept, none were."""
        if first.seq == last.seq + 1:
            return False
        oldest = self.select(HistoryQuery(after=0, limit=1))
        return not oldest or oldest[0].seq > last.seq

    def _gone(self, stored: StoredTransition, new: State) -> set[str]:
        """Return the plugin and the node of a transition, if its change removed them."""
        one = stored.transition
        resources = {node_of(one.node_id)} if one.node_id else set()
        resources |= {PluginKey(one.type, one.id).resource} if one.type else set()
        return {
            each
            for each in resources
            if one.kind == LEFT and each not in new.stamps and new.changed_at(each) == stored.index
        }

    @staticmethod
    def _transition(stored: StoredTransition) -> Event:
        one = stored.transition
        keys = tuple(filter(None, (one.id, one.node_id)))
        key = f"{one.type}/{one.id}"
        return Event(
            stored.index, PLUGIN, one.kind, key, keys, lambda: orjson.dumps(wire_row(stored))
        )

    def _states(
        self,
        index: int,
        resources: Iterable[str],
        stored: Sequence[StoredTransition],
        new: State,
        old: State | None,
    ) -> Iterator[Event]:
        """Yield the events of plugins and nodes that last changed at an index."""
        is_of_nodes = any(each.transition.kind in (NODE_DOWN, NODE_UP) for each in stored)
        for resource in resources:
            kind, *names = resource.split("/")
            is_gone = resource not in new.stamps
            type_ = REGISTERED
            if is_gone:
                type_ = DEREGISTERED
            elif is_of_nodes:
                type_ = STREAMED
            elif kind == "plugin" and _left(names, stored):
                type_ = DEREGISTERED
            state = old if is_gone else new
            if kind == "plugin" and names[0] in self._types:
                topic = topic_of(names[0])
                payload = partial(self._plugin, PluginKey(*names), state)
                yield Event(index, topic, type_, names[1], (names[1],), payload)
            elif kind == "node" and (
                old is None or old.nodes.get(names[0]) != new.nodes.get(names[0])
            ):
                payload = partial(self._node, names[0], state)
                yield Event(index, NODE, type_, names[0], (names[0],), payload)

    def _plugin(self, key: PluginKey, state: State | None) -> bytes:
        """Return the payload of a plugin's event. As in Nomad's events, its processes are left
        out."""
        body = self._catalogue.plugin_alone(key, state) if state else None
        if body is None:
            plurals = self._types[key.type].roles.values()
            counts = {f"{each}{kind}": 0 for each in plurals for kind in ("Healthy", "Expected")}
            maps: dict[str, Any] = {each: {} for each in plurals}
            body = orjson.dumps({"ID": key.id, "Allocations": [], **maps, **counts})
        return b'{"Plugin":%b}' % body

    def _node(self, node_id: str, state: State | None) -> bytes:
        body = self._catalogue.node(node_id, state).body if state else None
        body = body or orjson.dumps({"ID": node_id, "Status": "down"})
        return b'{"Node":%b}' % body


def _gap(index: int, first: int, last: int) -> Event:
    """Return the event which reports that transitions of the indexes ``first`` to ``last`` may be
    missing, because they are no longer kept."""
    payload = orjson.dumps({"From": first, "To": last})
    return Event(index, PLUGIN, GAP, "", (), lambda: payload)


def topic_of(type_: str) -> str:
    """Return the topic of a plugin type's plugins, such as ``CSIPlugin``."""
    return f"{type_.upper()}{PLUGIN}"


def _left(names: Sequence[str], stored: Iterable[StoredTransition]) -> bool:
    """Return whether one of the transitions is that of an instance which left the plugin."""
    return any(
        [each.transition.type, each.transition.id] == names and each.transition.kind == LEFT
        for each in stored
    )
