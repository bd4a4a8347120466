"""Histories built step by step, for the tests of the checker."""

from __future__ import annotations

from tests.consistency.answers import plugin_of, row_text
from tests.consistency.checker import Bounds, check, report
from tests.consistency.operations import (
    ACKNOWLEDGED,
    DEFAULT,
    DELETE,
    PLUGINS,
    REPORT,
    Follower,
    Happened,
    History,
    Line,
    Read,
    Write,
)

EBS = plugin_of("ebs0")
ROLES = ("controller", "node")


class Made:
    """A history built step by step on one plugin; each step is a second after the previous one."""

    def __init__(self) -> None:
        self.history = History()
        self.rows: list[Happened] = []
        self.now = 0.0
        self.index = 1
        self.numbers: dict[str, int] = {}
        self.changed = 1
        self.follower = Follower("stream", 1)
        self.history.followers.append(self.follower)

    def report(self, node: str, status: str = ACKNOWLEDGED, *, happens: bool = True) -> Write:
        """Report a node; return the client's record of that."""
        number = self.history.number()
        kind = "reason" if node in self.numbers else "appeared"
        return self._write(node, REPORT, number, kind, str(number), status, happens)

    def remove(self, node: str) -> Write:
        number = self.history.number()
        return self._write(node, DELETE, number, "left", "forgotten", ACKNOWLEDGED, True)

    def _write(
        self, node: str, kind: str, number: int, event: str, text: str, status: str, happens: bool
    ) -> Write:
        made = Write("writer", "s0", node, kind, number, self._tick())
        if happens:
            self.index += 1
            self.changed = self.index
            rows = tuple(Happened(self.index, node, "ebs0", role, event, text) for role in ROLES)
            self.rows += rows
            self.follower.lines.append(Line("s0", 1, self.index, rows))
            if kind == DELETE:
                self.numbers.pop(node, None)
            else:
                self.numbers[node] = number
        made.status, made.completed = status, self._tick()
        made.index = self.index if status == ACKNOWLEDGED else 0
        self.history.writes.append(made)
        return made

    def read(self, resource: str = EBS, mode: str = DEFAULT, server: str = "s0") -> Read:
        """Read a resource; return the client's record of that."""
        content = {
            f"{node}/{role}": str(number) for node, number in self.numbers.items() for role in ROLES
        }
        if resource == PLUGINS:
            count = len(self.numbers)
            content = {"ebs0": row_text(count, count, self.changed)} if count else {}
        made = Read("reader", server, server, resource, mode, self._tick())
        made.index = self.index if not content and resource != PLUGINS else self.changed
        made.content, made.digest = content, repr(sorted(content.items()))
        made.status, made.completed = ACKNOWLEDGED, self._tick()
        self.history.reads.append(made)
        return made

    def park(self, until: float, status: str = ACKNOWLEDGED) -> Read:
        """Wait for the next change; the wait ends ``until`` seconds from now."""
        made = Read("watcher", "s0", "s0", EBS, DEFAULT, self.now, self.index, 300.0, status)
        made.index = self.index
        made.completed = self.now + until if status == ACKNOWLEDGED else 0.0
        self.history.reads.append(made)
        return made

    def _tick(self) -> float:
        self.now += 1.0
        return self.now

    def kinds(self, bounds: Bounds | None = None) -> set[str]:
        """Return the kinds of violations that the checker finds."""
        self.history.ended = self.now
        found = check(self.history, {"s0": self.rows}, bounds)
        print(report(found))
        return {each.kind for each in found}
