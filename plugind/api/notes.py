"""Notes every answer: a line of the access log, and the metrics of requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from plugind.api.access_log import AccessLog
from plugind.api.endpoints import Endpoint
from plugind.api.exchange import Exchange
from plugind.api.openapi import template_of

Answered = Callable[[str, str, int, float], object]
"""Called with a request's method, the path of its endpoint ("" for none), the answer's status, and
the seconds that it took."""


class Notes:
    """Notes answers in the access log, where there is one, and calls ``answered`` with each."""

    def __init__(
        self,
        table: Sequence[Endpoint],
        access_log: AccessLog | None = None,
        answered: Answered | None = None,
    ) -> None:
        self._templates = {each.path: template_of(each.path) for each in table}
        self._access_log = access_log
        self._answered = answered

    def answered(self, exchange: Exchange, path: str, status: int, index: int) -> None:
        """Note the answer to a request.

        ``path`` is that of the rule which the request came to, "" for none; ``index`` is 0 where
        the answer has none.
        """
        if self._access_log is not None:
            self._access_log.answered(exchange, status, index)
        if self._answered is not None:
            took = time.monotonic() - exchange.began - exchange.parked
            if exchange.endpoint is not None:
                path = exchange.endpoint.path
            template = self._templates.get(path, path)
            self._answered(exchange.request.method, template, status, took)

    def refused(self, remote: str, method: str, path: str, status: int) -> None:
        """Note a request that was refused before it came to the flow of requests."""
        if self._answered is not None:
            self._answered(method, "", status, 0.0)
        if self._access_log is not None:
            self._access_log.refused(remote, method, path, status)
