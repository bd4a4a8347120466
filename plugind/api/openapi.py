"""``/v1/openapi.json``: the API as an OpenAPI document, made from the code that answers requests.

Its only sources are the table of endpoints and the schemas of query parameters and bodies, so it
always describes the actual API.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

import orjson

from plugind import __version__
from plugind.api.endpoints import Call, Endpoint, Endpoints, Given, no_token
from plugind.api.query import OF_LISTS, QuerySchema
from plugind.api.reply import Reply
from plugind.api.shapes import OPENAPI, TEXT, Schemas, plugin_type
from plugind.api.turns import may_be_costly
from plugind.wire.fields import ID_PATTERN

VERSION = "3.1.0"

COMPONENTS = "plugind.api.components:Components"
"""The class that describes schemas. It is only imported for the first document, because few servers
are asked for one."""

PART = re.compile(r"<(\w+?)(_?)>")
"""A variable part of a path; names that would hide a builtin of Python end in ``_``."""

_INTRODUCTION = """\
A superset of Nomad's Plugins API.

Tokens go into the header `X-Nomad-Token`, or into `Authorization: Bearer`. Without one the policy
`anonymous` counts, if there is one; with ACLs off every caller may do everything.

An error is one line of plain text. A path that does not exist is answered with 404, a method that
a path does not have with 405 and `Allow`; HEAD is answered as GET, without the body. Parameters
that are not listed are ignored.

