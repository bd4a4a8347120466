"""The context that figures of one run share: durations, filled stores, and a server."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TypeVar

from benchmarks import fleets
from benchmarks.fleets import Fleet
from benchmarks.servers import Front, Server, plugind

T = TypeVar("T")

CONFIG = """
log_level = "WARN"
plugin_types {
  enabled = ["csi"]
}
server {
  heartbeat_ttl = "24h"
  gc_threshold  = "240h"
  max_instances = 1000000
  max_instances_per_token = 1000000
  max_storage = 4000000000
  max_storage_per_token = 4000000000
  max_parked = MAX_PARKED
  max_parked_share = 100
  max_streams = MAX_STREAMS
  max_waiting_reads = 2000
}
"""
"""Only limits that one client with many made-up machines would reach are raised."""


def config(parked: int = 200, streams: int = 50) -> str:
    """Return the configuration of the servers that are measured."""
    return CONFIG.replace("MAX_PARKED", str(parked)).replace("MAX_STREAMS", str(streams))


class Context:
    """A run in its own ``folder``: ``runs`` pairs of measurements of ``seconds`` seconds each.

    With ``quick`` figures are only tried out: fleets have a tenth of their size, and the numbers
    mean nothing.
    """

    def __init__(self, folder: Path, *, runs: int, seconds: int, quick: bool) -> None:
        self.folder = folder
        self.runs = runs
        self.seconds = seconds
        self.quick = quick
        self._filled: dict[str, Path] = {}
        self._serving: tuple[str, Server] | None = None
        self._until = ExitStack()
        self._number = self._numbers = 0
        self._began = time.monotonic()

    def scaled(self, number: int) -> int:
        """Return the size to use for a fleet or a crowd: a tenth, at least 2, in a quick run."""
        return max(number // 10, 2) if self.quick else number

    def say(self, text: str) -> None:
        """Show progress."""
        print(f"[{time.monotonic() - self._began:4.0f} s] {text}", file=sys.stderr, flush=True)

    def unused_numbers(self) -> int:
        """Return the first of a million numbers that no earlier run has used."""
        self._numbers += 1_000_000
        return self._numbers

    def new_folder(self) -> Path:
        self._number += 1
        made = self.folder / str(self._number)
        made.mkdir()
        return made

    def data(self, fleet: Fleet, text: str = "") -> Path:
        """Return a new folder with a copy of a store that contains a fleet."""
        if fleet.name not in self._filled:
            self.say(f"writing a fleet: {fleet.name}")
            folder = self.new_folder()
            fleets.fill(folder, fleet, text or config())
            self._filled[fleet.name] = folder
        made = self.new_folder()
        shutil.copytree(self._filled[fleet.name], made, dirs_exist_ok=True)
        return made

    def serving(self, fleet: Fleet, front: Front) -> Server:
        """Return a plugind that serves a fleet, for figures that change nothing.

        The server is kept for the next figure with the same fleet and HTTP server.
        """
        name = f"{fleet.name} {front.key}"
        if self._serving is None or self._serving[0] != name:
            self.close()
            folder = self.data(fleet)
            started: AbstractContextManager[Server] = plugind(folder, config(), front)
            self._serving = name, self._until.enter_context(started)
        return self._serving[1]

    def close(self) -> None:
        """End the server that ``serving`` has kept."""
        self._serving = None
        self._until.close()

    def alternate(self, one: Callable[[], T], other: Callable[[], T]) -> Sequence[tuple[T, T]]:
        """Return the results of two alternating measurements; the order is reversed each time."""
        pairs = []
        for run in range(self.runs):
            if run % 2:
                second = other()
                pairs.append((one(), second))
            else:
                first = one()
                pairs.append((first, other()))
        return pairs
