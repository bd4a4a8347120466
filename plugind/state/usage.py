"""How much is stored for the nodes of each token, as a value that follows the state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from plugind.model import Instance, InstanceKey, Node
from plugind.state.amounts import NOTHING, Amount, of_node, size_of
from plugind.state.maps import replaced


class NodeUsage(NamedTuple):
    """The amount of a node with its instances, and the accessor of the token it counts for."""

    accessor: str = ""
    amount: Amount = NOTHING


class Usage(msgspec.Struct, frozen=True):
    """The amount of the nodes of each token, by the token's accessor."""

    total: Amount = NOTHING
    by_token: Mapping[str, Amount] = {}
    by_node: Mapping[str, NodeUsage] = {}

    @classmethod
    def of(
        cls, nodes: Iterable[Node], by_node: Mapping[str, Mapping[InstanceKey, Instance]]
    ) -> Usage:
        """Return the usage of nodes and their instances."""
        total, tokens, found = NOTHING, dict[str, Amount](), dict[str, NodeUsage | None]()
        for node in nodes:
            held = by_node.get(node.id, {}).values()
            own = of_node(node)
            amount = Amount(1, len(held), own.size + sum(map(size_of, held)))
            found[node.id] = NodeUsage(node.accessor, amount)
            total = total.plus(amount)
            tokens[node.accessor] = tokens.get(node.accessor, NOTHING).plus(amount)
        return cls(total, replaced({}, tokens), replaced({}, found))

    def of_token(self, accessor: str) -> Amount:
        return self.by_token.get(accessor, NOTHING)

    def of_node(self, node_id: str) -> Amount:
        return self.by_node.get(node_id, NodeUsage()).amount

    def changed(
        self,
        nodes: Iterable[tuple[Node | None, Node | None]],
        instances: Iterable[tuple[Instance | None, Instance | None]],
    ) -> Usage:
        """Return the usage after nodes and instances were replaced, given as pairs of the old and
        the new one."""
        growth: dict[str, Amount] = {}
        accessors: dict[str, str] = {}
        for before, after in nodes:
            if (node := after or before) is not None:
                accessors[node.id] = node.accessor
                growth[node.id] = of_node(after).plus(of_node(before), -1)
        sizes: dict[str, list[int]] = {}
        for old, new in instances:
            if (one := new or old) is not None:
                grown = sizes.setdefault(one.key.node_id, [0, 0])
                grown[0] += (new is not None) - (old is not None)
                grown[1] += size_of(new) - size_of(old)
        for node_id, (number, size) in sizes.items():
            if number or size:
                grown_too = Amount(0, number, size)
                growth[node_id] = growth.get(node_id, NOTHING).plus(grown_too)
        if not growth:
            return self
        total, tokens, by_node = self.total, dict[str, Amount](), dict[str, NodeUsage | None]()
        for node_id, more in growth.items():
            accessor, amount = self.by_node.get(node_id, NodeUsage())
            new_usage = NodeUsage(accessors.get(node_id, accessor), amount.plus(more))
            by_node[node_id] = new_usage if new_usage.amount != NOTHING else None
            total = total.plus(more)
            for name, part, sign in ((accessor, amount, -1), (*new_usage, 1)):
                known = tokens[name] if name in tokens else self.of_token(name)
                tokens[name] = known.plus(part, sign)
        left = {name: each if each != NOTHING else None for name, each in tokens.items()}
        return Usage(total, replaced(self.by_token, left), replaced(self.by_node, by_node))
