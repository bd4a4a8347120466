"""Facts about a state that pages show but the catalogue does not render, computed once per state.

Facts do not depend on the caller. Each page uses only those that its caller may see.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from plugind.api.yielding import in_slices
from plugind.model import DOWN as NODE_DOWN
from plugind.model import Fingerprint, InstanceKey, Node, PluginKey, seen
from plugind.plugin_type import PluginType
from plugind.state import State
from plugind.state.problems import CRITICAL, OK, WARNING, Overview, Wrong, overview
from plugind.ui.sight import Sight

HEALTHY, DEGRADED, DOWN = "healthy", "degraded", "down"
STATES = {CRITICAL: DOWN, WARNING: DEGRADED, OK: HEALTHY}
"""The words that pages use for each severity, the worst first."""


@dataclass(frozen=True, slots=True)
class Count:
    """The healthy and expected instances of one role, by its plural."""

    plural: str
    healthy: int
    expected: int


@dataclass(frozen=True, slots=True)
class Placed:
    """An instance, as it is shown to readers, with its node."""

    key: InstanceKey
    node: Node
    shown: Fingerprint
    version: str = ""

    @property
    def healthy(self) -> bool:
        return self.shown.healthy

    @property
    def process(self) -> str:
        """Return the name of the allocation behind it, else the start of its ID, "" if unknown."""
        found = self.shown.allocation
        return found.name if found else self.shown.alloc_id[:8]


_NOTHING = Overview((), 0, 0, 0, None, None)
"""The overview for a caller who may see nothing."""

_Found = tuple[Mapping[PluginKey, list[Placed]], Mapping[PluginKey, Counter[str]]]


class Facts:
    """The problems of a state, and the versions that run. Thread-safe: each part is computed once,
    when it is first needed, and other threads wait for it meanwhile."""

    def __init__(self, state: State, types: Mapping[str, PluginType]) -> None:
        self.state = state
        self._lock = threading.RLock()
        self._wrong: Wrong | None = None
        self._found: _Found | None = None
        self._fields = {name: type_.version_detail for name, type_ in types.items()}
        self._overviews: dict[Sight, Overview] = {}

    @property
    def wrong(self) -> Wrong:
        """Return everything that is wrong in the state."""
        with self._lock:
            if self._wrong is None:
                self._wrong = Wrong(self.state, in_slices)
            return self._wrong

    @property
    def unhealthy(self) -> Mapping[PluginKey, list[Placed]]:
        """Return the unhealthy instances by plugin."""
        return self._look()[0]

    @property
    def versions(self) -> Mapping[PluginKey, Counter[str]]:
        """Return by plugin how many instances run each version."""
        return self._look()[1]

    def _look(self) -> _Found:
        """Return the unhealthy instances and the versions of all plugins."""
        with self._lock:
            if self._found is None:
                self._found = self._look_at_all()
            return self._found

    def _look_at_all(self) -> _Found:
        unhealthy: dict[PluginKey, list[Placed]] = defaultdict(list)
        versions: dict[PluginKey, Counter[str]] = defaultdict(Counter)
        for node_id, instances in in_slices(self.state.by_node.items()):
            node = self.state.nodes[node_id]
            is_down = node.status == NODE_DOWN
            for key, one in instances.items():
                reported = one.fingerprint
                if version := self._version(key, reported):
                    versions[key.plugin][version] += 1
                if is_down or one.missing_since is not None or not reported.healthy:
                    unhealthy[key.plugin].append(Placed(key, node, seen(one, node), version))
        return unhealthy, versions

    def overview(self, sight: Sight) -> Overview:
        """Return the problems that a caller may see."""
        if not (sight.lists or sight.nodes):
            return _NOTHING
        with self._lock:
            found = self._overviews.get(sight)
            if found is None:
                counted = sight.lists - sight.reads
                found = overview(self.wrong, sight.shows, with_nodes=sight.nodes, counted=counted)
                self._overviews[sight] = found
            return found

    def state_of(self, key: PluginKey) -> str:
        """Return the state of a plugin: HEALTHY, DEGRADED or DOWN."""
        return STATES[self.wrong.severity(key)]

    def counts(self, key: PluginKey, type_: PluginType) -> list[Count]:
        """Return the counts of a plugin by role, as in the API."""
        found = self.wrong.counts(key)
        return [Count(plural, *found.get(role, (0, 0))) for role, plural in type_.roles.items()]

    def of_plugin(self, key: PluginKey) -> Iterator[Placed]:
        """Yield the instances of a plugin on all nodes."""
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

    def _version(self, key: InstanceKey, reported: Fingerprint) -> str:
        """Return the version that an instance runs, "" if its type or the instance has none."""
        return str(reported.details.get(self._fields.get(key.type, ""), ""))


class FactsOf:
    """Keeps the facts of the last state that it was asked for. Safe for threads."""

    def __init__(self, types: Mapping[str, PluginType]) -> None:
        self._types = types
        self._lock = threading.Lock()
        self._last: Facts | None = None

    def of(self, state: State) -> Facts:
        """Return the facts of a state."""
        with self._lock:
            last = self._last
            if last is None or last.state is not state:
                last = self._last = Facts(state, self._types)
            return last
