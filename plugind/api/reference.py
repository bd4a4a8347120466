"""Describes the API in Markdown, from the same document that ``/v1/openapi.json`` answers with.

``docs/api.md`` is what ``api_reference`` returns; to regenerate it, run
``python -c "from plugind.api.reference import api_reference as r; print(r(), end='')"``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from plugind.api import TABLE
from plugind.api.openapi import document
from plugind.api.query import QuerySchema
from plugind.schemas.plugins import PluginSchemas
from plugind.types.registry import load_registry

Words = Mapping[str, Any]

_ADDRESS = "http://127.0.0.1:4646"
_OF_READS = {*QuerySchema().fields, "If-None-Match"}

_HEAD = """\
# The HTTP API

`GET /v1/openapi.json` is the same as an OpenAPI document, with the plugin types of the server.

{description}
## Reads

A read may wait for a change, with the header `X-Nomad-Index` of the last answer as `index`. It
takes these parameters; those that choose among rows are ignored for single plugins and nodes.

{reads}
"""


def api_reference() -> str:
    """Return ``docs/api.md``: every endpoint, and the shapes of bodies and answers."""
    types = load_registry().types.items()
    made = document(TABLE, {name: PluginSchemas.of(type_) for name, type_ in types})
    operations = [
        (method, path, operation)
        for path, of_path in made["paths"].items()
        for method, operation in of_path.items()
    ]
    parts = [
        _HEAD.format(
            description=made["info"]["description"], reads=_parameters(_of_reads(operations))
        )
    ]
    parts += [_section(*each, made) for each in operations]
    parts.append(
        "## Shapes\n\nThe shapes of bodies and answers. Further fields may be added later.\n"
    )
    parts += [_shape(*each) for each in made["components"]["schemas"].items()]
    return "\n".join(parts)


def _of_reads(operations: Iterable[tuple[str, str, Words]]) -> list[Words]:
    """Return the parameters that reads share, each once."""
    found = {
        parameter["name"]: parameter
        for _, _, operation in operations
        if _is_read(operation)
        for parameter in operation["parameters"]
        if parameter["name"] in _OF_READS
    }
    return list(found.values())


def _is_read(operation: Words) -> bool:
    return "304" in operation["responses"]


def _section(method: str, path: str, operation: Words, whole: Words) -> str:
    known = _OF_READS if _is_read(operation) else {"pretty"}
    own = [each for each in operation["parameters"] if each["name"] not in known]
    read = ["A [read](#reads)."] if _is_read(operation) else []
    body = operation.get("requestBody")
    sent = [f"It is sent {_kind(_json_schema(body))}."] if body else []
    parts = [
        f"## {method.upper()} {path}",
        operation["summary"],
        operation["description"],
        *read,
        *sent,
        _parameters(own),
        _answers(operation["responses"]),
        f"```sh\n{_curl(method, path, operation, whole)}\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _parameters(parameters: Iterable[Words]) -> str:
    rows = [
        [
            f"`{each['name']}`",
            f"{each['in']}, required" if each["required"] else each["in"],
            _kind(each["schema"]),
            each["description"],
        ]
        for each in parameters
    ]
    return _table(["parameter", "in", "type", "meaning"], rows)


def _answers(responses: Words) -> str:
    rows = []
    for status, response in responses.items():
        schema = _json_schema(response)
        rows.append([status, response["description"], "" if schema is None else _kind(schema)])
    return _table(["status", "meaning", "body"], rows)


def _json_schema(of: Words) -> Any:
    return of.get("content", {}).get("application/json", {}).get("schema")


def _shape(name: str, schema: Words) -> str:
    required = schema.get("required", ())
    rows = [
        [
            f"`{field}`",
            _kind(words) + ("" if field in required else ", optional"),
            "; ".join(_meaning(words)),
        ]
        for field, words in schema["properties"].items()
    ]
    return f"### {name}\n\n{_table(['field', 'type', 'meaning'], rows)}\n"


def _meaning(words: Words) -> Iterator[str]:
    if text := words.get("description"):
        yield text
    if "maxLength" in words:
        yield f"at most {words['maxLength']} characters"
    if words.get("default") is not None:
        yield f"`{json.dumps(words['default'])}` if omitted"


def _kind(words: Words) -> str:
    """Return the type of a value, in words for readers."""
    match words:
        case {"$ref": ref}:
            name = ref.rpartition("/")[2]
            return f"[{name}](#{name.lower()})"
        case {"anyOf": several}:
            return " or ".join(_kind(each) for each in several)
        case {"const": value}:
            return f"always `{json.dumps(value)}`"
        case {"enum": values}:
            return " or ".join(f"`{value}`" for value in values)
        case {"type": "array", **more}:
            return f"list of {_kind(more['items'])}" if "items" in more else "list"
        case {"type": "object", "additionalProperties": Mapping() as inner}:
            return f"map of {_kind(inner)}" if inner else "map"
        case {"type": [*types]}:
            return " or ".join(_kind({**words, "type": each}) for each in types)
        case {"type": str(type_), **more}:
            return _NAMES.get((type_, more.get("format", "")), type_)
    return "anything"


_NAMES = {
    ("string", "date-time"): "time",
    ("string", "uuid"): "UUID",
    ("integer", ""): "whole number",
    ("integer", "int64"): "whole number",
}


def _curl(method: str, path: str, operation: Words, whole: Words) -> str:
    """Return a curl command that calls the endpoint, with examples of its parameters."""
    given: dict[str, dict[str, str]] = {"path": {}, "query": {}, "header": {}}
    for each in operation["parameters"]:
        schema = each["schema"]
        if each["required"] or "enum" in schema:
            given[each["in"]][each["name"]] = _example(schema, whole)
    query = f"?{urlencode(given['query'])}" if given["query"] else ""
    parts = ["curl", *([] if method == "get" else ["-X", method.upper()])]
    if "text/event-stream" in operation["responses"]["200"]["content"]:
        parts.append("-N")  # each event is shown as it comes
    parts += [f"-H '{name}: {value}'" for name, value in given["header"].items()]
    if body := operation.get("requestBody"):
        parts.append(f"-d '{json.dumps(_example(_json_schema(body), whole))}'")
    return " ".join([*parts, f"'{_ADDRESS}{path.format(**given['path'])}{query}'"])


def _example(words: Words, whole: Words) -> Any:
    """Return a small example of a schema's values."""
    match words:
        case {"example": value} | {"enum": [value, *_]}:
            return value
        case {"$ref": ref}:
            return _example(whole["components"]["schemas"][ref.rpartition("/")[2]], whole)
        case {"properties": properties}:
            names = words.get("required", ())
            return {name: _example(properties[name], whole) for name in names}
    return "x"


def _table(header: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines
    )
