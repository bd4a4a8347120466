"""A store's contents in memory: nodes, instances and declarations, found by each key.

Holdings only follow changes; whether a plugin exists, and every count, is read off what is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from plugind.model import (
    DOWN,
    Change,
    Declaration,
    Instance,
    InstanceKey,
    Lost,
    Node,
    PluginKey,
    Step,
)
from plugind.store.base import Contents

G = TypeVar("G")
K = TypeVar("K")
V = TypeVar("V")


class Holdings:
    """Everything held. Not to be changed but by ``apply``; not safe for threads by itself."""

    def __init__(self, contents: Contents) -> None:
        self.nodes: dict[str, Node] = {}
        self.declarations: dict[PluginKey, Declaration] = {}
        self._by_node: dict[str, dict[InstanceKey, Instance]] = {}
        self._by_plugin: dict[PluginKey, dict[InstanceKey, Instance]] = {}
        self.apply(
            Change(
                0,
                tuple(Step(None, node) for node in contents.nodes),
                tuple(Step(None, instance) for instance in contents.instances),
                tuple(Step(None, declaration) for declaration in contents.declarations),
            )
        )

    def apply(self, change: Change) -> None:
        """Follows a change. Applying ``change.back()`` afterwards restores what was held."""
        for node in change.nodes:
            _replace(self.nodes, node.some.id, node.after)
        for declaration in change.declarations:
            _replace(self.declarations, declaration.some.key, declaration.after)
        for instance in change.instances:
            key = instance.some.key
            _replace_in(self._by_node, key.node_id, key, instance.after)
            _replace_in(self._by_plugin, key.plugin, key, instance.after)

    def on_node(self, node_id: str) -> Mapping[InstanceKey, Instance]:
        """The instances of a node."""
        return self._by_node.get(node_id, {})

    def of_plugin(self, key: PluginKey) -> Mapping[InstanceKey, Instance]:
        """The instances of a plugin, over all nodes."""
        return self._by_plugin.get(key, {})

    def has_plugin(self, key: PluginKey) -> bool:
        """A plugin exists while any report or declaration has it."""
        return key in self._by_plugin or key in self.declarations

    def lost(self) -> Iterator[Lost]:
        """The instances that are missing from their nodes' reports, and the silent nodes."""
        for node in self.nodes.values():
            if node.status == DOWN:
                yield Lost(node.id, node.status_since)
        for instances in self._by_node.values():
            for key, instance in instances.items():
                if instance.missing_since is not None:
                    yield Lost(key, instance.missing_since)

    def affected(self, change: Change) -> Iterator[tuple[Step[Instance], Step[Node]]]:
        """The instances that readers may see differently after a change, each with its node: those
        replaced, and those of a node that is. The change is not applied yet."""
        nodes = {step.some.id: step for step in change.nodes}
        steps = {step.some.key: step for step in change.instances}
        for node_id in nodes:
            for key, one in self.on_node(node_id).items():
                steps.setdefault(key, Step(one, one))
        for key, step in steps.items():
            held = self.nodes.get(key.node_id)
            yield step, nodes.get(key.node_id, Step(held, held))

    def plugins(self) -> Iterable[PluginKey]:
        """Every plugin that there is, in no order."""
        return self._by_plugin.keys() | self.declarations.keys()


def _replace(values: dict[K, V], key: K, value: V | None) -> None:
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value


def _replace_in(groups: dict[G, dict[K, V]], group: G, key: K, value: V | None) -> None:
    """The same in one of several groups; an empty group is none."""
    values = groups.setdefault(group, {})
    _replace(values, key, value)
    if not values:
        del groups[group]
