"""Finds the changes of a batch that depend on a scope that was written since."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from plugind.model import Change
from plugind.store.base import Conflict

Moved = Callable[[int, Collection[str]], Collection[str]]
"""Returns which of the given scopes were written after an index, before the batch."""


def conflicts(changes: Sequence[Change], moved: Moved) -> list[Conflict | None]:
    """Return for each change of a batch why it cannot be committed; None if it can.

    A change may depend on others in its batch. One that reads what a failed one writes also fails.
    """
    base = min((change.base for change in changes), default=0)
    outdated = set(moved(base, {scope for change in changes for scope in change.reads}))
    found: list[Conflict | None] = []
    for change in changes:
        scope = min(change.reads & outdated, default=None)
        found.append(None if scope is None else Conflict(scope))
        if scope is not None:
            outdated |= change.writes
    return found
