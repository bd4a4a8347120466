"""What clients did and saw: the history that the checker examines.

Times are on the monotonic clock of the test process, in which all clients run. Leases of nodes are
an exception, because they are compared with times that servers write.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.promises import stalled

PLUGIN_TYPE = "csi"
PLUGINS, NODES = f"plugins/{PLUGIN_TYPE}", "nodes"

DEFAULT, STALE = "default", "stale"

ACKNOWLEDGED, REFUSED, MAYBE, PENDING = "acknowledged", "refused", "maybe", "pending"
"""How an operation ended. A refused operation did not happen; a timeout or a broken connection
leaves that open; PENDING had no answer when the run ended."""

Content = Mapping[str, str]
"""The content of an answer: a text for each instance of a plugin or node, or for each row of a
list; empty if the answer is 404."""


@dataclass(slots=True)
class Write:
    """A report or the removal of a node. ``number`` is unique; every instance of a report shows it.
    ``wall`` is the wall clock before the write."""

    client: str
    server: str
    node: str
    kind: str
    number: int
    invoked: float
    wall: int = 0
    status: str = PENDING
    completed: float = 0.0
    index: int = 0
    reason: str = ""


REPORT, DELETE = "report", "delete"


@dataclass(frozen=True, slots=True)
class Lease:
    """A heartbeat or report that was answered at ``answered`` on the monotonic clock: the node is
    up from ``begins`` to ``ends`` on the wall clock, in nanoseconds."""

    node: str
    server: str
    begins: int
    ends: int
    answered: float = 0.0


@dataclass(slots=True)
class Read:
    """A read of a resource. ``scope`` names the server, or the connection, on which stale reads may
    not go backwards. A blocking read waits for an index greater than ``after``, for at most
    ``wait`` seconds. ``delay`` is the number of seconds for which the machine kept tasks waiting
    meanwhile."""

    client: str
    server: str
    scope: str
    resource: str
    mode: str
    invoked: float
    after: int = 0
    wait: float = 0.0
    status: str = PENDING
    completed: float = 0.0
    index: int = 0
    digest: str = ""
    content: Content = field(default_factory=dict)
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Happened:
    """A transition: what an event of the topic Plugin and a row of history have in common."""

    index: int
    node: str
    plugin: str
    role: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an event stream: its transitions, and the plugins that its other events show."""

    server: str
    connection: int
    index: int
    happened: tuple[Happened, ...] = ()
    shown: tuple[tuple[str, int, Content], ...] = ()
    """The resource, index and content of each plugin shown."""
    gap: bool = False


@dataclass
class Follower:
    """A client of event streams that reconnects after it is cut off. ``start`` is the first index
    that it asked for, ``wants`` says whether its topics include transitions."""

    name: str
    start: int
    wants: bool = True
    lines: list[Line] = field(default_factory=list)

    @property
    def last(self) -> int:
        """Return the index of the last line."""
        return self.lines[-1].index if self.lines else self.start - 1


@dataclass(frozen=True, slots=True)
class Fault:
    """A part that was broken for a time, and the servers that this may have delayed."""

    name: str
    servers: frozenset[str]
    begun: float
    ended: float
    kills: bool = False


class History:
    """Collect what all clients did. It is safe for threads, and is read once all clients have
    ended."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.reads: list[Read] = []
        self.leases: list[Lease] = []
        self.followers: list[Follower] = []
        self.faults: list[Fault] = []
        self.complaints: list[tuple[str, str]] = []
        """Violations that clients found themselves, each with its kind."""
        self.downs: list[tuple[str, int]] = []
        """The nodes that went down, each with the time in nanoseconds."""
        self.ended = 0.0
        self.newest = 0
        """The index that followers had time to reach, 0 for the last one. Nodes may still go down
        after it."""
        self._acknowledged = 0
        self._numbers = 0
        self._nodes: dict[str, None] = {}
        self._news = threading.Condition()

    def number(self) -> int:
        """Return a number that no other write has."""
        with self._news:
            self._numbers += 1
            return self._numbers

    def acknowledged(self, write: Write) -> None:
        """Count one more acknowledged write."""
        with self._news:
            self._acknowledged += 1
            if write.kind == DELETE:
                self._nodes.pop(write.node, None)
            else:
                self._nodes[write.node] = None
            self._news.notify_all()

    @property
    def count(self) -> int:
        """Return the number of acknowledged writes."""
        return self._acknowledged

    @property
    def nodes(self) -> list[str]:
        """Return the nodes that reported and were not removed."""
        with self._news:
            return list(self._nodes)

    def reaches(self, count: int, timeout: float) -> bool:
        """Wait for that number of acknowledged writes; return whether it was reached in time."""
        with self._news:
            return self._news.wait_for(lambda: self._acknowledged >= count, timeout)

    def complain(self, kind: str, text: str) -> None:
        """Record a violation that a client found."""
        self.complaints.append((kind, text))


def machine_delay() -> float:
    """Return the seconds for which the machine has kept tasks waiting since it booted."""
    return stalled()
