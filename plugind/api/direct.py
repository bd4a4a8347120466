"""The API without a framework: steps from a request to its whole answer, for any server.

``flask_port`` does the same for WSGI servers, which hold a thread for each request. Both share the
flow, the notes and the answers of ``unrouted``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import NamedTuple

from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Map, Rule

from plugind.api.endpoints import SMALL_BODY, Endpoint
from plugind.api.exchange import Exchange
from plugind.api.flow import Flow
from plugind.api.notes import Notes
from plugind.api.repeats import Repeats
from plugind.api.reply import Rendered, Reply, rendered
from plugind.api.request import Request, Steps, Stream
from plugind.api.unrouted import NO_PATH, TO_PAGES, no_method, root
from plugind.model import IN_CONTACT, Contact

_ROOT, _PAGES = "/", "/ui"


class Answer(NamedTuple):
    """An answer as it is sent: whole, in parts that are made while it is sent, or a stream."""

    status: int
    headers: Mapping[str, str]
    body: bytes | Iterable[bytes] | Stream


class Found(NamedTuple):
    """The endpoint that a request is for, with the parts of its path, or else its ``reply``.

    ``rule`` is the path as in the table, "" for none; it is used for the metrics.
    """

    rule: str
    endpoint: Endpoint | None = None
    path: Mapping[str, str] = {}
    reply: Reply | None = None


@cache
def _map_of(endpoints: tuple[tuple[str, str], ...]) -> Map:
    """Return the map of paths and methods to places in the table.

    Servers of one process share it, because compiling its rules takes a quarter of the time of a
    server's start.
    """
    rules = [(path, method, at) for at, (path, method) in enumerate(endpoints)]
    # Without a rule for /ui, werkzeug would redirect to /ui/ on the host that the client names.
    rules += [(_ROOT, "GET", -1), (_PAGES, "GET", -1)]
    return Map(
        [Rule(path, methods=[method], endpoint=at) for path, method, at in rules],
        merge_slashes=False,
    )


class Direct:
    """Answers requests to a table of endpoints through one flow."""

    def __init__(
        self, flow: Flow, table: Sequence[Endpoint], repeats: Repeats, notes: Notes
    ) -> None:
        self.flow = flow
        self.repeats = repeats
        self._table = table
        self.notes = notes
        self._map = _map_of(tuple((each.path, each.method) for each in table)).bind("")

    def exchange(self, request: Request) -> Exchange:
        """Return a new exchange for a request; its turn must be ended after the answer."""
        return self.flow.exchange(request)

    def answer(self, exchange: Exchange, target: str) -> Steps[Answer]:
        """Return the answer to a request, and note it; ``target`` is the path as it was sent."""
        found = self._find(exchange.request, target)
        made = yield from self._made(exchange, found)
        self._note(exchange, found, made)
        return made

    def keep(self, exchange: Exchange, target: str) -> Steps[bool]:
        """Make the answer to a read so that it is kept. Return whether such answers are kept.

        Endpoints that are not reads are not called, because they may open a stream, which would
        not be closed here.
        """
        found = self._find(exchange.request, target)
        if found.endpoint is not None and found.endpoint.reads:
            yield from self._made(exchange, found)
        return exchange.may_be_kept

    def _made(self, exchange: Exchange, found: Found) -> Steps[Answer]:
        request = exchange.request
        try:
            yield from self.flow.begin(exchange)
            reply = found.reply
            if found.endpoint is not None:
                reply = yield from self.flow.answer(exchange, found.endpoint, found.path)
            assert reply is not None, "a request has an endpoint or a reply"
            made = _answer(reply, request, self.flow.contact)
            if isinstance(body := made.body, bytes):
                kept = Rendered(made.status, made.headers, body)
                self.repeats.keep(exchange, reply.terms, kept, found.rule)
        except Exception as error:
            made = _answer(self.flow.failed(exchange, error), request)
        return made

    def check_head(self, exchange: Exchange, target: str) -> int | Answer:
        """Decide about a request by its head alone, before its body is read.

        Return how many bytes the body may have or, if the request is refused, the answer, which is
        then noted like any other.
        """
        request = exchange.request
        found = self._find(request, target)
        try:
            if found.endpoint is not None:
                call = self.flow.admit(exchange, found.endpoint, found.path)
                if found.endpoint.check_size is not None:
                    found.endpoint.check_size(call, request.content_length)
                return call.body_maximum
            assert found.reply is not None, "a request has an endpoint or a reply"
            if found.reply.status < HTTPStatus.BAD_REQUEST:  # the root or /ui, which read no body
                return SMALL_BODY
            made = _answer(found.reply, request)
        except Exception as error:
            made = _answer(self.flow.failed(exchange, error), request)
        self._note(exchange, found, made)
        return made

    def _find(self, request: Request, target: str) -> Found:
        """Return the endpoint of a request, or its reply, as Flask finds them."""
        try:
            rule, path = self._map.match(request.path, request.method, return_rule=True)
        except MethodNotAllowed as error:
            return Found("", reply=no_method(error.valid_methods or ()))
        except HTTPException:
            return Found("", reply=NO_PATH)
        if target.startswith("//"):  # werkzeug strips leading slashes
            return Found(rule.rule, reply=NO_PATH)
        if rule.endpoint >= 0:
            return Found(rule.rule, self._table[rule.endpoint], path)
        return Found(rule.rule, reply=root(request) if rule.rule == _ROOT else TO_PAGES)

    def _note(self, exchange: Exchange, found: Found, answer: Answer) -> None:
        index = int(answer.headers.get("X-Nomad-Index", 0))
        self.notes.answered(exchange, found.rule, answer.status, index)


def _answer(reply: Reply, request: Request, contact: Contact = IN_CONTACT) -> Answer:
    """Return a reply in the form that a request wants."""
    if isinstance(stream := reply.body, Stream):
        made = rendered(reply.changed(body=()), request, contact)
        return Answer(made.status, made.headers, stream)
    return Answer(*rendered(reply, request, contact))
