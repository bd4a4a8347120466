"""What really happened, from the history that the store kept, and so what each answer must show.

In these runs every change is a report, the removal of a node, or a node that goes down or comes up,
so the transitions of instances are all that is needed: each resource changes at their indexes, and
its content follows from their texts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from tests.consistency.answers import node_of, plugin_of, row_text
from tests.consistency.operations import NODES, PLUGINS, Content, Happened

LEFT = "left"


@dataclass(frozen=True, slots=True)
class Delta:
    """The changes that one index makes to the content of a resource; None removes an entry."""

    index: int
    entries: dict[str, str | None]


class Truth:
    """The transitions of a run in order, and the contents that follow from them."""

    def __init__(self, rows: Sequence[Happened]) -> None:
        self.rows = rows
        self.deltas: dict[str, list[Delta]] = defaultdict(list)
        self.at: dict[str, tuple[int, ...]] = {}
        self.index_of: dict[int, int] = {}
        """The index of each reported number."""
        self.removals: dict[str, list[int]] = defaultdict(list)
        """The indexes at which each node was removed."""
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._instances: dict[str, set[str]] = defaultdict(set)
        for index, group in groupby(rows, key=attrgetter("index")):
            self._take(index, list(group))
        self.at = {name: tuple(each.index for each in of) for name, of in self.deltas.items()}

    @property
    def last(self) -> int:
        """Return the index of the last change."""
        return self.rows[-1].index if self.rows else 1

    def _take(self, index: int, group: Sequence[Happened]) -> None:
        changed: dict[str, dict[str, str | None]] = defaultdict(dict)
        for row in group:
            text = None if row.kind == LEFT else row.text
            changed[plugin_of(row.plugin)][f"{row.node}/{row.role}"] = text
            changed[node_of(row.node)][f"{row.plugin}/{row.role}"] = text
            self._count(row)
            if text is not None and text.isdigit():
                self.index_of.setdefault(int(text), index)
        for node in {row.node for row in group}:
            changed[NODES][node] = str(index) if self._instances[node] else None
            if not self._instances[node]:
                self.removals[node].append(index)
        for plugin in {row.plugin for row in group}:
            counts = self._counts[plugin]
            row_ = row_text(counts["controller"], counts["node"], index)
            changed[PLUGINS][plugin] = row_ if counts.total() else None
        for resource, entries in changed.items():
            self.deltas[resource].append(Delta(index, entries))

    def _count(self, row: Happened) -> None:
        instances, key = self._instances[row.node], f"{row.plugin}/{row.role}"
        if row.kind == LEFT and key in instances:
            instances.remove(key)
            self._counts[row.plugin][row.role] -= 1
        elif row.kind != LEFT and key not in instances:
            instances.add(key)
            self._counts[row.plugin][row.role] += 1

    def contents(self, resource: str, indexes: Iterable[int]) -> Iterator[Content]:
        """Yield the content of a resource at each of the indexes, which must be in ascending order.
        The same dictionary is yielded each time, so the caller must not keep it."""
        shown: dict[str, str] = {}
        deltas, place = self.deltas.get(resource, []), 0
        for index in indexes:
            while place < len(deltas) and deltas[place].index <= index:
                for key, text in deltas[place].entries.items():
                    if text is None:
                        shown.pop(key, None)
                    else:
                        shown[key] = text
                place += 1
            yield shown

    def changed_after(self, resource: str, index: int) -> Sequence[int]:
        """Return the indexes, after a given one, at which a resource changed."""
        at = self.at.get(resource, ())
        return at[bisect_right(at, index) :]
