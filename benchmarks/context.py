"""What the figures of one run share: how long they measure, filled stores, and a server."""

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
"""Limits that one client of many made-up machines would reach are raised, and nothing else."""


def config(parked: int = 200, streams: int = 50) -> str:
    """Return the configuration of the servers that are measured."""
    return CONFIG.replace("MAX_PARKED", str(parked)).replace("MAX_STREAMS", str(streams))


class Context:
    """A run in a ``folder`` of its own: ``runs`` pairs of ``seconds`` each. ``quick`` says that the
    figures are only to be tried out: fleets are a tenth, and numbers mean nothing."""

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
        """Return a size of a fleet or a crowd; a tenth of it to try out."""
        return max(number // 10, 2) if self.quick else number

    def say(self, text: str) -> None:
        """Show progress."""
        print(f"[{time.monotonic() - self._began:4.0f} s] {text}", file=sys.stderr, flush=True)

    def unused_numbers(self) -> int:
        """Return where a million numbers begin that no run has used."""
        self._numbers += 1_000_000
        return self._numbers

    def new_folder(self) -> Path:
        self._number += 1
        made = self.folder / str(self._number)
        made.mkdir()
        return made

    def data(self, fleet: Fleet, text: str = "") -> Path:
        """Return a folder with a copy of the store that a fleet was written into."""
        if fleet.name not in self._filled:
            self.say(f"writing a fleet: {fleet.name}")
            folder = self.new_folder()
            fleets.fill(folder, fleet, text or config())
            self._filled[fleet.name] = folder
        made = self.new_folder()
        shutil.copytree(self._filled[fleet.name], made, dirs_exist_ok=True)
        return made

    def serving(self, fleet: Fleet, front: Front) -> Server:
        """Return a plugind that serves a fleet, for figures that change nothing: it is kept for the
        next figure on the same."""
        name = f"{fleet.name} {front.key}"
        if self._serving is None or self._serving[0] != name:
            self.close()
            folder = self.data(fleet)
            started: AbstractContextManager[Server] = plugind(folder, config(), front)
            self._serving = name, self._until.enter_context(started)
        return self._serving[1]

    def close(self) -> None:
        """End the server that is kept."""
        self._serving = None
        self._until.close()

    def alternate(self, one: Callable[[], T], other: Callable[[], T]) -> Sequence[tuple[T, T]]:
        """Return what two measurements give, taken in turn; the order is turned round each time."""
        pairs = []
        for run in range(self.runs):
            if run % 2:
                second = other()
                pairs.append((one(), second))
            else:
                first = one()
                pairs.append((first, other()))
        return pairs
