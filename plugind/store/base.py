"""The contract of stores: they keep the changes of the catalogue, and give each an index.

The store is the source of truth: everything else follows its log, and the catalogue is derived from
it. A store may be on another machine and have several writers. A store is registered by name
through the hook ``plugind_stores``; ``plugind.testing.stores`` tests it against the contract.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

from plugind.model import (
    IN_CONTACT,
    Beat,
    Change,
    Committed,
    Contact,
    Declaration,
    Forgotten,
    HistoryQuery,
    Instance,
    KeptSecret,
    Node,
    Run,
    Session,
    Stamp,
    StoredTransition,
)
from plugind.model.times import SECOND
from plugind.wire.fields import Record

FIRST_INDEX = 1
"""The index of an empty store. It is not 0, because a client that sent an X-Nomad-Index of 0 back
would get its answer at once, and ask again in a tight loop."""

RUNS_KEPT = 10_000
"""Minimum number of runs of server processes that a store keeps."""

AHEAD = 60 * SECOND
"""By how many nanoseconds the newest transition may be later than the next one, as when the clock
was set back."""

STOP_SECONDS = 0.25
"""Seconds within which a follower notices that it has to stop."""


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a store holds, as of ``index``. ``stamps`` are by resource, lists included,
    ``beats`` by node ID, and ``runs`` in the order of their starts."""

    index: int
    nodes: Sequence[Node]
    instances: Sequence[Instance]
    declarations: Sequence[Declaration]
    stamps: Mapping[str, Stamp]
    forgotten: Sequence[Forgotten] = ()
    beats: Mapping[str, Beat] = field(default_factory=dict)
    kept_secrets: Sequence[KeptSecret] = ()
    runs: Sequence[Run] = ()
    sessions: Sequence[Session] = ()


class Conflict(NamedTuple):
    """The outcome of a change that was planned on a scope that was written since: ``scope`` says
    which. Nothing of it was done; its writer plans it again on a newer state."""

    scope: str


class OutcomeUnknown(NamedTuple):
    """The outcome of a change that may or may not have been committed. The log will show which: its
    writer looks there for the change's ID."""

    reason: str


Outcome: TypeAlias = int | Conflict | OutcomeUnknown
"""What became of a change: the index that it was committed at, or why there is none."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called now and then during long work, with the number of things done and their total number."""


def no_progress(done: int, total: int) -> None:
    """Report nothing."""


class Retention(NamedTuple):
    """How long transitions are kept: for ``keep`` nanoseconds, and at most ``maximum`` of them. The
    newest one that is too old stays, to show from when on the history is complete."""

    keep: int = 30 * 24 * 3600 * SECOND
    maximum: int = 1_000_000


