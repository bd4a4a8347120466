"""``/ui/``: how many of what are healthy, what is wrong now, and what happened last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from plugind.api.endpoints import Call, anyone
from plugind.api.reply import Reply
from plugind.model import DOWN, HistoryQuery, PluginKey
from plugind.plugin_type import PluginType
from plugind.state.problems import Problem
from plugind.ui.facts import STATES, state_of
from plugind.ui.pages import Pages, reply
from plugind.ui.parts import Look, UiParts
from plugind.ui.problems import problems
from plugind.ui.tables import Table, csv_reply, when
from plugind.ui.timeline import Event, Timeline, timeline

endpoints = Pages()


@dataclass(frozen=True, slots=True)
class TypeCount:
    """How many plugins of a type are in each state."""

    type: PluginType
    by_state: dict[str, int]
    total: int


@dataclass(frozen=True, slots=True)
class NodeCount:
    """How many nodes are up, and down."""

    up: int
    down: int


@endpoints.page("/ui/", need=anyone)
def overview(call: Call[UiParts]) -> Reply:
    """Show what is wrong now, of all that the caller may see."""
    look = Look.of(call)
    found = problems(look.facts, look.sight)
    sees_any = look.sight.nodes or look.sight.shows
    events = (
        timeline(look, HistoryQuery(), lambda event: may_show(look, event))
        if sees_any
        else Timeline(())
    )
    if name := look.asked("csv"):
        table = problem_table(found) if name == "problems" else event_table(events.events)
        return csv_reply(name if name == "problems" else "events", table)
    values = {
        "problems": found,
        "counts": [_count(look, name) for name in sorted(look.sight.lists)],
        "nodes": _nodes(look) if look.sight.nodes else None,
        "timeline": events,
        "states": STATES,
    }
    return reply(look, "overview.html", values)


def may_show(look: Look, event: Event) -> bool:
    """Return whether the caller may see an event among those of the whole fleet."""
    sight = look.sight
    return sight.nodes if event.plugin is None else event.plugin.type in sight.shows


def _count(look: Look, name: str) -> TypeCount:
    type_, facts = look.parts.types[name], look.facts
    keys = [PluginKey(name, id_) for id_ in facts.state.ids_of(name)]
    counted = Counter(state_of(facts.counts(key)) for key in keys)
    return TypeCount(type_, {each: counted[each] for each in STATES}, len(keys))


def _nodes(look: Look) -> NodeCount:
    nodes = look.facts.state.nodes
    down = sum(node.status == DOWN for node in nodes.values())
    return NodeCount(len(nodes) - down, down)


def problem_table(found: Sequence[Problem]) -> Table:
    """Return what is wrong now as a table."""
    columns = ("Kind", "Severity", "Type", "ID", "Roles", "Nodes", "Instances", "Since", "Reason")
    rows = (
        (
            *(each.kind, each.severity, each.type, each.id, " ".join(each.roles)),
            ", ".join(name for name, _ in each.named),
            *(each.instances, when(each.since), each.reason),
        )
        for each in found
    )
    return Table(columns, rows)


def event_table(events: Sequence[Event]) -> Table:
    """Return events as a table."""
    columns = ("Time", "Since", "Event", "Type", "ID", "Role", "Node", "NodeID", "Details")
    rows = (
        (
            *(when(each.time), when(each.since), each.kind),
            *(each.plugin or ("", "")),
            *(each.role, each.node, each.node_id, each.details),
        )
        for each in events
    )
    return Table(columns, rows)
