"""The indexes of the last transitions, for readers that wait for history."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from plugind.model import HISTORY, PluginKey, Transition, history_of
from plugind.state.removals import Removals


def touched_by(transitions: Iterable[Transition]) -> set[str]:
    """Return the history resources that transitions touch."""
    return {
        HISTORY,
        *(history_of(PluginKey(row.type, row.id)) for row in transitions if row.type),
    }


class News(msgspec.Struct, frozen=True):
    """The index of the ``last`` transition, and of the last one of each plugin. ``Removals`` keeps
    these: the most recent ones exactly, and for all other plugins the latest possible index."""

    last: int
    of_plugins: Removals

    @classmethod
    def since(cls, index: int) -> News:
        """Return the news of a state that was loaded: all transitions came by ``index``."""
        return cls(index, Removals(index))

    def index_of(self, resource: str) -> int:
        """Return the index at which a history resource last changed, or a later one."""
        return self.last if resource == HISTORY else self.of_plugins.index_of(resource)

    def changed(self, index: int, transitions: Iterable[Transition]) -> News:
        """Return the news after further transitions."""
        touched = touched_by(transitions) if transitions else ()
        return News(index, self.of_plugins.changed(index, touched, ())) if touched else self
