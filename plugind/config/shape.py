"""The validation of a tree of settings against a marshmallow schema.

A nested schema is a block; a dict of nested schemas is a block with a label; everything else is an
attribute. Each mistake is reported at its place, with an example of a correct value if there is
one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError, fields

from plugind.config.branches import Branch, Leaf, folded, plain, repeated
from plugind.config.tree import Place, ValuePath
from plugind.errors import Mistake
from plugind.hints import suggestion
from plugind.model.times import SECOND, format_duration
from plugind.wire.fields import BlocksByRole, Duration

Field = fields.Field[Any]

_MISSING = "Missing data for required field."
# plugind's words for the messages of marshmallow's own fields.
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
    """A validator of the parts of one configuration that records mistakes and the places of
    settings.

    Paths lead from the root: ``("server", "heartbeat_ttl")``, ``("plugin_type", "x", "dirs", 1)``.
    """

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self._places: dict[ValuePath, Place] = {}
        self._fields: dict[ValuePath, Field] = {}

    def add(self, place: Place, text: str) -> None:
        self.mistakes.append(place.mistake(text))

    def place(self, path: ValuePath, default: Place) -> Place:
        """Return the place of a setting, or else of the innermost block around it."""
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
        """Return the plain values of a block; add a mistake for each name that the schema does not
        know.

        ``others`` are further names that may be suggested in place of an unknown one.
        """
        self._places[path] = branch.place
        known = known_fields(schema)
        self._fields |= {(*path, name): field for name, field in known.items()}
        values = {}
        for name, child in branch.children.items():
            if name not in known:
                inside = f" in {dotted(path)}" if path else ""
                hint = suggestion(name, [*known, *others])
                self.add(child.place, f'unknown setting "{name}"{inside}; {hint}')
                continue
            value = self._setting(known[name], name, child, (*path, name))
            if value is not None:  # null resets a setting to its default.
                values[name] = value
        return values

    def labelled(
        self, child: Branch | Leaf, path: ValuePath, header: str
    ) -> Iterator[tuple[str, Branch]]:
        """Yield the blocks below a label, with their labels."""
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
        """Return the object that the schema loads from plain values; None if there are mistakes.

        ``place`` is used for mistakes in blocks that are not written anywhere.
        """
        if values is None:
            return None
        try:
            return schema.load(values)
        except ValidationError as error:
            wrong = {(mistake.source, mistake.line, mistake.column) for mistake in self.mistakes}
            for where, text in _flat(error.messages, path, self._fields):
                there = self.place(where, place)
                # A wrong value was reported already; it is missing here, but not for the user.
                if text != _MISSING or (there.source, there.line, there.column) not in wrong:
                    self.add(there, self._message(where, text))
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
        lists: dict[str, Any] = {}
        if isinstance(field.value_field, BlocksByRole) and isinstance(child, Branch):
            child, lists = self._several(child, schema, name, path)
        blocks = {
            label: self.body(inner, schema, (*path, label), f'{name} "{label}"')
            for label, inner in self.labelled(child, path, f'{name} "NAME"')
        }
        found = {label: values for label, values in blocks.items() if values is not None}
        return {**found, **lists}

    def _several(
        self, child: Branch, schema: Schema, name: str, path: ValuePath
    ) -> tuple[Branch, dict[str, list[Any]]]:
        """Return the branch with the labels that are written once, and the values of the others by
        label.

        The others are written as several blocks with different roles, or in JSON as a list.
        """
        lists: dict[str, list[Any]] = {}
        for label, inner in child.children.items():
            self._places[(*path, label)] = inner.place
            if isinstance(inner, Branch) and inner.twins:
                header = f'{name} "{label}"'
                every = (replace(inner, twins=()), *inner.twins)
                for block in every:
                    if block.role is None:
                        others = " and ".join(
                            f"{one.place.source}:{one.place.line} ({one.role})"
                            for one in every
                            if one is not block
                        )
                        text = f"has no role here, and one each at {others}; set its role"
                        self.add(block.place, f"{header} {text}")
                blocks = [
                    self.body(block, schema, (*path, label, number), header)
                    for number, block in enumerate(every)
                    if block.role is not None
                ]
                lists[label] = [values for values in blocks if values is not None]
            elif isinstance(inner, Leaf) and isinstance(inner.value, list):
                self._places |= {(*path, label, *part): inner.parts[part] for part in inner.parts}
                lists[label] = inner.value
        once = {label: inner for label, inner in child.children.items() if label not in lists}
        return replace(child, children=once), lists

    def body(
        self, child: Branch | Leaf, schema: Schema, path: ValuePath, header: str
    ) -> dict[str, Any] | None:
        """Return the plain values of a block; for a value or a block with more labels, add a
        mistake and return None.
        """
        if isinstance(child, Leaf):
            self.add(child.place, f"{dotted(path)} is a block: write {header} {{ ... }}")
        elif child.labels and not child.open:
            self.add(child.place, f"{dotted(path)} takes no such label: write {header} {{ ... }}")
        else:
            for twin in child.twins:
                if twin.place.source == child.place.source:
                    self.mistakes.append(repeated(header, twin.place, child.place))
            return self.block(folded(child), schema, path)
        return None

    def _attribute(self, field: Field, name: str, child: Branch | Leaf, path: ValuePath) -> Any:
        if isinstance(child, Branch):
            if is_map_block(field):
                if child.labels and not child.open:
                    text = f"{dotted(path)} takes no such label: write {name} {{ ... }}"
                    self.add(child.place, text)
                    return None
                inner = child.children.items()
                self._places |= {(*path, key): each.place for key, each in inner}
            elif not child.open:
                text = f"{dotted(path)} is not a block: write {name} = {example(field) or '...'}"
                self.add(child.place, text)
                return None
            return plain(folded(child))
        for part, place in child.parts.items():
            self._places[(*path, *part)] = place
        return resolved(child.value, child.place.folder) if is_path(field) else child.value

    def _message(self, path: ValuePath, text: str) -> str:
        words = _WORDS.get(text) or (text[:1].lower() + text[1:]).rstrip(".")
        shown = example(self._fields[path]) if path in self._fields else ""
        if shown and words == "is missing":
            words = f"is missing; write {path[-1]} = {shown}"
        elif shown and words.startswith("must be") and not _EXPLICIT.search(words):
            words = f"{words}, such as {shown}"
        return f"{dotted(path)} {words}".lstrip()


def known_fields(schema: Schema) -> dict[str, Field]:
    """Return the fields that can be loaded, by their names in configuration."""
    return {field.data_key or name: field for name, field in schema.load_fields.items()}


def is_block(field: Field) -> bool:
    return isinstance(field, fields.Nested) and not field.many


def is_labelled(field: Field) -> bool:
    value = getattr(field, "value_field", None)
    return isinstance(field, fields.Dict) and value is not None and is_block(value)


def is_map_block(field: Field) -> bool:
    """Return whether a map may also be written as a block: ``meta { rack = "r7" }``."""
    return isinstance(field, fields.Mapping) and bool(field.metadata.get("block"))


def is_path(field: Field) -> bool:
    return bool(field.metadata.get("path"))


def resolved(value: Any, folder: Path) -> Any:
    """Return a path, a glob, or a list of them as absolute paths; URLs, including ``unix://``, are
    not changed.
    """
    if isinstance(value, list):
        return [resolved(item, folder) for item in value]
    if isinstance(value, str) and value and "://" not in value:
        return str(folder / value)
    return value


def example(field: Field) -> str:
    """Return the field's example, or its default, as HCL; "" when there is neither."""
    value = field.metadata.get("example", field.load_default)
    return "" if value == () else as_hcl(field, value)


