"""The one flow of every request: who asks, what may be asked, the wait, the look, the reply."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from plugind import filtering, logs
from plugind.acl import Decision
from plugind.api import rows
from plugind.api.endpoints import Asked, Call, Endpoint, Parts, Source, no_token
from plugind.api.query import Query, read_query
from plugind.api.reply import Reply, error_reply, response_of
from plugind.catalogue import Reading
from plugind.catalogue.rendering import array
from plugind.client import NODE_SECRET_HEADER
from plugind.errors import Forbidden, PlugindError, TooManyParked

_log = logs.get("api")


class Api(Flask):
    """Flask, without the answers that it gives by itself; every endpoint through one flow."""

    def __init__(self, name: str, parts: Parts, table: Sequence[Endpoint]) -> None:
        super().__init__(name, static_folder=None)
        self.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
        self.url_map.merge_slashes = False
        self.before_request(_refuse_slashes)
        self.register_error_handler(PlugindError, _plugind_error)
        self.register_error_handler(HTTPException, _http_error)
        self.register_error_handler(Exception, _bug)
        for endpoint in table:
            name = f"{endpoint.method} {endpoint.path}".replace(".", "_")
            self.add_url_rule(
                endpoint.path, name, _answering(parts, endpoint), methods=[endpoint.method]
            )


def _answering(parts: Parts, endpoint: Endpoint) -> Callable[..., Response]:
    def respond(**path: str) -> Response:
        call = admit(parts, endpoint, path)
        answer = endpoint.view(call, **path)
        if isinstance(answer, Source) and call.query.index:
            _wait(call, answer)
            call = admit(parts, endpoint, path)  # rights may have changed meanwhile
            answer = endpoint.view(call, **path)
        return response_of(_read(call, answer) if isinstance(answer, Source) else answer)

    return respond


def admit(parts: Parts, endpoint: Endpoint, path: Mapping[str, str]) -> Call:
    """The call that the current request may make, by the policies and tokens in force now.

    Raises Forbidden, and BadRequest for a query that cannot be understood.
    """
    acl = parts.acl()
    secret = "" if endpoint.need is no_token else _secret()
    caller = acl.caller(secret, time.time_ns())
    g.accessor = caller.accessor
    authorizer = acl.authorizer(caller)
    shows_secret = bool(request.headers.get(NODE_SECRET_HEADER))
    asked = Asked(caller, parts.registry.types, path, request.args.to_dict(), shows_secret)
    decision = endpoint.need(authorizer, asked)
    g.decision, g.rule = decision.effect, _where(decision)
    if not decision.allowed:
        raise Forbidden("Permission denied")
    query = read_query(asked.query if endpoint.reads else {}, parts.settings.region)
    return Call(parts, acl, authorizer, asked, query, secret)


def _where(decision: Decision) -> str:
    """The file and line of the rule that decided; "" where none did."""
    if decision.rule is None:
        return ""
    return f"{decision.rule.place.source}:{decision.rule.place.line}"


def _secret() -> str:
    """The token of the current request, in Nomad's header or else as a bearer's (RFC 6750)."""
    if token := request.headers.get("X-Nomad-Token", "").strip():
        return token
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _wait(call: Call, source: Source) -> None:
    """Waits until what is read is newer than its reader; a bad filter is told before."""
    query = call.query
    _filter(query, source)
    call.parts.catalogue.wait(source.resource, query.index, query.timeout, _is_gone())


def _read(call: Call, source: Source) -> Reply:
    query = call.query
    matches = _filter(query, source)
    reading = source.look()
    if reading.body is None:
        return error_reply(source.missing, 404, reading.index)
    body, headers = _selected(reading, source, query, matches)
    if source.personal:
        return Reply(body, index=reading.index, headers={**headers, "Cache-Control": "no-store"})
    version = _version(call, reading.index)
    return Reply(body, index=reading.index, headers=headers, version=version)


def _filter(query: Query, source: Source) -> filtering.Filter | None:
    if source.fields is None or not query.filter:
        return None
    return filtering.compile(query.filter, source.fields)


def _selected(
    reading: Reading, source: Source, query: Query, matches: rows.Filter | None
) -> tuple[bytes, Mapping[str, str]]:
    assert reading.body is not None
    if source.fields is None or not rows.selects(query):
        return reading.body, {}
    kept, next_token = rows.select(reading.rows, query, matches)
    return array(row for _, row in kept), {"X-Nomad-NextToken": next_token} if next_token else {}


def _version(call: Call, index: int) -> str:
    """What an answer is made of: the store and those who render it, the rights, the index, and what
    the query takes of it."""
    parts = [call.parts.catalogue.generation, call.acl.generation, str(index)]
    return "-".join([*parts, *rows.shape(call.query)])


def _is_gone() -> Callable[[], bool]:
    """Tells whether the client of this request went away, where the server can tell."""
    gone: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
    return gone


def _refuse_slashes() -> None:
    """``//v1/plugins`` is no path, but servers and werkzeug take slashes from its start."""
    if request.environ.get("REQUEST_URI", "").startswith("//"):
        raise NotFound


def _plugind_error(error: PlugindError) -> Response:
    if isinstance(error, Forbidden) and g.get("decision") == "allow":
        g.decision, g.rule = "none", ""  # the view found more to ask for: the body, or a secret
    headers = {"Retry-After": "1"} if isinstance(error, TooManyParked) else {}
    return response_of(error_reply(str(error), error.status, headers=headers))


def _http_error(error: HTTPException) -> Response:
    """The few errors that Flask finds before a view is called."""
    if isinstance(error, MethodNotAllowed):
        allow = {"Allow": ", ".join(sorted(error.valid_methods or ()))}
        return response_of(error_reply("Invalid method", 405, headers=allow))
    if isinstance(error, NotFound):
        return response_of(Reply(b"", 404, content_type=""))  # as Nomad for a path that it has not
    return response_of(error_reply(error.name, error.code or 500))


def _bug(error: Exception) -> Response:
    _log.error("a request failed by a fault of plugind's own", exc_info=error)
    return response_of(error_reply("internal error; the server's log says more", 500))
