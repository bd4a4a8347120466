"""Holds a tree of settings against a marshmallow schema: what is known, what is a block.

A nested schema is a block; a dict of nested schemas is a block with a label; everything else is
an attribute. Mistakes are told at the place of what is wrong, with what would be right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError, fields

from plugind.config.branches import Branch, Leaf, plain
from plugind.config.tree import Place, ValuePath
from plugind.errors import Mistake
from plugind.fields import SECOND, Duration, format_duration

Field = fields.Field[Any]

_MISSING = "Missing data for required field."
# What marshmallow's own fields say, in the words of this house.
_WORDS = {
    "Not a valid list.": "must be a list",
    "Not a valid string.": "must be text in quotes",
    "Must be a string.": "must be text in quotes",
    "Not a valid integer.": "must be a whole number",
    "Not a valid number.": "must be a number",
    "Not a valid boolean.": "must be true or false",
    "Not a valid mapping type.": "must be an object, { name = value }",
    "Field may not be null.": "must not be null",
    _MISSING: "is missing",
}
_EXPLICIT = re.compile(r"such as|one of|\{")


class Shaper:
    """Shapes the parts of one configuration; remembers where everything stands, and what is wrong.

    Paths lead from the root: ``("server", "heartbeat_ttl")``, ``("plugin_type", "x", "dirs", 1)``.
    """

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self._places: dict[ValuePath, Place] = {}
        self._fields: dict[ValuePath, Field] = {}

    def add(self, place: Place, text: str) -> None:
        self.mistakes.append(place.mistake(text))

    def place(self, path: ValuePath, default: Place) -> Place:
        """Where a setting stands, or else the innermost block around it that is there."""
        while path and path not in self._places:
            path = path[:-1]
        return self._places.get(path, default)

    def block(
        self,
        branch: Branch,
        schema: Schema,
        path: ValuePath = (),
        *,
        others: Sequence[str] = (),
    ) -> dict[str, Any]:
        """The plain values of a block, of which the schema knows every name. ``others`` are names
        that may be meant by an unknown one, too."""
        self._places[path] = branch.place
        known = known_fields(schema)
        self._fields |= {(*path, name): field for name, field in known.items()}
        values = {}
        for name, child in branch.children.items():
            if name not in known:
                self._unknown(child, name, [*known, *others], path)
                continue
            value = self._setting(known[name], name, child, (*path, name))
            if value is not None:  # null takes a setting back to its default
                values[name] = value
        return values

    def _unknown(
        self, child: Branch | Leaf, name: str, known: Sequence[str], path: ValuePath
    ) -> None:
        inside = f" in {dotted(path)}" if path else ""
        self.add(child.place, f'unknown setting "{name}"{inside}; {suggestion(name, known)}')

    def labelled(
        self, child: Branch | Leaf, path: ValuePath, header: str
    ) -> Iterator[tuple[str, Branch]]:
        """The blocks below a label, by label."""
        self._places[path] = child.place
        if isinstance(child, Branch) and (child.labels or child.open):
            for label, inner in child.children.items():
                if isinstance(inner, Branch):
                    yield label, inner
                else:
                    self.add(inner.place, f"{dotted(path)} is a block: write {header} {{ ... }}")
        else:
            self.add(child.place, f"{dotted(path)} needs a label: write {header} {{ ... }}")

    def load(
        self, schema: Schema, values: dict[str, Any] | None, path: ValuePath, place: Place
    ) -> Any:
        """What the schema makes of shaped values; None after mistakes. ``place`` stands for
        blocks that are not written anywhere."""
        if values is None:
            return None
        try:
            return schema.load(values)
        except ValidationError as error:
            wrong = {(mistake.source, mistake.line, mistake.column) for mistake in self.mistakes}
            for where, text in _flat(error.messages, path, self._fields):
                there = self.place(where, place)
                # What was written wrongly is missing in the values; it is told of already.
                if text != _MISSING or (there.source, there.line, there.column) not in wrong:
                    self.add(there, self._told(where, text))
        return None

    def _setting(self, field: Field, name: str, child: Branch | Leaf, path: ValuePath) -> Any:
        self._places[path] = child.place
        if isinstance(child, Leaf) and child.value is None:
            return None
        if is_block(field):
            return self.body(child, field.schema, path, name)  # type: ignore[attr-defined]
        if isinstance(field, fields.Dict) and is_labelled(field):
            return self._labelled(field, name, child, path)
        return self._attribute(field, name, child, path)

    def _labelled(
        self, field: fields.Dict, name: str, child: Branch | Leaf, path: ValuePath
    ) -> dict[str, Any]:
        schema = field.value_field.schema  # type: ignore[union-attr]
        blocks = {
            label: self.body(inner, schema, (*path, label), f'{name} "{label}"')
            for label, inner in self.labelled(child, path, f'{name} "NAME"')
        }
        return {label: values for label, values in blocks.items() if values is not None}

    def body(
        self, child: Branch | Leaf, schema: Schema, path: ValuePath, header: str
    ) -> dict[str, Any] | None:
        """The plain values of what must be a block without further labels; None when it is not."""
        if isinstance(child, Leaf):
            self.add(child.place, f"{dotted(path)} is a block: write {header} {{ ... }}")
        elif child.labels and not child.open:
            self.add(child.place, f"{dotted(path)} takes no such label: write {header} {{ ... }}")
        else:
            return self.block(child, schema, path)
        return None

    def _attribute(self, field: Field, name: str, child: Branch | Leaf, path: ValuePath) -> Any:
        if isinstance(child, Branch):
            if not child.open:
                text = f"{dotted(path)} is no block: write {name} = {example(field) or '...'}"
                self.add(child.place, text)
                return None
            return plain(child)
        for part, place in child.parts.items():
            self._places[(*path, *part)] = place
        return resolved(child.value, child.place.folder) if is_path(field) else child.value

    def _told(self, path: ValuePath, text: str) -> str:
        words = _WORDS.get(text) or (text[:1].lower() + text[1:]).rstrip(".")
        shown = example(self._fields[path]) if path in self._fields else ""
        if shown and words == "is missing":
            words = f"is missing; write {path[-1]} = {shown}"
        elif shown and words.startswith("must be") and not _EXPLICIT.search(words):
            words = f"{words}, such as {shown}"
        return f"{dotted(path)} {words}".lstrip()


def known_fields(schema: Schema) -> dict[str, Field]:
    """The fields that can be loaded, by the name they have in configuration."""
    return {field.data_key or name: field for name, field in schema.load_fields.items()}


def is_block(field: Field) -> bool:
    return isinstance(field, fields.Nested) and not field.many


def is_labelled(field: Field) -> bool:
    value = getattr(field, "value_field", None)
    return isinstance(field, fields.Dict) and value is not None and is_block(value)


def is_path(field: Field) -> bool:
    return bool(field.metadata.get("path"))


def resolved(value: Any, folder: Path) -> Any:
    """A path, a glob, or a list of them, made absolute; URLs, ``unix://`` too, stay as they are."""
    if isinstance(value, list):
        return [resolved(item, folder) for item in value]
    if isinstance(value, str) and value and "://" not in value:
        return str(folder / value)
    return value


