"""``/ui/nodes`` and ``/ui/node/ID``: the machines, and the plugins that run on them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from plugind.api.endpoints import Call, node_read
from plugind.api.nodes import NOT_FOUND
from plugind.api.reply import Reply
from plugind.errors import NotFound
from plugind.model import DOWN, HistoryQuery, Node, node_of
from plugind.ui.availability import availability_table
from plugind.ui.overview import event_table
from plugind.ui.pages import Pages, reply
from plugind.ui.parts import Look, UiParts
from plugind.ui.plugin import gone, instance_table
from plugind.ui.rows import PAGE, part
from plugind.ui.tables import Table, csv_asked, csv_reply, when
from plugind.ui.timeline import timeline

endpoints = Pages()


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node in the list, with the numbers of its instances and its unhealthy instances."""

    node: Node
    instances: int
    unhealthy: int

    @property
    def is_down(self) -> bool:
        return self.node.status == DOWN


@endpoints.page("/ui/nodes", need=node_read)
def node_list(call: Call[UiParts]) -> Reply:
    """Show the nodes: those that are down first, then those with unhealthy instances."""
    look = Look.of(call)
    every = _rows(look)
    rows = [row for row in every if _is_asked_for(look, row)]
    rows.sort(key=lambda row: (not row.is_down, row.unhealthy == 0, row.node.name, row.node.id))
    if look.asked("csv"):
        return csv_reply("nodes", _table(rows))
    shown = part(len(rows), look.asked("page"))
    values = {
        "rows": rows[shown.first :][:PAGE],
        "part": shown,
        "down": sum(row.is_down for row in every),
        "up": sum(not row.is_down for row in every),
        "datacenters": sorted({row.node.datacenter for row in every}),
        "classes": sorted({row.node.node_class for row in every} - {""}),
    }
    return reply(look, "nodes.html", values)


def _rows(look: Look) -> list[NodeRow]:
    state = look.facts.state
    unhealthy: Counter[str] = Counter()
    for placed in look.facts.unhealthy.values():
        unhealthy.update(each.key.node_id for each in placed)
    return [
        NodeRow(node, len(state.on_node(node.id)), unhealthy[node.id])
        for node in state.nodes.values()
    ]


def _is_asked_for(look: Look, row: NodeRow) -> bool:
    node, word = row.node, look.asked("q").casefold()
    return (
        (not word or word in f"{node.name} {node.id} {node.address}".casefold())
        and look.asked("datacenter") in ("", node.datacenter)
        and look.asked("class") in ("", node.node_class)
        and look.asked("state") in ("", "down" if row.is_down else "up")
    )


def _table(rows: list[NodeRow]) -> Table:
    columns = ("Name", "ID", "Status", "Since", "Datacenter", "Class", "Address", "Version")
    cells = (
        (
            *(row.node.name, row.node.id, row.node.status, when(since(row.node))),
            *(row.node.datacenter, row.node.node_class, row.node.address, row.node.version),
            *(row.instances, row.unhealthy),
        )
        for row in rows
    )
    return Table((*columns, "Instances", "Unhealthy"), cells)


def since(node: Node) -> int:
    """Return when a node came up or, if it is down, when it was last heard from."""
    return node.heard if node.status == DOWN else node.status_since


@endpoints.page("/ui/node/<node_id>", need=node_read)
def node(call: Call[UiParts], node_id: str) -> Reply:
    """Show one node with all its instances."""
    look = Look.of(call)
    found = look.facts.state.nodes.get(node_id)
    events = timeline(look, HistoryQuery(node_id=node_id))
    if found is None:
        if not events.events:
            raise NotFound(NOT_FOUND)
        return gone(look, "node", node_id, events.events)
    placed = sorted(look.facts.on_node(node_id), key=lambda each: (each.healthy, each.key))
    availability = look.parts.availability.of_node(look.facts.state, node_id)
    tables = {
        "instances": lambda: instance_table(placed),
        "events": lambda: event_table(events.events),
        "availability": lambda: availability_table(availability),
    }
    if table := csv_asked(look.asked("csv"), tables):
        return table
    values = {
        "node": found,
        "since": since(found),
        "stamp": look.facts.state.stamps[node_of(node_id)],
        "is_down": found.status == DOWN,
        "instances": placed,
        "unhealthy_count": sum(not each.healthy for each in placed),
        "availability": availability,
        "timeline": events,
    }
    return reply(look, "node.html", values, has_times=True)
