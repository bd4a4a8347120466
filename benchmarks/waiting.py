"""Crowds that wait for a change, by blocking queries or event streams.

The yardstick is a bare function that parks requests. One run is the life of a server: the crowd
connects, and is woken a few times, each time by one small report. The time to wake is measured from
the moment when the report is sent until the last client has its whole answer.
"""

from __future__ import annotations

import json
import re
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from benchmarks.asking import asking
from benchmarks.context import Context, config
from benchmarks.crowd import Crowd
from benchmarks.fleets import SECRET, Fleet, node_id, toggled
from benchmarks.reads import keep
from benchmarks.results import MEBIBYTES, MILLISECONDS, NO_REACH, SECONDS, Reach, Row
from benchmarks.servers import PATIENCE, Front, Server, ask, bare, plugind

LIST = "/v1/plugins?type=csi"
STREAM = "/v1/event/stream?topic=Plugin:csi/plugin-00000"
PLAIN = "/v1/plugin/csi/plugin-00000"
_WAKES = 3
_REST = 0.25  # seconds between two changes: more than between two announcements of a list
_ASK_FOR = 0.5
_FIRST, _EVENTS = b"{}", b'"Events"'


@dataclass(frozen=True)
class Seen:
    """The results of one life of a server.

    ``woken`` and ``beside`` are the seconds until all clients were woken, without and with plain
    reads at the same time. ``memory`` is in MiB while all wait. ``idle``, ``parked`` and ``waking``
    are the median milliseconds of plain reads: before the clients connect, while they wait, and
    while they are woken.
    """

    woken: float
    beside: float
    memory: float
    idle: float
    parked: float
    waking: float


@dataclass(frozen=True)
class Waiting:
    """``count`` clients that wait for the list of plugins, or with ``is_stream`` for events."""

    name: str
    what: str
    fleet: Fleet
    count: int
    fronts: tuple[Front, ...]
    reaches: Mapping[str, Mapping[str, Reach]] = field(default_factory=dict)
    is_stream: bool = False
    is_long: bool = False

    @property
    def order(self) -> str:
        return self.name

    def measure(self, context: Context, front: Front) -> list[Row]:
        needed, allowed = self.count + 200, _open_files()
        if allowed < needed:
            context.say(f"left out: it needs {needed:,} open files, and {allowed:,} are allowed")
            return []
        folder = self._answers_of(context, front)
        pairs = context.alternate(
            lambda: self._life("the bare function", self._bare(front, folder)),
            lambda: self._life("plugind", self._plugind(context, front)),
        )
        return list(self._rows(front, [one for one, _ in pairs], [other for _, other in pairs]))

    @contextmanager
    def _plugind(self, context: Context, front: Front) -> Iterator[Server]:
        text = config(**{"streams" if self.is_stream else "parked": self.count})
        with plugind(context.data(self.fleet), text, front) as server:
            yield server

    def _bare(self, front: Front, folder: Path) -> AbstractContextManager[Server]:
        environ = {"BENCHMARKS_ANSWER": str(folder)}
        return bare("parked", front, folder, environ, threads=self.count + 8)

    def _answers_of(self, context: Context, front: Front) -> Path:
        """Return a folder with plugind's own list and event, which the bare function sends."""
        folder = context.new_folder()
        with self._plugind(context, front) as server:
            keep(ask(server.port, LIST), folder)
            if self.is_stream:
                (folder / "event").write_bytes(_event(self.fleet, server))
        return folder

    def _life(self, name: str, serving: AbstractContextManager[Server]) -> Seen:
        try:
            return self._seen(serving)
        except (OSError, RuntimeError) as error:
            raise RuntimeError(f"{name}: {error}") from error

    def _seen(self, serving: AbstractContextManager[Server]) -> Seen:
        with ExitStack() as until_end:
            server = until_end.enter_context(serving)
            crowd = until_end.enter_context(closing(Crowd(server.port)))
            change = until_end.enter_context(closing(Change(self.fleet, server.port)))
            idle = _latency(server)
            change.send()
            index = change.took()
            self._gather(crowd, server, self._request(index))
            memory, parked = server.memory(), _latency(server)
            woken, beside, waking = [], 0.0, 0.0
            for wake in range(_WAKES + 2):
                time.sleep(_REST)
                if wake <= _WAKES:
                    took = self._wake(crowd, change)
                    woken += [took] if wake else []  # the first one has cold caches
                else:
                    with asking(server.port, PLAIN) as milliseconds:
                        beside = self._wake(crowd, change)
                    waking = median(milliseconds)
                if not self.is_stream:
                    crowd.send(self._request(change.index))
                    _await_parked(server, self.count)
            return Seen(median(woken), beside, memory, idle, parked, waking)

    def _gather(self, crowd: Crowd, server: Server, request: bytes) -> None:
        """Connect all clients, and wait until they wait for a change."""
        if self.is_stream:
            crowd.grow(self.count, request, lambda count: None)
            crowd.lines(_FIRST)
        else:
            crowd.grow(self.count, request, partial(_await_parked, server))

    def _request(self, index: int) -> bytes:
        path = f"{STREAM}&index={index + 1}" if self.is_stream else f"{LIST}&index={index}&wait=10m"
        return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()

    def _wake(self, crowd: Crowd, change: Change) -> float:
        crowd.drain()
        began = time.monotonic()
        change.send()
        ended = crowd.lines(_EVENTS) if self.is_stream else crowd.answers()
        change.took()
        return ended - began

    def _rows(self, front: Front, bares: Sequence[Seen], ours: Sequence[Seen]) -> Iterator[Row]:
        def row(part: str, what: str, unit: str, of: Callable[[Seen], float]) -> Row:
            return Row(
                figure=self.name,
                part=part,
                what=f"{self.what}: {what}",
                server=front.name,
                unit=unit,
                values=[of(seen) for seen in ours],
                yardstick="bare",
                yardsticks=[of(seen) for seen in bares],
                reach=self.reaches.get(front.key, {}).get(part, NO_REACH),
            )

        yield row("woken", "all are woken", SECONDS, lambda seen: seen.woken)
        yield row("beside", "the same beside plain reads", SECONDS, lambda seen: seen.beside)
        yield row("memory", "memory", MEBIBYTES, lambda seen: seen.memory)
        for part, what, of in (
            ("parked", "a plain read meanwhile", lambda seen: seen.parked),
            ("waking", "a plain read as they wake", lambda seen: seen.waking),
        ):
            yield Row(
                figure=self.name,
                part=part,
                what=f"{self.what}: {what}",
                server=front.name,
                unit=MILLISECONDS,
                values=[of(seen) for seen in ours],
                yardstick="idle",
                yardsticks=[seen.idle for seen in ours],
                reach=self.reaches.get(front.key, {}).get(part, NO_REACH),
                notes=[f"bare: {median(map(of, bares)):.3g} ms"],
            )


