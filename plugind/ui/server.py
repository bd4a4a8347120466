"""``/ui/server``: the condition of the server itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from plugind.api.endpoints import Call, agent_read
from plugind.api.reply import Reply
from plugind.intake.rejected import WAS_REJECTED
from plugind.ui.facts import Placed
from plugind.ui.pages import Pages, reply
from plugind.ui.parts import Look, UiParts
from plugind.ui.tables import Table, csv_asked, when

endpoints = Pages()

REJECTED_SHOWN = 100
"""Rejected items that the page shows; the CSV has all of them."""


@dataclass(frozen=True, slots=True)
class PackagedType:
    """A plugin type, and the package that provides it."""

    name: str
    title: str
    package: str


@endpoints.page("/ui/server", need=agent_read)
def server(call: Call[UiParts]) -> Reply:
    """Show the server: its store, waiting changes and queries, agents, and rejected reports."""
    look, parts = Look.of(call), call.parts
    state, health = look.facts.state, parts.condition()
    rejected = _rejected(look)
    tables = {
        "rejected": lambda: _table(rejected),
        "agents": lambda: Table(("Version", "Agents"), _agents(look)),
        "limits": lambda: Table(("Limit", "Reached"), parts.limits_reached().items()),
    }
    if table := csv_asked(look.asked("csv"), tables):
        return table
    waiting, age = parts.intake.waiting
    usage, size = state.usage.total, parts.store_size()
    nodes = state.nodes.values() if look.sight.nodes else ()
    values = {
        "health": health,
        "facts": {
            "Index": f"{state.index:,}",
            "Store": "not known" if size is None else f"{size / 2**20:,.1f} MiB on disk",
            "Stored": f"{usage.instances:,} instances on {usage.nodes:,} nodes, "
            f"{usage.size / 2**20:,.1f} MiB",
            "Changes waiting": f"{waiting:,}, the oldest for {age:.1f} s" if waiting else "none",
            "Queries waiting": f"{parts.parked():,}",
            "Streams open": f"{parts.streams():,}",
            "Answers kept": f"{parts.catalogue.views.bytes / 2**20:,.1f} MiB",
            "History kept": parts.history_kept,
            "Region": parts.region,
        },
        "agents": _agents(look),
        "clones": [(each.name, each.id, each.cloned_since) for each in nodes if each.cloned_since],
        "rejected": rejected[:REJECTED_SHOWN],
        "rejected_count": len(rejected),
        "limits": parts.limits_reached(),
        "broken": parts.broken(),
        "packages": [
            PackagedType(name, parts.types[name].title, package)
            for name, package in sorted(parts.packages.items())
        ],
    }
    return reply(look, "server.html", values, is_kept=False)


def _agents(look: Look) -> list[tuple[str, int]]:
    """Return the number of agents of each version, if the caller may read nodes."""
    nodes = look.facts.state.nodes.values() if look.sight.nodes else ()
    return Counter(node.version or "not known" for node in nodes).most_common()


def _rejected(look: Look) -> list[Placed]:
    """Return the stored instances that the caller may see and whose last report was rejected."""
    return [
        each
        for key, unhealthy in look.facts.unhealthy.items()
        if key.type in look.sight.shows
        for each in unhealthy
        if WAS_REJECTED in each.shown.description
    ]


def _table(rejected: Sequence[Placed]) -> Table:
    rows = (
        (*each.key.plugin, each.key.role, each.node.name, when(each.shown.updated),
         each.shown.description)
        for each in rejected
    )  # fmt: skip
    return Table(("Type", "ID", "Role", "Node", "Since", "Reason"), rows)
