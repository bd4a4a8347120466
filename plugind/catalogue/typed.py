"""Renders the rows and bodies of one plugin type's plugins: the core's fields and the type's own.

A type's summary, its schemas' fields and its documents are third-party code, which is called
through the type's guard. If that code fails or returns nonsense, its fields are shown as it last
returned them, or left out. The core's fields (the ID, the counts, the stamps) are always there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import orjson

from plugind.catalogue.fragments import array, exact, fragment, fragments
from plugind.model import Fingerprint, PluginKey, Stamp
from plugind.schemas.plugins import PluginSchemas
from plugind.types.guard import Guard, Mark

ROW, BODY, DOCUMENT = "row", "body", "document_body"
"""The kinds of calls, as the log names them. A row and a body include the summary."""

ROW_MAXIMUM = 65_536
"""Maximum bytes of a row; a larger one is nonsense, and would make the whole list too large."""

_TIMES = ("CreateTime", "ModifyTime")


class About(NamedTuple):
    """The data that the core has of a plugin: the core's own fields, and fingerprints by role."""

    core: Mapping[str, Any]
    shown: Mapping[str, Collection[Fingerprint]]


class Made(NamedTuple):
    """A rendering. If the type's code failed on a part of it, ``mark`` is for ``Guard.is_current``;
    otherwise it is None."""

    body: bytes
    mark: Mark | None = None


class Typed:
    """Renders the plugins of one type. Safe for threads; calls nothing while holding a lock.

    ``as_document``: in the shapes of Nomad's API document.
    """

    def __init__(self, schemas: PluginSchemas, guard: Guard, *, as_document: bool) -> None:
        self.guard = guard
        self._schemas = schemas
        self._type = schemas.type
        self._as_document = as_document

    def rows(
        self, versions: Mapping[PluginKey, Stamp], about: Callable[[PluginKey], About]
    ) -> tuple[list[bytes], Mark | None]:
        """Return the rows of plugins in the order given, and the mark as in ``Made``. All rows that
        are not known already are made in one call to the guard."""
        answer = self.guard.call(ROW, versions, lambda key: self._row(about(key)))
        if not answer.failed:
            return [answer.values[key] for key in versions], None
        mended = {key: self._mended_row(key, about(key).core) for key in answer.failed}
        rows = [mended.get(key) or answer.values[key] for key in versions]
        return rows, answer.mark

    def body(
        self,
        key: PluginKey,
        version: Stamp,
        about: Callable[[PluginKey], About],
        join: Callable[[Mapping[str, bytes]], bytes],
    ) -> Made:
        """Return the body of a plugin. ``join`` adds its instances to the other fields."""
        fields, mark = self.fields(key, version, about)
        body = join(fields)
        if mark is not None:
            return Made(array([body]) if self._as_document else body, mark)
        if not self._as_document:
            return Made(body)
        document = self.guard.call(
            DOCUMENT,
            {key: version},
            lambda key: exact(orjson.dumps(self._type.document_body(orjson.loads(body)))),
            keeps=False,
        )
        if document.failed:
            return Made(array([body]), document.mark)
        return Made(document.values[key])

    def fields(
        self, key: PluginKey, version: Stamp, about: Callable[[PluginKey], About]
    ) -> tuple[Mapping[str, bytes], Mark | None]:
        """Return all fields of a plugin's body except its instances and processes, by name, and the
        mark as in ``Made``."""
        answer = self.guard.call(BODY, {key: version}, lambda key: self._fields(about(key)))
        if answer.failed:
            return self._mended_fields(key, about(key).core), answer.mark
        return answer.values[key], None

    # The guard calls these in its own thread.

    def _row(self, about: About) -> bytes:
        core = _of_row(about.core)
        row = {**self._schemas.row.dump(self._summarised(about)), **core}
        if self._as_document:
            row = {**self._type.document_row(row)}
            row.update((name, core[name]) for name in core.keys() & row)
        dumped = _dumped(row, self._as_document)
        if len(dumped) > ROW_MAXIMUM:
            raise ValueError(f"a row has {len(dumped)} bytes, more than {ROW_MAXIMUM}")
        return dumped

    def _fields(self, about: About) -> dict[str, bytes]:
        return fragments({**self._schemas.body.dump(self._summarised(about)), **about.core})

    def _summarised(self, about: About) -> dict[str, Any]:
        return {**self._type.summary(about.shown), **about.core}

    # These do not call the type's code.

    def _mended_row(self, key: PluginKey, core: Mapping[str, Any]) -> bytes:
        last = self.guard.last(ROW, key)
        if last is not None:
            return _dumped({**orjson.loads(last), **_of_row(core)}, self._as_document)
        known = self.guard.last(BODY, key) or {}
        names = self._schemas.row.fields.keys() & known
        return fragment({**{name: orjson.loads(known[name]) for name in names}, **_of_row(core)})

    def _mended_fields(self, key: PluginKey, core: Mapping[str, Any]) -> dict[str, bytes]:
        last = self.guard.last(BODY, key)
        if last is None:
            row = orjson.loads(self.guard.last(ROW, key) or b"{}")
            last = fragments({name: row[name] for name in self._schemas.body.fields.keys() & row})
        return {**last, **fragments(core)}


def _of_row(core: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in core.items() if name not in _TIMES}


def _dumped(row: Mapping[str, Any], as_document: bool) -> bytes:
    """Return a row as JSON. As a document, it keeps the order of keys that the type gave it."""
    return exact(orjson.dumps(row)) if as_document else fragment(row)
