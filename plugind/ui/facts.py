"""What pages show of a state beyond what the catalogue renders: found once for each state.

Nothing here depends on a caller. Each page takes only what its caller may see.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from plugind.api.yielding import in_slices
from plugind.model import DOWN as NODE_DOWN
from plugind.model import Fingerprint, InstanceKey, Node, PluginKey, seen
from plugind.plugin_type import PluginType
from plugind.state import State
from plugind.state.problems import Problem, overview

HEALTHY, DEGRADED, DOWN = "healthy", "degraded", "down"
STATES = (DOWN, DEGRADED, HEALTHY)
_NONE: Counter[str] = Counter()


@dataclass(frozen=True, slots=True)
class Count:
    """The healthy and expected instances of one role, by its plural."""

    plural: str
    healthy: int
    expected: int


@dataclass(frozen=True, slots=True)
class Placed:
    """An instance as readers are shown it, with its node."""

    key: InstanceKey
    node: Node
    shown: Fingerprint
    version: str = ""

    @property
    def healthy(self) -> bool:
        return self.shown.healthy

    @property
    def process(self) -> str:
        """Return the name of the process behind it, "" where it is not known."""
        found = self.shown.allocation
        return found.name if found else self.shown.alloc_id[:8]


class Facts:
    """What is unhealthy in a state, and which versions run.

    ``known`` counts the instances of each plugin by role, ``unhealthy`` has those by plugin,
    ``versions`` counts by plugin how many instances run each version.
    """

    def __init__(self, state: State, types: Mapping[str, PluginType]) -> None:
        self.state = state
        self._types = types
        self._problems: dict[tuple[frozenset[str], bool], Sequence[Problem]] = {}
        self.known: dict[PluginKey, Counter[str]] = defaultdict(Counter)
        self.unhealthy: dict[PluginKey, list[Placed]] = defaultdict(list)
        self.versions: dict[PluginKey, Counter[str]] = defaultdict(Counter)
        self._fields = {name: type_.version_detail for name, type_ in types.items()}
        for node_id, instances in in_slices(state.by_node.items()):
            node = state.nodes[node_id]
            is_down = node.status == NODE_DOWN
            for key, one in instances.items():
                told = one.fingerprint
                self.known[key.plugin][key.role] += 1
                if version := self._version(key, told):
                    self.versions[key.plugin][version] += 1
                if is_down or one.missing_since is not None or not told.healthy:
                    placed = Placed(key, node, seen(one, node), version)
                    self.unhealthy[key.plugin].append(placed)

    def problems(self, types: frozenset[str], *, with_nodes: bool) -> Sequence[Problem]:
        """Return what is wrong now with plugins of some types, and with nodes or not, grouped."""
        asked = types, with_nodes
        if asked not in self._problems:
            found = overview(self.state, types, with_nodes=with_nodes).problems
            self._problems[asked] = found
        return self._problems[asked]

    def counts(self, key: PluginKey) -> list[Count]:
        """Return the counts of a plugin, as the API has them: expected is what is declared, or else
        what is known."""
        known = self.known.get(key, _NONE)
        unhealthy = Counter(each.key.role for each in self.unhealthy.get(key, ()))
        declaration = self.state.declarations.get(key)
        expected = declaration.expected if declaration else {}
        return [
            Count(plural, known[role] - unhealthy[role], expected.get(role, known[role]))
            for role, plural in self._types[key.type].roles.items()
        ]

    def lacking(self, key: PluginKey) -> dict[str, int]:
        """Return by role how many instances of a plugin are declared that no node has."""
        declaration = self.state.declarations.get(key)
        known, expected = self.known.get(key, _NONE), declaration.expected if declaration else {}
        return {role: n - known[role] for role, n in expected.items() if n > known[role]}

    def of_plugin(self, key: PluginKey) -> Iterator[Placed]:
        """Yield the instances of a plugin over all nodes."""
        for each in self.state.of_plugin(key):
            yield self._placed(each)

    def on_node(self, node_id: str) -> Iterator[Placed]:
        """Yield the instances of a node, sorted by their keys."""
        for each in sorted(self.state.on_node(node_id)):
            yield self._placed(each)

    def _placed(self, key: InstanceKey) -> Placed:
        node = self.state.nodes[key.node_id]
        shown = seen(self.state.on_node(key.node_id)[key], node)
        return Placed(key, node, shown, self._version(key, shown))

    def _version(self, key: InstanceKey, told: Fingerprint) -> str:
        """Return the version that an instance runs, "" where its type or itself has none."""
        return str(told.details.get(self._fields.get(key.type, ""), ""))


def state_of(counts: Iterable[Count]) -> str:
    """Return DEGRADED when only some instances are healthy, DOWN when none is, or HEALTHY."""
    counts = list(counts)
    if all(each.healthy >= each.expected for each in counts):
        return HEALTHY
    return DEGRADED if any(each.healthy for each in counts) else DOWN


class FactsOf:
    """Finds the facts of a state, and keeps those of the last one that it was asked for.

    Safe for threads: two that ask for a new state at the same time may both look through it.
    """

    def __init__(self, types: Mapping[str, PluginType]) -> None:
        self._types = types
        self._last: Facts | None = None

    def of(self, state: State) -> Facts:
        """Return the facts of a state."""
        last = self._last
        if last is None or last.state is not state:
            last = self._last = Facts(state, self._types)
        return last
