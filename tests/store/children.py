"""Separate processes that have a store open, each driven line by line through its pipes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from plugind.store.sqlite.settings import SqliteSettings

PRELUDE = """
import os, sys, threading, time
from pathlib import Path
from plugind.errors import StoreError
from plugind.model import Beat
from plugind.store.sqlite import SqliteStore
from plugind.store.sqlite.settings import SqliteSettings
from plugind.testing.stores.making import TIME, commit, instance, node, node_id, put

def say(*words):  # in one write, so that no line is cut off when the process is killed
    os.write(1, f"{' '.join(map(str, words))}\\n".encode())
def hear(): return sys.stdin.readline().strip()

def blind(number, count=1):
    "Return changes that conflict with nothing."
    return [put(node(number + each), base=1, reads=frozenset()) for each in range(count)]

folder = Path(sys.argv[1])
settings = SqliteSettings(lock_timeout=float(sys.argv.pop()))
store = SqliteStore(settings, folder, shared=True)
"""


@dataclass
class Child:
    """A process with pipes for its input and output."""

    popen: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.popen.pid

    def hear(self) -> str:
        """Return the process's next line; "" once it has ended."""
        assert self.popen.stdout
        return self.popen.stdout.readline().strip()

    def say(self, line: str = "") -> None:
        assert self.popen.stdin
        self.popen.stdin.write(f"{line}\n")
        self.popen.stdin.flush()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()


@contextmanager
def child(
    folder: Path, script: str, *words: object, lock_timeout: float = SqliteSettings.lock_timeout
) -> Iterator[Child]:
    """Run a script after PRELUDE, which opens the store in a folder; kill the process after the
    block."""
    popen = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + script, str(folder), *map(str, (*words, lock_timeout))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with popen:
        try:
            yield Child(popen)
        finally:
            popen.kill()
