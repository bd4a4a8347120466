"""The API as a WSGI application in Flask: the only module that reads Flask's current request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from plugind.api.direct import Direct
from plugind.api.endpoints import SMALL_BODY, Endpoint
from plugind.api.exchange import Exchange
from plugind.api.flow import Flow
from plugind.api.notes import Notes
from plugind.api.repeats import Repeat, Repeats
from plugind.api.reply import Rendered, Reply, error_reply, rendered, status_line
from plugind.api.request import Server, Stream
from plugind.api.unrouted import NO_PATH, TO_PAGES, no_method, root
from plugind.api.wsgi import KEY, WHEN_ANSWERED, key_in, request_of
from plugind.errors import TooManyParked
from plugind.wire.addresses import Networks

_EXCHANGE = "plugind.exchange"
_REFUSAL = "plugind.refusal"
"""Keys of the WSGI environment: a request's exchange, and the error if it got no turn."""

RefusedHead = tuple[str, list[tuple[str, str]], bytes]
"""An answer in WSGI's form: status line, headers, body."""


class Api(Flask):
    """A Flask application without Flask's automatic answers; every endpoint goes through one flow.

    ``repeats`` has the answers that may be given again; ``server`` parks requests; ``trusted`` are
    the proxies that are trusted to report client addresses.
    """

    def __init__(
        self,
        name: str,
        flow: Flow,
        table: Sequence[Endpoint],
        repeats: Repeats,
        notes: Notes,
        server: Server,
        trusted: Networks = (),
    ) -> None:
        super().__init__(name, static_folder=None)
        self.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
        self.url_map.merge_slashes = False
        self._flow = flow
        self._server = server
        self._trusted = trusted
        self._notes = notes
        self.repeats = repeats
        self._direct = Direct(flow, table, repeats, notes)
        self.before_request(_refuse)
        self.after_request(self._note)
        self.register_error_handler(HTTPException, _http_error)
        self.register_error_handler(Exception, self._failed)
        self.add_url_rule("/", "root", lambda: _response(root(_current().request)), methods=["GET"])
        # Otherwise werkzeug redirects to an absolute URL, with the host that the client names.
        self.add_url_rule("/ui", "ui", lambda: _response(TO_PAGES), methods=["GET"])
        self._endpoints: dict[str, Endpoint] = {}
        for endpoint in table:
            name = f"{endpoint.method} {endpoint.path}".replace(".", "_")
            self._endpoints[name] = endpoint
            self.add_url_rule(endpoint.path, name, self._view(endpoint), methods=[endpoint.method])

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request; a costly one waits for its turn first."""
        began = time.monotonic()
        key = environ.get(KEY) or key_in(environ)
        if (repeat := self.repeats.find(key)) is not None:
            self.repeats.given(repeat, environ.get("REMOTE_ADDR", ""), began)
            return self._again(repeat, start_response)
        exchange = self._exchange(environ)
        exchange.key = None if exchange.request.may_block else key
        try:
            if exchange.request.method == "PUT":
                return self._answer_agent(exchange, environ, start_response)
            try:
                self._server.run(self._flow.begin(exchange), exchange.request.connection)
            except TooManyParked as error:
                environ[_REFUSAL] = error
            return super().wsgi_app(environ, start_response)
        finally:
            if (when_answered := environ.get(WHEN_ANSWERED)) is not None:
                when_answered(exchange.turn.end)  # sending a large answer is work, too
            else:
                exchange.turn.end()

    def _again(self, repeat: Repeat, start_response: StartResponse) -> Iterable[bytes]:
        """Give a kept answer again."""
        headers = [*repeat.form(_headers), *self.repeats.contact_headers().items()]
        start_response(status_line(repeat.status), headers)
        return () if repeat.is_head else (repeat.body,)

    def _answer_agent(
        self, exchange: Exchange, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer a report or a heartbeat without Flask. These are most of a server's requests, and
        Flask takes as long to get from a request to its view as a heartbeat itself takes."""
        steps = self._direct.answer(exchange, environ.get("REQUEST_URI", ""))
        answer = self._server.run(steps, exchange.request.connection)
        assert isinstance(answer.body, bytes), "only reads are streams"
        headers = [*answer.headers.items(), ("Content-Length", str(len(answer.body)))]
        start_response(status_line(answer.status), headers)
        return [answer.body]

    def check_head(self, environ: dict[str, Any]) -> int | RefusedHead:
        """Decide on a request from its head alone, before its body is read.

        Return the most bytes that the body may have or, if the request is refused, the answer,
        which is logged like any other.
        """
        exchange = self._exchange(environ)
        with self.request_context(environ):
            try:
                self.preprocess_request()
                if request.url_rule is None:
                    self.raise_routing_exception(request)
                endpoint = self._endpoints.get(request.url_rule.endpoint)
                if endpoint is None:  # the root or /ui, which read no body
                    return SMALL_BODY
                call = self._flow.admit(exchange, endpoint, request.view_args or {})
                if endpoint.check_size is not None:
                    endpoint.check_size(call, call.request.content_length)
                return call.body_maximum
            except Exception as error:
                response = self.finalize_request(self.handle_user_exception(error))
                return response.status, list(response.headers), response.get_data()

    def _exchange(self, environ: dict[str, Any]) -> Exchange:
        """Begin the exchange of a request, and store it in the request's environment."""
        exchange = self._flow.exchange(request_of(environ, self._trusted))
        environ[_EXCHANGE] = exchange
        return exchange

    def _view(self, endpoint: Endpoint) -> Callable[..., Response]:
        """Return the function that Flask calls for an endpoint."""

        def respond(**path: str) -> Response:
            exchange = _current()
            connection = exchange.request.connection
            reply = self._server.run(self._flow.answer(exchange, endpoint, path), connection)
            if isinstance(reply.body, Stream):
                reply = reply.changed(body=self._server.send(reply.body, connection))
            answer = rendered(reply, exchange.request, self._flow.contact)
            self.repeats.keep(exchange, reply.terms, answer, endpoint.path)
            return response_of(answer)

        return respond

    def _failed(self, error: Exception) -> Response:
        return _response(self._flow.failed(_current(), error))

    def _note(self, response: Response) -> Response:
        """Log and count an answer."""
        path = request.url_rule.rule if request.url_rule else ""
        index = response.headers.get("X-Nomad-Index", 0, int)
        self._notes.answered(_current(), path, response.status_code, index)
        return response


