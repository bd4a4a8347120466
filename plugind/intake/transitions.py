"""Works out the transitions of a change: what it means for instances, nodes and declarations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from plugind.model import (
    APPEARED,
    DOWN,
    EXPECTED,
    FLAPPING,
    HEALTHY,
    LEFT,
    NODE_DOWN,
    NODE_UP,
    REASON,
    UNHEALTHY,
    VERSION,
    Declaration,
    Fingerprint,
    InstanceKey,
    Node,
    Step,
    Transition,
)
from plugind.model.changes import REASON_BYTES, expected_text
from plugind.model.times import SECOND
from plugind.model.values import Value
from plugind.state.flaps import ROWS, Flaps


class Transitions(Value, frozen=True):
    """Makes transitions at ``now``. ``left`` is the reason given for instances that leave,
    ``versions`` has by plugin type the name of the detail that is the version, and ``flaps`` how
    often instances changed already."""

    now: int
    left: str
    versions: Mapping[str, str]
    flaps: Flaps

    def of_instance(
        self,
        key: InstanceKey,
        nodes: Step[Node],
        shown: Step[Fingerprint],
        *,
        is_reported: bool,
    ) -> list[Transition]:
        """Return the transitions of an instance that is shown differently, on a node that may have
        changed. ``is_reported``: the instance itself changed, not just its node."""
        node = nodes.some
        words = _health(shown.before, nodes.before), _health(shown.after, nodes.after)
        rows = list(self._rows(key, node, shown, words, is_reported))
        flap = self.flaps.of(key, self.now)
        if not rows or flap.number < ROWS:
            return rows
        count = flap.number - ROWS + len(rows)
        seconds = flap.healthy_until(self.now) // SECOND
        since = flap.since or self.now
        row = self._row(FLAPPING, since, key, node, words, shown.some)
        return [row.changed(count=count, healthy_seconds=seconds, until=self.now)]

    def _rows(
        self,
        key: InstanceKey,
        node: Node,
        shown: Step[Fingerprint],
        words: tuple[str, str],
        is_reported: bool,
    ) -> Iterator[Transition]:
        before, after, one = shown.before, shown.after, shown.some
        if before is None:
            yield self._row(APPEARED, one.updated, key, node, words, one)
        elif after is None:
            yield self._row(LEFT, self.now, key, node, words, one, reason=self.left)
        elif words[0] != words[1]:
            kind = HEALTHY if after.healthy else UNHEALTHY
            since = node.heard if words[1] == DOWN else after.updated
            yield self._row(kind, since, key, node, words, after)
        elif is_reported and before.description != after.description:
            texts = cut(before.description), cut(after.description)
            yield self._row(REASON, after.updated, key, node, texts, after)
        if before and after:
            old, new = self._version(key, before), self._version(key, after)
            if old != new:
                yield self._row(VERSION, self.now, key, node, (old, new), after)

    def _row(
        self,
        kind: str,
        since: int,
        key: InstanceKey,
        node: Node,
        words: tuple[str, str],
        shown: Fingerprint,
        reason: str | None = None,
    ) -> Transition:
        text = shown.description if reason is None else reason
        return Transition(
            kind,
            self.now,
            min(since, self.now),
            *(key.type, key.id, key.role, node.id, node.name),
            *words,
            cut(text),
            shown.healthy,
            version=self._version(key, shown),
        )

    def _version(self, key: InstanceKey, shown: Fingerprint) -> str:
        name = self.versions.get(key.type)
        return cut(str(shown.details.get(name) or "")) if name else ""

    def of_nodes(self, steps: Iterable[Step[Node]]) -> Iterator[Transition]:
        """Yield the transitions of nodes that go down or come back."""
        for step in steps:
            before, after = step.before, step.after
            if before is None or after is None or before.status == after.status:
                continue
            is_down = after.status == DOWN
            kind, since = (NODE_DOWN, after.heard) if is_down else (NODE_UP, self.now)
            reason = f"nothing heard of node {after.name}" if is_down else ""
            words = before.status, after.status
            names = "", "", "", after.id, after.name
            when = self.now, min(since, self.now)
            yield Transition(kind, *when, *names, *words, cut(reason), not is_down)

    def of_declarations(self, steps: Iterable[Step[Declaration]]) -> Iterator[Transition]:
        """Yield a transition for each plugin whose configured number of instances changes."""
        for step in steps:
            before, after = (
                expected_text(each.expected if each else None) for each in (step.before, step.after)
            )
            if before != after:
                names = step.some.key.type, step.some.key.id, "", "", ""
                words = cut(before), cut(after)
                yield Transition(EXPECTED, self.now, self.now, *names, *words, "", False)


def cut(text: str) -> str:
    """Return a text with at most REASON_BYTES of UTF-8, cut between characters."""
    if len(text) * 4 <= REASON_BYTES:
        return text
    return text.encode()[:REASON_BYTES].decode(errors="ignore")


def _health(shown: Fingerprint | None, node: Node | None) -> str:
    if shown is None or node is None:
        return ""
    if node.status == DOWN:
        return DOWN
    return HEALTHY if shown.healthy else UNHEALTHY
