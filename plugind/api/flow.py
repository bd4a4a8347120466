"""The flow of every request: authorization, a wait for an index, authorization again, the reply.

The flow is independent of the HTTP server: a server makes a ``Request`` of what it reads, runs the
steps of the flow, in which the request may pause, and sends the ``Reply``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from zlib import crc32

from plugind import filtering, logs
from plugind.acl import Acl, Authorizer, Caller
from plugind.api import rows
from plugind.api.clients import holder_of
from plugind.api.denials import denied
from plugind.api.endpoints import Asked, Call, Endpoint, Source, no_token
from plugind.api.exchange import Exchange
from plugind.api.query import Query, read_query
from plugind.api.reply import Reply, Terms, error_reply, made_now
from plugind.api.request import Pause, Request, Signal, Steps, Stream
from plugind.api.turns import WOKEN, Turn, Turns, kind_of
from plugind.catalogue import Catalogue
from plugind.catalogue.rendering import Listing
from plugind.catalogue.waiting import Subscription
from plugind.client import NODE_SECRET_HEADER
from plugind.config.settings import ServerLimits
from plugind.errors import BadRequest, Forbidden, PlugindError, StoreError, TokenNotFound
from plugind.health import Hits
from plugind.model import SETTLED, Contact

_log = logs.get("api")


class Flow:
    """Answers requests.

    ``acl`` returns the policies and tokens in force now, ``types`` are the names of the plugin
    types, ``parts`` has the object that each group of endpoints needs, and ``signal`` makes signals
    of the server that the requests come to. ``check_write`` raises Forbidden for a write that a
    browser sends for another site; it is called while ACLs are off, when no token protects writes.
    ``has_public_metrics``: the configuration makes metrics readable without a token.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        acl: Callable[[], Acl],
        types: Collection[str],
        region: str,
        limits: ServerLimits,
        hits: Hits,
        parts: Iterable[object],
        signal: Callable[[], Signal],
        check_write: Callable[[Request], None],
        has_public_metrics: bool = False,
    ) -> None:
        self._has_public_metrics = has_public_metrics
        self._check_write = check_write
        self._catalogue = catalogue
        self._acl = acl
        self._types = types
        self._region = region
        self._max_list_size = limits.max_list_size
        self._hits = hits
        self._parts = {type(each): each for each in parts}
        self._signal = signal
        self.turns = Turns(limits.max_costly_reads, limits.max_waiting_reads, hits)

    def exchange(self, request: Request) -> Exchange:
        """Return the exchange that a request begins."""
        return Exchange(request, Turn(self.turns, self._signal))

    def begin(self, exchange: Exchange) -> Steps[None]:
        """Take a turn or note a plain read, unless a costly read may wait for an index first.

        Raise TooManyParked if too many costly reads wait for their turn already.
        """
        if not (exchange.request.may_block and kind_of(exchange.request)):
            yield from self._begin(exchange)

    def _begin(self, exchange: Exchange) -> Steps[None]:
        """Take a turn, or note a plain read; do neither for other requests. Raise TooManyParked."""
        request, turn = exchange.request, exchange.turn
        if kind := kind_of(request):
            acl = self._acl()
            holder = holder_of(request, acl, time.time_ns())
            has_waited = yield from turn.begin(kind, holder.name)
            if not has_waited:
                exchange.acl = acl  # used for the whole answer; read again after a wait
        elif request.method in ("GET", "HEAD"):
            turn.begin_plain()

    def answer(
        self, exchange: Exchange, endpoint: Endpoint, path: Mapping[str, str]
    ) -> Steps[Reply]:
        """Return the reply of an endpoint; ``path`` has the parts of the request's path by name.

        Raise a PlugindError if the request cannot be answered; ``failed`` makes a reply of it.
        """
        if not (endpoint.reads or exchange.turn.has_begun):  # it does not wait for an index
            yield from self._begin(exchange)
        if endpoint.caller is not None:  # a page; its session may have begun on another server
            with suppress(StoreError):
                self._catalogue.refresh()
        call = self.admit(exchange, endpoint, path)
        if endpoint.reads:
            self._refresh(call.query)
        answer = yield from _look(endpoint, call, path)
        if isinstance(answer, Source) and call.query.index:
            yield from self._wait(exchange, call, answer)
            call = self.admit(exchange, endpoint, path)  # rights may have changed meanwhile
            self._refresh(call.query)
            answer = yield from _look(endpoint, call, path)
        elif isinstance(answer, Reply) and isinstance(answer.body, Stream):
            exchange.turn.end()  # its parts take turns
            return answer
        elif exchange.request.may_block:
            yield from self._take_turn(exchange, call)
        if isinstance(answer, Source):
            return self._read(call, answer, endpoint.content_type)
        exchange.accessor = answer.accessor or exchange.accessor
        return answer

    @property
    def contact(self) -> Contact:
        """Return what answers say about contact with the store."""
        return self._catalogue.contact

    def _refresh(self, query: Query) -> None:
        """Refresh the state as far as a query requires: a default read must see everything that any
        server acknowledged before it, a stale read what this server knows. Raise StoreError if that
        fails for a default read."""
        if not query.stale:
            self._catalogue.refresh()
        elif query.index > self._catalogue.index:  # another server may have given out this index
            with suppress(StoreError):
                self._catalogue.refresh()

    def admit(self, exchange: Exchange, endpoint: Endpoint, path: Mapping[str, str]) -> Call[Any]:
        """Authorize a request by the policies and tokens in force now, and return its call.

        Raise Forbidden if it is denied, and BadRequest if its query cannot be understood.
        """
        request = exchange.request
        acl, exchange.acl = exchange.acl or self._acl(), None
        exchange.endpoint, secret = endpoint, request.secret
        if not acl.enabled:
            self._check_write(request)
        parts = self._parts[endpoint.parts]
        if endpoint.caller is None:
            caller = _caller(acl, endpoint, secret)
        else:
            caller = endpoint.caller(parts, acl, request)
        exchange.accessor = caller.accessor
        authorizer = acl.authorizer(caller)
        shows_secret = bool(request.header(NODE_SECRET_HEADER))
        asked = Asked(
            caller,
            self._types,
            path,
            request.query,
            shows_secret,
            request.parameters,
            self._has_public_metrics,
        )
        _decide(exchange, endpoint, authorizer, asked)
        query = read_query(asked.query if endpoint.reads else {}, self._region)
        return Call(
            parts=parts,
            request=request,
            acl=acl,
            authorizer=authorizer,
            asked=asked,
            query=query,
            secret=secret,
            body_maximum=endpoint.body_maximum,
            check=partial(self.admit, exchange, endpoint, path),
            turn=exchange.turn,
            signal=self._signal,
        )

    def query_of(self, request: Request) -> Query | None:
        """Return the query of a read, None if it cannot be understood."""
        try:
            return read_query(request.query, self._region)
        except BadRequest:
            return None

    def subscribe(
        self, request: Request, resource: str, index: int, call: Callable[[], object]
    ) -> Subscription:
        """Have ``call`` called once a resource has changed after an index, as
        ``Catalogue.subscribe`` does. It takes a place of the request's caller. Raise TooManyParked.
        """
        holder = holder_of(request, self._acl(), time.time_ns())
        return self._catalogue.subscribe(resource, index, call, holder)

    def failed(self, exchange: Exchange, error: Exception) -> Reply:
        """Return the reply to a request that raised an error; log it if it is plugind's fault."""
        if not isinstance(error, PlugindError):
            _log.error("a request failed by a fault of plugind's own", exc_info=error)
            return error_reply("internal error; the server's log says more", 500)
        if isinstance(error, Forbidden) and exchange.decision == "allow":
            # The view refused what the endpoint's need allows, because of the body or a secret.
            exchange.decision, exchange.rule = "none", ""
        headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
        reply = error_reply(str(error), error.status, headers=headers)
        refused = exchange.endpoint and exchange.endpoint.refused
        return refused(exchange.request, reply) if refused else reply

    def _wait(self, exchange: Exchange, call: Call[Any], source: Source) -> Steps[None]:
        """Wait until a resource is newer than the query's index, and then for a turn.

        Hold a place among the parked queries until the turn comes. Raise BadRequest for a bad
        filter before the wait, TooManyParked, and ClientGone once the client has left.
        """
        query = call.query
        _filter(query, source)
        holder = holder_of(exchange.request, call.acl, time.time_ns())
        exchange.turn.end()
        signal = self._signal()
        place = self._catalogue.subscribe(source.resource, query.index, signal.set, holder)
        try:
            if place.was_parked:
                parked_at = time.monotonic()
                try:
                    yield Pause(signal, query.timeout, ends_with_client=True)
                finally:
                    exchange.parked = time.monotonic() - parked_at
                yield from exchange.turn.begin(WOKEN, holder.name)
        finally:
            place.close()
        yield from self._take_turn(exchange, call)

    def _take_turn(self, exchange: Exchange, call: Call[Any]) -> Steps[None]:
        """Wait for the turn of a read, unless it has one. Raise TooManyParked."""
        if not exchange.turn.has_begun:
            holder = holder_of(exchange.request, call.acl, time.time_ns())
            yield from exchange.turn.begin(kind_of(exchange.request), holder.name)

    def _read(self, call: Call[Any], source: Source, content_type: str) -> Reply:
        """Return the present answer of a source, as the query asks for it. Raise BadRequest."""
        query, catalogue = call.query, self._catalogue
        matches = _filter(query, source)
        reading = source.look()
        if reading.found is None:
            return error_reply(source.missing, 404, reading.index)
        # An answer that no change affects is made for each caller: it has no key to keep it by.
        is_kept = source.is_kept and source.resource != SETTLED
        keep = partial(catalogue.views.get, source.resource) if is_kept else made_now
        found, token = reading.found, reading.next_token
        if isinstance(found, Listing):
            if rows.selects(query):
                made = partial(rows.select, found, query, matches, source.beyond)
                page = keep(found, rows.shape(query), made)
                found = page.listing
                token = page.next_token or token
            self._check_size(len(found))
        headers = {**source.headers, **({"X-Nomad-NextToken": token} if token else {})}
        reply = Reply(
            found, index=reading.index, content_type=content_type, headers=headers, keep=keep
        )
        if source.personal:
            return reply.changed(headers={**headers, "Cache-Control": "no-store"})
        # The answer depends on the store and its renderers, the rights, the index, and the query.
        version = [catalogue.generation, call.acl.generation, str(reading.index), rows.shape(query)]
        tag = "-".join(version).removesuffix("-")
        if reading.is_degraded:  # what replaces it will have the same index
            body = found.body if isinstance(found, Listing) else found
            tag += f"-degraded-{crc32(body):08x}"
            is_kept = False
        terms = None
        if is_kept:
            expires = call.acl.expiry(call.secret)
            terms = Terms(source.resource, reading.index, call.acl, expires, query.stale)
        return reply.changed(version=tag, terms=terms)

    def _check_size(self, size: int) -> None:
        """Raise BadRequest if a list is larger than ``server.max_list_size``."""
        if size > self._max_list_size:
            self._hits.add("max_list_size", size=size)
            raise BadRequest(
                f"the list has {size} bytes, more than the {self._max_list_size} of "
                "server.max_list_size: read it page by page, with per_page"
            )