def _current() -> Exchange:
    """Return the exchange of the current request."""
    exchange: Exchange = request.environ[_EXCHANGE]
    return exchange


def _response(reply: Reply) -> Response:
    """Return a reply in the form that the current request asks for."""
    return response_of(rendered(reply, _current().request))


def response_of(answer: Rendered) -> Response:
    """Return an answer as Flask sends it."""
    # Flask's own status phrases are all in capitals.
    response = Response(answer.body, status_line(answer.status), list(answer.headers.items()))
    if "Content-Type" not in answer.headers:
        del response.headers["Content-Type"]  # Flask sets a default
    return response


def _headers(repeat: Repeat) -> list[tuple[str, str]]:
    """Return the headers of an answer that is given again."""
    headers = list(repeat.headers.items())
    if repeat.status != HTTPStatus.NOT_MODIFIED:
        headers.append(("Content-Length", str(len(repeat.body))))
    return headers


def _refuse() -> None:
    """Raise the error of a request that got no turn, and NotFound for a path like ``//v1/plugins``,
    because servers and werkzeug strip slashes from its start."""
    if (refusal := request.environ.get(_REFUSAL)) is not None:
        raise refusal
    if request.environ.get("REQUEST_URI", "").startswith("//"):
        raise NotFound


def _http_error(error: HTTPException) -> Response:
    """Return the answer to the few errors that Flask finds before a view is called."""
    if isinstance(error, MethodNotAllowed):
        return _response(no_method(error.valid_methods or ()))
    if isinstance(error, NotFound):
        return _response(NO_PATH)
    return _response(error_reply(error.name, error.code or 500))
