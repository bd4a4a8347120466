"""An export in a temporary file, where it is checked and renumbered before it replaces a store.

A store on other machines imports by copying the values from here once they are known to be sound,
in whatever order and portions suit it. The memory that this takes does not grow with their number.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from plugind.model import Instance, InstanceKey, Node, Stamp
from plugind.store import exporting
from plugind.store.base import Progress, Summary
from plugind.store.exporting import Item
from plugind.store.sqlite import history, items
from plugind.store.sqlite.file import translated
from plugind.store.sqlite.filling import filled
from plugind.store.sqlite.numbering import Replaced, renumber
from plugind.store.sqlite.rows import head


class Staged:
    """The values of an export that is complete and sound."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    @property
    def identity(self) -> str:
        """Return the identity of the store that was exported; after ``renumber``, a new one."""
        return head(self._db)[0]

    @property
    def index(self) -> int:
        """Return the index of the contents; after ``renumber``, one above all given out."""
        return head(self._db)[1]

    @property
    def counts(self) -> Mapping[str, int]:
        """Return how many values there are of each kind."""
        return items.counts(self._db)

    @property
    def last_seq(self) -> int:
        """Return the ``seq`` of the newest transition; 0 for none."""
        return history.newest(self._db)[0]

    def renumber(self, replaced: Replaced, lists: Collection[str]) -> None:
        """Let the contents take the place of others: they get a new identity and an index above all
        given out, at which every resource, ``lists`` included, reads as changed."""
        renumber(self._db, replaced, lists)

    def read(self, kind: type[Any]) -> Iterator[Any]:
        """Yield the values of one kind, in the order of their keys or ``seq``."""
        return items.read(self._db, kind)

    def read_all(self) -> Iterator[Item]:
        """Yield all values, in the order in which ``exporting.write`` takes them."""
        return items.read_all(self._db)

    def stamps(self) -> Iterator[tuple[str, Stamp]]:
        """Yield each resource with its stamp."""
        return ((each.resource, each.stamp) for each in self.read(exporting.Stamped))

    def nodes(self) -> Iterator[tuple[Node, list[Instance]]]:
        """Yield each node with its instances."""
        groups = groupby(self.read(Instance), _node_id)
        waiting = next(groups, None)
        for node in self.read(Node):
            found: list[Instance] = []
            if waiting and waiting[0] == node.id:
                found = list(waiting[1])
                waiting = next(groups, None)
            yield node, found

    def summary(self, schema: int) -> Summary:
        """Return the numbers of values, for a store whose schema has the version ``schema``."""
        found = self.counts
        return Summary(schema, self.index, found["node"], found["instance"], found["declaration"])


@contextmanager
def staged(source: Path, folder: Path, progress: Progress) -> Iterator[Staged]:
    """Read an export into a temporary file in a folder. Raise StoreError, which names file and
    line, if it is not complete or not sound."""
    with (
        translated(folder),
        tempfile.TemporaryDirectory(prefix=".plugind-", dir=folder) as temporary,
        filled(source, Path(temporary) / "staged", progress) as db,
    ):
        yield Staged(db)


def _node_id(one: Instance) -> str:
    key: InstanceKey = one.key
    return key.node_id
