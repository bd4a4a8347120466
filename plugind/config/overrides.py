"""Flags and environment variables, which override files.

Every setting outside labelled blocks has both, with names made from its path. The flag, such as
``--ports-http``, overrides the variable, ``PLUGIND_PORTS_HTTP``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from marshmallow import Schema, fields

from plugind.config.branches import Branch, Leaf
from plugind.config.schemas import CoreSchema
from plugind.config.shape import Field, is_block, is_map_block, known_fields
from plugind.config.tree import Place
from plugind.errors import Mistake
from plugind.wire.fields import Duration, Flag, Number

PREFIX = "PLUGIND_"
OTHERS = frozenset({"PLUGIND_ADDR", "PLUGIND_TOKEN", "PLUGIND_TOKEN_FILE", "PLUGIND_TRACE_HOOKS"})
"""Variables that are not settings; the command line reads them."""

_BOOLS = {"true": True, "1": True, "false": False, "0": False}
_WHOLE = re.compile(r"[+-]?\d{1,19}", re.ASCII)


@dataclass(frozen=True)
class Row:
    """One setting: its path in the tree, and the marshmallow field that validates it."""

    path: tuple[str, ...]
    field: Field

    @cached_property
    def name(self) -> str:
        """Return the name in configuration: ``server.heartbeat_ttl``."""
        return ".".join(self.path)

    @cached_property
    def flag(self) -> str:
        """Return the option on a command line, without ``--``: ``server-heartbeat-ttl``."""
        return "-".join(self.path).replace("_", "-")

    @property
    def short(self) -> str:
        """Return a shorter name of the option, "" for none: ``workers``."""
        return str(self.field.metadata.get("short", ""))

    @cached_property
    def variable(self) -> str:
        """Return the environment variable: ``PLUGIND_SERVER_HEARTBEAT_TTL``."""
        return PREFIX + self.flag.replace("-", "_").upper()

    @property
    def help(self) -> str:
        return str(self.field.metadata.get("help", ""))

    @property
    def type(self) -> str:
        """Return the type as shown to people: text, path, number, duration, bool, object or list
        of one of them.
        """
        return type_of(self.field)

    @property
    def default(self) -> Any:
        """Return the value of a setting that is not set; None when there is none."""
        default = self.field.load_default
        return default() if callable(default) else default


_TYPES: tuple[tuple[type[Field], str], ...] = (
    (Duration, "duration"),
    (Flag, "bool"),
    (fields.Boolean, "bool"),
    (Number, "number"),
    (fields.Number, "number"),
    (fields.Mapping, "object"),
)


def type_of(field: Field) -> str:
    """Return the type of a setting in a word or two."""
    of = "path" if field.metadata.get("path") else ""
    if isinstance(field, fields.List):
        return f"list of {of or type_of(field.inner)}"
    return of or next((word for kind, word in _TYPES if isinstance(field, kind)), "text")


def rows_of(schema: Schema, path: tuple[str, ...] = ()) -> Iterator[Row]:
    """Yield the settings of a schema and its blocks, except those in labelled blocks."""
    for name, field in known_fields(schema).items():
        if is_block(field):
            yield from rows_of(field.schema, (*path, name))  # type: ignore[attr-defined]
        elif not isinstance(field, fields.Mapping) or is_map_block(field):
            yield Row((*path, name), field)


def setting_rows() -> tuple[Row, ...]:
    """Return the core's settings, from which the command line creates its options."""
    return tuple(rows_of(CoreSchema()))


class Overrides:
    """The flags and variables that were given; relative paths in them count from ``folder``.

    A flag or variable that no row claims is a mistake.
    """

    def __init__(self, environ: Mapping[str, str], flags: Mapping[str, str], folder: Path) -> None:
        self._given: dict[str, Leaf] = {}
        for name, text in environ.items():
            if name.startswith(PREFIX) and name not in OTHERS and text:
                self._given[name] = Leaf(text, Place(name, folder=folder))
        for name, text in flags.items():
            flag = name.removeprefix("--").replace("_", "-").replace(".", "-")
            variable = PREFIX + flag.replace("-", "_").upper()
            self._given[variable] = Leaf(text, Place(f"--{flag}", folder=folder))
        self._known: dict[str, str] = {}

    def over(self, branch: Branch, rows: Iterable[Row], depth: int = 0) -> Branch:
        """Return the branch, overridden by the flags and variables that were given for the rows.

        The first ``depth`` steps of the rows' paths lead to the branch itself.
        """
        for row in rows:
            self._known[row.variable] = row.flag
            if given := self._given.get(row.variable):
                value = _value(row.field, given.value)
                branch = _set(branch, row.path[depth:], Leaf(value, given.place))
        return branch

    def unknown(self, problems: Mapping[str, str]) -> list[Mistake]:
        """Return a mistake for each flag and variable that no row claimed.

        ``problems`` says why a plugin type is not available.
        """
        return [
            given.place.mistake(self._why(variable, given.place.source, problems))
            for variable, given in self._given.items()
            if variable not in self._known
        ]

    def _why(self, variable: str, written: str, problems: Mapping[str, str]) -> str:
        for name, problem in problems.items():
            key = name.replace("-", "_").upper()
            if variable.startswith(f"{PREFIX}PLUGIN_TYPE_{key}_"):
                return f'plugin type "{name}" is not available: {problem}'
        named = {key.removeprefix(PREFIX): key for key in self._known}
        close = get_close_matches(variable.removeprefix(PREFIX), named, 1)
        if not close:
            return "no setting has this name; docs/configuration.md lists them all"
        known = named[close[0]]
        hint = f"--{self._known[known]}" if written.startswith("--") else known
        return f"no setting has this name; did you mean {hint}?"


def _set(branch: Branch, path: tuple[str, ...], leaf: Leaf) -> Branch:
    """Return the branch with one setting in it; a value in place of a block is kept, and the shaper
    reports it.
    """
    name, *rest = path
    child: Branch | Leaf = leaf.over(branch.children.get(name))
    if rest:
        child = branch.children.get(name, Branch(leaf.place, open=True))
        if isinstance(child, Branch):
            child = _set(child, tuple(rest), leaf)
    return replace(branch, children={**branch.children, name: child})


def _value(field: Field, text: str) -> Any:
    """Return the value that a text stands for, or else the text itself, which the schema checks."""
    if isinstance(field, fields.List):
        return [_value(field.inner, part.strip()) for part in text.split(",") if part.strip()]
    if isinstance(field, fields.Mapping):
        pairs = [part.split("=", 1) for part in text.split(",") if part.strip()]
        if all(len(pair) == 2 for pair in pairs):
            return {name.strip(): value.strip() for name, value in pairs}
        return text
    if isinstance(field, Flag | fields.Boolean):
        return _BOOLS.get(text.strip().lower(), text)
    if isinstance(field, Number) and _WHOLE.fullmatch(text.strip()):
        return int(text)
    return text
