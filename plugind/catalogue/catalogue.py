"""The catalogue that all reads use, in memory, derived from the store and its changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from plugind.catalogue.answers import Answers
from plugind.catalogue.columns import Row
from plugind.catalogue.pacing import PAUSE, Later, Pacing
from plugind.catalogue.rendering import Caches, Listing, Renderer, Types
from plugind.catalogue.typed import Typed
from plugind.catalogue.views import Views
from plugind.catalogue.waiting import ANYBODY, Holder, Subscription, Waiting
from plugind.feed.feed import Feed
from plugind.health import Hits
from plugind.model import (
    HISTORY,
    NODES,
    SETTLED,
    Committed,
    Contact,
    PluginKey,
    history_of,
    is_history,
    is_list,
    node_of,
    plugins_of,
)
from plugind.schemas.nodes import STUBS, Wanted
from plugind.schemas.plugins import PluginSchemas
from plugind.state import State
from plugind.state.news import touched_by
from plugind.state.state import CUT_AT, cut_ids
from plugind.store.base import FIRST_INDEX
from plugind.types.guard import Guard

SETTLED_MAXIMUM = 8
"""Callers that may wait at a time for resources that no change touches. Some of these need no
permission, so such callers have places of their own."""


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer as of ``index``: JSON or a list, or None for a resource that does not exist. In
    that case the index is the store's, so that a caller that waits from it is woken when the
    resource comes into being."""

    index: int
    found: bytes | Listing | None
    is_degraded: bool = False
    """Whether a part of the answer is missing or outdated because the plugin type's code fails."""
    next_token: str = ""
    """The token of the next page, if ``found`` is not the whole list."""

    @property
    def body(self) -> bytes | None:
        """Return the JSON of what was found."""
        return self.found.body if isinstance(self.found, Listing) else self.found

    @property
    def rows(self) -> tuple[Row, ...]:
        """Return the rows of a list, by ID."""
        return self.found.rows if isinstance(self.found, Listing) else ()


