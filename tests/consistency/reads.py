"""Checks of reads: how recent they are, that no index goes backwards, and what they show."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from tests.consistency.answers import node_of
from tests.consistency.operations import (
    ACKNOWLEDGED,
    DEFAULT,
    NODES,
    PLUGINS,
    Content,
    History,
    Read,
)
from tests.consistency.truth import Truth
from tests.consistency.violations import BACKWARDS, HALF, MISMATCH, OLD, UNEQUAL, Violation


def answered(history: History) -> Iterator[Read]:
    """Yield the reads that had an answer."""
    return (each for each in history.reads if each.status == ACKNOWLEDGED)


def touched_by(node: str, plugins: Iterable[str]) -> list[str]:
    """Return the resources that a report or the removal of a node changes."""
    return [NODES, PLUGINS, node_of(node), *plugins]


def acknowledged(history: History, plugins: Iterable[str]) -> Mapping[str, list[tuple[float, int]]]:
    """Return for each resource the times at which writes to it were acknowledged, in order, each
    with the greatest index so far."""
    found: dict[str, list[tuple[float, int]]] = defaultdict(list)
    done = (each for each in history.writes if each.status == ACKNOWLEDGED)
    for write in sorted(done, key=lambda each: each.completed):
        for resource in touched_by(write.node, plugins):
            of = found[resource]
            newest = max(write.index, of[-1][1]) if of else write.index
            of.append((write.completed, newest))
    return found


def plugins_of(history: History) -> set[str]:
    """Return the plugins that were read. Every report of a run has all plugins of the run."""
    return {each.resource for each in history.reads if each.resource.startswith("plugin/")}


def freshness(history: History) -> Iterator[Violation]:
    """Yield default reads, including parked ones, that are older than a write acknowledged before
    the read began."""
    times = acknowledged(history, plugins_of(history))
    for read in answered(history):
        of = times.get(read.resource, [])
        place = bisect_left(of, (read.invoked, 0))
        if read.mode == DEFAULT and place and read.index < of[place - 1][1]:
            yield Violation(OLD, f"{_brief(read)}; {of[place - 1][1]} was acknowledged before")


def monotony(history: History) -> Iterator[Violation]:
    """Yield reads with a smaller index than the same client saw of the resource before; stale reads
    are compared only if the same server answered both."""
    newest: dict[tuple[str, str, str], Read] = {}
    for read in sorted(answered(history), key=lambda each: each.completed):
        place = read.scope if read.mode != DEFAULT else ""
        key = read.client, read.resource, place
        before = newest.setdefault(key, read)
        if read.index < before.index and before.completed <= read.invoked:
            yield Violation(BACKWARDS, f"{_brief(read)} after {_brief(before)}")
        else:
            newest[key] = read


def contents(history: History, truth: Truth) -> Iterator[Violation]:
    """Yield reads whose content does not match their index, and those that differ from another read
    of the same index."""
    by_resource: dict[str, list[Read]] = defaultdict(list)
    for read in answered(history):
        by_resource[read.resource].append(read)
    for resource, of in by_resource.items():
        of.sort(key=lambda each: each.index)
        bodies: dict[int, Read] = {}
        for read, shown in zip(of, truth.contents(resource, (r.index for r in of)), strict=True):
            first = bodies.setdefault(read.index, read)
            if first.digest != read.digest and bool(first.content) is bool(read.content):
                yield Violation(UNEQUAL, f"{_brief(read)} and {_brief(first)}")
            if read.content != shown:
                yield Violation(MISMATCH, f"{_brief(read)}: {_difference(read.content, shown)}")


def halves(history: History) -> Iterator[Violation]:
    """Yield reads that show a partial report: two instances of a node have different numbers."""
    for read in answered(history):
        if read.resource in (NODES, PLUGINS):
            continue
        of_node = read.resource.startswith("node/")
        numbers: dict[str, str] = {}
        for key, text in read.content.items():
            node = "" if of_node else key.partition("/")[0]
            if numbers.setdefault(node, text) != text:
                yield Violation(HALF, f"{_brief(read)}: {text} beside {numbers[node]} at {key}")
                break


def _difference(found: Content, expected: Content) -> str:
    keys = [
        each for each in found.keys() | expected.keys() if found.get(each) != expected.get(each)
    ]
    key = min(keys)
    return f"{len(keys)} differ; {key} is {found.get(key)!r}, and was {expected.get(key)!r}"


def _brief(read: Read) -> str:
    kind = f"blocking after {read.after}" if read.after else read.mode
    return (
        f"{kind} read of {read.resource} by {read.client} from {read.server}, "
        f"{read.invoked:.3f} to {read.completed:.3f}, index {read.index}"
    )