class Heard(NamedTuple):
    """Beats with their node IDs, in the order in which they were kept, and the cursor after which
    the next ones come."""

    cursor: int
    beats: Sequence[tuple[str, Beat]]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a sound store holds: the version of its schema, its last index, and the numbers of its
    nodes, instances and declarations."""

    schema: int
    index: int
    nodes: int
    instances: int
    declarations: int

    @classmethod
    def of(cls, schema: int, found: Contents) -> Self:
        counts = (found.nodes, found.instances, found.declarations)
        return cls(schema, found.index, *(len(each) for each in counts))


@dataclass(frozen=True, slots=True)
class Restored:
    """A summary of the contents now in force, and the path at which the previous store, if any, is
    kept."""

    summary: Summary
    kept: Path | None


class Store(ABC):
    """Keeps changes permanently, in an order on which all processes on the same store agree.

    ``load``, ``commit``, ``mark`` and ``close`` are called from one thread at a time, all other
    methods from any thread. Other processes may have the same store open. Every method raises
    StoreError if the store cannot do its work, with a text that says what an operator can do about
    it; then nothing was done.
    """

    settings_schema: ClassVar[type[Record]]
    """The ``store "NAME" { }`` block of the configuration."""

    retention: Retention = Retention()
    """How long history is kept; may be assigned at any time, and applies to later commits."""

    has_other_servers: ClassVar[bool] = False
    """Whether servers with a configuration of their own may use the store as well."""

    @abstractmethod
    def __init__(self, settings: Any, data_dir: Path, *, shared: bool = False) -> None:
        """Open the store, creating or migrating it first if needed.

        ``shared``: other processes of the same server have it open as well. A store on another
        machine is shared in any case.
        """

    @property
    @abstractmethod
    def is_shared(self) -> bool:
        """Return whether other processes may write to the store."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Return a UUID drawn when the store was made: an index is meaningful in one store only."""

    @property
    def size(self) -> int | None:
        """Return how many bytes the store takes; None if that is not known."""
        return None

    @property
    def contact(self) -> Contact:
        """Return whether the store can be reached, and when it last was, as far as is known: this
        does not contact the store."""
        return IN_CONTACT

    @property
    def trouble(self) -> str:
        """Return any problem of the store, other than failed writes, that an operator should know
        of; "" if there is none."""
        return ""

    @abstractmethod
    def load(self) -> Contents:
        """Return everything that the store holds, as of one index."""

    @abstractmethod
    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Commit changes in their order and return the outcome of each. Those whose outcome is an
        index are durable by then. Each change is atomic, the batch is not.

        Each index is greater than all before it. The stamps of the resources that a change touches
        get its index; a resource that did not exist is created by the change. With no changes, the
        store only proves that it could write.

        A change conflicts if a scope that it reads was written after the ``base`` of the batch,
        which is the smallest of its changes' bases: the first change is planned on the base, and
        each further one also on those before it. It also conflicts if it reads a scope written by a
        change of the same batch that was not committed.

        In the history, no transition is earlier than the one before it. If the newest transitions
        are later than the change by up to AHEAD, the transitions of the change get their time; if
        they are later still, they are set to the time of the change. When the clock leaps ahead,
        nothing is pruned for the time that it leapt to.
        """

    @abstractmethod
    def read(self, after: int, limit: int = 256) -> Sequence[Committed]:
        """Return the first changes, at most ``limit``, that any process committed after an index,
        in their order. Do not wait for changes: there may be none yet.

        The log has the latest changes, as far back as the store's settings say; their age is
        relative to the time of the newest change. Raise Compacted if the log does not reach back to
        that index, or the store has not reached it.
        """

    @abstractmethod
    def newest(self) -> int:
        """Return an index that is at least that of every change that any process acknowledged
        before the call. ``load``, and ``read`` once ``wait`` has returned, reach it."""

    def newest_at_once(self) -> int | None:
        """Return what ``newest`` would, if that takes no wait for a disk, a writer or another
        machine; None if it might."""
        return None

    @abstractmethod
    def wait(self, after: int, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds until the store's index is greater than ``after``,
        whichever process writes. Return whether it is."""

    def wait_for_others(self, after: int, timeout: float) -> bool:
        """Do the same as ``wait`` for a caller that need not be woken by changes of this process:
        after those it may go on waiting until its time is over."""
        return self.wait(after, timeout)

    def interrupt(self) -> None:  # noqa: B027 - not every store has to do something
        """Have each ``wait`` in this process return soon. A store may do nothing here, because each
        wait ends after its timeout anyway."""

    def follow(self, after: int, stop: threading.Event) -> Iterator[Sequence[Committed]]:
        """Yield all changes after an index, in their order and in batches, until ``stop`` is set,
        which is noticed within STOP_SECONDS. No transaction is open while the caller handles a
        batch. Raise Compacted as ``read`` does."""
        while not stop.is_set():
            if batch := self.read(after):
                after = batch[-1].index
                yield batch
            else:
                self.wait(after, STOP_SECONDS)

    @abstractmethod
    def history(self, query: HistoryQuery) -> Sequence[StoredTransition]:
        """Return the transitions that a query selects, in the order that it asks for."""

    def deleted_until(self) -> int:
        """Return the index of the last change whose transitions may have been deleted from the
        history as too old or too many; 0 if none ever was. The history after it is complete.

        This default is for stores that number transitions from 1 on.
        """
        oldest = self.history(HistoryQuery(after=0, limit=1))
        return oldest[0].index if oldest and oldest[0].seq > 1 else 0

    @abstractmethod
    def beat(self, beats: Mapping[str, Beat]) -> None:
        """Keep when nodes were last heard, by node ID, for all processes on the store. This is not
        a change, takes no index, and need not survive a crash of the machine.

        The nodes exist. The change that removes a node also removes its kept beat.
        """

    @abstractmethod
    def heard(self, after: int) -> Heard:
        """Return the beats that any process kept after a cursor; 0 stands for the beginning. The
        last beat of each node and RunID is included; earlier ones may be missing. Beats that were
        removed with their nodes are not included."""

    @abstractmethod
    def has_duty(self) -> bool:
        """Return whether this process has the duty of the store, taking the duty if it is free.

        At most one process has the duty at a time: that process marks nodes as down, and forgets
        what has been lost for too long. It has the duty until it closes the store, or is gone.
        """

    @abstractmethod
    def mark(self, run: str, now: int) -> None:
        """Record permanently that the server process ``run`` was running at ``now`` (nanoseconds).
        A run lasts from its first mark to its last. This is not a change and takes no index. If
        there are more than RUNS_KEPT runs, the shortest may be deleted. A run whose clock was set
        back ends earlier, but never before its start."""

    @abstractmethod
    def runs(self, since: int) -> Sequence[Run]:
        """Return the runs of server processes that ended at ``since`` (nanoseconds) or later, in
        the order of their starts."""

    @abstractmethod
    def close(self) -> None:
        """Close the store, and end all waits for it. No other method is called afterwards."""

    @classmethod
    @abstractmethod
    def check(cls, settings: Any, data_dir: Path) -> Summary:
        """Check the whole store, even while servers run. Raise StoreError for damage."""

    @classmethod
    @abstractmethod
    def backup(cls, settings: Any, data_dir: Path, target: Path) -> Summary:
        """Write a checked and durable copy of the store, as of one moment, to a file that must not
        exist yet, even while servers run."""

    @classmethod
    @abstractmethod
    def restore(
        cls, settings: Any, data_dir: Path, source: Path, lists: Collection[str]
    ) -> Restored:
        """Replace the contents of the store with a backup, while no server runs.

        Indexes continue above those that clients may have seen, the store gets a new identity, and
        every resource, ``lists`` included, reads as changed. Sessions end, so that one that was
        ended after the backup is not open again. A source with any fault replaces nothing.
        """

    @classmethod
    @abstractmethod
    def export(
        cls, settings: Any, data_dir: Path, target: Path, progress: Progress = no_progress
    ) -> Summary:
        """Write the contents of the store, with history but without sessions, as JSON lines that
        every store can import, to a file that must not exist yet; even while servers run."""

    @classmethod
    @abstractmethod
    def import_(
        cls,
        settings: Any,
        data_dir: Path,
        source: Path,
        lists: Collection[str],
        progress: Progress = no_progress,
    ) -> Restored:
        """Replace the contents of the store with an export of any store, as ``restore`` does."""
