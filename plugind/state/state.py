"""The contents of a store in memory, as one immutable value with an index for each key.

A change makes a new state, which shares everything that did not change with the old one. So the
holder of a state reads it without a lock, for as long as it takes, and a planner can continue from
a state that may never become durable. Whether a plugin exists, and every count, is derived from the
contents of the state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from plugind.model import (
    DOWN,
    Change,
    Declaration,
    Forgotten,
    Instance,
    InstanceKey,
    KeptSecret,
    Lost,
    Node,
    PluginKey,
    Session,
    Stamp,
    Step,
    StoredTransition,
    is_history,
    is_list,
)
from plugind.model.values import Value
from plugind.state.flaps import Flaps
from plugind.state.later import Later
from plugind.state.maps import replaced, replaced_in
from plugind.state.news import News
from plugind.state.ordered import Ordered, changed_in
from plugind.state.processes import Processes
from plugind.state.removals import Removals
from plugind.state.steps import InstanceSteps, grouped
from plugind.state.steps import by_node as by_node_of
from plugind.state.usage import Usage
from plugind.store.base import FIRST_INDEX, Contents

CUT_AT = (8, 36)
"""The lengths to which Nomad's tools cut the IDs that they print and that users then ask for."""

NO_INSTANCES: Mapping[InstanceKey, Instance] = {}
NO_MARKS: Mapping[InstanceKey, Forgotten] = {}
NO_KEYS: Ordered[InstanceKey] = Ordered()
NO_IDS: Ordered[str] = Ordered()


