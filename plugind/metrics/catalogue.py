"""Metrics of plugins, instances and nodes, derived from a state.

The figures of a plugin are kept as long as its stamp stays the same; the stamp changes with the
plugin, its instances and their nodes. So the cost of a scrape depends on what has changed since the
last one, and on what it writes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from plugind.catalogue import Catalogue
from plugind.config.settings import ALL_INSTANCES, NO_INSTANCES
from plugind.metrics.readings import Pace, Reading, Rows
from plugind.model import DOWN, READY, Beat, InstanceKey, Node, PluginKey, Stamp
from plugind.model.times import SECOND
from plugind.printable import escaped
from plugind.schemas.plugins import PluginSchemas
from plugind.state import State

_CONTROLLER_REQUIRED = "ControllerRequired"
"""The field of a row with which Nomad's plugin types state that a plugin needs a controller."""


class RoleFigures(NamedTuple):
    """How many instances a plugin has in one role, and how many different versions they have."""

    expected: int
    healthy: int
    node_down: int
    unhealthy: int
    versions: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a plugin, valid while it has this stamp.

    ``needs_controller`` is None if the plugin's type does not state it.
    """

    stamp: Stamp
    roles: Mapping[str, RoleFigures]
    unhealthy: tuple[InstanceKey, ...]
    needs_controller: bool | None


class CatalogueMetrics:
    """Reads the state of a catalogue. ``heard`` returns when each node that is up was last heard
    from, by ID; ``instances`` says which instances get a series of their own."""

    def __init__(
        self,
        catalogue: Catalogue,
        schemas: Mapping[str, PluginSchemas],
        heard: Callable[[], Mapping[str, Beat]],
        instances: str,
        pace: Pace,
    ) -> None:
        self._catalogue = catalogue
        self._schemas = schemas
        self._heard = heard
        self._instances = instances
        self._pace = pace
        self._known: Mapping[PluginKey, Figures] = {}

    def totals(self) -> Iterator[Reading]:
        """Yield the metrics that name no plugin, instance or node."""
        state = self._catalogue.state
        figures = self._figures(state)
        plugins, unhealthy = Counter[str](), Counter[str]()
        sums: dict[tuple[str, str], list[int]] = {
            (name, role): [0, 0, 0]
            for name, each in self._schemas.items()
            for role in each.type.roles
        }
        for key, found in self._pace(figures.items()):
            plugins[key.type] += 1
            unhealthy[key.type] += any(
                each.healthy < each.expected for each in found.roles.values()
            )
            for role, each in found.roles.items():
                counts = each.expected, each.healthy, each.node_down
                sums[key.type, role] = [
                    a + b for a, b in zip(sums[key.type, role], counts, strict=True)
                ]
        yield "plugind_plugins", [((name,), plugins[name]) for name in self._schemas]
        yield "plugind_plugins_unhealthy", [((name,), unhealthy[name]) for name in self._schemas]
        for at, what in enumerate(("expected", "healthy", "node_down")):
            yield f"plugind_instances_{what}", [(key, sum_[at]) for key, sum_ in sums.items()]
        nodes = list(self._pace(state.nodes.values()))
        statuses = Counter(node.status for node in nodes)
        yield "plugind_nodes", [((status,), statuses[status]) for status in (READY, DOWN)]
        yield "plugind_nodes_cloned", [((), sum(bool(node.cloned_since) for node in nodes))]

    def named(self) -> Iterator[Reading]:
        """Yield the metrics that name plugins, instances or nodes."""
        state = self._catalogue.state
        figures = self._figures(state)
        parts: Mapping[str, Callable[[RoleFigures], int]] = {
            "instances_expected": lambda each: each.expected,
            "instances_healthy": lambda each: each.healthy,
            "instances_node_down": lambda each: each.node_down,
            "instances_unhealthy": lambda each: each.unhealthy,
            "versions": lambda each: each.versions,
        }
        for name, part in parts.items():
            yield f"plugind_plugin_{name}", _by_role(figures, part)
        yield (
            "plugind_plugin_controller_required",
            (
                (key, float(found.needs_controller))
                for key, found in figures.items()
                if found.needs_controller is not None
            ),
        )
        yield "plugind_instance_healthy", self._of_instances(state, figures)
        yield from self._of_nodes(state)

    def _of_instances(self, state: State, figures: Mapping[PluginKey, Figures]) -> Rows:
        if self._instances == NO_INSTANCES:
            return
        for plugin, found in figures.items():
            unhealthy = frozenset(found.unhealthy)
            shown = state.of_plugin(plugin)
            for key in shown if self._instances == ALL_INSTANCES else found.unhealthy:
                if key.role in found.roles:
                    name = escaped(state.nodes[key.node_id].name)
                    labels = (key.type, key.id, key.role, name, key.node_id)
                    yield labels, float(key not in unhealthy)

    def _of_nodes(self, state: State) -> Iterator[Reading]:
        nodes, heard = state.nodes.values(), self._heard()
        yield (
            "plugind_node_up",
            (
                ((*_names(node), escaped(node.datacenter)), float(node.status != DOWN))
                for node in nodes
            ),
        )
        yield (
            "plugind_node_last_heard_timestamp_seconds",
            (
                (_names(node), at / SECOND)
                for node in nodes
                if (at := node.heard or heard.get(node.id, Beat(0)).heard)
            ),
        )
        yield (
            "plugind_node_cloned",
            ((_names(node), float(bool(node.cloned_since))) for node in nodes),
        )

    def _figures(self, state: State) -> Mapping[PluginKey, Figures]:
        """Return the figures of all plugins of a state, in the order of types and IDs."""
        known, found = self._known, dict[PluginKey, Figures]()
        rows: dict[str, dict[str, bytes]] = {}
        keys = (PluginKey(type_, id_) for type_ in self._schemas for id_ in state.ids_of(type_))
        for key in self._pace(keys):
            stamp = state.stamps[key.resource]
            last = known.get(key)
            if last is None or last.stamp is not stamp:
                if key.type not in rows:
                    rows[key.type] = dict(self._catalogue.plugins(key.type).rows)
                row = orjson.loads(rows[key.type].get(key.id, b"{}"))
                last = self._made(state, key, stamp, row)
            found[key] = last
        self._known = found
        return found

    def _made(self, state: State, key: PluginKey, stamp: Stamp, row: Mapping[str, Any]) -> Figures:
        """Compute the figures of a plugin. From its ``row``, use only what the plugin's type alone
        determines."""
        type_ = self._schemas[key.type].type
        declaration = state.declarations.get(key)
        expected = declaration.expected if declaration else {}
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        versions: dict[str, set[str]] = defaultdict(set)
        unhealthy = []
        for one in self._pace(state.of_plugin(key)):
            instance, node = state.by_node[one.node_id][one], state.nodes[one.node_id]
            reported, is_down = instance.fingerprint, node.status == DOWN
            is_healthy = reported.healthy and instance.missing_since is None and not is_down
            count = counts[one.role]
            count["known"] += 1
            count["healthy"] += is_healthy
            count["node down"] += is_down
            count["unhealthy"] += not (is_healthy or is_down)
            if not is_healthy:
                unhealthy.append(one)
            if version := str(reported.details.get(type_.version_detail) or ""):
                versions[one.role].add(version)
        roles = {
            role: RoleFigures(
                expected.get(role, counts[role]["known"]),
                counts[role]["healthy"],
                counts[role]["node down"],
                counts[role]["unhealthy"],
                len(versions[role]),
            )
            for role in type_.roles
        }
        return Figures(stamp, roles, tuple(unhealthy), row.get(_CONTROLLER_REQUIRED))


def _by_role(figures: Mapping[PluginKey, Figures], part: Callable[[RoleFigures], int]) -> Rows:
    for key, found in figures.items():
        for role, each in found.roles.items():
            yield (key.type, key.id, role), part(each)


def _names(node: Node) -> tuple[str, str]:
    """Return the name and the ID of a node. The name is escaped, because its agent chooses it."""
    return escaped(node.name), node.id
