"""Machines with an agent, and when they were last heard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from plugind.model.values import Value

READY = "ready"
DOWN = "down"
NODE_CLASS = "node.class"
"""The attribute that holds a node's class, under the name that Nomad's constraints use."""


class Node(Value, frozen=True):
    """A machine with an agent. ``status`` is READY, or DOWN once its time to live expired.

    ``status_since`` is when the status last changed; ``heard`` is when a node that is DOWN was last
    heard, 0 while it is READY; ``back_since`` when it last went from DOWN to READY, 0 if never;
    ``cloned_since`` when it was noticed that two agents report as this node, 0 while one does.
    ``secret_hash`` is "" when no secret is pinned. ``accessor`` is that of the token that the node
    was last reported with, and that its stored data counts for; "" without ACLs.
    """

    id: str
    name: str
    datacenter: str = "dc1"
    version: str = ""
    address: str = ""
    attributes: Mapping[str, str] = {}
    meta: Mapping[str, str] = {}
    secret_hash: str = ""
    status: str = READY
    status_since: int = 0
    back_since: int = 0
    cloned_since: int = 0
    heard: int = 0
    accessor: str = ""

    @property
    def node_class(self) -> str:
        """Return the class that the agent's configuration gives the node; "" for none."""
        return self.attributes.get(NODE_CLASS, "")


class Beat(NamedTuple):
    """When a node was last answered, the time to live that this answer gave (nanoseconds; 0 if not
    known), and the RunID of its agent ("" if it gave none)."""

    heard: int
    ttl: int = 0
    run: str = ""


class Run(NamedTuple):
    """When a server process was started, and when it is last known to have run. ``id`` is a random
    ID that the process chooses."""

    id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class KeptSecret:
    """The hash of the secret of a node that was removed at ``time``. While this is kept, only the
    agent with that secret can register the node's ID again.

    ``accessor`` is that of the token that the node was last reported with.
    """

    node_id: str
    secret_hash: str
    accessor: str
    time: int