class Catalogue:
    """Everything that readers may ask for. Safe for threads.

    It reads the state of a ``feed``, which informs it of changes; each read is of one state.
    ``generation`` identifies everything except the index that the bytes of an answer depend on;
    ``as_document``: plugins have the shapes of Nomad's API document, not those of its servers.

    At most ``max_parked`` queries may wait, and those of one token may take ``max_parked_share``
    percent of the places. ``views`` keeps other forms of readings, such as compressed ones, and
    ``answers`` whole answers that can be given again, each ``max_view_memory`` bytes at most.
    Changes of a list are announced at most once every ``pause`` seconds; ``later`` calls a function
    after some seconds, and without it each change is announced at once. ``packages`` has the
    package of each plugin type.
    """

    def __init__(
        self,
        feed: Feed,
        schemas: Mapping[str, PluginSchemas],
        *,
        max_parked: int = 200,
        max_parked_share: int = 50,
        max_view_memory: int = 64 * 2**20,
        generation: str = "",
        as_document: bool = False,
        pause: float = PAUSE,
        later: Later | None = None,
        hits: Hits | None = None,
        packages: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.generation = generation
        self.views = Views(max_view_memory)
        self.answers: Answers[Any] = Answers(max_view_memory)
        self._feed = feed
        self._schemas = schemas
        self.typed = {
            name: Typed(each, Guard(name, packages.get(name, name)), as_document=as_document)
            for name, each in schemas.items()
        }
        self._caches = Caches()
        self._waiting = Waiting(max_parked, max_parked_share, hits)
        self._waiting_in_vain = Waiting(SETTLED_MAXIMUM, max_parked_share, hits)
        self._pacing = Pacing(self._waiting.wake, later, pause)
        feed.subscribe(self)

    @property
    def state(self) -> State:
        """Return the state that a read which begins now is answered from."""
        return self._feed.state

    @property
    def index(self) -> int:
        """Return the index of the last change."""
        return self.state.index

    @property
    def contact(self) -> Contact:
        """Return whether the store that the state is from can be reached."""
        return self._feed.contact

    @property
    def has_other_servers(self) -> bool:
        """Return whether another machine has to be asked for changes that this one may lack."""
        return self._feed.has_other_servers

    def fresh_state(self) -> State | None:
        """Return the state if it is known to contain every change that any process acknowledged so
        far, otherwise None. This never waits."""
        return self._feed.fresh_state()

    def refresh(self) -> None:
        """Make the state contain every change that any process acknowledged before the call. Raise
        StoreError."""
        self._feed.refresh()

    @property
    def parked(self) -> int:
        """Return the number of blocking queries that are waiting."""
        return self._waiting.count + self._waiting_in_vain.count

    def follow(self, old: State, new: State, batch: Sequence[Committed]) -> None:
        """Free the memory of what changed, and wake the queries that wait for it."""
        touched: set[str] = set()
        for committed in batch:
            change = committed.change
            self._caches.drop(old, change)
            touched |= change.touched
            if change.transitions:
                touched |= touched_by(change.transitions)
            come_or_gone = {
                each
                for each in change.touched
                if each in change.removed
                or each not in new.stamps
                or new.stamps[each].create_index >= committed.index
            }
            touched |= set(cut_ids(come_or_gone))
            self._forget(change.removed)
        self._drop(touched)
        self._wake(touched, new.index)

    def missed(self, old: State, new: State) -> None:
        """Free the memory of everything, and wake all queries that wait for what changed."""
        self._caches.clear()
        self._forget([each for each in old.stamps if each not in new.stamps])
        resources = {*old.stamps, *new.stamps}
        changed = {each for each in resources if old.stamps.get(each) != new.stamps.get(each)}
        changed |= set(cut_ids(changed))
        if old.news != new.news:
            plugins = {*old.declarations, *new.declarations, *old.by_plugin, *new.by_plugin}
            changed |= {HISTORY, *map(history_of, plugins)}
        self._drop(changed)
        self._wake(changed, new.index)

    def _drop(self, resources: Collection[str]) -> None:
        """Free the memory of views and answers that were made from resources that changed."""
        self.views.drop(resources)
        self.answers.drop(resources)

    def _forget(self, resources: Collection[str]) -> None:
        """Make the guards of types forget the plugins among resources that are gone."""
        for resource in resources:
            kind, _, rest = resource.partition("/")
            type_, _, id_ = rest.partition("/")
            if kind == "plugin" and type_ in self.typed:
                self.typed[type_].guard.forget(PluginKey(type_, id_))

    def _wake(self, resources: Collection[str], index: int) -> None:
        held_back = {
            each for each in resources if is_list(each) and not self._pacing.announces(each, index)
        }
        self._waiting.wake(set(resources) - held_back)

    def _renderer(self, state: State) -> Renderer:
        return Renderer(
            state,
            self._caches,
            self._schemas,
            self.typed,
            lambda: self._feed.state is state,
        )

    def plugins(self, type_: str) -> Reading:
        """Return the list of a type's plugins."""
        state = self.state
        found = self._renderer(state).plugins(type_)
        return Reading(state.changed_at(plugins_of(type_)), found, found.mark is not None)

    def plugin(self, key: PluginKey) -> Reading:
        """Return one plugin."""
        state = self.state
        stamp = state.stamps.get(key.resource)
        if stamp is None:
            return Reading(state.index, None)
        found = self._renderer(state).plugin(key)
        return Reading(stamp.modify_index, found.body, found.mark is not None)

    def counts(self, key: PluginKey) -> tuple[int, Mapping[str, tuple[int, int]] | None]:
        """Return the index of a plugin's last change, and how many of its instances are healthy
        and how many are expected, by the plural of their role; None if there is no such plugin."""
        state = self.state
        stamp = state.stamps.get(key.resource)
        if stamp is None or key.type not in self._schemas:
            return state.index, None
        return stamp.modify_index, self._renderer(state).counts(key)

    def plugin_alone(self, key: PluginKey, state: State) -> bytes | None:
        """Return one plugin as of a state, without its processes; None if it does not exist."""
        if key.resource not in state.stamps:
            return None
        made = self._renderer(state).plugin_alone(key)
        if not self.state.has_plugin(key):
            self.typed[key.type].guard.forget(key)  # it is gone, and no change will do this
        return made

    def named(self, key: PluginKey) -> PluginKey:
        """Return the key of the plugin that an ID means: the plugin with that ID, else the only one
        whose ID begins with it, if it has a length of CUT_AT; else the same key."""
        state = self.state
        if len(key.id) not in CUT_AT or state.has_plugin(key):
            return key
        return state.abbreviated(*key) or key

    def nodes(self, wanted: Wanted = STUBS) -> Reading:
        """Return the list of nodes."""
        state = self.state
        return Reading(state.changed_at(NODES), self._renderer(state).nodes(wanted))

    def node(self, node_id: str, state: State | None = None) -> Reading:
        """Return one node, as of ``state`` (None: now)."""
        state = state or self.state
        node = state.nodes.get(node_id)
        if node is None:
            return Reading(state.index, None)
        return Reading(state.changed_at(node_of(node_id)), self._renderer(state).node(node))

    def changed_at(self, resource: str) -> tuple[int, bool]:
        """Return the index of a resource's last change, or that of the store if the resource does
        not exist; and whether it exists. History always exists."""
        state = self.state
        if is_history(resource):
            return state.changed_at(resource), True
        stamp = state.stamps.get(resource)
        return (state.index, False) if stamp is None else (state.changed_at(resource), True)

    def node_field(self, node_id: str, name: str) -> Any:
        """Return the value of one field of a node, by its name on the wire; None if the node no
        longer exists."""
        state = self.state
        node = state.nodes.get(node_id)
        return self._renderer(state).node_field(node, name) if node else None

    def allocations(self, node_id: str) -> Reading:
        """Return the processes behind a node's instances; none if there is no such node."""
        state = self.state
        node = state.nodes.get(node_id)
        if node is None:
            return Reading(state.index, Listing(()))
        listing = self._renderer(state).allocations(node)
        return Reading(state.changed_at(node_of(node_id)), listing)

    def all_allocations(self, types: Types) -> Reading:
        """Return the processes behind the instances of some plugin types, on all nodes."""
        state = self.state
        return Reading(state.changed_at(NODES), self._renderer(state).stubs(types))

    def allocation(self, alloc_id: str, types: Types) -> tuple[str, Reading]:
        """Return one process, and the resource that changes with it: its node, or the list of nodes
        while the process does not exist."""
        state = self.state
        found = self._renderer(state).allocation(alloc_id, types)
        if found is None:
            return NODES, Reading(state.index, None)
        resource = node_of(found[0].id)
        return resource, Reading(state.changed_at(resource), found[1])

    def node_names(self) -> list[tuple[str, str]]:
        """Return the name and the ID of each node."""
        return [(node.name, node.id) for node in self.state.nodes.values()]

    def plugin_ids(self, type_: str) -> Iterable[str]:
        """Return the IDs of a type's plugins, in order."""
        return self.state.ids_of(type_)

    def has_plugin(self, key: PluginKey) -> bool:
        return self.state.has_plugin(key)

    def has_node(self, node_id: str) -> bool:
        return node_id in self.state.nodes

    def subscribe(
        self,
        resource: str,
        index: int,
        call: Callable[[], object],
        holder: Holder = ANYBODY,
    ) -> Subscription:
        """Call ``call`` once the index of a resource is greater than ``index``.

        ``call`` is called once, also when the place is taken away and on close; the subscription
        says which of these it was, and must be closed in any case. A change of a list may be
        announced a moment later. Raise TooManyParked.
        """
        waiting = self._waiting_in_vain if resource == SETTLED else self._waiting
        return waiting.subscribe(resource, partial(self._is_due, resource, index), call, holder)

    def close(self) -> None:
        """End all subscriptions; from now on each new one ends at once."""
        self._pacing.close()
        self._waiting.close()
        self._waiting_in_vain.close()

    def end(self) -> None:
        """End all subscriptions, and the threads that call the code of plugin types."""
        self.close()
        for each in self.typed.values():
            each.guard.close()

    def _is_due(self, resource: str, index: int) -> bool:
        """Return whether a resource changed after an index. The subscriptions' lock is held."""
        state = self.state
        # An index from the future is from before the store was reset: the client must start over.
        if index > state.index:
            return True
        changed = FIRST_INDEX if resource == SETTLED else state.changed_at(resource)
        return changed > index and self._pacing.may_hear(resource, index)
