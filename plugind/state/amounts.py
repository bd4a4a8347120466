"""How much of the limits a node and an instance use."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any, NamedTuple

import orjson

from plugind.model import Instance, Node

SIZE_MINIMUM = 2_048
"""Bytes that each node and each instance counts as at least: with all that is rendered of it, one
with short texts takes about as much memory. So one of common size can change its description, for
instance to the reason of a failure, when nothing more may be stored."""

VALUE_SIZE = 64
"""Bytes that each value beyond the first VALUES_FREE counts in addition: in memory a value takes as
much, however short its text is."""

VALUES_FREE = 64
WIDEST = 4
"""Bytes of a character where not all are ASCII: Python stores a text in characters of one width.
Beside them it keeps the text in UTF-8."""


class Amount(NamedTuple):
    """Nodes, instances and bytes."""

    nodes: int = 0
    instances: int = 0
    size: int = 0

    @property
    def is_more(self) -> bool:
        """Return whether any part of it is more than none."""
        return self.nodes > 0 or self.instances > 0 or self.size > 0

    def plus(self, other: Amount, sign: int = 1) -> Amount:
        return Amount(
            self.nodes + sign * other.nodes,
            self.instances + sign * other.instances,
            self.size + sign * other.size,
        )


NOTHING = Amount()


def sum_of(amounts: Iterable[Amount]) -> Amount:
    return reduce(Amount.plus, amounts, NOTHING)


def of_node(node: Node | None) -> Amount:
    """Return what a node amounts to without its instances."""
    if node is None:
        return NOTHING
    texts = (node.name, node.datacenter, node.version, node.address)
    return Amount(nodes=1, size=_size([texts, node.attributes, node.meta]))


def of_instance(instance: Instance | None) -> Amount:
    """Return what an instance amounts to."""
    return NOTHING if instance is None else Amount(instances=1, size=size_of(instance))


def size_of(instance: Instance | None) -> int:
    """Return the bytes of an instance: its details, its description and its process."""
    if instance is None:
        return 0
    return _size([orjson.Fragment(instance.details_json), instance.description, instance.process])


def _size(value: Any) -> int:
    """Return for how many bytes a value counts: those of its JSON, and more for what takes more
    memory than its JSON has bytes."""
    text = orjson.dumps(value)
    length = len(text) + (0 if text.isascii() else WIDEST * len(text.decode()))
    values = text.count(b",") + text.count(b'"') // 2
    return max(SIZE_MINIMUM, length + VALUE_SIZE * max(0, values - VALUES_FREE))