def _look(endpoint: Endpoint, call: Call[Any], path: Mapping[str, str]) -> Steps[Reply | Source]:
    """Return the result of an endpoint's view, which may pause."""
    answer = endpoint.view(call, **path)
    if isinstance(answer, Generator):
        reply: Reply = yield from answer
        return reply
    return answer


def _decide(exchange: Exchange, endpoint: Endpoint, authorizer: Authorizer, asked: Asked) -> None:
    """Note the decision about a request in its exchange. Raise Forbidden if it is denied."""
    decision = endpoint.need(authorizer, asked)
    place = decision.rule and decision.rule.place
    exchange.decision = decision.effect
    exchange.rule = f"{place.source}:{place.line}" if place else ""
    if not decision.allowed:
        if endpoint.missing is not None:
            missing = endpoint.missing(authorizer, asked)
            raise Forbidden(f"Permission denied: it needs {missing}")
        raise denied(endpoint.need, asked)


def _caller(acl: Acl, endpoint: Endpoint, secret: str) -> Caller:
    """Return the caller that has a secret. If there is none, return the anonymous caller on an
    endpoint that needs no token; on others raise TokenNotFound."""
    now = time.time_ns()
    try:
        return acl.caller(secret, now)
    except TokenNotFound:
        if endpoint.need is no_token:
            return acl.caller("", now)
        raise


def _filter(query: Query, source: Source) -> filtering.Filter | None:
    if source.fields is None or not query.filter:
        return None
    return filtering.compile(query.filter, source.fields)
