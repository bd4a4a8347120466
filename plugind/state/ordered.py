"""An immutable sorted sequence; a changed copy of it is cheap, whatever the length."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Generic, TypeVar

from plugind.state.maps import replaced

T = TypeVar("T", bound=Any)
G = TypeVar("G")

CHUNK = 512
"""Maximum number of items in a chunk; a change copies one chunk and the list of chunks."""

FEW = 64
"""Up to this many changes are made one by one; with more, the whole sequence is sorted again."""


class Ordered(Generic[T]):
    """Distinct items in order, in chunks that states share."""

    __slots__ = ("_chunks", "_length")

    def __init__(self, items: Iterable[T] = ()) -> None:
        found = sorted(items)
        self._length = len(found)
        self._chunks: tuple[tuple[T, ...], ...] = tuple(
            tuple(found[at : at + CHUNK // 2]) for at in range(0, len(found), CHUNK // 2)
        )

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._chunks)

    def start(self, least: T) -> Iterator[T]:
        """Yield the items that are not less than ``least``."""
        at = max(0, bisect_right(self._chunks, least, key=_first) - 1)
        for number, chunk in enumerate(self._chunks[at:]):
            yield from chunk[bisect_left(chunk, least) :] if number == 0 else chunk

    def changed(self, added: Collection[T], removed: Collection[T]) -> Ordered[T]:
        """Return the sequence with ``added`` items, which it does not have yet, and without the
        ``removed`` ones, which it has."""
        if len(added) + len(removed) > FEW or not self._chunks:
            gone = set(removed)
            return Ordered(chain((item for item in self if item not in gone), added))
        chunks = list(self._chunks)
        for item in removed:
            _remove(chunks, item)
        for item in added:
            _add(chunks, item)
        made: Ordered[T] = Ordered()
        made._chunks = tuple(chunks)
        made._length = self._length + len(added) - len(removed)
        return made


def changed_in(
    groups: Mapping[G, Ordered[T]], news: Mapping[G, Mapping[T, bool]]
) -> Mapping[G, Ordered[T]]:
    """Return groups of items after some items were added (True) and some removed (False); a group
    that becomes empty goes."""
    found: dict[G, Ordered[T] | None] = {}
    for group, items in news.items():
        come = [item for item, is_new in items.items() if is_new]
        gone = [item for item, is_new in items.items() if not is_new]
        found[group] = groups.get(group, Ordered()).changed(come, gone) or None
    return replaced(groups, found)


def _first(chunk: tuple[T, ...]) -> T:
    return chunk[0]


def _add(chunks: list[tuple[T, ...]], item: T) -> None:
    if not chunks:
        chunks.append((item,))
        return
    number = max(0, bisect_right(chunks, item, key=_first) - 1)
    chunk = chunks[number]
    at = bisect_left(chunk, item)
    chunk = (*chunk[:at], item, *chunk[at:])
    half = CHUNK // 2
    chunks[number : number + 1] = [chunk] if len(chunk) <= CHUNK else [chunk[:half], chunk[half:]]


def _remove(chunks: list[tuple[T, ...]], item: T) -> None:
    number = bisect_right(chunks, item, key=_first) - 1
    chunk = chunks[number]
    at = bisect_left(chunk, item)
    chunk = chunk[:at] + chunk[at + 1 :]
    chunks[number : number + 1] = [chunk] if chunk else []
