"""The rig that the cases of the conformance suite for stores run on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from plugind.store.base import Store
from plugind.testing.stores.wrapped import Unsure

PATIENCE = 20.0
"""Seconds to wait for something that another process notices only after a while, such as the end
of a process."""


class Rig:
    """A store of one kind in a folder of its own, to be opened several times, as by several
    processes. Authors override the methods that do not suit their kind of store."""

    def __init__(self, kind: type[Store], data_dir: Path) -> None:
        self.kind = kind
        self.data_dir = data_dir
        self._open: list[Store] = []

    def settings(self, **limits: Any) -> Any:
        """Return settings of the store, with ``log_keep`` or ``log_max_size``, if given."""
        return self.kind.settings_schema().load(limits)

    def open(self, **limits: Any) -> Store:
        """Return another object on the same store."""
        store = self.kind(self.settings(**limits), self.data_dir, shared=True)
        self._open.append(store)
        return store

    def shut(self, store: Store) -> None:
        """Close one of the open stores."""
        self._open.remove(store)
        store.close()

    def soon(self, look: Callable[[], bool]) -> bool:
        """Return whether ``look`` returns true within PATIENCE seconds."""
        deadline = time.monotonic() + PATIENCE
        while not look():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def unsure(self, store: Store, *, is_done: bool) -> Store:
        """Return a store whose commits all have an unknown outcome; ``is_done`` says whether they
        are in fact done."""
        return Unsure(store, is_done=is_done)

    def restarted(self, **limits: Any) -> Store:
        """Close everything, and open the store again."""
        self.close()
        return self.open(**limits)

    def readers(self, store: Store) -> Iterator[Store]:
        """Yield an open store, another object on it, and one opened after a restart."""
        yield store
        yield self.open()
        yield self.restarted()

    def elsewhere(self, name: str) -> Rig:
        """Return a rig for another store of the kind."""
        folder = self.data_dir / name
        folder.mkdir()
        return type(self)(self.kind, folder)

    def close(self) -> None:
        while self._open:
            self._open.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(*([Exception] if error[0] else [])):
            self.close()


@dataclass(frozen=True)
class Case:
    """One promise of the contract. Calling it raises AssertionError, or an error of the store's, if
    the promise is broken."""

    name: str
    run: Callable[[Rig], None]

    def __call__(self, rig: Rig) -> None:
        self.run(rig)

    def __str__(self) -> str:
        return self.name


def _given(run: Callable[[Rig, Any], None], value: Any, rig: Rig) -> None:
    run(rig, value)


class Cases(list[Case]):
    """The cases of one module, in its order."""

    def add(self, run: Callable[[Rig], None]) -> Callable[[Rig], None]:
        """Add a function as a case."""
        self.append(Case(run.__name__, run))
        return run

    def for_each(self, *values: Any) -> Callable[[Callable[[Rig, Any], None]], None]:
        """Add a function as one case for each of the values."""

        def take(run: Callable[[Rig, Any], None]) -> None:
            for value in values:
                name = f"{run.__name__}[{ascii(value)[:99]}]"
                self.append(Case(name, partial(_given, run, value)))

        return take