Lists are in the order of their IDs. The JSON has no spaces unless `pretty` is asked for.
"""

ERRORS = {
    400: "the request cannot be understood; the text names the parameter or field",
    403: "the token is unknown or expired, or it or the node's secret does not allow it",
    404: "there is none of that name",
    409: "the server wants the whole report",
    413: "the body is too large",
    429: "too much at once: queries that wait for a change or for their turn, or reports of one "
    "node; try again later",
    500: "a fault of plugind's own",
    503: "the store cannot take or give data now, or too much waits for it; nothing was changed",
}
"""The description of each status."""

_SECURITY = {
    "token": {"type": "apiKey", "in": "header", "name": "X-Nomad-Token"},
    "bearer": {"type": "http", "scheme": "bearer"},
}
_ANY_CALLER: list[dict[str, list[str]]] = [{"token": []}, {"bearer": []}, {}]

_MILLISECONDS = {"type": "integer", "minimum": 0}
_INDEX = {"type": "integer", "format": "int64", "minimum": 1}
_HEADERS: dict[str, tuple[str, Mapping[str, Any], bool]] = {
    "X-Nomad-Index": ("the index of the last change to the resource", _INDEX, True),
    "X-Nomad-KnownLeader": (
        "whether the server reaches its store",
        {"enum": ["true", "false"]},
        True,
    ),
    "X-Nomad-LastContact": (
        "milliseconds since the server last reached its store",
        _MILLISECONDS,
        True,
    ),
    "X-Nomad-NextToken": ("`next_token` of the next page; none on the last one", TEXT, False),
    "ETag": ("identifies the answer, for If-None-Match", TEXT, False),
    "Cache-Control": (
        "private, no-cache; or no-store, where the answer depends on the caller",
        TEXT,
        False,
    ),
}
_RETRY_AFTER = {"description": "seconds", "schema": {"type": "integer"}}
_OF_READS = ("X-Nomad-Index", "X-Nomad-KnownLeader", "X-Nomad-LastContact")
_TAGS = ("ETag", "Cache-Control")

_READS = {
    name: Given(field.metadata["description"], field.metadata["schema"])
    for name, field in QuerySchema().fields.items()
}
_PRETTY = {"pretty": _READS["pretty"]}  # any answer can be requested in this form
_IF_NONE_MATCH = Given("an ETag: 304 and no body where it is still the same")
_NODE_ID = {**TEXT, "format": "uuid", "example": "2f8d0c5e-6f7b-4e0a-9a53-1f6f4f0c8a11"}
_PLUGIN_ID = {**TEXT, "pattern": f"^{ID_PATTERN.pattern}$", "example": "ebs0"}
_ALLOCATION_ID = {**TEXT, "example": "5dd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac001"}
_ACCESSOR = {**TEXT, "format": "uuid", "example": "3fd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac003"}
_PATH_PARTS = {
    "accessor": Given("the token's accessor ID", _ACCESSOR, required=True),
    "alloc_id": Given("the allocation's ID", _ALLOCATION_ID, required=True),
    "namespace": Given("the name", {**TEXT, "example": "default"}, required=True),
    "node_id": Given("the node's UUID, in lower case", _NODE_ID, required=True),
    "id": Given("the plugin's ID", _PLUGIN_ID, required=True),
    "name": Given("the name", {**TEXT, "example": "reader"}, required=True),
    "type": Given("the plugin type", plugin_type, required=True),
}


@dataclass(frozen=True, slots=True)
class DocumentParts:
    """The part that the endpoint needs: a function that returns the document as JSON."""

    document: Callable[[], bytes]


endpoints = Endpoints(DocumentParts)


@endpoints("GET", "/v1/openapi.json", need=no_token, answer=OPENAPI)
def openapi(call: Call[DocumentParts]) -> Reply:
    """Describe this API, with the plugin types that the server has."""
    return Reply(call.parts.document())


def template_of(path: str) -> str:
    """Return the path of an endpoint as OpenAPI writes it: ``/v1/plugin/{type}/{id}``."""
    return PART.sub(r"{\1}", path)


def rendered(table: Sequence[Endpoint], schemas: Schemas) -> bytes:
    """Return the document as JSON."""
    return orjson.dumps(document(table, schemas), option=orjson.OPT_SORT_KEYS)


def document(table: Sequence[Endpoint], schemas: Schemas) -> dict[str, Any]:
    """Return the document of a table of endpoints, with the plugin types of these schemas."""
    return _Writer(table, schemas).document()


class _Writer:
    """Writes one document."""

    def __init__(self, table: Sequence[Endpoint], schemas: Schemas) -> None:
        self._table = table
        components = resolve_name(COMPONENTS)
        self._answers = components(schemas, answered=True)
        self._bodies = components(schemas, answered=False)
        self._views = Counter(endpoint.view.__name__ for endpoint in table)

    def document(self) -> dict[str, Any]:
        paths: dict[str, dict[str, Any]] = {}
        for endpoint in self._table:
            paths.setdefault(template_of(endpoint.path), {})[endpoint.method.lower()] = (
                self._operation(endpoint)
            )
        return {
            "openapi": VERSION,
            "info": {"title": "plugind", "version": __version__, "description": _INTRODUCTION},
            "paths": paths,
            "components": {
                "schemas": {**self._answers.schemas(), **self._bodies.schemas()},
                "securitySchemes": _SECURITY,
            },
        }

    def _operation(self, endpoint: Endpoint) -> dict[str, Any]:
        shape = self._answers.of(endpoint.answer)
        needs = f"Needs: {endpoint.needed[:1].lower()}{endpoint.needed[1:]}"
        name = endpoint.view.__name__
        made = {
            "operationId": name if self._views[name] == 1 else f"{name}_{endpoint.method.lower()}",
            "tags": [endpoint.view.__module__.rpartition(".")[2]],
            "summary": endpoint.summary,
            "description": "\n\n".join(filter(None, (endpoint.about, needs))),
            "security": [] if endpoint.need is no_token else _ANY_CALLER,
            "parameters": list(self._parameters(endpoint, is_list=_is_list(shape))),
            "responses": _responses(endpoint, shape),
        }
        if endpoint.body is not None:
            content = {"application/json": {"schema": self._bodies.of(endpoint.body)}}
            made["requestBody"] = {"required": True, "content": content}
        return made

    def _parameters(self, endpoint: Endpoint, *, is_list: bool) -> Iterator[dict[str, Any]]:
        for name in (match[1] for match in PART.finditer(endpoint.path)):
            yield self._parameter("path", name, _PATH_PARTS.get(name, Given("", required=True)))
        queries = _PRETTY
        if endpoint.reads:
            used = _READS.keys() - (set() if is_list else OF_LISTS)
            queries = {name: given for name, given in _READS.items() if name in used}
        headers = {"If-None-Match": _IF_NONE_MATCH} if endpoint.reads else {}
        for name, given in {**endpoint.parameters, **queries}.items():
            yield self._parameter("query", name, given)
        for name, given in {**endpoint.headers, **headers}.items():
            yield self._parameter("header", name, given)

    def _parameter(self, place: str, name: str, given: str | Given) -> dict[str, Any]:
        given = Given(given) if isinstance(given, str) else given
        made = {"in": place, "name": name, "schema": self._answers.of(given.shape)}
        return {**made, "description": given.help, "required": given.required}


def _is_list(shape: Any) -> bool:
    """Return whether all possible answers are lists."""
    shapes = shape.get("anyOf", [shape])
    return all(each.get("type") == "array" for each in shapes)


def _responses(endpoint: Endpoint, shape: Any) -> dict[str, Any]:
    """Return every status that the endpoint may answer with."""
    made = {"200": _as_json("the answer", endpoint, shape)}
    for other in endpoint.other_types:
        made["200"]["content"][other.partition(";")[0]] = {"schema": TEXT}
    if endpoint.reads:
        made["304"] = {
            "description": "the answer is the same",
            "headers": _headers(_OF_READS, _TAGS),
        }
    for status in _statuses(endpoint):
        headers = _headers(_OF_READS if endpoint.reads and status == 404 else ())
        if status in (429, 503):
            headers["Retry-After"] = {**_RETRY_AFTER, "required": status == 429}
        made[str(status)] = {
            "description": ERRORS[status],
            "headers": headers,
            "content": {"text/plain": {"schema": TEXT}},
        }
    for status in endpoint.troubles:
        made[str(status)] = _as_json("something is wrong", endpoint, shape)
    return dict(sorted(made.items()))


def _statuses(endpoint: Endpoint) -> list[int]:
    """Return the errors that an endpoint may answer with."""
    found = set(endpoint.errors)
    if endpoint.need is not no_token:
        found.add(403)
    if endpoint.reads:
        found |= {400, 429}
    if may_be_costly(endpoint.method, endpoint.path):
        found.add(429)
    return sorted(found)


def _as_json(help: str, endpoint: Endpoint, shape: Any) -> dict[str, Any]:
    next_token = ("X-Nomad-NextToken",) if _is_list(shape) else ()
    headers = _headers(_OF_READS, next_token, _TAGS) if endpoint.reads else {}
    return {
        "description": help,
        "headers": headers,
        "content": {endpoint.content_type: {"schema": shape}},
    }


def _headers(*groups: Sequence[str]) -> dict[str, Any]:
    made = {}
    for name in (name for group in groups for name in group):
        help, schema, required = _HEADERS[name]
        made[name] = {"description": help, "schema": schema, "required": required}
    return made
