"""What views return, and the one place where it becomes an HTTP response, errors included."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from plugind import logs
from plugind.errors import PlugindError, TooManyParked

P = ParamSpec("P")

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"

_log = logs.get("api")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a body of ``content_type``, and the index it is from (None: it has none)."""

    body: bytes
    status: int = 200
    index: int | None = None
    content_type: str = _JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def json_reply(value: Any, index: int | None = None) -> Reply:
    """An answer of a value, with sorted keys and no spaces."""
    return Reply(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), index=index)


def error_reply(
    text: str, status: int, index: int | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """An error: one line of text."""
    return Reply(" ".join(text.split()).encode(), status, index, _TEXT, headers or {})


def replies(view: Callable[P, Reply]) -> Callable[P, Response]:
    """Makes a view that returns a Reply one that Flask can call."""

    @wraps(view)
    def respond(*args: P.args, **kwargs: P.kwargs) -> Response:
        return _response(view(*args, **kwargs))

    return respond


def _response(reply: Reply) -> Response:
    response = Response(reply.body, reply.status, {"Vary": "Accept-Encoding"})
    del response.headers["Content-Type"]  # Flask has set one of its own
    if reply.content_type:
        response.headers["Content-Type"] = reply.content_type
    if reply.index is not None:
        response.headers["X-Nomad-Index"] = str(reply.index)
        response.headers["X-Nomad-KnownLeader"] = "true"
        response.headers["X-Nomad-LastContact"] = "0"
    response.headers.extend(reply.headers)
    return response


class Api(Flask):
    """Flask, without the answers that it gives by itself."""

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
        self.url_map.merge_slashes = False
        self.before_request(_refuse_slashes)
        self.register_error_handler(PlugindError, _plugind_error)
        self.register_error_handler(HTTPException, _http_error)
        self.register_error_handler(Exception, _bug)


def _refuse_slashes() -> None:
    """``//v1/plugins`` is no path, but servers and werkzeug take slashes from its start."""
    if request.environ.get("REQUEST_URI", "").startswith("//"):
        raise NotFound


@replies
def _plugind_error(error: PlugindError) -> Reply:
    headers = {"Retry-After": "1"} if isinstance(error, TooManyParked) else {}
    return error_reply(str(error), error.status, headers=headers)


@replies
def _http_error(error: HTTPException) -> Reply:
    """The few errors that Flask finds before a view is called."""
    if isinstance(error, MethodNotAllowed):
        allow = {"Allow": ", ".join(sorted(error.valid_methods or ()))}
        return error_reply("Invalid method", 405, headers=allow)
    if isinstance(error, NotFound):
        return Reply(b"", 404, content_type="")  # as Nomad answers for a path that it has not
    return error_reply(error.name, error.code or 500)


@replies
def _bug(error: Exception) -> Reply:
    _log.error("a request failed by a fault of plugind's own", exc_info=error)
    return error_reply("internal error; the server's log says more", 500)
