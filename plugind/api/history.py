"""``/v1/plugin/TYPE/ID/history`` and ``/v1/node/NODE_ID/history``: what happened before.

The store has the transitions, newest first; here they are only selected. A plugin or node that is
gone keeps its history until that is pruned (``history.keep``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import orjson

from plugind import filtering
from plugind.api.endpoints import Call, Endpoints, Given, Source, node_read
from plugind.api.nodes import NOT_FOUND as NO_NODE
from plugind.api.plugins import NOT_FOUND as NO_PLUGIN
from plugind.api.plugins import may_read_plugin
from plugind.api.query import Query
from plugind.api.shapes import TEXT
from plugind.api.yielding import in_slices
from plugind.catalogue import Catalogue, Reading
from plugind.catalogue.rendering import Listing, Row
from plugind.errors import BadRequest
from plugind.model import HistoryQuery, PluginKey, StoredTransition, node_of
from plugind.model.changes import HISTORY_LIMIT
from plugind.model.times import INT64_MAX, parse_duration, parse_time
from plugind.schemas.history import TransitionSchema, wire_row

LOOKED_AT_MAXIMUM = 10_000
"""Transitions that one request looks at; the next page goes on behind them."""

_FIELDS = filtering.fields_of(TransitionSchema())
_TIME = {**TEXT, "example": "24h"}
_PARAMETERS = {
    "since": Given("only transitions from this time on (RFC 3339), or for so long, as 24h", _TIME),
    "until": Given("only transitions before this time, or before so long ago", _TIME),
}

Select = Callable[[HistoryQuery], Sequence[StoredTransition]]


@dataclass(frozen=True, slots=True)
class HistoryParts:
    """The parts that the endpoints of history need; ``select`` reads the store."""

    catalogue: Catalogue
    select: Select


endpoints = Endpoints(HistoryParts)


@endpoints.read(
    "/v1/plugin/<type_>/<id_>/history",
    need=may_read_plugin,
    answer=TransitionSchema(many=True),
    parameters=_PARAMETERS,
    errors=(404,),
)
def read_plugin_history(call: Call[HistoryParts], type_: str, id_: str) -> Source:
    """Read what happened to a plugin's instances, newest first.

    An answer has 1,000 transitions at most; X-Nomad-NextToken has the token of the next page.
    """
    key = call.parts.catalogue.named(PluginKey(type_, id_))
    return _source(call, key.resource, HistoryQuery(type=key.type, id=key.id), NO_PLUGIN)


@endpoints.read(
    "/v1/node/<node_id>/history",
    need=node_read,
    answer=TransitionSchema(many=True),
    parameters=_PARAMETERS,
    errors=(404,),
)
def read_node_history(call: Call[HistoryParts], node_id: str) -> Source:
    """Read what happened to a node and to the instances on it, newest first.

    An answer has 1,000 transitions at most; X-Nomad-NextToken has the token of the next page.
    """
    return _source(call, node_of(node_id), HistoryQuery(node_id=node_id), NO_NODE)


def _source(call: Call[HistoryParts], resource: str, asked: HistoryQuery, missing: str) -> Source:
    """Return a read of the transitions that ``asked`` selects. Raise BadRequest."""
    query, parts = call.query, call.parts
    if query.prefix or query.reverse:
        raise BadRequest("prefix and reverse are not for history: use filter, since and until")
    now = time.time_ns()
    since = _moment(call.asked.query.get("since", ""), "since", now, 0)
    until = _moment(call.asked.query.get("until", ""), "until", now, INT64_MAX)
    first = replace(asked, before=_before(query.next_token))

    def look() -> Reading:
        index, exists = parts.catalogue.changed_at(resource)
        page = _page(parts.select, first, query, since, until)
        if not exists and not (page.rows or parts.select(replace(asked, limit=1))):
            return Reading(index, None)
        return Reading(index, Listing(page.rows), next_token=page.next_token)

    return Source(resource, look, missing, fields=_FIELDS, personal=True, is_kept=False)


@dataclass(frozen=True, slots=True)
class _Page:
    """Rows, newest first, and the token of what comes behind those that were looked at."""

    rows: list[Row]
    next_token: str = ""


def _page(select: Select, first: HistoryQuery, query: Query, since: int, until: int) -> _Page:
    """Return the rows that a query asks for, and one more where there is a page behind them."""
    matches = filtering.compile(query.filter, _FIELDS) if query.filter else None
    wanted = query.per_page + 1 if query.per_page else HISTORY_LIMIT
    rows: list[Row] = []
    for number, one in enumerate(in_slices(_newest_first(select, first))):
        if number == LOOKED_AT_MAXIMUM:
            return _Page(rows, _token(one.seq))
        if one.transition.time < since:
            break
        if one.transition.time >= until:
            continue
        values = wire_row(one)
        if matches is None or matches(values):
            rows.append((_token(one.seq), orjson.dumps(values, option=orjson.OPT_SORT_KEYS)))
            if len(rows) == HISTORY_LIMIT:
                return _Page(rows, _token(one.seq - 1))
            if len(rows) == wanted:
                break
    return _Page(rows)


def _newest_first(select: Select, query: HistoryQuery) -> Iterator[StoredTransition]:
    """Yield all that a query selects, read from the store in batches."""
    query = replace(query, limit=HISTORY_LIMIT)
    while found := select(query):
        yield from found
        if len(found) < query.limit:
            return
        query = replace(query, before=found[-1].seq)


def _token(seq: int) -> str:
    """Return what names a transition in ``next_token``; the newest come first in its order."""
    return f"{INT64_MAX - seq:019d}"


def _before(token: str) -> int | None:
    """Return the ``seq`` behind the transition that a page begins with. Raise BadRequest."""
    if not token:
        return None
    if not (token.isascii() and token.isdigit() and int(token) <= INT64_MAX):
        raise BadRequest("Invalid next_token: take it from X-Nomad-NextToken")
    return INT64_MAX - int(token) + 1


def _moment(text: str, name: str, now: int, default: int) -> int:
    """Return the time that a parameter gives, in nanoseconds. Raise BadRequest."""
    if not text:
        return default
    for parse in (parse_time, lambda text: now - parse_duration(text)):
        try:
            return parse(text)
        except ValueError:
            continue
    raise BadRequest(f"Invalid {name}: it is a time, as 2026-01-31T23:00:00Z, or a span, as 24h")
