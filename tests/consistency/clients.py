"""Clients of a run: each is a thread that records what it does and sees."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from tests.consistency.answers import content_of, path_of
from tests.consistency.calls import TIMEOUT, Calls, Got, Lost, Server
from tests.consistency.operations import (
    ACKNOWLEDGED,
    MAYBE,
    REFUSED,
    History,
    Read,
    machine_delay,
)
from tests.consistency.violations import FAULT

MOVES = 0.15
"""The share of its operations before which a client switches to another server."""


@dataclass(frozen=True)
class Run:
    """State that the clients of a run share. ``plugins`` are in every report; ``is_written`` ends
    the writers, ``is_stopping`` ends all clients."""

    history: History
    servers: Sequence[Server]
    plugins: Sequence[str] = ("ebs0", "nfs")
    seed: int = 0
    pace: float = 0.02
    wait: float = 8.0
    by_connection: bool = False
    """Whether several processes stand behind one server, so that only requests on one connection
    are sure to reach the same process."""
    is_written: threading.Event = field(default_factory=threading.Event)
    is_stopping: threading.Event = field(default_factory=threading.Event)


class Client(threading.Thread):
    """Repeat ``step`` on a server, which changes after a failure and at random times."""

    def __init__(self, name: str, run: Run) -> None:
        super().__init__(name=name)
        self.run_ = run
        self.history = run.history
        self.random = Random(f"{run.seed} {name}")
        self.calls = Calls()
        self.is_over = run.is_stopping
        self.server = self.random.choice(run.servers)
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.is_over.wait(self.random.random() * 2 * self.run_.pace):
                if self.random.random() < MOVES:
                    self.move()
                self.step()
        except BaseException as error:
            self.error = error
        finally:
            self.calls.close()

    def step(self) -> None:
        raise NotImplementedError

    def move(self) -> None:
        """Use another server from now on, if there is one, or else another of its processes."""
        if self.run_.by_connection:
            self.calls.drop(self.server)
        others = [each for each in self.run_.servers if each is not self.server]
        self.server = self.random.choice(others or [self.server])

    def read(self, resource: str, mode: str, after: int = 0, wait: float = 0.0) -> Read:
        """Read a resource and record the result."""
        path = path_of(resource)
        query = ["stale"] * (mode == "stale")
        query += [f"index={after}", f"wait={wait:g}s"] if after else []
        if query:
            path += ("&" if "?" in path else "?") + "&".join(query)
        read = Read(self.name, self.server.name, "", resource, mode, time.monotonic(), after, wait)
        delay = machine_delay()
        self.history.reads.append(read)
        try:
            got = self.calls.call(
                self.server, "GET", path, timeout=wait * 17 / 16 + TIMEOUT if wait else TIMEOUT
            )
        except Lost:
            if not self.run_.is_stopping.is_set():
                read.status = MAYBE
                self.move()
            read.delay = machine_delay() - delay
            return read
        self._note(read, got, delay)
        return read

    def _note(self, read: Read, got: Got, delay: float) -> None:
        read.completed = time.monotonic()
        read.delay = machine_delay() - delay
        if got.status not in (200, 404):
            read.status = REFUSED
            self.refused(got, f"read of {read.resource}")
            return
        read.scope = f"{read.server}/{got.connection}" if self.run_.by_connection else read.server
        read.index = got.index
        read.digest = hashlib.blake2b(got.body, digest_size=8).hexdigest()
        read.content = content_of(read.resource, got.body) if got.status == 200 else {}
        read.status = ACKNOWLEDGED

    def refused(self, got: Got, what: str) -> None:
        """Record a refusal; one that only a fault of plugind itself can explain is a violation."""
        if got.status not in (409, 429, 503):
            text = f"{what} on {self.server.name}: {got.status} {got.body[:200]!r}"
            self.history.complain(FAULT, text)
        self.move()


def new_node() -> str:
    """Return the ID of a new node."""
    return str(uuid.uuid4())
