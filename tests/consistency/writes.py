"""Checks of writes: no acknowledged write is lost, and their indexes have one order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.consistency.operations import ACKNOWLEDGED, DELETE, REFUSED, Happened, History, Write
from tests.consistency.truth import LEFT, Truth
from tests.consistency.violations import (
    CHAIN,
    DISAGREE,
    DISORDER,
    DOUBLED,
    ELSEWHERE,
    LOST,
    Violation,
)
from tests.consistency.violations import REFUSED as REFUSED_HAPPENED


def agreement(history: History, kept: Mapping[str, Sequence[Happened]]) -> Iterator[Violation]:
    """Yield differences between the servers' histories, up to the end of the shortest one."""
    lasts = {name: rows[-1].index if rows else 0 for name, rows in kept.items()}
    until = min(lasts.values())
    for name, last in lasts.items():
        if last < history.newest:
            yield Violation(DISAGREE, f"{name} has a history up to {last}, not {history.newest}")
    common = {name: [row for row in of if row.index <= until] for name, of in kept.items()}
    (first, rows), *others = common.items()
    for name, other in others:
        if other != rows:
            place = next(
                (n for n, both in enumerate(zip(rows, other, strict=False)) if both[0] != both[1]),
                min(len(rows), len(other)),
            )
            one, two = (each[place] if place < len(each) else None for each in (rows, other))
            yield Violation(DISAGREE, f"row {place} on {first}: {one}; on {name}: {two}")


def chains(truth: Truth) -> Iterator[Violation]:
    """Yield numbers stored at two indexes, and changes of instances that do not exist or appear
    twice."""
    at: dict[tuple[str, str, str, str], int] = {}
    there: set[tuple[str, str, str]] = set()
    for row in truth.rows:
        key = row.node, row.plugin, row.role
        is_new = row.text.isdigit() and row.kind != "healthy"
        if is_new and at.setdefault((*key, row.text), row.index) != row.index:
            yield Violation(CHAIN, f"{row} happened before, at {at[(*key, row.text)]}")
        if (row.kind == "appeared") is (key in there):
            yield Violation(CHAIN, f"{row}: the instance was {'' if key in there else 'not '}there")
        if row.kind == LEFT:
            there.discard(key)
        else:
            there.add(key)


def kept(history: History, truth: Truth) -> Iterator[Violation]:
    """Yield acknowledged writes that the store lacks, or has at another index, and refused writes
    that happened anyway."""
    for write in history.writes:
        is_removal = write.kind == DELETE
        at = _removal(truth, write) if is_removal else truth.index_of.get(write.number)
        if write.status == ACKNOWLEDGED and at is None:
            yield Violation(LOST, str(write))
        elif write.status == ACKNOWLEDGED and at != write.index:
            yield Violation(ELSEWHERE, f"{write}, kept at {at}")
        elif write.status == REFUSED and not is_removal and at is not None:
            yield Violation(REFUSED_HAPPENED, f"{write}, kept at {at}")


def _removal(truth: Truth, write: Write) -> int | None:
    """Return the index at which the removal of a node is stored. A report with an unknown outcome
    may have created the node again, and another removal may have ended it."""
    removals = truth.removals.get(write.node, ())
    return write.index if write.index in removals else (removals[-1] if removals else None)


def order(history: History) -> Iterator[Violation]:
    """Yield acknowledged writes that share an index with another, and those whose index is not
    greater than every index acknowledged before they began."""
    done = [each for each in history.writes if each.status == ACKNOWLEDGED]
    by_index: dict[int, Write] = {}
    for write in done:
        other = by_index.setdefault(write.index, write)
        if other is not write:
            yield Violation(DOUBLED, f"{write} and {other}")
    ended = iter(sorted(done, key=lambda each: each.completed))
    newest, coming = 0, next(ended, None)
    for write in sorted(done, key=lambda each: each.invoked):
        while coming is not None and coming.completed < write.invoked:
            newest, coming = max(newest, coming.index), next(ended, None)
        if write.index <= newest:
            yield Violation(DISORDER, f"{write}, but {newest} was acknowledged before")
