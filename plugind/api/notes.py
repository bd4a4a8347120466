"""Records every answer in the access log and in the metrics of requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from plugind.api.access_log import AccessLog
from plugind.api.endpoints import Endpoint
from plugind.api.exchange import Exchange
from plugind.api.openapi import template_of
from plugind.api.request import Request

Counter = Callable[[float], object]
"""Counts a request, given the seconds that it took."""

CounterOf = Callable[[str, str, int], Counter]
"""Returns the counter of requests with a method, the path of an endpoint ("" for none), and the
status of the answer."""


class Noted(NamedTuple):
    """The notes about an answer, the same each time that it is given: its counter, and the fields
    of its line in the access log."""

    counter: Counter
    fields: Mapping[str, object]


class Notes:
    """Counts answers, and writes them to the access log if there is one."""

    def __init__(
        self,
        table: Sequence[Endpoint],
        access_log: AccessLog | None = None,
        counter: CounterOf = lambda method, path, status: _nothing,
    ) -> None:
        self._templates = {each.path: template_of(each.path) for each in table}
        self._access_log = access_log
        self._counter = counter

    def noted(self, exchange: Exchange, path: str, status: int, index: int) -> Noted:
        """Return the notes about the answer to a request.

        ``path`` is that of the rule that the request matched, "" for none; ``index`` is 0 if
        the answer has none.
        """
        if exchange.endpoint is not None:
            path = exchange.endpoint.path
        log = self._access_log
        fields = log.fields(exchange, status, index) if log is not None else {}
        method, template = exchange.request.method, self._templates.get(path, path)
        return Noted(self._counter(method, template, status), fields)

    def answered(self, exchange: Exchange, path: str, status: int, index: int) -> None:
        """Note the answer to a request; the arguments are as for ``noted``."""
        noted = self.noted(exchange, path, status, index)
        took = time.monotonic() - exchange.began
        noted.counter(took - exchange.parked)
        if self._access_log is not None:
            self._access_log.answered(exchange.request.remote, noted.fields, took)

    def repeated(self, noted: Noted, remote: str, seconds: float) -> None:
        """Note that an answer was given again to the address ``remote``, which took ``seconds``."""
        noted.counter(seconds)
        if self._access_log is not None:
            self._access_log.answered(remote, noted.fields, seconds)

    def repeated_after_wait(
        self, noted: Noted, request: Request, seconds: float, parked: float
    ) -> None:
        """Note that an answer was given again to a blocking query, whose own parameters are logged.

        The query took ``seconds`` in all, and was parked for ``parked`` of them.
        """
        noted.counter(seconds - parked)
        if (log := self._access_log) is not None:
            log.answered(request.remote, {**noted.fields, "query": log.query(request)}, seconds)

    def refused(self, remote: str, method: str, path: str, status: int) -> None:
        """Note a request that was refused before it reached the flow of requests."""
        self._counter(method, "", status)(0.0)
        if self._access_log is not None:
            self._access_log.refused(remote, method, path, status)


def _nothing(seconds: float) -> None: ...
