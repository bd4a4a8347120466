"""Clients that read: readers, watchers with blocking queries, and followers of event streams."""

from __future__ import annotations

import http.client

from tests.consistency.answers import line_of, node_of, plugin_of
from tests.consistency.calls import Lost
from tests.consistency.clients import Client, Run
from tests.consistency.operations import (
    ACKNOWLEDGED,
    DEFAULT,
    NODES,
    PLUGINS,
    STALE,
    Follower,
)

QUIET = 12.0
"""Seconds without a line after which a stream is given up; a heartbeat comes every 10 seconds."""


class Reader(Client):
    """Read random resources, mostly with default reads and sometimes with stale ones."""

    def step(self) -> None:
        self.read(self.resource(), STALE if self.random.random() < 0.3 else DEFAULT)

    def resource(self) -> str:
        """Return a resource to read."""
        nodes = self.history.nodes
        kinds = [PLUGINS, NODES, *map(plugin_of, self.run_.plugins)]
        if nodes:
            kinds.append(node_of(self.random.choice(nodes)))
        return self.random.choice(kinds)


class Watcher(Client):
    """Wait for the changes of one resource, each time from the last index seen, whichever server
    returned it."""

    def __init__(self, name: str, run: Run, resource: str, mode: str = DEFAULT) -> None:
        super().__init__(name, run)
        self.resource = resource
        self.mode = mode
        self.index = 0

    def step(self) -> None:
        read = self.read(self.resource, self.mode, self.index, self.run_.wait if self.index else 0)
        if read.status == ACKNOWLEDGED:
            self.index = max(self.index, read.index)

    def move(self) -> None:
        super().move()
        if self.mode == STALE:
            self.index = 0  # another server may lag behind


class StreamReader(Client):
    """Follow the event stream, and reconnect after it is cut off."""

    def __init__(self, name: str, run: Run, query: str = "topic=Plugin") -> None:
        super().__init__(name, run)
        self.query = query
        self.follower = Follower(name, 1, "topic=Plugin" in query)
        self.history.followers.append(self.follower)

    def step(self) -> None:
        start = max(self.follower.last + 1, self.follower.start)
        try:
            path = f"/v1/event/stream?index={start}&{self.query}"
            number, response = self.calls.open(self.server, path, QUIET)
            if response.status != 200:
                self.calls.drop(self.server)
                self.move()
                return
            self._follow(response, number)
        except (Lost, OSError, http.client.HTTPException, ValueError):
            self.move()

    def _follow(self, response: http.client.HTTPResponse, number: int) -> None:
        """Take lines until the stream ends; an incomplete last line is dropped. Raise ValueError
        for the server's line that says why the stream ends."""
        limit = self.random.randint(5, 60)  # lines, before it reconnects
        while (text := response.readline()).endswith(b"\n"):
            line = line_of(self.server.name, number, text)
            if line is not None:
                self.follower.lines.append(line)
                limit -= 1
            if limit <= 0 and not self.run_.is_stopping.is_set():
                break
        self.calls.drop(self.server)
