"""Makes the events of the changes between two indexes, from the history and the state.

Live events and those that are replayed are made here alike. The history has each transition once;
a plugin or a node has one event, at the index of its last change, with what it is now.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from heapq import merge
from itertools import groupby
from operator import itemgetter

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
from plugind.model.changes import HISTORY_LIMIT
from plugind.schemas.history import wire_row
from plugind.schemas.plugins import PluginSchemas
from plugind.state import State

Select = Callable[[HistoryQuery], Sequence[StoredTransition]]


class EventMaker:
    """Makes events; ``select`` reads the history."""

    def __init__(
        self, catalogue: Catalogue, schemas: Mapping[str, PluginSchemas], select: Select
    ) -> None:
        self._catalogue = catalogue
        self._types = {name: each.type for name, each in schemas.items()}
        self.select = select

    def moments(
        self, after: int, new: State, touched: Collection[str], old: State | None = None
    ) -> Iterator[Moment]:
        """Yield the events of the changes after an index, up to that of ``new``.

        ``touched`` are the resources that changed. ``old`` is the state at ``after``: by it, nodes
        have no event where only their instances changed, and what is gone is shown as it last was.
        """
        states = sorted((new.changed_at(each), each) for each in touched)
        changed = [(index, each) for index, each in states if after < index <= new.index]
        rows = ((each.index, each) for each in self._rows(after, new.index))
        by_index = itemgetter(0)
        both: Iterator[tuple[int, str | StoredTransition]] = merge(rows, changed, key=by_index)
        for index, group in groupby(both, key=by_index):
            stored: list[StoredTransition] = []
            resources: set[str] = set()
            for _, each in group:
                if isinstance(each, str):
                    resources.add(each)
                else:
                    stored.append(each)
                    resources |= self._gone(each, new)
            events = [self._transition(each) for each in stored if each.transition.type]
            events += self._states(index, sorted(resources), stored, new, old)
            if events:
                yield Moment(index, tuple(events))

    def changed_after(self, index: int, state: State) -> list[str]:
        """Return the plugins and nodes that changed after an index, and are still there."""
        return [each for each, stamp in state.stamps.items() if stamp.modify_index > index]

    def gap(self, wanted: int) -> Iterator[Moment]:
        """Yield the event which says that transitions from an index on are not kept any more, if
        that is so."""
        oldest = self.select(HistoryQuery(after=0, limit=1))
        if oldest and oldest[0].seq > 1 and wanted < oldest[0].index:
            payload = orjson.dumps({"From": wanted, "To": oldest[0].index - 1})
            yield Moment(wanted, (Event(wanted, PLUGIN, GAP, "", (), lambda: payload),))

    def _rows(self, after: int, until: int) -> Iterator[StoredTransition]:
        query = HistoryQuery(after_index=after, limit=HISTORY_LIMIT)
        while found := self.select(query):
            for each in found:
                if each.index > until:
                    return
                yield each
            query = HistoryQuery(after=found[-1].seq, limit=HISTORY_LIMIT)

    def _gone(self, stored: StoredTransition, new: State) -> set[str]:
        """Return the plugin and the node of a transition, as far as they went by its change."""
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
        """Return the payload of a plugin's event. As in Nomad's, its processes are left out."""
        body = self._catalogue.plugin(key, state).body if state else None
        if body is None:
            plurals = self._types[key.type].roles.values()
            counts = {f"{each}{kind}": 0 for each in plurals for kind in ("Healthy", "Expected")}
            shown = {"ID": key.id, **{each: {} for each in plurals}, **counts}
        else:
            shown = orjson.loads(body)
            shown = shown[0] if isinstance(shown, list) else shown
        return orjson.dumps({"Plugin": {**shown, "Allocations": []}})

    def _node(self, node_id: str, state: State | None) -> bytes:
        body = self._catalogue.node(node_id, state).body if state else None
        body = body or orjson.dumps({"ID": node_id, "Status": "down"})
        return b'{"Node":%b}' % body


def topic_of(type_: str) -> str:
    """Return the topic of a plugin type's plugins, such as ``CSIPlugin``."""
    return f"{type_.upper()}{PLUGIN}"


def _left(names: Sequence[str], stored: Iterable[StoredTransition]) -> bool:
    """Return whether an instance of a plugin left by one of the transitions."""
    return any(
        [each.transition.type, each.transition.id] == names and each.transition.kind == LEFT
        for each in stored
    )
