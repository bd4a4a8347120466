"""The whole configuration in force: each value, and its origin.

The text is HCL that plugind can read, with origins in comments. Secrets are masked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema

from plugind.config.branches import Branch, Leaf, plain
from plugind.config.overrides import PREFIX
from plugind.config.settings import Settings
from plugind.config.shape import (
    Field,
    as_hcl,
    dotted,
    is_block,
    is_labelled,
    is_path,
    known_fields,
    resolved,
)
from plugind.config.tree import Place

MASKED = "***"
_COMMENTS = 36
"""The width, in characters, to which shorter settings are padded so that comments line up."""

# Settings, variables and options that hold a secret, but not those that name a file with a secret.
_SECRET = re.compile(
    r"(?i)(pass(word|wd|phrase)?|pwd|secret|token|credentials?|(api|access|private)[_-]?key)s?$"
)
_OPTION = re.compile(r"--?([\w-]+)(=.*)?", re.DOTALL)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


@dataclass(frozen=True, slots=True)
class Value:
    """A value and its origin: "default", or the kind of ``place`` (file, variable, flag)."""

    value: Any
    place: Place | None

    @property
    def origin(self) -> str:
        if self.place is None:
            return "default"
        if self.place.line:
            return "file"
        return "variable" if self.place.source.startswith(PREFIX) else "flag"


@dataclass(frozen=True, slots=True)
class Shown:
    """A setting: its effective value first, then the values that it overrides."""

    path: tuple[str, ...]
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A block; an empty header stands for the top of the configuration."""

    header: str
    settings: tuple[Shown, ...]
    sections: tuple[Section, ...]

    def __iter__(self) -> Iterator[Shown]:
        """Iterate over all settings, including those of inner blocks."""
        yield from self.settings
        for section in self.sections:
            yield from section


def effective(settings: Settings) -> Section:
    """Return the whole configuration: the core, the store, plugin types and declarations."""
    core, *others = (
        _section(_header(part.path), part.schema, part.branch, part.path)
        for part in settings.written
    )
    return Section("", core.settings, (*core.sections, *others))


def as_text(section: Section) -> str:
    """Return the configuration as HCL, with the origin of each value in a comment after it."""
    return "\n".join(_lines(section)) + "\n"


def as_json(section: Section) -> list[dict[str, Any]]:
    """Return the settings as JSON values, for programs; ``overrides`` has the overridden values."""
    return [
        {
            "name": dotted(shown.path),
            "path": list(shown.path),
            **_json(shown.values[0]),
            "overrides": [_json(value) for value in shown.values[1:]],
        }
        for shown in section
    ]


def _json(value: Value) -> dict[str, Any]:
    place = value.place
    return {
        "value": value.value,
        "origin": value.origin,
        "source": place.source if place else "",
        "line": place.line if place else 0,
        "column": place.column if place else 0,
    }


def _section(header: str, schema: Schema, branch: Branch, path: tuple[str, ...]) -> Section:
    settings, sections = [], []
    for name, field in known_fields(schema).items():
        child = branch.children.get(name)
        inner = branch.branch(name)
        if is_block(field):
            schema_ = field.schema  # type: ignore[attr-defined]
            sections.append(_section(name, schema_, inner, (*path, name)))
        elif is_labelled(field):
            schema_ = field.value_field.schema  # type: ignore[attr-defined]
            sections += [
                _section(_header((name, label)), schema_, inner.branch(label), (*path, name, label))
                for label in inner.children
            ]
        else:
            settings.append(Shown((*path, name), tuple(_values(name, field, child))))
    return Section(header, tuple(settings), tuple(sections))


def _values(name: str, field: Field, child: Branch | Leaf | None) -> Iterator[Value]:
    """Yield the value in force, then the values that it overrides, the nearest first."""
    is_secret = bool(field.metadata.get("secret"))
    if isinstance(child, Branch):  # It is an object in JSON.
        yield Value(_masked(name, plain(child), is_secret=is_secret), child.place)
        return
    if child is None or child.value is None:  # null resets a setting to its default.
        yield Value(_default(field), child.place if child else None)
    leaf = child if child is None or child.value is not None else child.under
    while leaf is not None:
        value = resolved(leaf.value, leaf.place.folder) if is_path(field) else leaf.value
        yield Value(_masked(name, value, is_secret=is_secret), leaf.place)
        leaf = leaf.under


def _default(field: Field) -> Any:
    """Return the default as a user would write it: seconds as a duration, a path as text."""
    default = field.load_default
    default = default() if callable(default) else default
    text = as_hcl(field, default)
    return json.loads(text) if text else default or None


def _masked(name: str, value: Any, *, is_secret: bool) -> Any:
    if value is None or value == "":
        return value
    if isinstance(value, Mapping):
        return {key: _masked(key, item, is_secret=is_secret) for key, item in value.items()}
    if isinstance(value, list | tuple):
        if is_secret or _SECRET.search(name):
            return [MASKED for _ in value]
        return list(_masked_words(value))
    if is_secret or _SECRET.search(name):
        return MASKED
    return _USERINFO.sub(MASKED, value) if isinstance(value, str) else value


def _masked_words(words: list[Any] | tuple[Any, ...]) -> Iterator[Any]:
    """Yield the words of a command; mask the values of options such as ``--password``."""
    follows = False
    for word in words:
        option = _OPTION.fullmatch(word) if isinstance(word, str) else None
        is_secret = bool(option and _SECRET.search(option[1]))
        if follows and not option:
            yield MASKED
        elif is_secret and option and option[2]:
            yield f"{word[: -len(option[2])]}={MASKED}"
        else:
            yield _masked("", word, is_secret=False)
        follows = is_secret and not (option and option[2])


def _lines(section: Section, indent: str = "") -> Iterator[str]:
    inner = f"{indent}  " if section.header else indent
    if section.header:
        yield f"{indent}{section.header} {{"
    names = max((len(shown.path[-1]) for shown in section.settings), default=0)
    for shown in section.settings:
        text = f"{shown.path[-1]:{names}} = {_hcl(shown.values[0].value)}"
        in_force, *others = shown.values
        overridden = "".join(f", over {value.place} ({_hcl(value.value)})" for value in others)
        origin = in_force.place or in_force.origin
        yield f"{inner}{text:{_COMMENTS}}  # {origin}{overridden}"
    for each in section.sections:
        if not section.header:
            yield ""
        yield from _lines(each, inner)
    if section.header:
        yield f"{indent}}}"


def _header(path: tuple[str, ...]) -> str:
    return " ".join([*path[:1], *map(_hcl, path[1:])])


def _hcl(value: Any) -> str:
    """Return a value as HCL on one line that is safe for a terminal."""
    text = json.dumps(value, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
