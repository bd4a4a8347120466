"""``/v1/search``: the IDs of plugins and nodes that begin with a prefix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from plugind.acl import Authorizer, Decision
from plugind.api.body import read_document
from plugind.api.endpoints import Asked, Call, Endpoints, any_of, may_list_any, node_read
from plugind.api.nomad_shapes import FoundSchema, SearchSchema
from plugind.api.reply import Reply, json_reply
from plugind.errors import Forbidden
from plugind.node_schemas import load

LIMIT = 20
"""Matches of a context that are told."""

ALL, PLUGINS, NODES = "all", "plugins", "nodes"
FOREIGN = ("allocs", "deployment", "evals", "jobs", "volumes")
"""Nomad's contexts in which plugind has nothing to find."""

_NEEDS = {PLUGINS: may_list_any, NODES: node_read}
_ASKED = SearchSchema()
_FOUND = FoundSchema()
_TAKES: Mapping[str, Any] = {
    "answer": _FOUND,
    "body": _ASKED,
    "parameters": {"namespace": "the namespace whose capabilities count; * for any"},
    "errors": (400, 413),
    "decided_later": "the right to list what is in the Context that the body names",
}

endpoints = Endpoints()


def _may_search(authorizer: Authorizer, asked: Asked) -> Decision:
    """The right to list what is in the context: plugins or nodes, or for `all` any of them."""
    return any_of(need(authorizer, asked) for need in _NEEDS.values())


@endpoints("PUT", "/v1/search", need=_may_search, **_TAKES)
@endpoints("POST", "/v1/search", need=_may_search, **_TAKES)
def search(call: Call) -> Reply:
    """Find plugins and nodes by how their IDs begin, in the Context plugins, nodes or all."""
    asked = load(_ASKED, read_document())
    index = call.parts.catalogue.index
    found = {
        context: _first(_ids(call, context), asked["Prefix"])
        for context in _contexts(call, asked["Context"])
    }
    answer = {
        "Index": index,
        "Matches": {context: ids and ids[:LIMIT] for context, ids in found.items()},
        "Truncations": {context: len(ids or ()) > LIMIT for context, ids in found.items()},
    }
    return json_reply(_FOUND.dump(answer), index)


def _contexts(call: Call, context: str) -> list[str]:
    """The contexts to look in. Raises Forbidden for one that the caller may not list."""
    allowed = [name for name, need in _NEEDS.items() if need(call.authorizer, call.asked).allowed]
    if context == ALL:
        return [*FOREIGN, *allowed]
    if context in _NEEDS and context not in allowed:
        raise Forbidden("Permission denied")
    return [context] if context in (*FOREIGN, *allowed) else []


def _ids(call: Call, context: str) -> Iterable[str] | None:
    """What there is in a context, in order; None where there can be nothing."""
    catalogue = call.parts.catalogue
    if context == NODES:
        return [id_ for id_, _ in catalogue.nodes().rows]
    if context != PLUGINS:
        return None
    types = [
        name
        for name in call.parts.registry.types
        if call.authorizer.may_list(name, call.asked.namespace).allowed
    ]
    return sorted({id_ for name in types for id_, _ in catalogue.plugins(name).rows})


def _first(ids: Iterable[str] | None, prefix: str) -> list[str] | None:
    """Those that begin so, one more than are told at most."""
    if ids is None:
        return None
    return list(islice((id_ for id_ in ids if id_.startswith(prefix)), LIMIT + 1))