def as_hcl(field: Field, value: Any) -> str:
    """Return a field's value as a user would write it in HCL; "" when there is nothing to write."""
    if isinstance(field, Duration) and isinstance(value, int | float):
        text = format_duration(round(value * SECOND))
        return f'"{re.sub("(?<=[a-z])0[a-z]", "", text)}"'  # Go writes 24h0m0s for 24h.
    if isinstance(value, str | int | float | list | tuple):
        return json.dumps(value, ensure_ascii=False)
    return ""


def dotted(path: ValuePath) -> str:
    """Return a path as people write it: ``server.heartbeat_ttl``, ``client.servers[1]``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _flat(
    messages: Any, path: ValuePath, known: Mapping[ValuePath, Field], *, entered: bool = False
) -> Iterator[tuple[ValuePath, str]]:
    """Yield every message of a ValidationError with its path.

    Below the key of a dict, marshmallow adds a level that is ``key`` or ``value``. This level is
    not a step of the path; ``entered`` says that ``messages`` are below it. Nor is ``_schema`` a
    step, which stands for a whole block.
    """
    if isinstance(messages, Mapping):
        marked = not entered and isinstance(known.get(path[:-1]), fields.Mapping)
        for name, inner in messages.items():
            is_step = not marked and name != "_schema"
            yield from _flat(inner, (*path, name) if is_step else path, known, entered=marked)
    else:
        for text in messages if isinstance(messages, list) else [messages]:
            yield path, str(text)
