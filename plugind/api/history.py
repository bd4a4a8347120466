"""``/v1/history``, and ``/history`` of a plugin or a node: past transitions.

The store returns the transitions, newest first; this module only selects from them. The history of
a plugin or node that is gone is kept until it is pruned (``history.keep``).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import orjson

from plugind import filtering
from plugind.acl import Authorizer, Decision
from plugind.api.endpoints import Asked, Call, Endpoints, Source, any_of, node_read
from plugind.api.moments import SINCE_UNTIL, moment
from plugind.api.nodes import NOT_FOUND as NO_NODE
from plugind.api.plugins import NOT_FOUND as NO_PLUGIN
from plugind.api.plugins import may_read_plugin
from plugind.api.query import Query
from plugind.api.yielding import in_slices
from plugind.catalogue import Catalogue, Reading
from plugind.catalogue.columns import Row
from plugind.catalogue.rendering import Listing
from plugind.errors import BadRequest
from plugind.model import (
    HISTORY,
    HistoryQuery,
    PluginKey,
    StoredTransition,
    history_of,
    node_of,
)
from plugind.model.changes import HISTORY_LIMIT
from plugind.model.times import INT64_MAX
from plugind.schemas.history import TransitionSchema, wire_row
from plugind.store.paging import Select, newest_first

LOOKED_AT_MAXIMUM = 10_000
"""Most transitions that one request looks at; the next page continues after them."""

_FIELDS = filtering.fields_of(TransitionSchema())

IsSeen = Callable[[StoredTransition], bool]


def all_seen(stored: StoredTransition) -> bool:
    """Return True: a caller that may read a plugin or node sees all of its transitions."""
    return True


@dataclass(frozen=True, slots=True)
class HistoryParts:
    """The parts that the history endpoints need; ``select`` reads the store."""

    catalogue: Catalogue
    select: Select


endpoints = Endpoints(HistoryParts)


def may_read_any(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the capability `TYPE-read-plugin` of any type in the namespace, the `plugin` policy
    `read`, or the `node` policy `read` or `write`."""
    types = (authorizer.may_read(each, asked.namespace) for each in asked.types)
    return any_of([*types, authorizer.may_read_nodes()])


def types_read(call: Call[Any]) -> set[str]:
    """Return the plugin types whose plugins the caller may read."""
    may_read, namespace = call.authorizer.may_read, call.asked.namespace
    return {type_ for type_ in call.asked.types if may_read(type_, namespace).allowed}


def seen_of(types: Collection[str], *, with_nodes: bool) -> IsSeen:
    """Return a function that decides whether a caller sees a transition. The caller may read
    plugins of these ``types`` and, if ``with_nodes``, nodes."""
    seen = {*types, ""} if with_nodes else frozenset(types)
    return lambda one: one.transition.type in seen


@endpoints.read(
    "/v1/history",
    need=may_read_any,
    answer=TransitionSchema(many=True),
    parameters=SINCE_UNTIL,
)
def read_history(call: Call[HistoryParts]) -> Source:
    """Read what happened to all plugins, nodes and declarations, newest first.

    The answer has the transitions of plugins whose type the caller may read and, if the caller may
    read nodes, those of nodes; `Seq` also counts the others. An answer has 1,000 transitions at
    most; X-Nomad-NextToken has the token of the next page. A page may be empty even if there is a
    next one.
    """
    with_nodes = call.authorizer.may_read_nodes().allowed
    is_seen = seen_of(types_read(call), with_nodes=with_nodes)
    return _source(call, HISTORY, HistoryQuery(), "", is_seen)


@endpoints.read(
    "/v1/plugin/<type_>/<id_>/history",
    need=may_read_plugin,
    answer=TransitionSchema(many=True),
    parameters=SINCE_UNTIL,
    errors=(404,),
)
def read_plugin_history(call: Call[HistoryParts], type_: str, id_: str) -> Source:
    """Read what happened to a plugin's instances, newest first.

    An answer has 1,000 transitions at most; X-Nomad-NextToken has the token of the next page.
    """
    catalogue = call.parts.catalogue
    key = catalogue.named(PluginKey(type_, id_))
    resource = history_of(key) if catalogue.has_plugin(key) else key.resource
    return _source(call, resource, HistoryQuery(type=key.type, id=key.id), NO_PLUGIN)


@endpoints.read(
    "/v1/node/<node_id>/history",
    need=node_read,
    answer=TransitionSchema(many=True),
    parameters=SINCE_UNTIL,
    errors=(404,),
)
def read_node_history(call: Call[HistoryParts], node_id: str) -> Source:
    """Read what happened to a node and to the instances on it, newest first.

    An answer has 1,000 transitions at most; X-Nomad-NextToken has the token of the next page.
    """
    return _source(call, node_of(node_id), HistoryQuery(node_id=node_id), NO_NODE)


def _source(
    call: Call[HistoryParts],
    resource: str,
    asked: HistoryQuery,
    missing: str,
    is_seen: IsSeen = all_seen,
) -> Source:
    """Return the source of a read of the transitions that ``asked`` selects and that are seen.
    Raise BadRequest for an invalid query."""
    query, parts = call.query, call.parts
    if query.prefix or query.reverse:
        raise BadRequest("prefix and reverse are not for history: use filter, since and until")
    now = time.time_ns()
    since = moment(call.asked.query, "since", now, 0)
    until = moment(call.asked.query, "until", now, INT64_MAX)
    first = replace(asked, before=_before(query.next_token))

    def look() -> Reading:
        index, exists = parts.catalogue.changed_at(resource)
        page = _page(parts.select, first, query, since, until, is_seen)
        if not exists and not (page.rows or parts.select(replace(asked, limit=1))):
            return Reading(index, None)
        return Reading(index, Listing(page.rows), next_token=page.next_token)

    return Source(resource, look, missing, fields=_FIELDS, personal=True, is_kept=False)


@dataclass(frozen=True, slots=True)
class _Page:
    """Rows, newest first, and the token of the next page if a limit ended the search for rows."""

    rows: list[Row]
    next_token: str = ""


def _page(
    select: Select, first: HistoryQuery, query: Query, since: int, until: int, is_seen: IsSeen
) -> _Page:
    """Return the rows that a query asks for, and one more if there is a next page."""
    matches = filtering.compile(query.filter, _FIELDS) if query.filter else None
    wanted = query.per_page + 1 if query.per_page else HISTORY_LIMIT
    rows: list[Row] = []
    for number, one in enumerate(in_slices(newest_first(select, first))):
        if number == LOOKED_AT_MAXIMUM:
            return _Page(rows, _token(one.seq))
        if one.transition.time < since:
            break
        if one.transition.time >= until or not is_seen(one):
            continue
        values = wire_row(one)
        if matches is None or matches(values):
            rows.append((_token(one.seq), orjson.dumps(values, option=orjson.OPT_SORT_KEYS)))
            if len(rows) == HISTORY_LIMIT:
                return _Page(rows, _token(one.seq - 1))
            if len(rows) == wanted:
                break
    return _Page(rows)


def _token(seq: int) -> str:
    """Return the ``next_token`` of a transition; tokens of newer ones sort first."""
    return f"{INT64_MAX - seq:019d}"


def _before(token: str) -> int | None:
    """Return the ``seq`` that a page's transitions are below, None for any. Raise BadRequest."""
    if not token:
        return None
    if not (re.fullmatch("[0-9]{1,19}", token) and int(token) <= INT64_MAX):
        raise BadRequest("Invalid next_token: take it from X-Nomad-NextToken")
    return min(INT64_MAX - int(token) + 1, INT64_MAX)
