"""Rates of reads, compared with a bare function that answers the same bytes on the same server."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.context import Context
from benchmarks.fleets import Fleet
from benchmarks.load import Load, wrk
from benchmarks.results import NO_REACH, RATE, Reach, Row
from benchmarks.servers import GRANIAN, GRANIAN_2, WAITRESS, Answer, Front, Server, ask, bare

CONNECTIONS = 16
_WARM = 32
_OWN = {"date", "server", "connection", "transfer-encoding"}
"""Headers that an HTTP server adds by itself."""

_DISTINCT = "@N@"


@dataclass(frozen=True)
class Read:
    """The rate of one read. "@N@" in ``path`` stands for a different number in each request. With
    ``is_known`` the client sends the answer's ETag, so the answer is 304."""

    name: str
    what: str
    fleet: Fleet
    path: str
    reaches: Mapping[str, Reach] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    is_known: bool = False
    fronts: tuple[Front, ...] = (WAITRESS, GRANIAN, GRANIAN_2)
    is_long: bool = False

    @property
    def order(self) -> str:
        """Return the key by which figures are sorted, so that they share servers."""
        return self.fleet.name

    def measure(self, context: Context, front: Front) -> list[Row]:
        return self.beside(context, context.serving(self.fleet, front), front)

    def beside(self, context: Context, server: Server, front: Front) -> list[Row]:
        """Measure a server of the fleet, alternating with a bare function."""
        answer, headers = self._answer(server)
        folder = context.new_folder()
        keep(answer, folder)
        environ = {"BENCHMARKS_ANSWER": str(folder)}
        with bare("answer", front, folder, environ) as other:
            warm(other, headers, lambda number: "/")
            warm(server, headers, self._path)
            plain = self._path(0)
            pairs = context.alternate(
                lambda: self._load(context, other, plain, headers, distinct=False),
                lambda: self._load(context, server, self.path, headers, distinct=True),
            )
        return [self._row(front, pairs, answer)]

    def _path(self, number: int) -> str:
        return self.path.replace(_DISTINCT, str(number))

    def _answer(self, server: Server) -> tuple[Answer, Mapping[str, str]]:
        """Return plugind's own answer, and the request headers for it.

        Raise RuntimeError for an unexpected status.
        """
        headers = dict(self.headers)
        answer = ask(server.port, self._path(0), headers)
        if self.is_known:
            headers["If-None-Match"] = answer.header("etag")
            answer = ask(server.port, self._path(0), headers)
        wanted = 304 if self.is_known else 200
        if answer.status != wanted:
            raise RuntimeError(f"{self.path} was answered {answer.status}: {answer.body[:200]!r}")
        return answer, headers

    def _load(
        self,
        context: Context,
        server: Server,
        path: str,
        headers: Mapping[str, str],
        *,
        distinct: bool,
    ) -> Load:
        seconds, count = context.seconds, CONNECTIONS
        if distinct and _DISTINCT in path:
            first = str(context.unused_numbers())
            return wrk(
                server,
                seconds=seconds,
                connections=count,
                headers=headers,
                script="distinct",
                arguments=(path, first),
            )
        return wrk(server, path, seconds=seconds, connections=count, headers=headers)

    def _row(self, front: Front, pairs: Sequence[tuple[Load, Load]], answer: Answer) -> Row:
        refused = sum(load.refused for _, load in pairs)
        notes = [f"{len(answer.body):,} bytes"]
        if refused:
            notes.append(f"{refused} refused")
        return Row(
            figure=self.name,
            part="rate",
            what=self.what,
            server=front.name,
            unit=RATE,
            values=[load.rate for _, load in pairs],
            yardstick="bare",
            yardsticks=[load.rate for load, _ in pairs],
            reach=self.reaches.get(front.key, NO_REACH),
            cpu=median(load.cpu for _, load in pairs),
            yardstick_cpu=median(load.cpu for load, _ in pairs),
            notes=notes,
        )


def keep(answer: Answer, folder: Path) -> None:
    """Write an answer to the folder from which a bare function reads it."""
    headers = [(name, value) for name, value in answer.headers if name.lower() not in _OWN]
    head = {"status": answer.status, "reason": answer.reason, "headers": headers}
    (folder / "head.json").write_text(json.dumps(head))
    (folder / "body").write_bytes(answer.body)


def warm(server: Server, headers: Mapping[str, str], path: Callable[[int], str]) -> None:
    """Send enough requests for every worker process to have rendered the answer."""
    for number in range(_WARM):
        ask(server.port, path(number), headers)
