"""Flags and environment variables over the files: ``--ports-http`` over ``PLUGIND_PORTS_HTTP``.

Every setting that is no labelled block has both; their names join its path.
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
from plugind.config.shape import Field, is_block, known_fields
from plugind.config.tree import Place
from plugind.errors import Mistake
from plugind.fields import Duration, Flag, Number

PREFIX = "PLUGIND_"
OTHERS = frozenset({"PLUGIND_ADDR", "PLUGIND_TOKEN", "PLUGIND_TRACE_HOOKS"})
"""Variables that are no settings: the command line reads them."""

_BOOLS = {"true": True, "1": True, "false": False, "0": False}
_WHOLE = re.compile(r"[+-]?\d{1,19}", re.ASCII)


@dataclass(frozen=True)
class Row:
    """One setting: where it is in the tree, and the marshmallow field that checks it."""

    path: tuple[str, ...]
    field: Field

    @cached_property
    def name(self) -> str:
        """As in configuration: ``server.heartbeat_ttl``."""
        return ".".join(self.path)

    @cached_property
    def flag(self) -> str:
        """As after ``--`` on a command line: ``server-heartbeat-ttl``."""
        return "-".join(self.path).replace("_", "-")

    @cached_property
    def variable(self) -> str:
        """``PLUGIND_SERVER_HEARTBEAT_TTL``."""
        return PREFIX + self.flag.replace("-", "_").upper()

    @property
    def help(self) -> str:
        return str(self.field.metadata.get("help", ""))

    @property
    def type(self) -> str:
        """text, path, number, duration, bool, or a list or object of something, for people."""
        return type_of(self.field)

    @property
    def default(self) -> Any:
        """The value of a setting that is not set; None when there is none."""
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
    """The type of a setting in a word or two."""
    of = "path" if field.metadata.get("path") else ""
    if isinstance(field, fields.List):
        return f"list of {of or type_of(field.inner)}"
    return of or next((word for kind, word in _TYPES if isinstance(field, kind)), "text")


def rows_of(schema: Schema, path: tuple[str, ...] = ()) -> Iterator[Row]:
    """The settings of a schema and of the blocks in it, without those in labelled blocks."""
    for name, field in known_fields(schema).items():
        if is_block(field):
            yield from rows_of(field.schema, (*path, name))  # type: ignore[attr-defined]
        elif not isinstance(field, fields.Mapping):
            yield Row((*path, name), field)


def setting_rows() -> tuple[Row, ...]:
    """The core's settings, for a command line to make its options of."""
    return tuple(rows_of(CoreSchema()))


class Overrides:
    """The flags and variables that are given; relative paths in them count from ``folder``. What
    no row claims is a mistake."""

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
        """The branch with what is given for the rows; their paths' first ``depth`` steps lead to
        the branch itself."""
        for row in rows:
            self._known[row.variable] = row.flag
            if given := self._given.get(row.variable):
                value = _value(row.field, given.value)
                branch = _set(branch, row.path[depth:], Leaf(value, given.place))
        return branch

    def unknown(self, problems: Mapping[str, str]) -> list[Mistake]:
        """What was given and no row claimed. ``problems`` says why a plugin type is not there."""
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
    """The branch with one setting in it. A block that is written wrongly is left to be told of."""
    name, *rest = path
    child: Branch | Leaf = leaf
    if rest:
        child = branch.children.get(name, Branch(leaf.place, open=True))
        if isinstance(child, Branch):
            child = _set(child, tuple(rest), leaf)
    return replace(branch, children={**branch.children, name: child})


def _value(field: Field, text: str) -> Any:
    """The text as the value it stands for; as it is where it stands for none, to be told of."""
    if isinstance(field, fields.List):
        return [_value(field.inner, part.strip()) for part in text.split(",") if part.strip()]
    if isinstance(field, Flag | fields.Boolean):
        return _BOOLS.get(text.strip().lower(), text)
    if isinstance(field, Number) and _WHOLE.fullmatch(text.strip()):
        return int(text)
    return text
