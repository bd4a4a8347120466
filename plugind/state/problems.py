"""All that is wrong now, grouped into few entries.

A node that is down is one entry, whatever ran on it. Instances of a plugin that are unhealthy for
the same reason are one, on however many nodes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from plugind.model import DOWN, Instance, Node, PluginKey
from plugind.state.state import State

OK, WARNING, CRITICAL = "ok", "warning", "critical"
"""How bad it is: a plugin with some healthy instances is a warning, one with none is critical."""

NODE, CLONE, PLUGIN, MISSING = "node", "clone", "plugin", "missing"
"""Kinds: a node is down, two agents report as one node, instances are unhealthy, or fewer are known
than are expected."""

NAMED = 5
"""Nodes of a problem that are named."""

NOT_REPORTED = "not reported by its node any more"


Pace = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Problem:
    """One entry. ``type`` and ``id`` are those of its plugin, "" for a node. ``nodes`` is the
    number of its nodes, ``named`` has the first of them, by name and ID, and ``instances`` is the
    number of its instances. ``since`` is the earliest time, 0 where that is not known."""

    kind: str
    severity: str
    reason: str
    since: int
    nodes: int
    named: tuple[tuple[str, str], ...]
    instances: int
    type: str = ""
    id: str = ""
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Overview:
    """All ``problems``, the worst and then the newest first, and totals of what may be seen; those
    of nodes are None where nodes may not be seen."""

    problems: tuple[Problem, ...]
    plugins: int
    degraded: int
    down: int
    nodes: int | None
    nodes_down: int | None

    @property
    def severity(self) -> str:
        """Return how bad the worst of it is."""
        return max((each.severity for each in self.problems), key=_rank, default=OK)


def overview(
    state: State, types: Collection[str], *, with_nodes: bool, pace: Pace = iter
) -> Overview:
    """Return the problems for a caller that may see plugins of some ``types``, and nodes or not.

    All instances of a node that is down count if it may see nodes, else those of the ``types``.
    ``pace`` passes values on, with pauses for other threads.
    """
    found = _Found(state, frozenset(types))
    for node in pace(state.nodes.values()):
        found.look_at(node)
    severities = {key: found.severity(key) for key in pace(found.concerned())}
    problems = [
        *found.of_plugins(severities),
        *found.of_missing(severities),
        *found.of_nodes(severities, with_nodes=with_nodes),
    ]
    problems.sort(key=lambda each: (-_rank(each.severity), -each.since, each.type, each.id))
    counts = Counter(severities.values())
    return Overview(
        tuple(problems),
        sum(len(state.ids_of(type_)) for type_ in types),
        counts[WARNING],
        counts[CRITICAL],
        len(state.nodes) if with_nodes else None,
        len(found.down) if with_nodes else None,
    )


def _rank(severity: str) -> int:
    return (OK, WARNING, CRITICAL).index(severity)


@dataclass
class _Group:
    """Instances of one plugin that are unhealthy for one reason, on nodes that are up."""

    roles: set[str] = field(default_factory=set)
    nodes: dict[str, str] = field(default_factory=dict)
    instances: int = 0
    since: int = 0


class _Found:
    """What was found of a state, of plugins of some types."""

    def __init__(self, state: State, types: frozenset[str]) -> None:
        self._state = state
        self._types = types
        self._groups: dict[tuple[PluginKey, str], _Group] = defaultdict(_Group)
        self._broken: dict[PluginKey, Counter[str]] = defaultdict(Counter)
        self.down: list[Node] = []

    def look_at(self, node: Node) -> None:
        """Note all that is unhealthy on a node."""
        is_down = node.status == DOWN
        if is_down:
            self.down.append(node)
        for key, one in self._state.on_node(node.id).items():
            is_healthy = one.fingerprint.healthy and one.missing_since is None
            if key.type in self._types and (is_down or not is_healthy):
                self._broken[key.plugin][key.role] += 1
                if not is_down:
                    self._add(one, node)

    def _add(self, one: Instance, node: Node) -> None:
        shown = one.fingerprint
        reason = shown.description if one.missing_since is None else NOT_REPORTED
        since = shown.updated if not shown.healthy else one.missing_since or 0
        group = self._groups[one.key.plugin, reason]
        group.roles.add(one.key.role)
        group.nodes[node.id] = node.name
        group.instances += 1
        group.since = min(since, group.since or since)

    def concerned(self) -> set[PluginKey]:
        """Return the plugins that are not as they should be."""
        return {*self._broken, *(key for key, _, _ in self._short())}

    def _short(self) -> Iterator[tuple[PluginKey, str, tuple[int, int]]]:
        """Yield the plugins and roles with fewer known than declared instances, and both
        numbers."""
        for key, declaration in self._state.declarations.items():
            if key.type in self._types:
                known = Counter(one.role for one in self._state.of_plugin(key))
                for role, number in sorted(declaration.expected.items()):
                    if known[role] < number:
                        yield key, role, (known[role], number)

    def severity(self, key: PluginKey) -> str:
        """Return how bad it is about a plugin, by its numbers of healthy and expected instances."""
        known = Counter(one.role for one in self._state.of_plugin(key))
        healthy = known - self._broken.get(key, Counter())
        declaration = self._state.declarations.get(key)
        expected = {**known, **(declaration.expected if declaration else {})}
        if all(healthy[role] >= number for role, number in expected.items()):
            return OK
        return WARNING if healthy.total() else CRITICAL

    def of_plugins(self, severities: dict[PluginKey, str]) -> Iterator[Problem]:
        """Yield a problem for each plugin and reason."""
        for (key, reason), group in self._groups.items():
            yield Problem(
                PLUGIN,
                max(WARNING, severities[key], key=_rank),
                reason,
                group.since,
                len(group.nodes),
                _named((name, node_id) for node_id, name in group.nodes.items()),
                group.instances,
                *key,
                tuple(sorted(group.roles)),
            )

    def of_missing(self, severities: dict[PluginKey, str]) -> Iterator[Problem]:
        """Yield a problem for each plugin and role with too few known instances."""
        for key, role, (known, number) in self._short():
            stamp = self._state.stamps.get(key.resource)
            since = stamp.create_time if stamp and not self._state.of_plugin(key) else 0
            reason = f"{number} expected, {known or 'none'} known"
            severity = max(WARNING, severities[key], key=_rank)
            yield Problem(MISSING, severity, reason, since, 0, (), number - known, *key, (role,))

    def of_nodes(self, severities: dict[PluginKey, str], *, with_nodes: bool) -> Iterator[Problem]:
        """Yield a problem for each node that is down, or reported by two agents."""
        for node in self.down:
            keys = self._state.on_node(node.id)
            mine = [key for key in keys if key.type in self._types]
            if with_nodes or mine:
                worst = max((severities[key.plugin] for key in mine), key=_rank, default=WARNING)
                reason = f"nothing heard of node {node.name}"
                severity = max(WARNING, worst, key=_rank)
                count = len(keys) if with_nodes else len(mine)
                yield Problem(NODE, severity, reason, node.heard, 1, _named([_of(node)]), count)
        for node in self._state.nodes.values() if with_nodes else ():
            if node.cloned_since:
                reason = "two agents report as one node; is a data_dir a copy?"
                yield Problem(CLONE, WARNING, reason, node.cloned_since, 1, _named([_of(node)]), 0)


def _of(node: Node) -> tuple[str, str]:
    return node.name, node.id


def _named(nodes: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the first nodes by name."""
    return tuple(sorted(nodes)[:NAMED])
