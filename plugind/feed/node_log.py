"""Logs nodes that go down or are cloned, in the server's log."""

from __future__ import annotations

from collections.abc import Sequence

from plugind import logs
from plugind.model import DOWN, Committed
from plugind.state import State

_log = logs.get("intake")


class NodeLog:
    """A subscriber that logs nodes that go down, and nodes that two agents report."""

    def follow(self, old: State, new: State, batch: Sequence[Committed]) -> None:
        known = dict[str, tuple[str, bool]]()
        for committed in batch:
            for step in committed.change.nodes:
                node = step.some
                was = old.nodes.get(node.id)
                status, is_cloned = known.get(
                    node.id, (was.status, bool(was.cloned_since)) if was else ("", False)
                )
                if step.after is None:
                    known[node.id] = "", False
                    continue
                known[node.id] = node.status, bool(node.cloned_since)
                if node.status == DOWN != status:
                    _log.warning("nothing heard of a node", node=node.name, node_id=node.id)
                elif node.cloned_since and not is_cloned:
                    text = "two agents report as one node; is a data_dir a copy?"
                    _log.error(text, node=node.name, node_id=node.id)

    def missed(self, old: State, new: State) -> None:
        """Log nothing: health has the number of nodes in trouble."""
