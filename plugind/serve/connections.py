"""Decides which connection is closed for a new one when the maximum number is open."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from itertools import islice
from typing import Generic, Protocol, TypeVar


class Connection(Protocol):
    """A connection as ``Places`` sees it. ``is_agent``: it carried the right secret of a node."""

    address: str
    is_agent: bool

    @property
    def is_working(self) -> bool: ...

    @property
    def is_idle(self) -> bool: ...


C = TypeVar("C", bound=Connection)


SCANNED_MAXIMUM = 300
"""Connections of one address that are examined to find the one that gives way."""


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
        """Add a connection that was not added yet, as the one with the latest request."""
        held = self._held.setdefault(connection.address, OrderedDict())
        held[connection] = None
        self._rank(connection.address, len(held) - 1, len(held))

    def remove(self, connection: C) -> None:
        """Remove a connection that was added."""
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
        """Return the connection that gives way, among addresses with ``least`` or more of them."""
        for rank in sorted(self._ranks, reverse=True):
            if rank < least:
                return None
            for address in self._ranks[rank]:
                if (found := self._of_address(address, newcomer)) is not None:
                    return found
        return None

    def _of_address(self, address: str, newcomer: C | None) -> C | None:
        """Return the connection that has been idle for longest, else one whose answer the client
        has not taken yet. Move those with a request in progress to the end, so that they are
        examined rarely."""
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
    """The open connections, and the choice of the one that gives way. Thread-safe.

    The address with the most connections loses one: the one that has gone longest without a
    request. Connections of agents that have proved their node's identity come last. An address may
    use the places that no other wants, so a new connection never replaces one of an address that
    has fewer than its own address has without it. The connections of a trusted proxy
    (``trusts(address)``) carry many clients and never give way. The cost of each step does not
    depend on the number of connections.
    """

    def __init__(self, trusts: Callable[[str], bool]) -> None:
        self._trusts = trusts
        self._lock = threading.Lock()
        self._agents: _Ranked[C] = _Ranked()
        self._others: _Ranked[C] = _Ranked()

    def add(self, connection: C) -> None:
        """Add a connection that was just accepted."""
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
        """Remove a connection that has ended."""
        with self._lock:
            for ranked in (self._agents, self._others):
                if connection in ranked:
                    ranked.remove(connection)

    def gives_way(self, newcomer: C | None = None) -> C | None:
        """Return the connection to close for ``newcomer``, which has been added; None if none."""
        with self._lock:
            own = 0
            if newcomer is not None:
                own = sum(each.count(newcomer.address) for each in (self._agents, self._others))
            least = own - 1
            found = self._others.first(least, newcomer)
            return self._agents.first(least, newcomer) if found is None else found
