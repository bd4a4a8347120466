"""When resources that do not exist were removed, for readers that wait for them to be created."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from plugind.state.maps import replaced

REMEMBERED = 10_000
"""Minimum number of resources whose removal is remembered."""


class Removals(msgspec.Struct, frozen=True):
    """The indexes at which resources were removed, in two generations of REMEMBERED resources each.

    Anything older than both was removed at ``horizon`` at the latest.
    """

    horizon: int
    recent: Mapping[str, int] = {}
    older: Mapping[str, int] = {}
    older_until: int = 0

    def index_of(self, resource: str) -> int:
        """Return the index at which a resource that does not exist last changed, or a later one."""
        return self.recent.get(resource) or self.older.get(resource, self.horizon)

    def changed(self, index: int, removed: Collection[str], created: Collection[str]) -> Removals:
        """Return the removals after a change that removed and created resources."""
        if not removed and not created:
            return self
        back = {resource: None for resource in created if resource in self.older}
        older = replaced(self.older, back)
        news = {**dict.fromkeys(created), **dict.fromkeys(removed, index)}
        recent = replaced(self.recent, news)
        if len(recent) <= REMEMBERED:
            return Removals(self.horizon, recent, older, self.older_until)
        return Removals(max(self.horizon, self.older_until), {}, recent, index)
