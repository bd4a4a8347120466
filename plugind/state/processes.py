"""The instances that name each process, found when they are first asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from plugind.model import Instance, InstanceKey
from plugind.state.maps import replaced

Keys = tuple[InstanceKey, ...]
Groups = Mapping[str, Mapping[InstanceKey, Instance]]


class Processes:
    """The keys of the instances that name each process, in the state whose instances by node are
    ``groups``.

    Few callers ever ask for a process by its ID, and an index of all of them takes memory. So the
    index is built when it is first asked for; from then on each change updates it.
    """

    __slots__ = ("_found",)

    def __init__(self, found: Mapping[str, Keys] | None = None) -> None:
        self._found = found

    def of(self, alloc_id: str, groups: Groups) -> Keys:
        """Return the keys of the instances that name a process, in no order."""
        if self._found is None:
            self._found = _found_in(groups)
        return self._found.get(alloc_id, ())

    def changed(self, steps: Collection[tuple[Instance | None, Instance | None]]) -> Processes:
        """Return the processes after ``steps``: pairs of an old instance and its replacement."""
        if self._found is None:
            return Processes()
        news: dict[str, Keys] = {}
        for old, new in steps:
            was, now = (each.alloc_id if each else "" for each in (old, new))
            some = new or old
            if was == now or some is None:
                continue
            for name, is_there in ((was, False), (now, True)):
                held = news[name] if name in news else self._found.get(name, ())
                others = tuple(key for key in held if key != some.key)
                news[name] = (*others, some.key) if is_there else others
        news.pop("", None)
        return Processes(replaced(self._found, {name: keys or None for name, keys in news.items()}))


def _found_in(groups: Groups) -> Mapping[str, Keys]:
    found: dict[str, Keys | None] = {}
    for instances in groups.values():
        for key, one in instances.items():
            if name := one.alloc_id:
                found[name] = (*(found.get(name) or ()), key)
    return replaced({}, found)
