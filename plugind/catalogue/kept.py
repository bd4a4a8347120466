"""Keeps renderings for as long as the values that they were made from stay the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Rendered values by key. Safe for threads, without a lock.

    An entry is valid only for the very objects that it was made from. So nothing has to be
    invalidated: entries that a change replaces are dropped only to free memory.
    """

    def __init__(self) -> None:
        self._entries: dict[K, tuple[object, object, V]] = {}

    def get(
        self,
        key: K,
        origin: object,
        make: Callable[[], V],
        is_current: Callable[[], bool],
        second: object = None,
    ) -> V:
        """Return what ``make`` returns for a key and its origins, made only once if possible.

        Once ``is_current()`` is false nothing is kept, because the change that would drop it is
        over.
        """
        found = self._entries.get(key)
        if found is not None and found[0] is origin and found[1] is second:
            return found[2]
        entry = origin, second, make()
        other = self._entries.get(key)
        if other is not None and other[0] is origin and other[1] is second:
            return other[2]  # another thread made it meanwhile: one object for all
        self._entries[key] = entry
        if not is_current():
            self._entries.pop(key, None)
        return entry[2]

    def drop(self, keys: Iterable[K]) -> None:
        """Drop the renderings of some keys."""
        for key in keys:
            self._entries.pop(key, None)

    def clear(self) -> None:
        """Drop all renderings."""
        self._entries.clear()
