"""Reads requests from WSGI environments (PEP 3333)."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from werkzeug.datastructures import EnvironHeaders
from werkzeug.wsgi import get_content_length, get_input_stream

from plugind.api.request import Request
from plugind.wire.addresses import Networks, client_of

CONNECTION = "plugind.connection"
"""The environment's key for the connection of a request, where the server has one to offer."""

WHEN_ANSWERED = "plugind.when_answered"
"""The key for what takes a function to be called once the answer is queued to be sent."""


def request_of(environ: dict[str, Any], trusted: Networks = ()) -> Request:
    """Return the request of an environment; ``trusted`` are the proxies to be believed."""
    remote = environ.get("REMOTE_ADDR", "")
    parameters = parameters_of(environ.get("QUERY_STRING", ""))
    return Request(
        method=environ["REQUEST_METHOD"],
        path="/" + decoded(environ.get("PATH_INFO", "")).lstrip("/"),
        query=dict(reversed(parameters)),  # of each the first
        headers=EnvironHeaders(environ),
        parameters=parameters,
        remote=remote,
        client=client_of(remote, environ.get("HTTP_X_FORWARDED_FOR", ""), trusted),
        content_length=get_content_length(environ) or 0,
        read=lambda size: get_input_stream(environ).read(size),
        connection=environ.get(CONNECTION),
        has_left=environ.get("waitress.client_disconnected", lambda: False),
    )


def decoded(text: str) -> str:
    """Return a text of the environment, which has a character for each byte, as UTF-8."""
    return text if text.isascii() else text.encode("latin1").decode(errors="replace")


def parameters_of(query: str) -> list[tuple[str, str]]:
    """Return the parameters of a query in their order; bytes that are no UTF-8 stay quoted."""
    if not query:
        return []
    return parse_qsl(decoded(query), keep_blank_values=True, errors="werkzeug.url_quote")
