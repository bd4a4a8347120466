"""``/v1/search`` and ``/v1/search/fuzzy``: search by ID prefix, and by a text in names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from plugind.acl import Authorizer, Decision
from plugind.api.allocations import may_see_allocations, types_seen
from plugind.api.denials import denied
from plugind.api.endpoints import Asked, Call, Endpoints, any_of, may_list_any, node_read
from plugind.api.nomad_shapes import FoundSchema, FuzzyFoundSchema, FuzzySchema, SearchSchema
from plugind.api.reply import Reply, json_reply
from plugind.catalogue import Catalogue
from plugind.schemas.nodes import load

LIMIT = 20
"""Most matches of each context in an answer."""

ALL, PLUGINS, NODES, ALLOCS = "all", "plugins", "nodes", "allocs"
FOREIGN = ("deployment", "evals", "jobs", "volumes")
"""Nomad's contexts in which plugind never finds anything."""

_NEEDS = {PLUGINS: may_list_any, NODES: node_read, ALLOCS: may_see_allocations}
_ASKED = SearchSchema()
_FOUND = FoundSchema()
_FUZZY_ASKED = FuzzySchema()
_FUZZY_FOUND = FuzzyFoundSchema()
_TAKES: Mapping[str, Any] = {
    "parameters": {"namespace": "the namespace whose capabilities count; * for any"},
    "errors": (400, 413),
    "decided_later": "the right to list the Context that the body names",
}


@dataclass(frozen=True, slots=True)
class SearchParts:
    """The parts that searches need."""

    catalogue: Catalogue


endpoints = Endpoints(SearchParts)


def _may_search(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the capability `TYPE-list-plugin` of any type in the namespace, or the `plugin`
    policy `list` or `read`, or to find nodes and allocations the `node` policy `read` or
    `write`."""
    return any_of(need(authorizer, asked) for need in _NEEDS.values())


@endpoints("PUT", "/v1/search", need=_may_search, answer=_FOUND, body=_ASKED, **_TAKES)
@endpoints("POST", "/v1/search", need=_may_search, answer=_FOUND, body=_ASKED, **_TAKES)
def search(call: Call[SearchParts]) -> Reply:
    """Find plugins, nodes and allocations by ID prefix; the Context is plugins, nodes, allocs or
    all."""
    asked = load(_ASKED, call.document())
    call.parts.catalogue.refresh()
    index = call.parts.catalogue.index
    found = {
        context: _ids(call, context, asked["Prefix"])
        for context in _contexts(call, asked["Context"])
    }
    answer = {
        "Index": index,
        "Matches": {context: ids and ids[:LIMIT] for context, ids in found.items()},
        "Truncations": {context: len(ids or ()) > LIMIT for context, ids in found.items()},
    }
    return json_reply(_FOUND.dump(answer), index)


@endpoints(
    "PUT", "/v1/search/fuzzy", need=_may_search, answer=_FUZZY_FOUND, body=_FUZZY_ASKED, **_TAKES
)
@endpoints(
    "POST", "/v1/search/fuzzy", need=_may_search, answer=_FUZZY_FOUND, body=_FUZZY_ASKED, **_TAKES
)
def fuzzy_search(call: Call[SearchParts]) -> Reply:
    """Find plugins whose IDs, and nodes and allocations whose names, contain the Text, in upper or
    lower case.

    The best match comes first: the one that has the text nearest to its beginning. Scope has what
    the name alone does not say: the ID of a node, or the namespace and the ID of an allocation.
    """
    asked = load(_FUZZY_ASKED, call.document())
    call.parts.catalogue.refresh()
    index = call.parts.catalogue.index
    contexts = [each for each in _contexts(call, asked["Context"]) if each not in FOREIGN]
    found = {context: _containing(_named(call, context), asked["text"]) for context in contexts}
    answer = {
        "Index": index,
        "Matches": {context: matches[:LIMIT] for context, matches in found.items()},
        "Truncations": {context: len(matches) > LIMIT for context, matches in found.items()},
    }
    return json_reply(_FUZZY_FOUND.dump(answer), index)


def _contexts(call: Call[SearchParts], context: str) -> list[str]:
    """Return the contexts to look in. Raise Forbidden for one that the caller may not list."""
    allowed = [name for name, need in _NEEDS.items() if need(call.authorizer, call.asked).allowed]
    if context == ALL:
        # As in Nomad, the answer has every context.
        nothing = [name for name in (*FOREIGN, ALLOCS) if name not in allowed]
        return [*nothing, *allowed]
    if context in _NEEDS and context not in allowed:
        raise denied(_NEEDS[context], call.asked)
    return [context] if context in (*FOREIGN, *allowed) else []


def _ids(call: Call[SearchParts], context: str, prefix: str) -> list[str] | None:
    """Return the IDs in a context that begin with a prefix, in order, at most LIMIT + 1; None if
    the context can have none for this caller."""
    catalogue = call.parts.catalogue
    if context == NODES:
        ids = [id_ for id_, _ in catalogue.nodes().rows]
    elif context == ALLOCS and may_see_allocations(call.authorizer, call.asked).allowed:
        rows = catalogue.all_allocations(types_seen(call)).rows
        ids = list(dict.fromkeys(id_ for id_, _ in rows))
    elif context == PLUGINS:
        ids = _plugins(call)
    else:
        return None
    return list(islice((id_ for id_ in ids if id_.startswith(prefix)), LIMIT + 1))


def _plugins(call: Call[SearchParts]) -> list[str]:
    """Return the IDs of the plugins that the caller may list, in order."""
    types = [
        name
        for name in call.asked.types
        if call.authorizer.may_list(name, call.asked.namespace).allowed
    ]
    catalogue = call.parts.catalogue
    return sorted({id_ for name in types for id_ in catalogue.plugin_ids(name)})


def _named(call: Call[SearchParts], context: str) -> Iterable[tuple[str, list[str] | None]]:
    """Return the name and the scope of everything in a context, in no particular order."""
    if context == PLUGINS:
        return [(id_, None) for id_ in _plugins(call)]
    if context == NODES:
        return [(name, [node_id]) for name, node_id in call.parts.catalogue.node_names()]
    if not may_see_allocations(call.authorizer, call.asked).allowed:
        return []
    rows = call.parts.catalogue.all_allocations(types_seen(call)).rows
    stubs = (orjson.loads(row) for _, row in rows)
    return [(stub["Name"], [stub["Namespace"], stub["ID"]]) for stub in stubs]


def _containing(named: Iterable[tuple[str, list[str] | None]], text: str) -> list[dict[str, Any]]:
    """Return the matches: those with the text nearest to their beginning first and, among equals,
    the shorter ones first."""
    wanted = text.lower()
    found = [
        (at, len(name), name, scope or [])
        for name, scope in named
        if (at := name.lower().find(wanted)) >= 0
    ]
    return [{"ID": name, "Scope": scope or None} for _, _, name, scope in sorted(found)]
