"""All that is wrong now, grouped into few entries.

A node that is down is one entry, whatever runs on it. Instances of a plugin that are unhealthy for
the same reason are one entry, on however many nodes they are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from plugind.model import DOWN, Declaration, Instance, Node, PluginKey
from plugind.state.state import State

OK, WARNING, CRITICAL = "ok", "warning", "critical"
"""The severity: a plugin with too few healthy instances is a warning, one with none is critical.
A plugin with as many as expected is ok, even if it has further, unhealthy instances."""

NODE, CLONE, PLUGIN, MISSING = "node", "clone", "plugin", "missing"
"""Kinds: a node is down, two agents report as one node, instances are unhealthy, or fewer are known
than are expected."""

NAMED = 5
"""Maximum number of nodes of a problem that are named."""

REASONS = 5
"""Reasons of a plugin that are problems of their own; the rarer ones together are one problem."""

NOT_REPORTED = "not reported by its node any more"


Pace = Callable[[Iterable[Any]], Iterable[Any]]
"""Passes values on, with pauses for other threads."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One entry. ``type`` and ``id`` are those of its plugin, "" for a node. ``nodes`` is the
    number of its nodes, ``named`` has the names and IDs of the first of them, and ``instances`` is
    the number of its instances. ``since`` is the earliest time, 0 if that is not known."""

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
    """All ``problems``, the worst and then the newest first, and the totals of what the caller may
    see; those of nodes are None if it may not see nodes."""

    problems: tuple[Problem, ...]
    plugins: int
    degraded: int
    down: int
    nodes: int | None
    nodes_down: int | None

    @property
    def severity(self) -> str:
        """Return the severity of the worst problem."""
        return max((each.severity for each in self.problems), key=_rank, default=OK)


def overview(
    wrong: Wrong, types: Collection[str], *, with_nodes: bool, counted: Collection[str] = ()
) -> Overview:
    """Return the problems for a caller that may see plugins of some ``types``, and nodes if
    ``with_nodes``.

    Of a node that is down all instances count if the caller may see nodes, otherwise only those of
    the ``types``. Of the ``counted`` types the caller may know only how many instances are healthy
    and how many are expected.
    """
    problems = [
        *_of_plugins(wrong, types),
        *_of_missing(wrong, types),
        *_of_counts(wrong, counted),
        *_of_nodes(wrong, types, with_nodes=with_nodes),
    ]
    problems.sort(key=lambda each: (-_rank(each.severity), -each.since, each.type, each.id))
    counts = Counter[str]()
    for type_ in (*types, *counted):
        counts.update(wrong.severities(type_))
    return Overview(
        tuple(problems),
        sum(len(wrong.state.ids_of(type_)) for type_ in (*types, *counted)),
        counts[WARNING],
        counts[CRITICAL],
        len(wrong.state.nodes) if with_nodes else None,
        len(wrong.down) if with_nodes else None,
    )


def _rank(severity: str) -> int:
    return (OK, WARNING, CRITICAL).index(severity)


@dataclass
class Group:
    """Instances of one plugin that are unhealthy for one reason, on nodes that are up."""

    roles: set[str] = field(default_factory=set)
    nodes: dict[str, str] = field(default_factory=dict)
    instances: int = 0
    since: int = 0

    def add(self, one: Instance, node: Node) -> None:
        """Add an instance on a node."""
        since = one.updated if not one.is_healthy else one.missing_since or 0
        self.roles.add(one.key.role)
        self.nodes[node.id] = node.name
        self.instances += 1
        self.since = min(since, self.since or since)

    def merge(self, other: Group) -> None:
        """Add all instances of another group."""
        self.roles |= other.roles
        self.nodes |= other.nodes
        self.instances += other.instances
        self.since = min(other.since, self.since or other.since)


class Wrong:
    """All that is wrong in a state, for all types. It is computed once, whatever part of it each
    caller may see.

    ``groups`` are by plugin and reason, ``down`` are the nodes that are down, and ``missing`` has
    the known and the declared number of instances, by plugin and role, where fewer are known.
    """

    def __init__(self, state: State, pace: Pace = iter) -> None:
        self.state = state
        self.groups: dict[PluginKey, dict[str, Group]] = defaultdict(lambda: defaultdict(Group))
        self.down: list[Node] = []
        self._broken: dict[PluginKey, Counter[str]] = defaultdict(Counter)
        for node in pace(state.nodes.values()):
            self._look_at(node)
        self.missing: dict[PluginKey, Mapping[str, tuple[int, int]]] = {}
        for key, declaration in pace(state.declarations.items()):
            if roles := self._lacking(declaration):
                self.missing[key] = roles
        concerned = pace({*self._broken, *self.missing})
        self._severities: dict[PluginKey, str] = {key: self._found(key) for key in concerned}

    def _look_at(self, node: Node) -> None:
        """Note all that is unhealthy on a node."""
        is_down = node.status == DOWN
        if is_down:
            self.down.append(node)
        for key, one in self.state.on_node(node.id).items():
            is_missing = one.missing_since is not None
            if is_down or is_missing or not one.is_healthy:
                self._broken[key.plugin][key.role] += 1
                if not is_down:
                    reason = NOT_REPORTED if is_missing else one.description
                    self.groups[key.plugin][reason].add(one, node)

    def _lacking(self, declaration: Declaration) -> Mapping[str, tuple[int, int]]:
        known = Counter(one.role for one in self.state.of_plugin(declaration.key))
        roles = sorted(declaration.expected.items())
        return {role: (known[role], number) for role, number in roles if known[role] < number}

    def _found(self, key: PluginKey) -> str:
        counts = self.counts(key).values()
        if all(healthy >= expected for healthy, expected in counts):
            return OK
        return WARNING if any(healthy for healthy, _ in counts) else CRITICAL

    def counts(self, key: PluginKey) -> Mapping[str, tuple[int, int]]:
        """Return by role the numbers of healthy and of expected instances of a plugin. The expected
        number is the declared one, or else that of the known instances."""
        known = Counter(one.role for one in self.state.of_plugin(key))
        broken = self._broken.get(key, Counter())
        declaration = self.state.declarations.get(key)
        expected = {**known, **(declaration.expected if declaration else {})}
        return {role: (known[role] - broken[role], number) for role, number in expected.items()}

    def severity(self, key: PluginKey) -> str:
        """Return the severity of a plugin, by its numbers of healthy and expected instances."""
        return self._severities.get(key, OK)

    def severities(self, type_: str) -> Counter[str]:
        """Return the number of plugins of a type for each severity."""
        bad = Counter(each for key, each in self._severities.items() if key.type == type_)
        bad[OK] = len(self.state.ids_of(type_)) - bad[WARNING] - bad[CRITICAL]
        return bad

    def unhealthy(self, type_: str) -> Iterator[PluginKey]:
        """Yield the plugins of a type that have fewer healthy instances than are expected."""
        for key, severity in self._severities.items():
            if key.type == type_ and severity != OK:
                yield key


def _of_plugins(wrong: Wrong, types: Collection[str]) -> Iterator[Problem]:
    """Yield a problem for each plugin and reason."""
    for key, groups in wrong.groups.items():
        for reason, group in _few(groups) if key.type in types else ():
            yield Problem(
                PLUGIN,
                wrong.severity(key),
                reason,
                group.since,
                len(group.nodes),
                _named((name, node_id) for node_id, name in group.nodes.items()),
                group.instances,
                *key,
                tuple(sorted(group.roles)),
            )


def _few(groups: Mapping[str, Group]) -> Iterator[tuple[str, Group]]:
    """Yield the groups of the most frequent reasons, and the others merged into one."""
    found = sorted(groups.items(), key=lambda each: (-each[1].instances, each[0]))
    rare = found[REASONS:]
    if len(rare) < 2:
        yield from found
        return
    yield from found[:REASONS]
    together = Group()
    for _, group in rare:
        together.merge(group)
    yield f"{len(rare)} other reasons, such as: {rare[0][0]}", together


def _of_missing(wrong: Wrong, types: Collection[str]) -> Iterator[Problem]:
    """Yield a problem for each plugin and role with too few known instances."""
    for key, roles in wrong.missing.items():
        if key.type not in types:
            continue
        stamp = wrong.state.stamps.get(key.resource)
        since = stamp.create_time if stamp and not wrong.state.of_plugin(key) else 0
        severity = wrong.severity(key)
        for role, (known, number) in roles.items():
            reason = f"{number} expected, {known or 'none'} known"
            yield Problem(MISSING, severity, reason, since, 0, (), number - known, *key, (role,))


def _of_counts(wrong: Wrong, types: Collection[str]) -> Iterator[Problem]:
    """Yield a problem, without a reason, for each plugin with too few healthy instances."""
    for type_ in types:
        for key in wrong.unhealthy(type_):
            short = [max(0, number - healthy) for healthy, number in wrong.counts(key).values()]
            yield Problem(PLUGIN, wrong.severity(key), "", 0, 0, (), sum(short), *key)


def _of_nodes(wrong: Wrong, types: Collection[str], *, with_nodes: bool) -> Iterator[Problem]:
    """Yield a problem for each node that is down, or reported by two agents."""
    for node in wrong.down:
        keys = wrong.state.on_node(node.id)
        mine = [key for key in keys if key.type in types]
        if with_nodes or mine:
            severities = {wrong.severity(key.plugin) for key in mine}
            severity = max([WARNING, *severities], key=_rank)
            reason = f"nothing heard of node {node.name}"
            count = len(keys) if with_nodes else len(mine)
            yield Problem(NODE, severity, reason, node.heard, 1, _named([_of(node)]), count)
    for node in wrong.state.nodes.values() if with_nodes else ():
        if node.cloned_since:
            reason = "two agents report as one node; is a data_dir a copy?"
            yield Problem(CLONE, WARNING, reason, node.cloned_since, 1, _named([_of(node)]), 0)


def _of(node: Node) -> tuple[str, str]:
    return node.name, node.id


def _named(nodes: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the first nodes, sorted by name."""
    return tuple(sorted(nodes)[:NAMED])
