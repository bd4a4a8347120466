"""The detection of changed settings that only a restart puts in force.

The metadata of each setting (``plugind.config.schemas``) decides whether it needs a restart, so a
new setting cannot be forgotten here. Values are compared by their digests. The digests of a running
process can be kept in a file, next to the file that names the process, without revealing values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from operator import attrgetter

from marshmallow import Schema

from plugind.config.schemas import CoreSchema
from plugind.config.settings import Settings
from plugind.config.shape import Field, is_block, known_fields


def fixed(settings: Settings) -> dict[str, str]:
    """Return the digests of all settings that only a restart changes, by their dotted names.

    The blocks of plugin types and of declarations, and policies, are not among them.
    """
    values = {
        ".".join(path): attrgetter(".".join(path))(settings)
        for path, field in _settings(CoreSchema())
        if not set(settings.roles) <= set(field.metadata.get("reload", ()))
    }
    values["store"] = settings.store
    return {
        name: hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()
        for name, value in values.items()
    }


def changed(before: Mapping[str, str], settings: Settings) -> list[tuple[str, str]]:
    """Return the name and place of each setting that has changed since a process was started.

    ``before`` is the result of ``fixed`` at the start, perhaps by an older version with fewer
    settings.
    """
    now = fixed(settings)
    names = [name for name in now if name in before and before[name] != now[name]]
    return [(name, _place(settings, name)) for name in names]


def _place(settings: Settings, name: str) -> str:
    if name == "store":
        parts = [part for part in settings.written if part.path[:1] == (name,)]
        return str(parts[0].branch.place) if parts else str(settings.place())
    return str(settings.place(*name.split(".")))


def _settings(
    schema: Schema, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Field]]:
    for name, field in known_fields(schema).items():
        if is_block(field):
            yield from _settings(field.schema, (*path, name))  # type: ignore[attr-defined]
        else:
            yield (*path, name), field
