"""The rows of ``/v1/plugin-types``: each plugin type, and JSON Schemas of the fields that it adds.

The schemas are self-contained JSON Schema 2020-12, for forms, validation and generated code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Any

from marshmallow import Schema

from plugind import logs
from plugind.api.openapi import COMPONENTS
from plugind.api.shapes import Schemas
from plugind.schemas.plugins import PluginSchemas, node_keys
from plugind.types.registry import Registry

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_COMPONENTS = "#/components/schemas/"

_log = logs.get("api")


def type_rows(registry: Registry, schemas: Schemas) -> list[Mapping[str, Any]]:
    """Return the rows of all types, sorted by name."""
    return [_row(registry, name, schemas[name]) for name in sorted(registry.types)]


def _row(registry: Registry, name: str, schemas: PluginSchemas) -> Mapping[str, Any]:
    type_, origin = registry.types[name], registry.origins[name]
    return {
        "Name": name,
        "Title": type_.title,
        "Roles": dict(type_.roles),
        "NodeKeys": node_keys(type_),
        "Distribution": origin.distribution,
        "Version": origin.version,
        "Schemas": {
            what: _made(name, what, make)
            for what, make in {
                "Row": lambda: json_schema(schemas.row, answered=True),
                "Body": lambda: json_schema(schemas.whole, answered=True),
                "Settings": lambda: json_schema(type_.settings_schema(), answered=False),
            }.items()
        },
    }


def _made(name: str, what: str, make: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return a schema, or one that allows everything if the type's own cannot be described."""
    try:
        return make()
    except Exception:
        _log.warning("a schema cannot be described", type=name, schema=what, exc_info=True)
        return {}


def json_schema(schema: Schema, *, answered: bool) -> Mapping[str, Any]:
    """Return a marshmallow schema as a self-contained JSON Schema.

    ``answered``: it describes answers, which have every field; otherwise request bodies.
    """
    components = resolve_name(COMPONENTS)({}, answered=answered)
    name = components.of(schema)["$ref"].removeprefix(_COMPONENTS)
    definitions = {other: _moved(words, name) for other, words in components.schemas().items()}
    root = definitions.pop(name)
    return {"$schema": _DIALECT, **root, **({"$defs": definitions} if definitions else {})}


def _moved(words: Any, root: str) -> Any:
    """Return ``words`` with references to the schema's own definitions, or to its root."""
    match words:
        case {"$ref": str(target)}:
            name = target.removeprefix(_COMPONENTS)
            return {"$ref": "#" if name == root else f"#/$defs/{name}"}
        case dict():
            return {key: _moved(value, root) for key, value in words.items()}
        case list():
            return [_moved(value, root) for value in words]
    return words
