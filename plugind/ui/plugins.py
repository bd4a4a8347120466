"""``/ui/plugins/TYPE``: the plugins of a type, selected by the URL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plugind.api.availability import rounded_share
from plugind.api.endpoints import Call
from plugind.api.reply import Reply
from plugind.availability.sums import Sums
from plugind.errors import BadRequest, NotFound
from plugind.ui.availability import day_of
from plugind.ui.pages import Pages, reply
from plugind.ui.parts import Look, UiParts
from plugind.ui.rows import (
    BY_STRIP,
    PAGE,
    PluginRow,
    in_order,
    part,
    plugin_rows,
    states,
    with_strips,
)
from plugind.ui.sight import list_plugins
from plugind.ui.tables import Cell, Table, csv_reply, when

endpoints = Pages()

_SELECTING = ("q", "filter", "datacenter", "class", "version", "state")


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices of the form's fields; empty for those that the caller may not know."""

    datacenters: Sequence[str] = ()
    classes: Sequence[str] = ()
    versions: Sequence[tuple[str, int]] = ()


@endpoints.page("/ui/plugins/<type_>", need=list_plugins)
def plugin_list(call: Call[UiParts], type_: str) -> Reply:
    """Show the plugins of a type."""
    if type_ not in call.asked.types:
        raise NotFound("no such plugin type")
    look, status, mistake = Look.of(call), 200, ""
    sort = look.asked("sort")
    needs_strips = sort.removeprefix("-") == BY_STRIP or look.asked("csv")
    try:
        rows = plugin_rows(look, type_)
        rows = in_order(with_strips(look, rows) if needs_strips else rows, sort)
    except BadRequest as error:
        rows, status, mistake = [], 400, str(error)
    counted = states(rows)
    if (state := look.asked("state")) in counted:
        rows = [row for row in rows if row.state == state]
    if look.asked("csv") and not mistake:
        return csv_reply(f"{type_}-plugins", plugin_table(look.parts.types[type_].roles, rows))
    shown = part(len(rows), look.asked("page"))
    on_page = rows[shown.first :][:PAGE]
    values = {
        "type": look.parts.types[type_],
        "rows": on_page if needs_strips else with_strips(look, on_page),
        "part": shown,
        "states": counted,
        "choices": _choices(look, type_),
        "mistake": mistake,
        "is_selected": any(look.asked(each) for each in _SELECTING),
        "fields": sorted(look.parts.row_fields[type_].by_name),
    }
    is_kept = not look.parts.catalogue.plugins(type_).is_degraded
    return reply(look, "plugins.html", values, status=status, is_kept=is_kept, has_times=True)


def _choices(look: Look, type_: str) -> Choices:
    facts, nodes = look.facts, look.facts.state.nodes.values()
    versions: Counter[str] = Counter()
    if type_ in look.sight.shows:
        for key, counted in facts.versions.items():
            if key.type == type_:
                versions.update(counted)
    if not look.sight.nodes:
        return Choices(versions=versions.most_common())
    return Choices(
        sorted({node.datacenter for node in nodes}),
        sorted({node.node_class for node in nodes} - {""}),
        versions.most_common(),
    )


def plugin_table(roles: Mapping[str, str], rows: Sequence[PluginRow]) -> Table:
    """Return plugins as a table."""
    plurals = [f"{plural}{kind}" for plural in roles.values() for kind in ("Healthy", "Expected")]

    def cells(row: PluginRow) -> list[Cell]:
        counts = [number for each in row.counts for number in (each.healthy, each.expected)]
        versions = ", ".join(f"{version} ({count})" for version, count in row.versions)
        day = day_of(row.strip) if row.strip else Sums()
        shares = rounded_share(day.availability), rounded_share(day.any_share)
        return [row.key.id, row.state, row.about, *counts, versions, when(row.since), *shares]

    columns = ("ID", "State", "About", *plurals, "Versions", "Since")
    return Table((*columns, "Availability24h", "AnyHealthy24h"), map(cells, rows))
