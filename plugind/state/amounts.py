"""How much of the limits on stored data a node or an instance uses."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any, NamedTuple

import orjson

from plugind.model import Instance, Node

SIZE_MINIMUM = 2_048
"""Bytes that each node and each instance counts as at least: one with short texts takes about this
much memory, including everything that is rendered from it. So an instance of common size can change
its description, for example to the reason of a failure, even when nothing more may be stored."""

VALUE_SIZE = 64
"""Additional bytes that each value beyond the first VALUES_FREE counts as: it takes this much
memory, however short its text is."""

VALUES_FREE = 64
WIDEST = 4
"""Bytes of each character of a text that is not all ASCII: Python stores all characters of a text
in the same width. It keeps the text in UTF-8 in addition."""


class Amount(NamedTuple):
    """Nodes, instances and bytes."""

    nodes: int = 0
    instances: int = 0
    size: int = 0

    @property
    def is_more(self) -> bool:
        """Return whether any part of it is greater than zero."""
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
    """Return the amount of a node without its instances."""
    if node is None:
        return NOTHING
    texts = (node.name, node.datacenter, node.version, node.address)
    return Amount(nodes=1, size=_size([texts, node.attributes, node.meta]))


def of_instance(instance: Instance | None) -> Amount:
    """Return the amount of an instance."""
    return NOTHING if instance is None else Amount(instances=1, size=size_of(instance))


def size_of(instance: Instance | None) -> int:
    """Return the bytes of an instance: its details, its description and its process."""
    if instance is None:
        return 0
    return _size([orjson.Fragment(instance.details_json), instance.description, instance.process])


def _size(value: Any) -> int:
    """Return how many bytes a value counts as: the bytes of its JSON, and more if it has many
    values or characters that are not ASCII, which take more memory."""
    text = orjson.dumps(value)
    length = len(text) + (0 if text.isascii() else WIDEST * len(text.decode()))
    values = text.count(b",") + text.count(b'"') // 2
    return max(SIZE_MINIMUM, length + VALUE_SIZE * max(0, values - VALUES_FREE))
