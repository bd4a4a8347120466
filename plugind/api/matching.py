"""Finds the endpoint that a request is for, without a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from werkzeug.exceptions import MethodNotAllowed as NoMethod
from werkzeug.exceptions import NotFound as NoPath
from werkzeug.routing import Map, Rule

from plugind.api.endpoints import Endpoint
from plugind.errors import MethodNotAllowed, NotFound


def match(table: Sequence[Endpoint], method: str, path: str) -> tuple[Endpoint, Mapping[str, str]]:
    """The endpoint of a table, and the parts of the path by name, as a server finds them.

    Raises NotFound and MethodNotAllowed.
    """
    rules = [
        Rule(each.path, methods=[each.method], endpoint=number) for number, each in enumerate(table)
    ]
    adapter = Map(rules, merge_slashes=False).bind("")
    try:
        if path.startswith("//"):  # werkzeug takes slashes from its start
            raise NoPath
        number, parts = adapter.match(path, method)
    except NoMethod as error:
        there = ", ".join(sorted(error.valid_methods or ()))
        raise MethodNotAllowed(f"{path} has no method {method}; it has: {there}") from error
    except NoPath as error:
        raise NotFound(f"there is no path {path}") from error
    return table[number], parts
