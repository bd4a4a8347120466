"""Reads requests from WSGI environments (PEP 3333)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any
from urllib.parse import parse_qsl

from werkzeug.datastructures import EnvironHeaders
from werkzeug.wsgi import get_content_length, get_input_stream

from plugind.api.repeats import key_of
from plugind.api.request import Request
from plugind.client import NODE_SECRET_HEADER
from plugind.wire.addresses import Networks, client_of

CONNECTION = "plugind.connection"
"""The environment's key for the connection of a request, if the server provides it."""

KEY = "plugind.key"
"""The environment's key for the key that a read's answer is kept under, if the server found it."""

WHEN_ANSWERED = "plugind.when_answered"
"""The environment's key for a function that takes a callback, to be called once the answer is
queued for sending."""


_NODE_SECRET = "HTTP_" + NODE_SECRET_HEADER.upper().replace("-", "_")


def request_of(environ: dict[str, Any], trusted: Networks = ()) -> Request:
    """Return the request of an environment; ``trusted`` are the trusted proxies."""
    remote = environ.get("REMOTE_ADDR", "")
    parameters = parameters_of(environ.get("QUERY_STRING", ""))
    return Request(
        method=environ["REQUEST_METHOD"],
        path="/" + decoded(environ.get("PATH_INFO", "")).lstrip("/"),
        query=dict(reversed(parameters)),  # the first value of each
        headers=EnvironHeaders(environ),
        parameters=parameters,
        remote=remote,
        client=client_of(remote, environ.get("HTTP_X_FORWARDED_FOR", ""), trusted),
        content_length=get_content_length(environ) or 0,
        read=lambda size: get_input_stream(environ).read(size),
        connection=environ.get(CONNECTION),
        has_left=environ.get("waitress.client_disconnected", lambda: False),
    )


def key_in(environ: dict[str, Any]) -> Hashable:
    """Return the key that a read's answer is kept under; None if it is no read, or has a body."""
    get = environ.get
    if get("CONTENT_LENGTH", "0") not in ("", "0") or get("HTTP_TRANSFER_ENCODING"):
        return None
    target = ("SCRIPT_NAME", "PATH_INFO", "REQUEST_URI")  # not every server sets all
    return key_of(
        environ["REQUEST_METHOD"],
        repr([get(name, "") for name in target]),
        get("QUERY_STRING", ""),
        get("HTTP_ACCEPT_ENCODING", ""),
        get("HTTP_IF_NONE_MATCH", ""),
        get("HTTP_X_NOMAD_TOKEN", ""),
        get("HTTP_AUTHORIZATION", ""),
        bool(get(_NODE_SECRET)),
    )


def decoded(text: str) -> str:
    """Decode a text of the environment, which has one character for each byte, as UTF-8."""
    return text if text.isascii() else text.encode("latin1").decode(errors="replace")


def parameters_of(query: str) -> list[tuple[str, str]]:
    """Return the parameters of a query in their order; bytes that are not UTF-8 stay quoted."""
    if not query:
        return []
    return parse_qsl(decoded(query), keep_blank_values=True, errors="werkzeug.url_quote")
