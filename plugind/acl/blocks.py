"""The blocks that policies and tokens are read from, and the mistakes found in them.

Instead of blocks, Nomad also accepts ``"namespace": {"default": {...}}``, lists of such objects,
and ``node = {...}``. All of these are converted here to blocks with labels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from plugind.config.tree import Attribute, Block, Body, Place, ValuePath, raise_any
from plugind.errors import Mistake
from plugind.hints import suggestion

BLOCK_MAXIMUM = 16 * 1024
MISTAKES_MAXIMUM = 20
SHOWN_MAXIMUM = 64
"""Characters of a name in a message."""
LISTED_MAXIMUM = 12
"""The most names that a message lists to choose from."""


class Diagnostics:
    """The mistakes and warnings found while reading.

    Reading stops after MISTAKES_MAXIMUM mistakes: nobody reads thousands of them, and each
    suggestion takes time.
    """

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self.warnings: list[Mistake] = []

    def add(self, place: Place, text: str) -> None:
        self.mistakes.append(place.mistake(text))
        if len(self.mistakes) >= MISTAKES_MAXIMUM:
            raise_any(self.mistakes)

    def unknown(
        self, place: Place, what: str, name: str, known: Collection[str], inside: str = ""
    ) -> None:
        name = shown(name)
        hint = suggestion(name, known)
        if hint.startswith("use") and len(known) > LISTED_MAXIMUM:
            hint = "docs/acl.md lists all"
        where = f" in {inside}" if inside else ""
        self.add(place, f'unknown {what} "{name}"{where}; {hint}')

    def warn(self, place: Place, text: str) -> None:
        self.warnings.append(place.mistake(text))

    def attributes(
        self, attributes: Collection[Attribute], block: str, known: Collection[str]
    ) -> dict[str, Attribute]:
        """Return the attributes whose names are known in a block, by name; add a mistake for each
        unknown or repeated one.
        """
        found: dict[str, Attribute] = {}
        for attribute in attributes:
            name, place = attribute.name, attribute.place
            if name not in known:
                self.unknown(place, "setting", name, known, block)
            elif name in found:
                line = found[name].place.line
                self.add(place, f"{name} is repeated; it is in line {line} already")
            found.setdefault(name, attribute)
        return found

    def texts(self, attribute: Attribute | None) -> list[tuple[str, Place]]:
        """Return the items of a list of texts, each with its place."""
        if attribute is None:
            return []
        if not isinstance(attribute.value, list):
            self.add(attribute.place, f'{attribute.name} must be a list of texts, ["...", "..."]')
            return []
        items = []
        for number, item in enumerate(attribute.value):
            place = attribute.parts.get((number,), attribute.place)
            if isinstance(item, str):
                items.append((item, place))
            else:
                self.add(place, f"{attribute.name}[{number}] must be text in quotes")
        return items


def parted(body: Body, kinds: Mapping[str, bool]) -> tuple[list[Attribute], list[Block]]:
    """Return the attributes of a body and its blocks.

    ``kinds`` maps each type of block that may be written as an object to whether it has a label.
    """
    attributes: list[Attribute] = []
    blocks = list(body.blocks)
    for attribute in body.attributes:
        objects = _objects(attribute) if attribute.name in kinds else []
        blocks += objects
        if not objects:
            attributes.append(attribute)
    return attributes, [each for block in blocks for each in _labelled(block, kinds)]


def header(block: Block) -> str:
    """Return the beginning of a block as a user writes it: ``namespace "default"``."""
    return " ".join([block.type, *(f'"{shown(label)}"' for label in block.labels)])


def shown(text: str) -> str:
    """Return a text from a file as one short line that is safe to print."""
    return "".join(each if each.isprintable() else "?" for each in text[:SHOWN_MAXIMUM])


def _labelled(block: Block, kinds: Mapping[str, bool]) -> Iterator[Block]:
    """Yield one block for each label of a block that was written as an object; yield other blocks
    unchanged.
    """
    if not (block.open and kinds.get(block.type)):
        yield block
        return
    inner = list(block.body.blocks)
    for attribute in block.body.attributes:
        objects = _objects(attribute)
        inner += objects
        if not objects:  # This is an attribute where a label should be.
            yield Block(block.type, (), Body(attribute.place), attribute.place)
    for each in inner:
        yield Block(block.type, (each.type,), each.body, each.place, open=True)


def _objects(attribute: Attribute) -> list[Block]:
    """Return the objects in an attribute's value as blocks; none when it has anything else."""
    value = attribute.value
    found = (
        {(number,): item for number, item in enumerate(value)}
        if isinstance(value, list)
        else {(): value}
    )
    if not all(isinstance(item, dict) for item in found.values()):
        return []
    return [
        Block(attribute.name, (), _body(item, path, attribute), _place(path, attribute), open=True)
        for path, item in found.items()
    ]


def _body(value: Mapping[str, Any], path: ValuePath, attribute: Attribute) -> Body:
    attributes, blocks = [], []
    for key, item in value.items():
        where = (*path, key)
        place = _place(where, attribute)
        if isinstance(item, dict):
            blocks.append(Block(key, (), _body(item, where, attribute), place, open=True))
        else:
            parts = {below: _place((*where, *below), attribute) for below in _below(item)}
            attributes.append(Attribute(key, item, place, parts))
    return Body(_place(path, attribute), tuple(attributes), tuple(blocks))


def _place(path: ValuePath, attribute: Attribute) -> Place:
    return attribute.parts.get(path, attribute.place)


def _below(value: Any) -> Iterator[ValuePath]:
    """Yield the paths of all parts of a value."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield (key,)
            yield from ((key, *below) for below in _below(item))
