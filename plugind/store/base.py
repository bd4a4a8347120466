"""The contract of stores: they keep the changes of the catalogue, and give each its index.

The store is the truth, its log what everything else follows; the catalogue is derived from it. The
contract can be met by a store on another machine, with several writers. A store is registered by
name through the hook ``plugind_stores``; ``plugind.testing.stores`` holds it to the contract.
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
"""The index of an empty store: X-Nomad-Index is never 0, for a client that sends 0 would spin."""

RUNS_KEPT = 10_000
"""Runs of server processes that a store keeps at least."""

AHEAD = 60 * SECOND
"""By how much the newest transitions may be later than the next; the clock was set back."""

STOP_SECONDS = 0.25
"""Within how many seconds a follower notices that it has to stop."""


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
    """Outcome of a change that was planned on something that has moved since: ``scope`` says on
    what. Nothing of it was done; its writer plans again on a newer state."""

    scope: str


class OutcomeUnknown(NamedTuple):
    """The outcome of a change that may or may not have been committed. The log will show it: its
    writer looks there for the change's ID."""

    reason: str


Outcome: TypeAlias = int | Conflict | OutcomeUnknown
"""What became of a change: the index that it was committed at, or why there is none."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called now and then during long work, with how many of how many things are done."""


def no_progress(done: int, total: int) -> None:
    """Report nothing."""


class Retention(NamedTuple):
    """How long transitions are kept: for ``keep`` nanoseconds, and at most ``maximum`` of them. The
    last one that is too old stays, and says since when the history is whole."""

    keep: int = 30 * 24 * 3600 * SECOND
    maximum: int = 1_000_000


