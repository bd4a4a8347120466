"""Sample drivers as separate processes, and a prober that is asked the way the core asks it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plugin_types.csi import CsiType
from plugin_types.csi.prober import CsiProber
from tests.promises import PATIENCE
from tests.support import eventually

Keys = tuple[str, str]


def command(path: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "plugind", "csi-sample", "--socket", str(path), *options]


@contextmanager
def sample(path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start a sample driver and wait until it serves; kill it at the end if it is still running."""
    with subprocess.Popen(
        [*command(path, "--exit-with-stdin", *options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert str(path) in process.stdout.readline()
            yield process
        finally:
            process.kill()


class Wakes:
    """The arguments that ``changed`` was called with."""

    def __init__(self) -> None:
        self._names: list[str | None] = []
        self._more = threading.Condition()

    def __call__(self, name: str | None) -> None:
        with self._more:
            self._names.append(name)
            self._more.notify_all()

    def forget(self) -> None:
        with self._more:
            self._names.clear()

    def comes(self, name: str | None) -> bool:
        with self._more:
            return self._more.wait_for(lambda: name in self._names, PATIENCE)


class Kit:
    """A prober with its own settings; ``probe`` returns the fingerprints of all its targets."""

    def __init__(self, **settings: Any) -> None:
        loaded = CsiType.settings_schema().load({"sockets": [], **settings})
        prober = CsiType().prober(loaded)
        assert isinstance(prober, CsiProber)
        self.prober = prober
        self.wakes = Wakes()
        self._seen: dict[str, Any] = {}

    def watch(self) -> threading.Thread:
        """Collect changes in ``wakes`` from now on, in a thread that ends with the process."""
        thread = threading.Thread(target=self.prober.watch, args=(self.wakes,), daemon=True)
        thread.start()
        return thread

    def probe(self) -> Mapping[Keys, Mapping[str, Any]]:
        found: dict[Keys, Mapping[str, Any]] = {}
        self._seen |= self.prober.discover()
        for target in self._seen.values():
            found |= self.prober.probe(target)
        return found

    def health(self) -> dict[Keys, str]:
        return {key: one["HealthDescription"] for key, one in self.probe().items()}

    def until(self, is_so: Callable[[dict[Keys, str]], bool]) -> dict[Keys, str]:
        """Probe repeatedly until a condition holds, or fail."""
        return eventually(lambda: found if is_so(found := self.health()) else {}, every=0.1)

    def close(self) -> None:
        for target in self._seen.values():
            self.prober.close(target)
