"""Finds the endpoint that a request is for, without a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from werkzeug.exceptions import MethodNotAllowed as NoMethod
from werkzeug.exceptions import NotFound as NoPath
from werkzeug.routing import Map, Rule

from plugind.api.endpoints import Endpoint
from plugind.errors import MethodNotAllowed, NotFound


class Paths:
    """The paths of a table of endpoints."""

    def __init__(self, table: Sequence[Endpoint]) -> None:
        self._table = table
        self._map = Map(
            [Rule(each.path, methods=[each.method], endpoint=at) for at, each in enumerate(table)],
            merge_slashes=False,
        )

    def match(self, method: str, path: str) -> tuple[Endpoint, Mapping[str, str]]:
        """Return the endpoint, and the parts of the path by name, as a server finds them.

        Raise NotFound or MethodNotAllowed.
        """
        try:
            if path.startswith("//"):  # werkzeug strips leading slashes
                raise NoPath
            at, parts = self._map.bind("").match(path, method)
        except NoMethod as error:
            there = ", ".join(sorted(error.valid_methods or ()))
            raise MethodNotAllowed(f"{path} has no method {method}; it has: {there}") from error
        except NoPath as error:
            raise NotFound(f"there is no path {path}") from error
        return self._table[at], parts
