"""A saved record of sockets, so that a restart of the agent does not change what clients see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from plugin_types.csi.assigning import NONE, Roles
from plugin_types.csi.roles import ROLES
from plugind.fields import ID_PATTERN, INT64_MAX
from plugind.toolbox.state_file import StateFile

FILE = "sockets.json"
ENTRIES_MAXIMUM = 1_000
"""The number of sockets, and of tasks, that are remembered: those that changed last."""

_TEXT_MAXIMUM = 512
_VERSION = 1


@dataclass(frozen=True)
class Entry:
    """One socket: the plugin's ID and the socket's roles; the halves that its driver serves; the
    driver's name; the ``Key`` of the driver's process; whether it was ever healthy; when the socket
    was made (``born``, in microseconds since the epoch); since when nothing has listened on it
    (``dead_since``, in seconds since the epoch; 0 if a process does); and whether it was left out
    for that reason."""

    id: str = ""
    roles: Roles = NONE
    served: Roles = NONE
    provider: str = ""
    process: str = ""
    was_healthy: bool = False
    born: int = 0
    dead_since: int = 0
    left: bool = False


@dataclass(frozen=True)
class Post:
    """The plugin ID and the roles that all allocations of one Nomad task have."""

    id: str = ""
    roles: Roles = NONE


@dataclass
class Ledger:
    """Entries by the sockets' paths, and posts by the tasks' keys. ``dirty`` means not saved."""

    sockets: dict[str, Entry] = field(default_factory=dict)
    tasks: dict[str, Post] = field(default_factory=dict)
    dirty: bool = False

    def socket(self, path: str) -> Entry:
        """Return the entry of a socket; an empty one if nothing is known."""
        return self.sockets.get(path, Entry())

    def note(self, path: str, entry: Entry) -> None:
        """Remember the entry of a socket, as the one that changed last."""
        if self.sockets.get(path) != entry:
            self.dirty = True
            _put_last(self.sockets, path, entry)

    def note_task(self, key: str, post: Post) -> None:
        """Remember the post of a task, as the one that changed last."""
        if key and self.tasks.get(key) != post:
            self.dirty = True
            _put_last(self.tasks, key, post)

    def id_of(self, provider: str) -> str:
        """Return the plugin ID under which sockets of that driver are known; "" if there are
        several IDs or none."""
        ids = {one.id for one in self.sockets.values() if one.provider == provider and one.id}
        return ids.pop() if provider and len(ids) == 1 else ""

    def save(self, file: StateFile) -> None:
        """Save the changes since the last call."""
        if self.dirty:
            self.dirty = False
            file.save(
                {
                    "version": _VERSION,
                    "sockets": [[path, _plain(one)] for path, one in self.sockets.items()],
                    "tasks": [[key, _plain(post)] for key, post in self.tasks.items()],
                }
            )


def load(file: StateFile) -> Ledger:
    """Return the saved ledger. Items that do not have the expected form are left out."""
    saved = file.load()
    if saved.get("version") != _VERSION:
        return Ledger()
    return Ledger(
        {path: entry for path, value in _pairs(saved, "sockets") if (entry := _entry(value))},
        {key: Post(_id(value), _roles(value, "roles")) for key, value in _pairs(saved, "tasks")},
    )


def _put_last(among: dict[str, Any], key: str, value: Any) -> None:
    among.pop(key, None)
    among[key] = value
    if len(among) > ENTRIES_MAXIMUM:
        del among[next(iter(among))]


def _plain(record: Entry | Post) -> dict[str, Any]:
    """Return the fields that are not empty, as JSON values."""
    plain = {
        name: sorted(v) if isinstance(v, frozenset) else v for name, v in asdict(record).items()
    }
    return {name: value for name, value in plain.items() if value}


def _pairs(saved: Mapping[str, Any], name: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    items = saved.get(name)
    for item in (items if isinstance(items, list) else [])[-ENTRIES_MAXIMUM:]:
        match item:
            case [str(key), dict(value)] if len(key) <= _TEXT_MAXIMUM:
                yield key, value


def _entry(value: Mapping[str, Any]) -> Entry:
    return Entry(
        id=_id(value),
        roles=_roles(value, "roles"),
        served=_roles(value, "served"),
        provider=_text(value, "provider"),
        process=_text(value, "process"),
        was_healthy=value.get("was_healthy") is True,
        born=_number(value, "born"),
        dead_since=_number(value, "dead_since"),
        left=value.get("left") is True,
    )


def _id(value: Mapping[str, Any]) -> str:
    id = _text(value, "id")
    return id if ID_PATTERN.fullmatch(id) else ""


def _text(value: Mapping[str, Any], name: str) -> str:
    text = value.get(name)
    return text if isinstance(text, str) and len(text) <= _TEXT_MAXIMUM else ""


def _roles(value: Mapping[str, Any], name: str) -> Roles:
    roles = value.get(name)
    return frozenset(role for role in ROLES if isinstance(roles, list) and role in roles)


def _number(value: Mapping[str, Any], name: str) -> int:
    number = value.get(name)
    good = isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= INT64_MAX
    return number if good and number is not None else 0
