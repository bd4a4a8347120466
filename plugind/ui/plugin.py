"""``/ui/plugin/TYPE/ID``: one plugin, the nodes that it runs on, and its health there."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from plugind.api.endpoints import Call
from plugind.api.plugins import NOT_FOUND
from plugind.api.reply import Reply
from plugind.errors import NotFound
from plugind.model import HistoryQuery, PluginKey
from plugind.plugin_type import PluginType
from plugind.ui.availability import availability_table
from plugind.ui.facts import Placed
from plugind.ui.overview import event_table
from plugind.ui.pages import Pages, reply
from plugind.ui.parts import Look, UiParts
from plugind.ui.rows import PAGE, about, part
from plugind.ui.sight import read_plugin
from plugind.ui.tables import Table, csv_asked, when
from plugind.ui.timeline import Event, timeline

endpoints = Pages()

MATRIX_ROWS = 50
"""Most nodes with unhealthy instances that the matrix shows, unless all nodes are asked for."""


@dataclass(frozen=True, slots=True)
class NodeLine:
    """A node in the matrix of a plugin: its instances by role."""

    node_id: str
    name: str
    by_role: dict[str, Placed]

    @property
    def healthy(self) -> bool:
        return all(each.healthy for each in self.by_role.values())


@endpoints.page("/ui/plugin/<type_>/<id_>", need=read_plugin)
def plugin(call: Call[UiParts], type_: str, id_: str) -> Reply:
    """Show one plugin."""
    look, parts = Look.of(call), call.parts
    if type_ not in call.asked.types:
        raise NotFound(NOT_FOUND)
    key = parts.catalogue.named(PluginKey(type_, id_))
    reading = parts.catalogue.plugin(key)
    events = timeline(look, HistoryQuery(type=key.type, id=key.id))
    if reading.body is None:
        if not events.events:
            raise NotFound(NOT_FOUND)
        return gone(look, "plugin", key.id, events.events)
    placed = sorted(look.facts.of_plugin(key), key=_unhealthy_first)
    availability = parts.availability.of_plugin(look.facts.state, key)
    tables = {
        "instances": lambda: instance_table(placed),
        "events": lambda: event_table(events.events),
        "availability": lambda: availability_table(availability),
    }
    if table := csv_asked(look.asked("csv"), tables):
        return table
    body, type_of = _body(orjson.loads(reading.body)), parts.types[type_]
    shown = part(len(placed), look.asked("page"))
    values = {
        "key": key,
        "type": type_of,
        "counts": look.facts.counts(key, type_of),
        "state": look.facts.state_of(key),
        "about": about(type_of, body),
        "versions": Counter(each.version for each in placed if each.version).most_common(),
        "version_detail": type_of.version_detail,
        "missing": look.facts.wrong.missing.get(key, {}),
        **_matrix(look, placed, type_of),
        "unhealthy_count": sum(not each.healthy for each in placed),
        "instances": placed[shown.first :][:PAGE],
        "part": shown,
        "availability": availability,
        "timeline": events,
        "equivalents": _equivalents(call, key),
    }
    return reply(look, "plugin.html", values, is_kept=not reading.is_degraded, has_times=True)


def gone(look: Look, what: str, name: str, events: Sequence[Event]) -> Reply:
    """Return the page of a plugin or node that is gone but still has a history."""
    values = {"name": name, "events": events, "what": what}
    return reply(look, "gone.html", values, status=404)


def _unhealthy_first(each: Placed) -> tuple[bool, str, str, str]:
    return (each.healthy, each.node.name, each.key.node_id, each.key.role)


def _body(document: Any) -> dict[str, Any]:
    """Return a plugin's object from its document, which is a list as in Nomad or the object."""
    found: dict[str, Any] = document[0] if isinstance(document, list) else document
    return found


def _lines(placed: Sequence[Placed]) -> list[NodeLine]:
    """Return a line for each node, those with unhealthy instances first."""
    found: dict[str, NodeLine] = {}
    for each in placed:
        line = found.setdefault(each.key.node_id, NodeLine(each.key.node_id, each.node.name, {}))
        line.by_role[each.key.role] = each
    return list(found.values())


def _matrix(look: Look, placed: Sequence[Placed], type_: PluginType) -> dict[str, Any]:
    """Return the matrix of roles by nodes, with the nodes that have something unhealthy, or all."""
    lines = _lines(placed)
    unhealthy = [each for each in lines if not each.healthy]
    shown = lines if look.asked("nodes") == "all" else unhealthy[:MATRIX_ROWS]
    known = Counter(each.key.role for each in placed)
    healthy = Counter(each.key.role for each in placed if each.healthy)
    return {
        "lines": shown,
        "line_count": len(lines),
        "hidden_unhealthy": max(0, len(unhealthy) - len(shown)),
        "healthy_by_role": {role: (healthy[role], known[role]) for role in type_.roles},
    }


def instance_table(placed: Sequence[Placed]) -> Table:
    """Return instances as a table."""
    columns = ("Type", "ID", "Role", "Node", "NodeID", "Healthy", "Since", "Version", "Process")
    rows = (
        (
            *(each.key.type, each.key.id, each.key.role, each.node.name, each.key.node_id),
            "yes" if each.healthy else "no",
            when(each.shown.updated),
            each.version,
            each.process,
            each.shown.description,
        )
        for each in placed
    )
    return Table((*columns, "Reason"), rows)


def _equivalents(call: Call[UiParts], key: PluginKey) -> dict[str, str]:
    """Return shell commands that show the same plugin through the API and the CLI."""
    path = f"/v1/plugin/{quote(key.type, safe='')}/{quote(key.id, safe='')}"
    name = shlex.quote(f"{key.type}/{key.id}")
    token = '-H "X-Nomad-Token: $NOMAD_TOKEN" ' if call.acl.enabled else ""
    return {
        "API": f'curl -s {token}"${{PLUGIND_ADDR:-http://127.0.0.1:4646}}{path}"',
        "Status": f"plugind plugin status {name}",
        "History": f"plugind plugin history {name}",
    }
