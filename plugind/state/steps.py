"""The values that a change puts into each mapping of the state; None stands for a removal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from plugind.model import Instance, InstanceKey, PluginKey, Step

V = TypeVar("V")


class InstanceSteps:
    """The steps of instances, by each key that the state finds instances by. ``held`` returns an
    instance as it was before the change."""

    def __init__(
        self, held: Callable[[InstanceKey], Instance | None], steps: Iterable[Step[Instance]]
    ) -> None:
        self.pairs: list[tuple[Instance | None, Instance | None]] = []
        self.by_node: dict[str, dict[InstanceKey, Instance | None]] = defaultdict(dict)
        self.by_plugin: dict[PluginKey, dict[InstanceKey, bool]] = defaultdict(dict)
        for step in steps:
            key, new = step.some.key, step.after
            old = held(key)
            self.pairs.append((old, new))
            self.by_node[key.node_id][key] = new
            if (old is None) is not (new is None):
                self.by_plugin[key.plugin][key] = new is not None


def grouped(
    instances: Iterable[Instance],
) -> tuple[dict[str, dict[InstanceKey, Instance]], dict[PluginKey, list[InstanceKey]]]:
    """Return instances by their nodes, and their keys by plugin."""
    nodes: dict[str, dict[InstanceKey, Instance]] = defaultdict(dict)
    plugins: dict[tuple[str, ...], list[InstanceKey]] = defaultdict(list)
    for one in instances:
        key = one.key
        nodes[key[0]][key] = one
        plugins[key[1:3]].append(key)
    return nodes, {PluginKey(*plugin): keys for plugin, keys in plugins.items()}


def by_node(values: Mapping[InstanceKey, V]) -> dict[str, dict[InstanceKey, V]]:
    """Return values by the nodes of their keys."""
    found: dict[str, dict[InstanceKey, V]] = defaultdict(dict)
    for key, value in values.items():
        found[key.node_id][key] = value
    return found
