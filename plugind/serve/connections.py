"""Decides which connection gives way when there are as many as there may be."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from itertools import islice
from typing import Generic, Protocol, TypeVar


class Connection(Protocol):
    """What the decision rests on. ``is_agent``: it carried the right secret of a node."""

    address: str
    is_agent: bool

    @property
    def is_working(self) -> bool: ...

    @property
    def is_idle(self) -> bool: ...


C = TypeVar("C", bound=Connection)


SCANNED_MAXIMUM = 300
"""Connections of one address that are looked at for the one that gives way."""


class _Ranked(Generic[C]):
    """Connections by address, in the order of their last requests, and addresses by how many
    connections each has."""

    def __init__(self) -> None:
        self._held: dict[str, OrderedDict[C, None]] = {}
        self._ranks: defaultdict[int, dict[str, None]] = defaultdict(dict)

    def __contains__(self, connection: C) -> bool:
        return connection in self._held.get(connection.address, ())

    def count(self, address: str) -> int:
        """Return how many connections an address has."""
        return len(self._held.get(address, ()))

    def add(self, connection: C) -> None:
        """Add a connection that is not there yet, as the one with the latest request."""
        held = self._held.setdefault(connection.address, OrderedDict())
        held[connection] = None
        self._rank(connection.address, len(held) - 1, len(held))

    def remove(self, connection: C) -> None:
        """Remove a connection that is there."""
        held = self._held[connection.address]
        del held[connection]
        self._rank(connection.address, len(held) + 1, len(held))
        if not held:
            del self._held[connection.address]

    def _rank(self, address: str, before: int, after: int) -> None:
        self._ranks[before].pop(address, None)
        if not self._ranks[before]:
            del self._ranks[before]
        if after:
            self._ranks[after][address] = None

    def first(self, least: int, newcomer: C | None) -> C | None:
        """Return the connection that gives way, of the addresses that have ``least`` or more."""
        for rank in sorted(self._ranks, reverse=True):
            if rank < least:
                return None
            for address in self._ranks[rank]:
                if (found := self._of_address(address, newcomer)) is not None:
                    return found
        return None

    def _of_address(self, address: str, newcomer: C | None) -> C | None:
        """Return the idle connection without a request for longest, else one whose answer waits to
        be taken. Those with a request in work go to the end, so that they are looked at rarely."""
        held = self._held[address]
        sending = None
        for connection in list(islice(held, SCANNED_MAXIMUM)):
            if connection is newcomer:
                continue
            if connection.is_idle:
                return connection
            if connection.is_working:
                held.move_to_end(connection)
            elif sending is None:
                sending = connection
        return sending


class Places(Generic[C]):
    """The open connections, and which of them gives way. Safe for threads.

    The address that holds most gives way, and of its connections the one without a request for
    longest; those of agents that proved their node come last. An address may use what no other
    wants, so a newcomer never takes from an address that holds fewer than its own would. The
    connections of a trusted proxy (``trusts(address)``) carry many clients and never give way. The
    cost of each step does not depend on how many connections there are.
    """

    def __init__(self, trusts: Callable[[str], bool]) -> None:
        self._trusts = trusts
        self._lock = threading.Lock()
        self._agents: _Ranked[C] = _Ranked()
        self._others: _Ranked[C] = _Ranked()

    def add(self, connection: C) -> None:
        """Count a connection that was just accepted."""
        if not self._trusts(connection.address):
            with self._lock:
                self._others.add(connection)

    def used(self, connection: C) -> None:
        """Note that a connection has sent a request, which may have made it an agent's."""
        with self._lock:
            for ranked in (self._agents, self._others):
                if connection in ranked:
                    ranked.remove(connection)
                    (self._agents if connection.is_agent else self._others).add(connection)
                    return

    def remove(self, connection: C) -> None:
        """Count a connection no more."""
        with self._lock:
            for ranked in (self._agents, self._others):
                if connection in ranked:
                    ranked.remove(connection)

    def gives_way(self, newcomer: C | None = None) -> C | None:
        """Return the connection to be closed for a newcomer, which was added; None for none."""
        with self._lock:
            own = 0
            if newcomer is not None:
                own = sum(each.count(newcomer.address) for each in (self._agents, self._others))
            least = own - 1
            found = self._others.first(least, newcomer)
            return self._agents.first(least, newcomer) if found is None else found