def example(field: Field) -> str:
    """The example that the field names, or its default, as HCL; "" when there is neither."""
    value = field.metadata.get("example", field.load_default)
    return "" if value == () else as_hcl(field, value)


def as_hcl(field: Field, value: Any) -> str:
    """A field's value as it would be written in HCL; "" when there is nothing to write."""
    if isinstance(field, Duration) and isinstance(value, int | float):
        text = format_duration(round(value * SECOND))
        return f'"{re.sub("(?<=[a-z])0[a-z]", "", text)}"'  # 24h rather than Go's 24h0m0s
    if isinstance(value, str | int | float | list | tuple):
        return json.dumps(value, ensure_ascii=False)
    return ""


def suggestion(name: str, known: Iterable[str]) -> str:
    """What to try in place of a name that nothing knows."""
    names = sorted(known)
    if close := get_close_matches(name, names, 1):
        return f'did you mean "{close[0]}"?'
    return f"there are: {', '.join(names)}" if names else "there are none"


def dotted(path: ValuePath) -> str:
    """A path as people write it: ``server.heartbeat_ttl``, ``client.servers[1]``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _flat(
    messages: Any, path: ValuePath, known: Mapping[ValuePath, Field], *, entered: bool = False
) -> Iterator[tuple[ValuePath, str]]:
    """Every message of a ValidationError with its path.

    Below a dict's key marshmallow says whether it means the ``key`` or the ``value``, which is no
    step of the path (past it, it is ``entered``); nor is ``_schema``, which means a whole block.
    """
    if isinstance(messages, Mapping):
        marked = not entered and isinstance(known.get(path[:-1]), fields.Mapping)
        for name, inner in messages.items():
            is_step = not marked and name != "_schema"
            yield from _flat(inner, (*path, name) if is_step else path, known, entered=marked)
    else:
        for text in messages if isinstance(messages, list) else [messages]:
            yield path, str(text)
