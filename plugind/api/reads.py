"""The one flow of every read that may block: query, wait for the index, look, reply."""

from __future__ import annotations

from collections.abc import Callable

from flask import request

from plugind.api.query import Query
from plugind.api.reply import Reply, error_reply
from plugind.catalogue import Catalogue, Reading


def read(
    catalogue: Catalogue, query: Query, resource: str, look: Callable[[], Reading], missing: str
) -> Reply:
    """The answer to a read of a resource; ``missing`` is the text for one that does not exist."""
    if query.index:
        catalogue.wait(resource, query.index, query.timeout, _is_gone())
    reading = look()
    if reading.body is None:
        return error_reply(missing, 404, reading.index)
    return Reply(reading.body, index=reading.index)


def _is_gone() -> Callable[[], bool]:
    """Tells whether the client of this request went away, where the server can tell."""
    gone: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
    return gone
