"""``/ui/``: counts of plugins and nodes, the current problems, and the latest events."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from plugind.api.endpoints import Call, anyone
from plugind.api.history import seen_of
from plugind.api.reply import Reply
from plugind.model import HistoryQuery, PluginKey
from plugind.plugin_type import PluginType
from plugind.state.problems import MISSING, PLUGIN, Problem
from plugind.ui.facts import STATES
from plugind.ui.pages import Pages, amount, reply
from plugind.ui.parts import Look, UiParts
from plugind.ui.tables import Table, csv_asked, when
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
    """Show the current problems that the caller may see."""
    look = Look.of(call)
    found = look.facts.overview(look.sight).problems
    sees_any = look.sight.nodes or look.sight.shows
    events = (
        timeline(look, HistoryQuery(), seen_of(look.sight.shows, with_nodes=look.sight.nodes))
        if sees_any
        else Timeline(())
    )
    tables = {
        "problems": lambda: problem_table(found),
        "events": lambda: event_table(events.events),
    }
    if table := csv_asked(look.asked("csv"), tables):
        return table
    down = len(look.facts.wrong.down) if look.sight.nodes else 0
    values = {
        "id_of": id_of,
        "extent": partial(extent, look),
        "tone": lambda problem: STATES[problem.severity],
        "counts": [_count(look, name) for name in sorted(look.sight.lists)],
        "nodes": NodeCount(len(look.facts.state.nodes) - down, down) if look.sight.nodes else None,
        "timeline": events,
        "states": tuple(STATES.values()),
    }
    return reply(look, "overview.html", values)


def _count(look: Look, name: str) -> TypeCount:
    counted = look.facts.wrong.severities(name)
    by_state = {word: counted[severity] for severity, word in STATES.items()}
    return TypeCount(look.parts.types[name], by_state, counted.total())


def id_of(problem: Problem) -> str:
    """Return an ID of a problem, which stays the same as long as the problem does."""
    what = problem.kind, problem.type, problem.id, problem.roles, problem.reason
    node = () if problem.type else problem.named
    return hashlib.blake2b(repr((what, node)).encode(), digest_size=8).hexdigest()


def extent(look: Look, problem: Problem) -> str:
    """Return the extent of a problem: how many instances it affects."""
    if problem.kind == MISSING:
        return f"{amount(problem.instances, 'instance')} missing"
    if problem.kind == PLUGIN and problem.type in look.sight.shows:
        known = len(look.facts.state.of_plugin(PluginKey(problem.type, problem.id)))
        return f"{problem.instances:,} of {amount(known, 'instance')}"
    return amount(problem.instances, "instance") if problem.instances else ""


def problem_table(found: Sequence[Problem]) -> Table:
    """Return the current problems as a table."""
    columns = ("Kind", "Severity", "Type", "ID", "Roles", "Nodes", "NodeIDs", "NodeCount")
    rows = (
        (
            *(each.kind, each.severity, each.type, each.id, ", ".join(each.roles)),
            ", ".join(name for name, _ in each.named),
            ", ".join(node_id for _, node_id in each.named),
            *(each.nodes, each.instances, when(each.since), each.reason),
        )
        for each in found
    )
    return Table((*columns, "InstanceCount", "Since", "Reason"), rows)


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