class State(Value, frozen=True, eq=False):
    """Everything as of ``index``."""

    index: int
    nodes: Mapping[str, Node]
    by_node: Mapping[str, Mapping[InstanceKey, Instance]]
    by_plugin: Mapping[PluginKey, Ordered[InstanceKey]]
    processes: Processes
    declarations: Mapping[PluginKey, Declaration]
    forgotten: Mapping[InstanceKey, Forgotten]
    forgotten_by_node: Mapping[str, Mapping[InstanceKey, Forgotten]]
    kept_secrets: Mapping[str, KeptSecret]
    sessions: Mapping[str, Session]
    stamps: Mapping[str, Stamp]
    removals: Removals
    later_usage: Later[Usage]
    flaps: Flaps
    news: News
    node_ids: Ordered[str]
    plugin_ids: Mapping[str, Ordered[str]]

    @classmethod
    def of(cls, contents: Contents, rows: Iterable[StoredTransition] = ()) -> State:
        """Return the state for a store's contents. ``rows`` are the transitions of the last hour,
        newest first, from which the counts for flapping go on."""
        known = [row.transition for row in rows if row.index <= contents.index]
        nodes = {node.id: node for node in contents.nodes}
        declarations = {each.key: each for each in contents.declarations}
        marks = {mark.key: mark for mark in contents.forgotten}
        by_node, by_plugin = grouped(contents.instances)
        plugin_ids: dict[str, set[str]] = defaultdict(set)
        for plugin in (*by_plugin, *declarations):
            plugin_ids[plugin.type].add(plugin.id)
        return cls(
            index=contents.index,
            nodes=replaced({}, nodes),
            by_node=replaced({}, by_node),
            by_plugin=replaced({}, {key: Ordered(keys) for key, keys in by_plugin.items()}),
            processes=Processes(),
            declarations=replaced({}, declarations),
            forgotten=replaced({}, marks),
            forgotten_by_node=replaced_in({}, by_node_of(marks)),
            kept_secrets=replaced({}, {each.node_id: each for each in contents.kept_secrets}),
            sessions=replaced({}, {each.key: each for each in contents.sessions}),
            stamps=replaced({}, contents.stamps),
            removals=Removals(contents.index),
            later_usage=Later(partial(Usage.of, contents.nodes, by_node)),
            flaps=Flaps().changed(reversed(known)),
            news=News.since(contents.index),
            node_ids=Ordered(nodes),
            plugin_ids={type_: Ordered(ids) for type_, ids in plugin_ids.items()},
        )

    def apply(self, index: int, change: Change) -> State:
        """Return the state after a change, which happens at ``index``.

        Only ``after`` of each step counts; the value before it is the one that this state holds.
        """
        stamps: dict[str, Stamp | None] = dict.fromkeys(change.removed)
        created = []
        for resource in change.touched - change.removed:
            old = self.stamps.get(resource)
            if old is None:
                created.append(resource)
                old = Stamp(index, index, change.time, change.time)
            stamps[resource] = Stamp(old.create_index, index, old.create_time, change.time)
        gone = {*change.removed, *cut_ids([*created, *change.removed])}.difference(created)
        removals = self.removals.changed(index, gone, created)
        return self._after(index, change, replaced(self.stamps, stamps), removals)

    def _after(
        self, index: int, change: Change, stamps: Mapping[str, Stamp], removals: Removals
    ) -> State:
        """Return the state with the values after the steps, and all that is derived from them."""
        nodes = {step.some.id: step.after for step in change.nodes}
        declared = {step.some.key: step.after for step in change.declarations}
        marks = {step.some.key: step.after for step in change.forgotten}
        steps = InstanceSteps(self.instance, change.instances)
        by_plugin = changed_in(self.by_plugin, steps.by_plugin)
        declarations = replaced(self.declarations, declared)
        plugin_ids: dict[str, dict[str, bool]] = defaultdict(dict)
        for plugin in {*steps.by_plugin, *declared}:
            exists = plugin in by_plugin or plugin in declarations
            if exists is not self.has_plugin(plugin):
                plugin_ids[plugin.type][plugin.id] = exists
        new_nodes = [each for each, node in nodes.items() if node and each not in self.nodes]
        old_nodes = [each for each, node in nodes.items() if not node and each in self.nodes]
        # Computed now: otherwise each state would have to keep the one before it.
        usage = self.usage.changed(
            [(self.nodes.get(each), node) for each, node in nodes.items()], steps.pairs
        )
        return State(
            index=index,
            nodes=replaced(self.nodes, nodes),
            by_node=replaced_in(self.by_node, steps.by_node),
            by_plugin=by_plugin,
            processes=self.processes.changed(steps.pairs),
            declarations=declarations,
            forgotten=replaced(self.forgotten, marks),
            forgotten_by_node=replaced_in(self.forgotten_by_node, by_node_of(marks)),
            kept_secrets=replaced(
                self.kept_secrets, {step.some.node_id: step.after for step in change.kept_secrets}
            ),
            sessions=replaced(
                self.sessions, {step.some.key: step.after for step in change.sessions}
            ),
            stamps=stamps,
            removals=removals,
            later_usage=Later(lambda: usage),
            flaps=self.flaps.changed(change.transitions),
            news=self.news.changed(index, change.transitions),
            node_ids=self.node_ids.changed(new_nodes, old_nodes),
            plugin_ids=changed_in(self.plugin_ids, plugin_ids),
        )

    @property
    def usage(self) -> Usage:
        """Return how much is stored. After a start this is computed for the first change, or for
        the first thread that asks before that."""
        return self.later_usage.get()

    def instance(self, key: InstanceKey) -> Instance | None:
        return self.by_node.get(key.node_id, NO_INSTANCES).get(key)

    def pinned(self, node_id: str) -> Node | KeptSecret | None:
        """Return the holder of a node's secret: the node, or the kept secret of a removed one; None
        if there is neither."""
        return self.nodes.get(node_id) or self.kept_secrets.get(node_id)

    def on_node(self, node_id: str) -> Mapping[InstanceKey, Instance]:
        """Return the instances of a node."""
        return self.by_node.get(node_id, NO_INSTANCES)

    def forgotten_on(self, node_id: str) -> Mapping[InstanceKey, Forgotten]:
        """Return the marks of a node's instances that are remembered as forgotten."""
        return self.forgotten_by_node.get(node_id, NO_MARKS)

    def ignored(self, node_id: str) -> list[InstanceKey]:
        """Return, sorted, the instances of a node whose unhealthy reports have been ignored and
        would be ignored again."""
        marks = self.forgotten_on(node_id).values()
        return sorted(
            mark.key for mark in marks if mark.ignored and mark.key.plugin not in self.declarations
        )

    def of_plugin(self, key: PluginKey) -> Ordered[InstanceKey]:
        """Return the keys of a plugin's instances over all nodes, sorted."""
        return self.by_plugin.get(key, NO_KEYS)

    def of_allocation(self, alloc_id: str) -> Iterable[InstanceKey]:
        """Return the keys of the instances that name a process, in no order."""
        return self.processes.of(alloc_id, self.by_node)

    def ids_of(self, type_: str) -> Ordered[str]:
        """Return the IDs of a type's plugins, sorted."""
        return self.plugin_ids.get(type_, NO_IDS)

    def abbreviated(self, type_: str, start: str) -> PluginKey | None:
        """Return the only plugin of a type whose ID begins with ``start``; None if none or several
        do."""
        ids = self.ids_of(type_).start(start)
        first, second = next(ids, ""), next(ids, "")
        is_only = first.startswith(start) and not second.startswith(start)
        return PluginKey(type_, first) if first and is_only else None

    def has_plugin(self, key: PluginKey) -> bool:
        """Return whether a plugin exists: it has instances or a declaration."""
        return key in self.by_plugin or key in self.declarations

    def lost(self) -> Iterator[Lost]:
        """Yield the instances that are missing from their nodes' reports, and the nodes that are
        down."""
        for node in self.nodes.values():
            if node.status == DOWN:
                yield Lost(node.id, node.status_since)
        for instances in self.by_node.values():
            for key, instance in instances.items():
                if instance.missing_since is not None:
                    yield Lost(key, instance.missing_since)

    def affected(self, change: Change) -> Iterator[tuple[Step[Instance], Step[Node]]]:
        """Yield the instances that readers may see differently after a change of this state, each
        with its node: the instances that change, and all those of nodes that change."""
        nodes = {step.some.id: step for step in change.nodes}
        steps = {step.some.key: step for step in change.instances}
        for node_id in nodes:
            for key, one in self.on_node(node_id).items():
                if key not in steps:
                    steps[key] = Step(one, one)
        for key, step in steps.items():
            held = self.nodes.get(key.node_id)
            yield step, nodes.get(key.node_id, Step(held, held))

    def changed_at(self, resource: str) -> int:
        """Return the index at which a resource last changed. One that does not exist last changed
        when it was removed; lists and history always exist."""
        if is_history(resource):
            return self.news.index_of(resource)
        if (stamp := self.stamps.get(resource)) is not None:
            return stamp.modify_index
        if is_list(resource):
            return FIRST_INDEX
        return self.removals.index_of(resource)


def cut_ids(resources: Iterable[str]) -> Iterator[str]:
    """Yield the resources under the abbreviated IDs, cut to CUT_AT, of plugins that come or go.
    From then on an abbreviated ID may mean another plugin, or one for the first time, and readers
    may wait for that."""
    for resource in resources:
        kind, _, rest = resource.partition("/")
        type_, _, id_ = rest.partition("/")
        if kind == "plugin":
            for cut in CUT_AT:
                if cut < len(id_):
                    yield PluginKey(type_, id_[:cut]).resource
