"""The processes of a server as one of them sees them: it publishes its own counters and health, and
returns the sums of all."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from plugind.health import Finding, Health
from plugind.health.threads import OwnedThread
from plugind.metrics.process import process_values
from plugind.metrics.readings import Reading
from plugind.metrics.snapshot import CPU, Client, Snapshot, frozen
from plugind.serve.board import PARENT, Board
from plugind.tally import Labels, Tally

EVERY = 1.0
"""Seconds between two snapshots."""

SILENT = 5.0
"""Seconds without a snapshot after which a process counts as not responding: it hangs, or was
stopped."""

_LEAD_FOR = 0.2
"""Seconds for which a process relies on its last check which worker is the first."""

_PARENT = "the parent process"

NODES_CLONED, LIMITS_REACHED = "nodes with two agents", "limits reached"
_SEEN_BY_ALL = (NODES_CLONED, LIMITS_REACHED)
"""Kinds of results that every process reports alike, because they come from shared data."""


class Peers:
    """The processes of a server that share a board, on which this process has a place.

    ``read`` returns this process's counters, ``health`` its health, and ``client`` the state of its
    client role.
    """

    def __init__(
        self,
        board: Board,
        place: int,
        read: Callable[[], Iterable[Reading]],
        health: Callable[[], Health],
        client: Callable[[], Client | None] = lambda: None,
    ) -> None:
        self._board = board
        self._place = place
        self._read = read
        self._health = health
        self._client = client
        self._cpu_before = 0.0
        self._leads, self._led_at = False, -_LEAD_FOR
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.thread = OwnedThread("publishing", self._publish_often, restarts=True)

    def start(self) -> None:
        """Continue from the counters of the previous process in this place, and begin to
        publish."""
        before = self._board.get(self._place)
        self._cpu_before = before.process.get(CPU, 0.0)
        taken = set()  # a tally may have several names
        for name, tally in self._read():
            if isinstance(tally, Tally) and name in before.counts and id(tally) not in taken:
                taken.add(id(tally))
                tally.take_over(before.counts[name])
        self.publish()
        self.thread.start()

    def close(self) -> None:
        """Publish one last time. Events counted afterwards are lost."""
        self._ended.set()
        self.thread.join()
        self.publish()

    def publish(self) -> Snapshot:
        """Publish and return the present counters and health of this process."""
        health = self._health()
        with self._lock:  # so that an earlier snapshot never replaces a later one
            counts, gauges = frozen(self._read())
            snapshot = Snapshot(
                os.getpid(),
                time.monotonic(),
                counts,
                gauges,
                process_values(self._cpu_before),
                health,
                self._client(),
            )
            self._board.put(self._place, snapshot)
        return snapshot

    def together(self) -> Sequence[Snapshot]:
        """Return the snapshots of all processes; this process's comes first and is current."""
        return [self.publish(), *(each for _, each in self._others())]

    @property
    def leads(self) -> bool:
        """Return whether this is the first running worker, which does the work of only one."""
        now = time.monotonic()
        if now - self._led_at > _LEAD_FOR:
            before = (each for place, each in self._others() if PARENT < place < self._place)
            self._leads = not any(each.pid and now - each.at <= SILENT for each in before)
            self._led_at = now
        return self._leads

    def sums(self, name: str, own: Mapping[Labels, float]) -> dict[Labels, float]:
        """Return the sums of a metric's values over all processes; ``own`` are this process's."""
        found = Counter(own)
        for _, each in self._others():
            found.update(each.values(name))
        return dict(found)

    def health(self) -> Health:
        """Return the health of all processes: ok if each of them is, and each publishes."""
        own, now = self._health(), time.monotonic()
        found = [(self._name(self._place), own)]
        unheard = []
        for place, each in self._others():
            if not each.pid:
                continue  # the parent reports processes that have ended
            if (age := now - each.at) > SILENT:
                unheard.append(f"{self._name(place)} (process {each.pid}) for {age:.0f} s")
            kept = tuple(one for one in each.health.findings if one.kind not in _SEEN_BY_ALL)
            found.append((self._name(place), Health(each.health.ok, kept)))
        results = list(united(found, self._board.workers))
        if unheard:
            details = f"nothing is heard of {', '.join(unheard)}: it hangs, or was stopped"
            results.append(Finding("silent processes", details, len(unheard)))
        return Health(not unheard and all(each.ok for _, each in found), tuple(results))

    def client(self) -> Client | None:
        """Return the state of the client role, in whichever process it runs; None for none."""
        found = (each.client for _, each in self._others())
        return next((each for each in found if each is not None), None)

    def _others(self) -> Iterable[tuple[int, Snapshot]]:
        for place in range(self._board.workers + 1):
            if place != self._place:
                yield place, self._board.get(place)

    def _name(self, place: int) -> str:
        return _PARENT if place == PARENT else f"worker {place}"

    def _publish_often(self) -> None:
        while not self._ended.wait(EVERY):
            self.publish()


def united(found: Sequence[tuple[str, Health]], workers: int) -> Iterable[Finding]:
    """Yield the combined health results of several processes; ``found`` has their names.

    A result that all workers or the parent report is yielded as it is; if only some workers report
    it, their names are added.
    """
    kinds: dict[str, list[tuple[str, Finding]]] = {}
    for name, health in found:
        for each in health.findings:
            kinds.setdefault(each.kind, []).append((name, each))
    for kind, several in kinds.items():
        name, first = several[0]
        of_all = len(several) == workers and all(each == first for _, each in several)
        if of_all or kind in _SEEN_BY_ALL or name == _PARENT:
            yield first
        else:
            details = "; ".join(f"{name}: {each.details}" for name, each in several)
            yield Finding(kind, details, sum(each.count for _, each in several))


def condition_of_client(peers: Peers) -> Health:
    """Return the health of the client role, which runs in the parent process."""
    client = peers.client()
    if client is None:
        return Health(False, (Finding("clients that did not start", "the client has not started"),))
    return client.health