class Heard(NamedTuple):
    """Beats with their node IDs, in the order in which they were kept, and the cursor that the next
    ones come after."""

    cursor: int
    beats: Sequence[tuple[str, Beat]]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a sound store holds: the version of its schema, its last index, and how many of each."""

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
    """The contents in force now, and the name under which a store that was there before is kept."""

    summary: Summary
    kept: Path | None


class Store(ABC):
    """Keeps changes for good, in an order that all processes on the same store agree on.

    ``load``, ``commit``, ``mark`` and ``close`` are called from one thread at a time, all other
    methods from any. Other processes may have the same store open. Every method raises StoreError,
    with what an operator can do about it, when the store cannot do its work; then nothing of it was
    done.
    """

    settings_schema: ClassVar[type[Record]]
    """The ``store "NAME" { }`` block of the configuration."""

    retention: Retention = Retention()
    """How long history is kept; may be assigned at any time, for the commits from then on."""

    has_other_servers: ClassVar[bool] = False
    """Whether servers with a configuration of their own may use the store as well."""

    @abstractmethod
    def __init__(self, settings: Any, data_dir: Path, *, shared: bool = False) -> None:
        """Open the store, making or migrating it first where that is needed.

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
        """Return a UUID drawn when the store was made: an index has a meaning in one store only."""

    @property
    def size(self) -> int | None:
        """Return how many bytes the store takes; None where that is not known."""
        return None

    @property
    def contact(self) -> Contact:
        """Return whether the store can be reached, and when it was last; it asks nothing."""
        return IN_CONTACT

    @property
    def trouble(self) -> str:
        """Return what an operator should know of the store beside failed writes; "" for nothing."""
        return ""

    @abstractmethod
    def load(self) -> Contents:
        """Return everything that the store holds, as of one index."""

    @abstractmethod
    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Commit changes in their order and return the outcome of each. Those with an index are
        durable by then. A change is atomic, the batch is not.

        An index is greater than all that came before. The stamps of what a change touches get its
        index; a resource that was not there before is created by it. With no changes the store only
        proves that it could write some.

        A change conflicts when a scope that it reads was written after the ``base`` of the batch,
        which is the smallest of its changes' bases: the first is planned on the base, each further
        one on those before it as well. It also conflicts when it reads a scope that a change of the
        same batch writes which was not committed.

        In the history no transition is earlier than the one before it. Where the newest are later
        than the change by up to AHEAD, its transitions get their time; where they are later still,
        they get the time of the change. Nothing is pruned for a time that the clock leapt to.
        """

    @abstractmethod
    def read(self, after: int, limit: int = 256) -> Sequence[Committed]:
        """Return the first changes that were committed after an index, by whichever process, in
        their order, at most ``limit``; none where there are none yet. Do not wait for any.

        The log has the last changes, as far back as the store's settings say; their age is that by
        the time of the newest change. Raise Compacted when the log does not reach back to that
        index, or the store not up to it.
        """

    @abstractmethod
    def newest(self) -> int:
        """Return an index that is not below that of any change which any process acknowledged
        before the call. ``load``, and ``read`` once ``wait`` has returned, reach it."""

    def newest_at_once(self) -> int | None:
        """Return what ``newest`` would, where that takes no wait for a disk, a writer or another
        machine; None where it might."""
        return None

    @abstractmethod
    def wait(self, after: int, timeout: float) -> bool:
        """Wait until the store's index is greater than ``after``, whichever process writes, for at
        most ``timeout`` seconds. Return whether it is."""

    def wait_for_others(self, after: int, timeout: float) -> bool:
        """Do the same for a caller that need not hurry after the changes of this process: they may
        leave it waiting until its time is over."""
        return self.wait(after, timeout)

    def interrupt(self) -> None:  # noqa: B027 - not every store has to do something
        """Have each ``wait`` that goes on in this process return soon. It may do nothing, for no
        wait lasts longer than it was asked to."""

    def follow(self, after: int, stop: threading.Event) -> Iterator[Sequence[Committed]]:
        """Yield all changes after an index, in their order and in batches, until ``stop`` is set,
        which is noticed within STOP_SECONDS. No transaction is open while a batch is with the
        caller. Raise Compacted."""
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
        """Return the index of the last change whose transitions the history may have lost, for they
        were too old or too many; 0 where none was ever deleted. What came later is whole.

        This one is for stores that number transitions from 1 on.
        """
        oldest = self.history(HistoryQuery(after=0, limit=1))
        return oldest[0].index if oldest and oldest[0].seq > 1 else 0

    @abstractmethod
    def beat(self, beats: Mapping[str, Beat]) -> None:
        """Keep when nodes were last heard, by node ID, for all processes on the store. This is no
        change, takes no index, and need not survive a crash of the machine.

        The nodes exist. The kept time of a node goes with the change that removes the node.
        """

    @abstractmethod
    def heard(self, after: int) -> Heard:
        """Return the beats that were kept after a cursor, by whichever process; 0 stands for the
        beginning. The last beat of each node and RunID is among them, those before it may be
        missing. The beats that went with their nodes are not."""

    @abstractmethod
    def has_duty(self) -> bool:
        """Return whether this process has the duty of the store, and take it if it is free.

        At most one process has it at a time: the one that marks nodes as down, and forgets what has
        been lost for too long. It has it until it closes the store, or is gone.
        """

    @abstractmethod
    def mark(self, run: str, now: int) -> None:
        """Keep for good that the server process ``run`` ran ``now`` (nanoseconds): it did so from
        its first mark on. This is no change and takes no index. Of more than RUNS_KEPT runs
        the shortest may leave; one whose clock was set back ends earlier, but never before its
        start."""

    @abstractmethod
    def runs(self, since: int) -> Sequence[Run]:
        """Return the runs of server processes that ended at ``since`` or later, in the order of
        their starts."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the store, and end what waits for it. Nothing is called after it."""

    @classmethod
    @abstractmethod
    def check(cls, settings: Any, data_dir: Path) -> Summary:
        """Look through the whole store, also while servers run. Raise StoreError for damage."""

    @classmethod
    @abstractmethod
    def backup(cls, settings: Any, data_dir: Path, target: Path) -> Summary:
        """Write a checked and durable copy of one moment to a file that must not exist yet, also
        while servers run."""

    @classmethod
    @abstractmethod
    def restore(
        cls, settings: Any, data_dir: Path, source: Path, lists: Collection[str]
    ) -> Restored:
        """Replace what the store holds by a backup, while no server runs.

        Indexes go on from what clients may have seen, under a new identity, and every resource
        reads as changed, ``lists`` included. Sessions end: one that was ended since the backup must
        not be open again. A source with any fault replaces nothing.
        """

    @classmethod
    @abstractmethod
    def export(
        cls, settings: Any, data_dir: Path, target: Path, progress: Progress = no_progress
    ) -> Summary:
        """Write what the store holds, history included and sessions left out, as JSON lines that
        every store can import, to a file that must not exist yet; also while servers run."""

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
        """Replace what the store holds by what any store exported, as ``restore`` does."""
