"""Caches the digests of each node, which are needed again and again.

A value is cached with the objects of the state that it was computed from, and is valid only for
these very objects: a change of a node makes new ones. So nothing has to be kept in step with the
state, and no lock is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from plugind.intake.digests import PLUGIN_BYTES, of_node
from plugind.model import Committed, Instance, InstanceKey, Node
from plugind.state import State

NOTHING: frozenset[bytes] = frozenset()


class _Digest(NamedTuple):
    node: Node
    held: Mapping[InstanceKey, Instance]
    digest: str


class _Plugins(NamedTuple):
    """The digests of plugins, concatenated: as a set they would take several times the memory.
    ``time`` is that of the report that they describe."""

    held: Mapping[InstanceKey, Instance]
    digests: bytes
    time: int


class Known:
    """The digests of nodes, and of what their last reports said of each plugin, for plugin types
    with these ``generations``. Safe for threads. A subscriber of the feed."""

    def __init__(self, generations: Mapping[str, str]) -> None:
        self._generations = generations
        self._digests: dict[str, _Digest] = {}
        self._plugins: dict[str, _Plugins] = {}

    def digest(self, node_id: str, state: State) -> str:
        """Return the digest of a node in a state; "" if the state does not have the node."""
        node = state.nodes.get(node_id)
        if node is None:
            return ""
        held = state.on_node(node_id)
        if state.forgotten_on(node_id):  # declarations also decide which are ignored
            return of_node(node, held.values(), self._generations, state.ignored(node_id))
        found = self._digests.get(node_id)
        if found is None or found.node is not node or found.held is not held:
            found = _Digest(node, held, of_node(node, held.values(), self._generations))
            self._digests[node_id] = found
        return found.digest

    def plugins(self, node_id: str, state: State, now: int) -> frozenset[bytes]:
        """Return the known digests of what a report said of plugins when the node got the instances
        that it has in ``state``. Return none if the clock was set back since then, because the
        times of these instances may be ahead of it."""
        found = self._plugins.get(node_id)
        if found is None or found.held is not state.on_node(node_id) or found.time > now:
            return NOTHING
        starts = range(0, len(found.digests), PLUGIN_BYTES)
        return frozenset(found.digests[start : start + PLUGIN_BYTES] for start in starts)

    def note_plugins(
        self,
        node_id: str,
        held: Mapping[InstanceKey, Instance],
        digests: Iterable[bytes],
        now: int,
    ) -> None:
        """Note the digests of what was accepted as reported when a node got the instances
        ``held``."""
        self._plugins[node_id] = _Plugins(held, b"".join(digests), now)

    def follow(self, old: State, new: State, batch: Sequence[Committed]) -> None:
        """Forget nodes that are gone."""
        for committed in batch:
            for step in committed.change.nodes:
                if step.after is None:
                    self._forget(step.some.id)

    def missed(self, old: State, new: State) -> None:
        """Forget nodes that are gone."""
        for node_id in {*self._digests, *self._plugins}:
            if node_id not in new.nodes:
                self._forget(node_id)

    def _forget(self, node_id: str) -> None:
        self._digests.pop(node_id, None)
        self._plugins.pop(node_id, None)