class Change:
    """The reports of the fleet's last node, each of them a change of the list."""

    def __init__(self, fleet: Fleet, port: int) -> None:
        self.index = 0
        self._node = fleet.nodes - 1
        self._is_healthy = True
        self._connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def send(self) -> None:
        """Send the next report without waiting for its answer."""
        self._is_healthy = not self._is_healthy
        body = toggled(self._node, healthy=self._is_healthy)
        headers = {"X-Plugind-Node-Secret": SECRET}
        self._connection.request("PUT", f"/v1/node/{node_id(self._node)}", body, headers)

    def took(self) -> int:
        """Wait for the answer; return the index of the change. Raise RuntimeError on a refusal."""
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"a report was answered {answer.status}: {content[:300]!r}")
        self.index = json.loads(content)["Index"]
        return self.index

    def close(self) -> None:
        self._connection.close()


def _latency(server: Server) -> float:
    """Return the median milliseconds of a plain read."""
    with asking(server.port, PLAIN) as took:
        time.sleep(_ASK_FOR)
    return median(took)


def _await_parked(server: Server, count: int) -> None:
    """Wait until ``count`` queries are parked at a server. Raise RuntimeError after 60 s."""
    deadline = time.monotonic() + PATIENCE
    while (there := _parked(server)) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{there} of {count} queries are parked at the server")
        time.sleep(0.02)


def _parked(server: Server) -> int:
    found = re.search(r'"parked": ?"(\d+)"', ask(server.port, "/v1/agent/self").body.decode())
    return int(found[1]) if found else 0


def _event(fleet: Fleet, server: Server) -> bytes:
    """Return the line that a stream receives for a change."""
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
        connection.request("GET", STREAM)
        answer = connection.getresponse()
        with closing(Change(fleet, server.port)) as change:
            change.send()
            change.took()
        while True:
            line = answer.readline()
            if not line:
                raise RuntimeError("a stream ended without an event")
            if _EVENTS in line:
                return line


def _open_files() -> int:
    """Raise the limit of open files to the hard limit, and return it. It applies to this process
    and to each server that it starts."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
