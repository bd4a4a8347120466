"""The catalogue: what all reads look at, in memory, derived from the store and its changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from plugind.catalogue.holdings import Holdings
from plugind.catalogue.rendering import Renderer, Row
from plugind.catalogue.waiting import Waiting
from plugind.model import (
    NODES,
    SETTLED,
    Change,
    Instance,
    InstanceKey,
    Lost,
    Node,
    PluginKey,
    Stamp,
    is_list,
    node_of,
    plugins_of,
)
from plugind.node_schemas import STUBS, Wanted
from plugind.plugin_schemas import PluginSchemas
from plugind.store.base import FIRST_INDEX, Contents

REMOVALS_REMEMBERED = 10_000
SETTLED_MAXIMUM = 8
"""Callers that wait at a time for what no change touches. Some of it may be asked for without any
right, so they have places of their own."""


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer: JSON, as of ``index``. ``body`` is None for what does not exist; the index is
    the store's then, so that one who waits on from it is woken when it comes. ``rows`` are those
    of a list, by ID."""

    index: int
    body: bytes | None
    rows: tuple[Row, ...] = ()


class Catalogue:
    """Everything that readers may ask for. Safe for threads.

    Its only writer hands over changes with ``publish``, each with its index, once they are durable.
    ``generation`` identifies what the bytes of an answer depend on beside its index;
    ``as_document``: plugins have the shapes of Nomad's API document, not those of its servers.
    """

    def __init__(
        self,
        contents: Contents,
        schemas: Mapping[str, PluginSchemas],
        *,
        max_parked: int = 200,
        generation: str = "",
        as_document: bool = False,
    ) -> None:
        self.generation = generation
        self._lock = threading.Lock()
        self._held = Holdings(contents)
        self._stamps = dict(contents.stamps)
        self._renderer = Renderer(self._held, self._stamps, schemas, as_document=as_document)
        self._waiting = Waiting(max_parked)
        self._waiting_in_vain = Waiting(SETTLED_MAXIMUM)
        self._index = contents.index
        # Of what is not there this process knows when it went, if that was after the horizon.
        self._removed: dict[str, int] = {}
        self._horizon = contents.index

    @property
    def index(self) -> int:
        """The index of the last change."""
        return self._index

    @property
    def parked(self) -> int:
        """How many blocking queries are waiting."""
        return self._waiting.count + self._waiting_in_vain.count

    def publish(self, changes: Iterable[tuple[int, Change]]) -> None:
        """Follows changes, in the order of their indexes; wakes who waits for what they touch."""
        touched: set[str] = set()
        with self._lock:
            for index, change in changes:
                self._held.apply(change)
                self._renderer.forget(change)
                self._stamp(index, change)
                self._index = index
                touched |= change.touched
        self._waiting.wake(touched)

    def plugins(self, type_: str) -> Reading:
        """The list of a type's plugins."""
        with self._lock:
            listing = self._renderer.plugins(type_)
            return Reading(self._list_index(plugins_of(type_)), listing.body, listing.rows)

    def plugin(self, key: PluginKey) -> Reading:
        """One plugin."""
        with self._lock:
            stamp = self._stamps.get(key.resource)
            if stamp is None:
                return Reading(self._index, None)
            return Reading(stamp.modify_index, self._renderer.plugin(key))

    def nodes(self, wanted: Wanted = STUBS) -> Reading:
        """The list of nodes."""
        with self._lock:
            listing = self._renderer.nodes(wanted)
            return Reading(self._list_index(NODES), listing.body, listing.rows)

    def node(self, node_id: str) -> Reading:
        """One node."""
        with self._lock:
            stamp = self._stamps.get(node_of(node_id))
            if stamp is None:
                return Reading(self._index, None)
            return Reading(stamp.modify_index, self._renderer.node(self._held.nodes[node_id]))

    def allocations(self, node_id: str) -> Reading:
        """The processes behind a node's instances; none where there is no node."""
        with self._lock:
            stamp = self._stamps.get(node_of(node_id))
            if stamp is None:
                return Reading(self._index, b"[]")
            listing = self._renderer.allocations(self._held.nodes[node_id])
            return Reading(stamp.modify_index, listing.body, listing.rows)

    def held(self, node_id: str) -> tuple[Node | None, dict[InstanceKey, Instance]]:
        """A node as the store has it, and its instances."""
        with self._lock:
            return self._held.nodes.get(node_id), dict(self._held.on_node(node_id))

    def has_node(self, node_id: str) -> bool:
        with self._lock:
            return node_id in self._held.nodes

    def cloned(self) -> int:
        """As how many of the nodes two agents report."""
        with self._lock:
            return sum(bool(node.cloned_since) for node in self._held.nodes.values())

    def lost(self) -> set[Lost]:
        """What is held and not heard of, and since when."""
        with self._lock:
            return set(self._held.lost())

    def wait(
        self,
        resource: str,
        index: int,
        timeout: float,
        is_gone: Callable[[], bool] = lambda: False,
    ) -> None:
        """Returns once a resource's index is greater than ``index``, or after ``timeout`` seconds.

        Raises TooManyParked, or ClientGone once ``is_gone()``.
        """
        room = self._waiting_in_vain if resource == SETTLED else self._waiting
        room.wait(resource, lambda: self._is_due(resource, index), timeout, is_gone)

    def close(self) -> None:
        """Wakes everybody who waits; nobody waits any more from now on."""
        self._waiting.close()
        self._waiting_in_vain.close()

    def _is_due(self, resource: str, index: int) -> bool:
        """Takes no lock: it is asked under the waiting room's, and looks at one value at a time."""
        stamp = self._stamps.get(resource)
        if stamp is not None:
            changed = stamp.modify_index
        elif resource == SETTLED or is_list(resource):
            changed = FIRST_INDEX
        else:
            changed = self._removed.get(resource, self._horizon)
        # An index from the future is one of a store that was reset: its client must start over.
        return changed > index or index > self._index

    def _list_index(self, resource: str) -> int:
        stamp = self._stamps.get(resource)
        return stamp.modify_index if stamp else FIRST_INDEX

    def _stamp(self, index: int, change: Change) -> None:
        for resource in change.touched - change.removed:
            old = self._stamps.get(resource)
            self._stamps[resource] = Stamp(
                old.create_index if old else index,
                index,
                old.create_time if old else change.time,
                change.time,
            )
            self._removed.pop(resource, None)
        for resource in change.removed:
            self._stamps.pop(resource, None)
            self._removed[resource] = index
        while len(self._removed) > REMOVALS_REMEMBERED:
            oldest = next(iter(self._removed))
            self._horizon = max(self._horizon, self._removed.pop(oldest))
